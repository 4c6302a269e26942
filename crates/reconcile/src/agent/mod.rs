//! What the agent does about its server and broker: when to connect, ask, write down, carry out, report, and when to take
//! everything down.
//!
//! ```text
//!   broker:   Down ── its time ─► Connecting ── up ─► Up          ask:   Idle ◄── answered, broker up ── Asking
//!               ▲                     │ failed         │                   │                             ▲  │
//!               └─────────────────────┴───── lost ─────┘                   └─ broker up, gap, fetch ─────┘  │ failed, or
//!                                                                        Waiting ── its time ─► Asking ◄────┘ broker down
//! ```
//!
//! While the broker is up nothing is asked: changes are pushed. While it is down the server is asked over HTTP, ever more
//! rarely. When the machine has moved, both begin anew at once. Tunnels stay as they are all the time. Whoever leads the
//! servers calls the roll (`Down::Fetch`) when it begins to, and when a broker of somebody else's has lost sight of it: then
//! this host says that it is there, and what it had to say.
//!
//! Sans-IO, as `Paths`: `handle*` in, `poll_action` and `poll_deadline` out, `now` since a fixed moment of the run. Actions
//! are carried out in order, each before the next is polled: so the map is on disk before it is acted on. It keeps true
//! that the generation only grows.

mod agreement;
mod backoff;
mod event;
mod report;
mod rotation;

use std::time::Duration;

use model::{Endpoint, Generation, SealingPublicKey};
use wire::{Delta, Down, HostMap, Outcome, delta, patch};

pub use event::{AgentAction, AgentEvent, AgentWait, Answer, AskFailure, Changed};

use agreement::Agreement;
use backoff::{Backoff, Jitter};
use report::Reporter;
use rotation::Rotation;

const BROKER: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(15) };
const FAILED_ASK: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(60) };
/// Hosts that are told of another broker at the same moment come to it within this time.
const SPREAD: Duration = Duration::from_secs(1);
/// How often the server is asked while the broker is away.
const FALLBACK: Backoff = Backoff { first: Duration::from_secs(5), most: Duration::from_secs(60) };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broker {
    Down { until: Duration, failures: u32 },
    Connecting { failures: u32 },
    Up,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Idle,
    /// Under way; `again` when it may already be too old.
    Asking {
        again: bool,
    },
    Waiting {
        until: Duration,
    },
}

/// The agent's part towards server and broker. See the module.
#[derive(Debug, Clone)]
pub struct Agent {
    map: Option<HostMap>,
    broker: Broker,
    ask: Ask,
    /// Answers in a row without a broker, and failures in a row.
    asked: u32,
    ask_failures: u32,
    /// What we have cannot be built upon.
    want_whole: bool,
    was_up: bool,
    removed: bool,
    reporter: Reporter,
    agreement: Agreement,
    rotation: Rotation,
    rotation_failure: Option<Outcome>,
    jitter: Jitter,
    store: bool,
    carry_out: Option<Changed>,
    server_back: bool,
    say_online: bool,
    /// The newest generation of which was heard, held or not.
    heard: Generation,
    take_down: bool,
    now: Duration,
}

impl Agent {
    /// An agent that starts with the map on its disk. It carries that out first, whatever the server says later.
    pub fn new(stored: Option<HostMap>, seed: u64, now: Duration) -> Self {
        let carry_out = stored.is_some().then_some(Changed::Everything);
        let mut rotation = Rotation::new();
        rotation.asked(stored.as_ref().is_some_and(|map| map.host.rotate), now);
        let (mut agreement, mut jitter) = (Agreement::new(), Jitter::new(seed));
        agreement.told(stored.as_ref().and_then(next_key), now, &mut jitter);
        Self {
            map: stored,
            broker: Broker::Down { until: now, failures: 0 },
            ask: Ask::Waiting { until: now },
            asked: 0,
            ask_failures: 0,
            want_whole: false,
            was_up: false,
            removed: false,
            reporter: Reporter::default(),
            agreement,
            rotation,
            rotation_failure: None,
            jitter,
            store: false,
            carry_out,
            server_back: false,
            say_online: false,
            heard: Generation::NONE,
            take_down: false,
            now,
        }
    }

