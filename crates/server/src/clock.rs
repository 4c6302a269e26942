//! The server's clock: what happens because time has passed. Nodes and clients end when they expire, ephemeral hosts when
//! they have been away for too long, and hosts are asked for new keys when it is their turn.
//!
//! Not for deciding: it gives commands like everybody else, as the system that leads. It keeps true that nobody is removed for
//! having been away before this server has watched for as long as that takes, without a gap: after a start, in each epoch, when
//! the machine stood still, and when the broker was out of reach, all have time to come back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use control::{Command, Intent, Inventory, next_turn};
use model::{Epoch, Host, HostId, Timestamp};
use tokio::time::sleep;

use crate::brain::{Brain, now};
use crate::broker::Broker;

/// The clock is looked at this often whatever is due: the machine's may be set, or stand still while it sleeps.
const BOUND: Duration = Duration::from_secs(60);
/// What changes within this time is looked at together.
const REST: Duration = Duration::from_millis(250);
/// After this time is tried again what could not be done.
const AGAIN: Duration = Duration::from_secs(60);
/// Hosts are asked for new keys no more often than this.
const TURN: Duration = Duration::from_secs(1);
/// Nobody waits for the new key of a host that has been away for so long. One that cannot reach the broker asks for its map once a
/// minute.
const GONE: Duration = Duration::from_secs(90);
/// Who wakes so much later than it meant to stood still, and does not know what it missed.
const LATE: Duration = Duration::from_secs(5);

/// What the clock remembers.
struct Memory {
    /// The epoch in which it watches.
    epoch: Option<Epoch>,
    /// Since when it watches without a gap.
    started: Timestamp,
    /// How long ephemeral hosts may be away; none: for ever.
    ephemeral_after: Option<Duration>,
    /// When it was last swept. What had expired by then is not swept again at once.
    swept: Timestamp,
    /// Hosts are asked for new keys no earlier.
    turns_from: Timestamp,
    /// When it meant to wake, while it sleeps.
    wakes: Option<Timestamp>,
    /// Hosts that could not be removed, and when that was tried.
    refused: BTreeMap<HostId, Timestamp>,
}

impl Memory {
    fn new(ephemeral_after: Option<Duration>) -> Self {
        let never = Timestamp::default();
        Self {
            epoch: None,
            started: never,
            ephemeral_after,
            swept: never,
            turns_from: never,
            wakes: None,
            refused: BTreeMap::new(),
        }
    }

    /// It looks, in this epoch; hosts may have come and gone unseen where they cannot reach the broker, or this server cannot.
    fn look(&mut self, epoch: Epoch, is_blind: bool, now: Timestamp) {
        let is_late = self.wakes.take().is_some_and(|wakes| wakes + LATE < now);
        if self.epoch != Some(epoch) || is_blind || is_late || now < self.started {
            (self.epoch, self.started) = (Some(epoch), now);
        }
    }

    /// When a host that is not connected is removed, if it is not heard of until then; none: never.
    fn ends(&self, host: &Host, inventory: &Inventory) -> Option<Timestamp> {
        let seen = inventory.host(host.id);
        let after =
            self.ephemeral_after.filter(|_| host.ephemeral && !seen.is_some_and(|seen| seen.online))?;
        let heard = seen.and_then(|seen| seen.last_seen).unwrap_or(host.created);
        Some(heard.max(host.created).max(self.started) + after)
    }
}

/// What is due now, and when something is next.
#[derive(Debug, PartialEq, Eq, Default)]
struct Agenda {
    sweep: bool,
    away: Vec<HostId>,
    next: Option<Timestamp>,
}

impl Agenda {
    fn of(intent: &Intent, inventory: &Inventory, now: Timestamp, memory: &Memory) -> Self {
        let mut agenda = Self::default();
        let nodes = intent.nodes(None).filter_map(|node| node.expires);
        let clients = intent.clients().filter(|client| !client.is_over()).filter_map(|client| client.expires);
        let ends = nodes.chain(clients);
        let ends = ends.map(|end| if end <= memory.swept { memory.swept + AGAIN } else { end });
        let turn = next_turn(intent, &gone(intent, inventory, now, memory.started), now);
        for at in ends.chain(turn.map(|turn| turn.max(memory.turns_from))) {
            match at <= now {
                true => agenda.sweep = true,
                false => agenda.wait_for(at),
            }
        }
        for host in intent.hosts(None) {
            let Some(ends) = memory.ends(host, inventory) else { continue };
            let again = memory.refused.get(&host.id).map(|refused| *refused + AGAIN);
            let at = ends.max(again.unwrap_or_default());
            match at <= now {
                true => agenda.away.push(host.id),
                false => agenda.wait_for(at),
            }
        }
        agenda
    }

