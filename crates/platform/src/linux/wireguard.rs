//! The kernel's own WireGuard: reading and changing a device by generic netlink.
//!
//! Not for links (`netlink` makes them). It keeps true that a peer whose description came in several messages is one peer,
//! that a change of many peers goes out in messages that the kernel takes, and that a list which changed while it was
//! read is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use anyhow::bail;
use futures_util::StreamExt as _;
use ipnet::IpNet;
use model::{Endpoint, Keepalive, Timestamp, WgPublicKey};
use netlink_packet_generic::GenlMessage;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute, WireguardCmd,
    WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};
use reconcile::{ActualPeer, Device, LinkKind};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::proto::ConnectionHandle;
use rtnetlink::sys::{SocketAddr as KernelAddress, protocols::NETLINK_GENERIC};
use rustix::io::Errno;

use super::netlink::Driver;
use super::presence::family;
use crate::wireguard::{Allowed, DeviceChange, PeerChange, PeerStep};
use crate::words;

type Message = GenlMessage<WireguardMessage>;

/// Prefixes in one message: 36 bytes each, well below the 64 KiB that an attribute can hold.
const PREFIXES_AT_ONCE: usize = 512;
/// Peers in one message: at most 116 bytes each besides their prefixes.
const PEERS_AT_ONCE: usize = 128;
/// How often a list that changes while it is read is begun again.
const READINGS: usize = 5;

/// A connection to the kernel's WireGuard.
#[derive(Debug)]
pub(super) struct Wireguard {
    handle: ConnectionHandle<Message>,
    family: u16,
    _driver: Driver,
}

impl Wireguard {
    /// Connects. Fails with `NOENT` where the kernel has no WireGuard, or has it in a module that nobody loaded.
    pub(super) async fn open() -> io::Result<Self> {
        let family = family().await?;
        let (connection, handle, _) = rtnetlink::proto::new_connection::<Message>(NETLINK_GENERIC)?;
        Ok(Self { handle, family, _driver: Driver::spawn(connection) })
    }

    /// The whole device, as it is at this time.
    pub(super) async fn read(&self, interface: &str, at: Timestamp) -> anyhow::Result<Device> {
        let doing = format!("read the WireGuard device {interface}");
        for _ in 0..READINGS {
            let read = self.read_once(interface, at).await;
            if let Some(device) = read.map_err(|error| words::could_not(&doing, error))? {
                return Ok(device);
            }
        }
        bail!("could not {doing}: its peers change faster than they can be read")
    }

    /// None if the device changed meanwhile.
    async fn read_once(&self, interface: &str, at: Timestamp) -> io::Result<Option<Device>> {
        let attributes = vec![WireguardAttribute::IfName(interface.to_owned())];
        let request = self.message(WireguardCmd::GetDevice, attributes, NLM_F_REQUEST | NLM_F_DUMP);
        let mut answers = self.handle.request(request, KernelAddress::new(0, 0)).map_err(io::Error::other)?;
        let mut device =
            Device { kind: LinkKind::Kernel, at, key: None, port: 0, mark: 0, peers: BTreeMap::new() };
        while let Some(answer) = answers.next().await {
            if answer.header.flags & NLM_F_DUMP_INTR != 0 {
                return Ok(None);
            }
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => merge(&mut device, message.payload.attributes),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::Done(_) | NetlinkPayload::Noop => {}
                NetlinkPayload::Overrun(_) => return Ok(None),
                other => {
                    return Err(io::Error::other(format!("unexpected answer {:#x}", other.message_type())));
                }
            }
        }
        Ok(Some(device))
    }

    /// Changes the device.
    pub(super) async fn apply(&self, interface: &str, change: &DeviceChange) -> anyhow::Result<()> {
        for attributes in messages(interface, change) {
            self.set(attributes).await.map_err(|error| {
                let doing = format!("change the WireGuard device {interface}");
                if words::is(&error, &[Errno::ADDRINUSE]) {
                    return words::of_device(&error).context(format!("could not {doing}"));
                }
                words::could_not(&doing, error)
            })?;
        }
        Ok(())
    }

    async fn set(&self, attributes: Vec<WireguardAttribute>) -> io::Result<()> {
        let request = self.message(WireguardCmd::SetDevice, attributes, NLM_F_REQUEST | NLM_F_ACK);
        let mut answers = self.handle.request(request, KernelAddress::new(0, 0)).map_err(io::Error::other)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload {
                return Err(error.to_io());
            }
        }
        Ok(())
    }

    fn message(
        &self,
        cmd: WireguardCmd,
        attributes: Vec<WireguardAttribute>,
        flags: u16,
    ) -> NetlinkMessage<Message> {
        let mut message = GenlMessage::from_payload(WireguardMessage { cmd, attributes });
        message.set_resolved_family_id(self.family);
        let mut message = NetlinkMessage::from(message);
        message.header.flags = flags;
        message
    }
}

