//! A LAN behind a NAT box.
//!
//! Not for what the box does: that is the lab's.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context as _, Result};

use super::host::Host;
use crate::lab::{Lab, Machine, Nat, NatKind, NatPlan, Switch};

/// A LAN, its NAT box, and numbers for the machines in it. IPv6 stays inside.
#[derive(Debug)]
pub struct Home {
    lan: Switch,
    nat: Nat,
    number: u8,
    public: String,
    machines: AtomicU8,
}

impl Home {
    pub(super) fn create(
        lab: &Lab,
        name: &str,
        kind: NatKind,
        internet: &Switch,
        number: u8,
    ) -> Result<Self> {
        let lan = lab.switch()?;
        let inside = [format!("192.168.{number}.1/24"), format!("fd00:{number}::1/64")];
        let public = format!("203.0.113.{}", 100 + number);
        let nat = lab.nat(
            name,
            &NatPlan {
                kind,
                inside: &lan,
                inside_addresses: &inside.each_ref().map(String::as_str),
                outside: internet,
                outside_addresses: &[&format!("{public}/24")],
                gateways: &[],
            },
        )?;
        Ok(Self { lan, nat, number, public, machines: AtomicU8::new(10) })
    }

    pub(super) fn machine(&self, machine: Machine) -> Result<Host> {
        let [addresses, gateways] = self.addressing();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let gateways: Vec<&str> = gateways.iter().map(String::as_str).collect();
        Host::create(machine, &self.lan, &addresses, &gateways)
    }

    /// Addresses nobody in this LAN has yet, and the gateway, as [`crate::lab::Link::move_to`] takes them.
    pub fn addressing(&self) -> [Vec<String>; 2] {
        let (home, host) = (self.number, self.machines.fetch_add(1, Ordering::Relaxed));
        let addresses = vec![format!("192.168.{home}.{host}/24"), format!("fd00:{home}::{host}/64")];
        [addresses, vec![format!("192.168.{home}.1")]]
    }

    /// Its switch.
    pub fn lan(&self) -> &Switch {
        &self.lan
    }

    /// Its NAT box.
    pub fn nat(&self) -> &Nat {
        &self.nat
    }

    /// The public address of the box, as it was at first.
    pub fn public(&self) -> Result<IpAddr> {
        self.public.parse().context("the box has an odd address")
    }
}
