//! Who is asked for a new WireGuard key, and when: hosts that share a network one after another.

use std::time::Duration;

use control::{Actor, Command};
use model::{HostId, Timestamp, Uses, WgPublicKey};

use crate::office::Office;
use crate::server::machine;

const EVERYBODY: Command = Command::RotateKeys { host: None };

/// Who is asked now.
fn asked(office: &Office) -> Vec<HostId> {
    office.server.intent.hosts(None).filter(|host| host.rotate).map(|host| host.id).collect()
}

/// Who waits, in the order of their turns.
fn waiting(office: &Office) -> Vec<(Timestamp, HostId)> {
    let hosts = office.server.intent.hosts(None);
    let mut waiting: Vec<_> = hosts.filter_map(|host| Some((host.rotate_at?, host.id))).collect();
    waiting.sort();
    waiting
}

/// The host brings a key.
fn bring(office: &mut Office, host: HostId, key: u8) {
    let key = WgPublicKey::from_bytes([key; 32]);
    office.server.give(Actor::Host(host), Command::OwnKey(key)).unwrap();
}

#[test]
fn all_hosts_of_a_network_are_asked_one_after_another() {
    let mut office = Office::new();
    office.give(EVERYBODY).unwrap();
    let (mut all, queue) = (asked(&office), waiting(&office));
    assert_eq!((all.len(), queue.len()), (1, 4));
    assert!(queue.windows(2).all(|pair| pair[0].0 + Duration::from_secs(1) < pair[1].0), "{queue:?}");
    assert!(office.give(EVERYBODY).unwrap().is_empty(), "all of them are in the queue");
    for (number, (turn, host)) in (100..).zip(queue) {
        office.server.now = turn;
        // The last one may be away: nobody waits for it.
        if number > 101 {
            let before = *all.last().unwrap();
            bring(&mut office, before, number);
        }
        office.give(Command::Sweep).unwrap();
        assert!(asked(&office).contains(&host));
        all.push(host);
    }
    assert_eq!(waiting(&office), []);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 5);
}

#[test]
fn one_host_waits_for_another_one_that_was_asked_just_now_or_waits() {
    let mut office = Office::new();
    let [ada, bob, cleo] = ["ada", "bob", "cleo"].map(|name| office.host(name));
    for host in [ada, bob, cleo] {
        office.give(Command::RotateKeys { host: Some(host) }).unwrap();
    }
    assert_eq!(asked(&office), [ada]);
    let order: Vec<HostId> = waiting(&office).into_iter().map(|(_, host)| host).collect();
    assert_eq!(order, [bob, cleo]);
    bring(&mut office, ada, 100);
    bring(&mut office, bob, 101);
    assert!(asked(&office).is_empty(), "who has changed its key needs none");
    assert_eq!(waiting(&office).len(), 1);
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
    let turns: Vec<Timestamp> = waiting(&office).into_iter().map(|(turn, _)| turn).collect();
    assert_eq!(turns[0], turns[1]);
    office.server.now = turns[0];
    office.give(Command::Sweep).unwrap();
    assert_eq!(asked(&office).len(), 4);
}

#[test]
fn a_server_that_was_away_asks_one_of_those_who_waited_and_lets_the_others_wait_on() {
    let mut office = Office::new();
    office.give(EVERYBODY).unwrap();
    office.server.now = office.server.now + Duration::from_secs(3600);
    office.give(Command::Sweep).unwrap();
    assert_eq!((asked(&office).len(), waiting(&office).len()), (2, 3));
    assert!(waiting(&office).iter().all(|(turn, _)| *turn > office.server.now));
}
