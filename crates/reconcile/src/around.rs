//! One step on what of ours is not on our link: our firewall, the rules and routes of a full tunnel, and those settings of
//! the kernel that gateways need. Idempotent, like every op.

use std::fmt;
use std::sync::Arc;

use crate::{Family, Firewall, FirewallDigest, Op, Rule, SetChanges, Sysctl};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Around {
    /// Make this the firewall, whatever was there.
    SetFirewall(Arc<Firewall>, Need),
    /// Change members of sets of the firewall that has this digest.
    ChangeFirewall(FirewallDigest, SetChanges, Need),
    /// Remove our firewall.
    RemoveFirewall,
    /// Make the default route of this family `unreachable` in our table, below all others.
    AddUnreachable(Family),
    /// Remove that route.
    RemoveUnreachable(Family),
    /// Add a policy rule.
    AddRule(Rule),
    /// Remove exactly this rule.
    RemoveRule(Rule),
    /// Give a setting of the kernel this value.
    SetSysctl(Sysctl),
}

/// Whether the rest may be done without the firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Policy relies on it: nothing is reached over our link unless it stands.
    Essential,
    /// What passes through this machine relies on it: nothing is passed on unless it stands.
    Forwarding,
    /// It is better to have it.
    Wished,
}

impl From<Around> for Op {
    fn from(around: Around) -> Self {
        Self::Around(around)
    }
}

impl Around {
    /// Whether more can be reached after it than before.
    pub(crate) fn opens(&self) -> bool {
        matches!(self, Self::SetSysctl(sysctl) if sysctl.forwards())
    }

    /// What relies on its success; none for what is not about the firewall that is wanted.
    pub(crate) const fn need(&self) -> Option<Need> {
        match self {
            Self::SetFirewall(_, need) | Self::ChangeFirewall(_, _, need) => Some(*need),
            Self::RemoveFirewall
            | Self::AddUnreachable(_)
            | Self::RemoveUnreachable(_)
            | Self::AddRule(_)
            | Self::RemoveRule(_)
            | Self::SetSysctl(_) => None,
        }
    }
}

impl fmt::Display for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetFirewall(..) => f.write_str("set the firewall"),
            Self::ChangeFirewall(_, changes, _) => {
                write!(f, "change {} sets of the firewall", changes.0.len())
            }
            Self::RemoveFirewall => f.write_str("remove the firewall"),
            Self::AddUnreachable(family) => write!(f, "drop what leaves no other way, {family:?}"),
            Self::RemoveUnreachable(family) => write!(f, "drop nothing any more, {family:?}"),
            Self::AddRule(rule) => write!(f, "add {rule}"),
            Self::RemoveRule(rule) => write!(f, "remove {rule}"),
            Self::SetSysctl(sysctl) => write!(f, "set {sysctl}"),
        }
    }
}
