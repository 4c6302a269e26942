//! The World: the real brains of server and agents (`control`, `reconcile`) on simulated machines, in virtual time, with
//! NATs, loss, broken connections, crashes and restarts; plain WireGuard clients, machines behind routers, and somebody in
//! the internet. The same seed and the same steps give the same world.
//!
//! Not for sockets, encodings or kernels: the lab is. What must be true at rest is in `check`, and what must be true of each
//! packet in `law`, both against a reference model (`model`, `picture`) that knows intents and places, and nothing of how
//! things come about.

mod annex;
mod ask;
mod carried;
mod check;
mod client;
mod connections;
mod exchange;
mod host;
mod kernel;
mod law;
mod model;
mod names;
mod naming;
mod net;
mod packet;
mod passage;
mod picture;
mod random;
mod rotation;
mod routing;
mod server;
mod shell;
mod sight;
mod steps;
mod transport;
mod wireguard;
mod wish;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ::model::{Digest, Endpoint, HostId, NetworkId, NodeId, Ranges, Timestamp, Uses, WgPublicKey};
use control::{Actor, Command, Rejection};
use reconcile::AgentEvent;

pub use ask::End;
pub use names::{Answered, Names};
pub use net::{Border, Place};
pub use packet::Service;
pub use wish::{Numbers, Wish};

use annex::Annex;
use ask::Asked;
use client::Client;
use host::{Host, Request};
use law::History;
use net::{Envelope, Net};
use packet::Packet;
use random::Random;
use server::Server;
use transport::Wire;
use wireguard::Datagram;

/// The server's address.
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 250);
/// Somebody in the internet, in no network.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
/// The UDP port of every host and client.
const PORT: u16 = 51_820;
/// How many networks there are: of IPv4, of both families, and of IPv6.
pub const NETWORKS: usize = 3;

enum Event {
    Datagram(Envelope, Wire),
    /// To a host, from another one on the LAN of a range.
    Near {
        host: usize,
        from: Endpoint,
        datagram: Datagram,
    },
    /// To a machine of an annex, or from one of them to a host.
    Annex {
        annex: usize,
        host: usize,
        inwards: bool,
        packet: Packet,
    },
    /// To the `run`th agent of a host, over this connection if over one.
    Agent {
        host: usize,
        run: u64,
        link: Option<u64>,
        event: Box<AgentEvent>,
    },
    /// What the server said of a key, if it said anything.
    KeyTold {
        host: usize,
        run: u64,
        key: WgPublicKey,
        answer: Option<bool>,
    },
    /// A connection, or the attempt to make one, has failed.
    Down {
        host: usize,
        run: u64,
        attempt: u64,
    },
    Server {
        host: usize,
        run: u64,
        request: Request,
    },
}

/// Everything there is.
pub struct World {
    now: Duration,
    random: Random,
    net: Net,
    server: Server,
    networks: Vec<NetworkId>,
    hosts: Vec<Host>,
    by_id: BTreeMap<HostId, usize>,
    borders: Vec<Border>,
    clients: Vec<Client>,
    annexes: Vec<Annex>,
    /// How agents name what is in their maps; none: they do not.
    names: Option<fn() -> Box<dyn Names>>,
    /// Every intent that there was.
    history: History,
    /// What was asked, by number.
    asked: BTreeMap<u64, Asked>,
    questions: u64,
    /// Connections to the broker, by host.
    links: BTreeMap<usize, u64>,
    /// When the last message of a connection arrives: they keep their order.
    last_push: BTreeMap<usize, Duration>,
    events: BTreeMap<(Duration, u64), Event>,
    count: u64,
    /// Of a hundred datagrams so many are lost, and of a hundred pushed messages so many, with their connection.
    pub loss: u64,
    /// Of a hundred pushed messages so many come twice.
    pub twice: u64,
}

impl World {
    /// A server, two networks, and sites behind these borders without machines.
    pub fn new(seed: u64, borders: &[Border]) -> Self {
        let mut world = Self {
            now: Duration::from_secs(1_000),
            random: Random::new(seed),
            net: Net::new(borders),
            server: Server::new(),
            networks: Vec::new(),
            hosts: Vec::new(),
            by_id: BTreeMap::new(),
            borders: borders.to_vec(),
            clients: Vec::new(),
            annexes: Vec::new(),
            names: None,
            history: History::default(),
            asked: BTreeMap::new(),
            questions: 0,
            links: BTreeMap::new(),
            last_push: BTreeMap::new(),
            events: BTreeMap::new(),
            count: 0,
            loss: 0,
            twice: 0,
        };
        world.make_networks();
        world
    }

