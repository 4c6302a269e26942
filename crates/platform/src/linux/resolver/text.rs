//! The text of resolv.conf(5): reading anybody's, writing ours, and the record that `resolvconf` is handed.
//!
//! Not for files. It keeps true that our text is told by its first line, that nothing but addresses and domains that were
//! checked is written beside what stood there before, and that options of the original stay.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use model::DnsName;
use reconcile::Resolver;

/// How our text begins, whatever it says.
const MARK: &str = "# Written by Netloom.";
/// What glibc reads of a list of name servers.
const MOST_SERVERS: usize = 3;
/// The port of name servers in a text that names none.
const PORT: u16 = 53;
/// Where systemd-resolved itself answers.
const STUBS: [&str; 2] = ["127.0.0.53", "127.0.0.54"];

/// What a text says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Conf<'a> {
    nameservers: Vec<&'a str>,
    search: Vec<&'a str>,
    /// `options` and `sortlist`, as they stand.
    rest: Vec<&'a str>,
}

impl<'a> Conf<'a> {
    /// Reads a text as the C library does: what it does not know is passed over.
    pub(super) fn read(text: &'a str) -> Self {
        let mut conf = Self::default();
        for line in text.lines().map(str::trim_end) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => conf.nameservers.extend(words.next()),
                // The last line of the two counts.
                Some("search") => conf.search = words.collect(),
                Some("domain") => conf.search = words.take(1).collect(),
                Some("options" | "sortlist") => conf.rest.push(line.trim_start()),
                Some(_) | None => {}
            }
        }
        conf
    }

    /// The name servers, each once; `index` tells the number of a link by its name, for addresses that hold on one link.
    pub(super) fn servers(&self, index: impl Fn(&str) -> Option<u32>) -> Vec<SocketAddr> {
        let mut servers = Vec::new();
        for server in self.nameservers.iter().filter_map(|text| server(text, &index)) {
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        servers
    }

    /// Whether systemd-resolved answers everything.
    pub(super) fn is_stub(&self) -> bool {
        !self.nameservers.is_empty() && self.nameservers.iter().all(|server| STUBS.contains(server))
    }

    /// Whether one of these, or a name server on this machine, is asked.
    pub(super) fn asks(&self, servers: &[IpAddr]) -> bool {
        let asked = self.servers(|_| None);
        asked.iter().any(|server| server.ip().is_loopback() || servers.contains(&server.ip()))
    }
}

fn server(text: &str, index: &impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    let Some((address, scope)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse().ok()?, PORT));
    };
    let scope = scope.parse().ok().or_else(|| index(scope))?;
    Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, scope).into())
}

/// Whether a text is one of ours.
pub(super) fn is_ours(text: &[u8]) -> bool {
    text.starts_with(MARK.as_bytes())
}

