//! New WireGuard keys: who is asked for one, and when.
//!
//! Two ends of a tunnel that change their keys at once may lose what each holds back for the other (ADR 19). So hosts that
//! share a network are asked one after another:
//!
//! ```text
//!             it is its turn          it brings a key
//!   waits ──────────────────▶ is asked ───────────────▶ settles: for two seconds all who share a network with it hear of it
//!     ▲                          │
//!     │ asked for                └─ half a minute, or away: nobody waits for it any more, and it may bring its key when it can
//! ```
//!
//! Who waits is kept with the hosts and survives a restart; whose turn it is follows from what is kept, each time anew. It keeps
//! true that those who have waited longer come first: who has to wait for one of its networks has nobody overtake it in the
//! others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{Host, HostId, NetworkId, Timestamp};

use super::draft::Draft;
use super::{Decision, host};
use crate::Intent;

/// Longer than hosts take to be told of a new key and to shake hands anew.
const APART: Duration = Duration::from_secs(2);
/// For this long others wait for a host that was asked: longer than one takes that a slow server answers at last.
const BOUND: Duration = Duration::from_secs(30);

/// Asks one host, or all of them, for a new key. It is over for each when it has brought one; who is asked already, or waits
/// for it, stays where it is.
pub(super) fn ask(intent: &Intent, host: Option<HostId>, now: Timestamp) -> Decision {
    let mut draft = Draft::of(intent);
    let hosts: Vec<&Host> = match host {
        Some(host) => vec![host::find(intent, host)?],
        None => intent.hosts(None).collect(),
    };
    for host in hosts.into_iter().filter(|host| !host.rotate && host.rotate_since.is_none()) {
        draft.put(Host { rotate_since: Some(now), ..host.clone() });
    }
    sweep(&mut draft, &BTreeSet::new(), now);
    Ok(draft.finish())
}

/// Asks those whose turn has come. Nobody waits for hosts that are away.
pub(super) fn sweep(draft: &mut Draft, away: &BTreeSet<HostId>, now: Timestamp) {
    let due: Vec<Host> = Turns::of(draft.now(), away, now).due.into_iter().cloned().collect();
    for host in due {
        draft.put(Host { rotate: true, rotate_since: Some(now), ..host });
    }
}

/// When a sweep asks somebody for a new key, if these hosts are away and nothing else happens; now, if it would at once.
pub fn next_turn(intent: &Intent, away: &BTreeSet<HostId>, now: Timestamp) -> Option<Timestamp> {
    let turns = Turns::of(intent, away, now);
    if turns.due.is_empty() { turns.next } else { Some(now) }
}

/// Whose turn it is, and when it is somebody's next.
struct Turns<'a> {
    due: Vec<&'a Host>,
    next: Option<Timestamp>,
}

impl<'a> Turns<'a> {
    fn of(intent: &'a Intent, away: &BTreeSet<HostId>, now: Timestamp) -> Self {
        let mut turns = Self { due: Vec::new(), next: None };
        let waits = |host: &&Host| !host.rotate && host.rotate_since.is_some();
        let mut waiting: Vec<&Host> = intent.hosts(None).filter(waits).collect();
        if waiting.is_empty() {
            return turns;
        }
        waiting.sort_by_key(|host| (host.rotate_since, host.id));
        let busy = busy(intent, away, now);
        let mut taken: BTreeSet<NetworkId> = BTreeSet::new();
        for host in waiting {
            let networks: Vec<NetworkId> = intent.nodes_of_host(host.id).map(|node| node.network).collect();
            let free = networks.iter().filter_map(|network| busy.get(network)).max();
            let is_next = !networks.iter().any(|network| taken.contains(network));
            match free {
                None if is_next && away.contains(&host.id) => {
                    turns.due.push(host);
                    continue;
                }
                None if is_next => turns.due.push(host),
                Some(at) if is_next => turns.next = Some(turns.next.map_or(*at, |next| next.min(*at))),
                None | Some(_) => {}
            }
            taken.extend(networks);
        }
        turns
    }
}

/// The networks in which nobody is to be asked, and until when.
fn busy(intent: &Intent, away: &BTreeSet<HostId>, now: Timestamp) -> BTreeMap<NetworkId, Timestamp> {
    let mut busy = BTreeMap::<NetworkId, Timestamp>::new();
    for host in intent.hosts(None) {
        let asked = host.rotate_since.filter(|_| host.rotate && !away.contains(&host.id));
        let settles = host.rekeyed.map(|rekeyed| rekeyed + APART);
        let until = asked.map(|asked| asked + BOUND).into_iter().chain(settles).max();
        let Some(until) = until.filter(|until| *until > now) else { continue };
        for node in intent.nodes_of_host(host.id) {
            let other = busy.entry(node.network).or_default();
            *other = (*other).max(until);
        }
    }
    busy
}
