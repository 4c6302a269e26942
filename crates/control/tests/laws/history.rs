//! Random histories: steps of small numbers, read as commands and observations against what is there at that moment.
//!
//! Pools of names, ranges and keys are small on purpose: collisions, refusals and reuse are what laws break on.

use control::{
    Actor, Change, Command, Door, Edit, Effect, Env, Intent, Inventory, Register, Rejection, apply, decide,
};
use model::{
    Addresses, ApiTokenId, Digest, Endpoint, EnrollmentKeyId, HostId, HostName, Keepalive, Mtu, NetworkId,
    NodeId, PasswordHash, Ranges, Role, SealingPublicKey, SigningPublicKey, Timestamp, TokenPurpose, UserId,
    Uses, WgPublicKey,
};
use proptest::prelude::*;
use wire::{HostSettings, Leave, NodeSwitch, Report, ServerLinks};

/// One step: what, and numbers that say which.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) what: What,
    a: u8,
    b: u8,
    c: u8,
}

macro_rules! whats {
    ($($weight:literal $what:ident),* $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum What { $($what),* }

        fn what() -> impl Strategy<Value = What> {
            prop_oneof![$($weight => Just(What::$what)),*]
        }
    };
}

whats! {
    1 SetUp, 1 CreateUser, 1 ChangePassword, 1 SetRole, 1 DeleteUser, 2 CreateToken, 1 DeleteToken,
    4 CreateNetwork, 2 UpdateNetwork, 1 DeleteNetwork, 4 CreateKey, 1 UpdateKey, 1 DeleteKey,
    24 Register, 3 UpdateHost, 1 RemoveHost, 4 AddNode, 3 UpdateNode, 2 RemoveNode,
    2 OwnSettings, 2 OwnSwitch, 2 OwnLeave, 4 Seen, 3 Reported, 1 Presence, 1 Wait,
}

pub(crate) fn history(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step =
        (what(), any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(what, a, b, c)| Step { what, a, b, c });
    prop::collection::vec(step, 0..most)
}

/// What a step did.
pub(crate) enum Did {
    Decided(Result<Change, Rejection>),
    Observed(HostId, Effect),
    Waited,
}

/// A server without its shell.
#[derive(Clone)]
pub(crate) struct Brain {
    pub(crate) intent: Intent,
    pub(crate) inventory: Inventory,
    pub(crate) links: ServerLinks,
    pub(crate) now: Timestamp,
    random: u64,
}

/// The thing with this number, or an id that nothing has.
fn pick<I: Copy>(ids: impl Iterator<Item = I>, number: u8, none: I) -> I {
    let ids: Vec<I> = ids.collect();
    if ids.is_empty() || number == u8::MAX { none } else { ids[usize::from(number) % ids.len()] }
}

impl Brain {
    fn empty() -> Self {
        let links =
            ServerLinks { brokers: vec!["wss://vpn.example.org/mqtt".to_owned()], ..ServerLinks::default() };
        let now = Timestamp::from_millis(1_800_000_000_000);
        Self { intent: Intent::default(), inventory: Inventory::default(), links, now, random: 1 }
    }

    /// A server with two networks and three keys, so that short histories get somewhere.
    pub(crate) fn new() -> Self {
        let mut brain = Self::empty();
        let network = |name: &str, number| Command::CreateNetwork {
            name: name.parse().unwrap(),
            ranges: ranges(number),
            keepalive: None,
        };
        brain.give(network("office", 1));
        brain.give(network("lab", 4));
        let networks: Vec<NetworkId> = brain.intent.networks(None).map(|network| network.id).collect();
        for (title, number, networks) in [("a", 1, &networks[..1]), ("b", 2, &networks[..]), ("c", 3, &[])] {
            brain.give(Command::CreateEnrollmentKey {
                title: title.parse().unwrap(),
                digest: Digest::from_bytes([number; 32]),
                networks: networks.to_vec(),
                uses: Uses::Unlimited,
                expires: None,
            });
        }
        brain
    }

    fn give(&mut self, command: Command) {
        self.random += 1;
        let change = self.decide(&Actor::System, command).unwrap();
        apply(&mut self.intent, &change);
    }

    /// Decides without doing.
    pub(crate) fn decide(&self, actor: &Actor, command: Command) -> Result<Change, Rejection> {
        let mut state = self.random;
        let mut random = |bytes: &mut [u8]| {
            for byte in bytes {
                // SplitMix64: enough to be different each time.
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                *byte = mixed.to_le_bytes()[5];
            }
        };
        decide(&self.intent, actor, command, &mut Env { now: self.now, random: &mut random })
    }

