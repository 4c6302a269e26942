//! Routes out of a link, and those of a full tunnel that lead nowhere.
//!
//! Not for choosing them. It keeps true that a route of somebody else's is neither replaced nor removed: adding is
//! exclusive, and removing names destination, metric, protocol and link.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use reconcile::{Family, RANGE_TABLE, ROUTE_PROTOCOL, ROUTE_TABLE, Route, TUNNEL_TABLE, UNREACHABLE_METRIC};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope, RouteType,
};
use rustix::io::Errno;

use super::netlink::{FAMILIES, Netlink, refusal};
use crate::words;

/// The metric that the kernel gives IPv6 routes without one.
const IPV6_METRIC: u32 = 1024;

impl Netlink {
    /// The routes out of a link in our tables, whoever made them.
    pub(super) async fn routes(&self, link: u32) -> io::Result<BTreeSet<Route>> {
        let mut all = BTreeSet::new();
        for family in FAMILIES {
            let mut wanted = RouteMessage::default();
            wanted.header.address_family = family;
            wanted.attributes.push(RouteAttribute::Oif(link));
            let listed: Result<Vec<RouteMessage>, _> =
                self.handle.route().get(wanted).execute().try_collect().await;
            let listed = match listed.map_err(refusal) {
                // A kernel without IPv6, a table without routes, or a link that went in between.
                Err(error)
                    if words::is(
                        &error,
                        &[Errno::OPNOTSUPP, Errno::AFNOSUPPORT, Errno::NOENT, Errno::NODEV],
                    ) =>
                {
                    continue;
                }
                listed => listed?,
            };
            all.extend(listed.iter().filter_map(|message| parse(message, link)));
        }
        Ok(all)
    }

    /// The links that a default route goes out of.
    pub(super) async fn default_route_links(&self) -> io::Result<BTreeSet<u32>> {
        let mut links = BTreeSet::new();
        for family in FAMILIES {
            let mut wanted = RouteMessage::default();
            wanted.header.address_family = family;
            let listed: Result<Vec<RouteMessage>, _> =
                self.handle.route().get(wanted).execute().try_collect().await;
            let listed = match listed.map_err(refusal) {
                Err(error) if words::is(&error, &[Errno::OPNOTSUPP, Errno::AFNOSUPPORT, Errno::NOENT]) => {
                    continue;
                }
                listed => listed?,
            };
            let defaults = listed.iter().filter(|message| {
                message.header.destination_prefix_length == 0
                    && message.header.kind == RouteType::Unicast
                    && table(message) == ROUTE_TABLE
            });
            links.extend(defaults.flat_map(outgoing));
        }
        Ok(links)
    }

    /// Adds a route. Fails with `EXIST` where somebody else has one with the same destination and metric.
    pub(super) async fn add_route(&self, link: u32, route: &Route) -> io::Result<()> {
        let added = self.handle.route().add(message(link, route)).execute().await.map_err(refusal);
        match added {
            Err(error) if words::is(&error, &[Errno::EXIST]) && self.routes(link).await?.contains(route) => {
                Ok(())
            }
            added => added,
        }
    }

    /// The families whose default route in the tunnel's table is unreachable, by us.
    pub(super) async fn unreachable(&self) -> io::Result<BTreeSet<Family>> {
        let mut there = BTreeSet::new();
        for (family, address_family) in Family::ALL.into_iter().zip(FAMILIES) {
            let mut wanted = RouteMessage::default();
            wanted.header.address_family = address_family;
            wanted.attributes.push(RouteAttribute::Table(TUNNEL_TABLE));
            let listed: Result<Vec<RouteMessage>, _> =
                self.handle.route().get(wanted).execute().try_collect().await;
            let listed = match listed.map_err(refusal) {
                Err(error) if words::is(&error, &[Errno::OPNOTSUPP, Errno::AFNOSUPPORT, Errno::NOENT]) => {
                    continue;
                }
                listed => listed?,
            };
            if listed.iter().any(is_nowhere) {
                there.insert(family);
            }
        }
        Ok(there)
    }

    /// Adds the default route to nowhere.
    pub(super) async fn add_unreachable(&self, family: Family) -> io::Result<()> {
        let added = self.handle.route().add(nowhere(family)).execute().await.map_err(refusal);
        match added {
            Err(error)
                if words::is(&error, &[Errno::EXIST]) && self.unreachable().await?.contains(&family) =>
            {
                Ok(())
            }
            added => added,
        }
    }

    /// Removes it.
    pub(super) async fn remove_unreachable(&self, family: Family) -> io::Result<()> {
        let removed = self.handle.route().del(nowhere(family)).execute().await.map_err(refusal);
        words::unless(removed, &[Errno::SRCH, Errno::NOENT, Errno::OPNOTSUPP, Errno::AFNOSUPPORT])
    }

