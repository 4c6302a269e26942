//! What Mosquitto's dynamic security plugin says, and the commands that it is told.
//!
//! Not for what is said when. It keeps true that what is ours bears our mark: roles in their names, clients in what they say of
//! themselves.

use model::HostId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::dynsec_rights::{Right, fence_rights, host_rights, server_rights, sorted};

/// The server's own rights.
pub(super) const SERVER_ROLE: &str = "netloom-server";
/// What no host may, whatever the broker lets others do.
pub(super) const FENCE_ROLE: &str = "netloom-fence";
/// The rights of a host: this and its id.
const HOST_ROLE: &str = "netloom-host-";
/// Clients of ours say this and the fingerprint of their password.
const MARK: &str = "netloom ";
/// Roles or clients in one answer.
const PAGE: usize = 200;

#[derive(Debug, Deserialize)]
pub(super) struct Role {
    pub(super) rolename: String,
    #[serde(default)]
    acls: Vec<Right>,
}

impl Role {
    /// Whose role it is.
    pub(super) fn host(&self) -> Option<HostId> {
        self.rolename.strip_prefix(HOST_ROLE)?.parse().ok()
    }

    /// Whether it gives exactly these rights.
    pub(super) fn gives(self, rights: Vec<Right>) -> bool {
        sorted(self.acls) == sorted(rights)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Client {
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

impl Client {
    /// Whether it has this role.
    pub(super) fn holds(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held.rolename == role)
    }

    /// Whose client it is, where it is ours, and the fingerprint of what it logs in by, where all else is as it should be.
    pub(super) fn of_host(&self) -> Option<(HostId, Option<String>)> {
        let host = self.username.parse::<HostId>().ok()?;
        let mark = self.textdescription.strip_prefix(MARK)?;
        let right = !self.disabled && self.clientid == self.username && self.roles == held(host);
        Some((host, right.then(|| mark.to_owned())))
    }
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Held {
    rolename: String,
    #[serde(default)]
    priority: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Answers {
    pub(super) responses: Vec<Answer>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) command: String,
    pub(super) error: Option<String>,
    /// What the question bore: all who listen hear all answers.
    #[serde(rename = "correlationData")]
    pub(super) mark: Option<String>,
    #[serde(default)]
    pub(super) data: Value,
}

#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    #[serde(rename = "totalCount", default)]
    pub(super) total: usize,
    #[serde(default)]
    pub(super) roles: Vec<Role>,
    #[serde(default)]
    pub(super) clients: Vec<Client>,
}

/// What bears this mark is answered with it.
pub(in super::super) fn marked(mut command: Value, mark: &str) -> Value {
    command["correlationData"] = mark.into();
    command
}

pub(super) fn role_of(host: HostId) -> String {
    format!("{HOST_ROLE}{host}")
}

/// The roles of a host's client: its own goes first.
fn held(host: HostId) -> Vec<Held> {
    vec![
        Held { rolename: role_of(host), priority: 10 },
        Held { rolename: FENCE_ROLE.to_owned(), priority: 1 },
    ]
}

pub(super) fn get_role(name: &str) -> Value {
    json!({ "command": "getRole", "rolename": name })
}

pub(super) fn get_client(name: &str) -> Value {
    json!({ "command": "getClient", "username": name })
}

pub(super) fn list(command: &str, offset: usize) -> Value {
    json!({ "command": command, "verbose": true, "count": PAGE, "offset": offset })
}

pub(super) fn delete_role(name: &str) -> Value {
    json!({ "command": "deleteRole", "rolename": name })
}

pub(super) fn create_server_role() -> Value {
    json!({ "command": "createRole", "rolename": SERVER_ROLE, "acls": server_rights() })
}

pub(super) fn take_server_role(user: &str) -> Value {
    json!({ "command": "addClientRole", "username": user, "rolename": SERVER_ROLE })
}

pub(super) fn create_fence() -> Value {
    json!({ "command": "createRole", "rolename": FENCE_ROLE, "acls": fence_rights() })
}

pub(super) fn create_role(host: HostId) -> Value {
    json!({ "command": "createRole", "rolename": role_of(host), "acls": host_rights(host) })
}

pub(super) fn create_client(host: HostId, password: &str, mark: &str) -> Value {
    json!({
        "command": "createClient",
        "username": host.to_string(),
        "clientid": host.to_string(),
        "password": password,
        "textdescription": format!("{MARK}{mark}"),
        "roles": held(host),
    })
}

pub(super) fn delete_client(host: HostId) -> Value {
    json!({ "command": "deleteClient", "username": host.to_string() })
}

/// Ends its connection, and lets it in again.
pub(super) fn kick_client(host: HostId) -> [Value; 2] {
    ["disableClient", "enableClient"]
        .map(|command| json!({ "command": command, "username": host.to_string() }))
}
