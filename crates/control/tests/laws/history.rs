//! Random histories: steps of small numbers, read as commands and observations against what is there at that moment.
//!
//! What they are made of is in `pools`; steps about what networks hold besides machines are in `members`.

mod members;

use control::{
    Actor, Change, Command, Door, Edit, Effect, Env, Intent, Inventory, NetworkEdit, NodeEdit, Register,
    Rejection, apply, decide,
};
use model::{
    Addresses, ApiTokenId, Digest, EnrollmentKeyId, HostId, Keepalive, Mtu, NetworkId, NodeId, PasswordHash,
    Ranges, Role, SealingPublicKey, SigningPublicKey, Timestamp, TokenPurpose, UserId, Uses, WgPublicKey,
};
use proptest::prelude::*;
use wire::{HostSettings, Leave, NodeSwitch, Report, ServerLinks};

use crate::pools::{endpoint, host_name, ranges};

/// One step: what, and numbers that say which.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) what: What,
    a: u8,
    b: u8,
    c: u8,
}

macro_rules! whats {
    (machines { $($group:ident($weight:literal): $($each:literal $what:ident),*;)* }
     members { $($more:ident($heavy:literal): $($every:literal $which:ident),*;)* }) => {
        /// What a step is about.
        #[derive(Debug, Clone, Copy)]
        pub(crate) enum What { $($group($group),)* $($more($more)),* }

        $(
            #[derive(Debug, Clone, Copy)]
            pub(crate) enum $group { $($what),* }
        )*
        $(
            #[derive(Debug, Clone, Copy)]
            pub(crate) enum $more { $($which),* }
        )*

        fn machines() -> impl Strategy<Value = What> {
            prop_oneof![$($weight => prop_oneof![$($each => Just(What::$group($group::$what))),*]),*]
        }

        fn members() -> impl Strategy<Value = What> {
            prop_oneof![$($heavy => prop_oneof![$($every => Just(What::$more($more::$which))),*]),*]
        }
    };
}

whats! {
    machines {
        People(14): 1 SetUp, 1 CreateUser, 1 ChangePassword, 1 SetRole, 1 DeleteUser, 2 CreateToken, 1 DeleteToken;
        Networks(15): 4 Create, 2 Update, 1 Delete, 4 CreateKey, 1 UpdateKey, 1 DeleteKey;
        Hosts(44): 24 Register, 3 Update, 1 Remove, 4 AddNode, 3 UpdateNode, 2 RemoveNode,
            2 OwnSettings, 2 OwnSwitch, 2 OwnLeave;
        Observed(9): 4 Seen, 3 Reported, 1 Presence, 1 Wait;
    }
    members {
        Ways(12): 8 Duties, 3 Relay, 3 Internet, 2 Hub, 2 Expiry, 2 Renumber, 2 Tags;
        Members(16): 6 CreateClient, 3 UpdateClient, 1 DeleteClient, 6 CreateEgress, 3 UpdateEgress, 1 DeleteEgress,
            1 Sweep, 1 Default, 1 Rotate, 2 OwnKey;
        Policies(12): 6 Create, 3 Update, 1 Delete, 4 CreateTest, 1 DeleteTest, 1 SetGroups, 2 Access;
        Domains(8): 6 CreateRecord, 3 UpdateRecord, 1 DeleteRecord, 3 CreateUpstream, 1 UpdateUpstream, 1 DeleteUpstream,
            2 Domain;
    }
}

fn step(what: impl Strategy<Value = What>) -> impl Strategy<Value = Step> {
    (what, any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(what, a, b, c)| Step { what, a, b, c })
}

/// A history of people, networks and machines.
pub(crate) fn history(most: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(machines()), 0..most)
}

/// A history of everything that there is.
pub(crate) fn full_history(most: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(prop_oneof![2 => machines(), 3 => members()]), 0..most)
}

/// A history of thousands of steps.
pub(crate) fn long_history() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(machines()), 2_000..4_000)
}

