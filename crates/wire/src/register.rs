//! Registration: how a machine becomes a host. It proves that it has every private key whose public key it names.

use std::net::IpAddr;

use minicbor::{Decode, Encode};
use model::{HostId, HostName, NetworkName, SealingPublicKey, SigningPublicKey, Timestamp, WgPublicKey};
use sha2::{Digest as _, Sha256};

use crate::secret::{SigningSecret, WgSecret, verifies};
use crate::{CredentialError, Facts, HostSettings};

/// What an agent must know of a server before it can register.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// The server's version.
    #[n(0)]
    pub version: String,
    /// What the server calls itself.
    #[n(1)]
    pub name: String,
    /// Its end of the sealed channel.
    #[n(2)]
    pub sealing_key: SealingPublicKey,
    /// The key to which possession of the WireGuard key is proved: the first rendezvous identity.
    #[n(3)]
    pub wireguard_key: WgPublicKey,
    /// Its time.
    #[n(4)]
    pub time: Timestamp,
}

/// Proof of possession of a WireGuard private key: a digest over the secret it shares with the server's key and over
/// the registration.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct WireguardProof(#[cbor(with = "minicbor::bytes")] [u8; 32]);

impl WireguardProof {
    /// Proves nothing.
    pub(crate) const NONE: Self = Self([0; 32]);

    /// None where the other's key is of low order: that would prove nothing.
    pub(crate) fn of(secret: &WgSecret, other: &WgPublicKey, transcript: &[u8]) -> Option<Self> {
        let transcript = Sha256::digest(transcript);
        let mut hash = Sha256::new_with_prefix(b"netloom wireguard possession v1\n");
        hash.update(*secret.agree(other)?);
        hash.update(transcript);
        Some(Self(hash.finalize().into()))
    }

    pub(crate) fn matches(&self, other: &Self) -> bool {
        // No early end: the time taken tells nothing about where they differ.
        self.0.iter().zip(other.0).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

/// What a machine asks to be.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Registration {
    /// The enrollment key's secret. None for a host that is known and only renews what it registered.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub enrollment: Option<[u8; 32]>,
    /// What the machine calls itself, when its settings say nothing.
    #[n(1)]
    pub hostname: HostName,
    /// Its WireGuard key.
    #[n(2)]
    pub wireguard_key: WgPublicKey,
    /// The key it signs with; known hosts are recognised by it.
    #[n(3)]
    pub signing_key: SigningPublicKey,
    /// Its end of the sealed channel.
    #[n(4)]
    pub sealing_key: SealingPublicKey,
    /// The encapsulated key of its HPKE hand-over.
    #[n(5)]
    pub encapsulated: SealingPublicKey,
    /// What its own settings say.
    #[n(6)]
    pub settings: HostSettings,
    /// What it is.
    #[n(7)]
    pub facts: Facts,
    /// Its time.
    #[n(8)]
    pub time: Timestamp,
    /// Addresses it would have in the networks it joins; none: any.
    #[cbor(n(9), default, skip_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

/// A registration with its proofs: `REGISTER`'s body.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RegisterRequest {
    /// The encoded `Registration`: exactly the bytes that are signed.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub registration: Vec<u8>,
    /// Its Ed25519 signature by the signing key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub signature: [u8; 64],
    /// Proof of possession of the WireGuard key.
    #[n(2)]
    pub wireguard_proof: WireguardProof,
}

impl std::fmt::Debug for RegisterRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegisterRequest(…)")
    }
}

impl RegisterRequest {
    /// Signs and proves a registration to the server with this WireGuard key.
    pub fn prove(
        registration: &Registration,
        signing: &SigningSecret,
        wireguard: &WgSecret,
        server: &WgPublicKey,
    ) -> Self {
        let bytes = crate::encode(registration);
        let signature = signing.sign(&bytes);
        // To a server whose key is of low order nothing can be proved: it refuses this.
        let wireguard_proof = WireguardProof::of(wireguard, server, &bytes).unwrap_or(WireguardProof::NONE);
        Self { registration: bytes, signature, wireguard_proof }
    }

