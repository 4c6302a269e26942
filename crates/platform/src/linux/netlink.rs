//! The connection to the kernel's routing netlink, and links.
//!
//! Not for addresses and routes (files of their own) and not for WireGuard's settings. It keeps true that what exists
//! already, or is gone already, is no error, and that the kernel's errno is kept.

use std::io;

use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::{Handle, LinkUnspec, LinkWireguard};
use rustix::io::Errno;
use tokio::task::JoinHandle;

use crate::words;

/// A task that ends with its owner.
#[derive(Debug)]
pub(super) struct Driver(JoinHandle<()>);

impl Driver {
    pub(super) fn spawn(connection: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(connection))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection to the network namespace in which it was opened.
#[derive(Debug)]
pub(super) struct Netlink {
    pub(super) handle: Handle,
    _driver: Driver,
}

/// What drives a link, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The kernel's WireGuard.
    Wireguard,
    /// A TUN or TAP device: a process is behind it.
    Tun,
    /// A bridge.
    Bridge,
    /// Anything else.
    Other,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) mtu: u32,
    pub(super) up: bool,
    pub(super) loopback: bool,
}

/// The errno of the kernel's refusal.
pub(super) fn refusal(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        // With strict checks the kernel filters what it lists; without (before 4.20) it lists everything.
        let (connection, handle, _) =
            rtnetlink::new_connection_with_strict_check().or_else(|_| rtnetlink::new_connection())?;
        Ok(Self { handle, _driver: Driver::spawn(connection) })
    }

    /// The link of this name.
    pub(super) async fn link(&self, name: &str) -> io::Result<Option<Link>> {
        let mut found = std::pin::pin!(self.handle.link().get().match_name(name).execute());
        match found.next().await {
            Some(Ok(message)) => Ok(Some(parse(&message))),
            None => Ok(None),
            Some(Err(error)) => {
                let error = refusal(error);
                if words::is(&error, &[Errno::NODEV]) { Ok(None) } else { Err(error) }
            }
        }
    }

    /// All links.
    pub(super) async fn links(&self) -> io::Result<Vec<Link>> {
        let messages = self.handle.link().get().execute();
        messages.map_ok(|message| parse(&message)).try_collect().await.map_err(refusal)
    }

    /// Makes a link of the kernel's WireGuard.
    pub(super) async fn create_wireguard(&self, name: &str) -> io::Result<()> {
        self.handle.link().add(LinkWireguard::new(name).build()).execute().await.map_err(refusal)
    }

    /// Deletes a link with all that is on it.
    pub(super) async fn delete_link(&self, index: u32) -> io::Result<()> {
        let deleted = self.handle.link().del(index).execute().await.map_err(refusal);
        words::unless(deleted, &[Errno::NODEV])
    }

    pub(super) async fn set_mtu(&self, index: u32, mtu: u16) -> io::Result<()> {
        let message = LinkUnspec::new_with_index(index).mtu(mtu.into()).build();
        self.handle.link().set(message).execute().await.map_err(refusal)
    }

    /// How many packets may wait for whoever is behind the link.
    pub(super) async fn set_queue(&self, index: u32, packets: u32) -> io::Result<()> {
        let queue = LinkAttribute::TxQueueLen(packets);
        let message = LinkUnspec::new_with_index(index).append_extra_attribute(queue).build();
        self.handle.link().set(message).execute().await.map_err(refusal)
    }

    pub(super) async fn set_up(&self, index: u32) -> io::Result<()> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().set(message).execute().await.map_err(refusal)
    }
}

/// IPv4 and IPv6, the families that are listed.
pub(super) const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

pub(super) fn parse(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: Kind::Other,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        loopback: message.header.flags.contains(LinkFlags::Loopback),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => link.kind = kind(infos),
            _ => {}
        }
    }
    link
}

fn kind(infos: &[LinkInfo]) -> Kind {
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match kind {
        Some(InfoKind::Wireguard) => Kind::Wireguard,
        Some(InfoKind::Tun) => Kind::Tun,
        Some(InfoKind::Bridge) => Kind::Bridge,
        _ => Kind::Other,
    }
}
