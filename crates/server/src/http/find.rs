//! What a path or a body names, by id or by name.

use std::str::FromStr;

use api::{HostSelector, KeySelector, NetworkSelector, Problem, ProblemKind, Selector, UserSelector};
use control::Intent;
use model::{EnrollmentKey, Host, Network, Node, NodeId, User};

use super::Failure;

fn missing<I, N>(what: &str, selector: &Selector<I, N>) -> Failure {
    Problem::new(ProblemKind::NotFound, format!("there is no {what} `{selector}`")).into()
}

pub(super) fn network<'a>(intent: &'a Intent, selector: &NetworkSelector) -> Result<&'a Network, Failure> {
    let by_id = selector.id().and_then(|id| intent.network(id));
    let found = by_id.or_else(|| intent.network_by_name(&selector.name()?));
    found.ok_or_else(|| missing("network", selector))
}

pub(super) fn host<'a>(intent: &'a Intent, selector: &HostSelector) -> Result<&'a Host, Failure> {
    let by_id = selector.id().and_then(|id| intent.host(id));
    let found = by_id.or_else(|| intent.host_by_name(&selector.name()?));
    found.ok_or_else(|| missing("host", selector))
}

pub(super) fn key<'a>(intent: &'a Intent, selector: &KeySelector) -> Result<&'a EnrollmentKey, Failure> {
    let by_id = selector.id().and_then(|id| intent.enrollment_key(id));
    let found = by_id.or_else(|| intent.enrollment_key_by_title(&selector.name()?));
    found.ok_or_else(|| missing("enrollment key", selector))
}

pub(super) fn user<'a>(intent: &'a Intent, selector: &UserSelector) -> Result<&'a User, Failure> {
    let by_id = selector.id().and_then(|id| intent.user(id));
    let found = by_id.or_else(|| intent.user_by_name(&selector.name()?));
    found.ok_or_else(|| missing("user", selector))
}

/// The selector of something that was just made under this name.
pub(super) fn spelt<I: FromStr, N: FromStr>(name: &impl ToString) -> Result<Selector<I, N>, Failure> {
    name.to_string()
        .parse()
        .map_err(|error: api::SelectorError| Failure::new(ProblemKind::Invalid, error.to_string()))
}

/// A node, by its id or by its host.
pub(super) fn node<'a>(
    intent: &'a Intent,
    in_network: &NetworkSelector,
    selector: &HostSelector,
) -> Result<(&'a Node, &'a Network), Failure> {
    let network = network(intent, in_network)?;
    let by_id = selector.as_str().parse::<NodeId>().ok().and_then(|id| intent.node(id));
    let by_id = by_id.filter(|node| node.network == network.id);
    let by_host = || intent.node_of(host(intent, selector).ok()?.id, network.id);
    let detail = || format!("network `{}` has no node `{selector}`", network.name);
    let node = by_id.or_else(by_host).ok_or_else(|| Failure::new(ProblemKind::NotFound, detail()))?;
    Ok((node, network))
}
