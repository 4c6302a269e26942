//! The talk with a plugin that is a table, to which others speak as well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use model::HostId;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::dynsec::{Dynsec, Progress};
use super::dynsec_words::{create_client, create_role, delete_client, role_of};
use super::{Guests, fingerprint};

const A: HostId = HostId::from_bytes([0xa; 16]);
const B: HostId = HostId::from_bytes([0xb; 16]);

/// The hosts there are.
struct Hosts {
    hosts: BTreeSet<HostId>,
    are_certain: AtomicBool,
}

impl Hosts {
    fn of(hosts: impl IntoIterator<Item = HostId>) -> Self {
        Self { hosts: hosts.into_iter().collect(), are_certain: AtomicBool::new(true) }
    }
}

impl Guests for Hosts {
    fn hosts(&self) -> Vec<HostId> {
        self.hosts.iter().copied().collect()
    }

    fn is_known(&self, host: HostId) -> bool {
        self.hosts.contains(&host)
    }

    fn password(&self, host: HostId) -> Option<Zeroizing<String>> {
        self.is_known(host).then(|| Zeroizing::new(secret(host)))
    }

    fn are_certain(&self) -> bool {
        self.are_certain.load(Ordering::Relaxed)
    }
}

fn secret(host: HostId) -> String {
    format!("secret-of-{host}")
}

/// What the plugin holds.
struct Plugin {
    roles: BTreeMap<String, Value>,
    clients: BTreeMap<String, Value>,
    /// Commands that it was told.
    told: Vec<String>,
}

impl Default for Plugin {
    fn default() -> Self {
        let clients = BTreeMap::from([("netloom".to_owned(), json!({ "username": "netloom", "roles": [] }))]);
        Self { roles: BTreeMap::new(), clients, told: Vec::new() }
    }
}

impl Plugin {
    /// Its answer to a message.
    fn answer(&mut self, message: &[u8]) -> Vec<u8> {
        let message: Value = serde_json::from_slice(message).unwrap();
        let answers: Vec<Value> = message["commands"]
            .as_array()
            .unwrap()
            .iter()
            .map(|command| {
                let mut answer = match self.obey(command) {
                    Ok(data) => json!({ "command": command["command"], "data": data }),
                    Err(error) => json!({ "command": command["command"], "error": error }),
                };
                answer["correlationData"] = command["correlationData"].clone();
                answer
            })
            .collect();
        json!({ "responses": answers }).to_string().into_bytes()
    }

    fn obey(&mut self, command: &Value) -> Result<Value, &'static str> {
        let name = command["command"].as_str().unwrap();
        self.told.push(name.to_owned());
        let of = |key: &str| command[key].as_str().unwrap_or_default().to_owned();
        let (role, client) = (of("rolename"), of("username"));
        let page = |all: &BTreeMap<String, Value>| -> Vec<Value> {
            let from = usize::try_from(command["offset"].as_u64().unwrap()).unwrap();
            // Smaller pages than it was asked for.
            all.values().skip(from).take(3).cloned().collect()
        };
        match name {
            "getRole" => self.roles.get(&role).map(|role| json!({ "role": role })).ok_or("Role not found"),
            "getClient" => {
                self.clients.get(&client).map(|client| json!({ "client": client })).ok_or("Client not found")
            }
            "listRoles" => Ok(json!({ "totalCount": self.roles.len(), "roles": page(&self.roles) })),
            "listClients" => Ok(json!({ "totalCount": self.clients.len(), "clients": page(&self.clients) })),
            "deleteRole" => self.roles.remove(&role).map(|_| Value::Null).ok_or("Role not found"),
            "deleteClient" => self.clients.remove(&client).map(|_| Value::Null).ok_or("Client not found"),
            "createRole" if self.roles.contains_key(&role) => Err("Role already exists"),
            "createRole" => Ok(self.roles.insert(role, command.clone()).unwrap_or_default()),
            "createClient" if self.clients.contains_key(&client) => Err("Client already exists"),
            "createClient" => Ok(self.clients.insert(client, command.clone()).unwrap_or_default()),
            "addClientRole" => {
                self.clients.get_mut(&client).unwrap()["roles"] = json!([{ "rolename": role }]);
                Ok(Value::Null)
            }
            "disableClient" | "enableClient" if self.clients.contains_key(&client) => Ok(Value::Null),
            _ => Err("Unknown command"),
        }
    }

    /// All that is said until nothing is left to say.
    fn talk(&mut self, dynsec: &mut Dynsec, hosts: &Hosts) {
        loop {
            if hosts.are_certain() {
                dynsec.compare(hosts);
            }
            let Some(message) = dynsec.next(hosts) else { return };
            let answer = self.answer(&message);
            let _progress: Progress = dynsec.take(&answer).unwrap();
            assert!(!dynsec.waits());
        }
    }

    fn has(&self, host: HostId) -> bool {
        let right = format!("netloom {}", fingerprint(&secret(host)));
        let is_right = |client: &Value| client["textdescription"] == right.as_str();
        self.roles.contains_key(&role_of(host)) && self.clients.get(&host.to_string()).is_some_and(is_right)
    }

    fn count(&self, command: &str) -> usize {
        self.told.iter().filter(|told| *told == command).count()
    }
}

