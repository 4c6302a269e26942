//! Tests of the MQTT codec: the specification's shapes, what must be refused, and that no bytes make it panic.

use super::*;
use crate::broker::numbers::numbers;

fn read_one(bytes: &[u8]) -> Result<Option<Packet>, Malformed> {
    read(&mut BytesMut::from(bytes), 1024)
}

fn connect_packet(flags: u8, fields: &[&[u8]]) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 20];
    for field in fields {
        body.extend(u16::try_from(field.len()).unwrap().to_be_bytes());
        body.extend(*field);
    }
    let mut packet = vec![0x10, u8::try_from(body.len()).unwrap()];
    packet.extend(body);
    packet
}

#[test]
fn a_connect_with_will_and_credentials_is_read_whole() {
    let bytes = connect_packet(0b1100_1110, &[b"h1", b"will/topic", b"gone", b"h1", b"\xffsecret"]);
    let Ok(Some(Packet::Connect(connect))) = read_one(&bytes) else {
        panic!("not read: {:?}", read_one(&bytes));
    };
    assert_eq!(connect.client_id, "h1");
    assert_eq!(connect.keepalive, 20);
    assert_eq!(connect.will_topic.as_deref(), Some("will/topic"));
    assert_eq!(connect.user_name.as_deref(), Some("h1"));
    assert_eq!(connect.password.as_deref(), Some(&b"\xffsecret"[..]));
    assert!(!format!("{connect:?}").contains("secret"));
}

#[test]
fn connect_flags_that_contradict_each_other_are_refused() {
    let reserved = connect_packet(0b0000_0011, &[b"h1"]);
    let will_qos_without_will = connect_packet(0b0000_1010, &[b"h1"]);
    let will_qos_three = connect_packet(0b0001_1110, &[b"h1", b"t", b"m"]);
    let password_without_user = connect_packet(0b0100_0010, &[b"h1", b"p"]);
    for bytes in [reserved, will_qos_without_will, will_qos_three, password_without_user] {
        assert_eq!(read_one(&bytes), Err(Malformed::Flags));
    }
}

#[test]
fn other_protocol_levels_are_named_in_the_refusal() {
    let mut bytes = connect_packet(2, &[b"h1"]);
    bytes[8] = 5;
    assert_eq!(read_one(&bytes), Err(Malformed::Protocol(5)));
}

#[test]
fn a_packet_is_read_only_when_it_is_whole_and_the_next_one_stays() {
    let packet = [0x32, 9, 0, 3, b'a', b'/', b'b', 0, 7, 1, 2];
    let mut input = BytesMut::new();
    for byte in packet {
        assert_eq!(read(&mut input, 1024), Ok(None));
        input.put_u8(byte);
    }
    input.put_slice(&[0xc0, 0]);
    let expected = Publish { topic: "a/b".into(), id: Some(7), payload: Bytes::from_static(&[1, 2]) };
    assert_eq!(read(&mut input, 1024), Ok(Some(Packet::Publish(expected))));
    assert_eq!(read(&mut input, 1024), Ok(Some(Packet::PingReq)));
    assert_eq!(read(&mut input, 1024), Ok(None));
}

#[test]
fn a_large_packet_is_refused_by_its_header_alone() {
    assert_eq!(read_one(&[0x30, 0x80, 0x80, 0x01]), Err(Malformed::TooLarge { limit: 1024 }));
    assert_eq!(read_one(&[0x30, 0xff, 0xff, 0xff, 0xff]), Err(Malformed::Length));
}

#[test]
fn quality_two_and_packets_of_a_server_are_refused() {
    assert_eq!(read_one(&[0x34, 5, 0, 1, b'a', 0, 1]), Err(Malformed::Qos));
    for kind in [2_u8, 5, 6, 7, 9, 11, 13, 15, 0] {
        let flags = 0;
        assert_eq!(read_one(&[kind << 4 | flags, 0]), Err(Malformed::Kind(kind)));
    }
    assert_eq!(read_one(&[0x82, 2, 0, 1]), Err(Malformed::Shape));
    assert_eq!(read_one(&[0x80, 2, 0, 1]), Err(Malformed::Flags));
    assert_eq!(read_one(&[0x40, 2, 0, 0]), Err(Malformed::PacketId));
    assert_eq!(read_one(&[0x40, 3, 0, 1, 0]), Err(Malformed::Shape));
}

#[test]
fn a_subscription_is_capped_at_what_is_granted() {
    let bytes = [0x82, 10, 0, 1, 0, 1, b'a', 2, 0, 1, b'b', 0];
    let filters = vec![("a".to_owned(), Qos::AtLeastOnce), ("b".to_owned(), Qos::AtMostOnce)];
    assert_eq!(read_one(&bytes), Ok(Some(Packet::Subscribe(Subscribe { id: 1, filters }))));
    let many: Vec<u8> = [0, 1].into_iter().chain([0, 1, b'a', 0].repeat(9)).collect();
    let bytes = [&[0x82, u8::try_from(many.len()).unwrap()], &many[..]].concat();
    assert_eq!(read_one(&bytes), Err(Malformed::Filters { limit: 8 }));
}

#[test]
fn what_is_written_has_the_bytes_of_the_specification() {
    let mut out = Vec::new();
    write_connack(&mut out, Welcome::NotAuthorised);
    write_puback(&mut out, 258);
    write_suback(&mut out, 3, &[Some(Qos::AtLeastOnce), None]);
    write_unsuback(&mut out, 4);
    write_pingresp(&mut out);
    write_publish(&mut out, "a", Some(9), b"x");
    write_publish(&mut out, "a", None, b"x");
    let expected: &[&[u8]] = &[
        &[0x20, 2, 0, 5],
        &[0x40, 2, 1, 2],
        &[0x90, 4, 0, 3, 1, 0x80],
        &[0xb0, 2, 0, 4],
        &[0xd0, 0],
        &[0x32, 6, 0, 1, b'a', 0, 9, b'x'],
        &[0x30, 4, 0, 1, b'a', b'x'],
    ];
    assert_eq!(out, expected.concat());
}

#[test]
fn lengths_of_two_and_more_bytes_are_written_as_they_are_read() {
    for size in [0, 123, 124, 16_379, 16_380, 300_000] {
        let mut out = Vec::new();
        write_publish(&mut out, "a", None, &vec![7; size]);
        let mut out = BytesMut::from(&out[..]);
        let Ok(Some(Packet::Publish(publish))) = read(&mut out, 1 << 20) else {
            panic!("{size} bytes were not read back");
        };
        assert_eq!((publish.payload.len(), out.len()), (size, 0));
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let seeds = [
        connect_packet(0b1100_1110, &[b"h1", b"t", b"m", b"h1", b"p"]),
        vec![0x32, 9, 0, 3, b'a', b'/', b'b', 0, 7, 1, 2],
        vec![0x82, 10, 0, 1, 0, 1, b'a', 2, 0, 1, b'b', 0],
        vec![0xa2, 5, 0, 1, 0, 1, b'a'],
    ];
    let mut next = numbers();
    for _ in 0..50_000 {
        let mut bytes = seeds[next() % seeds.len()].clone();
        for _ in 0..=next() % 3 {
            let at = next() % bytes.len();
            bytes[at] = u8::try_from(next() % 256).unwrap();
        }
        bytes.truncate(1 + next() % bytes.len());
        let mut input = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = read(&mut input, 64) {}
    }
}
