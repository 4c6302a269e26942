//! The same names for a foreign server: texts that CoreDNS reads with its `hosts` and `file` (or `auto`) plugins.
//!
//! Not for writing files. It keeps true that what is written reads back as what we know, whatever a text holds.

use std::fmt::Write as _;

use crate::name::Name;
use crate::record::{Data, Record, Service};
use crate::snapshot::Snapshot;

/// All addresses and their names, as in `/etc/hosts`: the `hosts` plugin makes reverse lookups of them itself.
pub fn hosts(names: &Snapshot) -> String {
    let mut text = String::new();
    for Record { name, ttl: _, data } in names.records() {
        let written = match data {
            Data::A(address) => writeln!(text, "{address} {name}"),
            Data::Aaaa(address) => writeln!(text, "{address} {name}"),
            Data::Cname(_) | Data::Txt(_) | Data::Srv(_) | Data::Ptr(_) => Ok(()),
        };
        written.expect("a text takes everything");
    }
    text
}

/// A zone as in RFC 1035; none where we have no zone of this name.
pub fn zone_file(names: &Snapshot, origin: &Name) -> Option<String> {
    let (zone, serial) = names.zone(origin)?;
    let (ttl, server, mailbox) = (zone.ttl, Whole(&zone.server), Whole(&zone.mailbox));
    let origin = Whole(&zone.origin);
    // Who answers is whoever reads this, and we know no address of it; BIND refuses a server in the zone without one.
    let mut text = format!(
        "{origin} {ttl} IN SOA {server} {mailbox} {serial} 3600 600 604800 {ttl}\n{origin} {ttl} IN NS localhost.\n"
    );
    for record in names.records_of(&zone.origin) {
        write_record(&mut text, &record).expect("a text takes everything");
    }
    Some(text)
}

fn write_record(text: &mut String, record: &Record) -> std::fmt::Result {
    let Record { name, ttl, data } = record;
    write!(text, "{} {ttl} IN ", Whole(name))?;
    match data {
        Data::A(address) => writeln!(text, "A {address}"),
        Data::Aaaa(address) => writeln!(text, "AAAA {address}"),
        Data::Cname(target) => writeln!(text, "CNAME {}", Whole(target)),
        Data::Ptr(target) => writeln!(text, "PTR {}", Whole(target)),
        Data::Srv(Service { priority, weight, port, target }) => {
            writeln!(text, "SRV {priority} {weight} {port} {}", Whole(target))
        }
        Data::Txt(strings) => {
            text.push_str("TXT");
            strings.strings().for_each(|string| write_quoted(text, string));
            text.push('\n');
            Ok(())
        }
    }
}

/// A string in quotes: what is no plain character is written as its number.
fn write_quoted(text: &mut String, string: &[u8]) {
    text.push_str(" \"");
    for octet in string {
        match octet {
            b'"' | b'\\' => text.extend(['\\', char::from(*octet)]),
            b' '..=b'~' => text.push(char::from(*octet)),
            _other => write!(text, "\\{octet:03}").expect("a text takes everything"),
        }
    }
    text.push('"');
}

/// A name with the dot that makes it whole.
struct Whole<'a>(&'a Name);

impl std::fmt::Display for Whole<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        if *self.0 == Name::root() { Ok(()) } else { f.write_str(".") }
    }
}
