//! A site: a LAN of machines that know nothing of Netloom, and routers that lead out of it.
//!
//! Not for what its routers are: hosts with an agent, as anywhere. Keeps true that the site's machines have plain routes
//! and nothing else.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::host::Host;
use crate::lab::{Lab, Link, Machine, Switch};

/// A LAN.
#[derive(Debug)]
pub struct Site {
    lan: Switch,
    v4: Ipv4Net,
    v6: Ipv6Net,
}

impl Site {
    pub(super) fn create(lab: &Lab, v4: &str, v6: &str) -> Result<Self> {
        Ok(Self {
            lan: lab.switch()?,
            v4: v4.parse().context("the site's IPv4 range")?,
            v6: v6.parse().context("the site's IPv6 range")?,
        })
    }

    /// Its switch.
    pub fn lan(&self) -> &Switch {
        &self.lan
    }

    /// Its ranges.
    pub fn ranges(&self) -> [IpNet; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// The addresses of the machine with this number.
    pub fn addresses(&self, number: u32) -> Result<[IpAddr; 2]> {
        let v4 = self.v4.hosts().nth(usize::try_from(number)? - 1).context("the site is too small")?;
        let v6 = self.v6.hosts().nth(usize::try_from(number)?).context("the site is too small")?;
        Ok([v4.into(), v6.into()])
    }

    /// Plugs a host into the LAN by a second cable; its number there makes its addresses.
    pub fn router(&self, host: &Host, number: u32) -> Result<Link> {
        let addresses = self.with_lengths(number)?;
        host.machine().attach(&self.lan, &addresses.each_ref().map(String::as_str), &[])
    }

    /// A machine of the site, whose way out is the router with this number.
    pub fn machine(&self, lab: &Lab, name: &str, number: u32, router: u32) -> Result<Machine> {
        let machine = lab.machine(name)?;
        let addresses = self.with_lengths(number)?;
        let gateways = self.addresses(router)?.map(|ip| ip.to_string());
        let (addresses, gateways) =
            (addresses.each_ref().map(String::as_str), gateways.each_ref().map(String::as_str));
        machine.attach(&self.lan, &addresses, &gateways)?;
        Ok(machine)
    }

    fn with_lengths(&self, number: u32) -> Result<[String; 2]> {
        let [v4, v6] = self.addresses(number)?;
        Ok([format!("{v4}/{}", self.v4.prefix_len()), format!("{v6}/{}", self.v6.prefix_len())])
    }
}
