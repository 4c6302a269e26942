//! Who is asked for a new WireGuard key, and when: hosts that share a network one after another, as they get done.

use std::collections::BTreeSet;
use std::time::Duration;

use control::{Actor, Change, Command, next_turn};
use model::{HostId, Timestamp, Uses, WgPublicKey};

use crate::office::{Office, SWEEP};
use crate::server::machine;

const EVERYBODY: Command = Command::RotateKeys { host: None };
const NOBODY: &BTreeSet<HostId> = &BTreeSet::new();

/// Who is asked now.
fn asked(office: &Office) -> Vec<HostId> {
    office.server.intent.hosts(None).filter(|host| host.rotate).map(|host| host.id).collect()
}

/// Who waits.
fn waiting(office: &Office) -> Vec<HostId> {
    let waits = |host: &&model::Host| !host.rotate && host.rotate_since.is_some();
    office.server.intent.hosts(None).filter(waits).map(|host| host.id).collect()
}

/// The host brings a key.
fn bring(office: &mut Office, host: HostId, key: u8) {
    let key = WgPublicKey::from_bytes([key; 32]);
    office.server.give(Actor::Host(host), Command::OwnKey(key)).unwrap();
}

fn sweep(office: &mut Office) -> Change {
    office.give(SWEEP).unwrap()
}

/// How long it takes from now until it is somebody's turn.
fn until_next(office: &Office) -> Option<Duration> {
    next_turn(&office.server.intent, NOBODY, office.server.now).map(|turn| turn.since(office.server.now))
}

#[test]
fn all_hosts_of_a_network_are_asked_one_after_another_however_long_each_takes() {
    let mut office = Office::new();
    office.give(EVERYBODY).unwrap();
    assert!(office.give(EVERYBODY).unwrap().is_empty(), "all of them are in the queue");
    let mut done = BTreeSet::new();
    for number in 1..=5_u8 {
        let now = asked(&office);
        assert_eq!((now.len(), waiting(&office).len()), (1, 5 - usize::from(number)));
        office.server.wait(3 * u64::from(number));
        assert!(sweep(&mut office).is_empty(), "one is at it");
        bring(&mut office, now[0], 100 + number);
        done.insert(now[0]);
        office.server.wait(1);
        assert!(sweep(&mut office).is_empty(), "the others are hearing of it");
        office.server.wait(1);
        sweep(&mut office);
    }
    assert_eq!((done.len(), asked(&office), waiting(&office)), (5, vec![], vec![]));
    assert_eq!(until_next(&office), None);
}

#[test]
fn one_host_waits_for_another_one_that_was_asked_just_now_or_waits() {
    let mut office = Office::new();
    let [ada, bob, cleo] = ["ada", "bob", "cleo"].map(|name| office.host(name));
    for host in [ada, cleo, bob] {
        office.give(Command::RotateKeys { host: Some(host) }).unwrap();
        office.server.wait(1);
    }
    assert_eq!((asked(&office), waiting(&office)), (vec![ada], vec![bob, cleo]));
    bring(&mut office, ada, 100);
    bring(&mut office, bob, 101);
    assert_eq!((asked(&office), waiting(&office)), (vec![], vec![cleo]), "who has a new key needs none");
    office.give(Command::RotateKeys { host: Some(bob) }).unwrap();
    assert_eq!(until_next(&office), Some(Duration::from_secs(2)), "also for who has just brought one");
    office.server.wait(2);
    sweep(&mut office);
    assert_eq!(asked(&office), [cleo], "the first who waited");
}

#[test]
fn nobody_waits_longer_than_half_a_minute_for_a_host_that_brings_nothing() {
    let mut office = Office::new();
    office.give(EVERYBODY).unwrap();
    let late = asked(&office)[0];
    assert_eq!(until_next(&office), Some(Duration::from_secs(30)));
    office.server.wait(30);
    sweep(&mut office);
    let now = asked(&office);
    assert_eq!(now.len(), 2);
    bring(&mut office, late, 100);
    let other = *now.iter().find(|host| **host != late).unwrap();
    assert_eq!(asked(&office), [other], "it brings its key when it can");
    assert_eq!(until_next(&office), Some(Duration::from_secs(30)), "the next one is waited for");
}

#[test]
fn nobody_waits_for_hosts_that_are_known_to_be_away() {
    let mut office = Office::new();
    let away: BTreeSet<HostId> = ["ada", "bob", "cleo"].map(|name| office.host(name)).into();
    let rest: Vec<HostId> = ["dan", "eve"].map(|name| office.host(name)).into();
    office.give(EVERYBODY).unwrap();
    let first = asked(&office)[0];
    assert_eq!(next_turn(&office.server.intent, &away, office.server.now), Some(office.server.now));
    office.give(Command::Sweep { away: away.clone() }).unwrap();
    assert!(away.contains(&first) && away.iter().all(|host| asked(&office).contains(host)));
    assert_eq!((asked(&office).len(), waiting(&office)), (4, vec![rest[1]]));
    let next = next_turn(&office.server.intent, &away, office.server.now);
    assert_eq!(next.map(|next| next.since(office.server.now)), Some(Duration::from_secs(30)));
}

#[test]
fn hosts_that_share_no_network_do_not_wait_for_each_other() {
    let mut office = Office::new();
    let network = office.server.network("lab", "10.8.0.0/24");
    office.server.key(2, &[network], Uses::Unlimited, None);
    let apart = [20, 21].map(|number| office.server.register(machine(number, Some(2))).unwrap().id);
    office.give(EVERYBODY).unwrap();
    let of_these = |hosts: Vec<HostId>| hosts.into_iter().filter(|host| apart.contains(host)).count();
    assert_eq!((asked(&office).len(), of_these(asked(&office))), (2, 1));
    let first = *asked(&office).iter().find(|host| apart.contains(host)).unwrap();
    bring(&mut office, first, 100);
    office.server.wait(2);
    sweep(&mut office);
    assert_eq!(of_these(asked(&office)), 1);
    let last = *asked(&office).iter().find(|host| apart.contains(host)).unwrap();
    bring(&mut office, last, 101);
    assert_eq!(
        (asked(&office).len(), of_these(waiting(&office))),
        (1, 0),
        "the other network has its own pace"
    );
}

#[test]
fn a_server_that_was_away_goes_on_where_it_was() {
    let mut office = Office::new();
    office.give(EVERYBODY).unwrap();
    office.server.wait(3600);
    sweep(&mut office);
    assert_eq!((asked(&office).len(), waiting(&office).len()), (2, 3));
    let since: Vec<Option<Timestamp>> =
        office.server.intent.hosts(None).filter(|host| host.rotate).map(|host| host.rotate_since).collect();
    assert!(since.contains(&Some(office.server.now)));
}
