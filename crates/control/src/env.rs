//! What `decide` needs of the world: the time, randomness, and the server's domain, all brought by the caller.

use model::{DnsName, Timestamp};

/// Time and randomness for one decision, and where the server stands.
pub struct Env<'a> {
    /// The time.
    pub now: Timestamp,
    /// The server's domain, below which networks without a domain of their own have theirs.
    pub domain: &'a DnsName,
    /// Fills a buffer with random bytes.
    pub random: &'a mut dyn FnMut(&mut [u8]),
}

impl Env<'_> {
    /// `N` random bytes.
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.random)(&mut bytes);
        bytes
    }
}

impl std::fmt::Debug for Env<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env").field("now", &self.now).field("domain", &self.domain).finish_non_exhaustive()
    }
}