    /// The newest map.
    pub const fn map(&self) -> Option<&HostMap> {
        self.map.as_ref()
    }

    /// Whether changes are pushed at the moment.
    pub fn broker_is_up(&self) -> bool {
        self.broker == Broker::Up
    }

    /// Whether the server has removed this host.
    pub const fn is_removed(&self) -> bool {
        self.removed
    }

    /// Something happened.
    pub fn handle(&mut self, event: AgentEvent, now: Duration) {
        self.now = now;
        match event {
            AgentEvent::BrokerUp => self.broker_up(),
            AgentEvent::BrokerDown => self.broker_down(),
            AgentEvent::BrokersChanged => self.brokers_changed(),
            AgentEvent::Pushed(Down::Delta(delta)) => self.pushed(delta),
            AgentEvent::Pushed(Down::Fetch(newest)) => self.roll_called(newest),
            AgentEvent::PushedUnreadable => self.ask_soon(),
            AgentEvent::AskNow => self.ask_now(),
            AgentEvent::Pushed(Down::Removed) => self.remove(),
            AgentEvent::Answered(answer) => self.answered(answer),
            AgentEvent::AskFailed(failure) => self.ask_failed(&failure),
            AgentEvent::CarriedOut(generation, mut failures) => {
                failures.extend(self.rotation_failure.clone());
                let peers = self.map.as_ref().map_or(0, |map| map.peers.len());
                self.reporter.carried_out(now, (generation, failures), peers, &mut self.jitter);
            }
            AgentEvent::Local(local) => self.local(local),
            AgentEvent::Facts(facts) => self.reporter.change(now, |report| report.facts = facts),
            AgentEvent::Clients(clients) => self.reporter.change(now, |report| report.clients = clients),
            AgentEvent::Rotated => {
                self.rotation.done(now);
                self.rotation_failure = None;
                self.asked_to_rotate();
            }
            AgentEvent::RotationFailed(failure) => {
                self.rotation.failed(now, &mut self.jitter);
                self.rotation_failure = Some(failure);
                self.asked_to_rotate();
            }
            AgentEvent::Agreed(key) => {
                self.agreement.done(key, now);
                // What was on its way by the channel before may not be opened any more.
                self.reporter.say_again(now);
            }
            AgentEvent::AgreeFailed => self.agreement.failed(now, &mut self.jitter),
            AgentEvent::Reported => self.reporter.sent(now),
            AgentEvent::ReportFailed => self.reporter.failed(now, &mut self.jitter),
        }
    }

