//! Laws of new WireGuard keys: hosts that share a network take turns, everybody's comes, and asking twice is asking once.
//!
//! Whose turn it is follows here from what was done, not from what the records say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use control::{Actor, Command, Register, next_turn};
use model::{
    Digest, HostId, HostName, NetworkId, SealingPublicKey, SigningPublicKey, Timestamp, WgPublicKey,
};
use proptest::prelude::*;
use wire::HostSettings;

use crate::history::Brain;

const TURN: Duration = Duration::from_secs(2);
const BOUND: Duration = Duration::from_secs(30);
const HOSTS: u8 = 7;
/// In milliseconds: about as long as turns are.
const WAITS: [u64; 7] = [1, 200, 1_000, 1_999, 2_000, 29_500, 29_999];

/// What happens, to the host of this number.
#[derive(Debug, Clone)]
enum Step {
    Ask(u8),
    AskAll,
    Bring(u8),
    Sweep { away: u8 },
    Wait(u64),
    Join { host: u8, network: u8 },
    Leave(u8),
    Remove(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..HOSTS).prop_map(Step::Ask),
        2 => Just(Step::AskAll),
        8 => (0..HOSTS).prop_map(Step::Bring),
        8 => prop_oneof![3 => Just(0), 1 => any::<u8>()].prop_map(|away| Step::Sweep { away }),
        8 => prop::sample::select(&WAITS[..]).prop_map(Step::Wait),
        1 => (0..HOSTS, 0u8..3).prop_map(|(host, network)| Step::Join { host, network }),
        1 => (0..HOSTS).prop_map(Step::Leave),
        1 => (0..HOSTS).prop_map(Step::Remove),
    ]
}

/// A server, and what was done: when each was asked, and when each brought a key.
struct Office {
    brain: Brain,
    networks: Vec<NetworkId>,
    hosts: Vec<HostId>,
    asked: BTreeMap<HostId, Timestamp>,
    brought: BTreeMap<HostId, Timestamp>,
    keys: u8,
}

impl Office {
    fn new(memberships: &[u8]) -> Self {
        let mut brain = Brain::new();
        let networks = (0..3).map(|number| network(&mut brain, number)).collect();
        let mut office = Self {
            brain,
            networks,
            hosts: Vec::new(),
            asked: BTreeMap::new(),
            brought: BTreeMap::new(),
            keys: 100,
        };
        for (number, networks) in (1..).zip(memberships) {
            let host = office.register(number);
            office.hosts.push(host);
            for network in (0..3).filter(|bit| networks >> bit & 1 == 1) {
                office.join(host, network);
            }
        }
        office
    }

    fn register(&mut self, number: u8) -> HostId {
        let signing_key = SigningPublicKey::from_bytes([number; 32]);
        let sealing_key = SealingPublicKey::from_bytes([number; 32]);
        let register = Register {
            enrollment: Some(Digest::from_bytes([3; 32])),
            hostname: HostName::nearest(&format!("host{number}")),
            wireguard_key: WgPublicKey::from_bytes([number; 32]),
            signing_key,
            sealing_key,
            encapsulated: sealing_key,
            server: None,
            settings: HostSettings::default(),
            addresses: Vec::new(),
        };
        self.give(Actor::Registrant, Command::Register(register), &BTreeSet::new());
        self.brain.intent.host_by_signing_key(&signing_key).unwrap().id
    }

    fn join(&mut self, host: HostId, network: u8) {
        let network = self.networks[usize::from(network)];
        let add = Command::AddNode { host, network, addresses: None, tags: BTreeSet::new() };
        if self.brain.intent.node_of(host, network).is_none() && self.brain.intent.host(host).is_some() {
            self.give(Actor::System, add, &BTreeSet::new());
        }
    }

    fn shares(&self, one: HostId, other: HostId) -> bool {
        self.networks.iter().any(|network| {
            [one, other].iter().all(|host| self.brain.intent.node_of(*host, *network).is_some())
        })
    }

