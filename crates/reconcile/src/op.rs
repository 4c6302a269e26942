//! One step on the machine. Idempotent: executing it where it is already so changes nothing and is no error.
//!
//! Ops are about the one link whose name `Desired` and the platform were given, and, by `Around`, about what is ours
//! elsewhere. Where a full tunnel or a firewall has to stand before something opens, `Gate` holds back what would open it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Endpoint, Keepalive, Mtu, WgPublicKey};

use crate::{Around, DesiredPeer, LinkKind, ROUTE_TABLE, Route};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Create the link with a WireGuard device of this kind behind it, down and empty. For userspace: start the process.
    CreateLink(LinkKind),
    /// Delete the link; addresses, routes and peers go with it. For userspace: end the process.
    DeleteLink,
    /// Give the device the private key whose public key this is.
    SetKey(WgPublicKey),
    /// Listen on this UDP port.
    SetPort(u16),
    /// Mark the datagrams that the device sends.
    SetMark(u32),
    /// Set the MTU.
    SetMtu(Mtu),
    /// Bring the link up.
    SetUp,
    /// Add the address with /32 or /128.
    AddAddress(IpAddr),
    /// Remove exactly this address and prefix.
    RemoveAddress(IpNet),
    /// Add a route of ours; fails where somebody else has the same destination and metric (create and exclusive).
    AddRoute(Route),
    /// Remove exactly this route.
    RemoveRoute(Route),
    /// Add a peer that is not there; the keepalive makes WireGuard send its first handshake at once.
    AddPeer(WgPublicKey, DesiredPeer),
    /// Remove a peer and its session.
    RemovePeer(WgPublicKey),
    /// Allow a peer these addresses besides those it has. An address that another peer had moves.
    AllowMore(WgPublicKey, BTreeSet<IpNet>),
    /// Allow a peer exactly these addresses.
    SetAllowed(WgPublicKey, BTreeSet<IpNet>),
    /// Set a peer's persistent keepalive.
    SetKeepalive(WgPublicKey, Keepalive),
    /// Send to a peer there from now on, session and all else unchanged.
    SetEndpoint(WgPublicKey, Endpoint),
    /// Make WireGuard send a packet to the peer at once: keepalive off, then on again.
    Poke(WgPublicKey, Keepalive),
    /// A step on what of ours is not on the link.
    Around(Around),
}

impl Op {
    /// Whether more can be reached after it than before, by others or by this machine.
    pub fn opens(&self) -> bool {
        match self {
            Self::AddPeer(_, peer) => !peer.allowed.is_empty(),
            Self::AllowMore(..) | Self::AddRoute(_) => true,
            Self::Around(around) => around.opens(),
            Self::CreateLink(_)
            | Self::DeleteLink
            | Self::SetKey(_)
            | Self::SetPort(_)
            | Self::SetMark(_)
            | Self::SetMtu(_)
            | Self::SetUp
            | Self::AddAddress(_)
            | Self::RemoveAddress(_)
            | Self::RemoveRoute(_)
            | Self::RemovePeer(_)
            | Self::SetAllowed(..)
            | Self::SetKeepalive(..)
            | Self::SetEndpoint(..)
            | Self::Poke(..) => false,
        }
    }

    /// Whether it changes one peer and nothing else.
    pub const fn is_about_a_peer(&self) -> bool {
        matches!(
            self,
            Self::AddPeer(..)
                | Self::RemovePeer(_)
                | Self::AllowMore(..)
                | Self::SetAllowed(..)
                | Self::SetKeepalive(..)
                | Self::SetEndpoint(..)
                | Self::Poke(..)
        )
    }
}

/// Enough of a key to tell peers apart. What is said of an op goes into logs, which outlive the peer.
struct Short<'a>(&'a WgPublicKey);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.to_string();
        write!(f, "{}…", whole.get(..8).unwrap_or_default())
    }
}

struct List<'a>(&'a BTreeSet<IpNet>);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (index, net) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{net}")?;
        }
        Ok(())
    }
}

