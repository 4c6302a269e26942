//! What is answered to questions about names of ours, one behaviour at a time.

#![allow(clippy::unwrap_used, reason = "in tests, a panic is the message")]

mod support;

use dns::{Answer, Data, Name, Names, RecordError, Text};
use domain::base::MessageBuilder;
use domain::base::iana::{Class, Opcode, OptRcode, Rcode, Rtype};
use support::{
    CLOSED, ORIGIN, TCP, UDP, address, ask, ask_with, name, names, record, request, request_with, zone,
};

fn of(label: &str) -> String {
    format!("{label}.{ORIGIN}")
}

fn soa(origin: &str, serial: u32) -> String {
    format!("{origin} 30 SOA ns.{origin} admin.{origin} {serial} 3600 600 604800 30")
}

#[test]
fn every_kind_of_record_is_answered() {
    let names = names();
    let answers = |owner: &str, rtype| {
        let reply = ask(&names, owner, rtype);
        assert_eq!((reply.rcode, reply.authoritative, reply.cut), (Rcode::NOERROR, true, false));
        reply.answers
    };
    let web = of("web");
    assert_eq!(answers(&web, Rtype::A), [format!("{web} 60 A 10.1.2.3"), format!("{web} 60 A 10.1.2.4")]);
    assert_eq!(answers(&web, Rtype::AAAA), [format!("{web} 60 AAAA fd00:1::3")]);
    assert_eq!(answers(&of("www"), Rtype::CNAME), [format!("{} 60 CNAME {web}", of("www"))]);
    let text = answers(&of("text"), Rtype::TXT);
    assert_eq!(text, [format!(r#"{} 60 TXT "v=1; \"q\" \\ back" "" "\195\188\010""#, of("text"))]);
    let service = of("_sip._udp");
    assert_eq!(answers(&service, Rtype::SRV), [format!("{service} 60 SRV 10 5 5060 {web}")]);
    let reverse = "3.2.1.10.in-addr.arpa";
    assert_eq!(answers(reverse, Rtype::PTR), [format!("{reverse} 60 PTR {web}")]);
    let reverse = Name::reverse("fd00:1::3".parse().unwrap()).to_string();
    assert_eq!(answers(&reverse, Rtype::PTR), [format!("{reverse} 60 PTR {web}")]);
}

#[test]
fn case_does_not_matter_and_is_given_back() {
    let asked = "WeB.oFFice.netLOOM.internal";
    let reply = ask(&names(), asked, Rtype::AAAA);
    assert_eq!(reply.answers, [format!("{asked} 60 AAAA fd00:1::3")]);
}

#[test]
fn cnames_are_followed_inside_our_zones() {
    let reply = ask(&names(), &of("wiki"), Rtype::AAAA);
    let (wiki, www, web) = (of("wiki"), of("www"), of("web"));
    let chain = [
        format!("{wiki} 60 CNAME {www}"),
        format!("{www} 60 CNAME {web}"),
        format!("{web} 60 AAAA fd00:1::3"),
    ];
    assert_eq!(reply.answers, chain);
    let away = request(&of("away"), Rtype::A);
    let closed = ask_with(&names(), &away, CLOSED);
    assert_eq!((closed.rcode, closed.answers.len()), (Rcode::NOERROR, 1));
    let outcome = dns::answer(&names().snapshot(), &away, UDP, &mut Vec::new());
    assert!(matches!(outcome, Answer::Forward(_)), "{outcome:?}");
}

#[test]
fn the_end_of_a_chain_decides_what_is_said_of_it() {
    let names = names();
    let dangling = |edit: &mut dns::Edit| {
        edit.insert(record(&of("a"), Data::Cname(name(&of("none"))))).unwrap();
        edit.insert(record(&of("b"), Data::Cname(name(&of("text"))))).unwrap();
    };
    names.edit(dangling);
    let nothing = ask(&names, &of("a"), Rtype::A);
    assert_eq!((nothing.rcode, nothing.answers.len(), nothing.authority.len()), (Rcode::NXDOMAIN, 1, 1));
    let no_such_kind = ask(&names, &of("b"), Rtype::A);
    assert_eq!((no_such_kind.rcode, no_such_kind.answers.len()), (Rcode::NOERROR, 1));
    assert_eq!(no_such_kind.authority.len(), 1);
}

#[test]
fn a_circle_of_cnames_ends() {
    let names = names();
    names.edit(|edit| {
        edit.insert(record(&of("one"), Data::Cname(name(&of("two"))))).unwrap();
        edit.insert(record(&of("two"), Data::Cname(name(&of("one"))))).unwrap();
    });
    assert_eq!(ask(&names, &of("one"), Rtype::A).rcode, Rcode::SERVFAIL);
    assert_eq!(ask(&names, &of("one"), Rtype::CNAME).answers.len(), 1);
}

#[test]
fn a_name_that_is_not_there_and_a_kind_that_is_not_there_differ() {
    let names = names();
    let none = ask(&names, &of("none"), Rtype::A);
    assert_eq!((none.rcode, none.answers.len()), (Rcode::NXDOMAIN, 0));
    assert_eq!(none.authority, [soa(ORIGIN, 8)]);
    for (owner, rtype) in [
        (of("web"), Rtype::TXT),
        (of("web"), Rtype::from_int(65_280)),
        // There is something below.
        (of("_udp"), Rtype::A),
        (ORIGIN.to_owned(), Rtype::A),
    ] {
        let reply = ask(&names, &owner, rtype);
        assert_eq!((reply.rcode, reply.answers.len()), (Rcode::NOERROR, 0), "{owner}");
        assert_eq!(reply.authority, [soa(ORIGIN, 8)]);
    }
}

#[test]
fn where_a_zone_begins_there_are_its_own_records() {
    let names = names();
    assert_eq!(ask(&names, ORIGIN, Rtype::SOA).answers, [soa(ORIGIN, 8)]);
    assert_eq!(ask(&names, ORIGIN, Rtype::NS).answers, [format!("{ORIGIN} 30 NS ns.{ORIGIN}")]);
    assert_eq!(ask(&names, "1.10.in-addr.arpa", Rtype::SOA).answers, [soa("1.10.in-addr.arpa", 8)]);
}

#[test]
fn a_question_for_everything_gets_one_kind() {
    let names = names();
    let kinds = |owner: &str| {
        let answers = ask(&names, owner, Rtype::ANY).answers;
        answers.iter().map(|answer| answer.split(' ').nth(2).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&of("web")), ["A", "A"]);
    assert_eq!(kinds(&of("www")), ["CNAME"]);
    assert_eq!(kinds(ORIGIN), ["SOA"]);
    assert_eq!(ask(&names, &of("none"), Rtype::ANY).rcode, Rcode::NXDOMAIN);
}

#[test]
fn a_reply_that_does_not_fit_says_so() {
    let names = names();
    let strings = Text::of_value(&"x".repeat(1000)).unwrap();
    names.edit(|edit| edit.insert(record(&of("long"), Data::Txt(strings))).unwrap());
    let asked = |size, terms| ask_with(&names, &request_with(&of("long"), Rtype::TXT, size), terms);
    for size in [None, Some(0), Some(512), Some(900)] {
        let reply = asked(size, UDP);
        assert_eq!((reply.cut, reply.answers.len(), reply.rcode), (true, 0, Rcode::NOERROR), "{size:?}");
        assert!(reply.length <= 512);
    }
    for (size, terms) in [(Some(1232), UDP), (Some(65_535), UDP), (None, TCP)] {
        let reply = asked(size, terms);
        assert_eq!((reply.cut, reply.answers.len()), (false, 1), "{size:?}");
    }
    let more = Text::of_value(&"y".repeat(1000)).unwrap();
    names.edit(|edit| edit.insert(record(&of("long"), Data::Txt(more))).unwrap());
    let larger_than_we_send = asked(Some(4096), UDP);
    assert!(larger_than_we_send.cut && larger_than_we_send.length <= 1232);
    assert_eq!(asked(None, TCP).answers.len(), 2);
}

#[test]
fn who_sends_an_opt_record_gets_one() {
    let names = names();
    let edns = |size| ask_with(&names, &request_with(&of("web"), Rtype::A, size), UDP).edns;
    assert_eq!((edns(None), edns(Some(4096))), (None, Some(1232)));
}

#[test]
fn a_version_of_edns_that_nobody_made_is_refused() {
    let mut request = request_with(&of("web"), Rtype::A, Some(1232));
    let version = request.len() - 5;
    request[version] = 1;
    let mut reply = Vec::new();
    assert!(matches!(dns::answer(&names().snapshot(), &request, UDP, &mut reply), Answer::Reply));
    let message = domain::base::Message::from_octets(reply).unwrap();
    assert_eq!(message.opt_rcode(), OptRcode::BADVERS);
}

#[test]
fn what_is_no_question_is_told_so() {
    let names = names();
    let mut update = request(&of("web"), Rtype::A);
    update[2] = Opcode::UPDATE.to_int() << 3;
    assert_eq!(ask_with(&names, &update, UDP).rcode, Rcode::NOTIMP);
    let mut two = request(&of("web"), Rtype::A);
    two[5] = 2;
    assert_eq!(ask_with(&names, &two, UDP).rcode, Rcode::FORMERR);
    let whole = request_with(&of("web"), Rtype::A, Some(1232));
    assert_eq!(ask_with(&names, &whole[..whole.len() - 1], UDP).rcode, Rcode::FORMERR);
    assert_eq!(ask_with(&names, &whole[..20], UDP).rcode, Rcode::FORMERR);
}

#[test]
fn answers_and_scraps_get_silence() {
    let snapshot = names().snapshot();
    let mut reply = Vec::new();
    let mut response = request(&of("web"), Rtype::A);
    response[2] |= 0x80;
    assert!(matches!(dns::answer(&snapshot, &response, UDP, &mut reply), Answer::Drop));
    assert!(matches!(dns::answer(&snapshot, &response[..11], UDP, &mut reply), Answer::Drop));
    assert!(matches!(dns::answer(&snapshot, &[], UDP, &mut reply), Answer::Drop));
}

#[test]
fn transfers_and_other_classes_are_refused() {
    let names = names();
    assert_eq!(ask(&names, ORIGIN, Rtype::AXFR).rcode, Rcode::REFUSED);
    assert_eq!(ask(&names, ORIGIN, Rtype::IXFR).rcode, Rcode::REFUSED);
    let mut builder = MessageBuilder::new_vec().question();
    let owner: domain::base::Name<Vec<u8>> = "version.bind".parse().unwrap();
    builder.push((owner, Rtype::TXT, Class::CH)).unwrap();
    assert_eq!(ask_with(&names, &builder.finish(), UDP).rcode, Rcode::REFUSED);
}

#[test]
fn foreign_names_are_for_others_where_that_is_allowed_and_wanted() {
    let names = names();
    let mut reply = Vec::new();
    let mut asked = request("debian.org", Rtype::A);
    let outcome = dns::answer(&names.snapshot(), &asked, UDP, &mut reply);
    assert!(matches!(outcome, Answer::Forward(_)), "{outcome:?}");
    assert_eq!(ask_with(&names, &asked, CLOSED).rcode, Rcode::REFUSED);
    asked[2] &= !1;
    assert_eq!(ask_with(&names, &asked, UDP).rcode, Rcode::REFUSED);
}

#[test]
fn a_zone_inside_another_has_its_own_names() {
    let names = names();
    let inner = of("lab");
    names.edit(|edit| {
        edit.insert(address(&format!("x.{inner}"), "10.1.9.9")).unwrap();
        edit.put_zone(zone(&inner));
    });
    assert_eq!(ask(&names, &format!("y.{inner}"), Rtype::A).authority, [soa(&inner, 8)]);
    assert_eq!(ask(&names, &format!("x.{inner}"), Rtype::A).answers.len(), 1);
    names.edit(|edit| assert!(edit.remove_zone(&name(&inner))));
    assert_eq!(ask(&names, &format!("x.{inner}"), Rtype::A).answers.len(), 1);
    names.edit(|edit| assert!(edit.remove_zone(&name(ORIGIN))));
    let left: Vec<_> = names.snapshot().records().collect();
    assert!(
        !left.is_empty() && left.iter().all(|record| record.name.to_string().ends_with("arpa")),
        "{left:?}"
    );
}

#[test]
fn records_that_cannot_be_are_told_why() {
    let names = names();
    let insert = |record| names.edit(|edit| edit.insert(record));
    let alias = |owner: &str| record(owner, Data::Cname(name(&of("x"))));
    assert_eq!(insert(address("a.example", "10.0.0.1")), Err(RecordError::OutsideZones(name("a.example"))));
    assert_eq!(insert(alias(&of("web"))), Err(RecordError::CnameBesideOthers(name(&of("web")))));
    assert_eq!(insert(alias(ORIGIN)), Err(RecordError::CnameBesideOthers(name(ORIGIN))));
    assert_eq!(
        insert(address(&of("www"), "10.0.0.1")),
        Err(RecordError::CnameBesideOthers(name(&of("www"))))
    );
    assert_eq!(insert(alias(&of("www"))), Err(RecordError::SecondCname(name(&of("www")))));
    assert_eq!(insert(address(&of("web"), "10.1.2.3")), Ok(false));
}

#[test]
fn a_serial_number_grows_when_the_zone_changes_and_only_then() {
    let names = names();
    let serial = |origin: &str| names.snapshot().zone(&name(origin)).unwrap().1;
    let (first, reverse) = (serial(ORIGIN), serial("1.10.in-addr.arpa"));
    names.edit(|edit| edit.insert(address(&of("web"), "10.1.2.3")).unwrap());
    names.edit(|edit| assert!(!edit.clear(&name(&of("none")))));
    names.edit(|edit| edit.put_zone(zone(ORIGIN)));
    assert_eq!(serial(ORIGIN), first);
    names.edit(|edit| {
        edit.insert(address(&of("new"), "10.1.2.5")).unwrap();
        edit.insert(address(&of("newer"), "10.1.2.6")).unwrap();
    });
    assert_eq!(serial(ORIGIN), first + 1);
    names.edit(|edit| assert!(edit.remove(&name(&of("new")), &Data::A("10.1.2.5".parse().unwrap()))));
    assert_eq!((serial(ORIGIN), serial("1.10.in-addr.arpa")), (first + 2, reverse));
    names.edit(|edit| edit.replace(support::zones(), support::every_kind()));
    assert_eq!((serial(ORIGIN), serial("1.10.in-addr.arpa")), (first + 3, reverse + 1));
    let mut ahead = zone(ORIGIN);
    ahead.serial = 1000;
    names.edit(|edit| edit.put_zone(ahead.clone()));
    assert_eq!(serial(ORIGIN), 1001);
    ahead.serial = 5;
    names.edit(|edit| edit.put_zone(ahead));
    assert_eq!(serial(ORIGIN), 1002);
}

#[test]
fn no_reply_is_longer_than_any_stream_can_carry() {
    let names = names();
    names.edit(|edit| {
        for number in 0..60 {
            let value = format!("{number:02}{}", "x".repeat(1200));
            edit.insert(record(&of("huge"), Data::Txt(Text::of_value(&value).unwrap()))).unwrap();
        }
    });
    let reply = ask_with(&names, &request(&of("huge"), Rtype::TXT), TCP);
    assert!(reply.cut && reply.answers.is_empty());
}

#[test]
fn who_knows_nothing_refuses() {
    assert_eq!(ask_with(&Names::new(), &request(ORIGIN, Rtype::A), CLOSED).rcode, Rcode::REFUSED);
}