    /// Until when others wait for a host.
    fn holds_until(&self, host: HostId, away: &BTreeSet<HostId>) -> Option<Timestamp> {
        let asked = self.asked.get(&host).filter(|_| !away.contains(&host)).map(|asked| *asked + BOUND);
        let brought = self.brought.get(&host).map(|brought| *brought + TURN);
        asked.into_iter().chain(brought).max()
    }

    /// Gives a command, and judges whom it asks.
    fn give(&mut self, actor: Actor, command: Command, away: &BTreeSet<HostId>) -> bool {
        let before: BTreeSet<HostId> = self.rotating().collect();
        let change = self.brain.give_as(actor, command);
        let now = self.brain.now;
        let mut new: Vec<HostId> = self.rotating().filter(|host| !before.contains(host)).collect();
        // Who is away is asked along with one who is not.
        new.sort_by_key(|host| !away.contains(host));
        for host in &new {
            for other in self.hosts.iter().filter(|other| self.shares(*host, **other)) {
                let held = self.holds_until(*other, away).filter(|until| *until > now);
                assert_eq!(held, None, "{other} and {host} at {now}");
            }
            if !away.contains(host) {
                self.asked.insert(*host, now);
            }
        }
        self.asked.extend(new.into_iter().map(|host| (host, now)));
        !change.is_empty()
    }

    fn rotating(&self) -> impl Iterator<Item = HostId> {
        self.brain.intent.hosts(None).filter(|host| host.rotate).map(|host| host.id)
    }

    fn waiting(&self) -> Vec<HostId> {
        let waits = |host: &&model::Host| !host.rotate && host.rotate_since.is_some();
        self.brain.intent.hosts(None).filter(waits).map(|host| host.id).collect()
    }

    fn bring(&mut self, host: HostId) {
        if self.brain.intent.host(host).is_some() {
            self.keys += 1;
            let key = WgPublicKey::from_bytes([self.keys; 32]);
            self.give(Actor::Host(host), Command::OwnKey(key), &BTreeSet::new());
            self.asked.remove(&host);
            self.brought.insert(host, self.brain.now);
        }
    }

    fn sweep(&mut self, away: BTreeSet<HostId>) -> bool {
        self.give(Actor::System, Command::Sweep { away: away.clone() }, &away)
    }

    fn take(&mut self, step: &Step) {
        let host = |number: u8| self.hosts[usize::from(number) % self.hosts.len()];
        let nobody = BTreeSet::new();
        match step {
            Step::Ask(number) => {
                let host = host(*number);
                if self.brain.intent.host(host).is_some() {
                    self.give(Actor::System, Command::RotateKeys { host: Some(host) }, &nobody);
                    let again = Command::RotateKeys { host: Some(host) };
                    assert!(!self.give(Actor::System, again, &nobody), "asked twice is asked once");
                }
            }
            Step::AskAll => {
                self.give(Actor::System, Command::RotateKeys { host: None }, &nobody);
                let before = self.brain.intent.clone();
                self.give(Actor::System, Command::RotateKeys { host: None }, &nobody);
                let same = |host: &model::Host| before.host(host.id) == Some(host);
                assert!(self.brain.intent.hosts(None).all(same), "asked twice is asked once");
            }
            Step::Bring(number) => self.bring(host(*number)),
            Step::Sweep { away } => {
                let bits = (0..).zip(&self.hosts).filter(|(bit, _)| *bit < 8 && away >> bit & 1 == 1);
                let away: BTreeSet<HostId> = bits.map(|(_, host)| *host).collect();
                self.sweep(away);
            }
            Step::Wait(millis) => self.brain.now = self.brain.now + Duration::from_millis(*millis),
            Step::Join { host: number, network } => self.join(host(*number), *network),
            Step::Leave(number) => {
                let node = self.brain.intent.nodes_of_host(host(*number)).next().map(|node| node.id);
                if let Some(node) = node {
                    self.give(Actor::System, Command::RemoveNode { node }, &nobody);
                }
            }
            Step::Remove(number) => {
                let host = host(*number);
                if self.brain.intent.host(host).is_some() {
                    self.give(Actor::System, Command::RemoveHost { host }, &nobody);
                    self.asked.remove(&host);
                    self.brought.remove(&host);
                }
            }
        }
    }
}

