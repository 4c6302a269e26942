//! Switches, and the links that connect machines to them.
//!
//! Not for what machines do with their links. Keeps true that a link can be unplugged, moved, slowed by loss and plugged
//! in again after a reboot without the machine at its end knowing more than a real one would.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;

use super::base::Base;
use super::machine::Machine;

/// An Ethernet switch: everything plugged into it shares one segment.
#[derive(Debug, Clone)]
pub struct Switch {
    pub(crate) bridge: String,
}

/// What a link's interface carries.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Addressing {
    addresses: Vec<IpNet>,
    gateways: Vec<IpAddr>,
}

impl Addressing {
    fn parse(addresses: &[&str], gateways: &[&str]) -> Result<Self> {
        let addresses = addresses
            .iter()
            .map(|text| {
                text.parse().with_context(|| format!("`{text}` is not an address with a prefix length"))
            })
            .collect::<Result<_>>()?;
        let gateways = gateways
            .iter()
            .map(|text| text.parse().with_context(|| format!("`{text}` is not an address")))
            .collect::<Result<_>>()?;
        Ok(Self { addresses, gateways })
    }

    /// Lines for `ip -batch` in the machine's namespace.
    fn batch(&self, interface: &str) -> String {
        let mut batch = String::new();
        for address in &self.addresses {
            let nodad = if address.addr().is_ipv6() { " nodad" } else { "" };
            batch += &format!("address add {address} dev {interface}{nodad}\n");
        }
        for gateway in &self.gateways {
            batch += &format!("route replace default via {gateway} dev {interface}\n");
        }
        batch
    }
}

/// What goes wrong on a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Trouble {
    loss_percent: u8,
    udp_blocked: bool,
}

#[derive(Debug)]
struct State {
    bridge: String,
    /// The switch's end of the link while the machine is up.
    port: Option<String>,
    addressing: Addressing,
    trouble: Trouble,
}

#[derive(Debug)]
struct Shared {
    machine: String,
    interface: String,
    hardware: String,
    state: Mutex<State>,
}

/// A machine's network interface and the cable to a switch.
#[derive(Debug, Clone)]
pub struct Link {
    shared: Arc<Shared>,
    machine: std::sync::Weak<super::machine::Inner>,
    base: Arc<Base>,
}

impl Link {
    pub(crate) fn new(
        base: &Arc<Base>,
        machine: &Machine,
        interface: &str,
        switch: &Switch,
        addresses: &[&str],
        gateways: &[&str],
    ) -> Result<Self> {
        ensure!(interface.len() < 16, "`{interface}` is too long for the name of a network interface");
        let number = base.next_number();
        let state = State {
            bridge: switch.bridge.clone(),
            port: None,
            addressing: Addressing::parse(addresses, gateways)?,
            trouble: Trouble::default(),
        };
        let shared = Shared {
            machine: machine.name().to_owned(),
            interface: interface.to_owned(),
            hardware: format!("02:00:00:00:{:02x}:{:02x}", (number >> 8) & 0xff, number & 0xff),
            state: Mutex::new(state),
        };
        Ok(Self { shared: Arc::new(shared), machine: machine.downgrade(), base: Arc::clone(base) })
    }

    /// The interface's name in the machine.
    pub fn interface(&self) -> &str {
        &self.shared.interface
    }

    /// Connects the machine, which has just been switched on.
    pub(crate) fn plug(&self, holder: u32, inside: &dyn Fn(&str) -> Result<()>) -> Result<()> {
        let mut state = self.lock();
        let port = format!("p{}", self.base.next_number());
        let Shared { interface, hardware, .. } = &*self.shared;
        self.base.ip(&format!(
            "link add {port} type veth peer name {interface} address {hardware} netns {holder}\n\
             link set {port} master {} up\n",
            state.bridge
        ))?;
        state.port = Some(port);
        inside(&format!("link set {interface} up\n{}", state.addressing.batch(interface)))?;
        self.apply_trouble(&state)
    }

    /// Removes the cable with both its ends.
    pub(crate) fn unplug(&self) -> Result<()> {
        let mut state = self.lock();
        match state.port.take() {
            Some(port) => self.base.ip(&format!("link delete {port}\n")),
            None => Ok(()),
        }
    }

