//! Hosts in networks that allow everything: joins, leaves, and answers to those who ask.

use std::time::Instant;

use control::plan::{Touched, catch_up};
use control::{Door, RecordChange};
use model::Keepalive;
use wire::MapRequest;

use crate::site::{FIRST, NOW, Shape, Site, TIMES, endpoint, host, micros, network, node, plan, tell, timed};

pub(crate) fn measure(shape: Shape, hosts: u32) {
    println!("{shape:?}, {hosts} hosts");
    let site = Site::new(shape, hosts);
    let (mut joined, change) = site.joined(hosts..hosts + 1);
    let intent = joined.intent.clone();
    let join =
        tell("one joins", &site, &mut joined, TIMES, &|| Touched::by_change(&site.intent, &intent, &change));
    let mut moved = site.clone();
    let someone = host(hosts / 2).id;
    let _ = moved.inventory.observe_seen(someone, Door::First, endpoint(2_000_000), NOW);
    tell("one endpoint changes", &site, &mut moved, TIMES, &|| Touched::by_inventory(&site.intent, someone));

    let (old, mut new) = (network(0), network(0));
    new.keepalive = Keepalive::new(7).unwrap();
    let (mut flipped, change) = site.after(vec![RecordChange::changed(old, new)]);
    let intent = flipped.intent.clone();
    tell("a network's keepalive", &site, &mut flipped, TIMES, &|| {
        Touched::by_change(&site.intent, &intent, &change)
    });

    let (mut burst, change) = site.joined(hosts..hosts + 1_000);
    let intent = burst.intent.clone();
    tell("1,000 join at once", &site, &mut burst, TIMES, &|| {
        Touched::by_change(&site.intent, &intent, &change)
    });

    let removed = (0..hosts).flat_map(|number| {
        shape.networks_of(number).into_iter().filter(|net| *net == 0).map(move |net| node(number, net))
    });
    let removed = removed.map(RecordChange::removed).chain([RecordChange::removed(network(0))]).collect();
    let (mut rest, change) = site.after(removed);
    let intent = rest.intent.clone();
    tell("a network is removed", &site, &mut rest, TIMES, &|| {
        Touched::by_change(&site.intent, &intent, &change)
    });

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
    let size: usize = first.1.iter().map(|bucket| bucket.to_part().packed.len()).sum();
    println!("  {:<24}{:>9.1} µs", "all buckets packed", micros(began.elapsed()));
    timed("the same, once packed", || {
        let (_, buckets) = site.roster.answer(&site.picture(), asker, FIRST, &nothing).unwrap();
        buckets.iter().map(|bucket| bucket.to_part().packed.len()).sum::<usize>()
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
