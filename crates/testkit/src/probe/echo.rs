//! One echo request of ICMP or ICMPv6, and its answer.
//!
//! Not `ping`: hundreds at once are as many sockets, and no processes. Keeps true that an answer counts only if it has the
//! number of the question.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// Of both families: the types of question and answer.
const TYPES: [(u8, u8); 2] = [(8, 0), (128, 129)];
/// Type, code, checksum, identifier, sequence.
const LENGTH: usize = 8;

/// Asks again and again until it is answered.
pub(super) async fn echo(to: IpAddr, identifier: u16, again: Duration) -> io::Result<()> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::RAW, flags, Some(protocol))?;
    // Bytes out, bytes in: what a socket of datagrams does as well.
    let socket = UdpSocket::from_std(std::net::UdpSocket::from(socket))?;
    socket.connect(SocketAddr::new(to, 0)).await?;
    let (question, answer) = TYPES[usize::from(to.is_ipv6())];
    for sequence in 0.. {
        socket.send(&packet(question, identifier, sequence)).await?;
        let late = Instant::now() + again;
        while let Ok(came) = timeout_at(late, hear(&socket, to.is_ipv4())).await {
            let [kind, _, _, _, high, low, ..] = came?;
            if kind == answer && u16::from_be_bytes([high, low]) == identifier {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn hear(socket: &UdpSocket, behind_header: bool) -> io::Result<[u8; LENGTH]> {
    let mut buffer = [0; 128];
    let length = socket.recv(&mut buffer).await?;
    // The kernel hands over IPv4 with its header.
    let skip = if behind_header { usize::from(buffer[0] & 0x0f) * 4 } else { 0 };
    let message = buffer[..length].get(skip..skip + LENGTH).and_then(|bytes| bytes.try_into().ok());
    Ok(message.unwrap_or_default())
}

/// ICMPv6's checksum covers addresses as well: there the kernel writes it.
fn packet(kind: u8, identifier: u16, sequence: u16) -> [u8; LENGTH] {
    let [identifier, sequence] = [identifier, sequence].map(u16::to_be_bytes);
    let words = [u16::from_be_bytes([kind, 0]), u16::from_be_bytes(identifier), u16::from_be_bytes(sequence)];
    let sum: u32 = words.iter().map(|word| u32::from(*word)).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or_default();
    let [high, low] = checksum.to_be_bytes();
    [kind, 0, high, low, identifier[0], identifier[1], sequence[0], sequence[1]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_of_a_packet_add_up_to_ones() {
        for (identifier, sequence) in [(0, 0), (0xffff, 0xffff), (0x1234, 7)] {
            let words = packet(8, identifier, sequence);
            let sum: u32 = words.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "{words:?}");
        }
    }
}
