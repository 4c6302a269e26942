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

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use model::Generation;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Sleep;
use wire::{Down, TopicKind};

use super::Shared;
use super::counters::add;
use super::fetch::{Answer, Failure, Fetched, Kept, fetch};
use super::link::Link;
use super::machine::Machine;
use super::map::{Followed, Marks};
use super::mqtt::{self, Packet};
use super::pace::{Again, Jitter, put_off};

/// The keepalive of an agent that was told none yet.
const KEEPALIVE: u16 = 20;

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
        Self {
            shared,
            machine,
            orders,
            jitter,
            link: None,
            connecting: None,
            connect_at: Some(Instant::now()),
            connect_failures: 0,
            asking: None,
            kept: None,
            ask_at: None,
            ask_again: false,
            ask_whole: false,
            ask_failures: 0,
            asked: 0,
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
            order = orders.recv() => self.obey(order.ok_or(End::Told)?).await,
            filled = filled(link) => self.filled(filled).await,
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
            let (keepalive, seed) = (self.keepalive(), self.jitter.next());
            self.connecting =
                Some(Box::pin(async move { Link::connect(&shared.door, &machine, keepalive, seed).await }));
        }
        if due(self.ask_at) && self.asking.is_none() {
            self.ask_at = None;
            self.ask_again = false;
            let (shared, machine) = (Arc::clone(&self.shared), Arc::clone(&self.machine));
            self.asking = Some(Box::pin(fetch(shared, machine, self.kept.take(), self.ask_whole)));
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

    fn keepalive(&self) -> u16 {
        self.machine.map().server.keepalive.map_or(KEEPALIVE, model::Keepalive::get)
    }

    fn said(&self) -> Said {
        (self.machine.map().generation, self.moves)
    }

    fn report(&mut self) {
        self.report_at = None;
        let said = self.said();
        let Some(link) = self.link.as_mut().filter(|_| self.told != Some(said)) else {
            return self.set_reporting(false);
        };
        let topic = TopicKind::Report.topic_of(&self.machine.host.to_string());
        let id = link.publish(&topic, &self.machine.report(said.0));
        self.under_way = Some((id, said));
        add(&self.shared.counters.reports, 1);
        self.set_reporting(true);
    }

    fn report_by(&mut self, at: Instant) {
        self.report_at = Some(self.report_at.map_or(at, |before| before.min(at)));
        self.set_reporting(true);
    }

    fn ping(&mut self, now: Instant) {
        let Some(link) = &mut self.link else {
            return;
        };
        let keepalive = Duration::from_secs(link.keepalive.into());
        let mut due = link.last_sent + keepalive;
        if due <= now {
            mqtt::put_ping(&mut link.out);
            add(&self.shared.counters.pings, 1);
            due = now + keepalive;
        }
        self.ping_at = Some(due);
    }

    async fn flush(&mut self) {
        let Some(link) = &mut self.link else {
            return;
        };
        if link.flush().await.is_err() {
            self.lost();
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

    async fn linked(&mut self, linked: Result<Link>) -> Result<(), End> {
        let link = match linked {
            Ok(link) => link,
            Err(error) => return self.not_linked(&error),
        };
        add(&self.shared.counters.connected, 1);
        self.shared.gauges.linked.set(true);
        let now = Instant::now();
        self.ping_at = Some(now + Duration::from_secs(link.keepalive.into()));
        self.link = Some(link);
        (self.connect_failures, self.asked, self.ask_failures) = (0, 0, 0);
        // The server may have forgotten: it is told again, and asked what was missed.
        self.told = None;
        self.report_by(now);
        self.ask_now();
        // What came with the last bytes of the welcome.
        self.packets().await
    }

    fn not_linked(&mut self, error: &anyhow::Error) -> Result<(), End> {
        add(&self.shared.counters.refused, 1);
        self.shared.complain(error);
        let pause = Again::Broker.after(self.connect_failures, &mut self.jitter);
        self.connect_failures += 1;
        self.connect_at = Some(Instant::now() + pause);
        Ok(())
    }

    fn ask_now(&mut self) {
        if self.asking.is_some() {
            self.ask_again = true;
        } else {
            self.ask_at = Some(Instant::now());
        }
    }

    fn unlink(&mut self) {
        if let Some(mut link) = self.link.take() {
            add(&self.shared.counters.broker_wire, link.take_received());
            self.shared.gauges.linked.set(false);
        }
    }

    fn lost(&mut self) {
        add(&self.shared.counters.lost, 1);
        self.unlink();
        self.wait_for_broker();
    }

    fn wait_for_broker(&mut self) {
        let now = Instant::now();
        self.under_way = None;
        self.set_current(false);
        self.connect_at = Some(now + Again::Broker.after(0, &mut self.jitter));
        if self.asking.is_none() && self.ask_at.is_none() {
            self.ask_at = Some(now + Again::Fallback.after(0, &mut self.jitter));
        }
    }

    async fn filled(&mut self, filled: std::io::Result<usize>) -> Result<(), End> {
        if !matches!(filled, Ok(1..)) {
            self.lost();
            return Ok(());
        }
        self.packets().await
    }

    /// Takes all packets that came.
    async fn packets(&mut self) -> Result<(), End> {
        while let Some(link) = &mut self.link {
            match link.take() {
                Ok(Some(packet)) => self.packet(packet)?,
                Ok(None) => {
                    let received = link.take_received();
                    add(&self.shared.counters.broker_wire, received);
                    self.flush().await;
                    return Ok(());
                }
                Err(error) => {
                    self.shared.complain(&error);
                    self.lost();
                }
            }
        }
        Ok(())
    }

    fn packet(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish { topic: _, id, payload } => {
                self.pushed(&payload)?;
                if let (Some(id), Some(link)) = (id, &mut self.link) {
                    mqtt::put_puback(&mut link.out, id);
                }
            }
            Packet::PubAck { id } => {
                if let Some((_, said)) = self.under_way.take_if(|(under_way, _)| *under_way == id) {
                    self.told = Some(said);
                    if said == self.said() {
                        self.report_at = None;
                        self.set_reporting(false);
                    } else {
                        self.report_at.get_or_insert_with(Instant::now);
                    }
                }
            }
            Packet::ConnAck { .. } | Packet::SubAck { .. } | Packet::PingResp => {}
        }
        Ok(())
    }

    fn pushed(&mut self, sealed: &Bytes) -> Result<(), End> {
        add(&self.shared.counters.pushed, 1);
        add(&self.shared.counters.pushed_sealed, sealed.len() as u64);
        match self.machine.open::<Down>(sealed) {
            Ok(Down::Delta(delta)) => {
                let mut marks = Marks::default();
                let Shared { book, tracker, .. } = &*self.shared;
                let followed = self.machine.map().follow(delta, book, tracker, &mut marks);
                match followed {
                    Followed::Applied => self.changed(&marks),
                    Followed::Old => {}
                    Followed::Misfit => {
                        add(&self.shared.counters.misfits, 1);
                        self.ask_now();
                    }
                }
            }
            Ok(Down::Fetch(generation)) if generation <= self.machine.map().generation => {}
            Ok(Down::Fetch(_)) => self.ask_now(),
            Ok(Down::Removed) => return Err(End::Removed),
            Err(_) => {
                add(&self.shared.counters.unreadable, 1);
                self.ask_now();
            }
        }
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

    fn fetched(&mut self, fetched: Fetched) -> Result<(), End> {
        self.asking = None;
        let Fetched { kept, have, answer } = fetched;
        let pause = match answer {
            Ok(answer) => {
                self.ask_failures = 0;
                self.answered(have, answer);
                self.next_ask()
            }
            Err(Failure::Removed) => return Err(End::Removed),
            Err(Failure::Busy(seconds)) => {
                add(&self.shared.counters.put_off, 1);
                Some(put_off(seconds.unwrap_or(1), &mut self.jitter))
            }
            Err(Failure::Broken(error)) => {
                add(&self.shared.counters.failed, 1);
                self.shared.complain(&error);
                self.ask_failures += 1;
                Some(Again::Request.after(self.ask_failures - 1, &mut self.jitter))
            }
        };
        // A connection that is used again soon is kept, as the real agent's is; the others would only be closed by the server.
        self.kept = kept.filter(|_| pause.is_some_and(|pause| pause < Duration::from_secs(20)));
        self.ask_at = pause.map(|pause| Instant::now() + pause);
        Ok(())
    }

    /// When to ask again after an answer.
    fn next_ask(&mut self) -> Option<Duration> {
        if self.ask_again || self.ask_whole {
            return Some(Duration::ZERO);
        }
        if self.link.is_some() {
            self.set_current(true);
            self.turn = None;
            return None;
        }
        self.asked += 1;
        Some(Again::Fallback.after(self.asked, &mut self.jitter))
    }

    fn answered(&mut self, have: Generation, answer: Answer) {
        let (mut marks, mut ask_whole) = (Marks::default(), false);
        let Shared { book, tracker, counters, .. } = &*self.shared;
        let mut map = self.machine.map();
        let before = map.generation;
        match answer {
            Answer::Current(generation) => {
                add(&counters.answers_current, 1);
                map.is_current(generation);
            }
            Answer::Delta(delta) => {
                add(&counters.answers_delta, 1);
                ask_whole = map.follow(delta, book, tracker, &mut marks) == Followed::Misfit;
            }
            Answer::Parts(head, buckets) => {
                add(&counters.answers_parts, 1);
                add(&counters.parts, buckets.len() as u64);
                if map.generation == have {
                    map.adopt(head, &buckets, book, tracker, &mut marks);
                } else {
                    // Deltas came meanwhile: these buckets are those that differed from what was held before.
                    self.ask_again |= head.generation > map.generation;
                }
            }
        }
        let changed = map.generation != before;
        drop(map);
        self.ask_whole = ask_whole;
        if changed {
            self.changed(&marks);
        }
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
