//! What happens to the machine's network, and to our firewall, while one is not looking: notices that something changed.
//!
//! Not for what changed: the kernel is asked again for that. It keeps true that nothing piles up: whatever happened since
//! the last notice is one notice, and when the kernel had to drop messages the notice says that everything may be other.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use reconcile::LinkName;
use rtnetlink::constants::{
    RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV4_RULE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE,
    RTMGRP_LINK,
};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::sys::{AsyncSocket as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use rustix::io::Errno;

use super::machine::Machine;
use super::nft::FirewallWatch;
use super::{netlink, routes, rules};
use crate::options::Notice;
use crate::words;

/// The group of IPv6 rules, number 19, has no name of the old kind.
const IPV6_RULE: u32 = 1 << 18;
const GROUPS: u32 = RTMGRP_LINK
    | RTMGRP_IPV4_IFADDR
    | RTMGRP_IPV6_IFADDR
    | RTMGRP_IPV4_ROUTE
    | RTMGRP_IPV6_ROUTE
    | RTMGRP_IPV4_RULE
    | IPV6_RULE;
/// The largest datagram that the kernel sends.
const LARGEST: usize = 64 << 10;
/// Datagrams that are taken together into one notice at most.
const TOGETHER: usize = 256;

const EVERYTHING: Notice = Notice { ours: true, others: true };
const OURS: Notice = Notice { ours: true, others: false };

/// An open ear.
pub struct Watch {
    network: Ear,
    /// None where the kernel has no nf_tables.
    firewall: Option<FirewallWatch>,
}

/// An ear for links, addresses, routes and rules.
struct Ear {
    link: LinkName,
    /// The index of our link while it exists.
    index: Option<u32>,
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl Machine {
    /// Notices from now on. Look at the machine after this, so that nothing falls in between.
    pub async fn watch(&self) -> anyhow::Result<Watch> {
        let socket =
            listen().map_err(|error| words::could_not("listen to the kernel's netlink notices", error))?;
        let index = self.netlink.link(self.link.as_str()).await;
        let index =
            index.map_err(|error| words::could_not("look at our interface", error))?.map(|link| link.index);
        let network = Ear { link: self.link.clone(), index, socket, buffer: Vec::with_capacity(LARGEST) };
        let firewall = match &self.firewall {
            Ok(table) => Some(table.watch()?),
            Err(_) => None,
        };
        Ok(Watch { network, firewall })
    }
}

fn listen() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    socket.socket_mut().bind(&SocketAddr::new(0, GROUPS))?;
    Ok(socket)
}

impl Watch {
    /// Waits until something changed. Nothing is lost when this is cancelled: what was heard is returned at once.
    pub async fn changed(&mut self) -> anyhow::Result<Notice> {
        tokio::select! {
            notice = self.network.changed() => notice,
            changed = firewall_changed(&mut self.firewall) => changed.map(|()| OURS),
        }
    }
}

async fn firewall_changed(watch: &mut Option<FirewallWatch>) -> anyhow::Result<()> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

impl Ear {
    async fn changed(&mut self) -> anyhow::Result<Notice> {
        let notice = poll_fn(|context| {
            let mut notice = Notice::default();
            for _ in 0..TOGETHER {
                self.buffer.clear();
                match self.socket.poll_recv(context, &mut self.buffer) {
                    Poll::Pending if notice == Notice::default() => return Poll::Pending,
                    Poll::Pending => break,
                    Poll::Ready(Ok(())) => self.hear(&mut notice),
                    Poll::Ready(Err(error)) if words::is(&error, &[Errno::NOBUFS]) => notice = EVERYTHING,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
            Poll::Ready(Ok(notice))
        });
        notice.await.map_err(|error| words::could_not("listen to the kernel's netlink notices", error))
    }

    /// One datagram, with any number of messages in it.
    fn hear(&mut self, notice: &mut Notice) {
        let mut rest = std::mem::take(&mut self.buffer);
        let mut at = 0;
        while let Some(length) = length_of(&rest[at..]) {
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&rest[at..at + length]) {
                Ok(message) => self.understand(message, notice),
                // Of a newer kernel. Better to look once too often.
                Err(_) => *notice = EVERYTHING,
            }
            at = (at + length.next_multiple_of(4)).min(rest.len());
        }
        rest.clear();
        self.buffer = rest;
    }

    fn understand(&mut self, message: NetlinkMessage<RouteNetlinkMessage>, notice: &mut Notice) {
        let NetlinkPayload::InnerMessage(message) = message.payload else {
            return;
        };
        let ours = match &message {
            RouteNetlinkMessage::NewLink(link) => self.link_changed(link),
            RouteNetlinkMessage::DelLink(link) => self.link_gone(link),
            RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address) => {
                self.index == Some(address.header.index)
            }
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                self.is_over_ours(route) || routes::is_in_our_table(route)
            }
            RouteNetlinkMessage::NewRule(rule) | RouteNetlinkMessage::DelRule(rule) => {
                rules::has_our_priority(rule)
            }
            _ => return,
        };
        notice.ours |= ours;
        notice.others |= !ours;
    }

    fn link_changed(&mut self, message: &LinkMessage) -> bool {
        let link = netlink::parse(message);
        if link.name == self.link.as_str() {
            self.index = Some(link.index);
            return true;
        }
        // Ours under another name now: somebody renamed it.
        self.index.take_if(|index| *index == link.index).is_some()
    }

    fn link_gone(&mut self, message: &LinkMessage) -> bool {
        self.index.take_if(|index| *index == message.header.index).is_some()
    }

    fn is_over_ours(&self, route: &RouteMessage) -> bool {
        let over = |attribute: &RouteAttribute| matches!(attribute, RouteAttribute::Oif(link) if self.index == Some(*link));
        route.attributes.iter().any(over)
    }
}

/// The length of the first message, if there is a whole one.
fn length_of(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?);
    let length = usize::try_from(length).ok()?;
    (16..=bytes.len()).contains(&length).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_do_not_fit_end_the_datagram() {
        let mut bytes = vec![0; 32];
        bytes[..4].copy_from_slice(&32u32.to_ne_bytes());
        assert_eq!(length_of(&bytes), Some(32));
        bytes[..4].copy_from_slice(&33u32.to_ne_bytes());
        assert_eq!(length_of(&bytes), None);
        bytes[..4].copy_from_slice(&15u32.to_ne_bytes());
        assert_eq!(length_of(&bytes), None);
        assert_eq!(length_of(&[]), None);
    }
}