    /// The registration, if it was made just now by somebody who has the private keys of all it names. That the sealing
    /// key's is there shows when the channel first opens something.
    pub fn verify(&self, server: &WgSecret, now: Timestamp) -> Result<Registration, CredentialError> {
        let registration: Registration =
            crate::decode(&self.registration).map_err(|_| CredentialError::Form)?;
        if registration.time.distance(now) > crate::MOST_SKEW {
            return Err(crate::ClockSkew { host: registration.time, server: now }.into());
        }
        if !verifies(&registration.signing_key, &self.registration, &self.signature) {
            return Err(CredentialError::Signature);
        }
        let expected = WireguardProof::of(server, &registration.wireguard_key, &self.registration);
        if !expected.is_some_and(|expected| expected.matches(&self.wireguard_proof)) {
            return Err(CredentialError::Signature);
        }
        Ok(registration)
    }
}

/// The answer to a registration. The map is fetched next, over the sealed channel.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RegisterReply {
    /// The host it is now, or was before.
    #[n(0)]
    pub host: HostId,
    /// The name it got.
    #[n(1)]
    pub name: HostName,
    /// The networks it is in now.
    #[n(2)]
    pub networks: Vec<NetworkName>,
}

/// What a host leaves.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Leave {
    /// One network.
    #[n(0)]
    Network(#[n(0)] NetworkName),
    /// Everything: the server forgets the host.
    #[n(1)]
    Server,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    struct Agent {
        signing: SigningSecret,
        wireguard: WgSecret,
        registration: Registration,
    }

    fn agent() -> Agent {
        let signing = SigningSecret::from_random([1; 32]);
        let wireguard = WgSecret::from_random([2; 32]);
        let registration = Registration {
            enrollment: Some([3; 32]),
            hostname: HostName::nearest("web-01"),
            wireguard_key: wireguard.public(),
            signing_key: signing.public(),
            sealing_key: SealingPublicKey::from_bytes([4; 32]),
            encapsulated: SealingPublicKey::from_bytes([5; 32]),
            settings: HostSettings::default(),
            facts: Facts::default(),
            time: NOW,
            addresses: Vec::new(),
        };
        Agent { signing, wireguard, registration }
    }

    #[test]
    fn a_registration_is_believed_only_with_every_private_key() {
        let server = WgSecret::from_random([6; 32]);
        let Agent { signing, wireguard, registration } = agent();
        let good = RegisterRequest::prove(&registration, &signing, &wireguard, &server.public());
        assert_eq!(good.verify(&server, NOW).unwrap(), registration);

        let stranger = WgSecret::from_random([7; 32]);
        let stolen = RegisterRequest::prove(&registration, &signing, &stranger, &server.public());
        assert_eq!(stolen.verify(&server, NOW), Err(CredentialError::Signature));

        let thief = SigningSecret::from_random([8; 32]);
        let stolen = RegisterRequest::prove(&registration, &thief, &wireguard, &server.public());
        assert_eq!(stolen.verify(&server, NOW), Err(CredentialError::Signature));
    }

    #[test]
    fn a_wireguard_key_that_everybody_has_is_refused() {
        let server = WgSecret::from_random([6; 32]);
        let Agent { signing, mut registration, .. } = agent();
        registration.wireguard_key = WgPublicKey::from_bytes([0; 32]);
        let bytes = crate::encode(&registration);
        let mut hash = Sha256::new_with_prefix(b"netloom wireguard possession v1\n");
        hash.update([0; 32]);
        hash.update(Sha256::digest(&bytes));
        let wireguard_proof = WireguardProof(hash.finalize().into());
        let signature = signing.sign(&bytes);
        let forged = RegisterRequest { registration: bytes, signature, wireguard_proof };
        assert_eq!(forged.verify(&server, NOW), Err(CredentialError::Signature));
    }

    #[test]
    fn a_changed_registration_is_refused() {
        let server = WgSecret::from_random([6; 32]);
        let Agent { signing, wireguard, mut registration } = agent();
        let mut request = RegisterRequest::prove(&registration, &signing, &wireguard, &server.public());
        registration.hostname = HostName::nearest("db-01");
        request.registration = crate::encode(&registration);
        assert_eq!(request.verify(&server, NOW), Err(CredentialError::Signature));
    }

    #[test]
    fn an_old_registration_is_told_about_the_clock() {
        let server = WgSecret::from_random([6; 32]);
        let Agent { signing, wireguard, registration } = agent();
        let request = RegisterRequest::prove(&registration, &signing, &wireguard, &server.public());
        let later = NOW + std::time::Duration::from_secs(86_400);
        assert!(matches!(request.verify(&server, later), Err(CredentialError::Clock(_))));
    }
}
