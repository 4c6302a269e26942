//! WebSocket frames (RFC 6455) as a client sends and takes them, and the upgrade that comes before.
//!
//! Knows nothing of what is in the frames. It keeps true that what is sent is masked, and that no frame from the server is
//! held that is larger than the limit.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use data_encoding::BASE64;

/// The largest frame that is taken; a push is at most 1 MiB.
pub(super) const MOST_FRAME: usize = 2 * 1024 * 1024;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    const ALL: [(Self, u8); 6] = [
        (Self::Continuation, 0x0),
        (Self::Text, 0x1),
        (Self::Binary, 0x2),
        (Self::Close, 0x8),
        (Self::Ping, 0x9),
        (Self::Pong, 0xa),
    ];

    fn number(self) -> u8 {
        Self::ALL.iter().find(|(opcode, _)| *opcode == self).map_or(0, |(_, number)| *number)
    }

    fn of(number: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == number).map(|(opcode, _)| *opcode)
    }
}

/// A frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) opcode: Opcode,
    pub(super) payload: Bytes,
}

/// Why bytes are no frame of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("a WebSocket frame of more than {MOST_FRAME} bytes")]
    TooLarge,
    #[error("a WebSocket frame with reserved bits, an unknown opcode, or a server's frame that is masked")]
    Shape,
}

/// Appends a frame as a client sends it.
pub(super) fn put(out: &mut Vec<u8>, opcode: Opcode, mask: [u8; 4], payload: &[u8]) {
    out.push(FINAL | opcode.number());
    match payload.len() {
        short @ 0..=125 => out.push(MASKED | u8::try_from(short).expect("at most 125")),
        middle @ 126..=0xffff => {
            out.push(MASKED | 126);
            out.put_u16(u16::try_from(middle).expect("at most 65535"));
        }
        long => {
            out.push(MASKED | 127);
            out.put_u64(long as u64);
        }
    }
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    out[start..].iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

/// Takes the next whole frame; none if there is not enough yet.
pub(super) fn take(input: &mut BytesMut) -> Result<Option<Frame>, Broken> {
    let (Some(first), Some(second)) = (input.first().copied(), input.get(1).copied()) else {
        return Ok(None);
    };
    let opcode = Opcode::of(first & 0x0f).filter(|_| first & 0x70 == 0 && second & MASKED == 0);
    let opcode = opcode.ok_or(Broken::Shape)?;
    let (head, length) = match second {
        126 => (4, input.get(2..4).map(|mut bytes| u64::from(bytes.get_u16()))),
        127 => (10, input.get(2..10).map(|mut bytes| bytes.get_u64())),
        short => (2, Some(u64::from(short))),
    };
    let Some(length) = length else {
        return Ok(None);
    };
    let length = usize::try_from(length).ok().filter(|length| *length <= MOST_FRAME);
    let length = length.ok_or(Broken::TooLarge)?;
    if input.len() < head + length {
        return Ok(None);
    }
    input.advance(head);
    Ok(Some(Frame { opcode, payload: input.split_to(length).freeze() }))
}

/// The request that turns a connection into a WebSocket for MQTT.
pub(super) fn upgrade(host: &str, path: &str, key: [u8; 16]) -> Vec<u8> {
    let key = BASE64.encode(&key);
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as the server would send it: the same without the mask.
    fn of_server(opcode: Opcode, payload: &[u8]) -> BytesMut {
        let mut masked = Vec::new();
        put(&mut masked, opcode, [0; 4], payload);
        let head = masked.len() - payload.len() - 4;
        let mut frame = BytesMut::from(&masked[..head]);
        frame[1] &= !MASKED;
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn frames_of_every_length_are_taken_whole_and_not_before() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            let payload = vec![7; length];
            let whole = of_server(Opcode::Binary, &payload);
            let mut input = whole.clone();
            input.extend_from_slice(b"next");
            let frame = take(&mut input).unwrap().expect("it is whole");
            assert_eq!((frame.opcode, frame.payload.len()), (Opcode::Binary, length));
            assert_eq!(&input[..], b"next");
            for cut in [1, whole.len() / 2, whole.len()] {
                let mut part = BytesMut::from(&whole[..whole.len() - cut]);
                assert_eq!(take(&mut part), Ok(None));
            }
        }
    }

    #[test]
    fn what_is_sent_is_masked_as_the_rfc_shows() {
        let mut out = Vec::new();
        // RFC 6455, 5.7: a masked "Hello", there as text.
        put(&mut out, Opcode::Text, [0x37, 0xfa, 0x21, 0x3d], b"Hello");
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn what_no_server_sends_is_refused() {
        let masked = |second| BytesMut::from(&[0x82, second, 0, 0, 0, 0][..]);
        assert_eq!(take(&mut masked(0x80)), Err(Broken::Shape));
        assert_eq!(take(&mut BytesMut::from(&[0x83, 0][..])), Err(Broken::Shape));
        assert_eq!(take(&mut BytesMut::from(&[0xf2, 0][..])), Err(Broken::Shape));
        let huge = [0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0];
        assert_eq!(take(&mut BytesMut::from(&huge[..])), Err(Broken::TooLarge));
    }
}
