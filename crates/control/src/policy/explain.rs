//! Why one member may or may not open connections to another.

use model::{Access, NetworkId, Policy, PolicyId, Service};

use super::{Member, Reach, leads};
use crate::Intent;

/// What decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed: these policies, mostly one, let all of it through.
    Policies(Vec<PolicyId>),
    /// Not wholly allowed: these policies let only some of its ports through.
    Partly(Vec<PolicyId>),
    /// No policy speaks of it, so that the network's default decides.
    Default(Access),
    /// Not allowed: this one is not a member of the network now.
    Absent(Member),
}

impl Verdict {
    /// Whether it is allowed, wholly.
    pub const fn allows(&self) -> bool {
        match self {
            Self::Policies(_) | Self::Default(Access::Allow) => true,
            Self::Partly(_) | Self::Default(Access::Deny) | Self::Absent(_) => false,
        }
    }
}

/// Why, and what would be otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What decides on connections that are opened as was asked.
    pub verdict: Verdict,
    /// Disabled policies that would let all of it through.
    pub disabled: Vec<PolicyId>,
    /// What decides on connections the other way round. Replies need none of it.
    pub reverse: Verdict,
}

/// Why connections from one member to another by this service are allowed, or not.
pub fn explain(
    intent: &Intent,
    network: NetworkId,
    from: Member,
    to: Member,
    service: &Service,
) -> Explanation {
    let wanted = Reach::of(service);
    let disabled = intent.policies_in_network(network).filter(|policy| {
        !policy.enabled
            && leads(intent, policy, from, to)
            && Reach::of_policy(&policy.services).covers(&wanted)
    });
    Explanation {
        verdict: verdict(intent, network, from, to, &wanted),
        disabled: disabled.map(|policy| policy.id).collect(),
        reverse: verdict(intent, network, to, from, &wanted),
    }
}

fn verdict(intent: &Intent, network: NetworkId, from: Member, to: Member, wanted: &Reach) -> Verdict {
    if let Some(absent) = [from, to].into_iter().find(|member| !member.is_in(intent, network)) {
        return Verdict::Absent(absent);
    }
    let mut some = Vec::new();
    let mut reach = Reach::nothing();
    let policies = intent.policies_in_network(network);
    for Policy { id, services, .. } in policies.filter(|it| it.enabled && leads(intent, it, from, to)) {
        let by = Reach::of_policy(services);
        if by.covers(wanted) {
            return Verdict::Policies(vec![*id]);
        }
        if by.touches(wanted) {
            some.push(*id);
            reach.add(&by);
        }
    }
    let access = intent.network(network).map_or(Access::Deny, |network| network.access);
    match access {
        Access::Deny if reach.covers(wanted) => Verdict::Policies(some),
        Access::Deny if !some.is_empty() => Verdict::Partly(some),
        Access::Allow | Access::Deny => Verdict::Default(access),
    }
}