    /// Does a step.
    pub(crate) fn step(&mut self, step: &Step) -> Did {
        self.random = self.random.wrapping_add(1_000_003);
        if let Some((actor, command)) = self.command(step) {
            let decided = self.decide(&actor, command);
            if let Ok(change) = &decided {
                apply(&mut self.intent, change);
            }
            return Did::Decided(decided);
        }
        let host = self.host(step.a);
        match step.what {
            _ if self.intent.host(host).is_none() => {
                self.now = self.now + std::time::Duration::from_secs(u64::from(step.b));
                Did::Waited
            }
            What::Seen => {
                let door = if step.c.is_multiple_of(2) { Door::First } else { Door::Second };
                Did::Observed(host, self.inventory.observe_seen(host, door, endpoint(step.b), self.now))
            }
            What::Reported => {
                let local = (0..step.b % 3).map(|number| endpoint(number + step.c % 2)).collect();
                let report = Report { local, ..Report::default() };
                Did::Observed(host, self.inventory.observe_report(host, &report, self.now))
            }
            _ => {
                self.inventory.observe_presence(host, step.b.is_multiple_of(2), self.now);
                Did::Observed(host, Effect::None)
            }
        }
    }

    fn network(&self, number: u8) -> NetworkId {
        pick(self.intent.networks(None).map(|network| network.id), number, NetworkId::from_bytes([0xee; 16]))
    }

    fn host(&self, number: u8) -> HostId {
        pick(self.intent.hosts(None).map(|host| host.id), number, HostId::from_bytes([0xee; 16]))
    }

    fn node(&self, number: u8) -> NodeId {
        pick(self.intent.nodes(None).map(|node| node.id), number, NodeId::from_bytes([0xee; 16]))
    }

    fn key(&self, number: u8) -> EnrollmentKeyId {
        let ids = self.intent.enrollment_keys(None).map(|key| key.id);
        pick(ids, number, EnrollmentKeyId::from_bytes([0xee; 16]))
    }

    fn user(&self, number: u8) -> UserId {
        pick(self.intent.users(None).map(|user| user.id), number, UserId::from_bytes([0xee; 16]))
    }

    fn token(&self, number: u8) -> ApiTokenId {
        pick(self.intent.api_tokens(None).map(|token| token.id), number, ApiTokenId::from_bytes([0xee; 16]))
    }

    /// The command and who gives it; none for an observation.
    fn command(&self, step: &Step) -> Option<(Actor, Command)> {
        let command = self.people(step).or_else(|| self.networks(step)).or_else(|| self.hosts(step))?;
        let actor = match (&command, step.c) {
            // Now and then somebody who may not.
            (_, 250..) => Actor::User(self.user(step.b)),
            (Command::SetUpFirstAdministrator { .. }, _) => Actor::Setup,
            (Command::Register(_), _) => Actor::Registrant,
            (Command::OwnSettings(_) | Command::OwnSwitch(_) | Command::OwnLeave(_), _) => {
                Actor::Host(self.host(step.a))
            }
            _ => Actor::System,
        };
        Some((actor, command))
    }

    fn people(&self, step: &Step) -> Option<Command> {
        let Step { what, a, b, c } = *step;
        let name = || ["anna", "ben", "cleo"][usize::from(a % 3)].parse().unwrap();
        let password = PasswordHash::from_phc(format!("$argon2id${b}"));
        let role = if b.is_multiple_of(2) { Role::Administrator } else { Role::Auditor };
        Some(match what {
            What::SetUp => Command::SetUpFirstAdministrator { name: name(), password },
            What::CreateUser => Command::CreateUser { name: name(), password, role },
            What::ChangePassword => {
                Command::ChangePassword { user: self.user(a), password, keep: Some(self.token(c)) }
            }
            What::SetRole => Command::SetRole { user: self.user(a), role },
            What::DeleteUser => Command::DeleteUser { user: self.user(a) },
            What::CreateToken => Command::CreateToken {
                user: self.user(a),
                title: "script".parse().unwrap(),
                purpose: if c.is_multiple_of(2) { TokenPurpose::Login } else { TokenPurpose::Program },
                digest: Digest::from_bytes([b % 8; 32]),
                expires: None,
            },
            What::DeleteToken => Command::DeleteToken { token: self.token(a) },
            _ => return None,
        })
    }

    fn networks(&self, step: &Step) -> Option<Command> {
        let Step { what, a, b, c } = *step;
        let name = ["office", "lab", "home", "shop"][usize::from(a % 4)].parse().unwrap();
        let title = ["one", "two", "three", "four"][usize::from(b % 4)].parse().unwrap();
        let keepalive = (c.is_multiple_of(3)).then(|| Keepalive::new(u16::from(c % 5) + 1).unwrap());
        Some(match what {
            What::CreateNetwork => Command::CreateNetwork { name, ranges: ranges(b), keepalive },
            What::UpdateNetwork => {
                let name = (c.is_multiple_of(2)).then_some(name);
                Command::UpdateNetwork { network: self.network(b), name, keepalive }
            }
            What::DeleteNetwork => {
                Command::DeleteNetwork { network: self.network(a), force: b.is_multiple_of(2) }
            }
            What::CreateKey => Command::CreateEnrollmentKey {
                title,
                digest: Digest::from_bytes([b % 8; 32]),
                networks: (0..a % 3).map(|more| self.network(c.wrapping_add(more))).collect(),
                uses: if c.is_multiple_of(2) { Uses::Unlimited } else { Uses::Left(u32::from(c % 5)) },
                expires: (c.is_multiple_of(7))
                    .then(|| self.now + std::time::Duration::from_secs(u64::from(b))),
            },
            What::UpdateKey => Command::UpdateEnrollmentKey { key: self.key(a), title },
            What::DeleteKey => Command::DeleteEnrollmentKey { key: self.key(a) },
            _ => return None,
        })
    }

