//! The language of the control socket: <https://www.wireguard.com/xplatform/#configuration-protocol>.
//!
//! Text in, requests out; states in, text out. What a request does is [`super::engine`]'s business.
//!
//! Invariant: a request is understood wholly or refused; nothing unknown is passed over. Types that hold keys are
//! not `Debug`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use ipnetwork::IpNetwork;
use rustix::io::Errno;

use super::allowed::AllowedIp;
use crate::PublicKey;

type Key = [u8; 32];

/// What a caller wants.
pub(super) enum Request {
    /// The state of everything.
    Get,
    /// Changes.
    Set(Box<Settings>),
}

/// Changes to the device. What is `None` stays as it is.
#[derive(Default)]
pub(super) struct Settings {
    /// A new private key, or none at all.
    pub(super) private_key: Option<Option<Key>>,
    /// The UDP port; 0 leaves the choice to the kernel.
    pub(super) listen_port: Option<u16>,
    /// The mark of outgoing datagrams; 0 for none.
    pub(super) fwmark: Option<u32>,
    /// Peers that are not in `peers` are removed, and the others are as if new.
    pub(super) replace_peers: bool,
    /// Changes to peers, in order.
    pub(super) peers: Vec<PeerSettings>,
}

/// Changes to one peer. What is `None` stays as it is.
#[derive(Default)]
pub(super) struct PeerSettings {
    pub(super) public_key: PublicKey,
    /// The peer is to go; nothing else counts.
    pub(super) remove: bool,
    /// The peer is to be changed only if it exists.
    pub(super) update_only: bool,
    pub(super) preshared_key: Option<Option<Key>>,
    pub(super) endpoint: Option<SocketAddr>,
    /// Seconds; 0 for none.
    pub(super) keepalive: Option<u16>,
    pub(super) replace_allowed_ips: bool,
    pub(super) allowed_ips: Vec<AllowedIp>,
}

/// The state of everything.
pub(super) struct DeviceState {
    pub(super) private_key: Option<Key>,
    pub(super) listen_port: u16,
    pub(super) fwmark: u32,
    pub(super) peers: Vec<PeerState>,
}

/// The state of one peer.
pub(super) struct PeerState {
    pub(super) public_key: PublicKey,
    pub(super) preshared_key: Option<Key>,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) keepalive: u16,
    pub(super) allowed_ips: Vec<IpNetwork>,
    pub(super) last_handshake: Option<SystemTime>,
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
}

/// The answer to a change that was made, or not.
pub(super) fn verdict(outcome: Result<(), Errno>) -> String {
    match outcome {
        Ok(()) => "errno=0\n\n".to_owned(),
        Err(errno) => refusal(errno),
    }
}

/// The answer to a request that cannot be met.
pub(super) fn refusal(errno: Errno) -> String {
    format!("errno=-{}\n\n", errno.raw_os_error())
}

/// Understands a request, or does not.
pub(super) fn parse(text: &str) -> Option<Request> {
    let mut lines = text.lines().filter(|line| !line.is_empty());
    match lines.next()? {
        "get=1" => lines.next().is_none().then_some(Request::Get),
        "set=1" => parse_settings(lines).map(|settings| Request::Set(Box::new(settings))),
        _ => None,
    }
}

fn parse_settings<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Settings> {
    let mut settings = Settings::default();
    for line in lines {
        let (key, value) = line.split_once('=')?;
        if key == "public_key" {
            settings.peers.push(PeerSettings { public_key: parse_key(value)?, ..PeerSettings::default() });
            continue;
        }
        match settings.peers.last_mut() {
            None => set_device(&mut settings, key, value)?,
            Some(peer) => set_peer(peer, key, value)?,
        }
    }
    Some(settings)
}

fn set_device(device: &mut Settings, key: &str, value: &str) -> Option<()> {
    match key {
        "private_key" => device.private_key = Some(unless_zero(parse_key(value)?)),
        "listen_port" => device.listen_port = Some(value.parse().ok()?),
        "fwmark" => device.fwmark = Some(value.parse().ok()?),
        "replace_peers" => device.replace_peers = parse_true(value)?,
        _ => return None,
    }
    Some(())
}

fn set_peer(peer: &mut PeerSettings, key: &str, value: &str) -> Option<()> {
    match key {
        "remove" => peer.remove = parse_true(value)?,
        "update_only" => peer.update_only = parse_true(value)?,
        "preshared_key" => peer.preshared_key = Some(unless_zero(parse_key(value)?)),
        "endpoint" => peer.endpoint = Some(parse_endpoint(value)?),
        "persistent_keepalive_interval" => peer.keepalive = Some(value.parse().ok()?),
        "replace_allowed_ips" => peer.replace_allowed_ips = parse_true(value)?,
        "allowed_ip" => peer.allowed_ips.push(parse_allowed_ip(value)?),
        "protocol_version" if value == "1" => {}
        _ => return None,
    }
    Some(())
}

fn parse_true(value: &str) -> Option<bool> {
    (value == "true").then_some(true)
}

fn unless_zero(key: Key) -> Option<Key> {
    (key != [0; 32]).then_some(key)
}

