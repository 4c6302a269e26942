//! Another WireGuard key for a host that is known. Signed like every request of a host; this proves the new key besides.

use minicbor::{Decode, Encode};
use model::{HostId, WgPublicKey};

use crate::register::WireguardProof;
use crate::secret::WgSecret;

/// A host's new WireGuard key, with proof that the host has its private half.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeyChange {
    /// The key.
    #[n(0)]
    pub wireguard_key: WgPublicKey,
    /// Proof of possession, for this host and no other.
    #[n(1)]
    pub wireguard_proof: WireguardProof,
}

impl KeyChange {
    /// Proves to the server with this key (`Hello::wireguard_key`) that the host has the secret.
    pub fn prove(host: HostId, secret: &WgSecret, server: &WgPublicKey) -> Self {
        let wireguard_key = secret.public();
        let proof = WireguardProof::of(secret, server, &transcript(host, &wireguard_key));
        Self { wireguard_key, wireguard_proof: proof.unwrap_or(WireguardProof::NONE) }
    }

    /// Whether the proof holds for this host.
    pub fn is_proved(&self, host: HostId, server: &WgSecret) -> bool {
        let expected =
            WireguardProof::of(server, &self.wireguard_key, &transcript(host, &self.wireguard_key));
        expected.is_some_and(|expected| expected.matches(&self.wireguard_proof))
    }
}

fn transcript(host: HostId, key: &WgPublicKey) -> Vec<u8> {
    [b"netloom key change v1\n".as_slice(), host.as_bytes(), key.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_the_private_key_proves_it_and_for_one_host() {
        let (server, new) = (WgSecret::from_random([1; 32]), WgSecret::from_random([2; 32]));
        let (host, other) = (HostId::from_bytes([3; 16]), HostId::from_bytes([4; 16]));
        let change = KeyChange::prove(host, &new, &server.public());
        assert!(change.is_proved(host, &server) && !change.is_proved(other, &server));
        let stolen = KeyChange { wireguard_key: WgSecret::from_random([5; 32]).public(), ..change.clone() };
        assert!(!stolen.is_proved(host, &server));
        let low = KeyChange::prove(host, &new, &WgPublicKey::from_bytes([0; 32]));
        assert!(!low.is_proved(host, &server));
    }
}
