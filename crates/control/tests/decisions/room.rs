//! What commands take has room where it travels: the largest network that can be made is told to its hosts.

use control::plan::{Differing, Picture, Roster, Touched, default_domain, deltas, host_map};
use control::{Change, Command, Intent, Inventory, NewPolicy, Record, Rejection};
use model::{
    Access, DnsName, DnsRecord, DnsRecordId, Generation, Policy, PolicyId, RecordData, Subject, Timestamp,
    ToldRecord,
};
use wire::{HostMap, MapReply, MapRequest, Part, ServerLinks, frames};

use crate::office::{Office, refused};

/// Letters that do not pack well.
fn noise(number: u64, length: usize) -> String {
    let mut state = number + 1;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + u8::try_from(state % 94).unwrap())
    };
    (0..length).map(letter).collect()
}

fn text(office: &mut Office, number: u64, length: usize) -> Result<Change, Rejection> {
    let (network, name) = (office.network, Some(format!("t{number}").parse().unwrap()));
    let data = RecordData::Txt { text: noise(number, length) };
    office.give(Command::CreateDnsRecord { network, name, ttl: 60, data })
}

/// An office with all the bytes of records that there can be.
fn with_records() -> (Office, u64) {
    let mut office = Office::new();
    let taken = (0..).take_while(|number| text(&mut office, *number, 4_000).is_ok()).count() as u64;
    let result = text(&mut office, taken, 4_000);
    assert_eq!(refused(result, &["524288 bytes of DNS records in one network"]), "too-many");
    text(&mut office, taken, 100).unwrap();
    (office, taken)
}

struct Site {
    inventory: Inventory,
    links: ServerLinks,
    domain: DnsName,
}

impl Site {
    fn new() -> Self {
        Self { inventory: Inventory::default(), links: ServerLinks::default(), domain: default_domain() }
    }

    fn picture<'a>(&'a self, intent: &'a Intent) -> Picture<'a> {
        Picture { intent, inventory: &self.inventory, links: &self.links, domain: &self.domain }
    }

    /// The map of a host that holds nothing, as it travels; each frame within bounds.
    fn fetched(&self, intent: &Intent, host: model::HostId) -> HostMap {
        let picture = self.picture(intent);
        let generation = Generation::from_number(7);
        let (head, differing) =
            Roster::of(&picture).answer(&picture, host, generation, &MapRequest::default()).unwrap();
        assert!(wire::encode(&MapReply::Parts(head.clone())).len() < frames::MOST_FRAME);
        let parts: Vec<Part> = differing.iter().map(Differing::to_part).collect();
        assert!(parts.iter().all(|part| part.packed.len() < 1024 * 1024));
        let map = wire::assemble(None, head, &parts).unwrap();
        assert_eq!(Some(&map), host_map(&picture, host, generation).as_ref());
        map
    }
}

#[test]
fn the_most_records_that_are_taken_reach_hosts() {
    let (office, taken) = with_records();
    let map = Site::new().fetched(&office.server.intent, office.host("ada"));
    assert_eq!(map.networks[&office.network].records.len() as u64, taken + 1);
    assert!(wire::encode(&map).len() < wire::MOST_BYTES);
}

#[test]
fn one_record_that_changes_costs_each_host_that_record() {
    let (mut office, taken) = with_records();
    let before = office.server.intent.clone();
    let intent = &office.server.intent;
    let name: DnsName = format!("t{taken}").parse().unwrap();
    let record = intent.dns_records_at(office.network, Some(&name)).next().unwrap().id;
    let change = office.give(Command::UpdateDnsRecord { record, ttl: Some(5), data: None }).unwrap();
    let (site, after) = (Site::new(), &office.server.intent);
    let pictures = (site.picture(&before), site.picture(after));
    let touched = Touched::by_change(&before, after, &change);
    let mut roster = Roster::of(&pictures.0);
    let was = roster.clone();
    roster.update(&pictures.1, &touched);
    let told = deltas(&pictures.0, &pictures.1, &was, &roster, &touched);
    assert_eq!((told.changed.len(), told.new.len()), (5, 0));
    for (_, delta) in &told.changed {
        let bytes = delta.encode(Generation::from_number(1), Generation::from_number(2)).len();
        assert!(bytes < 400, "{bytes} bytes");
    }
}

/// With these as well.
fn with(office: &mut Office, more: impl Iterator<Item = Record>) {
    let intent = &office.server.intent;
    office.server.intent = Intent::from_records(intent.seq(), intent.records().chain(more)).unwrap();
}

fn bytes(number: usize) -> [u8; 16] {
    let mut bytes = [9; 16];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    bytes
}

#[test]
fn a_record_never_has_more_bytes_than_are_counted() {
    let target: DnsName = vec!["a".repeat(63); 3].join(".").parse().unwrap();
    let kinds = [
        RecordData::Aaaa { address: [255; 16].into() },
        RecordData::Cname { target: target.clone() },
        RecordData::Txt { text: "x".repeat(4_000) },
        RecordData::Srv { priority: u16::MAX, weight: u16::MAX, port: u16::MAX, target },
    ];
    for data in kinds {
        let mut office = Office::new();
        let (network, ttl, created) = (office.network, 604_800, Timestamp::default());
        let name = |number: usize| Some(format!("n{number:05}").parse().unwrap());
        let told = ToldRecord { name: name(0), ttl, data: data.clone() };
        let fit = (512 * 1024) / wire::encode(&told).len();
        let record = |number: usize| {
            let (id, data) = (DnsRecordId::from_bytes(bytes(number)), data.clone());
            Record::from(DnsRecord { id, network, name: name(number), ttl, data, created })
        };
        with(&mut office, (0..fit).map(record));
        let more = Command::CreateDnsRecord { network, name: name(fit), ttl, data: data.clone() };
        assert_eq!(refused(office.give(more), &["at most"]), "too-many", "{data:?}");
    }
}

#[test]
fn the_most_policies_that_are_taken_reach_the_host_of_which_all_of_them_speak() {
    let mut office = Office::new();
    let network = office.network;
    let edit = control::NetworkEdit { access: Some(Access::Deny), ..control::NetworkEdit::default() };
    office.give(Command::UpdateNetwork { network, edit }).unwrap();
    let side = |side: &'static str, number: usize| {
        (0..63).map(move |at| Subject::Tag(format!("{side}{number}-{at}").parse().unwrap()))
    };
    let services = || {
        let ports = |port: u16| format!("tcp/{}-{}", 60_000 + port, 61_000 + port).parse().unwrap();
        (1..=32).map(ports).collect()
    };
    let policy = |number: usize| {
        Record::from(Policy {
            id: PolicyId::from_bytes(bytes(number)),
            network,
            name: format!("p{number}").parse().unwrap(),
            enabled: true,
            from: side("f", number).collect(),
            to: side("t", number).chain([Subject::Everything]).collect(),
            services: services(),
            both: true,
            created: Timestamp::default(),
        })
    };
    let most = 100_000 / (2 * (63 + 64 + 32));
    with(&mut office, (0..most).map(policy));
    let all = [Subject::Everything].into_iter().chain(side("x", 0)).collect::<Vec<_>>();
    let more = NewPolicy { services: services(), both: true, ..office.new_policy("more", &all, &all) };
    let result = office.give(Command::CreatePolicy(more));
    assert_eq!(refused(result, &["100000 subjects and services"]), "too-many");
    let map = Site::new().fetched(&office.server.intent, office.host("ada"));
    assert!(map.networks[&network].grants.len() >= most);
}
