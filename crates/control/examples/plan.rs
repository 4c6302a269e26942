//! What planning costs, step by step: `cargo run --release -p control --example plan`.
//!
//! One network, and ten with a tenth of the hosts in each, and two that all are in. Times are medians; nothing is sealed or
//! sent. For 1,000 hosts the definition is taken as well: everybody's map before and after.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and tells")]

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use control::plan::{Deltas, Log, Picture, Roster, Touched, catch_up, deltas, host_map};
use control::{ActorName, Change, Door, Intent, Inventory, Record, RecordChange, apply};
use model::{
    Addresses, Endpoint, Generation, Host, HostId, Keepalive, Network, NetworkId, Node, NodeId, Ranges,
    SealingIdentity, SealingPublicKey, SigningPublicKey, Timestamp, WgPublicKey,
};
use wire::{MapRequest, ServerLinks};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const FIRST: Generation = Generation::from_number(1);
/// Times that each thing is measured.
const TIMES: u32 = 15;

/// Bytes that differ for each number and look random, as ids and keys do.
fn bytes<const N: usize>(kind: u8, number: u32) -> [u8; N] {
    let mut state = u64::from(number) << 8 | u64::from(kind);
    std::array::from_fn(|_| {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed.to_le_bytes()[7]
    })
}

fn endpoint(number: u32) -> Endpoint {
    let ip = Ipv4Addr::from(0x6440_0000 + number);
    format!("{ip}:{}", 1_024 + number % 60_000).parse().unwrap()
}

