//! What is written for CoreDNS reads back as what we know.

#![allow(clippy::unwrap_used, reason = "in tests, a panic is the message")]

mod support;

use std::collections::BTreeSet;

use dns::{Data, Names, Record, Service, Text, coredns};
use domain::rdata::ZoneRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{ORIGIN, TTL, name, names, zone};

/// The records of a zone file, as another reader understands them, and its serial number.
fn read_back(text: &str) -> (Vec<Record>, u32) {
    let mut file = Zonefile::load(&mut text.as_bytes()).unwrap();
    let (mut records, mut serial) = (Vec::new(), None);
    while let Some(entry) = file.next_entry().unwrap() {
        let Entry::Record(found) = entry else { panic!("no includes") };
        let data = match found.data() {
            ZoneRecordData::Soa(soa) => {
                serial = Some(soa.serial().0);
                continue;
            }
            ZoneRecordData::Ns(_) => continue,
            ZoneRecordData::A(a) => Data::A(a.addr()),
            ZoneRecordData::Aaaa(aaaa) => Data::Aaaa(aaaa.addr()),
            ZoneRecordData::Cname(cname) => Data::Cname(name(&cname.cname().to_string())),
            ZoneRecordData::Ptr(ptr) => Data::Ptr(name(&ptr.ptrdname().to_string())),
            ZoneRecordData::Txt(txt) => Data::Txt(Text::new(txt.iter_charstrs()).unwrap()),
            ZoneRecordData::Srv(srv) => Data::Srv(Service {
                priority: srv.priority(),
                weight: srv.weight(),
                port: srv.port(),
                target: name(&srv.target().to_string()),
            }),
            other => panic!("a record of another kind: {other}"),
        };
        records.push(Record { name: name(&found.owner().to_string()), ttl: found.ttl().as_secs(), data });
    }
    (records, serial.unwrap())
}

#[test]
fn every_kind_of_record_reads_back() {
    let snapshot = names().snapshot();
    let mut read = Vec::new();
    for zone in support::zones() {
        let text = coredns::zone_file(&snapshot, &zone.origin).unwrap();
        let (records, serial) = read_back(&text);
        assert_eq!(Some(serial), snapshot.zone(&zone.origin).map(|(_, serial)| serial));
        read.extend(records);
    }
    let key = |record: &Record| format!("{record:?}");
    let all: BTreeSet<String> = snapshot.records().map(|record| key(&record)).collect();
    assert_eq!(read.iter().map(key).collect::<BTreeSet<_>>(), all);
    assert_eq!(all.len(), support::every_kind().len());
}

#[test]
fn a_zone_file_begins_with_what_makes_it_a_zone() {
    let text = coredns::zone_file(&names().snapshot(), &name(ORIGIN)).unwrap();
    let soa = format!("{ORIGIN}. 30 IN SOA ns.{ORIGIN}. admin.{ORIGIN}. 8 3600 600 604800 30");
    assert_eq!(text.lines().next(), Some(soa.as_str()));
    assert_eq!(text.lines().nth(1), Some(format!("{ORIGIN}. 30 IN NS localhost.").as_str()));
    assert_eq!(coredns::zone_file(&names().snapshot(), &name("elsewhere")), None);
}

#[test]
fn a_hosts_file_has_a_line_for_each_address() {
    let text = coredns::hosts(&names().snapshot());
    let lines: BTreeSet<&str> = text.lines().collect();
    let web = format!("web.{ORIGIN}");
    let expected = ["10.1.2.3", "10.1.2.4", "fd00:1::3"].map(|address| format!("{address} {web}"));
    assert_eq!(lines, expected.iter().map(String::as_str).collect());
}

#[test]
fn a_zone_inside_another_is_a_file_of_its_own() {
    let names = names();
    let inner = format!("lab.{ORIGIN}");
    names.edit(|edit| {
        edit.put_zone(zone(&inner));
        edit.insert(support::address(&format!("x.{inner}"), "10.1.9.9")).unwrap();
    });
    let of = |origin: &str| read_back(&coredns::zone_file(&names.snapshot(), &name(origin)).unwrap()).0.len();
    assert_eq!((of(&inner), of(ORIGIN)), (1, 8));
}

proptest! {
    #[test]
    fn any_text_reads_back(strings in vec(vec(any::<u8>(), 0..40), 1..6)) {
        let names = Names::new();
        let data = Data::Txt(Text::new(strings).unwrap());
        let record = Record { name: name(&format!("x.{ORIGIN}")), ttl: TTL, data };
        names.edit(|edit| {
            edit.put_zone(zone(ORIGIN));
            edit.insert(record.clone()).unwrap();
        });
        let text = coredns::zone_file(&names.snapshot(), &name(ORIGIN)).unwrap();
        prop_assert_eq!(text.lines().count(), 3);
        prop_assert_eq!(read_back(&text).0, vec![record]);
    }
}
