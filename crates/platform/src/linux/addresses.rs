//! Addresses of links.
//!
//! Not for choosing which a link should have, nor which of the machine's are told to others (`local`). It keeps true that
//! an address is added and removed with exactly its prefix.

use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::AddressMessageBuilder;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use rustix::io::Errno;

use super::netlink::{FAMILIES, Netlink, refusal};
use crate::words;

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    /// The link.
    pub(super) link: u32,
    /// The address with its prefix.
    pub(super) net: IpNet,
    /// Whether it is valid beyond its link.
    pub(super) global: bool,
    /// Whether others can rely on it: it is neither deprecated, nor temporary (RFC 8981), nor still or in vain checked
    /// for duplicates.
    pub(super) lasting: bool,
}

impl Netlink {
    /// The addresses of one link, or of all.
    pub(super) async fn addresses(&self, link: Option<u32>) -> io::Result<Vec<Address>> {
        let mut all = Vec::new();
        for family in FAMILIES {
            let mut request = self.handle.address().get();
            request.message_mut().header.family = family;
            request.message_mut().header.index = link.unwrap_or(0);
            let listed: Result<Vec<AddressMessage>, _> = request.execute().try_collect().await;
            let listed = match listed.map_err(refusal) {
                // A kernel without IPv6, or a link that went in between.
                Err(error) if words::is(&error, &[Errno::OPNOTSUPP, Errno::AFNOSUPPORT, Errno::NODEV]) => {
                    continue;
                }
                listed => listed?,
            };
            let listed = listed.iter().filter(|message| message.header.family == family);
            all.extend(
                listed.filter_map(parse).filter(|address| link.is_none_or(|link| address.link == link)),
            );
        }
        Ok(all)
    }

    pub(super) async fn add_address(&self, link: u32, net: IpNet) -> io::Result<()> {
        let mut request = self.handle.address().add(link, net.addr(), net.prefix_len());
        if net.addr().is_ipv6() {
            // A tunnel has no neighbours with the same address, and until a search for them ends the kernel takes no
            // route from it.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        words::unless(request.execute().await.map_err(refusal), &[Errno::EXIST])
    }

    pub(super) async fn remove_address(&self, link: u32, net: IpNet) -> io::Result<()> {
        let removed = self.handle.address().del(removal(link, net)).execute().await;
        words::unless(removed.map_err(refusal), &[Errno::ADDRNOTAVAIL, Errno::NODEV])
    }
}

fn removal(link: u32, net: IpNet) -> AddressMessage {
    match net {
        IpNet::V4(v4) => AddressMessageBuilder::<std::net::Ipv4Addr>::new()
            .index(link)
            .address(v4.addr(), v4.prefix_len())
            .build(),
        IpNet::V6(v6) => AddressMessageBuilder::<std::net::Ipv6Addr>::new()
            .index(link)
            .address(v6.addr(), v6.prefix_len())
            .build(),
    }
}

fn parse(message: &AddressMessage) -> Option<Address> {
    let (mut own, mut other_end) = (None, None);
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Address(address) => other_end = Some(*address),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    // On a link with two ends `Address` is the far one; elsewhere IPv6 gives only that.
    let ip = own.or(other_end)?;
    let fleeting = AddressFlags::Deprecated | AddressFlags::Dadfailed | AddressFlags::Tentative;
    // The flag that means temporary for IPv6 means a second address in the same range for IPv4.
    let temporary = ip.is_ipv6() && flags.contains(AddressFlags::Secondary);
    Some(Address {
        link: message.header.index,
        net: IpNet::new(ip, message.header.prefix_len).ok()?,
        global: message.header.scope == AddressScope::Universe && !is_link_local(ip),
        lasting: !flags.intersects(fleeting) && !temporary,
    })
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(net: &str, flags: AddressFlags) -> AddressMessage {
        let mut message = removal(3, net.parse().unwrap());
        message.attributes.push(AddressAttribute::Flags(flags));
        message
    }

    #[test]
    fn addresses_that_others_cannot_rely_on_are_marked() {
        let lasting = |net: &str, flags| parse(&message(net, flags)).unwrap().lasting;
        assert!(lasting("2001:db8::5/64", AddressFlags::Permanent));
        assert!(!lasting("2001:db8::5/64", AddressFlags::Deprecated));
        assert!(!lasting("2001:db8::5/64", AddressFlags::Secondary));
        assert!(!lasting("2001:db8::5/64", AddressFlags::Permanent | AddressFlags::Dadfailed));
        assert!(lasting("192.0.2.5/24", AddressFlags::Secondary));
    }

    #[test]
    fn the_own_end_counts_and_the_prefix_is_kept() {
        let mut both = message("10.0.0.1/32", AddressFlags::Permanent);
        both.attributes.insert(0, AddressAttribute::Address("10.0.0.2".parse().unwrap()));
        let address = parse(&both).unwrap();
        assert_eq!((address.link, address.net), (3, "10.0.0.1/32".parse().unwrap()));
        assert!(!parse(&message("169.254.1.1/16", AddressFlags::Permanent)).unwrap().global);
        assert!(!parse(&message("fe80::1/64", AddressFlags::Permanent)).unwrap().global);
    }
}