    fn wait_for(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

/// Hosts that have been away for a while. After a start all have time to come back.
fn gone(intent: &Intent, inventory: &Inventory, now: Timestamp, started: Timestamp) -> BTreeSet<HostId> {
    let is_gone = |host: &HostId| {
        let seen = inventory.host(*host);
        let heard = seen.and_then(|seen| seen.last_seen).unwrap_or_default();
        !seen.is_some_and(|seen| seen.online) && heard.max(started) + GONE <= now
    };
    let concerned = intent.hosts(None).filter(|host| host.rotate_since.is_some());
    concerned.map(|host| host.id).filter(is_gone).collect()
}

/// Works for as long as this server leads.
pub async fn run(brain: Brain, broker: Arc<dyn Broker>, ephemeral_after: Option<Duration>) {
    let mut memory = Memory::new(ephemeral_after);
    let mut told = brain.told_from_now_on();
    loop {
        let (seen, at) = (told.borrow_and_update().clone(), now());
        let mut wait = BOUND;
        // Where this server leads no more it hears so in a moment.
        if let Some(epoch) = seen.epoch() {
            memory.look(epoch, broker.trouble().is_some(), at);
            let agenda = Agenda::of(&brain.intent(), &seen.inventory, at, &memory);
            if agenda.sweep {
                (memory.swept, memory.turns_from) = (at, at + TURN);
                let away = gone(&brain.intent(), &seen.inventory, at, memory.started);
                if let Err(refused) = brain.submit_leading(epoch, Command::Sweep { away }).await {
                    memory.turns_from = at + AGAIN;
                    tracing::warn!("what was due was not done: {refused}");
                }
            }
            for host in &agenda.away {
                remove(&brain, &*broker, *host, &mut memory).await;
            }
            if agenda.sweep || !agenda.away.is_empty() {
                continue;
            }
            wait = agenda.next.map_or(BOUND, |next| next.since(now())).min(BOUND);
        }
        memory.wakes = Some(now() + wait);
        tokio::select! {
            () = sleep(wait) => {}
            changed = told.changed() => match changed {
                Ok(()) => sleep(REST.min(wait)).await,
                Err(_) => return,
            },
        }
    }
}

/// Removes a host that is still away: while those before it were removed it may have come back, or another server begun to lead.
async fn remove(brain: &Brain, broker: &dyn Broker, host: HostId, memory: &mut Memory) {
    let (told, intent, at) = (brain.told(), brain.intent(), now());
    memory.refused.retain(|host, _| intent.host(*host).is_some());
    let Some(epoch) = told.epoch().filter(|epoch| memory.epoch == Some(*epoch)) else { return };
    let Some(known) = intent.host(host) else { return };
    if memory.ends(known, &told.inventory).is_none_or(|ends| at < ends) {
        return;
    }
    memory.refused.insert(host, at);
    if broker.is_online(host) {
        // It is shown in a moment.
        return;
    }
    match brain.submit_leading(epoch, Command::RemoveHost { host }).await {
        Ok(_) => {
            tracing::info!(%host, "an ephemeral host was away for too long; it is removed");
            memory.refused.remove(&host);
        }
        // Somebody else removed it, or leads; or it is tried again.
        Err(refused) => tracing::warn!(%host, "an ephemeral host was not removed: {refused}"),
    }
}

#[cfg(test)]
mod tests {
    use control::{Intent, Record};
    use model::{
        Access, Addresses, Duties, Keepalive, Network, NetworkId, Node, NodeId, Ranges, SealingIdentity,
        SealingPublicKey, SigningPublicKey, WgPublicKey,
    };

    use super::*;

    const HOST: HostId = HostId::from_bytes([1; 16]);
    const NETWORK: NetworkId = NetworkId::from_bytes([2; 16]);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1_000)
    }

    fn intent(ephemeral: bool, expires: Option<Timestamp>) -> Intent {
        let key = SealingPublicKey::from_bytes([3; 32]);
        let host = Host {
            id: HOST,
            name: "web".parse().unwrap(),
            wireguard_key: WgPublicKey::from_bytes([4; 32]),
            signing_key: SigningPublicKey::from_bytes([5; 32]),
            sealing: SealingIdentity { key, encapsulated: key, server: None },
            mtu: None,
            static_endpoint: None,
            default: false,
            ephemeral,
            rotate: false,
            rotate_since: None,
            rekeyed: None,
            created: at(0),
        };
        let network = Network {
            id: NETWORK,
            name: "home".parse().unwrap(),
            ranges: Ranges::new("10.1.0.0/24".parse().ok(), None).unwrap(),
            keepalive: Keepalive::DEFAULT,
            access: Access::Allow,
            approval: false,
            hub: None,
            domain: None,
            created: at(0),
        };
        let node = Node {
            id: NodeId::from_bytes([6; 16]),
            host: HOST,
            network: NETWORK,
            addresses: Addresses { v4: Some([10, 1, 0, 2].into()), v6: None },
            connected: true,
            pending: false,
            tags: Default::default(),
            duties: Duties::default(),
            relay: None,
            internet: None,
            expires,
            created: at(0),
        };
        let records: [Record; 3] = [network.into(), host.into(), node.into()];
        Intent::from_records(1, records).unwrap()
    }

    fn memory(started: Timestamp) -> Memory {
        Memory { started, ..Memory::new(Some(Duration::from_secs(600))) }
    }

