//! What planning costs, step by step: `cargo run --release -p control --example plan`.
//!
//! One network, and ten with a tenth of the hosts in each, and two that all are in. Times are medians; nothing is sealed or
//! sent. For 1,000 hosts the definition is taken as well: everybody's map before and after.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and tells")]

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use control::plan::{Deltas, Log, Picture, Roster, Touched, catch_up, default_domain, deltas, host_map};
use control::{ActorName, Change, Door, Intent, Inventory, Record, RecordChange, apply};
use model::{
    Addresses, DnsName, Endpoint, Generation, Host, HostId, Keepalive, Network, NetworkId, Node, NodeId,
    Policy, PolicyId, Ranges, SealingIdentity, SealingPublicKey, SigningPublicKey, Subject, Tag, Timestamp,
    WgPublicKey,
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
    domain: DnsName,
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
        Self::of(shape, records, inventory, links)
    }

    fn of(shape: Shape, records: Vec<Record>, inventory: Inventory, links: ServerLinks) -> Self {
        let intent = Intent::from_records(1, records).unwrap();
        let domain = default_domain();
        let picture = Picture { intent: &intent, inventory: &inventory, links: &links, domain: &domain };
        let roster = Roster::of(&picture);
        Self { shape, intent, inventory, links, domain, roster, log: Log::new(FIRST), last: FIRST }
    }

    const fn picture(&self) -> Picture<'_> {
        Picture { intent: &self.intent, inventory: &self.inventory, links: &self.links, domain: &self.domain }
    }

    fn map(&self, number: u32) -> wire::HostMap {
        host_map(&self.picture(), host(number).id, self.last).unwrap()
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

/// 2,000 nodes in one network that denies, 1,000 policies: each from and to one of 100 tags, one in ten names a node.
fn policies() {
    const HOSTS: u32 = 2_000;
    const RULES: u32 = 1_000;
    println!("{RULES} policies over {HOSTS} nodes");
    let tag = |number: u32| -> Tag { format!("tag-{}", number % 100).parse().unwrap() };
    let tags = |number: u32| [0, 1, 2].map(|which| tag(u32::from_le_bytes(bytes(7 + which, number)))).into();
    let tagged = |number: u32| Node { tags: tags(number), ..node(number, 0) };
    let subject = |kind: u8, rule: u32| match rule % 10 {
        0 => Subject::Node(node(u32::from_le_bytes(bytes(kind, rule)) % HOSTS, 0).id),
        _ => Subject::Tag(tag(u32::from_le_bytes(bytes(kind, rule)))),
    };
    let policy = |rule: u32| Policy {
        id: PolicyId::from_bytes(bytes(10, rule)),
        network: network(0).id,
        name: format!("rule {rule}").parse().unwrap(),
        enabled: true,
        from: [subject(11, rule)].into(),
        to: [subject(12, rule)].into(),
        services: ["tcp/443".parse().unwrap()].into(),
        both: rule.is_multiple_of(4),
        created: NOW,
    };
    let guarded = Network { access: model::Access::Deny, ..network(0) };
    let mut records: Vec<Record> = vec![guarded.clone().into()];
    records.extend((0..HOSTS).flat_map(|number| [Record::from(host(number)), tagged(number).into()]));
    records.extend((0..RULES).map(|rule| Record::from(policy(rule))));
    let began = Instant::now();
    let site = Site::of(Shape::OneNetwork, records, Inventory::default(), ServerLinks::default());
    println!("  {:<24}{:>9.1} µs", "roster from scratch", micros(began.elapsed()));

    let changed = |what: &str, records: Vec<RecordChange>| {
        let (mut after, change) = site.after(records);
        let intent = after.intent.clone();
        tell(what, &site, &mut after, &|| Touched::by_change(&site.intent, &intent, &change));
    };
    let retagged = Node { tags: tags(HOSTS + 1), ..tagged(7) };
    changed("one node's tags", vec![RecordChange::changed(tagged(7), retagged)]);
    changed("a rule is added", vec![RecordChange::made(policy(RULES + 1))]);
    changed("a rule is removed", vec![RecordChange::removed(policy(3))]);
    let disabled = Policy { enabled: false, ..policy(4) };
    changed("a rule is disabled", vec![RecordChange::changed(policy(4), disabled)]);
    let new_tag = Policy { from: [Subject::Everything].into(), ..policy(RULES + 2) };
    changed("from everything to a tag", vec![RecordChange::made(new_tag)]);
    let open =
        Policy { from: [Subject::Everything].into(), to: [Subject::Everything].into(), ..policy(RULES + 3) };
    changed("everything to everything", vec![RecordChange::made(open)]);
    let more = HOSTS + 2;
    changed("one joins", vec![RecordChange::made(host(more)), RecordChange::made(tagged(more))]);
    let allows = Network { access: model::Access::Allow, ..guarded.clone() };
    changed("the default is allow", vec![RecordChange::changed(guarded, allows)]);

    let began = Instant::now();
    let fresh = Roster::of(&site.picture());
    let nothing = MapRequest::default();
    let answered = |number| fresh.answer(&site.picture(), host(number).id, FIRST, &nothing).unwrap();
    let parts: usize = (0..HOSTS).map(|number| answered(number).1.len()).sum();
    println!("  {:<24}{:>9.1} µs for {parts} parts", "a full plan", micros(began.elapsed()));
    let began = Instant::now();
    let bytes = |number| answered(number).1.iter().map(|(_, _, bucket)| bucket.packed().len()).sum::<usize>();
    let size: usize = (0..HOSTS).map(bytes).sum();
    println!("  {:<24}{:>9.1} µs for {size} bytes", "the same, packed", micros(began.elapsed()));
}

fn main() {
    policies();
    for hosts in [1_000, 5_000, 10_000] {
        for shape in [Shape::OneNetwork, Shape::TenNetworks, Shape::TwoForAll] {
            measure(shape, hosts);
        }
    }
}
