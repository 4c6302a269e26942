//! Notices that somebody changed our table.
//!
//! Not for what changed: `FirewallTable::look` tells that. It keeps true that other programs' tables, however often they
//! change, wake nobody, and that when the kernel had to drop messages it counts as a change.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use rtnetlink::sys::{AsyncSocket as _, SocketAddr, TokioSocket};
use rustix::io::Errno;

use super::message::{received, text};
use super::number;
use crate::words;

/// The kernel's group of notices about nf_tables.
const GROUP: u32 = 7;
/// The attribute that names the table, in messages of all kinds.
const TABLE: u16 = 1;
/// The largest datagram that the kernel sends.
const LARGEST: usize = 64 << 10;

/// An open ear.
pub struct FirewallWatch {
    table: String,
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl FirewallWatch {
    pub(super) fn open(table: &str) -> io::Result<Self> {
        let mut socket = TokioSocket::new(number::NETLINK_NETFILTER)?;
        socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
        socket.socket_mut().add_membership(GROUP)?;
        Ok(Self { table: table.to_owned(), socket, buffer: Vec::with_capacity(LARGEST) })
    }

    /// Waits until our table changed, by our own hands or by others. Nothing is lost when this is cancelled: what was
    /// heard is returned at once.
    pub async fn changed(&mut self) -> anyhow::Result<()> {
        let heard = poll_fn(|context| {
            loop {
                self.buffer.clear();
                match self.socket.poll_recv(context, &mut self.buffer) {
                    Poll::Ready(Ok(())) if !self.is_about_ours() => {}
                    Poll::Ready(Err(error)) if !words::is(&error, &[Errno::NOBUFS]) => {
                        return Poll::Ready(Err(error));
                    }
                    Poll::Ready(_) => return Poll::Ready(Ok(())),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        heard.await.map_err(|error| words::could_not("listen to the kernel's notices about firewalls", error))
    }

    /// Whether a datagram names our table.
    fn is_about_ours(&self) -> bool {
        let of_nf_tables = |kind: u16| kind >> 8 == u16::from(number::SUBSYSTEM);
        let mut messages = received(&self.buffer).filter(|message| of_nf_tables(message.kind));
        messages.any(|message| {
            message.family() == Some(number::INET)
                && message.attributes().any(|(kind, name)| kind == TABLE && text(name) == Some(&self.table))
        })
    }
}
