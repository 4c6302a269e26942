//! Where the server's names lead: what the machine's resolver says, what others say who are asked beside a full tunnel, and
//! what was right the last time.
//!
//! Not for connecting. It keeps true that a name that led to the server once leads there again while nobody can be asked:
//! behind a full tunnel names are asked through the gateway, which may be dead.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dns::AddressKind;
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::road::{Road, datagrams};

/// How long the machine's own resolver is waited for before others are asked too.
const HEAD_START: Duration = Duration::from_millis(500);
/// How long all of them are waited for before what was right the last time is tried. A machine whose first name server is dead
/// needs longer for each name.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How long they are waited for where nothing is known.
const LONGEST: Duration = Duration::from_secs(10);
/// After the first addresses, those of the other family are waited for this long.
const THE_OTHER: Duration = Duration::from_millis(300);
/// So many resolvers are asked, at most.
const MOST_RESOLVERS: usize = 3;
/// So many addresses of a name are used and remembered, at most.
const MOST: usize = 8;

/// Names of the server and its brokers, and the addresses at which they were found to be who they say.
pub type KnownAddresses = BTreeMap<String, BTreeSet<IpAddr>>;

/// Where the server's names lead. Clones share what they know.
#[derive(Clone, Debug, Default)]
pub struct AddressBook(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    known: KnownAddresses,
    resolvers: Vec<SocketAddr>,
}

impl AddressBook {
    /// A book with what was known at an earlier time.
    pub fn new(known: KnownAddresses) -> Self {
        Self(Arc::new(Mutex::new(Entries { known, resolvers: Vec::new() })))
    }

    /// What is known, to be kept.
    pub fn known(&self) -> KnownAddresses {
        self.entries().known.clone()
    }

    /// Whom to ask beside a full tunnel; nobody while there is none.
    pub fn set_resolvers(&self, resolvers: Vec<SocketAddr>) {
        self.entries().resolvers = resolvers;
    }

    /// The server of this name was found at these addresses, and was who it should be.
    pub(super) fn remember(&self, host: &str, addresses: &[IpAddr]) {
        if literal(host).is_none() {
            self.entries().known.insert(host.to_owned(), addresses.iter().copied().collect());
        }
    }

    /// Where a name led the last time.
    pub(super) fn remembered(&self, host: &str) -> Vec<IpAddr> {
        self.entries().known.get(host).into_iter().flatten().copied().collect()
    }

    /// The addresses of a name, of an address itself, or those of the last time.
    pub async fn find(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let known = self.remembered(host);
        let patience = if known.is_empty() { LONGEST } else { PATIENCE };
        match timeout(patience, self.ask(host)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(_)) | Err(_) if !known.is_empty() => Ok(known),
            Ok(Err(error)) => Err(error),
            Err(_late) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("nobody says where {host} is")))
            }
        }
    }

    /// The addresses of a name as somebody says them now, or of an address itself.
    pub(super) async fn ask(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Some(address) = literal(host) {
            return Ok(vec![address]);
        }
        let resolvers = self.entries().resolvers.clone();
        let mut system = pin!(system(host));
        if resolvers.is_empty() {
            return system.await;
        }
        match timeout(HEAD_START, &mut system).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(_)) => return beside(host, resolvers).await,
            Err(_late) => {}
        }
        tokio::select! {
            Ok(found) = &mut system => Ok(found),
            Ok(found) = beside(host, resolvers) => Ok(found),
            else => Err(io::Error::other("nobody knows the server's name")),
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address that a host of a URL is, if it is no name.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

/// As every program on this machine asks.
async fn system(host: &str) -> io::Result<Vec<IpAddr>> {
    let found: Vec<IpAddr> = lookup_host((host, 0)).await?.map(|address| address.ip()).take(MOST).collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")));
    }
    Ok(found)
}

/// Asks all of these at once, beside the tunnel, for addresses of both families.
async fn beside(host: &str, resolvers: Vec<SocketAddr>) -> io::Result<Vec<IpAddr>> {
    let name: dns::Name = host.parse().map_err(io::Error::other)?;
    let mut questions = JoinSet::new();
    for resolver in resolvers.into_iter().take(MOST_RESOLVERS) {
        for kind in [AddressKind::A, AddressKind::Aaaa] {
            let name = name.clone();
            questions.spawn(async move {
                let socket =
                    datagrams(resolver, Road::Beside).or_else(|_| datagrams(resolver, Road::Usual))?;
                dns::lookup(&tokio::net::UdpSocket::from_std(socket)?, &name, kind).await
            });
        }
    }
    let mut found = Vec::new();
    let mut error = None;
    // The caller waits as long as it wants for the first answer.
    let mut until = None;
    loop {
        let next = questions.join_next();
        let next = match until {
            None => next.await,
            Some(until) => timeout_at(until, next).await.unwrap_or_default(),
        };
        match next {
            Some(Ok(Ok(addresses))) => found.extend(addresses),
            Some(Ok(Err(failed))) => error = Some(failed),
            Some(Err(broken)) => error = Some(io::Error::other(broken)),
            None => break,
        }
        if !found.is_empty() {
            until.get_or_insert_with(|| Instant::now() + THE_OTHER);
        }
    }
    let found: Vec<IpAddr> = BTreeSet::from_iter(found).into_iter().take(MOST).collect();
    if found.is_empty() {
        return Err(error.unwrap_or_else(|| io::Error::other(format!("{host} has no address"))));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;

    /// A name that no resolver of the world answers.
    const NAME: &str = "vpn.server.invalid";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn addresses_are_themselves_and_nothing_to_remember() {
        let book = AddressBook::default();
        for (host, address) in [("192.0.2.1", "192.0.2.1"), ("[2001:db8::1]", "2001:db8::1")] {
            assert_eq!(book.find(host).await.unwrap(), [ip(address)]);
            book.remember(host, &[ip(address)]);
        }
        assert!(book.known().is_empty());
    }

    #[tokio::test]
    async fn a_name_that_nobody_answers_leads_where_it_led_the_last_time() {
        let book = AddressBook::default();
        assert!(book.find(NAME).await.is_err());
        book.remember(NAME, &[ip("192.0.2.1"), ip("2001:db8::1")]);
        let later = AddressBook::new(book.known());
        assert_eq!(later.find(NAME).await.unwrap(), [ip("192.0.2.1"), ip("2001:db8::1")]);
    }

    #[tokio::test]
    async fn a_resolver_beside_the_tunnel_knows_better_than_memory() {
        let resolver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = resolver.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, from) = resolver.recv_from(&mut buffer).await.unwrap();
                resolver.send_to(&answered(&buffer[..length]), from).await.unwrap();
            }
        });
        let book = AddressBook::new([(NAME.to_owned(), [ip("192.0.2.1")].into())].into());
        book.set_resolvers(vec![address]);
        assert_eq!(book.find(NAME).await.unwrap(), [ip("192.0.2.9")]);
        serving.abort();
    }

    /// One A record for whatever is asked; a question of the other kind is answered with it too, which is no address then.
    fn answered(question: &[u8]) -> Vec<u8> {
        let mut answer = question.to_vec();
        answer[2] |= 0x80;
        answer[7] = 1;
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 9]);
        answer
    }
}
