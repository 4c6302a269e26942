//! Why one member may or may not open connections to another: what really decides, which need not be a policy.

use model::{Access, NetworkId, Policy, PolicyId, Service};

use super::{Member, Reach, leads};
use crate::Intent;
use crate::plan::is_there;

/// What decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed: these policies, mostly one, let all of it through.
    Policies(Vec<PolicyId>),
    /// Not wholly allowed: these policies let only some of its ports through.
    Partly(Vec<PolicyId>),
    /// The network's default: it allows everything, or it denies and no policy speaks of it.
    Default(Access),
    /// Allowed, and no policy is asked: what a machine opens to itself, or a router to its own range, never passes Netloom.
    Unjudged,
    /// Not allowed: this one is not a member of the network now.
    Absent(Member),
    /// Not allowed: nobody leads to this one now, so that nobody is told of it.
    Unreached(Member),
}

impl Verdict {
    /// Whether it is allowed, wholly.
    pub const fn allows(&self) -> bool {
        match self {
            Self::Policies(_) | Self::Default(Access::Allow) | Self::Unjudged => true,
            Self::Partly(_) | Self::Default(Access::Deny) | Self::Absent(_) | Self::Unreached(_) => false,
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
    if from == to || is_router_of(intent, from, to) {
        return Verdict::Unjudged;
    }
    if let Some(lost) = [from, to].into_iter().find(|member| !is_there(intent, network, *member)) {
        return Verdict::Unreached(lost);
    }
    let access = intent.network(network).map_or(Access::Deny, |network| network.access);
    match access {
        Access::Allow => Verdict::Default(access),
        Access::Deny => by_policies(intent, network, (from, to), wanted),
    }
}

/// Whether the one leads to the other, a range.
fn is_router_of(intent: &Intent, from: Member, to: Member) -> bool {
    let (Member::Node(node), Member::Egress(egress)) = (from, to) else { return false };
    intent.egress(egress).is_some_and(|egress| egress.routers.iter().any(|router| router.node == node))
}

/// What decides in a network that denies.
fn by_policies(intent: &Intent, network: NetworkId, (from, to): (Member, Member), wanted: &Reach) -> Verdict {
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
    if reach.covers(wanted) {
        return Verdict::Policies(some);
    }
    if some.is_empty() { Verdict::Default(Access::Deny) } else { Verdict::Partly(some) }
}