    fn waits(next: Timestamp) -> Agenda {
        Agenda { next: Some(next), ..Agenda::default() }
    }

    #[test]
    fn an_end_is_due_at_its_moment_and_not_again_at_once() {
        let intent = intent(false, Some(at(100)));
        let mut memory = memory(at(0));
        let look = |now, memory: &Memory| Agenda::of(&intent, &Inventory::default(), now, memory);
        assert_eq!(look(at(99), &memory), waits(at(100)));
        assert!(look(at(100), &memory).sweep);
        memory.swept = at(100);
        assert_eq!(look(at(101), &memory), waits(at(100) + AGAIN));
        assert!(look(at(161), &memory).sweep);
    }

    #[test]
    fn an_ephemeral_host_that_is_away_goes_but_never_before_it_could_come_back_after_a_start() {
        let intent = intent(true, None);
        let mut inventory = Inventory::default();
        inventory.observe_presence(HOST, true, at(10));
        let look =
            |inventory: &Inventory, now, started| Agenda::of(&intent, inventory, now, &memory(started));
        assert_eq!(look(&inventory, at(5_000), at(0)), Agenda::default(), "it is online");
        inventory.observe_presence(HOST, false, at(20));
        assert_eq!(look(&inventory, at(30), at(0)), waits(at(620)));
        assert_eq!(look(&inventory, at(620), at(0)).away, [HOST]);
        assert_eq!(look(&inventory, at(5_000), at(4_990)), waits(at(5_590)), "the server has just started");
        let never = Memory { ephemeral_after: None, ..memory(at(0)) };
        assert_eq!(Agenda::of(&intent, &inventory, at(5_000), &never), Agenda::default());
    }

    #[test]
    fn a_host_whose_turn_it_is_is_asked_and_nobody_counts_as_gone_before_it_could_come_back() {
        let intent = intent(false, None);
        let host = Host { rotate_since: Some(at(0)), ..intent.host(HOST).unwrap().clone() };
        let intent = Intent::from_records(
            1,
            intent.records().filter(|it| it.key() != HOST.into()).chain([host.into()]),
        )
        .unwrap();
        let mut memory = memory(at(0));
        let inventory = Inventory::default();
        assert!(Agenda::of(&intent, &inventory, at(1), &memory).sweep);
        memory.turns_from = at(2);
        assert_eq!(Agenda::of(&intent, &inventory, at(1), &memory), waits(at(2)), "not without a pause");
        let gone = |now, started| gone(&intent, &inventory, now, started);
        assert!(gone(at(89), at(0)).is_empty() && gone(at(1_000), at(911)).is_empty());
        assert_eq!(gone(at(90), at(0)), BTreeSet::from([HOST]));
    }

    #[test]
    fn a_host_that_stays_is_no_concern_and_one_that_could_not_be_removed_is_tried_again_later() {
        let inventory = Inventory::default();
        let stays = Agenda::of(&intent(false, None), &inventory, at(5_000), &memory(at(0)));
        assert_eq!(stays, Agenda::default());
        let mut memory = memory(at(0));
        memory.refused.insert(HOST, at(5_000));
        let again = Agenda::of(&intent(true, None), &inventory, at(5_001), &memory);
        assert_eq!(again, waits(at(5_000) + AGAIN));
    }

    #[test]
    fn a_host_that_is_heard_of_in_any_way_is_not_away() {
        let (intent, mut inventory) = (intent(true, None), Inventory::default());
        inventory.observe_presence(HOST, false, at(0));
        let look = |inventory: &Inventory, now| Agenda::of(&intent, inventory, now, &memory(at(0)));
        assert_eq!(look(&inventory, at(600)).away, [HOST]);
        inventory.observe_heard(HOST, at(599));
        assert_eq!(look(&inventory, at(600)), waits(at(1_199)));
        inventory.observe_heard(HOST, at(3));
        assert_eq!(look(&inventory, at(600)), waits(at(1_199)), "what is said late takes nothing back");
    }

    #[test]
    fn after_each_gap_in_its_watch_all_have_time_to_come_back() {
        let mut memory = memory(at(0));
        let mut looks = |epoch, is_blind, wakes, now| {
            memory.wakes = wakes;
            memory.look(Epoch::new(epoch), is_blind, now);
            memory.started
        };
        assert_eq!(looks(1, false, None, at(10)), at(10));
        assert_eq!(looks(1, false, Some(at(70)), at(74)), at(10), "a little late is no gap");
        assert_eq!(
            looks(1, false, Some(at(80)), at(90)),
            at(90),
            "the machine stood still, or its clock was set"
        );
        assert_eq!(looks(1, true, Some(at(150)), at(150)), at(150), "the broker is out of reach");
        assert_eq!(looks(1, false, Some(at(210)), at(210)), at(150));
        assert_eq!(looks(2, false, Some(at(220)), at(220)), at(220), "another server has led");
        assert_eq!(looks(2, false, Some(at(280)), at(100)), at(100), "the clock was set back");
    }
}
