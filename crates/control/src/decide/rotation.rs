//! New WireGuard keys: who is asked for one, and when.
//!
//! Two ends of a tunnel that change their keys at once may lose what each holds back for the other (ADR 19). So hosts that
//! share a network are asked one after another: the first at once, the others when their turn comes, which sweeping sees. A
//! host that is away keeps nobody waiting. It keeps true that a host that waits for its turn has not been asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{Host, HostId, NetworkId, Timestamp};

use super::draft::Draft;
use super::{Decision, changed, host};
use crate::Intent;

/// Longer than hosts take to change a key and to shake hands anew.
const APART: Duration = Duration::from_secs(2);

/// Asks one host, or all of them, for a new key. It is over for each when it has brought one.
pub(super) fn ask(intent: &Intent, host: Option<HostId>, now: Timestamp) -> Decision {
    let mut turns = Turns::of(intent, now);
    let under_way = intent.hosts(None).filter(|host| host.rotate);
    under_way.for_each(|host| turns.take(intent, host.id, now));
    let mut ask = |host: &Host| match host.rotate || host.rotate_at.is_some() {
        true => Vec::new(),
        false => changed(host, turns.give(intent, host)),
    };
    match host {
        Some(host) => Ok(ask(host::find(intent, host)?)),
        None => Ok(intent.hosts(None).flat_map(ask).collect()),
    }
}

/// Asks those whose turn has come. Where that is so of several, because nobody swept for a while, the others go to the end.
pub(super) fn sweep(draft: &mut Draft, now: Timestamp) {
    let due = |host: &&Host| host.rotate_at.is_some_and(|at| at <= now);
    let mut due: Vec<Host> = draft.now().hosts(None).filter(due).cloned().collect();
    due.sort_by_key(|host| (host.rotate_at, host.id));
    let mut turns = Turns::of(draft.now(), now);
    let mut busy: BTreeSet<NetworkId> = BTreeSet::new();
    for host in due {
        let networks: Vec<NetworkId> = draft.now().nodes_of_host(host.id).map(|node| node.network).collect();
        if networks.iter().any(|network| busy.contains(network)) {
            let later = turns.give(draft.now(), &host);
            draft.put(later);
            continue;
        }
        busy.extend(networks);
        turns.take(draft.now(), host.id, now);
        draft.put(Host { rotate: true, rotate_at: None, ..host });
    }
}

/// From when on the next host of a network may be asked.
struct Turns {
    now: Timestamp,
    next: BTreeMap<NetworkId, Timestamp>,
}

impl Turns {
    /// After those who still wait.
    fn of(intent: &Intent, now: Timestamp) -> Self {
        let mut turns = Self { now, next: BTreeMap::new() };
        for host in intent.hosts(None) {
            if let Some(at) = host.rotate_at.filter(|at| *at > now) {
                turns.take(intent, host.id, at);
            }
        }
        turns
    }

    fn take(&mut self, intent: &Intent, host: HostId, turn: Timestamp) {
        for node in intent.nodes_of_host(host) {
            let next = self.next.entry(node.network).or_default();
            *next = (*next).max(turn + APART);
        }
    }

    /// The host with a turn that is nobody else's in its networks, or asked at once.
    fn give(&mut self, intent: &Intent, host: &Host) -> Host {
        let free = intent.nodes_of_host(host.id).filter_map(|node| self.next.get(&node.network));
        let turn = free.copied().chain([self.now]).max().unwrap_or(self.now);
        self.take(intent, host.id, turn);
        let waits = turn > self.now;
        Host { rotate: !waits, rotate_at: waits.then_some(turn), ..host.clone() }
    }
}
