//! Reads and writes MQTT 3.1.1 as bytes: what a broker for QoS 0 and 1 needs, strictly, and nothing else.
//!
//! No I/O and no decisions. Our own because it is nine packets: the codecs on offer bring MQTT 5 and a client along.
//! Invariant: no input makes it panic, and it holds at most `limit` bytes of a packet before refusing it. Payloads are
//! slices of the input, not copies.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::packet::{Connect, Malformed, Packet, Publish, Qos, Subscribe, Welcome};

const MAX_FILTERS: usize = 8;
const PUBACK: u8 = 0x40;
const SUBSCRIPTION_REFUSED: u8 = 0x80;

/// Takes the next whole packet off `input`; `None` if there is not enough yet.
pub(super) fn read(input: &mut BytesMut, limit: usize) -> Result<Option<Packet>, Malformed> {
    let Some((length, header)) = remaining_length(input)? else {
        return Ok(None);
    };
    if length > limit {
        return Err(Malformed::TooLarge { limit });
    }
    let whole = header + length;
    if input.len() < whole {
        return Ok(None);
    }
    let first = input[0];
    if first == PUBACK && length == 2 {
        // The most frequent one by far: it is worth no buffer of its own.
        let id = u16::from_be_bytes([input[header], input[header + 1]]);
        input.advance(whole);
        return if id == 0 { Err(Malformed::PacketId) } else { Ok(Some(Packet::PubAck { id })) };
    }
    let mut body = input.split_to(whole).freeze();
    body.advance(header);
    packet(first, body).map(Some)
}

/// The body's length and that of the header before it.
fn remaining_length(input: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0;
    for (index, byte) in input.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((length, index + 2)));
        }
    }
    if input.len() >= 5 { Err(Malformed::Length) } else { Ok(None) }
}

fn packet(first: u8, mut body: Bytes) -> Result<Packet, Malformed> {
    let (kind, flags) = (first >> 4, first & 0x0f);
    let expected = match kind {
        3 => flags,
        8 | 10 => 0b0010,
        _ => 0,
    };
    if flags != expected {
        return Err(Malformed::Flags);
    }
    let packet = match kind {
        1 => Packet::Connect(connect(&mut body)?),
        3 => return publish(flags, body).map(Packet::Publish),
        4 => Packet::PubAck { id: packet_id(&mut body)? },
        8 => Packet::Subscribe(subscribe(&mut body)?),
        10 => unsubscribe(&mut body)?,
        12 => Packet::PingReq,
        14 => Packet::Disconnect,
        other => return Err(Malformed::Kind(other)),
    };
    if body.has_remaining() { Err(Malformed::Shape) } else { Ok(packet) }
}

fn connect(body: &mut Bytes) -> Result<Connect, Malformed> {
    let name = text(body)?;
    let level = byte(body)?;
    if name != "MQTT" || level != 4 {
        return Err(Malformed::Protocol(level));
    }
    let flags = byte(body)?;
    let keepalive = number(body)?;
    let has = |bit: u8| flags & bit != 0;
    let (will, password, user) = (has(0x04), has(0x40), has(0x80));
    let stray_will_flags = !will && flags & 0x38 != 0;
    if has(0x01) || stray_will_flags || flags & 0x18 == 0x18 || (password && !user) {
        return Err(Malformed::Flags);
    }
    let client_id = text(body)?;
    let will_topic = if will { Some(text(body)?) } else { None };
    if will {
        // The will's text tells nothing: the broker itself knows that the connection ended.
        binary(body)?;
    }
    let user_name = if user { Some(text(body)?) } else { None };
    let password = if password { Some(binary(body)?) } else { None };
    Ok(Connect { client_id, keepalive, will_topic, user_name, password })
}

fn publish(flags: u8, mut body: Bytes) -> Result<Publish, Malformed> {
    let topic = text(&mut body)?;
    let id = match (flags >> 1) & 0b11 {
        0 => None,
        1 => Some(packet_id(&mut body)?),
        _ => return Err(Malformed::Qos),
    };
    Ok(Publish { topic, id, payload: body })
}