fn begun(hosts: &Hosts) -> (Plugin, Dynsec) {
    let (mut plugin, mut dynsec) = (Plugin::default(), Dynsec::new("netloom", "one"));
    plugin.talk(&mut dynsec, hosts);
    (plugin, dynsec)
}

#[test]
fn each_host_gets_its_account_once_and_whoever_comes_anew_changes_nothing() {
    let hosts = Hosts::of((0..20).map(|number| HostId::from_bytes([number; 16])));
    let (mut plugin, _) = begun(&hosts);
    assert!(hosts.hosts.iter().all(|host| plugin.has(*host)));
    assert_eq!((plugin.count("createClient"), plugin.count("createRole")), (20, 22));
    plugin.told.clear();
    plugin.talk(&mut Dynsec::new("netloom", "two"), &hosts);
    assert!(plugin.told.iter().all(|told| told.starts_with("get") || told.starts_with("list")));
}

#[test]
fn what_the_plugin_answers_to_others_is_not_taken_for_an_answer_to_us() {
    let hosts = Hosts::of([A, B]);
    let (mut plugin, _) = begun(&hosts);
    plugin.told.clear();
    let question = json!({ "commands": [{ "command": "getClient", "username": "netloom" }] }).to_string();
    let mut dynsec = Dynsec::new("netloom", "two");
    loop {
        dynsec.compare(&hosts);
        let Some(message) = dynsec.next(&hosts) else { break };
        let other = plugin.answer(question.as_bytes());
        let another = String::from_utf8(plugin.answer(&message)).unwrap().replace("two ", "three ");
        for other in [other, another.into_bytes()] {
            assert_eq!(dynsec.take(&other).unwrap(), Progress::Going);
            assert!(dynsec.waits(), "it took what was said to somebody else");
        }
        dynsec.take(&plugin.answer(&message)).unwrap();
    }
    assert_eq!(plugin.count("createClient"), 0, "accounts were made that are there");
}

#[test]
fn what_others_do_meanwhile_is_found_when_all_is_looked_at_again() {
    let hosts = Hosts::of([A, B]);
    let (mut plugin, mut dynsec) = begun(&hosts);
    plugin.obey(&delete_client(A)).unwrap();
    plugin.roles.get_mut(&role_of(B)).unwrap()["acls"] = json!([]);
    plugin.roles.remove("netloom-fence");
    plugin.talk(&mut dynsec, &hosts);
    assert!(!plugin.has(A), "nobody has looked");
    dynsec.look_at_all();
    plugin.talk(&mut dynsec, &hosts);
    assert!(plugin.has(A) && plugin.has(B) && plugin.roles.contains_key("netloom-fence"));
    assert_ne!(plugin.roles[&role_of(B)]["acls"], json!([]));
    plugin.told.clear();
    dynsec.look_at_all();
    plugin.talk(&mut dynsec, &hosts);
    assert!(plugin.told.iter().all(|told| told.starts_with("list")), "{:?}", plugin.told);
}