fn network(brain: &mut Brain, number: u8) -> NetworkId {
    let name: model::NetworkName = format!("turns{number}").parse().unwrap();
    let command = Command::CreateNetwork {
        name: name.clone(),
        ranges: model::Ranges::new(format!("10.9{number}.0.0/24").parse().ok(), None).ok(),
        keepalive: None,
        access: None,
        approval: false,
        domain: None,
    };
    brain.give_as(Actor::System, command);
    brain.intent.network_by_name(&name).unwrap().id
}

fn offices() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0u8..8, 2..usize::from(HOSTS))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn hosts_that_share_a_network_are_never_asked_within_a_turn_of_each_other(
        memberships in offices(), steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut office = Office::new(&memberships);
        // `give` judges.
        steps.iter().for_each(|step| office.take(step));
    }

    #[test]
    fn it_is_somebodys_turn_exactly_when_it_is_said_to_be(
        memberships in offices(), steps in prop::collection::vec(step(), 1..60), millis in 0u64..40_000,
    ) {
        let mut office = Office::new(&memberships);
        steps.iter().for_each(|step| office.take(step));
        let waiting = office.waiting();
        let turn = next_turn(&office.brain.intent, &BTreeSet::new(), office.brain.now);
        prop_assert_eq!(turn.is_some(), !waiting.is_empty());
        office.brain.now = office.brain.now + Duration::from_millis(millis);
        let asks = office.sweep(BTreeSet::new());
        prop_assert_eq!(asks, turn.is_some_and(|turn| turn <= office.brain.now));
    }

    #[test]
    fn everybodys_turn_comes_soon_where_keys_come_soon_and_some_time_where_none_come(
        memberships in offices(), steps in prop::collection::vec(step(), 1..40), bring: bool,
    ) {
        let mut office = Office::new(&memberships);
        steps.iter().for_each(|step| office.take(step));
        office.take(&Step::AskAll);
        let count = u32::try_from(office.hosts.len()).unwrap();
        let each = if bring { TURN } else { BOUND };
        // Those who had been asked before may bring nothing.
        let end = office.brain.now + BOUND + each * count;
        loop {
            let asked: Vec<HostId> = office.rotating().filter(|_| bring).collect();
            asked.into_iter().for_each(|host| office.bring(host));
            let Some(turn) = next_turn(&office.brain.intent, &BTreeSet::new(), office.brain.now) else { break };
            office.brain.now = turn;
            prop_assert!(office.sweep(BTreeSet::new()), "somebody is asked at {}", turn);
        }
        prop_assert_eq!(office.waiting(), []);
        prop_assert!(office.brain.now <= end, "{} is later than {}", office.brain.now, end);
    }

    #[test]
    fn who_has_waited_longer_is_asked_first(
        memberships in offices(), steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut office = Office::new(&memberships);
        for step in &steps {
            let before = office.brain.intent.clone();
            let waited = |host: &HostId| before.host(*host).and_then(|host| host.rotate_since);
            let waiting = office.waiting();
            office.take(step);
            let asked: Vec<&HostId> = waiting.iter().filter(|host| office.rotating().any(|it| it == **host)).collect();
            for (earlier, later) in waiting.iter().flat_map(|one| asked.iter().map(move |other| (one, *other))) {
                let overtaken = waited(earlier) < waited(later) && office.waiting().contains(earlier);
                prop_assert!(!overtaken || !office.shares(*earlier, *later), "{later} overtakes {earlier}");
            }
        }
    }
}
