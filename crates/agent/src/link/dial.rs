//! Connections to the server: found by name, tried at every address and by every way, proved by TLS.
//!
//! ```text
//!   beside the tunnel:  first address ─ ¼ s ─▶ second address ─ ¼ s ─▶ …
//!   as all else goes:                                      1 s after the last of those ─▶ first address ─ ¼ s ─▶ …
//! ```
//!
//! Whatever connects first is taken, and what failed does not make the next wait. The way beside the tunnel has the head start
//! because the server's hand on the tunnel must not depend on the tunnel. The other way is there for servers that are
//! reached through the gateway only.
//!
//! Not for what is said. It keeps true that no connection is handed out before the server has proved who it is, and that nothing
//! but TCP to the server's addresses leaves beside a tunnel.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::LinkError;
use super::addresses::{AddressBook, KnownAddresses, PATIENCE};
use super::error::{root_cause, tls_cause};
use super::road::{self, Road};

/// After this time the next address is tried too.
const NEXT: Duration = Duration::from_millis(250);
/// After this time the other way is tried too.
const OTHER_WAY: Duration = Duration::from_secs(1);

/// Makes connections to a server. Clones share what they know of its addresses.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    book: AddressBook,
}

/// One try to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attempt {
    /// How long after the one before, unless that fails sooner.
    after: Duration,
    to: SocketAddr,
    road: Road,
}

impl Dialer {
    /// A dialer that knows where names led at an earlier time.
    pub fn new(known: KnownAddresses) -> Self {
        Self { book: AddressBook::new(known) }
    }

    /// Where the server's names lead.
    pub fn book(&self) -> &AddressBook {
        &self.book
    }

    /// A connection to this host, over TLS if that is given. Takes as long as the network makes it take.
    pub(super) async fn connect(
        &self,
        host: &str,
        port: u16,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Stream, LinkError> {
        let host = host.trim_matches(['[', ']']);
        let known = self.book.remembered(host);
        let unknown = |error: io::Error| LinkError::Unreachable(error.to_string());
        let mut asking = pin!(self.book.ask(host));
        match timeout(PATIENCE, &mut asking).await {
            Ok(Ok(addresses)) => return self.reach(host, addresses, port, tls).await,
            Ok(Err(error)) if known.is_empty() => return Err(unknown(error)),
            Ok(Err(_)) => return self.reach(host, known, port, tls).await,
            Err(_late) => {}
        }
        let asked = async { self.reach(host, asking.await.map_err(unknown)?, port, tls).await };
        if known.is_empty() {
            return asked.await;
        }
        tokio::select! {
            Ok(stream) = self.reach(host, known, port, tls) => Ok(stream),
            Ok(stream) = asked => Ok(stream),
            else => Err(LinkError::Unreachable(format!("{host} is neither where it was nor where it is said to be"))),
        }
    }

    /// A connection to a host that has these addresses.
    async fn reach(
        &self,
        host: &str,
        addresses: Vec<IpAddr>,
        port: u16,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Stream, LinkError> {
        let connected = first(attempts(&addresses, port, Road::all_to)).await;
        let (stream, road) = connected.map_err(|error| LinkError::Unreachable(error.to_string()))?;
        let Some(tls) = tls else {
            return Ok(Stream::new(stream, road));
        };
        let name =
            ServerName::try_from(host.to_owned()).map_err(|error| LinkError::BadUrl(error.to_string()))?;
        let connected = TlsConnector::from(tls.clone()).connect(name, stream).await;
        let stream = connected.map_err(|error| {
            tls_cause(&error).unwrap_or_else(|| LinkError::Unreachable(root_cause(&error)))
        })?;
        self.book.remember(host, &addresses);
        Ok(Stream::new(stream, road))
    }
}

/// Every address by the best way to it, the families in turn; then those that have another way.
fn attempts(addresses: &[IpAddr], port: u16, roads: impl Fn(SocketAddr) -> Vec<Road>) -> Vec<Attempt> {
    let of = |family: fn(&IpAddr) -> bool| addresses.iter().copied().filter(family).collect::<Vec<_>>();
    let [v6, v4] = [of(IpAddr::is_ipv6), of(IpAddr::is_ipv4)];
    let (first, second) = if addresses.first().is_some_and(IpAddr::is_ipv6) { (v6, v4) } else { (v4, v6) };
    let in_turn = (0..first.len().max(second.len()))
        .flat_map(|index| [first.get(index), second.get(index)].into_iter().flatten());
    let ways: Vec<(SocketAddr, Vec<Road>)> =
        in_turn.map(|ip| SocketAddr::new(*ip, port)).map(|to| (to, roads(to))).collect();
    let by = |turn: usize| ways.iter().filter_map(move |(to, roads)| Some((*to, *roads.get(turn)?)));
    let best = by(0).map(|(to, road)| Attempt { after: NEXT, to, road });
    let others = by(1).enumerate().map(|(index, (to, road))| Attempt {
        after: if index == 0 { OTHER_WAY } else { NEXT },
        to,
        road,
    });
    best.chain(others).collect()
}

/// The first that connects; why the last one did not.
async fn first(attempts: Vec<Attempt>) -> io::Result<(TcpStream, Road)> {
    let mut waiting = attempts.into_iter().peekable();
    let mut trying = JoinSet::new();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    loop {
        match waiting.next() {
            Some(Attempt { to, road, after: _ }) => {
                trying.spawn(async move { Ok((road::stream(to, road).await?, road)) });
            }
            None if trying.is_empty() => return Err(error),
            None => {}
        }
        let after = waiting.peek().map(|next| next.after);
        tokio::select! {
            Some(tried) = trying.join_next() => match tried {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(failed)) => error = failed,
                Err(broken) => error = io::Error::other(broken),
            },
            () = sleep(after.unwrap_or_default()), if after.is_some() => {}
        }
    }
}

/// What carries bytes.
trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Carrier for T {}

/// A connection to the server, of whatever layers.
pub(super) struct Stream {
    carrier: Box<dyn Carrier>,
    road: Road,
}

impl Stream {
    pub(super) fn new(carrier: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, road: Road) -> Self {
        Self { carrier: Box::new(carrier), road }
    }

