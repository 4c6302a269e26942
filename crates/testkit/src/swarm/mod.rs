//! A swarm: thousands of lean agents in one process, over real TLS, WebSocket and MQTT, each with its own keys, connections
//! and map.
//!
//! As cheap for each agent as can be, because the server that is measured shares the machine: one task, small buffers, and
//! maps as numbers of one book. No shortcut into the server, and none around its messages: each is opened, decoded, checked
//! and applied by the agent that it was sent to. For tests that want to look at a map as it is there is `fleet::Connected`.

mod agent;
mod book;
mod check;
mod counters;
mod dial;
mod doors;
mod fetch;
mod histogram;
mod http;
mod link;
mod machine;
mod map;
mod mqtt;
mod pace;
mod rogue;
mod tracker;
mod websocket;
mod whole;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use indicatif::ProgressBar;
use model::Endpoint;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use wire::Token;

use crate::fleet::{Site, each};

pub use agent::Order;
pub use check::{Definition, Mismatch};
pub use counters::Counts;
pub use histogram::Histogram;
pub use machine::{Applicant, Machine};
pub use rogue::{Rogue, Vice};
pub use tracker::{Change, Mark, Tracker};
pub use whole::Truth;

use agent::Agent;
use book::Book;
use counters::Counters;
use doors::Doors;

/// The port in the first report of every machine.
pub const LOCAL_PORT: u16 = 51_820;
/// Orders that wait for an agent.
const ORDERS: usize = 4;
/// Files that this process has open for itself.
const OWN_FILES: u64 = 200;
/// Sockets that it asks for at least.
const FILES: u64 = 65_536;
/// How often a state is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(2);

/// How many agents are in a state now, and when that last changed.
#[derive(Debug)]
pub struct Gauge {
    count: AtomicU32,
    changed: AtomicU64,
    start: Instant,
}

impl Gauge {
    fn new(start: Instant) -> Self {
        Self { count: AtomicU32::new(0), changed: AtomicU64::new(0), start }
    }

    fn set(&self, one_more: bool) {
        if one_more {
            self.count.fetch_add(1, Ordering::AcqRel);
        } else {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
        let now = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.changed.fetch_max(now, Ordering::AcqRel);
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire) as usize
    }

    /// When that last changed.
    pub fn changed(&self) -> Instant {
        self.start + Duration::from_micros(self.changed.load(Ordering::Acquire))
    }
}

/// The states of all agents.
#[derive(Debug)]
pub struct Gauges {
    /// Connected to the broker.
    pub linked: Gauge,
    /// Connected, and with a map that was current when it was fetched.
    pub current: Gauge,
    /// With something to report, or a report under way.
    pub reporting: Gauge,
}

/// What all agents share.
pub(crate) struct Shared {
    doors: Doors,
    /// Whether agents have their first map before they connect, because it names the brokers.
    asks_first: bool,
    book: Book,
    tracker: Tracker,
    counters: Counters,
    gauges: Gauges,
    /// How long an agent waits before it reports that it carried out a map.
    patience: Duration,
    /// Room for connections for requests, beside those to the broker.
    places: Arc<Semaphore>,
    /// Since when agents come back, and how long each took.
    back: Mutex<Option<(Instant, Arc<Histogram>)>>,
    /// What went wrong last, for who wonders why something takes so long.
    trouble: Mutex<Option<String>>,
}

impl Shared {
    fn complain(&self, error: &anyhow::Error) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error:#}"));
    }

    fn is_back(&self) {
        if let Some((since, times)) = &*self.back.lock().unwrap_or_else(PoisonError::into_inner) {
            times.add(since.elapsed());
        }
    }
}

/// An agent of the swarm.
#[derive(Debug)]
pub struct Member {
    /// The machine.
    pub machine: Arc<Machine>,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The way in for machines that only join.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

impl Gate {
    /// A machine that is ready to register at the server with this number.
    pub async fn applicant(&self, server: usize, token: &Token, number: u32) -> Result<Applicant> {
        Applicant::prepare(self.shared.doors.server(server), token, 0, number).await
    }

