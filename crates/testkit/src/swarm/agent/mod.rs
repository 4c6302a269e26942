//! One lean agent: a task that keeps its connection and its map as the real agent does, and nothing else.
//!
//! ```text
//!   broker:  waiting ── its time ─► connecting ── stands ─► linked ── lost, cut ─► waiting
//!   map:     idle ── linked, gap, fetch ─► asking ── answered ─► idle        asking ── failed, put off ─► waiting ─► asking
//! ```
//!
//! Pauses, reports and what it does about gaps are those of `reconcile::Agent`; it shares no code with it. It keeps true that
//! at most one request and one report are under way, and that every message was opened, decoded and applied before it is
//! acknowledged.

mod ask;
mod broker;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use model::Generation;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Sleep;

use super::Shared;
use super::fetch::{Fetched, Kept, fetch};
use super::link::Link;
use super::machine::Machine;
use super::map::Marks;
use super::pace::{Jitter, Turns};

/// What an agent is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Report: what it says of itself has changed.
    Report,
    /// Lose the connection to the broker, by a reset.
    Cut,
    /// Neither read nor write any more, the socket left open.
    Hang,
    /// Go on.
    Wake,
    /// Say farewell and end.
    End,
}

type Pending<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

/// What was said in a report: the generation, and how often the rest has changed.
type Said = (Generation, u32);

/// The task's state.
pub(super) struct Agent {
    shared: Arc<Shared>,
    machine: Arc<Machine>,
    orders: mpsc::Receiver<Order>,
    jitter: Jitter,
    /// Whose turn it is among the servers, for requests.
    server: Turns,
    /// The same among the brokers.
    broker: Turns,
    link: Option<Link>,
    connecting: Pending<Result<Link>>,
    connect_at: Option<Instant>,
    connect_failures: u32,
    asking: Pending<Fetched>,
    kept: Option<Kept>,
    ask_at: Option<Instant>,
    ask_again: bool,
    ask_whole: bool,
    ask_failures: u32,
    asked: u32,
    /// The newest generation of which was heard, held or not.
    heard: Generation,
    report_at: Option<Instant>,
    under_way: Option<(u16, Said)>,
    told: Option<Said>,
    moves: u32,
    ping_at: Option<Instant>,
    is_current: bool,
    is_reporting: bool,
    /// Given back when it has its first map.
    turn: Option<OwnedSemaphorePermit>,
}

/// Why the task ends.
enum End {
    /// The server removed the host.
    Removed,
    /// It was told to.
    Told,
}

/// However it ends, it is counted no more.
impl Drop for Agent {
    fn drop(&mut self) {
        self.unlink();
        self.set_current(false);
        self.set_reporting(false);
    }
}

impl Agent {
    pub(super) fn new(
        shared: Arc<Shared>,
        machine: Arc<Machine>,
        orders: mpsc::Receiver<Order>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let jitter = Jitter::new(u64::from_le_bytes(crate::fleet::random()));
        let (first, now) = (super::turn(machine.number), Some(Instant::now()));
        let (connect_at, ask_at) = if shared.asks_first { (None, now) } else { (now, None) };
        Self {
            shared,
            machine,
            orders,
            jitter,
            server: Turns::from(first),
            broker: Turns::from(first),
            link: None,
            connecting: None,
            connect_at,
            connect_failures: 0,
            asking: None,
            kept: None,
            ask_at,
            ask_again: false,
            ask_whole: false,
            ask_failures: 0,
            asked: 0,
            heard: Generation::NONE,
            report_at: None,
            under_way: None,
            told: None,
            moves: 0,
            ping_at: None,
            is_current: false,
            is_reporting: false,
            turn,
        }
    }

    pub(super) async fn run(mut self) {
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        let end = loop {
            if let Err(end) = self.step(sleep.as_mut()).await {
                break end;
            }
        };
        if let (End::Told, Some(link)) = (end, self.link.take()) {
            self.shared.gauges.linked.set(false);
            link.farewell(&self.machine).await;
        }
    }

