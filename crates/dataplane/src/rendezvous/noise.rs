//! The responder's half of WireGuard's handshake, and the check of a keepalive under the keys it makes.
//!
//! A rendezvous needs one thousandth of a tunnel: it never begins a handshake, never sends data and never
//! receives any. What it needs for each host fits in two hundred bytes, where a whole tunnel state takes
//! seventeen thousand; hence these few functions, which follow sections 5.4.2 to 5.4.6 of the WireGuard paper
//! letter by letter. Message authentication codes and cookies are not here but in [`super::gate`].
//!
//! Invariant: nothing here keeps state; every function is given what it needs and says what it found.

use blake2::digest::FixedOutput;
use blake2::digest::consts::U16;
use blake2::{Blake2s256, Blake2sMac, Digest};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use gotatun::x25519::{PublicKey as Point, StaticSecret};

use crate::PublicKey;

/// Length of a handshake initiation.
pub(super) const INITIATION_LEN: usize = 148;
/// Length of a handshake response.
pub(super) const RESPONSE_LEN: usize = 92;
/// Length of a data message without data: a keepalive.
pub(super) const KEEPALIVE_LEN: usize = 32;

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";
const LABEL_MAC1: &[u8] = b"mac1----";
const BLAKE2S_BLOCK: usize = 64;

type Hash = [u8; 32];

/// When the initiator says that it began, to the nanosecond (TAI64N). Later ones compare greater.
pub(super) type Timestamp = [u8; 12];

/// Our key pair, and the start of every transcript with us.
pub(super) struct Identity {
    secret: StaticSecret,
    public: PublicKey,
    chain: Hash,
    transcript: Hash,
}

/// An initiation whose sender proved to hold the private key of `public_key`.
///
/// It proves nothing about where it came from: anybody may have recorded it.
pub(super) struct Initiation {
    /// Who began.
    pub(super) public_key: PublicKey,
    /// When, by the initiator's clock.
    pub(super) timestamp: Timestamp,
    sender_index: [u8; 4],
    ephemeral: Point,
    chain: Hash,
    transcript: Hash,
}

/// The answer to an [`Initiation`], and what it makes.
pub(super) struct Response {
    /// The datagram to send back.
    pub(super) datagram: [u8; RESPONSE_LEN],
    /// The key under which the initiator's data messages will come.
    pub(super) receiving_key: [u8; 32],
}

impl Identity {
    /// Takes the private key.
    pub(super) fn new(private_key: [u8; 32]) -> Self {
        let secret = StaticSecret::from(private_key);
        let public = Point::from(&secret).to_bytes();
        let chain = hash(&[CONSTRUCTION]);
        let transcript = hash(&[&hash(&[&chain, IDENTIFIER]), &public]);
        Self { secret, public, chain, transcript }
    }

    /// The key that hosts know us by.
    pub(super) const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Opens an initiation, asking `is_known` about the claimed key before the costly second half.
    pub(super) fn open_initiation(
        &self,
        message: &[u8; INITIATION_LEN],
        is_known: impl FnOnce(&PublicKey) -> bool,
    ) -> Option<Initiation> {
        let ephemeral = Point::from(array::<32>(message, 8)?);
        let sealed_key = &message[40..88];
        let sealed_timestamp = &message[88..116];

        let mut transcript = hash(&[&self.transcript, ephemeral.as_bytes()]);
        let [chain] = derive(&self.chain, ephemeral.as_bytes());
        let [chain, key] = derive(&chain, &self.shared_with(&ephemeral)?);
        let public_key: PublicKey = open(&key, 0, sealed_key, &transcript)?.try_into().ok()?;
        if !is_known(&public_key) {
            return None;
        }
        transcript = hash(&[&transcript, sealed_key]);
        let [chain, key] = derive(&chain, &self.shared_with(&Point::from(public_key))?);
        let timestamp: Timestamp = open(&key, 0, sealed_timestamp, &transcript)?.try_into().ok()?;
        transcript = hash(&[&transcript, sealed_timestamp]);
        let sender_index = array::<4>(message, 4)?;
        Some(Initiation { public_key, timestamp, sender_index, ephemeral, chain, transcript })
    }

    /// The secret shared with the holder of `point`; none if the point is one of the few that share nothing.
    fn shared_with(&self, point: &Point) -> Option<[u8; 32]> {
        contributory(&self.secret, point)
    }
}

