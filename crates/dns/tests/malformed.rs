//! Whatever octets come, there is a reply or silence, never a panic.

#![allow(clippy::unwrap_used, reason = "in tests, a panic is the message")]

mod support;

use std::sync::LazyLock;

use dns::{Answer, Names, Transport};
use domain::base::Message;
use domain::base::iana::Rtype;
use proptest::collection::vec;
use proptest::prelude::*;
use support::{ORIGIN, TCP, UDP, names, request_with};

static NAMES: LazyLock<Names> = LazyLock::new(names);

/// What must hold of the outcome.
fn check(octets: &[u8], terms: dns::Terms) {
    let mut reply = Vec::new();
    match dns::answer(&NAMES.snapshot(), octets, terms, &mut reply) {
        Answer::Drop => assert!(octets.len() < 12 || octets[2] & 0x80 != 0, "silence has a reason"),
        Answer::Forward(_) => {}
        Answer::Reply => {
            let message = Message::from_slice(&reply).unwrap();
            assert!(message.header().qr() && reply[..2] == octets[..2]);
            assert!(terms.transport == Transport::Tcp || reply.len() <= 1232);
            // Whatever was asked, the reply itself is whole.
            assert!(message.iter().all(|record| record.is_ok()));
        }
    }
}

fn good() -> impl Strategy<Value = Vec<u8>> {
    let owners =
        ["web", "wiki", "text", "none", "away", "_sip._udp"].map(|label| format!("{label}.{ORIGIN}"));
    let kinds = vec![Rtype::A, Rtype::AAAA, Rtype::TXT, Rtype::SRV, Rtype::ANY, Rtype::SOA];
    let size = prop_oneof![Just(None), any::<u16>().prop_map(Some)];
    (prop::sample::select(owners.to_vec()), prop::sample::select(kinds), size)
        .prop_map(|(owner, rtype, size)| request_with(&owner, rtype, size))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_octets(octets in vec(any::<u8>(), 0..600)) {
        check(&octets, UDP);
        check(&octets, TCP);
    }

    #[test]
    fn any_octets_after_a_good_header(octets in vec(any::<u8>(), 0..300)) {
        let header = [&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1][..], &octets].concat();
        check(&header, UDP);
    }

    #[test]
    fn good_requests_with_some_octets_changed(
        mut octets in good(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        end in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        for (place, octet) in changes {
            let place = place.index(octets.len());
            octets[place] = octet;
        }
        if !whole {
            octets.truncate(end.index(octets.len()));
        }
        check(&octets, UDP);
        check(&octets, TCP);
    }
}

#[test]
fn names_that_point_at_themselves_end() {
    let mut octets = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    octets.extend([0xC0, 0x0C, 0, 1, 0, 1]);
    check(&octets, UDP);
}

#[test]
fn the_longest_name_that_can_be_asked_for_is_answered() {
    let labels = [63, 63, 63, 61].map(|length| "x".repeat(length));
    check(&request_with(&labels.join("."), Rtype::A, Some(512)), UDP);
    let inside = [63, 63, 63].map(|length| "x".repeat(length)).join(".");
    check(&request_with(&format!("{inside}.{ORIGIN}"), Rtype::SOA, None), UDP);
    check(&request_with(&"x.".repeat(127), Rtype::A, None), UDP);
}