    /// Registers it.
    pub async fn register(&self, applicant: Applicant) -> Result<Arc<Machine>> {
        Ok(applicant.register().await?.0)
    }
}

/// Machines that join the same networks.
#[derive(Debug, Clone)]
pub struct Group {
    /// The token that they join by.
    pub token: Token,
    /// The networks, by their places.
    pub networks: Vec<usize>,
    /// How many of a thousand machines are of this group.
    pub share: u32,
}

impl Group {
    fn meets(&self, other: &Self) -> bool {
        self.networks.iter().any(|network| other.networks.contains(network))
    }
}

/// The swarm.
pub struct Swarm {
    shared: Arc<Shared>,
    /// Its agents.
    pub members: Vec<Member>,
    groups: Vec<Group>,
    next: u32,
}

/// Lets this process have as many sockets as it may. A server that it starts inherits that.
pub fn allow_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    for wanted in [most.max(FILES), most] {
        let limit = Rlimit { current: Some(wanted), maximum: Some(wanted) };
        if setrlimit(Resource::Nofile, limit).is_ok() {
            return wanted;
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

impl Swarm {
    /// A swarm of at most so many agents for this server, spread over these groups.
    pub fn new(site: &Site, groups: Vec<Group>, most: usize, patience: Duration) -> Result<Self> {
        Self::among(std::slice::from_ref(site), groups, most, patience)
    }

    /// The same for several servers of one installation, or with brokers that maps name.
    pub fn among(sites: &[Site], groups: Vec<Group>, most: usize, patience: Duration) -> Result<Self> {
        ensure!(!sites.is_empty(), "a swarm needs a server");
        let files = allow_files();
        let room = files.saturating_sub(most as u64 + OWN_FILES);
        ensure!(
            room > 0,
            "{most} agents need more than {files} open files: raise the limit (`ulimit -n`), or take fewer agents"
        );
        let start = Instant::now();
        let gauges =
            Gauges { linked: Gauge::new(start), current: Gauge::new(start), reporting: Gauge::new(start) };
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let shared = Shared {
            doors: Doors::new(sites)?,
            asks_first: sites.len() > 1,
            book: Book::default(),
            tracker: Tracker::default(),
            counters: Counters::default(),
            gauges,
            patience,
            places: Arc::new(Semaphore::new(room)),
            back: Mutex::default(),
            trouble: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared), members: Vec::new(), groups, next: 0 })
    }

    /// The states of its agents.
    pub fn gauges(&self) -> &Gauges {
        &self.shared.gauges
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.shared.counters.now()
    }

    /// Changes under test.
    pub fn tracker(&self) -> &Tracker {
        &self.shared.tracker
    }

    /// How many agents are in the network at this place.
    pub fn members_in(&self, network: usize) -> usize {
        self.count(|group| group.networks.contains(&network))
    }

    /// How many agents share a network with the machines of the group at this place, those of the group among them.
    pub fn members_with(&self, group: usize) -> usize {
        let group = &self.groups[group];
        self.count(|other| other.meets(group))
    }

    /// Whether these two share a network.
    pub fn share(&self, one: usize, other: usize) -> bool {
        let group = |member: usize| &self.groups[self.members[member].machine.group];
        group(one).meets(group(other))
    }

    fn count(&self, of: impl Fn(&Group) -> bool) -> usize {
        let wanted: Vec<bool> = self.groups.iter().map(of).collect();
        self.members.iter().filter(|member| wanted[member.machine.group]).count()
    }

    /// The group of the machine with this number: each group comes as often as its share says.
    fn group_of(&self, number: u32) -> usize {
        let all: u32 = self.groups.iter().map(|group| group.share).sum();
        // A stride without a common divisor with 1000 mixes them, so that few machines are of all groups too.
        let mut at = number.wrapping_mul(389) % all.max(1);
        self.groups
            .iter()
            .position(|group| {
                group.share > at || {
                    at -= group.share;
                    false
                }
            })
            .unwrap_or(0)
    }

    /// A machine that is ready to register, and the group that it is of.
    pub async fn applicant(&mut self) -> Result<(Applicant, usize)> {
        let number = self.next;
        self.next += 1;
        let group = self.group_of(number);
        let token = &self.groups[group].token;
        Ok((Applicant::prepare(self.shared.doors.server(turn(number)), token, group, number).await?, group))
    }

    /// The way in for machines that are not of the swarm.
    pub fn gate(&self) -> Gate {
        Gate { shared: Arc::clone(&self.shared) }
    }

    /// Registers a machine.
    pub async fn register(&self, applicant: Applicant) -> Result<Arc<Machine>> {
        Ok(applicant.register().await?.0)
    }

    /// Registers so many machines, spread over the groups, and says how long each took. They report their local
    /// addresses over HTTP, so that this is no news when they connect.
    pub async fn enrol(
        &mut self,
        count: usize,
        at_once: usize,
        progress: &ProgressBar,
    ) -> Result<Vec<(Arc<Machine>, Duration)>> {
        let first = self.next;
        let count = u32::try_from(count).context("so many machines there are not")?;
        self.next += count;
        each(first..self.next, at_once, |number| {
            let (shared, progress) = (Arc::clone(&self.shared), progress.clone());
            let group = self.group_of(number);
            let token = self.groups[group].token.clone();
            async move {
                let start = Instant::now();
                let applicant =
                    Applicant::prepare(shared.doors.server(turn(number)), &token, group, number).await?;
                let (machine, mut http) = applicant.register().await?;
                let took = start.elapsed();
                machine.report_over(&mut http).await?;
                progress.inc(1);
                Ok((machine, took))
            }
        })
        .await
    }

    /// Starts the agents of these machines, so many connecting at the same time, and returns when each has its map.
    pub async fn connect(
        &mut self,
        machines: Vec<Arc<Machine>>,
        at_once: usize,
        progress: &ProgressBar,
    ) -> Result<()> {
        let turns = Arc::new(Semaphore::new(at_once));
        for machine in machines {
            let turn = Arc::clone(&turns).acquire_owned().await.context("the fleet ends")?;
            self.start(machine, Some(turn));
            progress.inc(1);
        }
        let all = u32::try_from(at_once).unwrap_or(u32::MAX);
        let _all = turns.acquire_many(all).await.context("the fleet ends")?;
        Ok(())
    }

    /// Starts the agent of one machine.
    pub fn start(&mut self, machine: Arc<Machine>, turn: Option<tokio::sync::OwnedSemaphorePermit>) {
        let (orders, receiver) = mpsc::channel(ORDERS);
        let agent = Agent::new(Arc::clone(&self.shared), Arc::clone(&machine), receiver, turn);
        self.members.push(Member { machine, orders, task: tokio::spawn(agent.run()) });
    }

    /// Gives an order to the agent at this place. One that ended needs none.
    pub async fn order(&self, member: usize, order: Order) {
        let _ended = self.members[member].orders.send(order).await;
    }

    /// The agent at this place reports that its local addresses are this endpoint.
    pub async fn move_to(&self, member: usize, endpoint: Endpoint) {
        self.members[member].machine.move_to(vec![endpoint]);
        self.order(member, Order::Report).await;
    }

    /// The machine at this place asks the server to let it go.
    pub async fn leave(&self, member: usize) -> Result<()> {
        let machine = &self.members[member].machine;
        machine.leave(self.shared.doors.server(turn(machine.number))).await
    }

    /// All machines from this place on ask to be let go at once.
    pub async fn leave_together(&self, first: usize) -> Result<()> {
        let machines: Vec<Arc<Machine>> =
            self.members[first..].iter().map(|member| Arc::clone(&member.machine)).collect();
        let at_once = machines.len().max(1);
        let leave = |machine: Arc<Machine>| {
            let shared = Arc::clone(&self.shared);
            async move { machine.leave(shared.doors.server(turn(machine.number))).await }
        };
        each(machines, at_once, leave).await.map(drop)
    }

    /// A machine without an agent asks to be let go.
    pub async fn dismiss(&self, machine: &Machine) -> Result<()> {
        machine.leave(self.shared.doors.server(turn(machine.number))).await
    }

    /// Takes those out whose agents ended, and says how many are left.
    pub fn bury(&mut self) -> usize {
        self.members.retain(|member| !member.task.is_finished());
        self.members.len()
    }

    /// A machine that misbehaves from now on.
    pub fn corrupt(&self, machine: Arc<Machine>, vice: Vice) -> Rogue {
        Rogue::start(Arc::clone(&self.shared), machine, vice)
    }

    /// From now on it is measured how long agents take to be back with a current map.
    pub fn await_back(&self) -> Arc<Histogram> {
        let times = Arc::new(Histogram::default());
        let since = Some((Instant::now(), Arc::clone(&times)));
        *self.shared.back.lock().unwrap_or_else(PoisonError::into_inner) = since;
        times
    }

    /// What went wrong last, on the way to the server.
    pub fn trouble(&self) -> String {
        let trouble = self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone().unwrap_or_else(|| "nothing".to_owned())
    }

    /// Waits until all agents have a current map and nothing to report; whether that came in time.
    pub async fn settle(&self, limit: Duration) -> bool {
        let wanted = self.members.len();
        let settled = || self.gauges().current.count() == wanted && self.gauges().reporting.count() == 0;
        wait_until(settled, limit).await
    }
}

/// The server that the machine with this number tries first.
fn turn(number: u32) -> usize {
    number as usize
}

/// Looks again and again until it is so; whether that came in time.
pub async fn wait_until(so: impl Fn() -> bool, limit: Duration) -> bool {
    let start = Instant::now();
    while !so() {
        if start.elapsed() > limit {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}

/// A local endpoint that no agent had before: the machine's address, and this port.
pub fn endpoint_of(machine: &Machine, port: u16) -> Result<Endpoint> {
    machine::local_of(machine.number, port)
}
