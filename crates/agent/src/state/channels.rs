//! The sealed channels with one server: the one that counts, and around a change of the server's keys its neighbours.
//!
//! ```text
//!   agreed, on disk ─▶ next ─▶ the server has it, or seals with it ─▶ current ─▶ another one takes its place ─▶ former
//!                                                                                 the server was heard on the newer one ─▶ forgotten
//! ```
//!
//! Not for agreeing. It keeps true that whatever the server may have sealed with, a crash on either side included, is opened.

use wire::{Channel, Direction, Opened, SealError};

/// See the module.
#[derive(Debug, Clone)]
pub struct Channels {
    /// What this host seals with.
    pub current: Channel,
    /// The server may have taken it already.
    pub next: Option<Channel>,
    /// The server may have sealed with it what is still on its way.
    pub former: Option<Channel>,
}

/// Which channel a message came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one that counts.
    Current,
    /// The one to come: the server has taken it.
    Next,
    /// The one before.
    Former,
}

impl Channels {
    /// One alone.
    pub const fn only(current: Channel) -> Self {
        Self { current, next: None, former: None }
    }

    /// Opens what the server sealed.
    pub fn open(&self, sealed: &[u8]) -> Result<(Opened, Which), SealError> {
        let [current, next, former] = [Some(&self.current), self.next.as_ref(), self.former.as_ref()];
        let mut broken = SealError::Broken;
        for (channel, which) in [(current, Which::Current), (next, Which::Next), (former, Which::Former)] {
            let Some(channel) = channel else { continue };
            match channel.open(Direction::Down, sealed) {
                Ok(opened) => return Ok((opened, which)),
                Err(error) => broken = error,
            }
        }
        Err(broken)
    }
}

#[cfg(test)]
mod tests {
    use model::HostId;

    use super::*;

    fn channel(number: u8) -> Channel {
        Channel::restore(HostId::from_bytes([1; 16]), [number; 32], [3; 32])
    }

    #[test]
    fn whatever_the_server_may_have_sealed_with_is_opened_and_nothing_else() {
        let all = Channels { current: channel(1), next: Some(channel(2)), former: Some(channel(3)) };
        let by = |number| channel(number).seal(Direction::Down, 5, [7; 24], b"map");
        let which = |number: u8| all.open(&by(number)).map(|(opened, which)| (opened.sequence, which));
        assert_eq!(which(1), Ok((5, Which::Current)));
        assert_eq!(which(2), Ok((5, Which::Next)));
        assert_eq!(which(3), Ok((5, Which::Former)));
        assert_eq!(which(4), Err(SealError::Broken));
        let alone = Channels::only(channel(1));
        assert_eq!(alone.open(&by(2)), Err(SealError::Broken));
    }
}
