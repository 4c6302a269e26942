//! The agent's part towards the broker: connecting, what comes in, what goes out.
//!
//! Not for requests (`ask`). It keeps true that a message is applied before it is acknowledged, and that at most one report is
//! under way.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use wire::{Down, TopicKind};

use super::{Agent, End, Said};
use crate::swarm::Shared;
use crate::swarm::counters::add;
use crate::swarm::link::Link;
use crate::swarm::map::{Followed, Marks};
use crate::swarm::mqtt::{self, Packet};
use crate::swarm::pace::Again;

/// The keepalive of an agent that was told none yet.
const KEEPALIVE: u16 = 20;

impl Agent {
    pub(super) fn keepalive(&self) -> u16 {
        self.machine.map().server.keepalive.map_or(KEEPALIVE, model::Keepalive::get)
    }

    pub(super) fn said(&self) -> Said {
        (self.machine.map().generation, self.moves)
    }

    pub(super) fn report(&mut self) {
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

    pub(super) fn report_by(&mut self, at: Instant) {
        self.report_at = Some(self.report_at.map_or(at, |before| before.min(at)));
        self.set_reporting(true);
    }

    pub(super) fn ping(&mut self, now: Instant) {
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

    pub(super) async fn flush(&mut self) {
        let Some(link) = &mut self.link else {
            return;
        };
        if link.flush().await.is_err() {
            self.lost();
        }
    }

    pub(super) async fn linked(&mut self, linked: Result<Link>) -> Result<(), End> {
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
        self.broker.worked();
        // The server may have forgotten: it is told again, and asked what was missed.
        self.told = None;
        self.report_by(now);
        self.ask_now();
        // What came with the last bytes of the welcome.
        self.packets().await
    }

    pub(super) fn not_linked(&mut self, error: &anyhow::Error) -> Result<(), End> {
        add(&self.shared.counters.refused, 1);
        self.shared.complain(error);
        let mut pause = Duration::ZERO;
        let brokers = self.shared.doors.brokers(&self.machine.map().server);
        if !self.broker.failed(brokers) {
            pause = Again::Broker.after(self.connect_failures, &mut self.jitter);
            self.connect_failures += 1;
        }
        let now = Instant::now();
        self.connect_at = Some(now + pause);
        if self.asking.is_none() && self.ask_at.is_none() {
            self.ask_at = Some(now + Again::Fallback.after(0, &mut self.jitter));
        }
        Ok(())
    }

    pub(super) fn unlink(&mut self) {
        if let Some(mut link) = self.link.take() {
            add(&self.shared.counters.broker_wire, link.take_received());
            self.shared.gauges.linked.set(false);
        }
    }

    pub(super) fn lost(&mut self) {
        add(&self.shared.counters.lost, 1);
        self.broker.lost();
        self.unlink();
        self.wait_for_broker();
    }

    pub(super) fn wait_for_broker(&mut self) {
        let now = Instant::now();
        self.under_way = None;
        self.set_current(false);
        self.connect_at = Some(now + Again::Broker.after(0, &mut self.jitter));
    }

    pub(super) async fn filled(&mut self, filled: std::io::Result<usize>) -> Result<(), End> {
        if !matches!(filled, Ok(1..)) {
            self.lost();
            return Ok(());
        }
        self.packets().await
    }

    /// Takes all packets that came.
    pub(super) async fn packets(&mut self) -> Result<(), End> {
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

    pub(super) fn packet(&mut self, packet: Packet) -> Result<(), End> {
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

    pub(super) fn pushed(&mut self, sealed: &Bytes) -> Result<(), End> {
        add(&self.shared.counters.pushed, 1);
        add(&self.shared.counters.pushed_sealed, sealed.len() as u64);
        match self.machine.open::<Down>(sealed) {
            Ok(Down::Delta(delta)) => {
                self.heard = self.heard.max(delta.generation);
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
            Ok(Down::Fetch(generation)) => {
                // Whoever asks like that may have forgotten who is there.
                if let Some(link) = &mut self.link {
                    link.say_online(&self.machine);
                }
                let map = self.machine.map();
                let (have, is_new) = (map.generation, map.own.is_none());
                drop(map);
                self.heard = self.heard.max(generation);
                if generation > have || is_new {
                    self.ask_now();
                } else {
                    self.told = None;
                    self.report_by(Instant::now());
                }
            }
            Ok(Down::Removed) => return Err(End::Removed),
            Err(_) => {
                add(&self.shared.counters.unreadable, 1);
                self.ask_now();
            }
        }
        Ok(())
    }
}
