//! What servers of one database say to each other, sealed: who has the servers' common key, and only that, can write it.
//!
//! Not for keeping out copies: a letter says when it was written, and whoever must not hear the same twice counts.

use anyhow::{Result, anyhow};
use data_encoding::BASE64URL_NOPAD;
use model::Timestamp;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};
use wire::SealingSecret;

use crate::identity::random;

const LABEL: &[u8] = b"netloom letters between servers v1\n";
/// Clocks of servers may differ by this much, and letters be on their way.
const MOST_AGE_MILLIS: i64 = 120_000;
const TIME: usize = 8;

/// What a letter is for: one that is for something else cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Says for whom a request is handed on.
    Forwarded,
    /// Says what the rendezvous saw.
    Seen,
    /// Says who a server is, and whether it leads.
    Word,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Forwarded => b"forwarded",
            Self::Seen => b"seen",
            Self::Word => b"word",
        }
    }
}

/// Seals and opens letters.
pub(crate) struct Letters(LessSafeKey);

impl Letters {
    /// By the key that all servers of a database share.
    pub(crate) fn new(secret: &SealingSecret) -> Self {
        let mut hash = Sha256::new();
        hash.update(LABEL);
        hash.update(secret.expose());
        let key =
            UnboundKey::new(&CHACHA20_POLY1305, &hash.finalize()).expect("a digest has the key's length");
        Self(LessSafeKey::new(key))
    }

    /// A letter written now.
    pub(crate) fn seal(&self, purpose: Purpose, message: &[u8], now: Timestamp) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut sealed = now.as_millis().to_be_bytes().to_vec();
        sealed.extend_from_slice(message);
        let aad = Aad::from(purpose.label());
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .map_err(|_| anyhow!("a letter cannot be sealed"))?;
        sealed.splice(..0, nonce);
        Ok(sealed)
    }

    /// What a letter says; none where it is nobody's, for something else, or too old.
    pub(crate) fn open(&self, purpose: Purpose, sealed: &[u8], now: Timestamp) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let aad = Aad::from(purpose.label());
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut sealed).ok()?;
        let (time, message) = opened.split_first_chunk::<TIME>()?;
        let age = now.as_millis().checked_sub(i64::from_be_bytes(*time))?;
        (age.saturating_abs() <= MOST_AGE_MILLIS).then(|| message.to_vec())
    }

    /// The same as text, for headers.
    pub(crate) fn seal_text(&self, purpose: Purpose, message: &[u8], now: Timestamp) -> Result<String> {
        Ok(BASE64URL_NOPAD.encode(&self.seal(purpose, message, now)?))
    }

    /// What a text says.
    pub(crate) fn open_text(&self, purpose: Purpose, text: &str, now: Timestamp) -> Option<Vec<u8>> {
        self.open(purpose, &BASE64URL_NOPAD.decode(text.as_bytes()).ok()?, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_read_by_those_with_the_key_for_its_purpose_and_in_its_time() {
        let [ours, theirs] = [1, 2].map(|key| Letters::new(&SealingSecret::from_random([key; 32])));
        let now = Timestamp::from_millis(1_800_000_000_000);
        let later = |millis| Timestamp::from_millis(now.as_millis() + millis);
        let text = ours.seal_text(Purpose::Forwarded, b"hello", now).unwrap();
        let open = |letters: &Letters, purpose, at| letters.open_text(purpose, &text, at);
        assert_eq!(open(&ours, Purpose::Forwarded, later(100_000)).as_deref(), Some(&b"hello"[..]));
        assert_eq!(open(&theirs, Purpose::Forwarded, now), None);
        assert_eq!(open(&ours, Purpose::Seen, now), None);
        assert_eq!(open(&ours, Purpose::Forwarded, later(130_000)), None);
        assert_eq!(open(&ours, Purpose::Forwarded, later(-130_000)), None);
        for nonsense in ["", "AAAA", "%", &text[1..]] {
            assert_eq!(ours.open_text(Purpose::Forwarded, nonsense, now), None, "{nonsense}");
        }
    }
}