#[test]
fn an_account_that_is_there_already_is_brought_to_what_it_should_be() {
    let hosts = Hosts::of([A]);
    let (mut plugin, mut dynsec) = begun(&Hosts::of([]));
    // As it should be.
    plugin.obey(&create_role(A)).unwrap();
    plugin.obey(&create_client(A, &secret(A), &fingerprint(&secret(A)))).unwrap();
    plugin.told.clear();
    dynsec.look_at([A]);
    plugin.talk(&mut dynsec, &hosts);
    assert!(plugin.has(A));
    assert_eq!(plugin.count("deleteClient"), 0, "it was right, and its connection was ended");
    // By another password.
    let (mut plugin, mut dynsec) = begun(&Hosts::of([]));
    plugin.obey(&create_client(A, "former", &fingerprint("former"))).unwrap();
    dynsec.look_at([A]);
    plugin.talk(&mut dynsec, &hosts);
    assert!(plugin.has(A));
    // Gone before it is removed.
    plugin.obey(&delete_client(A)).unwrap();
    dynsec.kick(A);
    plugin.talk(&mut dynsec, &Hosts::of([]));
    assert!(!plugin.roles.contains_key(&role_of(A)));
}

#[test]
fn a_client_of_somebody_else_is_left_alone_and_not_tried_for_ever() {
    let hosts = Hosts::of([A]);
    let theirs = json!({ "username": A.to_string(), "roles": [] });
    let (mut plugin, mut dynsec) = (Plugin::default(), Dynsec::new("netloom", "one"));
    plugin.clients.insert(A.to_string(), theirs.clone());
    plugin.talk(&mut dynsec, &hosts);
    assert_eq!((plugin.clients[&A.to_string()].clone(), plugin.count("createClient")), (theirs, 2));
}

#[test]
fn no_account_is_changed_while_somebody_else_may_lead() {
    let (mut plugin, mut dynsec) = begun(&Hosts::of([A]));
    let hosts = Hosts::of([B]);
    hosts.are_certain.store(false, Ordering::Relaxed);
    dynsec.look_at([B]);
    dynsec.kick(A);
    dynsec.look_at_all();
    plugin.talk(&mut dynsec, &hosts);
    assert!(plugin.has(A) && !plugin.has(B) && dynsec.has_seen_all());
    let mut anew = Dynsec::new("netloom", "two");
    plugin.talk(&mut anew, &hosts);
    assert!(plugin.has(A) && !plugin.has(B) && anew.has_seen_all());
    hosts.are_certain.store(true, Ordering::Relaxed);
    plugin.talk(&mut dynsec, &hosts);
    assert!(!plugin.has(A) && plugin.has(B) && !dynsec.has_seen_all());
}

#[test]
fn what_was_seen_is_compared_only_when_the_newest_is_known() {
    let hosts = Hosts::of([A]);
    let (mut plugin, mut dynsec) = (Plugin::default(), Dynsec::new("netloom", "one"));
    while let Some(message) = dynsec.next(&hosts) {
        dynsec.take(&plugin.answer(&message)).unwrap();
    }
    assert!(dynsec.has_seen_all() && !plugin.has(A));
    plugin.talk(&mut dynsec, &hosts);
    assert!(plugin.has(A) && !dynsec.has_seen_all());
}

#[test]
fn where_an_answer_lacks_something_all_is_looked_at_again() {
    let (mut plugin, mut dynsec) = begun(&Hosts::of([A]));
    let hosts = Hosts::of([A, B]);
    dynsec.look_at([B]);
    let message = dynsec.next(&hosts).unwrap();
    let mut answer: Value = serde_json::from_slice(&plugin.answer(&message)).unwrap();
    answer["responses"].as_array_mut().unwrap().pop();
    dynsec.take(answer.to_string().as_bytes()).unwrap();
    let before = plugin.count("listRoles");
    plugin.talk(&mut dynsec, &hosts);
    assert!(plugin.count("listRoles") > before && plugin.has(B));
}
