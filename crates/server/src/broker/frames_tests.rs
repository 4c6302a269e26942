//! Tests of the WebSocket frames: the specification's shapes, every split of them, what must be refused.

use super::*;
use crate::broker::numbers::numbers;

const MASK: [u8; 4] = [1, 2, 3, 0xff];

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ ..126 => bytes.push(0x80 | u8::try_from(short).unwrap()),
        middle @ ..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(middle).unwrap().to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<u8>, BadFrame> {
    let mut output = BytesMut::new();
    Reader::default().feed(bytes, &mut output)?;
    Ok(output.to_vec())
}

#[test]
fn the_bytes_of_messages_are_one_stream_wherever_they_are_split() {
    let long: Vec<u8> = (0..70_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let messages = [
        frame(0x82, b"ab"),
        frame(0x02, b"cd"),
        frame(0x89, b"ping"),
        frame(0x00, b"e"),
        frame(0x80, &[9; 300]),
        frame(0x8a, b""),
        frame(0x82, b""),
        frame(0x82, &long),
    ]
    .concat();
    let expected = [&b"abcde"[..], &[9; 300], &long].concat();
    for step in [1, 2, 3, 5, 7, 4096, messages.len()] {
        let (mut reader, mut output) = (Reader::default(), BytesMut::new());
        for part in messages.chunks(step) {
            reader.feed(part, &mut output).unwrap();
        }
        assert_eq!(output, expected, "in steps of {step}");
        assert_eq!(reader.take_pong(), Some(b"\x8a\x04ping".to_vec()));
        assert_eq!(reader.take_pong(), None);
        assert!(!reader.is_closed());
    }
}

#[test]
fn after_a_close_nothing_more_is_read() {
    let (mut reader, mut output) = (Reader::default(), BytesMut::new());
    let bytes = [frame(0x82, b"a"), frame(0x88, &[3, 232]), frame(0x82, b"b")].concat();
    reader.feed(&bytes, &mut output).unwrap();
    assert!(reader.is_closed());
    assert_eq!(&output[..], b"a");
}

#[test]
fn what_mqtt_does_not_need_is_refused() {
    assert_eq!(read(&[0x82, 1, b'a']), Err(BadFrame::Unmasked));
    assert_eq!(read(&frame(0x81, b"a")), Err(BadFrame::Kind(1)));
    assert_eq!(read(&frame(0x83, b"a")), Err(BadFrame::Kind(3)));
    assert_eq!(read(&frame(0xc2, b"a")), Err(BadFrame::Extension));
    assert_eq!(read(&frame(0x80, b"a")), Err(BadFrame::Fragments));
    assert_eq!(read(&[frame(0x02, b"a"), frame(0x82, b"b")].concat()), Err(BadFrame::Fragments));
    assert_eq!(read(&frame(0x09, b"a")), Err(BadFrame::Control));
    assert_eq!(read(&frame(0x89, &[0; 126])), Err(BadFrame::Control));
}

#[test]
fn many_pings_leave_one_answer() {
    let (mut reader, mut output) = (Reader::default(), BytesMut::new());
    for number in 0..1000_u16 {
        reader.feed(&frame(0x89, &number.to_be_bytes()), &mut output).unwrap();
    }
    assert_eq!(reader.take_pong(), Some(vec![0x8a, 2, 3, 231]));
    assert_eq!(reader.take_pong(), None);
}

#[test]
fn a_head_is_as_short_as_it_can_be() {
    for (size, head) in [
        (0, vec![0x82, 0]),
        (125, vec![0x82, 125]),
        (126, vec![0x82, 126, 0, 126]),
        (65_535, vec![0x82, 126, 0xff, 0xff]),
        (65_536, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let mut message = vec![0; HEAD + size];
        message[HEAD..].fill(7);
        let at = write_head(&mut message);
        assert_eq!(message[at..HEAD], head, "{size}");
        assert!(message[HEAD..].iter().all(|byte| *byte == 7));
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let seeds = [frame(0x82, b"some bytes"), frame(0x02, &[1; 200]), frame(0x89, b"p"), frame(0x88, b"")];
    let mut next = numbers();
    for _ in 0..50_000 {
        let mut bytes = [seeds[next() % 4].clone(), seeds[next() % 4].clone()].concat();
        for _ in 0..=next() % 3 {
            let at = next() % bytes.len();
            bytes[at] = u8::try_from(next() % 256).unwrap();
        }
        let (mut reader, mut output) = (Reader::default(), BytesMut::new());
        for part in bytes.chunks(1 + next() % 20) {
            if reader.feed(part, &mut output).is_err() {
                break;
            }
        }
        assert!(output.len() <= bytes.len());
    }
}
