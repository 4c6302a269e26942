//! Probes between agents: a datagram of nine bytes to the other's address in a network, echoed by its agent. They tell which of several
//! routers is alive.
//!
//! Not for deciding whom to probe or what an answer means: `reconcile` does. It keeps true that an answer is never longer than its
//! question, that nothing is answered but probes, and that it goes back from the address that was asked.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// A probe: its first byte, then eight that come back unchanged.
const LENGTH: usize = 9;
const QUESTION: u8 = 1;
const ANSWER: u8 = 2;
/// Answers that may wait for the loop. One too many is as good as lost on the way.
const MOST_WAITING: usize = 256;

/// An answer to a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// Who answered.
    pub from: IpAddr,
    /// What was asked.
    pub nonce: u64,
}

/// Asks and answers on this machine's addresses. See the module.
#[derive(Debug)]
pub struct Prober {
    port: u16,
    sockets: BTreeMap<IpAddr, Socket>,
    said: mpsc::Sender<Echo>,
    heard: mpsc::Receiver<Echo>,
}

#[derive(Debug)]
struct Socket {
    udp: Arc<UdpSocket>,
    reading: AbortHandle,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Prober {
    /// On no address yet.
    pub fn new(port: u16) -> Self {
        let (said, heard) = mpsc::channel(MOST_WAITING);
        Self { port, sockets: BTreeMap::new(), said, heard }
    }

    /// Asks and answers on these addresses and no others. Those that cannot be had are told, and tried again by the next call.
    pub async fn set_addresses(&mut self, addresses: &[IpAddr]) -> Vec<(IpAddr, io::Error)> {
        self.sockets.retain(|address, _| addresses.contains(address));
        let mut refused = Vec::new();
        for address in addresses {
            if self.sockets.contains_key(address) {
                continue;
            }
            match bind(*address, self.port).await {
                Ok(udp) => drop(self.sockets.insert(*address, self.listen(udp))),
                Err(error) => refused.push((*address, error)),
            }
        }
        refused
    }

    fn listen(&self, udp: UdpSocket) -> Socket {
        let udp = Arc::new(udp);
        let reading = tokio::spawn(read(Arc::clone(&udp), self.said.clone())).abort_handle();
        Socket { udp, reading }
    }

    /// Asks somebody, from this address of ours. What cannot be sent is lost, like what is lost on the way.
    pub fn ask(&self, from: IpAddr, to: IpAddr, nonce: u64) {
        if let Some(socket) = self.sockets.get(&from) {
            let _ = socket.udp.try_send_to(&probe(QUESTION, nonce), (to, self.port).into());
        }
    }

    /// The next answer.
    pub async fn heard(&mut self) -> Echo {
        match self.heard.recv().await {
            Some(echo) => echo,
            // Not while this holds a sender itself.
            None => std::future::pending().await,
        }
    }
}

/// Before it has been found writable once, nothing can be sent from a socket without waiting.
async fn bind(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let udp = UdpSocket::bind((address, port)).await?;
    udp.writable().await?;
    Ok(udp)
}

fn probe(kind: u8, nonce: u64) -> [u8; LENGTH] {
    let mut bytes = [kind; LENGTH];
    bytes[1..].copy_from_slice(&nonce.to_be_bytes());
    bytes
}

fn read_probe(bytes: &[u8]) -> Option<(u8, u64)> {
    let (kind, nonce) = bytes.split_first()?;
    Some((*kind, u64::from_be_bytes(nonce.try_into().ok()?)))
}

async fn read(udp: Arc<UdpSocket>, said: mpsc::Sender<Echo>) {
    // One more than a probe has, so that what is longer is seen to be none.
    let mut buffer = [0; LENGTH + 1];
    loop {
        // An error is about a datagram sent before: that somebody does not listen is no reason to stop.
        let Ok((length, from)) = udp.recv_from(&mut buffer).await else {
            tokio::task::yield_now().await;
            continue;
        };
        match read_probe(&buffer[..length]) {
            Some((QUESTION, nonce)) => {
                let _ = udp.try_send_to(&probe(ANSWER, nonce), from);
            }
            Some((ANSWER, nonce)) => {
                let _ = said.try_send(Echo { from: SocketAddr::ip(&from), nonce });
            }
            Some(_) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two agents on addresses of the loopback interface, with a port that both have free.
    async fn two() -> (Prober, Prober, [IpAddr; 2]) {
        let addresses: [IpAddr; 2] = [[127, 0, 0, 11].into(), [127, 0, 0, 12].into()];
        loop {
            let port = UdpSocket::bind((addresses[0], 0)).await.unwrap().local_addr().unwrap().port();
            let (mut one, mut two) = (Prober::new(port), Prober::new(port));
            let refused = one.set_addresses(&addresses[..1]).await.len()
                + two.set_addresses(&addresses[1..]).await.len();
            if refused == 0 {
                return (one, two, addresses);
            }
        }
    }

    #[tokio::test]
    async fn a_living_agent_answers_with_what_it_was_asked() {
        let (mut one, _two, [a, b]) = two().await;
        one.ask(a, b, 0x0102_0304_0506_0708);
        assert_eq!(one.heard().await, Echo { from: b, nonce: 0x0102_0304_0506_0708 });
    }

    #[tokio::test]
    async fn an_address_that_is_given_up_answers_no_more_and_others_go_on() {
        let (mut one, mut two, [a, b]) = two().await;
        assert!(two.set_addresses(&[]).await.is_empty());
        one.ask(a, b, 1);
        // The socket goes with its task, which ends a moment later.
        while !two.set_addresses(&[b]).await.is_empty() {
            tokio::task::yield_now().await;
        }
        one.ask(a, b, 2);
        assert_eq!(one.heard().await.nonce, 2);
    }

    #[tokio::test]
    async fn only_probes_are_answered() {
        let (_one, _two, [a, b]) = two().await;
        let port = _two.port;
        let other = UdpSocket::bind((a, 0)).await.unwrap();
        for odd in [&[][..], &[QUESTION], &[3; LENGTH], &[QUESTION; LENGTH + 5]] {
            other.send_to(odd, (b, port)).await.unwrap();
        }
        other.send_to(&probe(QUESTION, 7), (b, port)).await.unwrap();
        let mut buffer = [0; 64];
        let (length, _) = other.recv_from(&mut buffer).await.unwrap();
        assert_eq!(buffer[..length], probe(ANSWER, 7));
    }

    #[tokio::test]
    async fn an_address_that_this_machine_does_not_have_is_told() {
        let refused = Prober::new(0).set_addresses(&["192.0.2.1".parse().unwrap()]).await;
        assert_eq!(refused.len(), 1);
    }
}
