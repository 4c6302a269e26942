//! Bringing everything to what a document says.

use control::{Actor, Command, NewClient, Record, RecordKey};
use model::{Access, HostId, RecordData, Role, Subject, Uses};

use crate::office::{Office, refused};
use crate::server::{Server, digest, hash, machine};

fn exported(server: &Server) -> Vec<Record> {
    server.intent.records().collect()
}

fn import(records: Vec<Record>, prune: bool) -> Command {
    Command::Import { records, prune, seen: None }
}

/// A document in which some records are otherwise.
fn edited(server: &Server, mut edit: impl FnMut(&mut Record)) -> Command {
    let mut document = exported(server);
    document.iter_mut().for_each(&mut edit);
    import(document, false)
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
    assert_eq!(refused(office.give(import(document, false)), &["host `wpad`: "]), "import-refused");
}

#[test]
fn a_password_that_was_changed_meanwhile_stays_changed() {
    let mut server = Server::new();
    let anna = server.user("anna", Role::Administrator);
    server.key(1, &[], Uses::Unlimited, None);
    let document = exported(&server);
    let change = Command::ChangePassword { user: anna, password: hash("two"), keep: None };
    server.system(change).unwrap();
    assert!(server.system(import(document.clone(), true)).unwrap().is_empty());
    assert_eq!(server.intent.user(anna).unwrap().password, hash("two"));
    // A key that was removed meanwhile does not come back by the digest that a document would bring.
    let key = server.intent.enrollment_keys(None).next().unwrap().id;
    server.system(Command::DeleteEnrollmentKey { key }).unwrap();
    assert!(server.system(import(document, true)).unwrap().is_empty());
    assert!(server.intent.enrollment_key_by_digest(&digest(1)).is_none());
}

#[test]
fn an_account_of_the_same_name_is_the_same_account() {
    let mut old = Office::new();
    let admin = old.server.user("admin", Role::Administrator);
    let new = NewClient { owner: Some(admin), ..old.new_client("phone", &["ada"]) };
    let phone = old.make_client(new);
    old.policy("mine", &[Subject::User(admin)], &[Subject::Everything]);
    let subjects = (Subject::User(admin), Subject::Everything);
    let (network, service) = (old.network, "icmp".parse().unwrap());
    let (from, to) = subjects;
    let test = Command::CreatePolicyTest { network, from, to, service, expect: Access::Allow };
    old.give(test).unwrap();
    let document = exported(&old.server);
    for prune in [false, true] {
        let mut server = Server::new();
        // Another server, another first account.
        server.wait(60);
        let here = server.user("admin", Role::Administrator);
        assert_ne!(here, admin);
        server.give(Actor::User(here), import(document.clone(), prune)).unwrap();
        let account = server.intent.user(here).unwrap();
        assert_eq!((account.name.as_str(), account.password.clone()), ("admin", hash("one")));
        assert!(server.intent.user(admin).is_none());
        assert_eq!(server.intent.client(phone).unwrap().owner, Some(here));
        let policy = server.intent.policies_in_network(network).next().unwrap();
        assert!(policy.from.contains(&Subject::User(here)), "{policy:?}");
        let test = server.intent.policy_tests_in_network(network).next().unwrap();
        assert_eq!(test.from, Subject::User(here));
        assert!(server.give(Actor::User(here), import(document.clone(), prune)).unwrap().is_empty());
    }
    let mut server = Server::new();
    let root = server.user("root", Role::Administrator);
    server.give(Actor::User(root), import(document.clone(), false)).unwrap();
    let locked = server.give(Actor::User(root), import(document, true));
    assert_eq!(refused(locked, &["import without removing"]), "import-locks-out");
}