impl Initiation {
    /// Answers, naming the new session `index` and using `ephemeral_secret` for this answer alone.
    pub(super) fn respond(&self, index: u32, ephemeral_secret: [u8; 32]) -> Option<Response> {
        let secret = StaticSecret::from(ephemeral_secret);
        let ephemeral = Point::from(&secret);

        let mut transcript = hash(&[&self.transcript, ephemeral.as_bytes()]);
        let [chain] = derive(&self.chain, ephemeral.as_bytes());
        let [chain] = derive(&chain, &contributory(&secret, &self.ephemeral)?);
        let [chain] = derive(&chain, &contributory(&secret, &Point::from(self.public_key))?);
        // No preshared key: the protocol then mixes in zeros.
        let [chain, mixed, key] = derive(&chain, &[0; 32]);
        transcript = hash(&[&transcript, &mixed]);
        let sealed_nothing = seal_nothing(&key, &transcript)?;
        let [receiving_key, _sending_key] = derive(&chain, &[]);

        let mut datagram = [0; RESPONSE_LEN];
        datagram[0] = 2;
        datagram[4..8].copy_from_slice(&index.to_le_bytes());
        datagram[8..12].copy_from_slice(&self.sender_index);
        datagram[12..44].copy_from_slice(ephemeral.as_bytes());
        datagram[44..60].copy_from_slice(&sealed_nothing);
        let mac1 = mac(&hash(&[LABEL_MAC1, &self.public_key]), &datagram[..60]);
        datagram[60..76].copy_from_slice(&mac1);
        Some(Response { datagram, receiving_key })
    }
}

/// The session index that a keepalive names.
pub(super) fn keepalive_index(message: &[u8; KEEPALIVE_LEN]) -> Option<u32> {
    array::<4>(message, 4).map(u32::from_le_bytes)
}

/// The counter of a keepalive that authenticates under `receiving_key`.
pub(super) fn open_keepalive(message: &[u8; KEEPALIVE_LEN], receiving_key: &[u8; 32]) -> Option<u64> {
    let counter = u64::from_le_bytes(array::<8>(message, 8)?);
    open(receiving_key, counter, &message[16..], &[])?;
    Some(counter)
}

fn contributory(secret: &StaticSecret, point: &Point) -> Option<[u8; 32]> {
    let shared = secret.diffie_hellman(point);
    shared.was_contributory().then(|| shared.to_bytes())
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut hasher = Blake2s256::new();
    for part in parts {
        Digest::update(&mut hasher, part);
    }
    hasher.finalize().into()
}

/// HMAC (RFC 2104) over BLAKE2s, which is what the protocol's key derivation is made of; not keyed BLAKE2s.
fn hmac(key: &Hash, parts: &[&[u8]]) -> Hash {
    let mut inner_pad = [0x36; BLAKE2S_BLOCK];
    let mut outer_pad = [0x5c; BLAKE2S_BLOCK];
    for (i, byte) in key.iter().enumerate() {
        inner_pad[i] ^= byte;
        outer_pad[i] ^= byte;
    }
    let mut inner = Blake2s256::new();
    Digest::update(&mut inner, inner_pad);
    for part in parts {
        Digest::update(&mut inner, part);
    }
    hash(&[&outer_pad, &inner.finalize()])
}

/// The paper's `KDF1` to `KDF3`, by the number of keys asked for.
fn derive<const N: usize>(chain: &Hash, input: &[u8]) -> [Hash; N] {
    let root = hmac(chain, &[input]);
    let mut keys = [[0; 32]; N];
    let mut previous: &[u8] = &[];
    for (key, number) in keys.iter_mut().zip(1u8..) {
        *key = hmac(&root, &[previous, &[number]]);
        previous = key;
    }
    keys
}

fn mac(key: &Hash, message: &[u8]) -> [u8; 16] {
    let mut mac = <Blake2sMac<U16> as blake2::digest::KeyInit>::new_from_slice(key)
        .expect("BLAKE2s takes keys of up to 32 bytes");
    blake2::digest::Update::update(&mut mac, message);
    mac.finalize_fixed().into()
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::from(nonce)
}

fn open(key: &[u8; 32], counter: u64, sealed: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
    let cipher = ChaCha20Poly1305::new(&Key::from(*key));
    cipher.decrypt(&nonce(counter), Payload { msg: sealed, aad }).ok()
}

fn seal_nothing(key: &[u8; 32], aad: &[u8]) -> Option<[u8; 16]> {
    let cipher = ChaCha20Poly1305::new(&Key::from(*key));
    cipher.encrypt(&nonce(0), Payload { msg: &[], aad }).ok()?.try_into().ok()
}
