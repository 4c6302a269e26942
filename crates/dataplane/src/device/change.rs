//! What a request changes about one peer: values, found by comparing and handed to gotatun.
//!
//! Invariant: what is known not to be different is not in a [`Change`], so that repeating a request does nothing.

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
    /// Where it was when gotatun was last asked or told. It moves by itself.
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) preshared_key: Option<[u8; 32]>,
    pub(super) keepalive: u16,
}

/// How far the endpoint of a [`Setting`] can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoints {
    /// gotatun was asked just now.
    Read,
    /// The peer may have moved since: what is said is a change, whatever it is.
    Remembered,
}

/// One step of carrying out a request.
pub(super) enum Step {
    Add(Box<Peer>),
    Change(Box<PeerChange>),
    Remove(PublicKey),
}

/// A change of one peer, and all the prefixes it has now.
pub(super) struct PeerChange {
    pub(super) peer: PublicKey,
    pub(super) change: Change,
    pub(super) allowed_ips: Vec<IpNetwork>,
}

/// What is different about a peer, beside its prefixes. What is `None` stays as it is.
#[derive(Default, PartialEq)]
pub(super) struct Change {
    pub(super) endpoint: Option<Option<SocketAddr>>,
    pub(super) preshared_key: Option<Option<[u8; 32]>>,
    pub(super) keepalive: Option<u16>,
}

impl Setting {
    /// Takes over what `wanted` says (all of it, said or not, if the peer is to be `as_new`), and returns what is
    /// different now.
    pub(super) fn change_to(&mut self, wanted: &PeerSettings, as_new: bool, endpoints: Endpoints) -> Change {
        let endpoint = if as_new { Some(wanted.endpoint) } else { wanted.endpoint.map(Some) };
        let preshared_key = if as_new { Some(wanted.preshared_key.flatten()) } else { wanted.preshared_key };
        let keepalive = wanted.keepalive.or(as_new.then_some(0));
        Change {
            endpoint: endpoint.filter(|new| {
                let differs = std::mem::replace(&mut self.endpoint, *new) != *new;
                differs || endpoints == Endpoints::Remembered
            }),
            preshared_key: preshared_key
                .filter(|new| std::mem::replace(&mut self.preshared_key, *new) != *new),
            keepalive: keepalive.filter(|new| std::mem::replace(&mut self.keepalive, *new) != *new),
        }
    }

    /// A peer that has this.
    pub(super) fn of_new(&self, peer: PublicKey, allowed_ips: Vec<IpNetwork>) -> Peer {
        let mut new = Peer::new(Point::from(peer)).with_allowed_ips(allowed_ips);
        new.endpoint = self.endpoint;
        new.preshared_key = self.preshared_key;
        new.keepalive = Some(self.keepalive);
        new
    }
}

impl Change {
    /// Whether everything stays as it is.
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the peer is looked for somewhere else, or more often, from now on.
    pub(super) fn is_a_new_search(&self) -> bool {
        matches!(self.endpoint, Some(Some(_))) || self.keepalive.is_some_and(|seconds| seconds > 0)
    }
}

impl PeerChange {
    /// Tells gotatun. It takes the prefixes anew anyway.
    pub(super) fn make(self, peer: &mut PeerMut) {
        if let Some(endpoint) = self.change.endpoint {
            peer.set_endpoint(endpoint);
        }
        if let Some(key) = self.change.preshared_key {
            peer.set_preshared_key(key);
        }
        if let Some(seconds) = self.change.keepalive {
            peer.set_keepalive(Some(seconds));
        }
        peer.clear_allowed_ips();
        peer.add_allowed_ips(self.allowed_ips);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_different_is_a_change() {
        let wanted =
            PeerSettings { keepalive: Some(25), preshared_key: Some(None), ..PeerSettings::default() };
        let mut setting = Setting { preshared_key: Some([1; 32]), ..Setting::default() };
        let change = setting.change_to(&wanted, false, Endpoints::Remembered);
        assert_eq!((change.keepalive, change.preshared_key, change.endpoint), (Some(25), Some(None), None));
        assert!(
            setting.change_to(&wanted, false, Endpoints::Remembered) == Change::default(),
            "said twice, done once"
        );
    }

    #[test]
    fn an_endpoint_that_is_only_remembered_is_set_again() {
        let endpoint = Some(([192, 0, 2, 1], 9).into());
        let wanted = PeerSettings { endpoint, ..PeerSettings::default() };
        let mut setting = Setting { endpoint, ..Setting::default() };
        assert!(setting.change_to(&wanted, false, Endpoints::Read) == Change::default());
        let change = setting.change_to(&wanted, false, Endpoints::Remembered);
        assert_eq!(change.endpoint, Some(endpoint));
    }

    #[test]
    fn a_peer_that_is_to_be_as_new_loses_what_is_not_said() {
        let endpoint = Some(([192, 0, 2, 1], 9).into());
        let mut setting = Setting { endpoint, keepalive: 25, ..Setting::default() };
        let change = setting.change_to(&PeerSettings::default(), true, Endpoints::Read);
        assert_eq!((change.keepalive, change.preshared_key, change.endpoint), (Some(0), None, Some(None)));
    }
}