    /// Removes exactly this route.
    pub(super) async fn remove_route(&self, link: u32, route: &Route) -> io::Result<()> {
        let removed = self.handle.route().del(message(link, route)).execute().await.map_err(refusal);
        words::unless(removed, &[Errno::SRCH, Errno::NODEV])
    }
}

fn message(link: u32, route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.destination_prefix_length = route.destination.prefix_len();
    // A table whose number does not fit is in an attribute.
    header.table = u8::try_from(route.table).unwrap_or(0);
    header.protocol = route.protocol.into();
    header.kind = RouteType::Unicast;
    // IPv4 wants to hear that there is no gateway in between; IPv6 knows no scopes of routes.
    (header.address_family, header.scope) = match route.destination {
        IpNet::V4(_) => (AddressFamily::Inet, RouteScope::Link),
        IpNet::V6(_) => (AddressFamily::Inet6, RouteScope::Universe),
    };
    message.attributes = vec![
        RouteAttribute::Destination(route.destination.network().into()),
        RouteAttribute::Oif(link),
        RouteAttribute::Priority(route.metric),
    ];
    if message.header.table == 0 {
        message.attributes.push(RouteAttribute::Table(route.table));
    }
    message.attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
    message
}

/// The default route to nowhere, below all others of the tunnel's table.
fn nowhere(family: Family) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    message.header.protocol = ROUTE_PROTOCOL.into();
    message.header.kind = RouteType::Unreachable;
    message.header.scope = RouteScope::Universe;
    message.attributes =
        vec![RouteAttribute::Table(TUNNEL_TABLE), RouteAttribute::Priority(UNREACHABLE_METRIC)];
    message
}

fn is_nowhere(message: &RouteMessage) -> bool {
    let header = &message.header;
    header.kind == RouteType::Unreachable
        && header.destination_prefix_length == 0
        && u8::from(header.protocol) == ROUTE_PROTOCOL
        && table(message) == TUNNEL_TABLE
}

fn table(message: &RouteMessage) -> u32 {
    let long = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    long.unwrap_or(message.header.table.into())
}

/// Whether it is in a table that is ours alone.
pub(super) fn is_in_our_table(message: &RouteMessage) -> bool {
    matches!(table(message), RANGE_TABLE | TUNNEL_TABLE)
}

fn outgoing(message: &RouteMessage) -> Vec<u32> {
    let links = message.attributes.iter().flat_map(|attribute| match attribute {
        RouteAttribute::Oif(link) => vec![*link],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    });
    links.collect()
}

fn parse(message: &RouteMessage, link: u32) -> Option<Route> {
    let RouteHeader { address_family: family, destination_prefix_length: length, protocol, kind, .. } =
        message.header;
    let table = table(message);
    let ours = matches!(table, ROUTE_TABLE | RANGE_TABLE | TUNNEL_TABLE);
    if kind != RouteType::Unicast || !ours || outgoing(message) != [link] {
        return None;
    }
    let (mut destination, mut metric) = match family {
        AddressFamily::Inet => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        AddressFamily::Inet6 => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IPV6_METRIC),
        _ => return None,
    };
    let mut source = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => destination = address(to)?,
            RouteAttribute::PrefSource(from) => source = address(from),
            RouteAttribute::Priority(number) => metric = *number,
            _ => {}
        }
    }
    Some(Route {
        destination: IpNet::new(destination, length).ok()?,
        source,
        metric,
        protocol: protocol.into(),
        table,
    })
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_reads_back_from_its_message() {
        for (destination, source) in
            [("10.20.0.0/16", "10.20.0.5"), ("fd20::/64", "fd20::5"), ("0.0.0.0/0", "10.20.0.5")]
        {
            let route = Route::ours(destination.parse().unwrap(), source.parse().unwrap());
            let message = message(7, &route);
            assert_eq!(parse(&message, 7), Some(route));
            assert_eq!(parse(&message, 8), None, "another link's");
            for table in [RANGE_TABLE, TUNNEL_TABLE] {
                let elsewhere = route.in_table(table);
                assert_eq!(parse(&super::message(7, &elsewhere), 7), Some(elsewhere));
            }
        }
    }

    #[test]
    fn the_way_to_nowhere_is_known_again() {
        for family in Family::ALL {
            let mut message = nowhere(family);
            assert!(is_nowhere(&message));
            message.header.protocol = 3.into();
            assert!(!is_nowhere(&message));
        }
    }

    #[test]
    fn routes_of_other_tables_and_kinds_are_not_ours_to_see() {
        let route = Route::ours("10.20.0.0/16".parse().unwrap(), "10.20.0.5".parse().unwrap());
        let mut elsewhere = message(7, &route);
        elsewhere.attributes.push(RouteAttribute::Table(1000));
        assert_eq!(parse(&elsewhere, 7), None);
        let mut blackhole = message(7, &route);
        blackhole.header.kind = RouteType::BlackHole;
        assert_eq!(parse(&blackhole, 7), None);
    }
}