    fn make_networks(&mut self) {
        for number in 0..NETWORKS {
            let v4 = (number < 2).then(|| format!("10.{}.0.0/24", number + 1).parse().expect("a range"));
            let v6 = (number > 0).then(|| format!("fd00:{}::/64", number + 1).parse().expect("a range"));
            let ranges = Ranges::new(v4, v6);
            self.command(Command::CreateNetwork {
                name: format!("net{number}").parse().expect("a name"),
                ranges: ranges.ok(),
                keepalive: None,
                access: None,
                approval: false,
                domain: None,
            });
        }
        let named = |number: usize| format!("net{number}").parse().expect("a name");
        let of = |number| self.server.intent.network_by_name(&named(number)).expect("it was made").id;
        self.networks = (0..NETWORKS).map(of).collect();
        for number in 1..1 << NETWORKS {
            let networks =
                (0..NETWORKS).filter(|at| number >> at & 1 == 1).map(|at| self.networks[at]).collect();
            self.command(Command::CreateEnrollmentKey {
                title: format!("key {number}").parse().expect("a title"),
                digest: Digest::from_bytes([number; 32]),
                networks,
                uses: Uses::Unlimited,
                expires: None,
                tags: Default::default(),
                ephemeral: false,
            });
        }
    }

    /// The time since the world began.
    pub const fn now(&self) -> Duration {
        self.now
    }

    /// The wall clock.
    pub fn clock(&self) -> Timestamp {
        kernel::wall(self.now)
    }

    /// Whether the server is there.
    pub const fn server_is_up(&self) -> bool {
        self.server.up
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        for host in 0..self.hosts.len() {
            self.act(host);
        }
        loop {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let hosts = self.hosts.iter().filter_map(Host::deadline);
            let clients = self.clients.iter().filter_map(|client| client.kernel.deadline());
            let rest = hosts.chain(clients).chain(self.sweep_at()).min();
            let Some(next) = event.into_iter().chain(rest).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            if event == Some(next) {
                let (_, event) = self.events.pop_first().expect("there is one");
                self.happen(event);
            } else {
                self.fall_due(next);
            }
        }
        self.now = end;
    }

    fn fall_due(&mut self, at: Duration) {
        let due = |deadline: Option<Duration>| deadline.is_some_and(|due| due <= at);
        for host in 0..self.hosts.len() {
            if due(self.hosts[host].deadline()) {
                self.act(host);
            }
        }
        for client in 0..self.clients.len() {
            if due(self.clients[client].kernel.deadline()) {
                self.clients[client].kernel.tick(self.now);
                self.transmit_client(client);
            }
        }
        if due(self.sweep_at()) {
            self.sweep();
        }
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.count += 1;
        self.events.insert((self.now + delay, self.count), event);
    }

    /// Gives a command as an administrator; the server must be up. It must be possible.
    pub fn command(&mut self, command: Command) {
        let said = self.give(Actor::System, command);
        said.unwrap_or_else(|refused| panic!("the world asks only for what is possible: {refused}"));
    }

    /// Gives a command that may be refused; the server must be up.
    pub fn try_command(&mut self, command: Command) -> Result<(), Rejection> {
        self.give(Actor::System, command)
    }

    fn give(&mut self, actor: Actor, command: Command) -> Result<(), Rejection> {
        assert!(self.server.up, "commands need a server");
        let messages = self.server.command(actor, command, &mut self.random, self.now, &mut self.history)?;
        self.push(messages);
        Ok(())
    }

    /// What people want.
    pub fn intent(&self) -> &control::Intent {
        &self.server.intent
    }

    /// The id of a host's node in a network.
    pub fn node(&self, host: usize, network: usize) -> NodeId {
        let node = self.server.intent.node_of(self.hosts[host].id, self.networks[network]);
        node.expect("the host is in the network").id
    }

    /// The id of a host.
    pub fn host(&self, host: usize) -> HostId {
        self.hosts[host].id
    }

    /// The id of a network.
    pub fn network(&self, number: usize) -> NetworkId {
        self.networks[number]
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Datagram(envelope, wire) => self.arrive(&envelope, wire),
            Event::Near { host, from, datagram } => self.arrive_near(host, from, datagram),
            Event::Annex { annex, host, inwards, packet } => {
                self.arrive_at_annex(annex, host, inwards, packet);
            }
            Event::Agent { host, run, link, event } => {
                let broken = link.is_some_and(|link| self.links.get(&host) != Some(&link));
                if self.hosts[host].run == run && !broken {
                    self.hosts[host].hear(*event, self.now);
                    self.act(host);
                }
            }
            Event::KeyTold { host, run, key, answer } => {
                if self.hosts[host].run == run {
                    let request = self.hosts[host].key_told(key, answer, self.now);
                    request.into_iter().for_each(|request| self.ask_server(host, request));
                    self.act(host);
                }
            }
            Event::Down { host, run, attempt } => {
                if self.hosts[host].run == run && self.hosts[host].attempts == attempt {
                    self.hosts[host].hear(AgentEvent::BrokerDown, self.now);
                    self.act(host);
                }
            }
            Event::Server { host, run, request } => self.serve(host, run, request),
        }
    }

    fn act(&mut self, host: usize) {
        let requests = self.hosts[host].act(self.now);
        if !self.hosts[host].runs() {
            self.unlink(host);
        }
        requests.into_iter().for_each(|request| self.ask_server(host, request));
        self.transmit(host);
    }

    fn ask_server(&mut self, host: usize, request: Request) {
        let (run, delay) = (self.hosts[host].run, self.random.about(Duration::from_millis(15)));
        self.after(delay, Event::Server { host, run, request });
    }
}
