//! The sealed channel between the server and one host, through brokers that nobody has to trust.
//!
//! Agreed once: the agent does an HPKE hand-over (RFC 9180, authenticated mode, X25519, HKDF-SHA256) to the server's sealing
//! key and exports one key for each direction; the server does the same from what the host record holds, all of it public.
//! Then one XChaCha20-Poly1305 a message, its nonce random, with direction, host and sequence bound in. The receiver refuses
//! sequences that do not grow; that memory is the caller's.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use data_encoding::BASE64URL_NOPAD;
use hpke::aead::ExportOnlyAead;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::CryptoRng;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use model::{HostId, SealingPublicKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::secret::SealingSecret;

type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type Encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey;

const INFO: &[u8] = b"netloom sealed channel v1";
const BROKER_PASSWORD: &[u8] = b"netloom broker password v1\n";
const VERSION: u8 = 1;
const NONCE: usize = 24;
const HEAD: usize = 1 + 8 + NONCE;

/// Why a message was not opened, or a channel not agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A public key that no channel can be agreed with.
    #[error("the sealing key is not a valid X25519 key")]
    BadKey,
    /// Shorter than any sealed message.
    #[error("the sealed message is cut short")]
    Short,
    /// Sealed in a way this version does not know.
    #[error("the sealed message has version {0}; this program knows version 1")]
    Version(u8),
    /// Not sealed by the other end of this channel, for this direction and host.
    #[error("the seal is broken: the message is not from the other end, or was changed on the way")]
    Broken,
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Server to agent.
    Down,
    /// Agent to server.
    Up,
}

/// An opened message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The sender's sequence number: a generation downwards, a time in milliseconds upwards.
    pub sequence: u64,
    /// What was sealed.
    pub plaintext: Vec<u8>,
}

/// One end of the channel between the server and one host.
#[derive(Clone)]
pub struct Channel {
    host: HostId,
    down: Zeroizing<[u8; 32]>,
    up: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Channel({})", self.host)
    }
}

/// What an agent has agreed before it knows its host id.
pub struct Agreement {
    /// Travels to the server in the registration.
    pub encapsulated: SealingPublicKey,
    down: Zeroizing<[u8; 32]>,
    up: Zeroizing<[u8; 32]>,
}

impl Agreement {
    /// The agent's end: agrees with the server's key.
    pub fn initiate(
        own: &SealingSecret,
        server: &SealingPublicKey,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, SealError> {
        let private = PrivateKey::from_bytes(own.expose()).map_err(|_| SealError::BadKey)?;
        let public = public_key(&own.public())?;
        let mode = OpModeS::<X25519HkdfSha256>::Auth((private, public));
        let (encapsulated, context) = hpke::setup_sender_with_rng::<
            ExportOnlyAead,
            HkdfSha256,
            X25519HkdfSha256,
        >(&mode, &public_key(server)?, INFO, rng)
        .map_err(|_| SealError::BadKey)?;
        let bytes =
            <[u8; 32]>::try_from(encapsulated.to_bytes().as_slice()).map_err(|_| SealError::BadKey)?;
        Ok(Self {
            encapsulated: SealingPublicKey::from_bytes(bytes),
            down: exported(|label, out| context.export(label, out), b"down")?,
            up: exported(|label, out| context.export(label, out), b"up")?,
        })
    }

    /// The channel of the host that the server made of the registration.
    pub fn into_channel(self, host: HostId) -> Channel {
        Channel { host, down: self.down, up: self.up }
    }
}

fn public_key(key: &SealingPublicKey) -> Result<PublicKey, SealError> {
    PublicKey::from_bytes(key.as_bytes()).map_err(|_| SealError::BadKey)
}

fn exported(
    export: impl FnOnce(&[u8], &mut [u8]) -> Result<(), hpke::HpkeError>,
    label: &[u8],
) -> Result<Zeroizing<[u8; 32]>, SealError> {
    let mut key = Zeroizing::new([0; 32]);
    export(label, key.as_mut_slice()).map_err(|_| SealError::BadKey)?;
    Ok(key)
}

impl Channel {
    /// The server's end: agrees from what the host registered with.
    pub fn accept(
        own: &SealingSecret,
        host: HostId,
        agent: &SealingPublicKey,
        encapsulated: &SealingPublicKey,
    ) -> Result<Self, SealError> {
        let private = PrivateKey::from_bytes(own.expose()).map_err(|_| SealError::BadKey)?;
        let encapsulated =
            Encapsulated::from_bytes(encapsulated.as_bytes()).map_err(|_| SealError::BadKey)?;
        let mode = OpModeR::<X25519HkdfSha256>::Auth(public_key(agent)?);
        let context = hpke::setup_receiver::<ExportOnlyAead, HkdfSha256, X25519HkdfSha256>(
            &mode,
            &private,
            &encapsulated,
            INFO,
        )
        .map_err(|_| SealError::BadKey)?;
        Ok(Self {
            host,
            down: exported(|label, out| context.export(label, out), b"down")?,
            up: exported(|label, out| context.export(label, out), b"up")?,
        })
    }

    /// The channel from keys that were kept on the agent's disk.
    pub fn restore(host: HostId, down: [u8; 32], up: [u8; 32]) -> Self {
        Self { host, down: Zeroizing::new(down), up: Zeroizing::new(up) }
    }

    /// The keys, down and up, for the agent's key file.
    pub fn expose(&self) -> (&[u8; 32], &[u8; 32]) {
        (&self.down, &self.up)
    }

