//! Bytes from strangers: every decoder answers every input, soon, without a panic and without asking for more memory
//! than the bytes can stand for.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod messages;

use std::time::{Duration, Instant};

use minicbor::Decode;
use proptest::prelude::*;
use wire::{Down, MapReply, RequestSignature, Token};

type Reads = fn(&[u8]) -> bool;

fn reads<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> bool {
    wire::decode::<T>(bytes).is_ok()
}

/// Every decoder that bytes from outside reach, with a message it takes.
fn decoders() -> Vec<(&'static str, Reads, Vec<u8>)> {
    vec![
        ("hello", reads::<wire::Hello>, wire::encode(&messages::hello())),
        ("registration", reads::<wire::Registration>, wire::encode(&messages::registration())),
        ("request", reads::<wire::RegisterRequest>, wire::encode(&messages::request())),
        ("reply", reads::<wire::RegisterReply>, wire::encode(&messages::register_reply())),
        ("leave", reads::<wire::Leave>, wire::encode(&messages::leave_network())),
        ("switch", reads::<wire::NodeSwitch>, wire::encode(&messages::node_switch())),
        ("settings", reads::<wire::HostSettings>, wire::encode(&messages::host_settings())),
        ("map", reads::<wire::HostMap>, wire::encode(&messages::host_map())),
        ("delta", reads::<wire::Delta>, wire::encode(&messages::delta_everything())),
        ("down", reads::<Down>, wire::encode(&Down::Delta(messages::delta_everything()))),
        ("answer", reads::<MapReply>, wire::encode(&MapReply::Parts(messages::parts_head()))),
        ("parts", reads::<Vec<wire::Part>>, wire::encode(&vec![messages::part()])),
        ("key change", reads::<wire::KeyChange>, wire::encode(&messages::key_change())),
        ("channel", reads::<wire::ChannelChange>, wire::encode(&messages::channel_change())),
        ("links", reads::<wire::ServerLinks>, wire::encode(&messages::server_links_of_next_keys())),
        ("map request", reads::<wire::MapRequest>, wire::encode(&messages::map_request())),
        ("report", reads::<wire::Report>, wire::encode(&messages::report())),
        ("refusal", reads::<wire::Refusal>, wire::encode(&messages::refusals()[7].1)),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for (_, reads, _) in decoders() {
            let _ = reads(&bytes);
        }
        let _ = messages::channel().open(wire::Direction::Up, &bytes);
    }

    #[test]
    fn damaged_messages_are_answered(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut: prop::sample::Index,
    ) {
        for (_, reads, mut bytes) in decoders() {
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            let _ = reads(&bytes);
            let _ = reads(&bytes[..cut.index(bytes.len())]);
        }
    }

    #[test]
    fn any_text_is_answered(text in ".{0,300}") {
        let _ = text.parse::<Token>();
        let _ = RequestSignature::parse(&text);
        let _ = RequestSignature::parse(&format!("Netloom {text}"));
        let _ = text.parse::<wire::HostTopic>();
        let key = messages::signing().public();
        let _ = wire::verify_mqtt_password(&key, messages::HOST, &text, messages::NOW);
    }
}

#[test]
fn a_message_cut_short_anywhere_is_refused() {
    for (name, reads, bytes) in decoders() {
        assert!(reads(&bytes), "{name}");
        for end in 0..bytes.len() {
            assert!(!reads(&bytes[..end]), "{name} cut at {end}");
        }
    }
}

#[test]
fn a_claim_of_more_elements_than_there_are_bytes_is_answered_at_once() {
    let start = Instant::now();
    // 2^60 bytes, characters, elements or pairs, in the place of whatever was there.
    for claim in [0x5b, 0x7b, 0x9b, 0xbb].map(|kind| [kind, 0x10, 0, 0, 0, 0, 0, 0, 0]) {
        for (name, reads, bytes) in decoders() {
            for at in 0..bytes.len() {
                let cut = [&bytes[..at], &claim].concat();
                let accepted = reads(&cut);
                assert!(at > 0 || !accepted, "{name}");
                let _ = reads(&[&cut, &bytes[at..]].concat());
            }
        }
    }
    assert!(start.elapsed() < Duration::from_secs(60), "took {:?}", start.elapsed());
}

#[test]
fn deep_nesting_under_an_unknown_field_costs_neither_stack_nor_time() {
    let start = Instant::now();
    for opening in [0x81, 0x9f, 0xa1, 0xbf, 0xc1] {
        let mut bytes = vec![0xa1, 0x18, 99];
        bytes.resize(1 << 20, opening);
        for (name, reads, _) in decoders() {
            assert!(!reads(&bytes), "{name}");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(60), "took {:?}", start.elapsed());
}

#[test]
fn more_than_the_limit_is_refused_unread() {
    let mut bytes = wire::encode(&messages::hello());
    bytes.resize(wire::MOST_BYTES + 1, 0);
    assert!(wire::decode::<wire::Hello>(&bytes).unwrap_err().to_string().contains("are more than"));
}
