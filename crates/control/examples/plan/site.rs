//! A server's brain with many hosts in it, and what one telling costs it.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use control::plan::{Deltas, Log, Picture, Roster, Touched, default_domain, deltas, host_map};
use control::{ActorName, Change, Door, Intent, Inventory, Record, RecordChange, apply};
use model::{
    Addresses, DnsName, Endpoint, Generation, Host, HostId, Keepalive, Network, NetworkId, Node, NodeId,
    Ranges, SealingIdentity, SealingPublicKey, SigningPublicKey, Timestamp, WgPublicKey,
};
use wire::ServerLinks;

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
pub(crate) const FIRST: Generation = Generation::from_number(1);
/// Times that each thing is measured.
pub(crate) const TIMES: u32 = 15;

/// Bytes that differ for each number and look random, as ids and keys do.
pub(crate) fn bytes<const N: usize>(kind: u8, number: u32) -> [u8; N] {
    let mut state = u64::from(number) << 8 | u64::from(kind);
    std::array::from_fn(|_| {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed.to_le_bytes()[7]
    })
}

pub(crate) fn endpoint(number: u32) -> Endpoint {
    let ip = Ipv4Addr::from(0x6440_0000 + number);
    format!("{ip}:{}", 1_024 + number % 60_000).parse().unwrap()
}

pub(crate) fn network(number: u32) -> Network {
    Network {
        id: NetworkId::from_bytes(bytes(1, number)),
        name: format!("net-{number}").parse().unwrap(),
        ranges: Ranges::new(Some(format!("10.{number}.0.0/16").parse().unwrap()), None).unwrap(),
        keepalive: Keepalive::DEFAULT,
        access: model::Access::Allow,
        approval: false,
        hub: None,
        domain: None,
        created: NOW,
    }
}

pub(crate) fn host(number: u32) -> Host {
    let key = SealingPublicKey::from_bytes(bytes(2, number));
    Host {
        id: HostId::from_bytes(bytes(3, number)),
        name: format!("host-{number}").parse().unwrap(),
        wireguard_key: WgPublicKey::from_bytes(bytes(4, number)),
        signing_key: SigningPublicKey::from_bytes(bytes(5, number)),
        sealing: SealingIdentity { key, encapsulated: key, server: None },
        mtu: None,
        static_endpoint: None,
        default: false,
        ephemeral: false,
        rotate: false,
        rotate_since: None,
        rekeyed: None,
        created: NOW,
    }
}

pub(crate) fn node(host_number: u32, network_number: u32) -> Node {
    let v4 = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 1, 0)) + (network_number << 16) + host_number);
    Node {
        id: NodeId::from_bytes(bytes(6, host_number * 16 + network_number)),
        host: host(host_number).id,
        network: network(network_number).id,
        addresses: Addresses { v4: Some(v4), v6: None },
        connected: true,
        pending: false,
        tags: Default::default(),
        duties: Default::default(),
        relay: None,
        internet: None,
        expires: None,
        created: NOW,
    }
}

/// How hosts are spread over networks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    OneNetwork,
    TenNetworks,
    TwoForAll,
}

impl Shape {
    pub(crate) fn networks_of(self, host: u32) -> Vec<u32> {
        match self {
            Self::OneNetwork => vec![0],
            Self::TenNetworks => vec![host % 10],
            Self::TwoForAll => vec![0, 1],
        }
    }
}

/// A server's brain after all of them have joined.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) shape: Shape,
    pub(crate) intent: Intent,
    pub(crate) inventory: Inventory,
    pub(crate) links: ServerLinks,
    pub(crate) domain: DnsName,
    pub(crate) roster: Roster,
    pub(crate) log: Log,
    pub(crate) last: Generation,
}

impl Site {
    pub(crate) fn new(shape: Shape, hosts: u32) -> Self {
        let mut records: Vec<Record> = (0..10).map(|number| network(number).into()).collect();
        let (mut inventory, links) = (Inventory::default(), ServerLinks::default());
        for number in 0..hosts {
            let host = host(number);
            let _ = inventory.observe_seen(host.id, Door::First, endpoint(number), NOW);
            records.push(host.into());
            records.extend(shape.networks_of(number).into_iter().map(|net| node(number, net).into()));
        }
        Self::of(shape, records, inventory, links)
    }