fn network(number: u32) -> Network {
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

fn host(number: u32) -> Host {
    let key = SealingPublicKey::from_bytes(bytes(2, number));
    Host {
        id: HostId::from_bytes(bytes(3, number)),
        name: format!("host-{number}").parse().unwrap(),
        wireguard_key: WgPublicKey::from_bytes(bytes(4, number)),
        signing_key: SigningPublicKey::from_bytes(bytes(5, number)),
        sealing: SealingIdentity { key, encapsulated: key },
        mtu: None,
        static_endpoint: None,
        default: false,
        ephemeral: false,
        rotate: false,
        created: NOW,
    }
}

fn node(host_number: u32, network_number: u32) -> Node {
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
enum Shape {
    OneNetwork,
    TenNetworks,
    TwoForAll,
}

impl Shape {
    fn networks_of(self, host: u32) -> Vec<u32> {
        match self {
            Self::OneNetwork => vec![0],
            Self::TenNetworks => vec![host % 10],
            Self::TwoForAll => vec![0, 1],
        }
    }
}

/// A server's brain after all of them have joined.
#[derive(Clone)]
struct Site {
    shape: Shape,
    intent: Intent,
    inventory: Inventory,
    links: ServerLinks,
    roster: Roster,
    log: Log,
    last: Generation,
}

impl Site {
    fn new(shape: Shape, hosts: u32) -> Self {
        let mut records: Vec<Record> = (0..10).map(|number| network(number).into()).collect();
        let (mut inventory, links) = (Inventory::default(), ServerLinks::default());
        for number in 0..hosts {
            let host = host(number);
            let _ = inventory.observe_seen(host.id, Door::First, endpoint(number), NOW);
            records.push(host.into());
            records.extend(shape.networks_of(number).into_iter().map(|net| node(number, net).into()));
        }
        let intent = Intent::from_records(1, records).unwrap();
        let roster = Roster::of(&Picture { intent: &intent, inventory: &inventory, links: &links });
        Self { shape, intent, inventory, links, roster, log: Log::new(FIRST), last: FIRST }
    }

    const fn picture(&self) -> Picture<'_> {
        Picture { intent: &self.intent, inventory: &self.inventory, links: &self.links }
    }

    fn map(&self, number: u32) -> wire::HostMap {
        host_map(&self.intent, &self.inventory, &self.links, host(number).id, self.last).unwrap()
    }

    /// This, with the change made.
    fn after(&self, records: Vec<RecordChange>) -> (Self, Change) {
        let change = Change {
            actor: ActorName::from_text("system".to_owned()),
            command: Cow::Borrowed("bench"),
            records,
        };
        let mut after = self.clone();
        apply(&mut after.intent, &change);
        (after, change)
    }

    fn joined(&self, numbers: std::ops::Range<u32>) -> (Self, Change) {
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
fn plan(before: &Site, after: &mut Site, touch: &impl Fn() -> Touched) -> ([Duration; 5], Deltas) {
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

fn micros(span: Duration) -> f64 {
    span.as_nanos() as f64 / 1_000.0
}

fn tell(what: &str, before: &Site, after: &mut Site, touch: &impl Fn() -> Touched) -> Duration {
    let runs: Vec<_> = (0..TIMES).map(|_| plan(before, after, touch)).collect();
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

fn timed<T>(what: &str, mut work: impl FnMut() -> T) -> T {
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

fn measure(shape: Shape, hosts: u32) {
    println!("{shape:?}, {hosts} hosts");
    let site = Site::new(shape, hosts);
    let (mut joined, change) = site.joined(hosts..hosts + 1);
    let intent = joined.intent.clone();
    let join = tell("one joins", &site, &mut joined, &|| Touched::by_change(&site.intent, &intent, &change));
    let mut moved = site.clone();
    let someone = host(hosts / 2).id;
    let _ = moved.inventory.observe_seen(someone, Door::First, endpoint(2_000_000), NOW);
    tell("one endpoint changes", &site, &mut moved, &|| Touched::by_inventory(&site.intent, someone));

    let (old, mut new) = (network(0), network(0));
    new.keepalive = Keepalive::new(7).unwrap();
    let (mut flipped, change) = site.after(vec![RecordChange::changed(old, new)]);
    let intent = flipped.intent.clone();
    tell("a network's keepalive", &site, &mut flipped, &|| {
        Touched::by_change(&site.intent, &intent, &change)
    });

    let (mut burst, change) = site.joined(hosts..hosts + 1_000);
    let intent = burst.intent.clone();
    tell("1,000 join at once", &site, &mut burst, &|| Touched::by_change(&site.intent, &intent, &change));

    let removed = (0..hosts).flat_map(|number| {
        shape.networks_of(number).into_iter().filter(|net| *net == 0).map(move |net| node(number, net))
    });
    let removed = removed.map(RecordChange::removed).chain([RecordChange::removed(network(0))]).collect();
    let (mut rest, change) = site.after(removed);
    let intent = rest.intent.clone();
    tell("a network is removed", &site, &mut rest, &|| Touched::by_change(&site.intent, &intent, &change));

    answers(&site, hosts);
    if hosts == 1_000 {
        let began = Instant::now();
        let maps = |site: &Site| (0..hosts).map(|number| site.map(number)).collect::<Vec<_>>();
        let (before, after) = (maps(&site), maps(&joined));
        let changed =
            before.iter().zip(&after).filter(|(old, new)| !wire::delta(old, new).is_empty()).count();
        let slow = began.elapsed();
        let ratio = slow.as_secs_f64() / join.as_secs_f64();
        print!("  {:<24}{:>9.1} µs", "one joins, by definition", micros(slow));
        println!(" for {changed} deltas: {ratio:.0} times as much");
    }
}

/// What those cost who ask for their maps.
fn answers(site: &Site, hosts: u32) {
    let asker = host(1).id;
    // Ten endpoint changes are missed.
    let mut now = site.clone();
    for number in 0..10 {
        let (before, host) = (now.clone(), host(10 * number + 11).id);
        let _ = now.inventory.observe_seen(host, Door::First, endpoint(3_000_000 + number), NOW);
        plan(&before, &mut now, &|| Touched::by_inventory(&before.intent, host));
    }
    let missed = timed("catch up, ten changes", || {
        catch_up(&now.log, &now.picture(), &now.roster, asker, FIRST).unwrap().encode(FIRST, now.last)
    });
    let held = site.map(1);
    let request = timed("digests, by the agent", || MapRequest::of(&held));
    let current =
        timed("answer, all held", || site.roster.answer(&site.picture(), asker, FIRST, &request).unwrap());
    assert!(current.1.is_empty());
    let ten = timed("answer, ten changes", || {
        now.roster.answer(&now.picture(), asker, now.last, &request).unwrap()
    });
    let nothing = MapRequest::default();
    let began = Instant::now();
    let first = site.roster.answer(&site.picture(), asker, FIRST, &nothing).unwrap();
    let size: usize = first.1.iter().map(|(_, _, bucket)| bucket.packed().len()).sum();
    println!("  {:<24}{:>9.1} µs", "all buckets packed", micros(began.elapsed()));
    timed("the same, once packed", || {
        let (_, buckets) = site.roster.answer(&site.picture(), asker, FIRST, &nothing).unwrap();
        buckets.iter().map(|(_, _, bucket)| bucket.packed().len()).sum::<usize>()
    });
    timed("the definition", || site.map(1));
    let whole = wire::encode(&site.map(1)).len();
    println!(
        "  {hosts} hosts: request {} bytes, ten missed {} bytes or {} buckets, map {whole} bytes, packed {size}",
        wire::encode(&request).len(),
        missed.len(),
        ten.1.len(),
    );
}

fn main() {
    for hosts in [1_000, 5_000, 10_000] {
        for shape in [Shape::OneNetwork, Shape::TenNetworks, Shape::TwoForAll] {
            measure(shape, hosts);
        }
    }
}
