//! What is done where the firewall that something relies on cannot be set: what would open is held back, and what is open is
//! shut until it can be.
//!
//! Not for trying again: the next look finds what is missing. It keeps true that what policy guards is reached by nobody as
//! long as nothing guards it, that sessions outlive that, and that what nothing relies on goes on.

use std::collections::BTreeSet;

use crate::{Actual, Around, Desired, Need, Op, Surroundings, reconcile, sysctl};

/// Holds back what opens behind a firewall that could not be set. One for each list of ops, in their order.
#[derive(Debug, Default)]
pub struct Gate {
    lacks: Option<Need>,
}

/// The op was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not done, because the firewall that has to stand before it could not be set")]
pub struct HeldBack;

impl Gate {
    /// Whether the next op may be carried out.
    pub fn ask(&self, op: &Op) -> Result<(), HeldBack> {
        let held_back = match self.lacks {
            Some(Need::Essential) => op.opens(),
            Some(Need::Forwarding) => matches!(op, Op::Around(around) if around.opens()),
            Some(Need::Wished) | None => false,
        };
        if held_back { Err(HeldBack) } else { Ok(()) }
    }

    /// How an op went.
    pub const fn tell(&mut self, op: &Op, done: bool) {
        if let Op::Around(around) = op
            && let Some(need) = around.need()
        {
            self.lacks = if done { None } else { Some(need) };
        }
    }

    /// What relies on a firewall that could not be set.
    pub fn lacks(&self) -> Option<Need> {
        self.lacks.filter(|need| *need != Need::Wished)
    }
}

/// The ops that shut what relies on a firewall which could not be set. What is allowed to peers and the settings that the
/// machine forwards by come back with `reconcile`, as soon as the firewall stands.
pub fn shut(need: Need, desired: &Desired, actual: &Actual) -> Vec<Op> {
    match need {
        Need::Essential => {
            let peers = actual.device().into_iter().flat_map(|device| &device.peers);
            let open = peers.filter(|(_, peer)| !peer.allowed.is_empty());
            open.map(|(key, _)| Op::SetAllowed(*key, BTreeSet::new())).collect()
        }
        Need::Forwarding => sysctl::forward_no_more(desired, &actual.surroundings),
        Need::Wished => Vec::new(),
    }
}

/// The ops that keep a full tunnel shut until its link is there; none where no tunnel is wanted. They need no link, and are
/// part of what `reconcile` does.
pub fn shut_early(desired: &Desired, surroundings: &Surroundings) -> Vec<Op> {
    let tunnel = desired.interface.as_ref().and_then(|interface| interface.tunnel.as_ref());
    if tunnel.is_none() {
        return Vec::new();
    }
    let actual = Actual { link: None, surroundings: surroundings.clone() };
    let shuts = |op: &Op| {
        matches!(op, Op::Around(Around::SetFirewall(..) | Around::AddUnreachable(_) | Around::AddRule(_)))
    };
    reconcile(desired, &actual).into_iter().filter(shuts).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::WgPublicKey;

    use super::*;
    use crate::Sysctl;

    #[test]
    fn nothing_is_opened_behind_a_firewall_that_could_not_be_set() {
        let key = WgPublicKey::from_bytes([0; 32]);
        let more = Op::AllowMore(key, BTreeSet::new());
        let forwards = Op::from(Around::SetSysctl(Sysctl::new("net/ipv4/ip_forward", "1")));
        for (need, opens, passes_on) in [
            (Need::Essential, Err(HeldBack), Err(HeldBack)),
            (Need::Forwarding, Ok(()), Err(HeldBack)),
            (Need::Wished, Ok(()), Ok(())),
        ] {
            let mut gate = Gate::default();
            let firewall = Op::from(Around::SetFirewall(Arc::default(), need));
            gate.tell(&firewall, true);
            assert_eq!((gate.ask(&more), gate.ask(&forwards), gate.lacks()), (Ok(()), Ok(()), None));
            gate.tell(&firewall, false);
            assert_eq!((gate.ask(&more), gate.ask(&forwards)), (opens, passes_on));
            assert_eq!(gate.lacks().is_some(), passes_on.is_err());
            assert_eq!(gate.ask(&Op::RemovePeer(key)), Ok(()));
        }
    }
}