/// Our text in place of `original`; `undo` says how it is undone by hand.
pub(super) fn ours(wanted: &Resolver, original: &str, undo: &str) -> String {
    let before = Conf::read(original);
    let mut search: Vec<&str> = wanted.search.iter().map(DnsName::as_str).collect();
    search.extend(
        before.search.iter().filter(|domain| !wanted.search.iter().any(|own| own.as_str() == **domain)),
    );
    let mut text = format!(
        "{MARK} Changes to this file are lost.\n\
         # Our name server asks those that stood here before for all that it does not know itself.\n\
         # `netclient leave` undoes this; by hand: {undo}\n"
    );
    for server in wanted.servers.iter().take(MOST_SERVERS) {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    for line in before.rest {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// What `resolvconf` is told of our link. It gets every domain that comes to us, since it has no other word for them.
pub(super) fn record(wanted: &Resolver, split: bool) -> String {
    let mut text = String::new();
    for server in wanted.servers.iter().take(MOST_SERVERS) {
        text.push_str(&format!("nameserver {server}\n"));
    }
    let domains = wanted.domains().into_iter().filter(|(_, searched)| *searched || split);
    let domains: Vec<&str> = domains.map(|(domain, _)| domain.as_str()).collect();
    if !domains.is_empty() {
        text.push_str(&format!("search {}\n", domains.join(" ")));
    }
    text
}

/// Our record and what all others say, out of what `resolvconf -l` lists.
pub(super) fn listed(list: &str, name: &str) -> (Option<String>, String) {
    let (mut ours, mut others) = (None, String::new());
    let mut is_ours = false;
    for line in list.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(record) = line.strip_prefix("# resolv.conf from ") {
            is_ours = record == name;
            if is_ours {
                ours.get_or_insert_with(String::new);
            }
            continue;
        }
        let text = if is_ours { ours.get_or_insert_default() } else { &mut others };
        text.push_str(line);
        text.push('\n');
    }
    (ours, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Resolver {
        Resolver {
            servers: vec!["10.20.0.5".parse().unwrap(), "fd20::5".parse().unwrap()],
            search: vec!["office.netloom".parse().unwrap()],
            route: vec!["netloom".parse().unwrap()],
            all: false,
        }
    }

    fn servers(text: &str) -> Vec<String> {
        let index = |name: &str| (name == "eth0").then_some(7);
        Conf::read(text).servers(index).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn our_text_names_us_alone_and_keeps_search_and_options() {
        let original = "# by hand\nnameserver 192.0.2.1\nsearch example.org office.netloom\n\
                        options edns0 trust-ad\n sortlist 192.0.2.0\nlookup file bind\n";
        let text = ours(&wanted(), original, "mv a b");
        let (comments, rest): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('#'));
        assert!(comments.last().unwrap().ends_with("by hand: mv a b"), "{text}");
        assert_eq!(
            rest,
            [
                "nameserver 10.20.0.5",
                "nameserver fd20::5",
                "search office.netloom example.org",
                "options edns0 trust-ad",
                "sortlist 192.0.2.0",
            ]
        );
        assert!(is_ours(text.as_bytes()));
        assert!(!is_ours(original.as_bytes()) && !is_ours(b""));
    }

    #[test]
    fn name_servers_are_read_as_the_c_library_reads_them() {
        let text = "nameserver 192.0.2.1\n#nameserver 192.0.2.2\n; nameserver 192.0.2.3\n\
                    \tnameserver\tfe80::1%eth0 # router\nnameserver fe80::2%3\nnameserver fe80::3%gone\n\
                    nameserver nonsense\nnameserver\nnameserver 192.0.2.1\nnameserver ::1\n";
        assert_eq!(servers(text), ["192.0.2.1:53", "[fe80::1%7]:53", "[fe80::2%3]:53", "[::1]:53"]);
        assert_eq!(servers(""), Vec::<String>::new());
    }

    #[test]
    fn the_last_of_domain_and_search_counts() {
        assert_eq!(Conf::read("search a b\ndomain c d\n").search, ["c"]);
        assert_eq!(Conf::read("domain c\nsearch a b\n").search, ["a", "b"]);
    }

    #[test]
    fn a_text_is_a_stub_only_if_nobody_else_answers() {
        assert!(Conf::read("nameserver 127.0.0.53\noptions edns0\n").is_stub());
        assert!(!Conf::read("nameserver 127.0.0.53\nnameserver 192.0.2.1\n").is_stub());
        assert!(!Conf::read("search a\n").is_stub());
    }

    #[test]
    fn we_are_asked_directly_or_by_a_name_server_of_this_machine() {
        let own = wanted().servers;
        assert!(Conf::read("nameserver fd20::5\n").asks(&own));
        assert!(Conf::read("nameserver 127.0.0.1\n").asks(&own));
        assert!(!Conf::read("nameserver 192.0.2.1\n").asks(&own));
    }

    #[test]
    fn a_record_names_routed_domains_only_where_they_are_told_apart() {
        assert_eq!(
            record(&wanted(), true),
            "nameserver 10.20.0.5\nnameserver fd20::5\nsearch office.netloom netloom\n"
        );
        assert_eq!(
            record(&wanted(), false),
            "nameserver 10.20.0.5\nnameserver fd20::5\nsearch office.netloom\n"
        );
    }

    #[test]
    fn our_record_is_told_from_those_of_others() {
        let list = "# resolv.conf from eth0.dhcp\nnameserver 192.0.2.1\n\n# resolv.conf from netloom0.netloom\n\
                    nameserver 10.20.0.5\n\n# resolv.conf from eth1\nnameserver 192.0.2.2\n";
        let (ours, others) = listed(list, "netloom0.netloom");
        assert_eq!(ours.as_deref(), Some("nameserver 10.20.0.5\n"));
        assert_eq!(servers(&others), ["192.0.2.1:53", "192.0.2.2:53"]);
        assert_eq!(listed("", "netloom0.netloom"), (None, String::new()));
    }
}
