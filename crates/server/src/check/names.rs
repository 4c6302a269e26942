//! The server's own DNS: whom it asks about foreign names, and CoreDNS's folder.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{Finding, files};
use crate::names::Listen;
use crate::settings::Settings;

/// How long a name server may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Asks for the name servers of the root: a header with the wish for recursion, no name, NS, IN.
const QUESTION: [u8; 17] = [0x4e, 0x4c, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];

pub(super) async fn check(settings: &Settings) -> Vec<Finding> {
    let dns = &settings.dns;
    let mut findings: Vec<Finding> =
        dns.coredns.iter().map(|folder| files::folder("coredns", folder, "coredns_folder")).collect();
    if dns.listen != Listen::Off {
        findings.extend(join_all(dns.upstreams.iter().map(|upstream| ask(*upstream))).await);
    }
    findings
}

/// Whatever it answers: that it does is enough.
async fn ask(upstream: SocketAddr) -> Finding {
    match timeout(PATIENCE, answer(upstream)).await {
        Ok(Ok(())) => Finding::good("dns", format!("{upstream} answers")),
        Ok(Err(error)) => Finding::doubtful("dns", format!("{upstream} in `dns_upstreams`: {error}")),
        Err(_late) => {
            Finding::doubtful("dns", format!("{upstream} in `dns_upstreams` does not answer over UDP"))
        }
    }
}

async fn answer(upstream: SocketAddr) -> std::io::Result<()> {
    let any: SocketAddr = match upstream {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    socket.send(&QUESTION).await?;
    let mut answer = [0; 512];
    loop {
        let length = socket.recv(&mut answer).await?;
        // An answer to this question: the same number, and the bit that says so.
        if length >= 12 && answer[..2] == QUESTION[..2] && answer[2] & 0x80 != 0 {
            return Ok(());
        }
    }
}