#[test]
fn what_no_command_would_make_no_document_makes() {
    let mut office = Office::new();
    office.egress("plant", "192.168.7.0/24", &["cleo"]);
    let van = NewClient {
        ranges: ["192.168.20.0/24".parse().unwrap()].into(),
        ..office.new_client("van", &["ada"])
    };
    office.make_client(van);
    office.policy("web", &[Subject::Everything], &[Subject::Everything]);
    let mut refuses = |edit: &dyn Fn(&mut Record), words: &[&str]| {
        let command = edited(&office.server, edit);
        assert_eq!(refused(office.give(command), words), "import-refused");
    };
    let range = |text: &'static str| {
        move |record: &mut Record| {
            if let Record::Egress(egress) = record {
                egress.range = text.parse().unwrap();
            }
        }
    };
    let plant = "egress range `plant` of network `office`: ";
    refuses(&range("127.0.0.0/8"), &[plant, "loopback"]);
    refuses(&range("224.0.0.0/4"), &[plant, "too large"]);
    refuses(&range("224.1.0.0/16"), &[plant, "multicast"]);
    refuses(&range("64.0.0.0/2"), &[plant, "too large"]);
    let own = |record: &mut Record| {
        if let Record::Egress(egress) = record {
            (egress.range, egress.mapped) = ("10.7.0.0/24".parse().unwrap(), "10.99.0.0/24".parse().ok());
        }
    };
    refuses(&own, &[plant, "10.7.0.0/24 overlaps"]);
    let none = |record: &mut Record| {
        if let Record::Egress(egress) = record {
            egress.routers.clear();
        }
    };
    refuses(&none, &[plant, "at least one router"]);
    let behind = |record: &mut Record| {
        if let Record::Client(client) = record {
            client.ranges = ["169.254.0.0/16".parse().unwrap()].into();
        }
    };
    refuses(&behind, &["client `van` of network `office`: ", "link-local"]);
    let wordy = |record: &mut Record| {
        if let Record::Policy(policy) = record {
            policy.services = (1..=33).map(|port| format!("tcp/{port}").parse().unwrap()).collect();
        }
    };
    refuses(&wordy, &["policy `web` of network `office`: ", "at most 32"]);
    let tagged = |record: &mut Record| {
        if let Record::Node(node) = record {
            node.tags = (0..65).map(|number| format!("t{number}").parse().unwrap()).collect();
        }
    };
    refuses(&tagged, &["in network `office`: ", "at most 64 tags"]);
}

#[test]
fn a_document_brings_no_name_and_no_name_server_that_cannot_be() {
    let mut office = Office::new();
    let network = office.network;
    let data = RecordData::Txt { text: "x".to_owned() };
    let record = Command::CreateDnsRecord { network, name: "www".parse().ok(), ttl: 60, data };
    office.give(record).unwrap();
    let servers = vec!["10.0.0.53:53".parse().unwrap()];
    let domain = "corp.example".parse().unwrap();
    office.give(Command::CreateUpstream { network, domain, servers }).unwrap();
    let mut refuses = |edit: &dyn Fn(&mut Record), words: &[&str]| {
        let command = edited(&office.server, edit);
        assert_eq!(refused(office.give(command), words), "import-refused");
    };
    let name = |record: &mut Record| {
        if let Record::DnsRecord(record) = record {
            record.name = "wpad".parse().ok();
        }
    };
    refuses(&name, &["DNS record at `wpad` of network `office`: "]);
    let ttl = |record: &mut Record| {
        if let Record::DnsRecord(record) = record {
            record.ttl = u32::MAX;
        }
    };
    refuses(&ttl, &["DNS record at `www`", "at most 604800 seconds"]);
    let server = |record: &mut Record| {
        if let Record::Upstream(upstream) = record {
            upstream.servers = vec!["224.0.0.1:53".parse().unwrap()];
        }
    };
    refuses(&server, &["name servers for `corp.example`", "cannot be asked"]);
}

#[test]
fn what_was_changed_since_somebody_looked_is_not_overwritten() {
    let mut office = Office::new();
    let records = exported(&office.server);
    let seen = office.server.intent.seq();
    let import = |records: &[Record], seen| Command::Import { records: records.to_vec(), prune: true, seen };
    office.client("phone", &["ada"]);
    let stale = office.give(import(&records, Some(seen)));
    assert_eq!(refused(stale, &["look again"]), "import-stale");
    let seen = office.server.intent.seq();
    assert_eq!(office.give(import(&records, Some(seen))).unwrap().records.len(), 1);
}
