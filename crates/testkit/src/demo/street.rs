//! Who lives where: one machine with a public address, the others in two LANs behind NAT boxes.
//!
//! Not for watching them.

use std::time::Instant;

use anyhow::{Context as _, Result};

use super::say;
use crate::house::{Home, Host, House, NETWORK};
use crate::lab::NatKind;

/// The server and the machines, all of which have joined.
pub(super) struct Street {
    pub(super) house: House,
    pub(super) hosts: Vec<Host>,
    /// The token they joined with.
    pub(super) token: String,
    _homes: [Home; 2],
}

impl Street {
    pub(super) fn build(machines: u8) -> Result<Self> {
        let start = Instant::now();
        say("starting the server, making an administrator, a network and a key");
        let (house, token) = House::with_network("demo")?;
        say(&format!("server {} is up, network `{NETWORK}` is there", house.server().url()));
        say("making two homes behind port-restricted NATs");
        let homes =
            [house.home("home", NatKind::PortRestricted)?, house.home("office", NatKind::PortRestricted)?];
        let hosts = place(&house, &homes, machines)?;
        join(&hosts, &token)?;
        say(&format!(
            "all {machines} machines have joined, {:.1} s after the start",
            start.elapsed().as_secs_f64()
        ));
        Ok(Self { house, hosts, token, _homes: homes })
    }
}

fn place(house: &House, homes: &[Home], machines: u8) -> Result<Vec<Host>> {
    let mut hosts = vec![house.public("cloud")?];
    for number in 0..usize::from(machines) - 1 {
        let home = &homes[number % homes.len()];
        let name = format!("{}-{}", home.nat().machine().name(), number / homes.len() + 1);
        hosts.push(house.behind(home, &name)?);
    }
    Ok(hosts)
}

fn join(hosts: &[Host], token: &str) -> Result<()> {
    std::thread::scope(|scope| {
        let join = |host: &Host| -> Result<()> {
            let start = Instant::now();
            host.join(token).with_context(|| format!("{} could not join", host.name()))?;
            let addresses: Vec<String> = host.addresses()?.iter().map(ToString::to_string).collect();
            let took = start.elapsed().as_millis();
            say(&format!("{} has joined in {took} ms and is {}", host.name(), addresses.join(" and ")));
            Ok(())
        };
        let threads: Vec<_> = hosts.iter().map(|host| scope.spawn(move || join(host))).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}
