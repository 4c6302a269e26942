//! The configuration of a remote access client, as `wg-quick` and every WireGuard app read it (wg-quick(8), wg(8)).
//!
//! Not for what is in it: who makes one has looked that up. It keeps true that each value stands on one line, because no type
//! in here can hold a line break, and that a private key is in no `Debug`.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{DnsName, Endpoint, HostName, Keepalive, Mtu, NetworkName, WgPublicKey};

/// What stands in place of the private key where it is not known.
pub const PRIVATE_KEY_MISSING: &str = "# PrivateKey = <put the private key here>";

/// A configuration. `Display` writes it.
#[derive(Clone, PartialEq, Eq)]
pub struct WgQuick {
    /// The client's name, for the comment at the top.
    pub client: HostName,
    /// The network's name, for the same.
    pub network: NetworkName,
    /// The gateway's name, for the same.
    pub gateway: HostName,
    /// The client's private key; none where nobody but the client knows it.
    pub private_key: Option<[u8; 32]>,
    /// The client's own addresses.
    pub addresses: Vec<IpAddr>,
    /// Whom it asks for names; none: its own choice stays.
    pub dns: Vec<IpAddr>,
    /// Where short names are looked up. Counts only beside name servers.
    pub search: Option<DnsName>,
    /// The MTU of its interface; none: the app chooses.
    pub mtu: Option<Mtu>,
    /// The gateway's public key.
    pub gateway_key: WgPublicKey,
    /// Where the gateway is.
    pub endpoint: Endpoint,
    /// What is sent to the gateway.
    pub allowed: Vec<IpNet>,
    /// Seconds between keepalives.
    pub keepalive: Keepalive,
    /// What is to be known or done so that it works, for comments at the top. Each is one line.
    pub notes: Vec<String>,
}

/// What a note's line begins with.
const NOTE: &str = "# Note: ";

/// The notes of a configuration as it is written.
pub fn notes_of(config: &str) -> Vec<String> {
    config.lines().filter_map(|line| line.strip_prefix(NOTE)).map(str::to_owned).collect()
}

fn list<T: ToString>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for WgQuick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {} in network {}, by gateway {}", self.client, self.network, self.gateway)?;
        for note in &self.notes {
            writeln!(f, "{NOTE}{}", note.replace(char::is_control, " "))?;
        }
        writeln!(f, "[Interface]")?;
        match &self.private_key {
            Some(key) => writeln!(f, "PrivateKey = {}", data_encoding::BASE64.encode(key))?,
            None => writeln!(f, "{PRIVATE_KEY_MISSING}")?,
        }
        let own: Vec<IpNet> = self.addresses.iter().map(|ip| IpNet::from(*ip)).collect();
        writeln!(f, "Address = {}", list(&own))?;
        if !self.dns.is_empty() {
            let search = self.search.iter().map(|domain| format!(", {domain}")).collect::<String>();
            writeln!(f, "DNS = {}{search}", list(&self.dns))?;
        }
        if let Some(mtu) = self.mtu {
            writeln!(f, "MTU = {mtu}")?;
        }
        writeln!(f, "\n[Peer]\nPublicKey = {}", self.gateway_key)?;
        writeln!(f, "Endpoint = {}", self.endpoint)?;
        writeln!(f, "AllowedIPs = {}", list(&self.allowed))?;
        writeln!(f, "PersistentKeepalive = {}", self.keepalive)
    }
}

impl fmt::Debug for WgQuick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WgQuick")
            .field("client", &self.client)
            .field("gateway", &self.gateway)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> WgQuick {
        WgQuick {
            client: "phone".parse().unwrap(),
            network: "home".parse().unwrap(),
            gateway: "gw".parse().unwrap(),
            private_key: Some([7; 32]),
            addresses: vec!["10.1.0.9".parse().unwrap(), "fd00:1::9".parse().unwrap()],
            dns: vec!["10.1.0.2".parse().unwrap()],
            search: "home.netloom.internal".parse().ok(),
            mtu: "1380".parse().ok(),
            gateway_key: WgPublicKey::from_bytes([9; 32]),
            endpoint: "[2001:db8::7]:51820".parse().unwrap(),
            allowed: vec!["10.1.0.0/16".parse().unwrap(), "fd00:1::/64".parse().unwrap()],
            keepalive: Keepalive::DEFAULT,
            notes: Vec::new(),
        }
    }

    #[test]
    fn notes_are_comments_and_are_found_again() {
        let notes = vec!["forward UDP port 9".to_owned(), "two\nlines".to_owned()];
        let text = WgQuick { notes, ..example() }.to_string();
        assert!(
            text.contains("gateway gw\n# Note: forward UDP port 9\n# Note: two lines\n[Interface]"),
            "{text}"
        );
        assert_eq!(notes_of(&text), ["forward UDP port 9", "two lines"]);
    }

    #[test]
    fn a_configuration_is_what_wg_quick_reads() {
        assert_eq!(
            example().to_string(),
            "\
# phone in network home, by gateway gw
[Interface]
PrivateKey = BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=
Address = 10.1.0.9/32, fd00:1::9/128
DNS = 10.1.0.2, home.netloom.internal
MTU = 1380

[Peer]
PublicKey = CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=
Endpoint = [2001:db8::7]:51820
AllowedIPs = 10.1.0.0/16, fd00:1::/64
PersistentKeepalive = 20
"
        );
    }

    #[test]
    fn what_is_left_open_is_left_out() {
        let bare = WgQuick { private_key: None, dns: Vec::new(), mtu: None, ..example() }.to_string();
        assert!(bare.contains(PRIVATE_KEY_MISSING), "{bare}");
        assert!(!bare.contains("\nPrivateKey") && !bare.contains("DNS") && !bare.contains("MTU"), "{bare}");
        assert!(!format!("{:?}", example()).contains("BwcH"));
    }

    /// What wg(8) and wg-quick(8) accept: sections, and in each the keys it knows, once.
    #[test]
    fn every_line_is_a_comment_a_section_or_a_known_key() {
        let mut section = String::new();
        for line in example().to_string().lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line.starts_with('[') {
                section = line.to_owned();
                continue;
            }
            let (key, value) = line.split_once(" = ").unwrap();
            let known: &[&str] = match section.as_str() {
                "[Interface]" => &["PrivateKey", "Address", "DNS", "MTU"],
                "[Peer]" => &["PublicKey", "Endpoint", "AllowedIPs", "PersistentKeepalive"],
                other => panic!("no section {other}"),
            };
            assert!(known.contains(&key) && !value.is_empty(), "{line}");
        }
    }
}
