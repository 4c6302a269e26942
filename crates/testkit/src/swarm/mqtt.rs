//! MQTT 3.1.1 as a client speaks it: what an agent needs of QoS 1, and nothing else.
//!
//! Not the server's codec, and shares no code with it: both have to mean the same. It keeps true that no packet is held that
//! is larger than the limit, and that a payload is a slice of what came, not a copy.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// The largest packet that is taken.
const MOST_PACKET: usize = 2 * 1024 * 1024;

/// What a broker sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packet {
    /// The answer to CONNECT: 0 is welcome.
    ConnAck { code: u8 },
    /// The answer to SUBSCRIBE, for its one filter: 0x80 is a refusal.
    SubAck { granted: u8 },
    /// A message; with an id it wants to be acknowledged.
    Publish { topic: Bytes, id: Option<u16>, payload: Bytes },
    /// A message of ours arrived.
    PubAck { id: u16 },
    /// The answer to PINGREQ.
    PingResp,
}

/// Why bytes are no packet of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("an MQTT packet of more than {MOST_PACKET} bytes")]
    TooLarge,
    #[error("an MQTT packet with a length that never ends, or that ends before its fields do")]
    Shape,
    #[error("an MQTT packet of kind {0}, which no broker sends")]
    Kind(u8),
}

/// Takes the next whole packet; none if there is not enough yet.
pub(super) fn take(input: &mut BytesMut) -> Result<Option<Packet>, Malformed> {
    let Some((head, length)) = length_of(input)? else {
        return Ok(None);
    };
    if length > MOST_PACKET {
        return Err(Malformed::TooLarge);
    }
    if input.len() < head + length {
        return Ok(None);
    }
    let first = input[0];
    input.advance(head);
    packet(first, input.split_to(length).freeze()).map(Some)
}

/// The length of the head and that of the rest.
fn length_of(input: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0;
    for (index, byte) in input.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((index + 2, length)));
        }
    }
    if input.len() > 4 { Err(Malformed::Shape) } else { Ok(None) }
}

fn packet(first: u8, mut body: Bytes) -> Result<Packet, Malformed> {
    let packet = match first >> 4 {
        2 => {
            number(&mut body, 1)?;
            Packet::ConnAck { code: low(number(&mut body, 1)?) }
        }
        3 => {
            let length = usize::from(number(&mut body, 2)?);
            if body.len() < length {
                return Err(Malformed::Shape);
            }
            let topic = body.split_to(length);
            let id = if first & 0b110 == 0 { None } else { Some(number(&mut body, 2)?) };
            return Ok(Packet::Publish { topic, id, payload: body });
        }
        4 => Packet::PubAck { id: number(&mut body, 2)? },
        9 => {
            number(&mut body, 2)?;
            Packet::SubAck { granted: low(number(&mut body, 1)?) }
        }
        13 => Packet::PingResp,
        other => return Err(Malformed::Kind(other)),
    };
    if body.is_empty() { Ok(packet) } else { Err(Malformed::Shape) }
}

fn number(body: &mut Bytes, bytes: usize) -> Result<u16, Malformed> {
    let number = if bytes == 1 { body.try_get_u8().map(u16::from) } else { body.try_get_u16() };
    number.map_err(|_| Malformed::Shape)
}

fn low(number: u16) -> u8 {
    number.to_be_bytes()[1]
}

/// Who connects, and what is to be said when the connection is lost.
#[derive(Clone, Copy)]
pub(super) struct Connect<'a> {
    /// Client id and user name.
    pub(super) host: &'a str,
    pub(super) password: &'a str,
    pub(super) will_topic: &'a str,
    pub(super) will: &'a [u8],
    /// Seconds.
    pub(super) keepalive: u16,
}

/// Appends CONNECT: a clean session, a last will at QoS 1, name and password.
pub(super) fn put_connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let Connect { host, password, will_topic, will, keepalive } = *connect;
    let fields = [host.as_bytes(), will_topic.as_bytes(), will, host.as_bytes(), password.as_bytes()];
    out.push(0x10);
    put_length(out, 10 + fields.iter().map(|field| 2 + field.len()).sum::<usize>());
    put_field(out, b"MQTT");
    // Level 4; user name, password, will at QoS 1, clean session.
    out.put_slice(&[4, 0b1100_1110]);
    out.put_u16(keepalive);
    fields.iter().for_each(|field| put_field(out, field));
}

