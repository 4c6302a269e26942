//! The golden files: every message as version 1 writes it, kept for ever. What was released once must stay readable, so a
//! file here is never changed; a later version gets files of its own beside these.
//!
//! `UPDATE_EXPECT=1 cargo test -p wire --test golden` writes files that are missing, and only those.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod messages;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use data_encoding::HEXLOWER;
use messages::{HOST, NOW, channel, join_delta, request, server_wireguard, signing};
use minicbor::data::Type;
use minicbor::{Decode, Decoder, Encode, Encoder};
use wire::{
    Direction, Down, HostMap, MapReply, NatMapping, Opened, Refusal, RefusalCode, RegisterRequest,
    RequestSignature, Token, mqtt_password, verify_mqtt_password,
};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name)
}

/// The file's content; written first when it is missing and the caller of the tests wants that.
fn golden(name: &str, now: impl FnOnce() -> String) -> String {
    static WRITES: Mutex<()> = Mutex::new(());
    let path = file(name);
    let _one_at_a_time = WRITES.lock().unwrap();
    if !path.exists() && std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, now()).unwrap();
    }
    std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; `UPDATE_EXPECT=1 cargo test -p wire --test golden` writes it", path.display())
    })
}

fn hex_file(bytes: &[u8]) -> String {
    let mut diagnostic = String::new();
    diagnose(&mut Decoder::new(bytes), &mut diagnostic);
    let hex = HEXLOWER.encode(bytes);
    let lines: Vec<&str> = hex.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("# {diagnostic}\n{}\n", lines.join("\n"))
}

/// The diagnostic notation of RFC 8949, section 8, for people who look into a file.
fn diagnose(d: &mut Decoder<'_>, out: &mut String) {
    let several = |d: &mut Decoder<'_>, out: &mut String, count: u64, after: [&str; 2]| {
        for index in 0..count {
            diagnose(d, out);
            let last = index + 1 == count;
            out.push_str(if last { "" } else { after[usize::from(index % 2 == 1)] });
        }
    };
    match d.datatype().unwrap() {
        Type::Map => {
            let count = d.map().unwrap().unwrap();
            out.push('{');
            several(d, out, 2 * count, [": ", ", "]);
            out.push('}');
        }
        Type::Array => {
            let count = d.array().unwrap().unwrap();
            out.push('[');
            several(d, out, count, [", "; 2]);
            out.push(']');
        }
        Type::Bytes => out.push_str(&format!("h'{}'", HEXLOWER.encode(d.bytes().unwrap()))),
        Type::String => out.push_str(&format!("{:?}", d.str().unwrap())),
        Type::Bool => out.push_str(&d.bool().unwrap().to_string()),
        Type::Null => {
            d.null().unwrap();
            out.push_str("null");
        }
        _ => out.push_str(&d.int().unwrap().to_string()),
    }
}

