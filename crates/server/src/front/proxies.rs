//! Whose word we take for a client's address: `X-Forwarded-For`, from named proxies only.
//!
//! Invariant: what a client itself writes into the header never becomes its address, because the list is read from the
//! right and only as far as each hop is a proxy that the settings name.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

const HEADER: &str = "x-forwarded-for";

/// The proxies that the settings name.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts what these ranges say. An empty list trusts nobody.
    pub fn new(ranges: Vec<IpNet>) -> Self {
        Self(ranges)
    }

    /// The client's address for a request that came from `peer`. A port of 0 says that a proxy named the address.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if !self.trusts(peer.ip()) {
            return peer;
        }
        let lines = headers.get_all(HEADER).iter();
        // A line that is no text is a hop that cannot be read, and not left out: what is left of it would count instead.
        let lines = lines.map(|line| line.to_str().unwrap_or("unreadable"));
        let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).collect();
        let mut client = peer;
        for hop in hops.iter().rev() {
            let Some(address) = parse_hop(hop) else {
                return client;
            };
            client = SocketAddr::new(address, 0);
            if !self.trusts(address) {
                return client;
            }
        }
        client
    }

    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(&address))
    }
}

/// Proxies write plain addresses, some with a port.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let address = hop.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client(peer: &str, lines: &[&str]) -> String {
        let ranges = ["10.0.0.0/8", "fd00::/8"].map(|range| range.parse().expect("a range"));
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HEADER, HeaderValue::from_str(line).expect("a header"));
        }
        let peer = SocketAddr::new(peer.parse().expect("an address"), 4000);
        TrustedProxies::new(ranges.to_vec()).client(peer, &headers).to_string()
    }

    #[test]
    fn a_stranger_cannot_name_another_address() {
        assert_eq!(client("192.0.2.9", &["198.51.100.1"]), "192.0.2.9:4000");
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_is_the_client() {
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"]), "198.51.100.1:0");
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "198.51.100.1:77"]), "198.51.100.1:0");
        assert_eq!(client("fd00::1", &["[2001:db8::5]:1, ::ffff:10.1.1.1"]), "[2001:db8::5]:0");
    }

    #[test]
    fn without_a_readable_hop_the_last_proxy_counts() {
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1:4000");
        assert_eq!(client("10.0.0.1", &["198.51.100.1, unknown"]), "10.0.0.1:4000");
        assert_eq!(client("::ffff:10.0.0.1", &["10.0.0.7"]), "10.0.0.7:0");

        let mut headers = HeaderMap::new();
        headers.append(HEADER, HeaderValue::from_static("198.51.100.1"));
        headers.append(HEADER, HeaderValue::from_bytes(b"\xff, 203.0.113.9").expect("a header"));
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a range")]);
        let peer = SocketAddr::from(([10, 0, 0, 1], 4000));
        assert_eq!(proxies.client(peer, &headers), peer, "the client's own line does not count");
    }
}