/// Appends SUBSCRIBE at this QoS.
pub(super) fn put_subscribe(out: &mut Vec<u8>, id: u16, topic: &str, qos: u8) {
    out.push(0x82);
    put_length(out, 2 + 2 + topic.len() + 1);
    out.put_u16(id);
    put_field(out, topic.as_bytes());
    out.push(qos);
}

/// Appends PUBLISH at QoS 1.
pub(super) fn put_publish(out: &mut Vec<u8>, id: u16, topic: &str, payload: &[u8]) {
    out.push(0x32);
    put_length(out, 2 + topic.len() + 2 + payload.len());
    put_field(out, topic.as_bytes());
    out.put_u16(id);
    out.put_slice(payload);
}

/// Appends PUBACK.
pub(super) fn put_puback(out: &mut Vec<u8>, id: u16) {
    out.put_slice(&[0x40, 2]);
    out.put_u16(id);
}

/// Appends PINGREQ.
pub(super) fn put_ping(out: &mut Vec<u8>) {
    out.put_slice(&[0xc0, 0]);
}

/// Appends DISCONNECT.
pub(super) fn put_disconnect(out: &mut Vec<u8>) {
    out.put_slice(&[0xe0, 0]);
}

fn put_field(out: &mut Vec<u8>, field: &[u8]) {
    out.put_u16(u16::try_from(field.len()).expect("names, topics and passwords are far shorter than 64 KiB"));
    out.put_slice(field);
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        out.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).expect("seven bits"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bytes: &[u8]) -> Result<Option<Packet>, Malformed> {
        take(&mut BytesMut::from(bytes))
    }

    #[test]
    fn what_a_broker_sends_is_read() {
        assert_eq!(taken(&[0x20, 2, 0, 5]), Ok(Some(Packet::ConnAck { code: 5 })));
        assert_eq!(taken(&[0x90, 3, 0, 1, 0x80]), Ok(Some(Packet::SubAck { granted: 0x80 })));
        assert_eq!(taken(&[0x40, 2, 1, 2]), Ok(Some(Packet::PubAck { id: 258 })));
        assert_eq!(taken(&[0xd0, 0]), Ok(Some(Packet::PingResp)));
        let topic = Bytes::from_static(b"t");
        let payload = Bytes::from_static(b"hi");
        let publish = |id| Ok(Some(Packet::Publish { topic: topic.clone(), id, payload: payload.clone() }));
        assert_eq!(taken(&[0x32, 7, 0, 1, b't', 0, 9, b'h', b'i']), publish(Some(9)));
        assert_eq!(taken(&[0x30, 5, 0, 1, b't', b'h', b'i']), publish(None));
    }

    #[test]
    fn what_we_send_in_large_packets_reads_back() {
        for size in [0, 100, 127, 128, 16_384, 1_000_000] {
            let mut out = Vec::new();
            put_publish(&mut out, 3, "topic", &vec![1; size]);
            for cut in 1..8 {
                assert_eq!(taken(&out[..out.len() - cut]), Ok(None));
            }
            let Ok(Some(Packet::Publish { id, payload, .. })) = taken(&out) else {
                panic!("a PUBLISH of {size} bytes does not read back");
            };
            assert_eq!((id, payload.len()), (Some(3), size));
        }
    }

    #[test]
    fn connect_is_the_known_bytes() {
        let mut out = Vec::new();
        let connect = Connect { host: "h", password: "p", will_topic: "w", will: b"x", keepalive: 20 };
        put_connect(&mut out, &connect);
        let head = [0x10, 25, 0, 4, b'M', b'Q', b'T', b'T', 4, 0xce, 0, 20];
        assert_eq!(out[..12], head);
        assert_eq!(out[12..], [0, 1, b'h', 0, 1, b'w', 0, 1, b'x', 0, 1, b'h', 0, 1, b'p']);
    }

    #[test]
    fn what_no_broker_sends_is_refused() {
        assert_eq!(taken(&[0x10, 0]), Err(Malformed::Kind(1)));
        assert_eq!(taken(&[0x20, 1, 0]), Err(Malformed::Shape));
        assert_eq!(taken(&[0x40, 3, 0, 1, 9]), Err(Malformed::Shape));
        assert_eq!(taken(&[0x30, 0xff, 0xff, 0xff, 0xff, 1]), Err(Malformed::Shape));
        assert_eq!(taken(&[0x30, 0xff, 0xff, 0xff, 0x7f]), Err(Malformed::TooLarge));
    }
}
