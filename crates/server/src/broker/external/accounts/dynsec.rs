//! What Mosquitto's dynamic security plugin is told, so that it lets exactly our hosts in: a role and a client for each.
//!
//! ```text
//!   own rights ─▶ roles there, page by page ─▶ clients there ─▶ what differs, a batch at a time ─▶ what changes from now on
//! ```
//!
//! Pure: messages out, answers in; it knows no connection. It keeps true that one message is on its way at a time, that a batch
//! is small (Mosquitto writes its whole file at each command, and serves nobody meanwhile), and that only what bears our mark is
//! changed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::HostId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::dynsec_rights::{Right, fence_rights, host_rights, server_rights, sorted};
use super::{Guests, fingerprint};

/// Where the plugin is told.
pub(in super::super) const CONTROL: &str = "$CONTROL/dynamic-security/v1";
/// Where it answers.
pub(in super::super) const ANSWERS: &str = "$CONTROL/dynamic-security/v1/response";

/// The server's own rights.
const SERVER_ROLE: &str = "netloom-server";
/// What no host may, whatever the broker lets others do.
const FENCE_ROLE: &str = "netloom-fence";
/// The rights of a host: this and its id.
const HOST_ROLE: &str = "netloom-host-";
/// Clients of ours say this and the fingerprint of their password.
const MARK: &str = "netloom ";
/// Hosts changed by one message.
const BATCH: usize = 5;
/// Roles or clients in one answer.
const PAGE: usize = 200;

#[derive(Debug, Deserialize)]
struct Role {
    rolename: String,
    #[serde(default)]
    acls: Vec<Right>,
}

#[derive(Debug, Deserialize)]
struct Client {
    username: String,
    #[serde(default)]
    clientid: String,
    #[serde(default)]
    textdescription: String,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    roles: Vec<Held>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Held {
    rolename: String,
    #[serde(default)]
    priority: i64,
}

#[derive(Debug, Deserialize)]
struct Answers {
    responses: Vec<Answer>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    command: String,
    error: Option<String>,
    #[serde(default)]
    data: Value,
}

#[derive(Debug, Deserialize)]
struct Listing {
    #[serde(rename = "totalCount", default)]
    total: usize,
    #[serde(default)]
    roles: Vec<Role>,
    #[serde(default)]
    clients: Vec<Client>,
}

/// Why it cannot go on.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Trouble {
    /// The plugin said no.
    #[error("Mosquitto's dynamic security plugin refused `{command}`: {error}")]
    Refused { command: String, error: String },
    /// It said something that cannot be read.
    #[error("Mosquitto's dynamic security plugin answered what cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// What an answer led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Progress {
    /// There is more to say, or to wait for.
    Going,
    /// The server has its own rights: hosts can be heard.
    Entitled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    OwnRole,
    OwnClient,
    OwnMended,
    Roles,
    Clients,
    Following,
}

/// The talk with the plugin of one connection.
pub(in super::super) struct Dynsec {
    user: String,
    stage: Stage,
    /// How much of a list was seen.
    seen: usize,
    outbox: VecDeque<Value>,
    waits: bool,
    /// Commands that repair the server's own rights.
    mending: Vec<Value>,
    /// Roles of ours that are there and as they should be.
    roles: BTreeMap<HostId, bool>,
    fence: Option<bool>,
    /// Clients of ours that are there: the fingerprint of what they log in by, where all else is as it should be.
    clients: BTreeMap<HostId, Option<String>>,
    /// What is to be looked at.
    doubtful: BTreeSet<HostId>,
    kicked: BTreeSet<HostId>,
}