    /// How it leaves this machine.
    pub(super) const fn road(&self) -> Road {
        self.road
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.carrier).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.carrier).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.carrier).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.carrier).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn lines(attempts: &[Attempt]) -> Vec<String> {
        attempts.iter().map(|a| format!("{} ms, {:?}, {}", a.after.as_millis(), a.road, a.to.ip())).collect()
    }

    #[test]
    fn every_address_is_tried_beside_the_tunnel_before_any_is_tried_through_it() {
        let addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|ip| ip.parse().unwrap());
        let both = |_| vec![Road::Beside, Road::Usual];
        assert_eq!(
            lines(&attempts(&addresses, 443, both)),
            [
                "250 ms, Beside, 192.0.2.1",
                "250 ms, Beside, 2001:db8::1",
                "250 ms, Beside, 192.0.2.2",
                "1000 ms, Usual, 192.0.2.1",
                "250 ms, Usual, 2001:db8::1",
                "250 ms, Usual, 192.0.2.2",
            ]
        );
    }

    #[test]
    fn one_way_is_tried_once() {
        let [address] = ["2001:db8::1"].map(|ip| ip.parse().unwrap());
        assert_eq!(lines(&attempts(&[address], 443, |_| vec![Road::Usual])), ["250 ms, Usual, 2001:db8::1"]);
        assert!(attempts(&[], 443, |_| vec![Road::Beside]).is_empty());
    }

    #[tokio::test]
    async fn what_is_refused_does_not_make_the_next_wait_and_the_last_one_says_why() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = gone.local_addr().unwrap();
        drop(gone);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let attempt = |to, road| Attempt { after: Duration::from_secs(3600), to, road };
        let alive = attempt(listener.local_addr().unwrap(), Road::Usual);
        let (stream, road) = first(vec![attempt(dead, Road::Usual), alive]).await.unwrap();
        assert_eq!((stream.peer_addr().unwrap(), road), (alive.to, Road::Usual));
        let error = first(vec![attempt(dead, Road::Usual)]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(first(Vec::new()).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_found_and_only_a_server_that_proved_itself_is_remembered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dialer = Dialer::default();
        dialer.connect("localhost", port, None).await.unwrap();
        assert!(dialer.book().known().is_empty());
    }
}
