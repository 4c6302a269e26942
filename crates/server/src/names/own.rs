//! The machine's own addresses, on which names are answered where nobody said where.
//!
//! Each apart, for others answer on this machine too: an agent on its addresses in tunnels, container engines and virtual
//! machines on their bridges. It keeps true that nothing is taken there.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrIn6;

const PORT: u16 = 53;
/// The most addresses that are answered on.
const MOST: usize = 64;
/// The beginnings of the names of bridges on which their engines answer.
const ENGINES: [&str; 7] = ["virbr", "lxcbr", "lxdbr", "incusbr", "podman", "cni", "docker"];
/// The kernel's number for links without addresses of their own: tunnels.
const WITHOUT_ADDRESSES: &str = "65534";

/// Where names are answered: ordered, each once.
pub(super) fn addresses() -> Result<Vec<SocketAddr>> {
    let all = getifaddrs().context("cannot list this machine's addresses")?;
    let own: BTreeSet<IpAddr> = all.filter(is_for_us).filter_map(|one| ip(&one)).collect();
    Ok(own.into_iter().take(MOST).map(|ip| (ip, PORT).into()).collect())
}

fn is_for_us(interface: &InterfaceAddress) -> bool {
    let name = interface.interface_name.as_str();
    let is_tunnel = match std::fs::read_to_string(format!("/sys/class/net/{name}/type")) {
        Ok(kind) => kind.trim() == WITHOUT_ADDRESSES,
        Err(_) => interface.flags.contains(InterfaceFlags::IFF_POINTOPOINT),
    };
    interface.flags.contains(InterfaceFlags::IFF_UP)
        && !is_tunnel
        && !ENGINES.iter().any(|engine| name.starts_with(engine))
}

fn ip(interface: &InterfaceAddress) -> Option<IpAddr> {
    let address = interface.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
    let v6 = || address.as_sockaddr_in6().map(SockaddrIn6::ip).filter(|ip| !ip.is_unicast_link_local());
    v4.or_else(|| v6().map(IpAddr::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_among_them_and_no_wildcard() {
        let own = addresses().unwrap();
        assert!(own.contains(&([127, 0, 0, 1], PORT).into()), "{own:?}");
        assert!(!own.iter().any(|address| address.ip().is_unspecified()), "{own:?}");
    }
}
