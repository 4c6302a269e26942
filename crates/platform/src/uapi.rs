//! The text that WireGuard devices in user space are configured with (<https://www.wireguard.com/xplatform/>): changes
//! into requests, answers into devices.
//!
//! Not for the socket (`userspace` has it). It keeps true that an answer is understood wholly or refused, that settings
//! which a newer device may add to it are passed over, and that a private key is wiped after use and never shown.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::{Context as _, anyhow, bail};
use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use ipnet::IpNet;
use model::{Endpoint, Keepalive, Timestamp, WgPublicKey};
use reconcile::{ActualPeer, Device, LinkKind};
use wire::WgSecret;
use zeroize::Zeroizing;

use crate::wireguard::{Allowed, DeviceChange, PeerSettings, PeerStep};

/// The request for everything.
pub(crate) const GET: &str = "get=1\n\n";

/// The request for a change.
pub(crate) fn encode(change: &DeviceChange) -> Zeroizing<String> {
    // Room for all of it: growing would leave copies of the private key behind.
    let settings = || change.peers.iter().filter_map(|peer| peer.step.settings());
    let prefixes: usize = settings().map(|settings| settings.allowed.named().len()).sum();
    let mut text = Zeroizing::new(String::with_capacity(256 + 256 * change.peers.len() + 64 * prefixes));
    put(&mut text, "set", 1);
    if let Some(secret) = &change.private_key {
        put(&mut text, "private_key", Zeroizing::new(HEX.encode(secret.expose())).as_str());
    }
    if let Some(port) = change.listen_port {
        put(&mut text, "listen_port", port);
    }
    if let Some(mark) = change.mark {
        put(&mut text, "fwmark", mark);
    }
    for peer in &change.peers {
        put(&mut text, "public_key", HEX.encode(peer.key.as_bytes()));
        match &peer.step {
            PeerStep::Put(settings) => encode_settings(&mut text, settings),
            PeerStep::Update(settings) => {
                put(&mut text, "update_only", true);
                encode_settings(&mut text, settings);
            }
            PeerStep::Remove => put(&mut text, "remove", true),
        }
    }
    text.push('\n');
    text
}

fn encode_settings(text: &mut String, settings: &PeerSettings) {
    if let Some(endpoint) = settings.endpoint {
        put(text, "endpoint", endpoint);
    }
    if let Some(seconds) = settings.keepalive_seconds() {
        put(text, "persistent_keepalive_interval", seconds);
    }
    if matches!(settings.allowed, Allowed::Exactly(_)) {
        put(text, "replace_allowed_ips", true);
    }
    for prefix in settings.allowed.named() {
        put(text, "allowed_ip", prefix);
    }
}

fn put(text: &mut String, key: &str, value: impl std::fmt::Display) {
    writeln!(text, "{key}={value}").expect("writing to a string cannot fail");
}

/// The verdict at the end of an answer: 0, or the errno of a refusal.
pub(crate) fn verdict(answer: &str) -> anyhow::Result<i32> {
    let line = answer.lines().rev().find(|line| !line.is_empty()).context("the device answered nothing")?;
    let errno = line.strip_prefix("errno=").context("the device's answer does not end with its errno")?;
    let errno: i32 = errno.parse().context("the device's errno is no number")?;
    Ok(errno.saturating_abs())
}

/// The device that an answer describes, as it was at this time.
pub(crate) fn parse(answer: &str, at: Timestamp) -> anyhow::Result<Device> {
    let (kind, peers) = (LinkKind::Userspace, Default::default());
    let mut device = Device { kind, at, key: None, port: 0, mark: 0, peers };
    let mut current: Option<(WgPublicKey, ActualPeer)> = None;
    for line in answer.lines().take_while(|line| !line.is_empty()) {
        let (key, value) = line.split_once('=').context("the device answered a line that is no setting")?;
        let understood = match (key, &mut current) {
            ("public_key", _) => {
                device.peers.extend(current.take());
                current = Some((WgPublicKey::from_bytes(*parse_key(value)?), ActualPeer::default()));
                Ok(())
            }
            (_, None) => parse_device(&mut device, key, value),
            (_, Some((_, peer))) => parse_peer(peer, key, value),
        };
        // The value may be a key: it is not shown.
        understood.with_context(|| format!("the device answered a wrong {key}"))?;
    }
    device.peers.extend(current);
    Ok(device)
}

fn parse_device(device: &mut Device, key: &str, value: &str) -> anyhow::Result<()> {
    match key {
        "private_key" => {
            let bytes = parse_key(value)?;
            device.key = (*bytes != [0; 32]).then(|| WgSecret::from_random(*bytes).public());
        }
        "listen_port" => device.port = value.parse()?,
        "fwmark" => device.mark = value.parse()?,
        _ => {}
    }
    Ok(())
}

fn parse_peer(peer: &mut ActualPeer, key: &str, value: &str) -> anyhow::Result<()> {
    match key {
        "endpoint" => peer.endpoint = Endpoint::new(value.parse::<SocketAddr>()?).ok(),
        "persistent_keepalive_interval" => peer.keepalive = Keepalive::new(value.parse()?).ok(),
        "allowed_ip" => drop(peer.allowed.insert(value.parse::<IpNet>()?)),
        "rx_bytes" => peer.rx = value.parse()?,
        "tx_bytes" => peer.tx = value.parse()?,
        "last_handshake_time_sec" => add_millis(peer, value.parse::<i64>()?.saturating_mul(1000)),
        "last_handshake_time_nsec" => add_millis(peer, value.parse::<i64>()? / 1_000_000),
        _ => {}
    }
    Ok(())
}

