//! Datagrams: many are read at once, answered, and sent at once.
//!
//! Not for what the answers say. It keeps true that a reply leaves from the address that was asked, and that a question
//! for an upstream holds up nobody else.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Weak};
use std::time::Duration;

use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, SockaddrIn6,
    SockaddrLike, SockaddrStorage, recvmmsg, sendmsg,
};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::debug;

use crate::answer::{Answer, Transport, answer};
use crate::serve::Shared;
use crate::stats::Counts;

/// How many datagrams are read at once.
const BATCH: usize = 32;
/// The longest request that is read; longer ones are no questions.
const LONGEST_REQUEST: usize = 2048;
/// How long to wait when a socket cannot be read, so that an error that stays does not keep us busy.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// One socket.
pub(crate) struct Port {
    socket: UdpSocket,
    address: SocketAddr,
}

/// Who sent a datagram, and to which of our addresses where the socket has several.
#[derive(Debug, Clone, Copy)]
struct Sender {
    address: SocketAddr,
    asked: Option<Asked>,
}

/// The address that was asked.
#[derive(Debug, Clone, Copy)]
enum Asked {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

/// Reads and answers until it is dropped.
pub(crate) async fn serve(socket: UdpSocket, address: SocketAddr, shared: Arc<Shared>) {
    let port = Arc::new(Port { socket, address });
    let mut buffers = vec![0; BATCH * LONGEST_REQUEST];
    let mut arrived = Vec::with_capacity(BATCH);
    let mut replies = Replies::default();
    loop {
        match port.receive(&mut buffers, &mut arrived).await {
            Ok(()) => answer_all(&port, &shared, &buffers, &arrived, &mut replies),
            Err(error) => {
                debug!(%address, %error, "a socket cannot be read");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

/// The replies to one batch; their memory is used again.
#[derive(Default)]
struct Replies {
    texts: Vec<Vec<u8>>,
    senders: Vec<Sender>,
}

fn answer_all(
    port: &Arc<Port>,
    shared: &Arc<Shared>,
    buffers: &[u8],
    arrived: &[Arrived],
    replies: &mut Replies,
) {
    let mut counts = Counts { queries: arrived.len() as u64, ..Counts::default() };
    replies.senders.clear();
    let names = shared.names.load();
    for (Arrived { length, sender }, buffer) in arrived.iter().zip(buffers.chunks(LONGEST_REQUEST)) {
        let Some(request) = length.and_then(|length| buffer.get(..length)) else {
            counts.failed += 1;
            continue;
        };
        let place = replies.senders.len();
        if replies.texts.len() == place {
            replies.texts.push(Vec::new());
        }
        let text = &mut replies.texts[place];
        match answer(&names, request, shared.terms(sender.address.ip(), Transport::Udp), text) {
            Answer::Reply => {
                counts.count_reply(text);
                replies.senders.push(*sender);
            }
            Answer::Forward(foreign) => {
                let (port, sender) = (Arc::downgrade(port), *sender);
                let send = move |reply: Vec<u8>| later(&port, &reply, sender);
                shared.forward(sender.address.ip(), *foreign, Transport::Udp, send);
            }
            Answer::Drop => counts.failed += 1,
        }
    }
    shared.stats.add(counts);
    port.send_all(replies);
}

/// Sends when the upstream has answered, unless the address is given up by then.
fn later(port: &Weak<Port>, reply: &[u8], sender: Sender) {
    if let Some(port) = port.upgrade() {
        port.send(reply, sender);
    }
}

/// One datagram that was read.
struct Arrived {
    /// None where it was longer than a request may be.
    length: Option<usize>,
    sender: Sender,
}

impl Port {
    async fn receive(&self, buffers: &mut [u8], arrived: &mut Vec<Arrived>) -> io::Result<()> {
        arrived.clear();
        let is_any = self.address.ip().is_unspecified();
        let receive = || match (self.address, is_any) {
            (SocketAddr::V4(_), false) => self.receive_now::<SockaddrIn>(buffers, arrived, None),
            (SocketAddr::V6(_), false) => self.receive_now::<SockaddrIn6>(buffers, arrived, None),
            (SocketAddr::V4(_), true) => {
                self.receive_now::<SockaddrIn>(buffers, arrived, Some(nix::cmsg_space!(in_pktinfo)))
            }
            (SocketAddr::V6(_), true) => {
                self.receive_now::<SockaddrIn6>(buffers, arrived, Some(nix::cmsg_space!(in6_pktinfo)))
            }
        };
        self.socket.async_io(Interest::READABLE, receive).await
    }

    fn receive_now<S: SockaddrLike + Copy + Into<SocketAddr>>(
        &self,
        buffers: &mut [u8],
        arrived: &mut Vec<Arrived>,
        room: Option<Vec<u8>>,
    ) -> io::Result<()> {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            buffers.chunks_mut(LONGEST_REQUEST).map(|chunk| [IoSliceMut::new(chunk)]).collect();
        let mut headers = MultiHeaders::<S>::preallocate(slices.len(), room);
        let flags = MsgFlags::MSG_DONTWAIT;
        let messages = recvmmsg(self.socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None)?;
        arrived.extend(messages.filter_map(|message| {
            let address = message.address?.into();
            let is_whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
            Some(Arrived {
                length: is_whole.then_some(message.bytes),
                sender: Sender { address, asked: asked(&message) },
            })
        }));
        Ok(())
    }

    /// Sends one datagram. Where the kernel has no room for it, it is lost, as datagrams are.
    fn send(&self, reply: &[u8], sender: Sender) {
        let address = SockaddrStorage::from(sender.address);
        let of_v4;
        let of_v6;
        let control = match sender.asked {
            None => None,
            Some(Asked::V4(info)) => {
                of_v4 = info;
                Some(ControlMessage::Ipv4PacketInfo(&of_v4))
            }
            Some(Asked::V6(info)) => {
                of_v6 = info;
                Some(ControlMessage::Ipv6PacketInfo(&of_v6))
            }
        };
        let sent = sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(reply)],
            control.as_slice(),
            MsgFlags::MSG_DONTWAIT,
            Some(&address),
        );
        if let Err(error) = sent {
            debug!(address = %self.address, %error, "a reply cannot be sent");
        }
    }

    fn send_all(&self, replies: &Replies) {
        let both = replies.senders.iter().zip(&replies.texts);
        if self.address.ip().is_unspecified() || replies.senders.len() == 1 {
            return both.for_each(|(sender, text)| self.send(text, *sender));
        }
        let slices: Vec<[IoSlice<'_>; 1]> = both.map(|(_, text)| [IoSlice::new(text)]).collect();
        let addresses: Vec<SocketAddrAny> =
            replies.senders.iter().map(|sender| sender.address.into()).collect();
        let mut no_control: Vec<_> = slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let parts = slices.iter().zip(&addresses).zip(&mut no_control);
        let mut messages: Vec<MMsgHdr<'_>> =
            parts.map(|((slice, address), none)| MMsgHdr::new_with_addr(address, slice, none)).collect();
        let mut rest = &mut messages[..];
        while !rest.is_empty() {
            // The kernel stops at one that it cannot send; that one is lost, and the others go on.
            let sent = match sendmmsg(&self.socket, rest, SendFlags::DONTWAIT) {
                Ok(sent) => sent.max(1),
                Err(error) => {
                    debug!(address = %self.address, %error, "a reply cannot be sent");
                    1
                }
            };
            rest = rest.get_mut(sent..).unwrap_or_default();
        }
    }
}

/// Which of our addresses was asked, made ready for sending from it.
fn asked<S>(message: &RecvMsg<'_, '_, S>) -> Option<Asked> {
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Asked::V4(in_pktinfo {
            ipi_ifindex: 0,
            ipi_addr: info.ipi_addr,
            ipi_spec_dst: info.ipi_spec_dst,
        })),
        ControlMessageOwned::Ipv6PacketInfo(mut info) => {
            // Only an address of one link says nothing without it; others may leave by another link than they came.
            if !Ipv6Addr::from(info.ipi6_addr.s6_addr).is_unicast_link_local() {
                info.ipi6_ifindex = 0;
            }
            Some(Asked::V6(info))
        }
        _other => None,
    })
}