/// Machines of a long history.
const WIDE: u8 = 30;

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
    /// How many machines may register.
    machines: u8,
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
        Self {
            intent: Intent::default(),
            inventory: Inventory::default(),
            links,
            now,
            machines: 10,
            random: 1,
        }
    }

    /// A server with two networks and three keys, so that short histories get somewhere.
    pub(crate) fn new() -> Self {
        let mut brain = Self::empty();
        let network = |name: &str, number| Command::CreateNetwork {
            name: name.parse().unwrap(),
            ranges: ranges(number),
            keepalive: None,
            access: None,
            approval: false,
            domain: None,
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
                tags: Default::default(),
                ephemeral: false,
            });
        }
        brain
    }

    /// A server with room for more machines, in networks with room for all of them that seldom go, for long histories.
    pub(crate) fn wide() -> Self {
        Self { machines: WIDE, ..Self::new() }
    }

    const fn is_wide(&self) -> bool {
        self.machines == WIDE
    }

    fn give(&mut self, command: Command) {
        self.give_as(Actor::System, command);
    }

    /// Gives a command that is possible.
    pub(crate) fn give_as(&mut self, actor: Actor, command: Command) -> Change {
        self.random += 1;
        let change = self.decide(&actor, command).unwrap();
        apply(&mut self.intent, &change);
        change
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
        decide(
            &self.intent,
            actor,
            command,
            &mut Env { now: self.now, domain: &control::plan::default_domain(), random: &mut random },
        )
    }

    /// Does a step.
    pub(crate) fn step(&mut self, step: &Step) -> Did {
        let step = &self.eased(step);
        self.random = self.random.wrapping_add(1_000_003);
        let command = match step.what {
            What::People(what) => self.people(what, step),
            What::Networks(what) => self.networks(what, step),
            What::Hosts(what) => self.hosts(what, step),
            What::Observed(what) => return self.observe(what, step),
            What::Ways(what) => self.ways(what, step),
            What::Members(what) => self.members(what, step),
            What::Policies(what) => self.policies(what, step),
            What::Domains(what) => self.domains(what, step),
        };
        let decided = self.decide(&self.actor(step), command);
        if let Ok(change) = &decided {
            apply(&mut self.intent, change);
        }
        Did::Decided(decided)
    }

    /// In long histories more comes than goes, or little would be left to look at.
    fn eased(&self, step: &Step) -> Step {
        let goes = matches!(step.what, What::Hosts(Hosts::Remove | Hosts::RemoveNode | Hosts::OwnLeave));
        let switches = matches!(step.what, What::Hosts(Hosts::UpdateNode | Hosts::OwnSwitch));
        let mut step = step.clone();
        if self.is_wide() && goes && step.c >= 64 {
            step.what = What::Hosts(Hosts::AddNode);
        }
        if self.is_wide() && switches && step.a >= 128 {
            (step.b, step.c) = (step.b & !1, step.c & !1);
        }
        step
    }

    fn observe(&mut self, what: Observed, step: &Step) -> Did {
        let Step { a, b, c, .. } = *step;
        let host = self.host(a);
        if self.intent.host(host).is_none() {
            return Did::Waited;
        }
        let effect = match what {
            Observed::Wait => {
                self.now = self.now + std::time::Duration::from_secs(u64::from(b));
                return Did::Waited;
            }
            Observed::Seen => {
                let door = if c.is_multiple_of(2) { Door::First } else { Door::Second };
                self.inventory.observe_seen(host, door, endpoint(b), self.now)
            }
            Observed::Reported => {
                let local = (0..b % 3).map(|number| endpoint(number + c % 2)).collect();
                self.inventory.observe_report(host, &Report { local, ..Report::default() }, self.now)
            }
            Observed::Presence => {
                self.inventory.observe_presence(host, b.is_multiple_of(2), self.now);
                Effect::None
            }
        };
        Did::Observed(host, effect)
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

    /// Who gives the command: who should, or now and then somebody who may not.
    fn actor(&self, step: &Step) -> Actor {
        if step.c >= 250 {
            return Actor::User(self.user(step.b));
        }
        match step.what {
            What::People(People::SetUp) => Actor::Setup,
            What::Hosts(Hosts::Register) => Actor::Registrant,
            What::Hosts(Hosts::OwnSettings | Hosts::OwnSwitch | Hosts::OwnLeave)
            | What::Members(Members::OwnKey) => Actor::Host(self.host(step.a)),
            What::People(_)
            | What::Networks(_)
            | What::Hosts(_)
            | What::Observed(_)
            | What::Ways(_)
            | What::Members(_)
            | What::Policies(_)
            | What::Domains(_) => Actor::System,
        }
    }

    fn people(&self, what: People, step: &Step) -> Command {
        let Step { a, b, c, .. } = *step;
        let name = || ["anna", "ben", "cleo"][usize::from(a % 3)].parse().unwrap();
        let password = PasswordHash::from_phc(format!("$argon2id${b}"));
        let role = if b.is_multiple_of(2) { Role::Administrator } else { Role::Auditor };
        match what {
            People::SetUp => Command::SetUpFirstAdministrator { name: name(), password },
            People::CreateUser => Command::CreateUser { name: name(), password, role },
            People::ChangePassword => {
                Command::ChangePassword { user: self.user(a), password, keep: Some(self.token(c)) }
            }
            People::SetRole => Command::SetRole { user: self.user(a), role },
            People::DeleteUser => Command::DeleteUser { user: self.user(a) },
            People::CreateToken => Command::CreateToken {
                user: self.user(a),
                title: "script".parse().unwrap(),
                purpose: if c.is_multiple_of(2) { TokenPurpose::Login } else { TokenPurpose::Program },
                digest: Digest::from_bytes([b % 8; 32]),
                expires: None,
            },
            People::DeleteToken => Command::DeleteToken { token: self.token(a) },
        }
    }

    fn networks(&self, what: Networks, step: &Step) -> Command {
        let Step { a, b, c, .. } = *step;
        let name = ["office", "lab", "home", "shop"][usize::from(a % 4)].parse().unwrap();
        let title = ["one", "two", "three", "four"][usize::from(b % 4)].parse().unwrap();
        let keepalive = c.is_multiple_of(3).then(|| Keepalive::new(u16::from(c % 5) + 1).unwrap());
        match what {
            Networks::Create => Command::CreateNetwork {
                name,
                ranges: self.ranges(b),
                keepalive,
                access: None,
                approval: false,
                domain: None,
            },
            Networks::Update => {
                let name = c.is_multiple_of(2).then_some(name);
                let edit = NetworkEdit { name, keepalive, ..NetworkEdit::default() };
                Command::UpdateNetwork { network: self.network(b), edit }
            }
            Networks::Delete => {
                let force = b.is_multiple_of(if self.is_wide() { 8 } else { 2 });
                Command::DeleteNetwork { network: self.network(a), force }
            }
            Networks::CreateKey => Command::CreateEnrollmentKey {
                title,
                digest: Digest::from_bytes([b % 8; 32]),
                networks: (0..a % 3).map(|more| self.network(c.wrapping_add(more))).collect(),
                uses: if c.is_multiple_of(2) { Uses::Unlimited } else { Uses::Left(u32::from(c % 5)) },
                expires: (c.is_multiple_of(7))
                    .then(|| self.now + std::time::Duration::from_secs(u64::from(b))),
                tags: members::tags(a),
                ephemeral: c.is_multiple_of(5),
            },
            Networks::UpdateKey => Command::UpdateEnrollmentKey { key: self.key(a), title },
            Networks::DeleteKey => Command::DeleteEnrollmentKey { key: self.key(a) },
        }
    }

    fn hosts(&self, what: Hosts, step: &Step) -> Command {
        let Step { a, b, c, .. } = *step;
        let name = c.is_multiple_of(3).then(|| host_name(b));
        let mtu = c.is_multiple_of(4).then(|| Mtu::new(1280 + u16::from(b % 3)).unwrap());
        let static_endpoint = c.is_multiple_of(5).then(|| endpoint(b));
        let settings = HostSettings { name: name.clone(), mtu, static_endpoint };
        let network_name = || match self.intent.network(self.network(b)) {
            Some(network) => network.name.clone(),
            None => "attic".parse().unwrap(),
        };
        match what {
            Hosts::Register => Command::Register(self.registration(step, settings)),
            Hosts::Update => Command::UpdateHost {
                host: self.host(a),
                name,
                mtu: Edit::from(c.is_multiple_of(2).then_some(mtu)),
                static_endpoint: Edit::from((c % 2 == 1).then_some(static_endpoint)),
                default: None,
                ephemeral: None,
            },
            Hosts::Remove => Command::RemoveHost { host: self.host(a) },
            Hosts::AddNode => {
                let network = self.network(b);
                Command::AddNode {
                    host: self.host(a),
                    network,
                    addresses: self.addresses(network, c),
                    tags: Default::default(),
                }
            }
            Hosts::UpdateNode => Command::UpdateNode {
                node: self.node(a),
                edit: NodeEdit { connected: Some(b.is_multiple_of(2)), ..NodeEdit::default() },
            },
            Hosts::RemoveNode => Command::RemoveNode { node: self.node(a) },
            Hosts::OwnSettings => Command::OwnSettings(settings),
            Hosts::OwnSwitch => {
                Command::OwnSwitch(NodeSwitch { network: network_name(), connected: c.is_multiple_of(2) })
            }
            Hosts::OwnLeave if c.is_multiple_of(4) => Command::OwnLeave(Leave::Server),
            Hosts::OwnLeave => Command::OwnLeave(Leave::Network(network_name())),
        }
    }

    fn registration(&self, step: &Step, settings: HostSettings) -> Register {
        let Step { a, b, c, .. } = *step;
        let machine = a % self.machines;
        // A WireGuard key of its own, a renewed one, or now and then another machine's.
        let wireguard =
            if c.is_multiple_of(11) { b % self.machines } else { machine + self.machines * (c % 2) };
        Register {
            enrollment: (b % 5 != 0).then(|| self.enrollment(b)),
            hostname: host_name(a),
            wireguard_key: WgPublicKey::from_bytes([wireguard; 32]),
            signing_key: SigningPublicKey::from_bytes([machine; 32]),
            sealing_key: SealingPublicKey::from_bytes([machine; 32]),
            encapsulated: SealingPublicKey::from_bytes([b; 32]),
            server: None,
            settings,
            addresses: self.asked(c),
        }
    }

    fn enrollment(&self, number: u8) -> Digest {
        let known = self.intent.enrollment_key(self.key(number)).filter(|_| self.is_wide());
        known.map_or(Digest::from_bytes([number % 5; 32]), |key| key.digest)
    }

    fn ranges(&self, number: u8) -> Option<Ranges> {
        match number % 7 {
            0 | 3 | 4 if self.is_wide() => Some(Ranges::new("10.7.0.0/16".parse().ok(), None).unwrap()),
            _ => ranges(number),
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
