//! From `netclient join` to the first ping, with the real programs in the lab: what somebody waits for who adds a machine.
//!
//! Time runs from the command being typed to the first answer of a peer; it includes the tunnel's first handshake.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::figure::Figure;
use super::progress::bar;
use crate::house::House;
use crate::lab::NatKind;

const BENCH: &str = "join";
const LIMIT: Duration = Duration::from_secs(60);

/// Measures all.
pub(super) fn measure(machines: usize) -> Result<Vec<Figure>> {
    let (house, token) = House::with_network("bench")?;
    let first = house.public("first")?;
    first.join(&token)?;
    let target = first.v4()?;
    let home = house.home("home", NatKind::PortRestricted)?;
    let progress = bar("machines that join", 2 * machines);
    let (mut public, mut behind) = (Vec::new(), Vec::new());
    for number in 0..machines {
        for (place, times) in [("p", &mut public), ("n", &mut behind)] {
            let name = format!("{place}{number}");
            let host = if place == "p" { house.public(&name)? } else { house.behind(&home, &name)? };
            let start = Instant::now();
            host.join(&token)?;
            host.ping_within(target, LIMIT)?;
            times.push(start.elapsed());
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    let mut figures = Figure::latencies(BENCH, "a public machine joins and pings", public);
    figures.extend(Figure::latencies(BENCH, "a machine behind a NAT joins and pings", behind));
    Ok(figures)
}
