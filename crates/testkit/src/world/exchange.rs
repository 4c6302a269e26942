//! What agents and server say to each other, and how it gets lost on the way.
//!
//! An agent's own connections leave with the mark of its WireGuard device, or without: whatever tunnel there is does not
//! stand between it and the server. It keeps true that what is pushed over one connection keeps its order, and that nothing of
//! an earlier one is heard.

use std::net::IpAddr;
use std::time::Duration;

use control::{Actor, Command, next_turn};
use model::HostId;
use reconcile::{AgentEvent, AskFailure, FIREWALL_MARK};
use wire::Down;

use super::host::Request;
use super::kernel::wall;
use super::rotation::PATIENCE;
use super::routing::{Look, Way};
use super::{Event, SERVER, World};

impl World {
    pub(super) fn down(&mut self, host: usize, delay: Duration, attempt: u64) {
        let run = self.hosts[host].run;
        self.after(delay, Event::Down { host, run, attempt });
    }

    /// Messages go to those who are connected; a connection may break, a message may come twice.
    pub(super) fn push(&mut self, messages: Vec<(HostId, Down)>) {
        for (id, message) in messages {
            let Some(&host) = self.by_id.get(&id) else { continue };
            let Some(&link) = self.links.get(&host) else { continue };
            if self.random.happens(self.loss) {
                self.break_link(host);
                continue;
            }
            let times = if self.random.happens(self.twice) { 2 } else { 1 };
            for _ in 0..times {
                let soon = self.now + self.random.about(Duration::from_millis(15));
                let last = self.last_push.get(&host).copied().unwrap_or_default();
                let at = soon.max(last + Duration::from_micros(1));
                self.last_push.insert(host, at);
                self.tell_agent(host, at - self.now, Some(link), AgentEvent::Pushed(message.clone()));
            }
        }
    }

    /// Whether a host's agent can speak to the server.
    fn reaches_server(&self, host: usize) -> bool {
        let host = &self.hosts[host];
        let look = Look { to: IpAddr::V4(SERVER), mark: FIREWALL_MARK, udp: None };
        self.server.up && host.place.is_some() && matches!(host.kernel.way(look), Way::Uplink(_))
    }

    /// A request comes to the server, or to nobody.
    pub(super) fn serve(&mut self, host: usize, run: u64, request: Request) {
        if self.hosts[host].run != run {
            return;
        }
        let reachable = self.reaches_server(host);
        let id = self.hosts[host].id;
        // Who gets no answer waits for a while.
        let soon = self.random.about(Duration::from_millis(15));
        let delay = if reachable { soon } else { Duration::from_secs(2) };
        match request {
            Request::Connect(attempt) if !reachable || self.server.intent.host(id).is_none() => {
                self.down(host, Duration::from_secs(1), attempt);
            }
            Request::Connect(attempt) if attempt != self.hosts[host].attempts => {}
            Request::Connect(_) => {
                self.count += 1;
                self.links.insert(host, self.count);
                self.server.inventory.observe_presence(id, true, wall(self.now));
                self.tell_agent(host, delay, Some(self.count), AgentEvent::BrokerUp);
            }
            Request::Ask { .. } if !reachable => {
                self.tell_agent(host, delay, None, AgentEvent::AskFailed(AskFailure::Unreachable));
            }
            Request::Ask { have, held } => {
                let event = match self.server.answer(id, have, held.as_deref()) {
                    Some(reply) => AgentEvent::Answered(reply),
                    None => AgentEvent::AskFailed(AskFailure::Removed),
                };
                self.tell_agent(host, delay, None, event);
            }
            Request::Report(_) if !reachable => self.tell_agent(host, delay, None, AgentEvent::ReportFailed),
            Request::Report(report) => {
                let messages = self.server.report(id, &report, self.now);
                self.push(messages);
                self.tell_agent(host, delay, None, AgentEvent::Reported);
            }
            Request::Key(key) => {
                let taken = reachable.then(|| self.give(Actor::Host(id), Command::OwnKey(key)).is_ok());
                // An answer may get lost.
                let answer = taken.filter(|_| !self.random.happens(self.loss));
                let delay = match (answer, reachable) {
                    (Some(_), _) => soon,
                    (None, true) => PATIENCE,
                    (None, false) => delay,
                };
                self.after(delay, Event::KeyTold { host, run, key, answer });
            }
        }
    }

    /// When somebody's time has come next: to go, to be removed for having been away, or to change keys.
    pub(super) fn sweep_at(&self) -> Option<Duration> {
        if !self.server.up {
            return None;
        }
        let intent = &self.server.intent;
        let nodes = intent.nodes(None).filter_map(|node| node.expires);
        let clients = intent.clients().filter(|client| !client.is_over()).filter_map(|client| client.expires);
        let turn = next_turn(intent, &self.server.gone(self.now), wall(self.now));
        let away = self.server.ephemeral().into_values();
        let next = nodes.chain(clients).chain(turn).chain(away).min()?;
        Some(self.now.max(self.now + next.since(wall(self.now))))
    }

    pub(super) fn sweep(&mut self) {
        let away = self.server.gone(self.now);
        self.command(Command::Sweep { away });
        let due = self.server.ephemeral().into_iter().filter(|(_, end)| *end <= wall(self.now));
        for (host, _) in due.collect::<Vec<_>>() {
            self.command(Command::RemoveHost { host });
        }
    }
}