    /// Gives the interface other addresses in place of those it has; the interface itself stays.
    pub fn set_addresses(&self, addresses: &[&str], gateways: &[&str]) -> Result<()> {
        let addressing = Addressing::parse(addresses, gateways)?;
        let mut state = self.lock();
        state.addressing = addressing;
        if state.port.is_none() {
            return Ok(());
        }
        let interface = &self.shared.interface;
        let batch = state.addressing.batch(interface);
        self.inside(&format!("address flush dev {interface} scope global\n{batch}"))
    }

    /// Plugs the cable into another switch and takes addresses there, as a machine that roams does.
    pub fn move_to(&self, switch: &Switch, addresses: &[&str], gateways: &[&str]) -> Result<()> {
        {
            let mut state = self.lock();
            state.bridge.clone_from(&switch.bridge);
            if let Some(port) = &state.port {
                self.base.ip(&format!("link set {port} master {}\n", switch.bridge))?;
            }
        }
        self.set_addresses(addresses, gateways)
    }

    /// Pulls the cable: the interface stays and loses its carrier.
    pub fn down(&self) -> Result<()> {
        let state = self.lock();
        let port = self.port(&state)?;
        self.base.ip(&format!("link set {port} down\n"))
    }

    /// Puts the cable back.
    pub fn up(&self) -> Result<()> {
        let state = self.lock();
        let port = self.port(&state)?;
        self.base.ip(&format!("link set {port} up\n"))
    }

    /// Loses this share of the IP packets, in both directions; address resolution is spared. 0 ends it, 100 loses all.
    pub fn lose(&self, percent: u8) -> Result<()> {
        ensure!(percent <= 100, "{percent} percent is more than everything");
        let mut state = self.lock();
        state.trouble.loss_percent = percent;
        self.apply_trouble(&state)
    }

    /// Drops all UDP on this link, in both directions, or lets it pass again.
    pub fn block_udp(&self, blocked: bool) -> Result<()> {
        let mut state = self.lock();
        state.trouble.udp_blocked = blocked;
        self.apply_trouble(&state)
    }

    fn apply_trouble(&self, state: &State) -> Result<()> {
        // The table goes by the cable's hardware address, so that a reboot finds and replaces it.
        let table = format!("bridge trouble_{}", self.shared.hardware.replace(':', ""));
        let mut rules = format!("table {table} {{ }}\ndelete table {table}\n");
        let Trouble { loss_percent, udp_blocked } = state.trouble;
        if let Some(port) = state.port.as_ref().filter(|_| state.trouble != Trouble::default()) {
            writeln!(rules, "table {table} {{\n chain forward {{\n type filter hook forward priority 0;")?;
            writeln!(rules, "icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept")?;
            for direction in ["iifname", "oifname"] {
                if udp_blocked {
                    writeln!(rules, "{direction} {port} meta l4proto udp drop")?;
                }
                let chance = match loss_percent {
                    0 => continue,
                    100 => String::new(),
                    share => format!("numgen random mod 100 < {share}"),
                };
                writeln!(rules, "{direction} {port} ether type {{ ip, ip6 }} {chance} drop")?;
            }
            writeln!(rules, "}}\n}}")?;
        }
        self.base.nft(&rules)
    }

    fn inside(&self, batch: &str) -> Result<()> {
        let machine = self.machine.upgrade().context("the machine of this link is gone")?;
        machine.ip(batch)
    }

    fn port<'a>(&self, state: &'a State) -> Result<&'a str> {
        state.port.as_deref().with_context(|| format!("the machine {} is switched off", self.shared.machine))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_address_is_named() {
        let error = Addressing::parse(&["10.0.0.1"], &[]).unwrap_err().to_string();
        assert!(error.contains("10.0.0.1"), "{error}");
        let error = Addressing::parse(&["10.0.0.1/24"], &["x"]).unwrap_err().to_string();
        assert!(error.contains("`x`"), "{error}");
    }

    #[test]
    fn addresses_of_both_families_are_ready_at_once() {
        let addressing = Addressing::parse(&["10.0.0.2/24", "fd00::2/64"], &["10.0.0.1"]).unwrap();
        assert_eq!(
            addressing.batch("eth0"),
            "address add 10.0.0.2/24 dev eth0\naddress add fd00::2/64 dev eth0 nodad\n\
             route replace default via 10.0.0.1 dev eth0\n"
        );
    }
}
