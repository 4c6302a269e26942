//! DNS records, name servers and domains.

use control::{Change, ClientEdit, Command, Edit, NetworkEdit, Rejection};
use model::{DnsName, DnsRecordId, NetworkId, RecordData, UpstreamId};

use crate::office::{Office, refused};
use crate::server::machine;

fn name(text: &str) -> DnsName {
    text.parse().unwrap()
}

fn a(last: u8) -> RecordData {
    RecordData::A { address: [192, 0, 2, last].into() }
}

fn cname() -> RecordData {
    RecordData::Cname { target: name("example.org") }
}

fn record(office: &mut Office, at: &str, data: RecordData) -> Result<Change, Rejection> {
    let (network, name) = (office.network, Some(name(at)));
    office.give(Command::CreateDnsRecord { network, name, ttl: 60, data })
}

fn id(office: &Office, at: &str) -> DnsRecordId {
    office.server.intent.dns_records_at(office.network, Some(&name(at))).next().unwrap().id
}

#[test]
fn a_cname_stands_alone_and_never_at_the_domain() {
    let mut office = Office::new();
    record(&mut office, "www", cname()).unwrap();
    assert_eq!(refused(record(&mut office, "www", a(1)), &["`www`", "`office`"]), "not-beside-cname");
    record(&mut office, "mail", a(1)).unwrap();
    assert_eq!(refused(record(&mut office, "mail", cname()), &["`mail`"]), "not-beside-cname");
    record(&mut office, "mail", a(2)).unwrap();
    assert_eq!(refused(record(&mut office, "mail", a(2)), &["`mail`"]), "dns-record-exists");
    let network = office.network;
    let at_domain = Command::CreateDnsRecord { network, name: None, ttl: 60, data: cname() };
    assert_eq!(refused(office.give(at_domain), &["`office`"]), "cname-at-domain");
    let edit = Command::UpdateDnsRecord { record: id(&office, "mail"), ttl: None, data: Some(cname()) };
    assert_eq!(refused(office.give(edit), &["`mail`"]), "not-beside-cname");
    let record = DnsRecordId::from_bytes([9; 16]);
    assert_eq!(office.give(Command::DeleteDnsRecord { record }), Err(Rejection::NoSuchDnsRecord { record }));
}

#[test]
fn records_and_members_have_names_of_their_own() {
    let mut office = Office::new();
    let pad = office.client("pad", &["ada"]);
    assert_eq!(refused(record(&mut office, "ada", a(1)), &["`ada`", "a host"]), "record-at-member");
    assert_eq!(refused(record(&mut office, "pad", a(1)), &["`pad`", "a client"]), "record-at-member");
    record(&mut office, "www", a(1)).unwrap();
    record(&mut office, "sub.ada", a(1)).unwrap();
    let edit = ClientEdit { name: Some("www".parse().unwrap()), ..ClientEdit::default() };
    let result = office.give(Command::UpdateClient { client: pad, edit });
    assert_eq!(refused(result, &["`www`", "a DNS record"]), "name-in-use");
    let mut machine = machine(9, Some(1));
    machine.hostname = "www".parse().unwrap();
    assert_eq!(office.server.register(machine).unwrap().name.as_str(), "www-2");
}

#[test]
fn nobody_has_a_name_that_machines_give_a_meaning() {
    let mut office = Office::new();
    let pad = office.client("pad", &["ada"]);
    for (number, name) in (9..).zip(["localhost", "wpad", "isatap"]) {
        let reserved = Some(name.parse().unwrap());
        assert_eq!(refused(record(&mut office, name, a(1)), &[name]), "name-reserved");
        let new = office.new_client(name, &["ada"]);
        assert_eq!(refused(office.give(Command::CreateClient(new)), &[name]), "name-reserved");
        let edit = ClientEdit { name: reserved.clone(), ..ClientEdit::default() };
        let result = office.give(Command::UpdateClient { client: pad, edit });
        assert_eq!(refused(result, &[name]), "name-reserved");
        let host = office.host("bob");
        let (mtu, static_endpoint) = (Edit::Keep, Edit::Keep);
        let rename = Command::UpdateHost {
            host,
            name: reserved,
            mtu,
            static_endpoint,
            default: None,
            ephemeral: None,
        };
        assert_eq!(refused(office.give(rename), &[name]), "name-reserved");
        let mut machine = machine(number, Some(1));
        machine.hostname = name.parse().unwrap();
        assert_eq!(office.server.register(machine).unwrap().name.as_str(), format!("{name}-2"));
    }
    record(&mut office, "_wpad", a(1)).unwrap();
}

