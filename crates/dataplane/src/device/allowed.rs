//! Which peer each prefix belongs to.
//!
//! A prefix belongs to one peer at most: giving it to another takes it away from the first. gotatun follows this where
//! it looks for a packet's peer, but keeps a list for each peer beside, so that touching the first peer later would take
//! the prefix back. Therefore the rule lives here, and gotatun is told a peer's whole list whenever it is told anything
//! about the peer.
//!
//! Invariant: `owner` and `of` say the same.

use std::collections::{BTreeSet, HashMap};

use ipnetwork::IpNetwork;

use crate::PublicKey;

/// A change to one peer's prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AllowedIp {
    /// The peer gets this prefix, whoever had it.
    Add(IpNetwork),
    /// The peer loses this prefix, if it had it.
    Remove(IpNetwork),
}

/// Who owns what.
#[derive(Default)]
pub(super) struct AllowedIps {
    owner: HashMap<IpNetwork, PublicKey>,
    of: HashMap<PublicKey, BTreeSet<IpNetwork>>,
}

impl AllowedIps {
    /// The prefixes of one peer, in order.
    pub(super) fn of(&self, peer: &PublicKey) -> Vec<IpNetwork> {
        self.of.get(peer).into_iter().flatten().copied().collect()
    }

    /// Changes one peer's prefixes, after dropping all it had if `replace`, and says whether they are others now. Who
    /// lost one to it is not told: gotatun has it right where it counts, and learns the rest when it is next told
    /// something about the loser.
    pub(super) fn change(&mut self, peer: PublicKey, replace: bool, changes: &[AllowedIp]) -> bool {
        if !replace && changes.is_empty() {
            return false;
        }
        let before = self.of(&peer);
        if replace {
            self.forget(&peer);
        }
        for change in changes {
            match change {
                AllowedIp::Add(prefix) => {
                    let loser = self.owner.insert(*prefix, peer).filter(|loser| *loser != peer);
                    if let Some(list) = loser.and_then(|loser| self.of.get_mut(&loser)) {
                        list.remove(prefix);
                    }
                    self.of.entry(peer).or_default().insert(*prefix);
                }
                AllowedIp::Remove(prefix) => {
                    if self.of.get_mut(&peer).is_some_and(|list| list.remove(prefix)) {
                        self.owner.remove(prefix);
                    }
                }
            }
        }
        before != self.of(&peer)
    }

    /// Drops all that a peer has.
    pub(super) fn forget(&mut self, peer: &PublicKey) {
        for prefix in self.of.remove(peer).into_iter().flatten() {
            self.owner.remove(&prefix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PublicKey = [1; 32];
    const B: PublicKey = [2; 32];

    fn prefix(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_given_to_another_peer_is_taken_from_the_first() {
        let mut allowed = AllowedIps::default();
        let both = [AllowedIp::Add(prefix("10.0.0.1/32")), AllowedIp::Add(prefix("fd00::1/128"))];
        assert!(allowed.change(A, false, &both));
        assert!(allowed.change(B, false, &both[..1]));
        assert_eq!(allowed.of(&A), [prefix("fd00::1/128")]);
        assert_eq!(allowed.of(&B), [prefix("10.0.0.1/32")]);
    }

    #[test]
    fn what_stays_the_same_is_no_change() {
        let mut allowed = AllowedIps::default();
        let one = [AllowedIp::Add(prefix("10.0.0.1/32"))];
        allowed.change(A, false, &one);
        assert!(!allowed.change(A, true, &one));
        assert!(!allowed.change(B, false, &[AllowedIp::Remove(prefix("10.0.0.1/32"))]));
        assert_eq!(allowed.of(&A), [prefix("10.0.0.1/32")]);
        assert!(allowed.change(A, true, &[]));
        assert!(allowed.owner.is_empty());
    }

    #[test]
    fn a_peer_that_is_forgotten_leaves_nothing() {
        let mut allowed = AllowedIps::default();
        let one = [AllowedIp::Add(prefix("10.0.0.1/32"))];
        allowed.change(A, false, &one);
        allowed.change(B, false, &one);
        allowed.change(B, false, &[AllowedIp::Remove(prefix("10.0.0.2/32"))]);
        allowed.forget(&A);
        assert_eq!(allowed.of(&B), [prefix("10.0.0.1/32")], "what it has lost is not its");
        allowed.forget(&B);
        assert!(allowed.owner.is_empty() && allowed.of.is_empty());
    }
}
