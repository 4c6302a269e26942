//! What this machine's resolver should know of us: our name servers, the domains that are searched, and which names come
//! to us.
//!
//! Not for how it is told (`platform`), nor for answering a question. It keeps true that what is asked for does not depend
//! on the order in which networks were listed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use model::DnsName;

/// What the machine's resolver should know of us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolver {
    /// The addresses of our own name server, on our own link.
    pub servers: Vec<IpAddr>,
    /// Domains that are tried behind names without a dot. Their names come to us.
    pub search: Vec<DnsName>,
    /// Domains whose names come to us, and no others'.
    pub route: Vec<DnsName>,
    /// Every name comes to us: a full tunnel.
    pub all: bool,
}

impl Resolver {
    /// Whether there is anything to tell.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Every domain whose names come to us, those that are searched first, each once; `true` for those that are searched.
    pub fn domains(&self) -> Vec<(&DnsName, bool)> {
        let searched = self.search.iter().map(|domain| (domain, true));
        let routed = self.route.iter().map(|domain| (domain, false));
        let mut domains: Vec<(&DnsName, bool)> = Vec::new();
        for (domain, is_searched) in searched.chain(routed) {
            if !domains.iter().any(|(known, _)| *known == domain) {
                domains.push((domain, is_searched));
            }
        }
        domains
    }
}

/// Ways to tell the machine's resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResolverWay {
    /// systemd-resolved, over D-Bus. Knows which names go where.
    Resolved,
    /// The program `resolvconf`: openresolv's or Debian's.
    Resolvconf,
    /// The file /etc/resolv.conf itself.
    File,
}

impl ResolverWay {
    /// All of them, the best first.
    pub const ALL: [Self; 3] = [Self::Resolved, Self::Resolvconf, Self::File];

    /// The word for it in settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Resolved => "resolved",
            Self::Resolvconf => "resolvconf",
            Self::File => "file",
        }
    }
}

impl fmt::Display for ResolverWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Which way the settings ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResolverChoice {
    /// The first that this machine uses: systemd-resolved, resolvconf, the file.
    #[default]
    Auto,
    /// This one.
    Only(ResolverWay),
    /// None: the machine's resolver is left alone.
    Off,
}

/// The text names no way to tell the resolver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to tell this machine's resolver; write auto, resolved, resolvconf, file or off")]
pub struct ResolverChoiceError(String);

impl FromStr for ResolverChoice {
    type Err = ResolverChoiceError;

    fn from_str(text: &str) -> Result<Self, ResolverChoiceError> {
        let way = ResolverWay::ALL.into_iter().find(|way| way.word() == text);
        match (text, way) {
            (_, Some(way)) => Ok(Self::Only(way)),
            ("auto", None) => Ok(Self::Auto),
            ("off", None) => Ok(Self::Off),
            (_, None) => Err(ResolverChoiceError(text.chars().take(32).collect())),
        }
    }
}

impl fmt::Display for ResolverChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Only(way) => way.fmt(f),
            Self::Off => f.write_str("off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> DnsName {
        text.parse().unwrap()
    }

    #[test]
    fn a_domain_that_is_searched_is_not_routed_once_more() {
        let resolver = Resolver {
            servers: vec!["10.20.0.5".parse().unwrap()],
            search: vec![domain("office.netloom.internal"), domain("lab.netloom.internal")],
            route: vec![
                domain("netloom.internal"),
                domain("office.netloom.internal"),
                domain("20.10.in-addr.arpa"),
            ],
            all: false,
        };
        let domains: Vec<(&str, bool)> =
            resolver.domains().into_iter().map(|(domain, searched)| (domain.as_str(), searched)).collect();
        assert_eq!(
            domains,
            [
                ("office.netloom.internal", true),
                ("lab.netloom.internal", true),
                ("netloom.internal", false),
                ("20.10.in-addr.arpa", false),
            ]
        );
    }

    #[test]
    fn choices_are_read_as_they_are_written() {
        for text in ["auto", "resolved", "resolvconf", "file", "off"] {
            assert_eq!(text.parse::<ResolverChoice>().unwrap().to_string(), text);
        }
        let text = "dnsmasq".parse::<ResolverChoice>().unwrap_err().to_string();
        assert!(text.contains("`dnsmasq`") && text.contains("resolvconf"), "{text}");
    }
}