#[test]
fn a_record_has_bounds() {
    let mut office = Office::new();
    let network = office.network;
    let long = Command::CreateDnsRecord { network, name: Some(name("www")), ttl: 604_801, data: a(1) };
    assert_eq!(refused(office.give(long), &["604800", "604801"]), "ttl-too-long");
    let text = RecordData::Txt { text: "x".repeat(4_001) };
    assert_eq!(refused(record(&mut office, "www", text), &["4000", "4001"]), "text-too-long");
    let domain = NetworkEdit { domain: Edit::Set(name("office.test")), ..NetworkEdit::default() };
    office.give(Command::UpdateNetwork { network, edit: domain }).unwrap();
    let label = "abcdefgh";
    let long = vec![label; 27].join(".");
    assert_eq!(refused(record(&mut office, &long, a(1)), &["`office.test`", "253"]), "record-name-too-long");
    let fits = vec![label; 26].join(".");
    record(&mut office, &fits, a(1)).unwrap();
    let domain =
        NetworkEdit { domain: Edit::Set(name("quite.a.long.domain.test")), ..NetworkEdit::default() };
    let result = office.give(Command::UpdateNetwork { network, edit: domain });
    assert_eq!(refused(result, &["`quite.a.long.domain.test`"]), "record-name-too-long");
}

#[test]
fn the_target_of_a_record_is_a_whole_name_and_not_the_record_itself() {
    let mut office = Office::new();
    let to = |target: &str| RecordData::Cname { target: name(target) };
    let whole = ["`ada`", "`ada.office.netloom.internal`"];
    assert_eq!(refused(record(&mut office, "www", to("ada")), &whole), "target-not-whole");
    let service = RecordData::Srv { priority: 0, weight: 0, port: 389, target: name("ada") };
    assert_eq!(refused(record(&mut office, "_ldap._tcp", service), &whole), "target-not-whole");
    let itself = "www.office.netloom.internal";
    assert_eq!(refused(record(&mut office, "www", to(itself)), &[itself]), "cname-to-itself");
    record(&mut office, "www", to("ada.office.netloom.internal")).unwrap();
    let edit = Command::UpdateDnsRecord { record: id(&office, "www"), ttl: None, data: Some(to(itself)) };
    assert_eq!(refused(office.give(edit), &[itself]), "cname-to-itself");
}

fn upstream(
    office: &mut Office,
    network: NetworkId,
    domain: &str,
    servers: usize,
) -> Result<Change, Rejection> {
    let servers = vec![([9, 9, 9, 9], 53).into(); servers];
    office.give(Command::CreateUpstream { network, domain: name(domain), servers })
}

