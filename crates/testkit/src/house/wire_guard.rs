//! What `wg show` says: the view of somebody who knows WireGuard and nothing of us.
//!
//! Not for our own view of things (`look`).

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};

/// A peer, as `wg show INTERFACE dump` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WgPeer {
    /// Its public key, in base64.
    pub key: String,
    /// Where its datagrams are sent.
    pub endpoint: Option<SocketAddr>,
    /// What may come from it and goes to it.
    pub allowed: Vec<IpAddr>,
    /// The time of the latest handshake in seconds; 0 for none.
    pub handshake: u64,
}

/// Reads what `wg show INTERFACE dump` printed.
pub(super) fn parse(dump: &str) -> Result<Vec<WgPeer>> {
    dump.lines().skip(1).map(|line| peer(line).with_context(|| format!("wg says `{line}`"))).collect()
}

fn peer(line: &str) -> Result<WgPeer> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [key, _preshared, endpoint, allowed, handshake, ..] = fields[..] else {
        anyhow::bail!("fields are missing");
    };
    let ip = |range: &str| range.split('/').next()?.parse().ok();
    Ok(WgPeer {
        key: key.to_owned(),
        endpoint: endpoint.parse().ok(),
        allowed: allowed.split(',').filter_map(ip).collect(),
        handshake: handshake.parse().context("the handshake's time")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_read() {
        let dump = "priv\tpub\t51820\toff\n\
                    K1=\t(none)\t203.0.113.1:51821\t(none)\t1700000000\t10\t20\t25\n\
                    K2=\t(none)\t(none)\t10.20.0.2/32,fd20::2/128\t0\t0\t0\toff\n";
        let peers = parse(dump).unwrap();
        assert_eq!(peers[0].endpoint, Some("203.0.113.1:51821".parse().unwrap()));
        assert_eq!((peers[0].allowed.len(), peers[0].handshake), (0, 1_700_000_000));
        assert_eq!(peers[1].allowed, ["10.20.0.2".parse::<IpAddr>().unwrap(), "fd20::2".parse().unwrap()]);
    }
}