    pub(crate) fn of(shape: Shape, records: Vec<Record>, inventory: Inventory, links: ServerLinks) -> Self {
        let intent = Intent::from_records(1, records).unwrap();
        let domain = default_domain();
        let picture = Picture { intent: &intent, inventory: &inventory, links: &links, domain: &domain };
        let roster = Roster::of(&picture);
        Self { shape, intent, inventory, links, domain, roster, log: Log::new(FIRST), last: FIRST }
    }

    pub(crate) const fn picture(&self) -> Picture<'_> {
        Picture { intent: &self.intent, inventory: &self.inventory, links: &self.links, domain: &self.domain }
    }

    pub(crate) fn map(&self, number: u32) -> wire::HostMap {
        host_map(&self.picture(), host(number).id, self.last).unwrap()
    }

    /// This, with the change made.
    pub(crate) fn after(&self, records: Vec<RecordChange>) -> (Self, Change) {
        let change = Change {
            actor: ActorName::from_text("system".to_owned()),
            command: Cow::Borrowed("bench"),
            records,
        };
        let mut after = self.clone();
        apply(&mut after.intent, &change);
        (after, change)
    }

    pub(crate) fn joined(&self, numbers: std::ops::Range<u32>) -> (Self, Change) {
        let made = |number: u32| {
            let nodes = self.shape.networks_of(number).into_iter();
            let nodes = nodes.map(move |net| RecordChange::made(node(number, net)));
            std::iter::once(RecordChange::made(host(number))).chain(nodes)
        };
        self.after(numbers.flat_map(made).collect())
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// What the steps of one telling cost, and what comes of it.
pub(crate) fn plan(before: &Site, after: &mut Site, touch: &impl Fn() -> Touched) -> ([Duration; 5], Deltas) {
    let began = Instant::now();
    let touched = touch();
    let at_touched = Instant::now();
    let mut roster = before.roster.clone();
    roster.update(&after.picture(), &touched);
    let at_roster = Instant::now();
    let deltas = deltas(&before.picture(), &after.picture(), &before.roster, &roster, &touched);
    let at_deltas = Instant::now();
    let mut log = before.log.clone();
    log.record(before.last.next(), &before.roster, &roster, &touched);
    let at_log = Instant::now();
    let size: usize =
        deltas.changed.iter().map(|(_, delta)| delta.encode(before.last, before.last.next()).len()).sum();
    let at_encoded = Instant::now();
    assert!(size > 0 || deltas.changed.is_empty());
    (after.roster, after.log, after.last) = (roster, log, before.last.next());
    let steps = [at_touched - began, at_roster - at_touched, at_deltas - at_roster, at_log - at_deltas];
    ([steps[0], steps[1], steps[2], steps[3], at_encoded - at_log], deltas)
}

pub(crate) fn micros(span: Duration) -> f64 {
    span.as_nanos() as f64 / 1_000.0
}

pub(crate) fn tell(
    what: &str,
    before: &Site,
    after: &mut Site,
    times: u32,
    touch: &impl Fn() -> Touched,
) -> Duration {
    let runs: Vec<_> = (0..times).map(|_| plan(before, after, touch)).collect();
    let Deltas { changed, new, .. } = &runs[0].1;
    let steps: [Duration; 5] =
        std::array::from_fn(|step| median(runs.iter().map(|(steps, _)| steps[step]).collect()));
    let planned: Duration = steps[..4].iter().sum();
    let [touched, roster, deltas, log, _] = steps.map(micros);
    let each = |span: Duration| span.as_nanos() / (changed.len() + new.len()).max(1) as u128;
    print!("  {what:<24}{:>9.1} µs", micros(planned));
    print!(" ({touched:.1} touched, {roster:.1} roster, {deltas:.1} deltas, {log:.1} log)");
    print!(" for {} deltas and {} fetches: {} ns each", changed.len(), new.len(), each(planned));
    println!(", and {} ns to encode", each(steps[4]));
    planned
}

pub(crate) fn timed<T>(what: &str, mut work: impl FnMut() -> T) -> T {
    let mut runs: Vec<(Duration, T)> = Vec::new();
    for _ in 0..TIMES {
        let began = Instant::now();
        let result = work();
        runs.push((began.elapsed(), result));
    }
    let time = median(runs.iter().map(|(time, _)| *time).collect());
    println!("  {what:<24}{:>9.1} µs", micros(time));
    runs.swap_remove(0).1
}