#[test]
fn name_servers_are_named_once_for_domains_of_others() {
    let mut office = Office::new();
    let network = office.network;
    assert_eq!(refused(upstream(&mut office, network, "corp", 0), &["name server"]), "none-given");
    assert_eq!(refused(upstream(&mut office, network, "corp", 5), &["4 name servers", "5"]), "too-many");
    upstream(&mut office, network, "corp", 4).unwrap();
    assert_eq!(
        refused(upstream(&mut office, network, "corp", 1), &["`corp`", "`office`"]),
        "upstream-exists"
    );
    let lab = office.server.network("lab", "10.8.0.0/24");
    upstream(&mut office, lab, "corp", 1).unwrap();
    let nowhere = vec![([0, 0, 0, 0], 53).into()];
    let create = Command::CreateUpstream { network, domain: name("x"), servers: nowhere };
    assert_eq!(refused(office.give(create), &["0.0.0.0:53"]), "no-name-server");
    for loopback in ["127.0.0.53:53", "[::1]:53", "[::ffff:127.0.0.1]:53"] {
        let servers = vec![([9, 9, 9, 9], 53).into(), loopback.parse().unwrap()];
        let create = Command::CreateUpstream { network, domain: name("x"), servers };
        assert_eq!(refused(office.give(create), &["each machine itself"]), "name-server-is-each");
    }
    let upstream = UpstreamId::from_bytes([9; 16]);
    assert_eq!(
        office.give(Command::DeleteUpstream { upstream }),
        Err(Rejection::NoSuchUpstream { upstream })
    );
}

#[test]
fn domains_are_apart_and_answered_by_us() {
    let mut office = Office::new();
    let (network, lab) = (office.network, office.server.network("lab", "10.8.0.0/24"));
    let domain = |network, text: &str| {
        let edit = NetworkEdit { domain: Edit::Set(name(text)), ..NetworkEdit::default() };
        Command::UpdateNetwork { network, edit }
    };
    office.give(domain(network, "office.test")).unwrap();
    assert!(office.give(domain(network, "office.test")).unwrap().is_empty());
    for text in ["office.test", "lab.office.test", "test"] {
        let parts = ["`office.test`", "network `office`", text];
        assert_eq!(refused(office.give(domain(lab, text)), &parts), "domain-taken");
    }
    let result = upstream(&mut office, lab, "x.office.test", 1);
    assert_eq!(refused(result, &["`x.office.test`", "`office.test`"]), "upstream-within");
    upstream(&mut office, lab, "dc.corp", 1).unwrap();
    let parts = ["network `lab`", "`dc.corp`", "`corp`"];
    assert_eq!(refused(office.give(domain(network, "corp")), &parts), "domain-has-upstream");
    let create = Command::CreateNetwork {
        name: "home".parse().unwrap(),
        ranges: None,
        keepalive: None,
        access: None,
        approval: false,
        domain: Some(name("x.office.test")),
    };
    assert_eq!(refused(office.give(create), &["network `office`"]), "domain-taken");
}

#[test]
fn a_domain_below_the_servers_is_one_networks_alone() {
    let mut office = Office::new();
    let (network, lab) = (office.network, office.server.network("lab", "10.8.0.0/24"));
    let update = |network, edit| Command::UpdateNetwork { network, edit };
    let domain = |text: &str| NetworkEdit { domain: Edit::Set(name(text)), ..NetworkEdit::default() };
    for text in ["lab.netloom.internal", "x.lab.netloom.internal", "netloom.internal"] {
        let parts = ["`lab.netloom.internal`", "network `lab`", text];
        assert_eq!(refused(office.give(update(network, domain(text))), &parts), "domain-taken");
    }
    let result = upstream(&mut office, network, "dc.lab.netloom.internal", 1);
    assert_eq!(refused(result, &["network `lab`", "`lab.netloom.internal`"]), "upstream-within");
    office.give(update(network, domain("home.netloom.internal"))).unwrap();
    let home: model::NetworkName = "home".parse().unwrap();
    let parts = ["`home.netloom.internal`", "network `office`"];
    let create = Command::CreateNetwork {
        name: home.clone(),
        ranges: None,
        keepalive: None,
        access: None,
        approval: false,
        domain: None,
    };
    assert_eq!(refused(office.give(create), &parts), "domain-taken");
    let rename = NetworkEdit { name: Some(home), ..NetworkEdit::default() };
    assert_eq!(refused(office.give(update(lab, rename.clone())), &parts), "domain-taken");
    let none = NetworkEdit { domain: Edit::Clear, ..NetworkEdit::default() };
    office.give(update(network, none)).unwrap();
    office.give(update(lab, rename)).unwrap();
}
