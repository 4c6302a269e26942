//! What planning costs, step by step: `cargo run --release -p control --example plan`, with `policies` or `fleet` behind it
//! for one half, and with `policies 'a rule is added' 200` for one thing many times (for `perf stat -e instructions:u`).
//!
//! Times are medians; nothing is sealed or sent. One network, and ten with a tenth of the hosts in each, and two that all are
//! in; for 1,000 hosts the definition is taken as well: everybody's map before and after. And a network full of policies.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and tells")]

mod fleet;
mod policies;
mod site;

use site::Shape;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let half = arguments.next();
    if half.as_deref() != Some("fleet") {
        let only = arguments.next();
        let times = arguments.next().map_or(site::TIMES, |times| times.parse().unwrap());
        policies::measure(only.as_deref(), times);
    }
    if half.as_deref() != Some("policies") {
        for hosts in [1_000, 5_000, 10_000] {
            for shape in [Shape::OneNetwork, Shape::TenNetworks, Shape::TwoForAll] {
                fleet::measure(shape, hosts);
            }
        }
    }
}
