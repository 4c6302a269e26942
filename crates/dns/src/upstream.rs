//! Asking an upstream: over UDP from a port of chance, over TCP where the answer is too long for that.
//!
//! Not for choosing whom to ask. It keeps true that an answer is believed only when it came from the address that was
//! asked, to the port that asked, with the number and the question that were sent; and that asking ends.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use domain::base::Message;
use domain::base::iana::Rcode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tracing::debug;

use crate::answer::Transport;
use crate::foreign::Foreign;
use crate::forward::Group;

/// How long one upstream has for an answer, at most.
const ONE_TRY: Duration = Duration::from_millis(1500);
/// How long all of them have: those who ask us wait five seconds.
const ALL_TRIES: Duration = Duration::from_millis(4500);
/// How often each of them is asked.
const ROUNDS: usize = 2;
/// The longest datagram that is read: more than we ask for.
const LONGEST_DATAGRAM: usize = 4096;

/// The first good answer, or the last bad one; none where nobody answered.
pub(crate) async fn ask(
    group: &Group,
    foreign: &Foreign,
    transport: Transport,
    is_own: impl Fn(SocketAddr) -> bool,
) -> Option<Vec<u8>> {
    let others = || group.in_order().filter(|(_, upstream)| !is_own(*upstream));
    let one_try = share(others().count());
    let mut bad = None;
    let asking = async {
        for _ in 0..ROUNDS {
            for (number, upstream) in others() {
                match timeout(one_try, exchange(upstream, foreign, transport)).await {
                    Ok(Ok(answer)) if is_good(&answer) => {
                        group.answered(number);
                        return Some(answer);
                    }
                    Ok(Ok(answer)) => bad = Some(answer),
                    Ok(Err(error)) => debug!(%upstream, %error, "an upstream cannot be asked"),
                    Err(_late) => debug!(%upstream, "an upstream does not answer"),
                }
            }
            // Who says that it cannot will say so again.
            if bad.is_some() {
                break;
            }
        }
        None
    };
    timeout(ALL_TRIES, asking).await.ok().flatten().or(bad)
}

/// How long each of so many has: all of them come to be asked, however many are silent.
fn share(count: usize) -> Duration {
    let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    ONE_TRY.min(ALL_TRIES / (count + 1))
}

fn is_good(answer: &[u8]) -> bool {
    let rcode = Message::from_slice(answer).map(|message| message.header().rcode());
    !matches!(rcode, Ok(Rcode::SERVFAIL | Rcode::REFUSED | Rcode::NOTIMP) | Err(_))
}

fn is_cut(answer: &[u8]) -> bool {
    Message::from_slice(answer).is_ok_and(|message| message.header().tc())
}

/// A client that came by UDP gets an answer that was cut as it is: it comes again by TCP, as it would have otherwise.
async fn exchange(upstream: SocketAddr, foreign: &Foreign, transport: Transport) -> io::Result<Vec<u8>> {
    let answer = by_udp(upstream, foreign).await?;
    if transport == Transport::Tcp && is_cut(&answer) {
        return by_tcp(upstream, foreign).await;
    }
    Ok(answer)
}

async fn by_udp(upstream: SocketAddr, foreign: &Foreign) -> io::Result<Vec<u8>> {
    let any = match upstream {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    // The kernel picks a port by chance, and being connected drops what others send.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    let id = random_id()?;
    socket.send(&foreign.request(id)).await?;
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if foreign.is_answered_by(id, &buffer[..length]) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn by_tcp(upstream: SocketAddr, foreign: &Foreign) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    let id = random_id()?;
    let request = foreign.request(id);
    let length = u16::try_from(request.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(request);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    if !foreign.is_answered_by(id, &answer) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is to another question"));
    }
    Ok(answer)
}

pub(crate) fn random_id() -> io::Result<u16> {
    let mut octets = [0; 2];
    getrandom::fill(&mut octets).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u16::from_be_bytes(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_all_has_its_time_where_the_others_are_silent() {
        for count in 1..=16 {
            let all = u32::try_from(count).unwrap();
            assert!(share(count) * all < ALL_TRIES, "{count}");
            assert!(share(count) >= Duration::from_millis(250) && share(count) <= ONE_TRY);
        }
    }
}