    fn hosts(&self, step: &Step) -> Option<Command> {
        let Step { what, a, b, c } = *step;
        let name = (c.is_multiple_of(3)).then(|| host_name(b));
        let mtu = (c.is_multiple_of(4)).then(|| Mtu::new(1280 + u16::from(b % 3)).unwrap());
        let static_endpoint = (c.is_multiple_of(5)).then(|| endpoint(b));
        let settings = HostSettings { name: name.clone(), mtu, static_endpoint };
        let network_name = || self.intent.network(self.network(b)).map(|network| network.name.clone());
        Some(match what {
            What::Register => Command::Register(self.registration(step, settings)),
            What::UpdateHost => Command::UpdateHost {
                host: self.host(a),
                name,
                mtu: Edit::from((c.is_multiple_of(2)).then_some(mtu)),
                static_endpoint: Edit::from((c % 2 == 1).then_some(static_endpoint)),
            },
            What::RemoveHost => Command::RemoveHost { host: self.host(a) },
            What::AddNode => {
                let network = self.network(b);
                Command::AddNode { host: self.host(a), network, addresses: self.addresses(network, c) }
            }
            What::UpdateNode => Command::UpdateNode { node: self.node(a), connected: b.is_multiple_of(2) },
            What::RemoveNode => Command::RemoveNode { node: self.node(a) },
            What::OwnSettings => Command::OwnSettings(settings),
            What::OwnSwitch => {
                Command::OwnSwitch(NodeSwitch { network: network_name()?, connected: c.is_multiple_of(2) })
            }
            What::OwnLeave if c.is_multiple_of(4) => Command::OwnLeave(Leave::Server),
            What::OwnLeave => Command::OwnLeave(Leave::Network(network_name()?)),
            _ => return None,
        })
    }

    fn registration(&self, step: &Step, settings: HostSettings) -> Register {
        let Step { a, b, c, .. } = *step;
        let machine = a % 10;
        // A WireGuard key of its own, a renewed one, or now and then another machine's.
        let wireguard = if c.is_multiple_of(11) { b % 10 } else { machine + 10 * (c % 2) };
        Register {
            enrollment: (b % 5 != 0).then(|| Digest::from_bytes([b % 5; 32])),
            hostname: host_name(a),
            wireguard_key: WgPublicKey::from_bytes([wireguard; 32]),
            signing_key: SigningPublicKey::from_bytes([machine; 32]),
            sealing_key: SealingPublicKey::from_bytes([machine; 32]),
            encapsulated: SealingPublicKey::from_bytes([b; 32]),
            settings,
        }
    }

    fn addresses(&self, network: NetworkId, number: u8) -> Option<Addresses> {
        if number.is_multiple_of(2) {
            return None;
        }
        let v4 = self.intent.network(network)?.ranges.v4()?;
        let v4 = std::net::Ipv4Addr::from_bits(v4.network().to_bits() + u32::from(number % 20));
        Some(Addresses { v4: Some(v4), v6: None })
    }
}

fn host_name(number: u8) -> HostName {
    ["web", "db", "db-2", "laptop"][usize::from(number % 4)].parse().unwrap()
}

fn endpoint(number: u8) -> Endpoint {
    let text = [
        "203.0.113.7:1024",
        "203.0.113.7:1025",
        "198.51.100.9:5",
        "[2001:db8::7]:51820",
        "[2001:db8::8]:51820",
    ];
    text[usize::from(number) % text.len()].parse().unwrap()
}

fn ranges(number: u8) -> Option<Ranges> {
    let (v4, v6) = match number % 7 {
        0 => (Some("10.0.0.0/29"), None),
        1 => (Some("10.0.0.0/16"), Some("fd00:1::/64")),
        2 => (Some("10.9.0.0/24"), None),
        3 => (None, Some("fd00:1::/126")),
        4 => (Some("192.168.7.0/30"), Some("fd00:2::/64")),
        _ => return None,
    };
    let v4 = v4.map(|text| text.parse().unwrap());
    Some(Ranges::new(v4, v6.map(|text| text.parse().unwrap())).unwrap())
}
