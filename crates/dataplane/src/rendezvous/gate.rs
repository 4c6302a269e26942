//! Who may make us work: message authentication codes first, cookies when there is much to do.
//!
//! Opening an initiation costs two Diffie-Hellman computations, so a sender must first show that it knows our
//! public key (`mac1`, nearly free) and, under load, that it receives at the address it sends from (`mac2`,
//! made from a cookie that we sent there). There are two kinds of load: one address that sends too much, and
//! all of them together.
//!
//! Invariant: no more than [`TOTAL_PER_SECOND`] initiations a second get past without a cookie.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gotatun::noise::TunnResult;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::packet::{Packet, WgKind};
use gotatun::x25519::PublicKey as Point;

use crate::PublicKey;

/// Initiations that one address may send in a second before it is asked for a cookie.
const PER_ADDRESS_PER_SECOND: u64 = 100;
/// Initiations that all may send in a second before everybody is asked for a cookie.
const TOTAL_PER_SECOND: u32 = 1000;

/// What to do about an initiation.
pub(super) enum Verdict {
    /// Go on with it.
    Admit,
    /// Send this cookie back, and forget it.
    Challenge(Vec<u8>),
    /// Forget it.
    Ignore,
}

/// Admits initiations.
pub(super) struct Gate {
    by_address: RateLimiter,
    always: RateLimiter,
    window_began: Instant,
    in_window: u32,
}

impl Gate {
    /// A gate for the responder with this key.
    pub(super) fn new(public_key: &PublicKey, now: Instant) -> Self {
        let key = Point::from(*public_key);
        Self {
            by_address: RateLimiter::new(&key, PER_ADDRESS_PER_SECOND),
            always: RateLimiter::new(&key, 0),
            window_began: now,
            in_window: 0,
        }
    }

    /// Judges one handshake initiation.
    pub(super) fn judge(&mut self, initiation: &[u8], source: SocketAddr, now: Instant) -> Verdict {
        self.open_window(now);
        let limiter = if self.in_window < TOTAL_PER_SECOND { &self.by_address } else { &self.always };
        match limiter.verify_packet(source, Packet::copy_from(initiation)) {
            Ok(WgKind::HandshakeInit(_)) => {
                self.in_window += 1;
                Verdict::Admit
            }
            Err(TunnResult::WriteToNetwork(cookie)) => Verdict::Challenge(Packet::from(cookie).to_vec()),
            Ok(_) | Err(_) => Verdict::Ignore,
        }
    }

    /// Forgets the counts of the second that passed.
    pub(super) fn open_window(&mut self, now: Instant) {
        if now.saturating_duration_since(self.window_began) < Duration::from_secs(1) {
            return;
        }
        self.window_began = now;
        self.in_window = 0;
        self.by_address.try_reset_count();
        self.always.try_reset_count();
    }
}