fn bytes_of(file: &str) -> Vec<u8> {
    let hex: String = file.lines().filter(|line| !line.starts_with('#')).flat_map(str::chars).collect();
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

/// Copies one item; every map of numbered fields gets one more field, which no version knows.
fn with_unknown_fields(d: &mut Decoder<'_>, e: &mut Encoder<Vec<u8>>) {
    match d.datatype().unwrap() {
        Type::Map => {
            let count = d.map().unwrap().unwrap();
            let numbered = count > 0 && d.datatype().unwrap() != Type::Bytes;
            e.map(count + u64::from(numbered)).unwrap();
            for _ in 0..2 * count {
                with_unknown_fields(d, e);
            }
            if numbered {
                e.u32(77_777).unwrap().array(2).unwrap().str("later").unwrap().map(1).unwrap();
                e.u8(0).unwrap().null().unwrap();
            }
        }
        Type::Array => {
            let count = d.array().unwrap().unwrap();
            e.array(count).unwrap();
            for _ in 0..count {
                with_unknown_fields(d, e);
            }
        }
        Type::Bytes => drop(e.bytes(d.bytes().unwrap()).unwrap()),
        Type::String => drop(e.str(d.str().unwrap()).unwrap()),
        Type::Bool => drop(e.bool(d.bool().unwrap()).unwrap()),
        Type::Null => {
            d.null().unwrap();
            e.null().unwrap();
        }
        _ => drop(e.int(d.int().unwrap()).unwrap()),
    }
}

/// Both directions, and once more with fields that are not known yet.
fn holds<T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + Debug>(name: &str, value: &T) {
    let bytes = bytes_of(&golden(&format!("{name}.cbor.hex"), || hex_file(&wire::encode(value))));
    assert_eq!(
        &wire::decode::<T>(&bytes).unwrap(),
        value,
        "{name}: what the file says has changed its meaning"
    );
    assert_eq!(
        HEXLOWER.encode(&wire::encode(value)),
        HEXLOWER.encode(&bytes),
        "{name}: is written differently now"
    );

    let mut encoder = Encoder::new(Vec::new());
    with_unknown_fields(&mut Decoder::new(&bytes), &mut encoder);
    let later = encoder.into_writer();
    assert_eq!(
        &wire::decode::<T>(&later).unwrap(),
        value,
        "{name}: a field of a later version is in the way"
    );
}

fn holds_text(name: &str, now: &str) -> String {
    let text = golden(&format!("{name}.txt"), || format!("{now}\n")).trim_end().to_owned();
    assert_eq!(text, now, "{name}: is written differently now");
    text
}

#[test]
fn every_message_reads_and_writes_as_it_always_did() {
    holds("hello", &messages::hello());
    holds("registration", &messages::registration());
    holds("registration-renewed", &messages::registration_renewed());
    holds("register-request", &request());
    holds("register-reply", &messages::register_reply());
    holds("leave-network", &messages::leave_network());
    holds("leave-server", &wire::Leave::Server);
    holds("key-change", &messages::key_change());
    holds("node-switch", &messages::node_switch());
    holds("host-settings", &messages::host_settings());
    holds("host-settings-none", &wire::HostSettings::default());
    holds("host-map", &messages::host_map());
    holds("host-map-alone", &messages::host_map_alone());
    holds("delta-join", &join_delta());
    holds("delta-everything", &messages::delta_everything());
    holds("delta-nothing", &messages::delta_nothing());
    holds("delta-records", &messages::delta_records());
    holds("down-delta", &Down::Delta(join_delta()));
    holds("down-fetch", &Down::Fetch(join_delta().generation));
    holds("down-removed", &Down::Removed);
    holds("map-reply-current", &MapReply::Current(join_delta().base));
    holds("map-reply-delta", &MapReply::Delta(join_delta()));
    holds("map-reply-parts", &MapReply::Parts(messages::parts_head()));
    holds("map-reply-parts-records", &MapReply::Parts(messages::parts_head_with_records()));
    holds("parts", &vec![messages::part()]);
    holds("parts-records", &vec![messages::part_of_records()]);
    holds("peer-relayed", &messages::relayed());
    holds("server-links-of-several", &messages::server_links_of_several());
    holds("server-links-of-next-keys", &messages::server_links_of_next_keys());
    holds("channel-change", &messages::channel_change());
    holds("map-request", &messages::map_request());
    holds("map-request-records", &messages::map_request_with_records());
    holds("map-request-nothing", &wire::MapRequest::default());
    holds("report", &messages::report());
    holds("report-in-time", &messages::report_in_time());
    for (name, refusal) in messages::refusals() {
        holds(&format!("refusal-{name}"), &refusal);
    }
}

#[test]
fn a_token_reads_and_writes_as_it_always_did() {
    for (name, token) in
        [("token-pinned", messages::token_pinned()), ("token-trusted", messages::token_trusted())]
    {
        let text = holds_text(name, &token.to_string());
        assert_eq!(text.parse::<Token>().unwrap(), token);
    }
}

#[test]
fn a_sealed_message_opens_as_it_always_did() {
    let plaintext = wire::encode(&Down::Delta(join_delta()));
    for (name, direction) in [("sealed-down", Direction::Down), ("sealed-up", Direction::Up)] {
        let sealed = channel().seal(direction, 7, [0x24; 24], &plaintext);
        let file = golden(&format!("{name}.hex"), || hex_lines(&sealed));
        assert_eq!(HEXLOWER.encode(&sealed), HEXLOWER.encode(&bytes_of(&file)));
        let opened = Opened { sequence: 7, plaintext: plaintext.clone() };
        assert_eq!(channel().open(direction, &bytes_of(&file)), Ok(opened));
    }
}

fn hex_lines(bytes: &[u8]) -> String {
    let hex = HEXLOWER.encode(bytes);
    hex.as_bytes().chunks(64).flat_map(|line| [std::str::from_utf8(line).unwrap(), "\n"]).collect()
}

#[test]
fn the_password_at_a_broker_is_what_it_always_was() {
    let password = holds_text("broker-password", &channel().broker_password());
    assert_eq!(channel().broker_password(), password);
}

#[test]
fn signatures_prove_what_they_always_did() {
    let (secret, get) = (signing(), messages::signed_request());
    let header =
        holds_text("authorization-header", &RequestSignature::sign(&secret, HOST, NOW, &get).header());
    let signature = RequestSignature::parse(&header).unwrap();
    assert_eq!(signature.verify(&secret.public(), NOW, &get), Ok(()));

    let password = holds_text("mqtt-password", &mqtt_password(&secret, HOST, NOW));
    assert_eq!(verify_mqtt_password(&secret.public(), HOST, &password, NOW), Ok(NOW));
}

#[test]
fn a_registration_proves_what_it_always_did() {
    let bytes = bytes_of(&golden("register-request.cbor.hex", || hex_file(&wire::encode(&request()))));
    let request: RegisterRequest = wire::decode(&bytes).unwrap();
    assert_eq!(request.verify(&server_wireguard(), NOW).unwrap(), messages::registration());
}

#[test]
fn every_golden_file_is_still_asked_for() {
    let source = concat!(include_str!("golden.rs"), include_str!("messages/mod.rs"));
    for entry in std::fs::read_dir(file("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stem = name.split('.').next().unwrap();
        let stem = stem.strip_prefix("refusal-").unwrap_or(stem);
        assert!(source.contains(&format!("\"{stem}\"")), "{name} is read by no test");
    }
}

#[test]
fn what_a_later_version_invents_does_no_harm() {
    let mut e = Encoder::new(Vec::new());
    e.map(3).unwrap().u8(0).unwrap().u32(999).unwrap();
    e.u8(1).unwrap().str("a reason of next year").unwrap().u8(2).unwrap().i64(5).unwrap();
    let refusal: Refusal = wire::decode(&e.into_writer()).unwrap();
    assert_eq!((refusal.code, refusal.message.as_str()), (RefusalCode::Other, "a reason of next year"));

    let unknown_down = [0x82, 0x18, 99, 0x80];
    assert!(
        wire::decode::<Down>(&unknown_down).is_err(),
        "an unknown order is an error: the agent then asks"
    );
    assert!(wire::decode::<MapReply>(&unknown_down).is_err());
    assert!(wire::decode::<wire::Leave>(&unknown_down).is_err());
}

#[test]
fn a_kind_of_nat_of_a_later_version_leaves_the_map_readable() {
    let mut map = messages::host_map();
    map.host.nat = NatMapping::PerDestination;
    let bytes = wire::encode(&map.host);
    let last = bytes.len() - 1;
    assert_eq!(bytes[last], 2, "the kind of NAT is the last field of the host");
    let mut later = bytes[..last].to_vec();
    later.extend([0x18, 200]);
    let read: wire::OwnHost = wire::decode(&later).unwrap();
    assert_eq!(read.nat, NatMapping::Unknown);
    map.host.nat = NatMapping::Unknown;
    assert_eq!(read, map.host);
}

#[test]
fn that_a_node_is_relayed_costs_two_bytes_there_and_none_elsewhere() {
    let relayed = messages::relayed();
    let mut client = relayed.clone();
    client.nodes[0].relayed = false;
    assert_eq!(wire::encode(&relayed).len() - wire::encode(&client).len(), 2);
}

#[test]
fn fields_that_may_be_missing_may_be_missing() {
    let delta: wire::Delta = wire::decode(&[0xa2, 0x00, 0x01, 0x01, 0x02]).unwrap();
    assert!(delta.is_empty());
    assert_eq!(wire::decode::<wire::HostSettings>(&[0xa0]).unwrap(), wire::HostSettings::default());
    assert!(wire::decode::<HostMap>(&[0xa0]).is_err(), "a map without a generation is none");
}

#[test]
fn one_host_that_joins_costs_each_other_host_less_than_200_bytes() {
    let sealed = channel().seal(Direction::Down, 7, [0x24; 24], &wire::encode(&Down::Delta(join_delta())));
    println!("one host joins: {} bytes to each other host, sealed", sealed.len());
    assert!(sealed.len() < 200, "{} bytes", sealed.len());
}
