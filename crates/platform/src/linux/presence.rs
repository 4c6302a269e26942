//! Whether the kernel has WireGuard, and under which number it listens.
//!
//! Not for choosing between it and a device in user space. It keeps true that asking leaves no link behind.

use std::io;

use futures_util::StreamExt as _;
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::{SocketAddr as KernelAddress, protocols::NETLINK_GENERIC};
use rustix::io::Errno;

use super::netlink::{Driver, Netlink};
use crate::words;

/// Whether the kernel can make WireGuard links, found by making one and deleting it: only that also loads the module
/// and tells what the machine (or its container) allows.
pub(super) async fn is_there(netlink: &Netlink) -> io::Result<bool> {
    // Two probes at once must not meet, and a process has at most one at a time of its own.
    let name = format!("nlprobe{:x}", std::process::id());
    match netlink.create_wireguard(&name).await {
        Ok(()) => {}
        Err(error) if words::is(&error, &[Errno::EXIST]) => {}
        Err(error) if words::is(&error, &[Errno::OPNOTSUPP, Errno::NODEV, Errno::NOENT]) => return Ok(false),
        Err(error) => return Err(error),
    }
    if let Some(link) = netlink.link(&name).await? {
        netlink.delete_link(link.index).await?;
    }
    Ok(true)
}

/// The number under which the kernel's WireGuard listens.
pub(super) async fn family() -> io::Result<u16> {
    let (connection, handle, _) = rtnetlink::proto::new_connection::<GenlMessage<GenlCtrl>>(NETLINK_GENERIC)?;
    let _driver = Driver::spawn(connection);
    let name = GenlCtrlAttrs::FamilyName("wireguard".to_owned());
    let mut request = NetlinkMessage::from(GenlMessage::from_payload(GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![name],
    }));
    request.header.flags = NLM_F_REQUEST;
    let mut answers = handle.request(request, KernelAddress::new(0, 0)).map_err(io::Error::other)?;
    while let Some(answer) = answers.next().await {
        match answer.payload {
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            NetlinkPayload::InnerMessage(message) => {
                let id = message.payload.nlas.iter().find_map(|attribute| match attribute {
                    GenlCtrlAttrs::FamilyId(id) => Some(*id),
                    _ => None,
                });
                return id.ok_or_else(|| io::Error::other("the kernel named no number for wireguard"));
            }
            _ => {}
        }
    }
    Err(io::Error::other("the kernel did not answer"))
}
