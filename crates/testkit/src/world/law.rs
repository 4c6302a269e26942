//! The law of each packet: what somebody's program hears must be allowed by an intent that may still count for whoever let it
//! pass, and nothing leaves outside of a tunnel that is on.
//!
//! Not for what must arrive: that is `check`'s, at rest. An intent may still count for a host from the one of the map that
//! its kernel has carried out wholly, to the newest one: agents may be away, crash between two ops, and hear late.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use control::Intent;
use model::{Generation, HostId, WgPublicKey};

use super::ask::{Asked, End};
use super::check::SERVICES;
use super::model::Model;
use super::packet::{Packet, Service, Word};
use super::server::DOORS;
use super::{NETWORKS, World};

/// Of a machine that has been away for longer than so many changes its keys are not looked at.
const MOST_COMPARED: usize = 8;

/// Every intent that there was, and which of them generations of maps were made of.
#[derive(Debug, Default)]
pub(super) struct History {
    intents: Vec<Intent>,
    made_of: BTreeMap<Generation, usize>,
}

impl History {
    pub(super) fn add(&mut self, intent: &Intent) {
        self.intents.push(intent.clone());
    }

    /// Maps of this generation are made of the newest intent, and stay what they are while no newer one is made.
    pub(super) fn generation(&mut self, generation: Generation) {
        self.made_of.entry(generation).or_insert(self.intents.len().saturating_sub(1));
    }

    /// What may still count for a machine that has carried out this map.
    pub(super) fn since(&self, applied: Generation) -> &[Intent] {
        let first = self.made_of.range(..=applied).next_back().map_or(0, |(_, index)| *index);
        self.intents.get(first..).unwrap_or_default()
    }

    /// What a host's map of this generation was made of: of one that was removed and has not heard of it, the last intent that
    /// knew it.
    pub(super) fn behind(&self, generation: Generation, host: HostId) -> Option<&Intent> {
        let (_, newest) = self.made_of.range(..=generation).next_back()?;
        self.intents.get(..=*newest)?.iter().rev().find(|intent| intent.host(host).is_some())
    }
}

impl World {
    /// A packet has come to somebody's program; the last who passed it on was `by`.
    pub(super) fn judge(&mut self, end: End, by: End, packet: &Packet) {
        self.note(end, packet.word, packet.number);
        let Some(asked) = self.asked.get(&packet.number).copied() else { return };
        if packet.word == Word::Question && asked.from != end {
            self.may_hear(end, by, &asked, packet);
        }
    }

    /// No machine has a session that no intent which may still count for it has it have.
    pub fn check_keys(&self) {
        for (number, host) in self.hosts.iter().enumerate() {
            let intents = self.history.since(host.applied_at(self.now));
            let Some(peers) = host.kernel.peers().filter(|_| intents.len() <= MOST_COMPARED) else {
                continue;
            };
            let known = |key: &WgPublicKey| {
                DOORS.iter().any(|(door, _, _)| door == key)
                    || intents
                        .iter()
                        .rev()
                        .any(|intent| Model::new(self, intent).keys_of(number).contains(key))
            };
            let strange: Vec<&WgPublicKey> = peers.keys().filter(|key| !known(key)).collect();
            assert!(
                strange.is_empty(),
                "host {number} has sessions that nobody wants it to have: {strange:?}"
            );
        }
    }

    /// Some ask around, by chance: the law is asked about what comes of it.
    pub fn ask_around(&mut self, questions: usize) {
        self.asked.retain(|_, asked| asked.at + Duration::from_secs(60) > self.now);
        let intent = self.server.intent.clone();
        let model = Model::new(self, &intent);
        let ends = self.ends();
        let all: Vec<(End, IpAddr)> = ends
            .iter()
            .flat_map(|end| (0..NETWORKS).map(move |network| (*end, network)))
            .flat_map(|(end, network)| {
                self.addresses(&model, end, network).into_iter().map(move |ip| (end, ip))
            })
            .chain([(End::Outside, self.outside())])
            .collect();
        drop(model);
        for _ in 0..questions {
            let (Some(from), Some((_, to))) = (self.chance(&ends), self.chance(&all)) else { return };
            let service = self.chance(&SERVICES).unwrap_or(Service::Ping);
            self.ask(from, to, service);
        }
    }

    fn chance<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        let number = usize::try_from(self.random.next() % 1_000_000).unwrap_or(0);
        (!all.is_empty()).then(|| all[number % all.len()])
    }

    fn may_hear(&self, end: End, by: End, asked: &Asked, packet: &Packet) {
        // Who stands guard: the machine itself where it has an agent, else the one that passed it on.
        let guard = match (end, by) {
            (End::Host(host), _) | (_, End::Host(host)) => Some(host),
            (
                End::Client(_) | End::Annex(_) | End::Outside,
                End::Client(_) | End::Annex(_) | End::Outside,
            ) => None,
        };
        // The asker's own word counts where it leaves its tunnel.
        let guard = match (end, asked.from) {
            (End::Outside, End::Host(host)) => Some(host),
            (_, _) => guard,
        };
        let since = guard.map_or(Generation::NONE, |host| self.hosts[host].applied_at(asked.at));
        let may = |intent: &Intent| {
            Model::new(self, intent).may_pass(asked.from, end, by, asked.service, packet.flow.source)
        };
        assert!(
            self.history.since(since).iter().rev().any(may),
            "{:?} heard {:?} ask {} for {:?} from {}, passed on by {by:?}, which no intent that may still count allows",
            end,
            asked.from,
            asked.to,
            asked.service,
            packet.flow.source,
        );
    }
}