    /// The host's password at a broker that is not the server's own; the user name is the host id. Both ends derive it, so that
    /// nobody has to send or keep it, and it tells nothing of the keys.
    pub fn broker_password(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(BROKER_PASSWORD);
        hash.update(self.host.as_bytes());
        hash.update(self.down.as_slice());
        hash.update(self.up.as_slice());
        BASE64URL_NOPAD.encode(&hash.finalize())
    }

    fn cipher(&self, direction: Direction) -> XChaCha20Poly1305 {
        let key = match direction {
            Direction::Down => &self.down,
            Direction::Up => &self.up,
        };
        XChaCha20Poly1305::new((&**key).into())
    }

    fn bound(&self, direction: Direction, sequence: u64) -> Vec<u8> {
        let mark: u8 = match direction {
            Direction::Down => b'd',
            Direction::Up => b'u',
        };
        [b"netloom/v1".as_slice(), &[mark], self.host.as_bytes(), &sequence.to_be_bytes()].concat()
    }

    /// Seals a message. The nonce must be fresh randomness.
    pub fn seal(&self, direction: Direction, sequence: u64, nonce: [u8; NONCE], plaintext: &[u8]) -> Vec<u8> {
        let payload = Payload { msg: plaintext, aad: &self.bound(direction, sequence) };
        let Ok(sealed) = self.cipher(direction).encrypt(&XNonce::from(nonce), payload) else {
            unreachable!("the cipher refuses only messages beyond 256 GiB");
        };
        [&[VERSION], sequence.to_be_bytes().as_slice(), &nonce, &sealed].concat()
    }

    /// Opens a message that the other end sealed for this direction.
    pub fn open(&self, direction: Direction, message: &[u8]) -> Result<Opened, SealError> {
        let (Some(version), Some(sequence), Some(nonce)) =
            (message.first(), message.get(1..9), message.get(9..HEAD))
        else {
            return Err(SealError::Short);
        };
        if *version != VERSION {
            return Err(SealError::Version(*version));
        }
        let sequence = u64::from_be_bytes(sequence.try_into().map_err(|_| SealError::Short)?);
        let nonce = XNonce::try_from(nonce).map_err(|_| SealError::Short)?;
        let payload = Payload { msg: &message[HEAD..], aad: &self.bound(direction, sequence) };
        let plaintext = self.cipher(direction).decrypt(&nonce, payload).map_err(|_| SealError::Broken)?;
        Ok(Opened { sequence, plaintext })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Counting(u8);

    impl hpke::rand_core::TryRng for Counting {
        type Error = std::convert::Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            self.0 = self.0.wrapping_add(1);
            Ok(u32::from(self.0))
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            self.0 = self.0.wrapping_add(1);
            Ok(u64::from(self.0))
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
            self.0 = self.0.wrapping_add(1);
            bytes.fill(self.0);
            Ok(())
        }
    }

    impl hpke::rand_core::TryCryptoRng for Counting {}

    fn both_ends() -> (Channel, Channel) {
        let agent = SealingSecret::from_random([1; 32]);
        let server = SealingSecret::from_random([2; 32]);
        let host = HostId::from_bytes([3; 16]);
        let agreement = Agreement::initiate(&agent, &server.public(), &mut Counting(9)).unwrap();
        let accepted = Channel::accept(&server, host, &agent.public(), &agreement.encapsulated).unwrap();
        (agreement.into_channel(host), accepted)
    }

    proptest! {
        #[test]
        fn both_ends_open_what_the_other_sealed(plaintext: Vec<u8>, sequence: u64, nonce: [u8; 24]) {
            let (agent, server) = both_ends();
            let sealed = server.seal(Direction::Down, sequence, nonce, &plaintext);
            let opened = Opened { sequence, plaintext: plaintext.clone() };
            prop_assert_eq!(agent.open(Direction::Down, &sealed), Ok(opened));
            prop_assert_eq!(agent.open(Direction::Up, &sealed), Err(SealError::Broken));
        }

        #[test]
        fn a_changed_byte_is_noticed(at in 0usize..60, sequence: u64) {
            let (agent, server) = both_ends();
            let mut sealed = agent.seal(Direction::Up, sequence, [7; 24], b"a report of some length");
            let at = at % sealed.len();
            sealed[at] ^= 1;
            prop_assert!(server.open(Direction::Up, &sealed).is_err());
        }

        #[test]
        fn junk_is_refused(junk: Vec<u8>) {
            let (agent, _) = both_ends();
            prop_assert!(agent.open(Direction::Down, &junk).is_err());
        }
    }

    #[test]
    fn both_ends_derive_the_same_password_for_brokers_and_another_one_after_each_agreement() {
        let (agent, server) = both_ends();
        assert_eq!(agent.broker_password(), server.broker_password());
        let other_keys = Channel::restore(agent.host, [1; 32], *agent.up);
        let other_host = Channel::restore(HostId::from_bytes([4; 16]), *agent.down, *agent.up);
        assert_ne!(agent.broker_password(), other_keys.broker_password());
        assert_ne!(agent.broker_password(), other_host.broker_password());
    }

    #[test]
    fn who_is_not_the_agent_cannot_agree_its_channel() {
        let server = SealingSecret::from_random([2; 32]);
        let agent = SealingSecret::from_random([1; 32]);
        let thief = SealingSecret::from_random([4; 32]);
        let host = HostId::from_bytes([3; 16]);
        let agreement = Agreement::initiate(&thief, &server.public(), &mut Counting(9)).unwrap();
        let accepted = Channel::accept(&server, host, &agent.public(), &agreement.encapsulated).unwrap();
        let sealed = agreement.into_channel(host).seal(Direction::Up, 1, [0; 24], b"forged");
        assert_eq!(accepted.open(Direction::Up, &sealed), Err(SealError::Broken));
    }
}