impl Dynsec {
    /// Begins; the server's own user name is this.
    pub(in super::super) fn new(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            stage: Stage::OwnRole,
            seen: 0,
            outbox: VecDeque::from([json!({ "command": "getRole", "rolename": SERVER_ROLE })]),
            waits: false,
            mending: Vec::new(),
            roles: BTreeMap::new(),
            fence: None,
            clients: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            kicked: BTreeSet::new(),
        }
    }

    /// These hosts came, went or have other keys.
    pub(in super::super) fn look_at(&mut self, hosts: impl IntoIterator<Item = HostId>) {
        self.doubtful.extend(hosts);
    }

    /// This host's connection is to end.
    pub(in super::super) fn kick(&mut self, host: HostId) {
        self.kicked.insert(host);
        self.doubtful.insert(host);
    }

    /// Whether an answer is waited for.
    pub(in super::super) const fn waits(&self) -> bool {
        self.waits
    }

    /// What to say next, if anything.
    pub(in super::super) fn next(&mut self, guests: &dyn Guests) -> Option<Vec<u8>> {
        if self.waits {
            return None;
        }
        if self.outbox.is_empty() && self.stage == Stage::Following {
            self.repair(guests);
        }
        if self.outbox.is_empty() {
            return None;
        }
        self.waits = true;
        let commands: Vec<Value> = self.outbox.drain(..).collect();
        Some(json!({ "commands": commands }).to_string().into_bytes())
    }

    /// Takes an answer.
    pub(in super::super) fn take(&mut self, answer: &[u8], guests: &dyn Guests) -> Result<Progress, Trouble> {
        let Answers { responses } = serde_json::from_slice(answer)?;
        self.waits = false;
        let mut entitled = false;
        for Answer { command, error, data } in responses {
            match self.stage {
                Stage::OwnRole => self.own_role(error.is_some(), data)?,
                Stage::OwnClient => {
                    refuse(command, error)?;
                    entitled = self.own_client(data)?;
                }
                Stage::OwnMended => {
                    refuse(command, error)?;
                    entitled = true;
                }
                Stage::Roles => {
                    refuse(command, error)?;
                    self.seen_roles(data)?;
                }
                Stage::Clients => {
                    refuse(command, error)?;
                    self.seen_clients(data, guests)?;
                }
                Stage::Following => {
                    if let Some(error) = error {
                        // Somebody else changes accounts at the same time; the next connection finds what is wrong.
                        tracing::warn!(command, error, "the broker's accounts were not changed as wanted");
                    }
                }
            }
        }
        if entitled {
            self.list(Stage::Roles, 0);
        }
        Ok(if entitled { Progress::Entitled } else { Progress::Going })
    }

    fn own_role(&mut self, missing: bool, data: Value) -> Result<(), Trouble> {
        let role: Option<Role> = data.get("role").cloned().map(serde_json::from_value).transpose()?;
        let right = role.is_some_and(|role| sorted(role.acls) == sorted(server_rights()));
        if !right {
            if !missing {
                self.mending.push(json!({ "command": "deleteRole", "rolename": SERVER_ROLE }));
            }
            self.mending
                .push(json!({ "command": "createRole", "rolename": SERVER_ROLE, "acls": server_rights() }));
        }
        self.outbox.push_back(json!({ "command": "getClient", "username": self.user }));
        self.stage = Stage::OwnClient;
        Ok(())
    }

    /// Whether nothing is to be repaired.
    fn own_client(&mut self, data: Value) -> Result<bool, Trouble> {
        let client: Client = serde_json::from_value(data.get("client").cloned().unwrap_or_default())?;
        let holds = client.roles.iter().any(|held| held.rolename == SERVER_ROLE);
        if !holds || !self.mending.is_empty() {
            self.mending
                .push(json!({ "command": "addClientRole", "username": self.user, "rolename": SERVER_ROLE }));
        }
        if self.mending.is_empty() {
            return Ok(true);
        }
        // Mosquitto ends our connection over this, and the next one finds it done.
        self.outbox.extend(self.mending.drain(..));
        self.stage = Stage::OwnMended;
        Ok(false)
    }

    fn list(&mut self, stage: Stage, offset: usize) {
        let command = if stage == Stage::Roles { "listRoles" } else { "listClients" };
        self.outbox
            .push_back(json!({ "command": command, "verbose": true, "count": PAGE, "offset": offset }));
        (self.stage, self.seen) = (stage, offset);
    }

    fn seen_roles(&mut self, data: Value) -> Result<(), Trouble> {
        let Listing { total, roles, .. } = serde_json::from_value(data)?;
        let (count, seen) = (roles.len(), self.seen + roles.len());
        for Role { rolename, acls } in roles {
            if rolename == FENCE_ROLE {
                self.fence = Some(sorted(acls) == sorted(fence_rights()));
            } else if let Some(host) = rolename.strip_prefix(HOST_ROLE).and_then(|id| id.parse().ok()) {
                self.roles.insert(host, sorted(acls) == sorted(host_rights(host)));
            }
        }
        if seen < total && count > 0 {
            self.list(Stage::Roles, seen);
        } else {
            self.list(Stage::Clients, 0);
        }
        Ok(())
    }

    fn seen_clients(&mut self, data: Value, guests: &dyn Guests) -> Result<(), Trouble> {
        let Listing { total, clients, .. } = serde_json::from_value(data)?;
        let (count, seen) = (clients.len(), self.seen + clients.len());
        for client in clients {
            let Ok(host) = client.username.parse::<HostId>() else { continue };
            let Some(mark) = client.textdescription.strip_prefix(MARK) else { continue };
            let right = !client.disabled && client.clientid == client.username && client.roles == held(host);
            self.clients.insert(host, right.then(|| mark.to_owned()));
        }
        if seen < total && count > 0 {
            self.list(Stage::Clients, seen);
            return Ok(());
        }
        self.stage = Stage::Following;
        match self.fence {
            Some(true) => {}
            Some(false) => self.outbox.extend([delete_role(FENCE_ROLE), create_fence()]),
            None => self.outbox.push_back(create_fence()),
        }
        if self.fence == Some(false) {
            // With the role its holders lost it.
            self.clients.values_mut().for_each(|mark| *mark = None);
        }
        let known: Vec<HostId> = self.clients.keys().chain(self.roles.keys()).copied().collect();
        self.doubtful.extend(known.into_iter().chain(guests.hosts()));
        Ok(())
    }

    /// The commands for some of the hosts that are to be looked at.
    fn repair(&mut self, guests: &dyn Guests) {
        let mut changed = 0;
        while changed < BATCH
            && let Some(host) = self.doubtful.pop_first()
        {
            let before = self.outbox.len();
            let kicked = self.kicked.remove(&host);
            match guests.password(host) {
                Some(password) => self.admit(host, &password, kicked),
                None => self.expel(host),
            }
            changed += usize::from(self.outbox.len() > before);
        }
    }

    fn admit(&mut self, host: HostId, password: &str, kicked: bool) {
        let mark = fingerprint(password);
        let role = self.roles.insert(host, true);
        if role == Some(false) {
            self.outbox.push_back(delete_role(&role_of(host)));
        }
        if role != Some(true) {
            self.outbox.push_back(
                json!({ "command": "createRole", "rolename": role_of(host), "acls": host_rights(host) }),
            );
        }
        let client = self.clients.insert(host, Some(mark.clone()));
        if role == Some(true) && client.as_ref().is_some_and(|had| had.as_ref() == Some(&mark)) {
            if kicked {
                let command = |word: &str| json!({ "command": word, "username": host.to_string() });
                self.outbox.extend([command("disableClient"), command("enableClient")]);
            }
            return;
        }
        if client.is_some() {
            self.outbox.push_back(delete_client(host));
        }
        self.outbox.push_back(json!({
            "command": "createClient",
            "username": host.to_string(),
            "clientid": host.to_string(),
            "password": password,
            "textdescription": format!("{MARK}{mark}"),
            "roles": held(host),
        }));
    }

    fn expel(&mut self, host: HostId) {
        if self.clients.remove(&host).is_some() {
            self.outbox.push_back(delete_client(host));
        }
        if self.roles.remove(&host).is_some() {
            self.outbox.push_back(delete_role(&role_of(host)));
        }
    }
}

fn refuse(command: String, error: Option<String>) -> Result<(), Trouble> {
    error.map_or(Ok(()), |error| Err(Trouble::Refused { command, error }))
}

fn role_of(host: HostId) -> String {
    format!("{HOST_ROLE}{host}")
}

/// The roles of a host's client: its own goes first.
fn held(host: HostId) -> Vec<Held> {
    vec![
        Held { rolename: role_of(host), priority: 10 },
        Held { rolename: FENCE_ROLE.to_owned(), priority: 1 },
    ]
}

fn delete_role(name: &str) -> Value {
    json!({ "command": "deleteRole", "rolename": name })
}

fn delete_client(host: HostId) -> Value {
    json!({ "command": "deleteClient", "username": host.to_string() })
}

fn create_fence() -> Value {
    json!({ "command": "createRole", "rolename": FENCE_ROLE, "acls": fence_rights() })
}
