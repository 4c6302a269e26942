//! NAT boxes: routers that do to packets what the boxes in homes, offices and mobile networks do.
//!
//! Not for carrier-grade details such as port ranges or hairpinning, which none of these does. Keeps true that a box behaves the same
//! for IPv4 and IPv6, and that a packet it refuses leaves no trace in it: a peer that knocks too early spoils nothing.

use anyhow::Result;

use super::link::{Link, Switch};
use super::machine::Machine;

/// How a box maps and filters, in the words of RFC 4787.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatKind {
    /// Full cone: one mapping for each inner socket; anybody may send to it. Two inner sockets must not share a port.
    FullCone,
    /// One mapping for each inner socket; only addresses it has sent to may answer, from any port. Ports as above.
    AddressRestricted,
    /// One mapping for each inner socket; only those it has sent to may answer. Most homes. When two inner machines use
    /// the same port towards the same peer, the second gets another one, as with Linux routers everywhere.
    PortRestricted,
    /// Another mapping, with a random port, for each peer; only that peer may answer.
    Symmetric,
    /// As port-restricted for TCP and ping; no UDP passes in either direction.
    UdpBlocked,
    /// A plain router: nothing is translated, nothing refused.
    Router,
}

/// Where a box stands.
#[derive(Debug, Clone, Copy)]
pub struct NatPlan<'a> {
    /// What it does.
    pub kind: NatKind,
    /// The switch of those it protects.
    pub inside: &'a Switch,
    /// Its addresses there, which are the gateways of those behind it.
    pub inside_addresses: &'a [&'a str],
    /// The switch of the others.
    pub outside: &'a Switch,
    /// Its public addresses.
    pub outside_addresses: &'a [&'a str],
    /// The routers it sends the rest to, if there are any.
    pub gateways: &'a [&'a str],
}

/// A NAT box.
#[derive(Debug, Clone)]
pub struct Nat {
    machine: Machine,
    inside: Link,
    outside: Link,
}

impl Nat {
    pub(crate) fn create(machine: Machine, plan: &NatPlan<'_>) -> Result<Self> {
        let inside = machine.attach_as("inside", plan.inside, plan.inside_addresses, &[])?;
        let outside = machine.attach_as("outside", plan.outside, plan.outside_addresses, plan.gateways)?;
        let nat = Self { machine, inside, outside };
        nat.set_kind(plan.kind)?;
        Ok(nat)
    }

    /// Makes the box behave in another way from now on.
    pub fn set_kind(&self, kind: NatKind) -> Result<()> {
        let script =
            "set -e; echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
            for each in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $each; done";
        self.machine.run("sh", ["-c", script])?;
        self.machine.write("/etc/nftables.conf", &rules(kind))?;
        self.machine.run("nft", ["-f", "/etc/nftables.conf"]).map(drop)
    }

    /// Gives the box other public addresses, as providers do over night; mappings on the old ones are lost.
    pub fn set_public(&self, addresses: &[&str], gateways: &[&str]) -> Result<()> {
        self.outside.set_addresses(addresses, gateways)
    }

    /// How long the box remembers a mapping without traffic.
    pub fn set_udp_memory(&self, seconds: u32) -> Result<()> {
        let script = r#"set -e; for each in udp_timeout udp_timeout_stream; do
            echo "$1" > /proc/sys/net/netfilter/nf_conntrack_$each; done"#;
        self.machine.run("sh", ["-c", script, "set", &seconds.to_string()]).map(drop)
    }

    /// The link to those it protects.
    pub fn inside(&self) -> &Link {
        &self.inside
    }

    /// The link to the others.
    pub fn outside(&self) -> &Link {
        &self.outside
    }

    /// The box as a machine, to run tools on it.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }
}

/// Which inner machine owns a port, and to whom each has sent; for the kinds that let strangers in.
const MEMORY: &str = "
  map owner4 { type inet_service : ipv4_addr; flags dynamic,timeout; timeout 2m; }
  map owner6 { type inet_service : ipv6_addr; flags dynamic,timeout; timeout 2m; }
  set asked4 { type inet_service . ipv4_addr; flags dynamic,timeout; timeout 2m; }
  set asked6 { type inet_service . ipv6_addr; flags dynamic,timeout; timeout 2m; }
  chain remember {
    type filter hook prerouting priority mangle;
    iifname inside meta nfproto ipv4 meta l4proto udp update @owner4 { udp sport : ip saddr } update @asked4 { udp sport . ip daddr }
    iifname inside meta nfproto ipv6 meta l4proto udp update @owner6 { udp sport : ip6 saddr } update @asked6 { udp sport . ip6 daddr }
  }";

/// The rules of one kind, replacing those of any other.
fn rules(kind: NatKind) -> String {
    let (memory, enter) = match kind {
        NatKind::FullCone => (MEMORY, ["", ""]),
        NatKind::AddressRestricted => {
            (MEMORY, ["udp dport . ip saddr @asked4", "udp dport . ip6 saddr @asked6"])
        }
        NatKind::PortRestricted | NatKind::Symmetric | NatKind::UdpBlocked => ("", ["", ""]),
        NatKind::Router => return "table inet nat { }\ndelete table inet nat\n".to_owned(),
    };
    let enter = if memory.is_empty() {
        String::new()
    } else {
        format!(
            "chain enter {{ type nat hook prerouting priority dstnat;
    iifname outside meta nfproto ipv4 {} dnat ip to udp dport map @owner4
    iifname outside meta nfproto ipv6 {} dnat ip6 to udp dport map @owner6
  }}",
            enter[0], enter[1]
        )
    };
    let udp = if kind == NatKind::UdpBlocked { "meta l4proto udp drop" } else { "" };
    let random = if kind == NatKind::Symmetric { "random,fully-random" } else { "" };
    // What is refused is dropped before the box remembers it: else its own answer's mapping would be in the way of a
    // mapping that is made a moment later.
    format!(
        "table inet nat {{ }}
delete table inet nat
table inet nat {{{memory}
  {enter}
  chain knock {{
    type filter hook input priority filter;
    iifname outside icmp type echo-request accept
    iifname outside icmpv6 type {{ echo-request, nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} accept
    iifname outside ct state new,invalid drop
  }}
  chain pass {{
    type filter hook forward priority filter; policy drop;
    {udp}
    ct state established,related accept
    iifname inside accept
    ct status dnat accept
  }}
  chain leave {{
    type nat hook postrouting priority srcnat;
    oifname outside masquerade {random}
  }}
}}
"
    )
}
