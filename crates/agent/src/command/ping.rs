//! `netclient ping`: whether peers answer through the tunnels, by each address, and how fast.
//!
//! ICMP echo on raw sockets of our own: no other program is needed. Not for finding out why one does not answer
//! (`status`). It keeps true that a peer counts as reached only by an echo of what was sent to it just now.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use model::HostName;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use serde::Serialize;
use tokio::task::JoinSet;

use super::{Context, show};
use crate::hands;
use crate::state::random;
use crate::view::PeerView;

const PATIENCE: Duration = Duration::from_secs(1);
/// Peers that are pinged at the same time.
const TOGETHER: usize = 64;

/// What came of one address.
#[derive(Debug, Clone, Serialize)]
struct Pinged {
    peer: HostName,
    address: IpAddr,
    sent: u16,
    received: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    best_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    average_ms: Option<f64>,
}

/// Pings. Fails if any address stays silent.
pub(super) async fn ping(context: &Context, target: Option<&str>, count: u16) -> anyhow::Result<()> {
    hands::check_rights("ping")?;
    let view = show::view(context).await?;
    if let Some(idle) = &view.idle {
        bail!("{idle}");
    }
    let targets = targets(&view.peers, target)?;
    let progress = context.output.progress("pinging");
    let mut running = JoinSet::new();
    let mut waiting = targets.into_iter();
    let mut results = Vec::new();
    loop {
        while running.len() < TOGETHER
            && let Some((peer, address)) = waiting.next()
        {
            running.spawn_blocking(move || measure(peer, address, count));
        }
        let Some(done) = running.join_next().await else { break };
        results.push(done.context("a ping was interrupted")??);
    }
    drop(progress);
    results.sort_by(|a: &Pinged, b| (&a.peer, a.address).cmp(&(&b.peer, b.address)));
    let silent = results.iter().filter(|result| result.received == 0).count();
    context.output.result(|| table(context, &results), &results)?;
    if silent > 0 {
        bail!("{silent} of {} addresses gave no answer; `netclient status` says more", results.len());
    }
    Ok(())
}

fn targets(peers: &[PeerView], target: Option<&str>) -> anyhow::Result<Vec<(HostName, IpAddr)>> {
    let mut targets = Vec::new();
    for peer in peers {
        let named = target.is_none_or(|target| peer.name.as_str() == target);
        for network in &peer.networks {
            let wanted = named || target == Some(network.network.as_str());
            let each = network
                .addresses
                .iter()
                .filter(|address| wanted || target == Some(address.to_string().as_str()));
            targets.extend(each.map(|address| (peer.name.clone(), address)));
        }
    }
    match (targets.is_empty(), target) {
        (true, None) => bail!("this machine has no peers"),
        (true, Some(target)) => bail!(
            "`{target}` is neither a network nor a peer of this machine; `netclient peers` shows those there are"
        ),
        (false, _) => Ok(targets),
    }
}

fn table(context: &Context, results: &[Pinged]) -> String {
    let ms = |time: Option<f64>| time.map_or_else(|| "–".to_owned(), |time| format!("{time:.2} ms"));
    let row = |result: &Pinged| {
        let answers = if result.received == 0 {
            "no answer".to_owned()
        } else {
            format!("{} of {}", result.received, result.sent)
        };
        [
            result.peer.to_string(),
            result.address.to_string(),
            answers,
            ms(result.best_ms),
            ms(result.average_ms),
        ]
    };
    context.output.table(["peer", "address", "answers", "best", "average"], results.iter().map(row))
}

fn measure(peer: HostName, address: IpAddr, count: u16) -> anyhow::Result<Pinged> {
    let socket = open(address)
        .with_context(|| format!("could not open a socket to ping {address} (root is needed)"))?;
    let identity: [u8; 10] = random()?;
    let mut times = Vec::new();
    for sequence in 0..count {
        times.extend(echo(&socket, address, &identity, sequence));
    }
    let millis = |time: Duration| (time.as_secs_f64() * 100_000.0).round() / 100.0;
    let total: Duration = times.iter().sum();
    let number = u32::try_from(times.len()).unwrap_or(u32::MAX);
    Ok(Pinged {
        peer,
        address,
        sent: count,
        received: u16::try_from(times.len()).unwrap_or(u16::MAX),
        best_ms: times.iter().min().copied().map(millis),
        average_ms: total.checked_div(number).map(millis),
    })
}

fn open(address: IpAddr) -> std::io::Result<UdpSocket> {
    let (family, protocol) = match address {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))?;
    // Sends and receives as any datagram socket does; the port means nothing.
    let socket = UdpSocket::from(socket);
    socket.connect(SocketAddr::new(address, 0))?;
    Ok(socket)
}

/// One echo; how long it took, if it came back.
fn echo(socket: &UdpSocket, address: IpAddr, identity: &[u8; 10], sequence: u16) -> Option<Duration> {
    let request = request(address, identity, sequence);
    let sent = Instant::now();
    socket.send(&request).ok()?;
    let mut buffer = [0; 1500];
    loop {
        let left = PATIENCE.checked_sub(sent.elapsed()).filter(|left| !left.is_zero())?;
        socket.set_read_timeout(Some(left)).ok()?;
        let length = socket.recv(&mut buffer).ok()?;
        if is_answer(address, &buffer[..length], &request) {
            return Some(sent.elapsed());
        }
    }
}

/// Echo request (RFC 792, RFC 4443). The kernel fills in the checksum of ICMPv6.
fn request(address: IpAddr, identity: &[u8; 10], sequence: u16) -> Vec<u8> {
    let kind = if address.is_ipv4() { 8 } else { 128 };
    let mut packet = vec![kind, 0, 0, 0, identity[0], identity[1]];
    packet.extend(sequence.to_be_bytes());
    packet.extend(&identity[2..]);
    packet.extend(b"netloom ping");
    if address.is_ipv4() {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(0)
}

/// Whether these bytes are the reply to this request. Raw IPv4 sockets give the IP header as well.
fn is_answer(address: IpAddr, received: &[u8], request: &[u8]) -> bool {
    let (packet, kind) = if address.is_ipv4() {
        let header = received.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
        (received.get(header..).unwrap_or_default(), 0)
    } else {
        (received, 129)
    };
    packet.len() == request.len() && packet[0] == kind && packet[4..] == request[4..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_only_an_echo_of_what_was_sent() {
        let v4: IpAddr = "10.0.0.1".parse().unwrap();
        let sent = request(v4, &[7; 10], 3);
        assert_eq!(checksum(&sent), 0, "a packet with its checksum sums up to nothing");
        let mut echoed = vec![0x45; 20];
        echoed.extend(&sent);
        assert!(!is_answer(v4, &echoed, &sent), "our own request is no answer");
        echoed[20] = 0;
        assert!(is_answer(v4, &echoed, &sent));
        assert!(!is_answer(v4, &echoed, &request(v4, &[7; 10], 4)));
        assert!(!is_answer(v4, &[], &sent));

        let v6: IpAddr = "fd00::1".parse().unwrap();
        let sent = request(v6, &[7; 10], 3);
        let mut echoed = sent.clone();
        echoed[0] = 129;
        assert!(is_answer(v6, &echoed, &sent));
    }
}