/// Adds what one message of a listing says. A peer may be continued in the next.
fn merge(device: &mut Device, attributes: Vec<WireguardAttribute>) {
    for attribute in attributes {
        match attribute {
            WireguardAttribute::PublicKey(key) => {
                device.key = (key != [0; 32]).then(|| WgPublicKey::from_bytes(key));
            }
            WireguardAttribute::ListenPort(port) => device.port = port,
            WireguardAttribute::Fwmark(mark) => device.mark = mark,
            WireguardAttribute::Peers(peers) => peers.into_iter().for_each(|peer| merge_peer(device, peer)),
            _ => {}
        }
    }
}

fn merge_peer(device: &mut Device, WireguardPeer(attributes): WireguardPeer) {
    let key = attributes.iter().find_map(|attribute| match attribute {
        WireguardPeerAttribute::PublicKey(key) => Some(WgPublicKey::from_bytes(*key)),
        _ => None,
    });
    let Some(key) = key else { return };
    let peer: &mut ActualPeer = device.peers.entry(key).or_default();
    for attribute in attributes {
        match attribute {
            WireguardPeerAttribute::Endpoint(endpoint) => peer.endpoint = Endpoint::new(endpoint).ok(),
            WireguardPeerAttribute::PersistentKeepalive(seconds) => {
                peer.keepalive = Keepalive::new(seconds).ok();
            }
            WireguardPeerAttribute::LastHandshake(at) => {
                let millis = at.seconds.saturating_mul(1000).saturating_add(at.nano_seconds / 1_000_000);
                peer.last_handshake = (millis != 0).then(|| Timestamp::from_millis(millis));
            }
            WireguardPeerAttribute::RxBytes(bytes) => peer.rx = bytes,
            WireguardPeerAttribute::TxBytes(bytes) => peer.tx = bytes,
            WireguardPeerAttribute::AllowedIps(allowed) => {
                peer.allowed.extend(allowed.iter().filter_map(net));
            }
            _ => {}
        }
    }
}

fn net(WireguardAllowedIp(attributes): &WireguardAllowedIp) -> Option<IpNet> {
    let (mut ip, mut length) = (None, None);
    for attribute in attributes {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(address) => ip = Some(*address),
            WireguardAllowedIpAttr::Cidr(bits) => length = Some(*bits),
            _ => {}
        }
    }
    IpNet::new(ip?, length?).ok()
}

/// The messages of a change: the device's own settings first, then peers in pieces that fit.
fn messages(interface: &str, change: &DeviceChange) -> Vec<Vec<WireguardAttribute>> {
    let named = || vec![WireguardAttribute::IfName(interface.to_owned())];
    let mut messages = Vec::new();
    let mut own = named();
    own.extend(change.private_key.as_ref().map(|secret| WireguardAttribute::PrivateKey(*secret.expose())));
    own.extend(change.listen_port.map(WireguardAttribute::ListenPort));
    own.extend(change.mark.map(WireguardAttribute::Fwmark));
    if own.len() > 1 {
        messages.push(own);
    }
    let (mut peers, mut prefixes) = (Vec::new(), 0);
    for (piece, size) in removals_last(&change.peers).into_iter().flat_map(pieces) {
        if peers.len() == PEERS_AT_ONCE || prefixes + size > PREFIXES_AT_ONCE {
            messages.push([named(), vec![WireguardAttribute::Peers(std::mem::take(&mut peers))]].concat());
            prefixes = 0;
        }
        prefixes += size;
        peers.push(piece);
    }
    if !peers.is_empty() {
        messages.push([named(), vec![WireguardAttribute::Peers(peers)]].concat());
    }
    messages
}

