//! How the server says no to an agent: a code that programs act on, and a sentence that people read.

use minicbor::decode::Error;
use minicbor::{Decode, Decoder, Encode};
use model::Timestamp;

/// The kinds of refusal. New ones may come; an agent treats one it does not know by its sentence alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode)]
#[cbor(index_only)]
pub enum RefusalCode {
    /// The enrollment key does not exist (any more).
    #[n(0)]
    UnknownKey,
    /// The enrollment key has expired.
    #[n(1)]
    ExpiredKey,
    /// The enrollment key was used as often as it may be.
    #[n(2)]
    SpentKey,
    /// The clocks differ too much.
    #[n(3)]
    ClockSkew,
    /// The server does not know this host: it was removed.
    #[n(4)]
    UnknownHost,
    /// The signature or a proof is wrong.
    #[n(5)]
    NotProved,
    /// The request cannot be read or breaks a rule; the sentence says which.
    #[n(6)]
    Invalid,
    /// Too much at once; try again after `retry_after`.
    #[n(7)]
    Busy,
    /// Something broke in the server; it is in its log.
    #[n(8)]
    Internal,
    /// Newer than this program. Never sent on purpose.
    #[n(23)]
    Other,
}

impl RefusalCode {
    const KNOWN: [Self; 9] = [
        Self::UnknownKey,
        Self::ExpiredKey,
        Self::SpentKey,
        Self::ClockSkew,
        Self::UnknownHost,
        Self::NotProved,
        Self::Invalid,
        Self::Busy,
        Self::Internal,
    ];
}

// By hand: what `derive` makes of an unknown variant is an error, and the sentence would be lost with it.
impl<'b, C> Decode<'b, C> for RefusalCode {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, Error> {
        let number = d.u32()?;
        let known = usize::try_from(number).ok().and_then(|index| Self::KNOWN.get(index));
        Ok(known.copied().unwrap_or(Self::Other))
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(map)]
#[error("{message}")]
pub struct Refusal {
    /// The kind.
    #[n(0)]
    pub code: RefusalCode,
    /// What is wrong and what to do.
    #[n(1)]
    pub message: String,
    /// The server's time, for clocks that differ.
    #[n(2)]
    pub server_time: Timestamp,
    /// Seconds to wait before trying again.
    #[n(3)]
    pub retry_after: Option<u32>,
    /// Another server may take it now: this one does not lead and knows no leader that answers, or its database is out of its
    /// reach. Whoever knows other addresses tries them before waiting.
    #[cbor(n(4), default, skip_if = "is_false")]
    pub elsewhere: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "minicbor hands over a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
