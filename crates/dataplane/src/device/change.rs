//! What a request changes about one peer: values, found by comparing and handed to gotatun.
//!
//! Invariant: what is not different is not in a [`Change`], so that repeating a request does nothing.

use std::net::SocketAddr;

use gotatun::device::Peer;
use gotatun::device::configure::PeerMut;
use gotatun::x25519::PublicKey as Point;
use ipnetwork::IpNetwork;

use super::uapi::PeerSettings;
use crate::PublicKey;

/// What can be set of a peer, beside its prefixes.
#[derive(Default)]
pub(super) struct Setting {
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) preshared_key: Option<[u8; 32]>,
    pub(super) keepalive: u16,
}

/// One step of carrying out a request.
pub(super) enum Step {
    Add(Box<Peer>),
    Change(PublicKey, Change),
    Remove(PublicKey),
}

/// What is different about a peer. What is `None` stays as it is.
#[derive(Default, PartialEq)]
pub(super) struct Change {
    pub(super) endpoint: Option<Option<SocketAddr>>,
    pub(super) preshared_key: Option<Option<[u8; 32]>>,
    pub(super) keepalive: Option<u16>,
    pub(super) allowed_ips: Option<Vec<IpNetwork>>,
}

impl Setting {
    /// Takes over what `wanted` says (all of it, said or not, if the peer is to be `as_new`), and returns what is
    /// different now.
    pub(super) fn change_to(&mut self, wanted: &PeerSettings, as_new: bool) -> Change {
        let endpoint = if as_new {
            Some(wanted.endpoint)
        } else {
            wanted.endpoint.map(Some)
        };
        let preshared_key = if as_new {
            Some(wanted.preshared_key.flatten())
        } else {
            wanted.preshared_key
        };
        let keepalive = wanted.keepalive.or(as_new.then_some(0));
        Change {
            endpoint: endpoint.filter(|new| std::mem::replace(&mut self.endpoint, *new) != *new),
            preshared_key: preshared_key
                .filter(|new| std::mem::replace(&mut self.preshared_key, *new) != *new),
            keepalive: keepalive.filter(|new| std::mem::replace(&mut self.keepalive, *new) != *new),
            allowed_ips: None,
        }
    }
}

impl Step {
    /// The peer that is looked for somewhere else from now on.
    pub(super) fn moved(&self) -> Option<Point> {
        match self {
            Self::Change(
                key,
                Change {
                    endpoint: Some(Some(_)),
                    ..
                },
            ) => Some(Point::from(*key)),
            Self::Change(..) | Self::Add(_) | Self::Remove(_) => None,
        }
    }
}

impl Change {
    /// Tells gotatun.
    pub(super) fn make(self, peer: &mut PeerMut) {
        if let Some(endpoint) = self.endpoint {
            peer.set_endpoint(endpoint);
        }
        if let Some(key) = self.preshared_key {
            peer.set_preshared_key(key);
        }
        if let Some(seconds) = self.keepalive {
            peer.set_keepalive(Some(seconds));
        }
        if let Some(prefixes) = self.allowed_ips {
            peer.clear_allowed_ips();
            peer.add_allowed_ips(prefixes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_different_is_a_change() {
        let wanted = PeerSettings {
            keepalive: Some(25),
            preshared_key: Some(None),
            ..PeerSettings::default()
        };
        let mut setting = Setting {
            preshared_key: Some([1; 32]),
            ..Setting::default()
        };
        let change = setting.change_to(&wanted, false);
        assert_eq!(
            (change.keepalive, change.preshared_key, change.endpoint),
            (Some(25), Some(None), None)
        );
        assert!(
            setting.change_to(&wanted, false) == Change::default(),
            "said twice, done once"
        );
    }

    #[test]
    fn a_peer_that_is_to_be_as_new_loses_what_is_not_said() {
        let endpoint = Some(([192, 0, 2, 1], 9).into());
        let mut setting = Setting {
            endpoint,
            keepalive: 25,
            ..Setting::default()
        };
        let change = setting.change_to(&PeerSettings::default(), true);
        assert_eq!(
            (change.keepalive, change.preshared_key, change.endpoint),
            (Some(0), None, Some(None))
        );
    }
}