    /// Does what is due, then waits for something to happen.
    async fn step(&mut self, mut sleep: Pin<&mut Sleep>) -> Result<(), End> {
        self.act(Instant::now()).await;
        let deadline = self.deadline();
        if let Some(at) = deadline
            && sleep.deadline().into_std() != at
        {
            sleep.as_mut().reset(at.into());
        }
        let Self { orders, link, connecting, asking, .. } = self;
        tokio::select! {
            // What comes most comes first: the rest is looked at when nothing is there to be read.
            biased;
            filled = filled(link) => self.filled(filled).await,
            order = orders.recv() => self.obey(order.ok_or(End::Told)?).await,
            linked = ready(connecting) => self.linked(linked).await,
            fetched = ready(asking) => self.fetched(fetched),
            () = sleep, if deadline.is_some() => Ok(()),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let connect = self.connect_at.filter(|_| self.connecting.is_none() && self.link.is_none());
        let ask = self.ask_at.filter(|_| self.asking.is_none());
        let report = self.report_at.filter(|_| self.under_way.is_none() && self.link.is_some());
        let ping = self.ping_at.filter(|_| self.link.is_some());
        [connect, ask, report, ping].into_iter().flatten().min()
    }

    async fn act(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.connect_at) && self.connecting.is_none() && self.link.is_none() {
            self.connect_at = None;
            let (shared, machine) = (Arc::clone(&self.shared), Arc::clone(&self.machine));
            let (turn, keepalive, seed) = (self.broker.now(), self.keepalive(), self.jitter.next());
            self.connecting =
                Some(Box::pin(
                    async move { Link::connect(&shared.doors, &machine, turn, keepalive, seed).await },
                ));
        }
        if due(self.ask_at) && self.asking.is_none() {
            self.ask_at = None;
            self.ask_again = false;
            let (shared, machine) = (Arc::clone(&self.shared), Arc::clone(&self.machine));
            self.asking =
                Some(Box::pin(fetch(shared, machine, self.server.now(), self.kept.take(), self.ask_whole)));
        }
        if self.link.is_some() {
            if due(self.report_at) && self.under_way.is_none() {
                self.report();
            }
            if due(self.ping_at) {
                self.ping(now);
            }
            self.flush().await;
        }
    }

    async fn obey(&mut self, order: Order) -> Result<(), End> {
        match order {
            Order::Report => {
                self.moves += 1;
                self.report_by(Instant::now());
            }
            Order::Cut => {
                if let Some(link) = self.link.take() {
                    link.cut();
                    self.shared.gauges.linked.set(false);
                    self.wait_for_broker();
                }
            }
            Order::Hang => self.hang().await?,
            Order::Wake => {}
            Order::End => return Err(End::Told),
        }
        Ok(())
    }

    /// Does nothing at all until it is woken. Then it asks for what it missed.
    async fn hang(&mut self) -> Result<(), End> {
        self.set_current(false);
        self.set_reporting(false);
        loop {
            match self.orders.recv().await {
                Some(Order::Wake) => break,
                Some(Order::End) | None => return Err(End::Told),
                Some(Order::Report | Order::Cut | Order::Hang) => {}
            }
        }
        self.ask_now();
        self.report_by(Instant::now());
        Ok(())
    }

    /// Its map has changed.
    fn changed(&mut self, marks: &Marks) {
        let now = Instant::now();
        // Before it is counted: whoever waits for the last change then waits for the reports about it.
        self.report_by(now + self.shared.patience);
        let (tracker, agent) = (&self.shared.tracker, self.machine.number);
        marks.0.iter().for_each(|change| tracker.applied(*change, agent, now));
    }

    fn set_current(&mut self, current: bool) {
        if self.is_current != current {
            self.is_current = current;
            self.shared.gauges.current.set(current);
            if current {
                self.shared.is_back();
            }
        }
    }

    fn set_reporting(&mut self, reporting: bool) {
        if self.is_reporting != reporting {
            self.is_reporting = reporting;
            self.shared.gauges.reporting.set(reporting);
        }
    }
}

async fn filled(link: &mut Option<Link>) -> std::io::Result<usize> {
    match link {
        Some(link) => link.fill().await,
        None => std::future::pending().await,
    }
}

/// What a future brings, if there is one; it is gone then.
async fn ready<T>(pending: &mut Pending<T>) -> T {
    let Some(future) = pending else {
        return std::future::pending().await;
    };
    let value = future.await;
    *pending = None;
    value
}
