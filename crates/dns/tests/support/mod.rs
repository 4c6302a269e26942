//! What the tests share: names to ask for, requests, and replies in a form that can be compared.

#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::unwrap_used, reason = "in tests, a panic is the message")]

use std::net::IpAddr;

use dns::{Answer, Data, Name, Names, Record, Service, Terms, Text, Transport, Zone};
use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, ParsedName};
use domain::rdata::AllRecordData;

pub(crate) const ORIGIN: &str = "office.netloom.internal";
pub(crate) const TTL: u32 = 60;
pub(crate) const UDP: Terms = Terms { transport: Transport::Udp, welcome: true, recursion: true };
/// For those that nobody else is asked for.
pub(crate) const CLOSED: Terms = Terms { transport: Transport::Udp, welcome: true, recursion: false };
pub(crate) const TCP: Terms = Terms { transport: Transport::Tcp, welcome: true, recursion: true };

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn zone(origin: &str) -> Zone {
    let server = name(&format!("ns.{origin}"));
    Zone { origin: name(origin), server, mailbox: name(&format!("admin.{origin}")), ttl: 30, serial: 7 }
}

pub(crate) fn record(owner: &str, data: Data) -> Record {
    Record { name: name(owner), ttl: TTL, data }
}

pub(crate) fn address(owner: &str, address: &str) -> Record {
    record(owner, address.parse::<IpAddr>().unwrap().into())
}

/// One record of every kind, a CNAME chain, and a reverse zone of each family.
pub(crate) fn every_kind() -> Vec<Record> {
    let of = |label: &str| format!("{label}.{ORIGIN}");
    let service = Service { priority: 10, weight: 5, port: 5060, target: name(&of("web")) };
    vec![
        address(&of("web"), "10.1.2.3"),
        address(&of("web"), "10.1.2.4"),
        address(&of("web"), "fd00:1::3"),
        record(&of("www"), Data::Cname(name(&of("web")))),
        record(&of("wiki"), Data::Cname(name(&of("www")))),
        record(&of("away"), Data::Cname(name("debian.org"))),
        record(&of("text"), Data::Txt(Text::new(["v=1; \"q\" \\ back", "", "ü\n"]).unwrap())),
        record(&of("_sip._udp"), Data::Srv(service)),
        record("3.2.1.10.in-addr.arpa", Data::Ptr(name(&of("web")))),
        Record {
            name: Name::reverse("fd00:1::3".parse().unwrap()),
            ttl: TTL,
            data: Data::Ptr(name(&of("web"))),
        },
    ]
}

pub(crate) fn zones() -> Vec<Zone> {
    vec![zone(ORIGIN), zone("1.10.in-addr.arpa"), zone("1.0.0.0.0.0.d.f.ip6.arpa")]
}

pub(crate) fn names() -> Names {
    let names = Names::new();
    let errors = names.edit(|edit| edit.replace(zones(), every_kind()));
    assert_eq!(errors, []);
    names
}

/// A request with recursion desired.
pub(crate) fn request(owner: &str, rtype: Rtype) -> Vec<u8> {
    request_with(owner, rtype, None)
}

/// With an OPT record of this size.
pub(crate) fn request_with(owner: &str, rtype: Rtype, size: Option<u16>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(4711);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    let owner: domain::base::Name<Vec<u8>> = owner.parse().unwrap();
    builder.push((owner, rtype)).unwrap();
    let mut builder = builder.additional();
    if let Some(size) = size {
        let set = |opt: &mut domain::base::message_builder::OptBuilder<'_, Vec<u8>>| {
            opt.set_udp_payload_size(size);
            Ok(())
        };
        builder.opt(set).unwrap();
    }
    builder.finish()
}

/// A reply in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) rcode: Rcode,
    pub(crate) authoritative: bool,
    pub(crate) cut: bool,
    /// `name ttl type data`, in the reply's order.
    pub(crate) answers: Vec<String>,
    pub(crate) authority: Vec<String>,
    /// The size that the reply's OPT record names.
    pub(crate) edns: Option<u16>,
    pub(crate) length: usize,
}

pub(crate) fn read(octets: &[u8]) -> Reply {
    let message = Message::from_octets(octets).unwrap();
    let header = message.header();
    assert!(header.qr(), "a reply says that it is one");
    let words = |section: domain::base::RecordSection<'_, &[u8]>| -> Vec<String> {
        let records = section.into_records::<AllRecordData<_, ParsedName<_>>>();
        let word = |record: Result<domain::base::Record<ParsedName<_>, AllRecordData<_, _>>, _>| {
            let record = record.unwrap();
            let (owner, ttl, rtype) = (record.owner().to_string(), record.ttl().as_secs(), record.rtype());
            // Names in data are written with the dot at their end, owners are not.
            let data = record.data().to_string();
            let data: Vec<&str> =
                data.split(' ').map(|part| part.strip_suffix('.').unwrap_or(part)).collect();
            format!("{owner} {ttl} {rtype} {}", data.join(" "))
        };
        records.map(word).collect()
    };
    Reply {
        rcode: header.rcode(),
        authoritative: header.aa(),
        cut: header.tc(),
        answers: words(message.answer().unwrap()),
        authority: words(message.authority().unwrap()),
        edns: message.opt().map(|opt| opt.udp_payload_size()),
        length: octets.len(),
    }
}

/// What we reply from what we know.
pub(crate) fn ask_with(names: &Names, request: &[u8], terms: Terms) -> Reply {
    let mut reply = Vec::new();
    let answer = dns::answer(&names.snapshot(), request, terms, &mut reply);
    assert!(matches!(answer, Answer::Reply), "{answer:?}");
    assert_eq!(reply[..2], request[..2], "the reply has the request's number");
    read(&reply)
}

pub(crate) fn ask(names: &Names, owner: &str, rtype: Rtype) -> Reply {
    ask_with(names, &request(owner, rtype), UDP)
}
