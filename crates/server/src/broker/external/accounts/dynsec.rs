//! What Mosquitto's dynamic security plugin is told, so that it lets exactly our hosts in: a role and a client for each.
//!
//! ```text
//!   own rights ─▶ roles there, page by page ─▶ clients there ─▶ what differs, a batch at a time ─▶ what changes from now on
//!                      ▲                                                                                   │
//!                      └───────────────────────────── every now and then ──────────────────────────────────┘
//! ```
//!
//! Pure: messages out, answers in; it knows no connection. It keeps true that one message is on its way at a time, that only its
//! own answer is taken for it (the plugin tells everybody who listens), that a batch is small (Mosquitto writes its whole file at
//! each command, and serves nobody meanwhile), that hosts' accounts are changed only while it is certain which hosts there are,
//! and that only what bears our mark is changed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::HostId;
use serde_json::Value;

use super::dynsec_rights::{fence_rights, host_rights, server_rights};
use super::dynsec_words::{
    Answer, Answers, Client, FENCE_ROLE, Listing, Role, SERVER_ROLE, create_client, create_fence,
    create_role, create_server_role, delete_client, delete_role, get_client, get_role, kick_client, list,
    role_of, take_server_role,
};
use super::{Guests, fingerprint};

pub(in super::super) use super::dynsec_words::marked;

/// Where the plugin is told.
pub(in super::super) const CONTROL: &str = "$CONTROL/dynamic-security/v1";
/// Where it answers.
pub(in super::super) const ANSWERS: &str = "$CONTROL/dynamic-security/v1/response";

/// Hosts changed by one message.
const BATCH: usize = 5;

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
    /// All was seen, and waits to be compared with the hosts there are.
    Seen,
    Following,
}

/// What a command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// The stage at which we are.
    Stage,
    /// The fence.
    Fence,
    /// To change the account of this host, and perhaps to end its connection.
    Change {
        host: HostId,
        kicks: bool,
    },
    /// To look at a host's role again, and at its client.
    SeeRole(HostId),
    SeeClient(HostId),
}

/// The talk with the plugin of one connection.
pub(in super::super) struct Dynsec {
    user: String,
    /// Ours alone among all who ask the plugin, and which of our messages this is.
    name: String,
    said: u64,
    stage: Stage,
    /// How much of a list was seen.
    seen: usize,
    outbox: VecDeque<(Aim, Value)>,
    /// What was said and is not answered yet.
    awaited: Vec<Aim>,
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
    /// Hosts whose account was not as was thought, and is changed a second time.
    surprising: BTreeSet<HostId>,
    /// All is to be looked at again.
    is_due: bool,
}

impl Dynsec {
    /// Begins; the server's own user name is this, and nobody else speaks to the plugin under this `name`.
    pub(in super::super) fn new(user: &str, name: &str) -> Self {
        Self {
            user: user.to_owned(),
            name: name.to_owned(),
            said: 0,
            stage: Stage::OwnRole,
            seen: 0,
            outbox: VecDeque::from([(Aim::Stage, get_role(SERVER_ROLE))]),
            awaited: Vec::new(),
            mending: Vec::new(),
            roles: BTreeMap::new(),
            fence: None,
            clients: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            kicked: BTreeSet::new(),
            surprising: BTreeSet::new(),
            is_due: false,
        }
    }

    /// These hosts came, went or have other keys.
    pub(in super::super) fn look_at(&mut self, hosts: impl IntoIterator<Item = HostId>) {
        self.doubtful.extend(hosts);
    }

    /// Somebody else may have changed any account: all are looked at, once nothing else is to be done.
    pub(in super::super) const fn look_at_all(&mut self) {
        self.is_due = true;
    }

    /// This host's connection is to end.
    pub(in super::super) fn kick(&mut self, host: HostId) {
        self.kicked.insert(host);
        self.doubtful.insert(host);
    }

