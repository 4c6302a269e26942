//! A WireGuard peer without an interface, by which a server learns from where its hosts are seen.
//!
//! [`Responder`] is all of the protocol and knows no socket; [`Rendezvous`] gives it one. Two of them on two
//! ports, with two identities, tell whether the NAT in front of a host keeps one mapping or makes one for each
//! destination. No privileges are needed.
//!
//! Invariant: the loop that answers datagrams never waits for whoever reads the sightings.

mod gate;
mod noise;
mod responder;
mod sightings;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

pub use responder::{Outcome, Responder, Seen, TableFull};
use sightings::Sightings;

use crate::PublicKey;

/// Longer than anything we answer to: what does not fit is cut, and then has the wrong length.
const RECEIVE_BUFFER: usize = 256;

/// A running rendezvous. Dropping it closes its port.
pub struct Rendezvous {
    shared: Arc<Shared>,
    local_addr: SocketAddr,
    loop_task: JoinHandle<()>,
}

/// The hosts that a [`Rendezvous`] knows; a handle to be cloned and kept.
#[derive(Clone)]
pub struct Peers(Arc<Shared>);

struct Shared {
    responder: Mutex<Responder>,
    sightings: Sightings,
}

impl Rendezvous {
    /// Opens the port and begins to answer. Given `[::]`, IPv4 is served as well.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// A sentence that says which port could not be opened and why.
    pub fn bind(addr: SocketAddr, private_key: [u8; 32]) -> io::Result<Self> {
        let socket = socket::open(addr)?;
        let local_addr = socket.local_addr()?;
        let responder = Mutex::new(Responder::new(private_key, Instant::now()));
        let shared = Arc::new(Shared { responder, sightings: Sightings::default() });
        let loop_task = tokio::spawn(serve(socket, Arc::clone(&shared)));
        Ok(Self { shared, local_addr, loop_task })
    }

    /// The address that is served.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The key that hosts must know to reach us.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.shared.lock().public_key()
    }

    /// The table of known hosts.
    #[must_use]
    pub fn peers(&self) -> Peers {
        Peers(Arc::clone(&self.shared))
    }

    /// Waits for a host to be seen somewhere new. A slow reader misses only what is out of date: while several
    /// sightings of one host wait, the latest stands for all.
    pub async fn next_seen(&mut self) -> Seen {
        self.shared.sightings.take().await
    }
}

impl Drop for Rendezvous {
    fn drop(&mut self) {
        self.loop_task.abort();
    }
}

impl Peers {
    /// See [`Responder::add_peer`].
    ///
    /// # Errors
    /// [`TableFull`] if the table has no room.
    pub fn add_peer(&self, public_key: PublicKey) -> Result<(), TableFull> {
        self.0.lock().add_peer(public_key)
    }

    /// See [`Responder::remove_peer`].
    pub fn remove_peer(&self, public_key: &PublicKey) {
        self.0.lock().remove_peer(public_key);
        self.0.sightings.retain(|key| key != public_key);
    }

    /// See [`Responder::set_peers`].
    ///
    /// # Errors
    /// [`TableFull`] if they do not fit; then nothing has changed.
    pub fn set_peers(&self, public_keys: impl IntoIterator<Item = PublicKey>) -> Result<(), TableFull> {
        let wanted: std::collections::HashSet<PublicKey> = public_keys.into_iter().collect();
        self.0.lock().set_peers(wanted.iter().copied())?;
        self.0.sightings.retain(|key| wanted.contains(key));
        Ok(())
    }

    /// When the newest authenticated packet of this host came.
    #[must_use]
    pub fn last_heard(&self, public_key: &PublicKey) -> Option<Instant> {
        self.0.lock().last_heard(public_key)
    }

    /// Where this host was seen last.
    #[must_use]
    pub fn endpoint(&self, public_key: &PublicKey) -> Option<SocketAddr> {
        self.0.lock().endpoint(public_key)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Responder> {
        // A datagram that made the responder panic must not silence it for everybody else.
        self.responder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(socket: UdpSocket, shared: Arc<Shared>) {
    let mut buffer = [0; RECEIVE_BUFFER];
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            _ = tick.tick() => {
                shared.lock().handle_tick(Instant::now());
                continue;
            }
        };
        let (length, source) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(%error, "the rendezvous could not receive");
                // Whatever it is, trying at full speed does not make it better.
                tick.tick().await;
                continue;
            }
        };
        let outcome = shared.lock().handle_datagram(&buffer[..length], source, Instant::now());
        match outcome {
            Outcome::Ignored | Outcome::Heard => {}
            Outcome::Reply(reply) => {
                // A full send buffer drops the answer as the network might; the host will ask again.
                let _ = socket.try_send_to(&reply, source);
            }
            Outcome::Moved(seen) => shared.sightings.put(seen),
        }
    }
}