fn add_millis(peer: &mut ActualPeer, millis: i64) {
    let before = peer.last_handshake.map_or(0, Timestamp::as_millis);
    let moment = before.saturating_add(millis);
    peer.last_handshake = (moment != 0).then(|| Timestamp::from_millis(moment));
}

fn parse_key(value: &str) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    if value.len() != 64 {
        bail!("a key has 64 digits, this one has {}", value.len());
    }
    let mut key = Zeroizing::new([0; 32]);
    HEX.decode_mut(value.as_bytes(), key.as_mut_slice()).map_err(|_| anyhow!("a key is hexadecimal"))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wireguard::PeerChange;

    fn key(byte: u8) -> WgPublicKey {
        WgPublicKey::from_bytes([byte; 32])
    }

    fn at() -> Timestamp {
        Timestamp::from_millis(1_700_000_009_000)
    }

    #[test]
    fn a_change_says_only_what_is_different() {
        let new = PeerSettings {
            endpoint: Some("[2001:db8::7]:51820".parse().unwrap()),
            keepalive: Some(Some(Keepalive::DEFAULT)),
            allowed: Allowed::Exactly(vec!["10.0.0.7/32".parse().unwrap(), "fd00::7/128".parse().unwrap()]),
        };
        let moved = PeerSettings {
            endpoint: Some("203.0.113.9:7".parse().unwrap()),
            keepalive: Some(None),
            allowed: Allowed::More(vec!["10.0.0.8/32".parse().unwrap()]),
        };
        let change = DeviceChange {
            private_key: Some(WgSecret::from_random([0x11; 32])),
            listen_port: Some(51820),
            mark: Some(0x4e4c),
            peers: vec![
                PeerChange { key: key(0xa1), step: PeerStep::Put(new) },
                PeerChange { key: key(0xa2), step: PeerStep::Update(moved) },
                PeerChange { key: key(0xa3), step: PeerStep::Remove },
            ],
        };
        let expected = format!(
            "set=1\nprivate_key={}\nlisten_port=51820\nfwmark=20044\npublic_key={}\nendpoint=[2001:db8::7]:51820\n\
             persistent_keepalive_interval=20\nreplace_allowed_ips=true\nallowed_ip=10.0.0.7/32\n\
             allowed_ip=fd00::7/128\npublic_key={}\nupdate_only=true\nendpoint=203.0.113.9:7\n\
             persistent_keepalive_interval=0\nallowed_ip=10.0.0.8/32\npublic_key={}\nremove=true\n\n",
            "11".repeat(32),
            "a1".repeat(32),
            "a2".repeat(32),
            "a3".repeat(32),
        );
        assert_eq!(*encode(&change), expected);
    }

    #[test]
    fn an_answer_becomes_a_device() {
        let answer = format!(
            "private_key={}\nlisten_port=12912\nfwmark=20044\npublic_key={}\nprotocol_version=1\npreshared_key={}\n\
             endpoint=[::ffff:203.0.113.7]:51820\npersistent_keepalive_interval=25\nallowed_ip=192.168.4.4/32\n\
             allowed_ip=fd00::/64\nlast_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5000000\n\
             rx_bytes=2224\ntx_bytes=38333\npublic_key={}\nlast_handshake_time_sec=0\n\
             last_handshake_time_nsec=0\npersistent_keepalive_interval=0\nsomething_new=1\nerrno=0\n\n",
            "e8".repeat(32),
            "b8".repeat(32),
            "00".repeat(32),
            "58".repeat(32),
        );
        let device = parse(&answer, at()).unwrap();
        assert_eq!(device.key, Some(WgSecret::from_random([0xe8; 32]).public()));
        assert_eq!((device.kind, device.port, device.peers.len()), (LinkKind::Userspace, 12912, 2));
        assert_eq!(device.mark, 0x4e4c);
        let peer = &device.peers[&key(0xb8)];
        assert_eq!(peer.endpoint, Some("203.0.113.7:51820".parse().unwrap()));
        assert_eq!(peer.keepalive, Some(Keepalive::new(25).unwrap()));
        assert_eq!(peer.allowed.len(), 2);
        assert_eq!(peer.last_handshake, Some(Timestamp::from_millis(1_700_000_000_005)));
        assert_eq!((peer.rx, peer.tx), (2224, 38333));
        assert_eq!(device.peers[&key(0x58)], ActualPeer::default());
        assert_eq!(verdict(&answer).unwrap(), 0);
    }

    #[test]
    fn wrong_answers_are_refused_and_show_no_key() {
        let secret = "e8".repeat(31);
        let text = format!("{:#}", parse(&format!("private_key={secret}\nerrno=0\n\n"), at()).unwrap_err());
        assert!(text.contains("private_key") && !text.contains(&secret), "{text}");
        let text = format!("{:#}", parse(&format!("{secret}\n\n"), at()).unwrap_err());
        assert!(!text.contains(&secret), "{text}");
        assert!(parse(&format!("public_key={}\nallowed_ip=10.0.0.0/99\n\n", "b8".repeat(32)), at()).is_err());
        assert_eq!(verdict("errno=-98\n\n").unwrap(), 98);
        assert!(verdict("").is_err());
        assert!(verdict("listen_port=1\n\n").is_err());
    }

    #[test]
    fn a_device_without_a_key_has_none() {
        let empty = parse(&format!("private_key={}\nerrno=0\n\n", "00".repeat(32)), at()).unwrap();
        assert_eq!(empty.key, None);
        assert_eq!(parse("errno=0\n\n", at()).unwrap(), empty);
    }
}