    /// Whether an answer is waited for.
    pub(in super::super) const fn waits(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Whether all was seen, and is now to be [compared](Self::compare) with the newest that is known of hosts.
    pub(in super::super) fn has_seen_all(&self) -> bool {
        self.stage == Stage::Seen
    }

    /// What to say next, if anything.
    pub(in super::super) fn next(&mut self, guests: &dyn Guests) -> Option<Vec<u8>> {
        if self.waits() || self.stage == Stage::Seen {
            return None;
        }
        if self.stage == Stage::Following {
            if !guests.are_certain() {
                // Whoever else leads now changes accounts, and hosts: both are learnt anew.
                self.list_all();
            }
            if self.outbox.is_empty() {
                self.repair(guests);
            }
            if self.outbox.is_empty() && self.is_due {
                self.list_all();
            }
        }
        if self.outbox.is_empty() {
            return None;
        }
        self.said += 1;
        let mark = self.mark();
        let (aims, commands): (Vec<Aim>, Vec<Value>) =
            self.outbox.drain(..).map(|(aim, command)| (aim, marked(command, &mark))).unzip();
        self.awaited = aims;
        Some(serde_json::json!({ "commands": commands }).to_string().into_bytes())
    }

    /// What the message bears that was said last.
    fn mark(&self) -> String {
        format!("{} {}", self.name, self.said)
    }

    /// Takes an answer. One to somebody else changes nothing.
    pub(in super::super) fn take(&mut self, answer: &[u8]) -> Result<Progress, Trouble> {
        let Answers { responses } = serde_json::from_slice(answer)?;
        let mark = self.mark();
        let ours: Vec<Answer> =
            responses.into_iter().filter(|answer| answer.mark.as_ref() == Some(&mark)).collect();
        if ours.is_empty() {
            return Ok(Progress::Going);
        }
        // Which of them is missing is not known.
        self.is_due |= ours.len() != self.awaited.len();
        let mut entitled = false;
        let (mut changed, mut refused) = (BTreeSet::new(), BTreeMap::new());
        for (aim, answer) in std::mem::take(&mut self.awaited).into_iter().zip(ours) {
            match aim {
                Aim::Stage => entitled |= self.go_on(answer)?,
                Aim::Fence => {
                    if let Answer { command, error: Some(error), .. } = answer {
                        tracing::warn!(command, error, "the broker does not take the role {FENCE_ROLE}");
                    }
                }
                Aim::Change { host, kicks } => {
                    changed.insert(host);
                    if let Answer { command, error: Some(error), .. } = answer {
                        refused.entry(host).or_insert((kicks, command, error));
                    }
                }
                Aim::SeeRole(host) => self.saw_role(host, answer)?,
                Aim::SeeClient(host) => self.saw_client(host, answer)?,
            }
        }
        self.surprising.retain(|host| !changed.contains(host) || refused.contains_key(host));
        for (host, (kicks, command, error)) in refused {
            self.doubt(host, kicks, &command, &error);
        }
        if entitled {
            self.list_all();
        }
        Ok(if entitled { Progress::Entitled } else { Progress::Going })
    }

    /// Whether the server has its own rights from now on.
    fn go_on(&mut self, Answer { command, error, data, .. }: Answer) -> Result<bool, Trouble> {
        let mut entitled = false;
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
                self.seen_clients(data)?;
            }
            Stage::Seen | Stage::Following => {}
        }
        Ok(entitled)
    }

    fn own_role(&mut self, missing: bool, data: Value) -> Result<(), Trouble> {
        let role: Option<Role> = data.get("role").cloned().map(serde_json::from_value).transpose()?;
        let right = role.is_some_and(|role| role.gives(server_rights()));
        if !right {
            if !missing {
                self.mending.push(delete_role(SERVER_ROLE));
            }
            self.mending.push(create_server_role());
        }
        self.outbox.push_back((Aim::Stage, get_client(&self.user)));
        self.stage = Stage::OwnClient;
        Ok(())
    }

    /// Whether nothing is to be repaired.
    fn own_client(&mut self, data: Value) -> Result<bool, Trouble> {
        let client: Client = serde_json::from_value(data.get("client").cloned().unwrap_or_default())?;
        if !client.holds(SERVER_ROLE) || !self.mending.is_empty() {
            self.mending.push(take_server_role(&self.user));
        }
        if self.mending.is_empty() {
            return Ok(true);
        }
        // Mosquitto ends our connection over this, and the next one finds it done.
        self.outbox.extend(self.mending.drain(..).map(|command| (Aim::Stage, command)));
        self.stage = Stage::OwnMended;
        Ok(false)
    }

    fn list_all(&mut self) {
        self.is_due = false;
        self.outbox.clear();
        self.roles.clear();
        self.clients.clear();
        self.surprising.clear();
        self.fence = None;
        self.list(Stage::Roles, 0);
    }

    fn list(&mut self, stage: Stage, offset: usize) {
        let command = if stage == Stage::Roles { "listRoles" } else { "listClients" };
        self.outbox.push_back((Aim::Stage, list(command, offset)));
        (self.stage, self.seen) = (stage, offset);
    }

    fn seen_roles(&mut self, data: Value) -> Result<(), Trouble> {
        let Listing { total, roles, .. } = serde_json::from_value(data)?;
        let (count, seen) = (roles.len(), self.seen + roles.len());
        for role in roles {
            if role.rolename == FENCE_ROLE {
                self.fence = Some(role.gives(fence_rights()));
            } else if let Some(host) = role.host() {
                self.roles.insert(host, role.gives(host_rights(host)));
            }
        }
        if seen < total && count > 0 {
            self.list(Stage::Roles, seen);
        } else {
            self.list(Stage::Clients, 0);
        }
        Ok(())
    }

    fn seen_clients(&mut self, data: Value) -> Result<(), Trouble> {
        let Listing { total, clients, .. } = serde_json::from_value(data)?;
        let (count, seen) = (clients.len(), self.seen + clients.len());
        self.clients.extend(clients.iter().filter_map(Client::of_host));
        if seen < total && count > 0 {
            self.list(Stage::Clients, seen);
        } else {
            self.stage = Stage::Seen;
        }
        Ok(())
    }

    /// Compares what was seen with the hosts that there are.
    pub(in super::super) fn compare(&mut self, guests: &dyn Guests) {
        if self.stage != Stage::Seen {
            return;
        }
        self.stage = Stage::Following;
        match self.fence {
            Some(true) => {}
            Some(false) => {
                self.outbox.extend([(Aim::Fence, delete_role(FENCE_ROLE)), (Aim::Fence, create_fence())]);
                // With the role its holders lost it.
                self.clients.values_mut().for_each(|mark| *mark = None);
            }
            None => self.outbox.push_back((Aim::Fence, create_fence())),
        }
        let known: Vec<HostId> = self.clients.keys().chain(self.roles.keys()).copied().collect();
        self.doubtful.extend(known.into_iter().chain(guests.hosts()));
    }

    /// The commands for some of the hosts that are to be looked at.
    fn repair(&mut self, guests: &dyn Guests) {
        let mut changed = 0;
        while changed < BATCH
            && let Some(host) = self.doubtful.pop_first()
        {
            let kicks = self.kicked.remove(&host);
            let commands = match guests.password(host) {
                Some(password) => self.admit(host, &password, kicks),
                None => self.expel(host),
            };
            if commands.is_empty() {
                self.surprising.remove(&host);
            }
            changed += usize::from(!commands.is_empty());
            self.outbox.extend(commands.into_iter().map(|command| (Aim::Change { host, kicks }, command)));
        }
    }

    fn admit(&mut self, host: HostId, password: &str, kicks: bool) -> Vec<Value> {
        let mark = fingerprint(password);
        let mut commands = Vec::new();
        let role = self.roles.insert(host, true);
        if role == Some(false) {
            commands.push(delete_role(&role_of(host)));
        }
        if role != Some(true) {
            commands.push(create_role(host));
        }
        let client = self.clients.insert(host, Some(mark.clone()));
        if role == Some(true) && client.as_ref().is_some_and(|had| had.as_ref() == Some(&mark)) {
            if kicks {
                commands.extend(kick_client(host));
            }
            return commands;
        }
        if client.is_some() {
            commands.push(delete_client(host));
        }
        commands.push(create_client(host, password, &mark));
        commands
    }

    fn expel(&mut self, host: HostId) -> Vec<Value> {
        let client = self.clients.remove(&host).map(|_| delete_client(host));
        let role = self.roles.remove(&host).map(|_| delete_role(&role_of(host)));
        client.into_iter().chain(role).collect()
    }

    /// A host's account was not as we thought: somebody else changed it since we looked. We look again, and change it once more.
    fn doubt(&mut self, host: HostId, kicks: bool, command: &str, error: &str) {
        if !self.surprising.insert(host) {
            self.surprising.remove(&host);
            tracing::warn!(
                %host, command, error,
                "the broker does not change the account of a host as it is told; a client of this name that is not ours stays, and \
                 keeps the host out until somebody removes it"
            );
            return;
        }
        if kicks {
            self.kicked.insert(host);
        }
        self.outbox.extend([
            (Aim::SeeRole(host), get_role(&role_of(host))),
            (Aim::SeeClient(host), get_client(&host.to_string())),
        ]);
    }

    fn saw_role(&mut self, host: HostId, Answer { error, data, .. }: Answer) -> Result<(), Trouble> {
        self.roles.remove(&host);
        if error.is_none() {
            let role: Role = serde_json::from_value(data.get("role").cloned().unwrap_or_default())?;
            self.roles.insert(host, role.gives(host_rights(host)));
        }
        Ok(())
    }

    fn saw_client(&mut self, host: HostId, Answer { error, data, .. }: Answer) -> Result<(), Trouble> {
        self.clients.remove(&host);
        if error.is_none() {
            let client: Client = serde_json::from_value(data.get("client").cloned().unwrap_or_default())?;
            self.clients.extend(client.of_host());
        }
        self.doubtful.insert(host);
        Ok(())
    }
}

fn refuse(command: String, error: Option<String>) -> Result<(), Trouble> {
    error.map_or(Ok(()), |error| Err(Trouble::Refused { command, error }))
}
