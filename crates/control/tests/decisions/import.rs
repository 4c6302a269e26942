//! Bringing everything to what a document says.

use control::{Actor, Command, Record, RecordKey};
use model::{HostId, Role, Uses};

use crate::office::{Office, refused};
use crate::server::{Server, machine};

fn exported(server: &Server) -> Vec<Record> {
    server.intent.records().collect()
}

fn import(records: Vec<Record>, prune: bool) -> Command {
    Command::Import { records, prune }
}

#[test]
fn a_document_of_what_is_there_changes_nothing() {
    let mut office = Office::new();
    let document = exported(&office.server);
    assert!(office.give(import(document.clone(), false)).unwrap().is_empty());
    assert!(office.give(import(document, true)).unwrap().is_empty());
}

#[test]
fn what_is_in_no_document_goes_only_when_that_is_asked_for() {
    let mut office = Office::new();
    let document = exported(&office.server);
    let phone = office.client("phone", &["ada"]);
    assert!(office.give(import(document.clone(), false)).unwrap().is_empty());
    assert_eq!(office.give(import(document, true)).unwrap().records.len(), 1);
    assert!(office.server.intent.record(RecordKey::from(phone)).is_none());
}

#[test]
fn a_document_that_does_not_hold_together_is_refused_and_says_where() {
    let mut office = Office::new();
    let networks = |record: &Record| !matches!(record, Record::Network(_));
    let without: Vec<Record> = exported(&office.server).into_iter().filter(networks).collect();
    let broken = office.give(import(without, true));
    assert_eq!(refused(broken, &["which is not there", "network"]), "import-broken");
    let twice: Vec<Record> = exported(&office.server).into_iter().cycle().take(100).collect();
    assert_eq!(refused(office.give(import(twice, false)), &["twice"]), "import-broken");
}

#[test]
fn a_use_that_was_spent_stays_spent_and_a_host_keeps_its_keys() {
    let mut server = Server::new();
    let network = server.network("office", "10.7.0.0/24");
    server.key(1, &[network], Uses::Left(3), None);
    server.register(machine(1, Some(1))).unwrap();
    let document = exported(&server);
    server.register(machine(2, Some(1))).unwrap();
    let host: HostId = server.intent.hosts(None).next().unwrap().id;
    let key = model::WgPublicKey::from_bytes([99; 32]);
    server.give(Actor::Host(host), Command::OwnKey(key)).unwrap();
    assert!(server.system(import(document, false)).unwrap().is_empty());
    assert_eq!(server.intent.host(host).unwrap().wireguard_key, key);
    assert_eq!(server.intent.enrollment_keys(None).next().unwrap().uses, Uses::Left(1));
}

#[test]
fn nobody_imports_himself_out() {
    let mut server = Server::new();
    let anna = server.user("anna", Role::Administrator);
    server.user("bert", Role::Administrator);
    let without =
        exported(&server).into_iter().filter(|record| record.key() != RecordKey::from(anna)).collect();
    let locked = server.give(Actor::User(anna), import(without, true));
    assert_eq!(refused(locked, &["your own account"]), "import-locks-out");
}

#[test]
fn a_name_that_nobody_may_have_is_refused() {
    let mut office = Office::new();
    let mut document = exported(&office.server);
    for record in &mut document {
        if let Record::Host(host) = record
            && host.name.as_str() == "ada"
        {
            host.name = "wpad".parse().unwrap();
        }
    }
    assert_eq!(refused(office.give(import(document, false)), &["wpad"]), "name-reserved");
}