fn parse_key(hex: &str) -> Option<Key> {
    let hex: &[u8; 64] = hex.as_bytes().try_into().ok()?;
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(hex.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(key)
}

fn parse_endpoint(value: &str) -> Option<SocketAddr> {
    if let Ok(endpoint) = value.parse() {
        return Some(endpoint);
    }
    // A link-local address may name its link: [fe80::1%eth0]:51820.
    let (address, rest) = value.split_once('%')?;
    let (link, port) = rest.split_once(']')?;
    let index = link_index(link)?;
    format!("{address}%{index}]{port}").parse().ok()
}

fn link_index(name: &str) -> Option<u32> {
    use rustix::net::{AddressFamily, SocketType, netdevice, socket};
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    netdevice::name_to_index(&socket, name).ok()
}

fn parse_allowed_ip(value: &str) -> Option<AllowedIp> {
    let (value, make): (&str, fn(IpNetwork) -> AllowedIp) = match value.strip_prefix('-') {
        Some(value) => (value, AllowedIp::Remove),
        None => (value.strip_prefix('+').unwrap_or(value), AllowedIp::Add),
    };
    let written: IpNetwork = value.parse().ok()?;
    // 10.0.0.7/24 means 10.0.0.0/24.
    IpNetwork::new(written.network(), written.prefix()).ok().map(make)
}

/// Writes the state as the protocol has it.
pub(super) fn describe(device: &DeviceState) -> String {
    let mut text = String::with_capacity(128 + device.peers.len() * 512);
    describe_device(&mut text, device).expect("writing to a string does not fail");
    text
}

fn describe_device(text: &mut String, device: &DeviceState) -> std::fmt::Result {
    if let Some(key) = &device.private_key {
        writeln!(text, "private_key={}", Hex(key))?;
    }
    writeln!(text, "listen_port={}", device.listen_port)?;
    if device.fwmark != 0 {
        writeln!(text, "fwmark={}", device.fwmark)?;
    }
    for peer in &device.peers {
        describe_peer(text, peer)?;
    }
    text.write_str("errno=0\n\n")
}

fn describe_peer(text: &mut String, peer: &PeerState) -> std::fmt::Result {
    writeln!(text, "public_key={}", Hex(&peer.public_key))?;
    writeln!(text, "preshared_key={}", Hex(&peer.preshared_key.unwrap_or_default()))?;
    writeln!(text, "protocol_version=1")?;
    if let Some(endpoint) = peer.endpoint {
        writeln!(text, "endpoint={endpoint}")?;
    }
    let handshake = peer.last_handshake.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    writeln!(text, "last_handshake_time_sec={}", handshake.as_secs())?;
    writeln!(text, "last_handshake_time_nsec={}", handshake.subsec_nanos())?;
    writeln!(text, "tx_bytes={}\nrx_bytes={}", peer.tx_bytes, peer.rx_bytes)?;
    writeln!(text, "persistent_keepalive_interval={}", peer.keepalive)?;
    for prefix in &peer.allowed_ips {
        writeln!(text, "allowed_ip={}/{}", prefix.network(), prefix.prefix())?;
    }
    Ok(())
}

struct Hex<'a>(&'a Key);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&hex).expect("digits are text"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20";

    fn settings(text: &str) -> Settings {
        match parse(text) {
            Some(Request::Set(settings)) => *settings,
            Some(Request::Get) | None => panic!("not understood: {text}"),
        }
    }

    #[test]
    fn a_change_of_device_and_peers_is_understood() {
        let set = settings(&format!(
            "set=1\nprivate_key={KEY}\nlisten_port=51820\nfwmark=7\nreplace_peers=true\npublic_key={KEY}\n\
             protocol_version=1\nendpoint=[fd00::1]:5\npersistent_keepalive_interval=25\nreplace_allowed_ips=true\n\
             allowed_ip=10.0.0.7/24\nallowed_ip=-fd00::/64\npublic_key={KEY}\nremove=true\nupdate_only=true\n\n"
        ));
        assert_eq!(set.private_key.flatten().unwrap()[31], 0x20);
        assert_eq!((set.listen_port, set.fwmark, set.replace_peers), (Some(51820), Some(7), true));
        let [first, second] = &set.peers[..] else { panic!("two peers") };
        assert_eq!(first.endpoint.unwrap().to_string(), "[fd00::1]:5");
        assert_eq!((first.keepalive, first.replace_allowed_ips), (Some(25), true));
        let expected =
            [AllowedIp::Add("10.0.0.0/24".parse().unwrap()), AllowedIp::Remove("fd00::/64".parse().unwrap())];
        assert_eq!(first.allowed_ips, expected);
        assert!(second.remove && second.update_only);
    }

    #[test]
    fn a_key_of_zeros_takes_the_key_away() {
        let zeros = "0".repeat(64);
        let set =
            settings(&format!("set=1\nprivate_key={zeros}\npublic_key={KEY}\npreshared_key={zeros}\n\n"));
        assert_eq!(set.private_key, Some(None));
        assert_eq!(set.peers[0].preshared_key, Some(None));
    }

    #[test]
    fn a_link_may_be_named_or_numbered() {
        let SocketAddr::V6(endpoint) = parse_endpoint("[fe80::1%lo]:9").unwrap() else { panic!() };
        assert_eq!(endpoint.scope_id(), 1);
        assert_eq!(parse_endpoint("[fe80::1%1]:9").unwrap(), SocketAddr::V6(endpoint));
    }

    #[test]
    fn nothing_unknown_is_passed_over() {
        for bad in [
            "",
            "get=2\n\n",
            "set=1\nlisten_port=70000\n\n",
            "set=1\ncolour=red\n\n",
            "set=1\nremove=true\n\n",
        ] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(set=1\n|get=1\n)?([a-z_]{0,12}=?[0-9a-f:./%\\[\\]é-]{0,70}\n){0,6}") {
            let _ = parse(&text);
        }
    }
}