/// Puts off removing whom nothing more is said of. The kernel waits for all its processors when it removes a peer: if another
/// one is to have the addresses, it has them before that, and no packet finds nobody.
fn removals_last(peers: &[PeerChange]) -> Vec<&PeerChange> {
    let mut named_later = BTreeSet::new();
    let mut goes_last = |peer: &PeerChange| named_later.insert(peer.key) && peer.step == PeerStep::Remove;
    let mut peers: Vec<_> = peers.iter().rev().map(|peer| (goes_last(peer), peer)).collect();
    peers.reverse();
    peers.sort_by_key(|(goes_last, _)| *goes_last);
    peers.into_iter().map(|(_, peer)| peer).collect()
}

/// A peer's change, in as many pieces as its prefixes need, with the number of prefixes in each.
fn pieces(change: &PeerChange) -> Vec<(WireguardPeer, usize)> {
    let key = WireguardPeerAttribute::PublicKey(*change.key.as_bytes());
    let Some(settings) = change.step.settings() else {
        let gone = WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe);
        return vec![(WireguardPeer(vec![key, gone]), 0)];
    };
    let mut flags = match change.step {
        PeerStep::Update(_) => WireguardPeerFlags::UpdateOnly,
        PeerStep::Put(_) | PeerStep::Remove => WireguardPeerFlags::empty(),
    };
    if matches!(settings.allowed, Allowed::Exactly(_)) {
        flags |= WireguardPeerFlags::ReplaceAllowedIps;
    }
    let mut chunks = settings.allowed.named().chunks(PREFIXES_AT_ONCE);
    let first = chunks.next().unwrap_or_default();
    let mut attributes = vec![key.clone(), WireguardPeerAttribute::Flags(flags)];
    attributes
        .extend(settings.endpoint.map(|endpoint| WireguardPeerAttribute::Endpoint(endpoint.socket_addr())));
    attributes.extend(settings.keepalive_seconds().map(WireguardPeerAttribute::PersistentKeepalive));
    attributes.extend(allowed(first));
    let mut pieces = vec![(WireguardPeer(attributes), first.len())];
    // What follows only adds: the first piece has made the peer and dropped its old prefixes.
    let more = WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly);
    pieces.extend(chunks.map(|chunk| {
        let attributes = [key.clone(), more.clone()].into_iter().chain(allowed(chunk)).collect();
        (WireguardPeer(attributes), chunk.len())
    }));
    pieces
}