    /// A deadline of `poll_deadline` has come.
    pub const fn handle_deadline(&mut self, now: Duration) {
        self.now = now;
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<AgentAction> {
        if std::mem::take(&mut self.take_down) {
            return Some(AgentAction::TakeDown);
        }
        if self.removed {
            return None;
        }
        if std::mem::take(&mut self.say_online) && self.broker_is_up() {
            return Some(AgentAction::SayOnline);
        }
        if std::mem::take(&mut self.store) {
            return Some(AgentAction::Store);
        }
        if let Some(changed) = self.carry_out.take() {
            return Some(AgentAction::CarryOut(changed));
        }
        if std::mem::take(&mut self.server_back) {
            return Some(AgentAction::ServerBack);
        }
        if self.rotation.take(self.now) {
            return Some(AgentAction::Rotate);
        }
        if let Some(server) = self.agreement.take(self.now) {
            return Some(AgentAction::Agree { server });
        }
        if let Broker::Down { until, failures } = self.broker
            && until <= self.now
        {
            self.broker = Broker::Connecting { failures };
            return Some(AgentAction::ConnectBroker);
        }
        if self.rotation.doubts(self.now) {
            self.ask_soon();
        }
        if let Ask::Waiting { until } = self.ask
            && until <= self.now
        {
            self.ask = Ask::Asking { again: false };
            self.rotation.asking();
            let have = if self.want_whole { Generation::NONE } else { self.have() };
            return Some(AgentAction::Ask { have });
        }
        self.reporter.take(self.now).map(AgentAction::Report)
    }

    /// When `handle_deadline` is to be called, and why.
    pub fn poll_deadline(&self) -> Option<(Duration, AgentWait)> {
        if self.removed {
            return None;
        }
        let broker = match self.broker {
            Broker::Down { until, .. } => Some((until, AgentWait::Broker)),
            Broker::Connecting { .. } | Broker::Up => None,
        };
        let ask = match self.ask {
            Ask::Waiting { until } => Some((until, AgentWait::Ask)),
            Ask::Idle | Ask::Asking { .. } => None,
        };
        let report = self.reporter.deadline().map(|at| (at, AgentWait::Report));
        let rotate = self.rotation.deadline().map(|at| (at, AgentWait::Rotate));
        let agree = self.agreement.deadline().map(|at| (at, AgentWait::Agree));
        broker.into_iter().chain(ask).chain(report).chain(rotate).chain(agree).min_by_key(|(at, _)| *at)
    }

    /// Whether there is something to report.
    pub fn has_news(&self) -> bool {
        self.reporter.has_news()
    }

    /// Reports what there is to report now, and agrees what there is to agree: whoever calls this does not run for long.
    pub fn report_now(&mut self, now: Duration) {
        self.now = now;
        self.reporter.hurry(now);
        self.agreement.hurry(now);
    }

    fn have(&self) -> Generation {
        self.map.as_ref().map_or(Generation::NONE, |map| map.generation)
    }

    fn broker_up(&mut self) {
        self.broker = Broker::Up;
        self.server_back = std::mem::replace(&mut self.was_up, true);
        self.asked = 0;
        self.ask_failures = 0;
        self.reporter.say_again(self.now);
        // What was pushed before the subscription was lost.
        self.ask_now();
    }

    fn broker_down(&mut self) {
        let failures = match self.broker {
            Broker::Connecting { failures } => failures + 1,
            Broker::Down { .. } | Broker::Up => 0,
        };
        self.broker = Broker::Down { until: self.now + BROKER.after(failures, &mut self.jitter), failures };
        // Not when the connection was lost and is to be made again: a server that was started anew has thousands at its door,
        // and who is connected asks anyway.
        if self.ask == Ask::Idle && failures > 0 {
            self.ask = Ask::Waiting { until: self.now + FALLBACK.after(0, &mut self.jitter) };
        }
    }

    /// The connection that stands or is being made leads elsewhere than the map says by now.
    fn brokers_changed(&mut self) {
        let until = match self.broker {
            Broker::Up => self.now + self.jitter.between(Duration::ZERO, SPREAD),
            Broker::Down { .. } | Broker::Connecting { .. } => self.now,
        };
        self.broker = Broker::Down { until, failures: 0 };
    }

    /// Who calls may know nothing of this host: neither that it is there, nor what it said before. What it said is said again
    /// anyway after a newer map was carried out.
    fn roll_called(&mut self, newest: Generation) {
        self.say_online = true;
        self.heard = self.heard.max(newest);
        if newest > self.have() || self.map.is_none() {
            self.ask_soon();
        } else {
            self.reporter.say_again(self.now);
        }
    }

    fn local(&mut self, local: Vec<Endpoint>) {
        if local.is_empty() {
            // Off the net: nothing can be said until it is on again, and then it counts where it was before.
            return;
        }
        let gone = self.reporter.local().iter().any(|endpoint| !local.contains(endpoint));
        self.reporter.change(self.now, |report| report.local = local);
        if gone {
            // A connection from where we were is dead, though it may take long to show.
            self.broker = Broker::Down { until: self.now, failures: 0 };
            self.ask_now();
        }
    }

    fn ask_now(&mut self) {
        self.ask = match self.ask {
            Ask::Asking { .. } => Ask::Asking { again: true },
            Ask::Idle | Ask::Waiting { .. } => Ask::Waiting { until: self.now },
        };
    }

    /// What came does not fit. A server that put us off has its reasons, and we ask it anyway when it is time.
    fn ask_soon(&mut self) {
        if self.ask_failures == 0 || !matches!(self.ask, Ask::Waiting { .. }) {
            self.ask_now();
        }
    }

    fn pushed(&mut self, delta: Delta) {
        if delta.generation <= self.have() {
            return;
        }
        self.heard = self.heard.max(delta.generation);
        if !self.follow(delta) {
            self.ask_soon();
        }
    }

    /// Applies a delta; whether it fitted.
    fn follow(&mut self, delta: Delta) -> bool {
        let Some(map) = self.map.as_mut() else {
            return false;
        };
        if delta.generation <= map.generation {
            // What was pushed meanwhile was faster.
            return true;
        }
        let changed = Changed::by(map, &delta);
        let peer_changed = has_another_key(map, &delta);
        if patch(map, delta).is_err() {
            return false;
        }
        if peer_changed {
            self.rotation.peer_changed(self.now);
        }
        self.changed(changed);
        true
    }

    fn asked_to_rotate(&mut self) {
        let asks = self.map.as_ref().is_some_and(|map| map.host.rotate);
        self.rotation.asked(asks, self.now);
    }

    fn changed(&mut self, changed: Changed) {
        self.store = true;
        self.asked_to_rotate();
        self.agreement.told(self.map.as_ref().and_then(next_key), self.now, &mut self.jitter);
        self.carry_out = Some(match self.carry_out.take() {
            Some(before) => before.and(changed),
            None => changed,
        });
    }

    fn answered(&mut self, answer: Answer) {
        let again = matches!(self.ask, Ask::Asking { again: true });
        self.want_whole = match answer {
            Answer::Current => false,
            Answer::Whole(map) => {
                self.adopt(map);
                false
            }
            Answer::Delta(delta) => !self.follow(delta),
        };
        // Of a server that leads no more and does not know it yet: who does lead has said that there is more.
        if self.heard > self.have() && !again && !self.want_whole {
            return self.ask_failed(&AskFailure::Unreachable);
        }
        if !self.want_whole {
            self.rotation.answered();
            self.asked_to_rotate();
        }
        self.ask_failures = 0;
        self.ask = match self.broker {
            Broker::Down { .. } | Broker::Connecting { .. } if !again && !self.want_whole => {
                self.asked += 1;
                Ask::Waiting { until: self.now + FALLBACK.after(self.asked, &mut self.jitter) }
            }
            Broker::Up if !again && !self.want_whole => Ask::Idle,
            Broker::Down { .. } | Broker::Connecting { .. } | Broker::Up => Ask::Waiting { until: self.now },
        };
    }

    fn adopt(&mut self, map: HostMap) {
        // The same generation comes again where what we hold was not what it should be.
        if map.generation < self.have() || self.map.as_ref() == Some(&map) {
            return;
        }
        // After a restart of the server most of it is what it was, and the machine need not be gone through again.
        let changed = match &self.map {
            Some(before) => {
                let delta = delta(before, &map);
                if has_another_key(before, &delta) {
                    self.rotation.peer_changed(self.now);
                }
                Changed::by(before, &delta)
            }
            None => Changed::Everything,
        };
        self.map = Some(map);
        self.changed(changed);
    }

    fn ask_failed(&mut self, failure: &AskFailure) {
        let wait = FAILED_ASK.after(self.ask_failures, &mut self.jitter);
        self.ask_failures += 1;
        let wait = match failure {
            AskFailure::Removed => return self.remove(),
            AskFailure::Busy(Some(seconds)) => {
                let least = Duration::from_secs(u64::from(*seconds).min(600));
                self.jitter.between(least, least * 3 / 2)
            }
            AskFailure::Busy(None) | AskFailure::Unreachable | AskFailure::Refused => wait,
        };
        self.ask = Ask::Waiting { until: self.now + wait };
    }

    fn remove(&mut self) {
        self.removed = true;
        self.take_down = true;
        self.map = None;
    }
}

/// The sealing key that the servers change to.
fn next_key(map: &HostMap) -> Option<SealingPublicKey> {
    map.server.next.as_ref().map(|next| next.sealing)
}

/// Whether a peer has made itself a new key.
fn has_another_key(map: &HostMap, delta: &Delta) -> bool {
    let mut peers = delta.peers.iter().filter_map(|(id, now)| Some((map.peers.get(id)?.key?, now.key?)));
    peers.any(|(before, now)| before != now)
}

#[cfg(test)]
mod tests;
