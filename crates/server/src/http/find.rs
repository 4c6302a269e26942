//! What a path or a body names, by id or by name.

use std::fmt::Display;
use std::str::FromStr;

use api::{
    ClientSelector, EgressSelector, HostSelector, KeySelector, NetworkSelector, PolicySelector, Problem,
    ProblemKind, Selector, UpstreamSelector, UserSelector,
};
use control::Intent;
use model::{
    Client, DnsRecord, DnsRecordId, Egress, EnrollmentKey, Host, Network, NetworkId, Node, NodeId, Policy,
    PolicyTest, PolicyTestId, Upstream, User,
};

use super::Failure;

fn missing(what: &str, selector: impl Display) -> Failure {
    Problem::new(ProblemKind::NotFound, format!("there is no {what} `{selector}`")).into()
}

/// Something that was there when the command was decided, and is gone now.
pub(super) fn gone(what: &str) -> Failure {
    Problem::new(ProblemKind::NotFound, format!("the {what} was removed just now")).into()
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

/// What a network does not hold.
pub(super) fn not_in(network: &Network, what: &str, selector: impl Display) -> Failure {
    let detail = format!("network `{}` has no {what} `{selector}`", network.name);
    Problem::new(ProblemKind::NotFound, detail).into()
}

/// A node of a network, by its id or by its host.
pub(super) fn node_in<'a>(
    intent: &'a Intent,
    network: &Network,
    selector: &HostSelector,
) -> Result<&'a Node, Failure> {
    let by_id = selector.as_str().parse::<NodeId>().ok().and_then(|id| intent.node(id));
    let by_id = by_id.filter(|node| node.network == network.id);
    let by_host = || intent.node_of(host(intent, selector).ok()?.id, network.id);
    by_id.or_else(by_host).ok_or_else(|| not_in(network, "node", selector))
}

/// A node, by its id or by its host.
pub(super) fn node<'a>(
    intent: &'a Intent,
    in_network: &NetworkSelector,
    selector: &HostSelector,
) -> Result<(&'a Node, &'a Network), Failure> {
    let network = network(intent, in_network)?;
    Ok((node_in(intent, network, selector)?, network))
}

pub(super) fn client<'a>(
    intent: &'a Intent,
    network: &Network,
    selector: &ClientSelector,
) -> Result<&'a Client, Failure> {
    let by_id = selector.id().and_then(|id| intent.client(id)).filter(|client| client.network == network.id);
    let found = by_id.or_else(|| intent.client_by_name(network.id, &selector.name()?));
    found.ok_or_else(|| not_in(network, "client", selector))
}

pub(super) fn egress<'a>(
    intent: &'a Intent,
    network: &Network,
    selector: &EgressSelector,
) -> Result<&'a Egress, Failure> {
    let by_id = selector.id().and_then(|id| intent.egress(id)).filter(|egress| egress.network == network.id);
    let found = by_id.or_else(|| intent.egress_by_name(network.id, &selector.name()?));
    found.ok_or_else(|| not_in(network, "egress range", selector))
}

pub(super) fn policy<'a>(
    intent: &'a Intent,
    network: &Network,
    selector: &PolicySelector,
) -> Result<&'a Policy, Failure> {
    let by_id = selector.id().and_then(|id| intent.policy(id)).filter(|policy| policy.network == network.id);
    let found = by_id.or_else(|| intent.policy_by_name(network.id, &selector.name()?));
    found.ok_or_else(|| not_in(network, "policy", selector))
}

pub(super) fn upstream<'a>(
    intent: &'a Intent,
    network: &Network,
    selector: &UpstreamSelector,
) -> Result<&'a Upstream, Failure> {
    let by_id = selector.id().and_then(|id| intent.upstream(id)).filter(|it| it.network == network.id);
    let of_domain = |network: NetworkId| {
        let domain = selector.name()?;
        intent.upstreams_in_network(network).find(|upstream| upstream.domain == domain)
    };
    let found = by_id.or_else(|| of_domain(network.id));
    found.ok_or_else(|| not_in(network, "name servers for", selector))
}

pub(super) fn dns_record<'a>(
    intent: &'a Intent,
    network: &Network,
    id: DnsRecordId,
) -> Result<&'a DnsRecord, Failure> {
    let found = intent.dns_record(id).filter(|record| record.network == network.id);
    found.ok_or_else(|| not_in(network, "record", id))
}

pub(super) fn policy_test<'a>(
    intent: &'a Intent,
    network: &Network,
    id: PolicyTestId,
) -> Result<&'a PolicyTest, Failure> {
    let found = intent.policy_test(id).filter(|test| test.network == network.id);
    found.ok_or_else(|| not_in(network, "policy test", id))
}