fn allowed(nets: &[IpNet]) -> Option<WireguardPeerAttribute> {
    if nets.is_empty() {
        return None;
    }
    let nets = nets.iter().map(|net| {
        let family = match net.addr() {
            IpAddr::V4(_) => WireguardAddressFamily::Ipv4,
            IpAddr::V6(_) => WireguardAddressFamily::Ipv6,
        };
        WireguardAllowedIp(vec![
            WireguardAllowedIpAttr::Family(family),
            WireguardAllowedIpAttr::IpAddr(net.addr()),
            WireguardAllowedIpAttr::Cidr(net.prefix_len()),
        ])
    });
    Some(WireguardPeerAttribute::AllowedIps(nets.collect()))
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::Emitable as _;
    use wire::WgSecret;

    use super::*;
    use crate::wireguard::PeerSettings;

    fn key(number: usize) -> WgPublicKey {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        bytes[31] = 1;
        WgPublicKey::from_bytes(bytes)
    }

    fn nets(count: usize) -> Vec<IpNet> {
        (0..count).map(|n| format!("fd00::{n:x}/128").parse().unwrap()).collect()
    }

    fn put(number: usize, prefixes: usize) -> PeerChange {
        let settings = PeerSettings {
            endpoint: Some("[2001:db8::7]:51820".parse().unwrap()),
            keepalive: Some(Some(Keepalive::DEFAULT)),
            allowed: Allowed::Exactly(nets(prefixes)),
        };
        PeerChange { key: key(number), step: PeerStep::Put(settings) }
    }

    fn empty() -> Device {
        let at = Timestamp::from_millis(1);
        Device { kind: LinkKind::Kernel, at, key: None, port: 0, mark: 0, peers: BTreeMap::new() }
    }

    #[test]
    fn many_peers_go_in_messages_that_fit_and_none_is_lost() {
        let peers = (0..1000).map(|number| put(number, 2)).chain([put(1000, 3000)]).collect();
        let change = DeviceChange { peers, ..DeviceChange::default() };
        let messages = messages("netloom0", &change);
        let mut device = empty();
        for message in messages {
            assert!(message.as_slice().buffer_len() < 48 * 1024, "{}", message.as_slice().buffer_len());
            merge(&mut device, message);
        }
        assert_eq!(device.peers.len(), 1001);
        assert_eq!(device.peers[&key(1000)].allowed.len(), 3000);
        assert_eq!(device.peers[&key(5)].endpoint, Some("[2001:db8::7]:51820".parse().unwrap()));
        assert_eq!(device.peers[&key(5)].keepalive, Some(Keepalive::DEFAULT));
    }

    #[test]
    fn a_peer_goes_after_its_successor_has_its_addresses_unless_it_comes_again() {
        let gone = |number| PeerChange { key: key(number), step: PeerStep::Remove };
        let changes = [gone(1), put(2, 1), gone(3), put(3, 1)];
        let order: Vec<_> = removals_last(&changes).into_iter().cloned().collect();
        assert_eq!(order, [put(2, 1), gone(3), put(3, 1), gone(1)]);
    }

    #[test]
    fn only_the_first_piece_of_a_peer_replaces_its_prefixes() {
        let flags = |piece: &WireguardPeer| {
            piece.iter().find_map(|attribute| match attribute {
                WireguardPeerAttribute::Flags(flags) => Some(*flags),
                _ => None,
            })
        };
        let pieces = pieces(&put(1, PREFIXES_AT_ONCE + 1));
        let found: Vec<_> = pieces.iter().map(|(piece, size)| (flags(piece).unwrap(), *size)).collect();
        assert_eq!(
            found,
            [(WireguardPeerFlags::ReplaceAllowedIps, PREFIXES_AT_ONCE), (WireguardPeerFlags::UpdateOnly, 1)]
        );
    }

    #[test]
    fn a_change_of_an_endpoint_touches_nothing_else() {
        let moved =
            PeerSettings { endpoint: Some("203.0.113.9:7".parse().unwrap()), ..PeerSettings::default() };
        let pieces = pieces(&PeerChange { key: key(1), step: PeerStep::Update(moved) });
        let expected = vec![
            WireguardPeerAttribute::PublicKey(*key(1).as_bytes()),
            WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly),
            WireguardPeerAttribute::Endpoint("203.0.113.9:7".parse().unwrap()),
        ];
        assert_eq!(pieces, [(WireguardPeer(expected), 0)]);
    }

    #[test]
    fn key_and_port_go_first_and_a_removal_says_only_that() {
        let change = DeviceChange {
            private_key: Some(WgSecret::from_random([7; 32])),
            listen_port: Some(51820),
            mark: None,
            peers: vec![PeerChange { key: key(1), step: PeerStep::Remove }],
        };
        let messages = messages("wg0", &change);
        let name = WireguardAttribute::IfName("wg0".to_owned());
        assert_eq!(
            messages[0],
            [name.clone(), WireguardAttribute::PrivateKey([7; 32]), WireguardAttribute::ListenPort(51820)]
        );
        let gone = WireguardPeer(vec![
            WireguardPeerAttribute::PublicKey(*key(1).as_bytes()),
            WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe),
        ]);
        assert_eq!(messages[1], [name, WireguardAttribute::Peers(vec![gone])]);
        assert_eq!(messages.len(), 2);
    }
}
