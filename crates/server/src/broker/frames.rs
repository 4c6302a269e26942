//! The frames of a WebSocket as a server sees them (RFC 6455): what MQTT needs of them, strictly, and nothing else.
//!
//! No I/O. Our own because MQTT wants a stream of bytes, whose packets need not align with messages: nothing is gathered
//! here, the bytes of a frame are handed on as they come, and a connection at rest holds no buffer. Invariants: no input
//! makes it panic · it holds at most one control frame · text, extensions and unmasked frames are refused.

use bytes::{BufMut, BytesMut};
use thiserror::Error;

/// The longest head of a frame that a server sends.
pub(super) const HEAD: usize = 10;
/// The longest that a client sends: it has a mask.
const CLIENT_HEAD: usize = 14;
const MOST_CONTROL: u64 = 125;

const FIN: u8 = 0x80;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PONG: u8 = 10;

/// Why a frame is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum BadFrame {
    #[error("a WebSocket frame without a mask")]
    Unmasked,
    #[error("a WebSocket frame with an extension that was not agreed")]
    Extension,
    #[error("a WebSocket frame of kind {0}; MQTT travels in binary ones")]
    Kind(u8),
    #[error("a WebSocket message that goes on before it began, or begins before the last one ended")]
    Fragments,
    #[error("a WebSocket control frame that is too long or in pieces")]
    Control,
}

/// Takes frames apart.
#[derive(Debug, Default)]
pub(super) struct Reader {
    head: [u8; CLIENT_HEAD],
    head_length: usize,
    frame: Option<Frame>,
    /// A message was begun and not ended.
    fragmented: bool,
    control: Vec<u8>,
    ping: Option<Vec<u8>>,
    closed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: Kind,
    left: u64,
    mask: [u8; 4],
    /// How many bytes of it were seen, as far as the mask cares.
    turn: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    Ping,
    Pong,
    Close,
}

impl Reader {
    /// Takes what came and appends the bytes that it carries.
    pub(super) fn feed(&mut self, mut input: &[u8], output: &mut BytesMut) -> Result<(), BadFrame> {
        while !self.closed {
            let Some(mut frame) = self.frame.take() else {
                if !self.gather_head(&mut input)? {
                    return Ok(());
                }
                continue;
            };
            let length = usize::try_from(frame.left).unwrap_or(usize::MAX).min(input.len());
            let (part, rest) = input.split_at(length);
            match frame.kind {
                Kind::Data => {
                    let from = output.len();
                    output.put_slice(part);
                    unmask(&mut output[from..], &mut frame);
                }
                Kind::Ping | Kind::Pong | Kind::Close => {
                    let from = self.control.len();
                    self.control.extend_from_slice(part);
                    unmask(&mut self.control[from..], &mut frame);
                }
            }
            input = rest;
            frame.left -= part.len() as u64;
            if frame.left > 0 {
                self.frame = Some(frame);
                return Ok(());
            }
            self.end(frame.kind);
        }
        Ok(())
    }

    fn end(&mut self, kind: Kind) {
        let control = std::mem::take(&mut self.control);
        match kind {
            Kind::Data | Kind::Pong => {}
            // Only the newest is answered, as the protocol allows: many pings make no heap of answers.
            Kind::Ping => self.ping = Some(control),
            Kind::Close => self.closed = true,
        }
    }

    /// True if a frame begins.
    fn gather_head(&mut self, input: &mut &[u8]) -> Result<bool, BadFrame> {
        while let Some((&byte, rest)) = input.split_first() {
            self.head[self.head_length] = byte;
            self.head_length += 1;
            *input = rest;
            if let Some(frame) = parse(&self.head[..self.head_length])? {
                self.begin(frame)?;
                self.head_length = 0;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn begin(&mut self, frame: Frame) -> Result<(), BadFrame> {
        let (last, opcode) = (self.head[0] & FIN != 0, self.head[0] & 0x0f);
        if frame.kind == Kind::Data {
            if (opcode == 0) != self.fragmented {
                return Err(BadFrame::Fragments);
            }
            self.fragmented = !last;
        } else if !last || frame.left > MOST_CONTROL {
            return Err(BadFrame::Control);
        }
        self.frame = Some(frame);
        Ok(())
    }

    /// The other end said that nothing more comes.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The answer to the last ping, whole.
    pub(super) fn take_pong(&mut self) -> Option<Vec<u8>> {
        let payload = self.ping.take()?;
        let length = u8::try_from(payload.len()).expect("a control frame has 125 bytes at most");
        Some([&[FIN | PONG, length][..], &payload].concat())
    }
}

/// The frame that begins with these bytes, once its head is whole.
fn parse(head: &[u8]) -> Result<Option<Frame>, BadFrame> {
    let &[first, second, ref rest @ ..] = head else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err(BadFrame::Extension);
    }
    let kind = match first & 0x0f {
        0 | BINARY => Kind::Data,
        CLOSE => Kind::Close,
        9 => Kind::Ping,
        PONG => Kind::Pong,
        other => return Err(BadFrame::Kind(other)),
    };
    if second & 0x80 == 0 {
        return Err(BadFrame::Unmasked);
    }
    let length_bytes = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if rest.len() < length_bytes + 4 {
        return Ok(None);
    }
    let (length, mask) = rest.split_at(length_bytes);
    let left = match length_bytes {
        0 => u64::from(second & 0x7f),
        _ => length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    };
    let mask = mask.try_into().expect("four bytes are left, the head grows by one at a time");
    Ok(Some(Frame { kind, left, mask, turn: 0 }))
}

fn unmask(bytes: &mut [u8], frame: &mut Frame) {
    let mut mask = frame.mask;
    mask.rotate_left(frame.turn);
    for four in bytes.chunks_mut(4) {
        four.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
    frame.turn = (frame.turn + bytes.len()) % 4;
}

/// Writes the head of a binary message over the end of the room that was left for it; says where the message begins.
pub(super) fn write_head(message: &mut [u8]) -> usize {
    let length = message.len() - HEAD;
    let first = FIN | BINARY;
    let (short, middle) = (u8::try_from(length), u16::try_from(length));
    let at = match (short, middle) {
        (Ok(short), _) if short < 126 => {
            message[HEAD - 1] = short;
            HEAD - 2
        }
        (_, Ok(middle)) => {
            message[HEAD - 2..HEAD].copy_from_slice(&middle.to_be_bytes());
            message[HEAD - 3] = 126;
            HEAD - 4
        }
        (_, Err(_)) => {
            message[2..HEAD].copy_from_slice(&(length as u64).to_be_bytes());
            message[1] = 127;
            0
        }
    };
    message[at] = first;
    at
}

/// A close frame without a reason.
pub(super) const FAREWELL: [u8; 2] = [FIN | CLOSE, 0];

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