fn route(f: &mut fmt::Formatter<'_>, verb: &str, route: &Route) -> fmt::Result {
    write!(f, "{verb} route {}", route.destination)?;
    if let Some(source) = route.source {
        write!(f, " from {source}")?;
    }
    if route.table == ROUTE_TABLE { Ok(()) } else { write!(f, " in table {}", route.table) }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateLink(kind) => write!(f, "create link, {kind} WireGuard"),
            Self::DeleteLink => f.write_str("delete link"),
            Self::SetKey(key) => write!(f, "set key {}", Short(key)),
            Self::SetPort(port) => write!(f, "listen on UDP port {port}"),
            Self::SetMark(mark) => write!(f, "mark datagrams {mark:#x}"),
            Self::SetMtu(mtu) => write!(f, "set MTU {mtu}"),
            Self::SetUp => f.write_str("bring link up"),
            Self::AddAddress(address) => write!(f, "add address {address}"),
            Self::RemoveAddress(address) => write!(f, "remove address {address}"),
            Self::AddRoute(r) => route(f, "add", r),
            Self::RemoveRoute(r) => route(f, "remove", r),
            Self::AddPeer(key, peer) => {
                write!(
                    f,
                    "add peer {}, addresses {}, keepalive {} s",
                    Short(key),
                    List(&peer.allowed),
                    peer.keepalive
                )?;
                match peer.endpoint {
                    Some(endpoint) => write!(f, ", at {endpoint}"),
                    None => Ok(()),
                }
            }
            Self::RemovePeer(key) => write!(f, "remove peer {}", Short(key)),
            Self::AllowMore(key, more) => write!(f, "allow peer {} also {}", Short(key), List(more)),
            Self::SetAllowed(key, allowed) => {
                write!(f, "allow peer {} exactly {}", Short(key), List(allowed))
            }
            Self::SetKeepalive(key, keepalive) => {
                write!(f, "set keepalive of peer {} to {keepalive} s", Short(key))
            }
            Self::SetEndpoint(key, endpoint) => write!(f, "send to peer {} at {endpoint}", Short(key)),
            Self::Poke(key, _) => write!(f, "send a packet to peer {} at once", Short(key)),
            Self::Around(around) => around.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sysctl;

    #[test]
    fn each_op_is_one_clear_line() {
        let key = WgPublicKey::from_bytes([0; 32]);
        let peer = DesiredPeer {
            allowed: BTreeSet::from(["10.0.0.2/32".parse().unwrap(), "fd00::2/128".parse().unwrap()]),
            keepalive: Keepalive::DEFAULT,
            endpoint: Some("192.0.2.1:51820".parse().unwrap()),
        };
        let name = "AAAAAAAA…";
        let line = |op: Op| op.to_string().replace(name, "KEY");
        assert_eq!(line(Op::CreateLink(LinkKind::Kernel)), "create link, kernel WireGuard");
        assert_eq!(
            line(Op::AddPeer(key, peer)),
            "add peer KEY, addresses 10.0.0.2/32, fd00::2/128, keepalive 20 s, at 192.0.2.1:51820"
        );
        assert_eq!(line(Op::SetAllowed(key, BTreeSet::new())), "allow peer KEY exactly none");
        let route = Route::ours("10.0.0.0/24".parse().unwrap(), "10.0.0.1".parse().unwrap());
        assert_eq!(line(Op::AddRoute(route)), "add route 10.0.0.0/24 from 10.0.0.1");
        let tunnel = route.in_table(crate::TUNNEL_TABLE);
        assert_eq!(line(Op::RemoveRoute(tunnel)), "remove route 10.0.0.0/24 from 10.0.0.1 in table 20044");
        assert_eq!(
            line(Around::SetSysctl(Sysctl::new("net/ipv4/ip_forward", "1")).into()),
            "set net/ipv4/ip_forward to 1"
        );
        assert_eq!(line(Op::Poke(key, Keepalive::DEFAULT)), "send a packet to peer KEY at once");
    }
}
