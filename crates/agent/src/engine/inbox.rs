//! What the broker brings, opened: whoever runs the broker may bring it twice, late, or never.
//!
//! Not for what is done about it. It keeps true that nothing is taken twice, nor after something that was said later; but for a
//! roll call, which asks for nothing that could do harm.

use wire::{Down, SealError};

use crate::state::{Channels, Which};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inbox {
    last: u64,
}

/// What a message was.
#[derive(Debug, PartialEq)]
pub(super) enum Taken {
    /// To be acted on.
    Message(Box<Down>),
    /// The server's, but of another version.
    Unreadable,
    /// It came before, or too late.
    Again,
}

impl Inbox {
    /// One for messages that were said after this one.
    pub(super) const fn after(last: u64) -> Self {
        Self { last }
    }

    /// Opens a message.
    pub(super) fn take(&mut self, channels: &Channels, sealed: &[u8]) -> Result<(Taken, Which), SealError> {
        let (opened, which) = channels.open(sealed)?;
        let is_new = opened.sequence > self.last;
        self.last = self.last.max(opened.sequence);
        let taken = match wire::decode::<Down>(&opened.plaintext) {
            // The roll may be called by one who has said nothing since.
            Ok(down @ Down::Fetch(_)) => Taken::Message(Box::new(down)),
            Ok(_) | Err(_) if !is_new => Taken::Again,
            Ok(down @ (Down::Delta(_) | Down::Removed)) => Taken::Message(Box::new(down)),
            Err(_) => Taken::Unreadable,
        };
        Ok((taken, which))
    }
}

#[cfg(test)]
mod tests {
    use model::{Generation, HostId};
    use wire::{Channel, Delta, Direction};

    use super::*;

    fn channel(host: u8) -> Channel {
        Channel::restore(HostId::from_bytes([host; 16]), [2; 32], [3; 32])
    }

    fn take(inbox: &mut Inbox, host: u8, sealed: &[u8]) -> Result<Taken, SealError> {
        inbox.take(&Channels::only(channel(host)), sealed).map(|(taken, _)| taken)
    }

    fn delta(sequence: u64) -> Down {
        let generation = Generation::from_number(sequence);
        Down::Delta(Delta { generation, ..Delta::default() })
    }

    fn sealed(sequence: u64, down: &Down) -> Vec<u8> {
        channel(1).seal(Direction::Down, sequence, [7; 24], &wire::encode(down))
    }

    fn message(down: Down) -> Result<Taken, SealError> {
        Ok(Taken::Message(Box::new(down)))
    }

    #[test]
    fn what_comes_again_or_late_is_not_taken() {
        let mut inbox = Inbox::after(4);
        assert_eq!(take(&mut inbox, 1, &sealed(6, &delta(6))), message(delta(6)));
        for old in [6, 5, 4, 1] {
            assert_eq!(take(&mut inbox, 1, &sealed(old, &delta(old))), Ok(Taken::Again), "{old}");
            assert_eq!(take(&mut inbox, 1, &sealed(old, &Down::Removed)), Ok(Taken::Again), "{old}");
        }
        assert_eq!(take(&mut inbox, 1, &sealed(7, &delta(7))), message(delta(7)));
    }

    #[test]
    fn a_roll_call_is_heard_however_often_and_makes_nothing_older_pass() {
        let mut inbox = Inbox::after(4);
        let call = Down::Fetch(Generation::from_number(9));
        for _ in 0..3 {
            assert_eq!(take(&mut inbox, 1, &sealed(9, &call)), message(call.clone()));
        }
        let old = Down::Fetch(Generation::from_number(3));
        assert_eq!(take(&mut inbox, 1, &sealed(3, &old)), message(old));
        assert_eq!(take(&mut inbox, 1, &sealed(8, &delta(8))), Ok(Taken::Again));
    }

    #[test]
    fn what_was_sealed_by_or_for_somebody_else_is_refused_and_what_is_newer_than_this_program_is_told() {
        let mut inbox = Inbox::after(4);
        let message = sealed(9, &delta(9));
        assert_eq!(take(&mut inbox, 2, &message), Err(SealError::Broken));
        let upwards = channel(1).seal(Direction::Up, 9, [7; 24], &wire::encode(&delta(9)));
        assert_eq!(take(&mut inbox, 1, &upwards), Err(SealError::Broken));
        let later = channel(1).seal(Direction::Down, 9, [7; 24], &[0x82, 0x18, 99, 0x80]);
        assert_eq!(take(&mut inbox, 1, &later), Ok(Taken::Unreadable));
        assert_eq!(take(&mut inbox, 1, &later), Ok(Taken::Again));
    }
}