fn subscribe(body: &mut Bytes) -> Result<Subscribe, Malformed> {
    let id = packet_id(body)?;
    let mut filters = Vec::new();
    while body.has_remaining() {
        let filter = text(body)?;
        let qos = match byte(body)? {
            0 => Qos::AtMostOnce,
            1 | 2 => Qos::AtLeastOnce,
            _ => return Err(Malformed::Flags),
        };
        filters.push((filter, qos));
        check_count(filters.len())?;
    }
    if filters.is_empty() {
        return Err(Malformed::Shape);
    }
    Ok(Subscribe { id, filters })
}

fn unsubscribe(body: &mut Bytes) -> Result<Packet, Malformed> {
    let id = packet_id(body)?;
    let mut filters = Vec::new();
    while body.has_remaining() {
        filters.push(text(body)?);
        check_count(filters.len())?;
    }
    if filters.is_empty() {
        return Err(Malformed::Shape);
    }
    Ok(Packet::Unsubscribe { id, filters })
}

fn check_count(filters: usize) -> Result<(), Malformed> {
    if filters > MAX_FILTERS {
        return Err(Malformed::Filters { limit: MAX_FILTERS });
    }
    Ok(())
}

fn byte(body: &mut Bytes) -> Result<u8, Malformed> {
    body.try_get_u8().map_err(|_| Malformed::Shape)
}

fn number(body: &mut Bytes) -> Result<u16, Malformed> {
    body.try_get_u16().map_err(|_| Malformed::Shape)
}

fn packet_id(body: &mut Bytes) -> Result<u16, Malformed> {
    match number(body)? {
        0 => Err(Malformed::PacketId),
        id => Ok(id),
    }
}

fn binary(body: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = usize::from(number(body)?);
    if body.remaining() < length {
        return Err(Malformed::Shape);
    }
    Ok(body.split_to(length))
}

fn text(body: &mut Bytes) -> Result<String, Malformed> {
    let bytes = binary(body)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Malformed::Text)?;
    if text.contains('\0') {
        return Err(Malformed::Text);
    }
    Ok(text.to_owned())
}

/// Appends the answer to CONNECT; there never is a session to resume.
pub(super) fn write_connack(out: &mut Vec<u8>, welcome: Welcome) {
    out.put_slice(&[0x20, 2, 0, welcome as u8]);
}

/// Appends an acknowledgement of a QoS 1 message.
pub(super) fn write_puback(out: &mut Vec<u8>, id: u16) {
    out.put_slice(&[PUBACK, 2]);
    out.put_u16(id);
}

/// Appends the answer to SUBSCRIBE: for each filter the quality granted, or a refusal.
pub(super) fn write_suback(out: &mut Vec<u8>, id: u16, granted: &[Option<Qos>]) {
    out.put_u8(0x90);
    write_length(out, 2 + granted.len());
    out.put_u16(id);
    for grant in granted {
        out.put_u8(match grant {
            Some(Qos::AtMostOnce) => 0,
            Some(Qos::AtLeastOnce) => 1,
            None => SUBSCRIPTION_REFUSED,
        });
    }
}

/// Appends the answer to UNSUBSCRIBE.
pub(super) fn write_unsuback(out: &mut Vec<u8>, id: u16) {
    out.put_slice(&[0xb0, 2]);
    out.put_u16(id);
}

/// Appends the answer to PINGREQ.
pub(super) fn write_pingresp(out: &mut Vec<u8>) {
    out.put_slice(&[0xd0, 0]);
}

/// Appends a message to a client; with an id it asks for an acknowledgement.
pub(super) fn write_publish(out: &mut Vec<u8>, topic: &str, id: Option<u16>, payload: &[u8]) {
    let length = 2 + topic.len() + if id.is_some() { 2 } else { 0 } + payload.len();
    out.reserve(5 + length);
    out.put_u8(if id.is_some() { 0x32 } else { 0x30 });
    write_length(out, length);
    out.put_u16(u16::try_from(topic.len()).expect("our topics are far shorter than 64 KiB"));
    out.put_slice(topic.as_bytes());
    if let Some(id) = id {
        out.put_u16(id);
    }
    out.put_slice(payload);
}

fn write_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = u8::try_from(length & 0x7f).expect("seven bits fit a byte");
        length >>= 7;
        if length == 0 {
            return out.put_u8(low);
        }
        out.put_u8(low | 0x80);
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
