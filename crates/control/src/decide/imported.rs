//! Whether commands could have made what an import makes.
//!
//! Not for whether records go together: that is `Intent::check`'s, which looks at the names, keys, addresses and ranges of all
//! of them at once. It keeps true that each record that an import makes or changes passes the very checks of the commands for
//! its kind, and that there are no more of a kind than commands would make. What time did is no mistake: an end that has
//! passed while the document lay about is taken, and `sweep` does what it says.

use model::{DnsName, Host, NetworkId, Node};

use super::{
    bounds, client, dns, egress, enrollment_key, host, names, network, node, policy, upstream, user,
};
use crate::{Intent, Record, RecordChange, RecordName, Rejection};

/// Refuses changes that commands would have refused; `after` is with all of them.
pub(super) fn check(
    before: &Intent,
    after: &Intent,
    changes: &[RecordChange],
    server: &DnsName,
) -> Result<(), Rejection> {
    for record in changes.iter().filter_map(|change| change.after.as_ref()) {
        check_one(before, after, record, server)
            .map_err(|why| Rejection::ImportRefused { record: words(after, record), why: Box::new(why) })?;
    }
    after.networks(None).try_for_each(|network| check_counts(before, after, network.id))
}

fn check_one(before: &Intent, after: &Intent, record: &Record, server: &DnsName) -> Result<(), Rejection> {
    match record {
        Record::Network(it) => network::check(after, before.network(it.id), it, server),
        Record::Host(it) => check_host(after, before.host(it.id), it),
        Record::Node(it) => check_node(after, before.node(it.id), it),
        Record::EnrollmentKey(it) => enrollment_key::check(&it.networks, &it.tags),
        Record::User(it) => user::check_groups(&it.groups),
        // None is in a document.
        Record::ApiToken(_) => Ok(()),
        Record::Client(it) => {
            client::check(after, network::find(after, it.network)?, before.client(it.id), it)
        }
        Record::Egress(it) => {
            egress::check(after, network::find(after, it.network)?, before.egress(it.id), it)
        }
        Record::Policy(it) => policy::check(after, it),
        Record::PolicyTest(it) => policy::check_test(after, it),
        Record::DnsRecord(it) => {
            dns::check(after, network::find(after, it.network)?, before.dns_record(it.id), it, server)
        }
        Record::Upstream(it) => upstream::check(after, before.upstream(it.id), it, server),
    }
}

fn check_host(intent: &Intent, before: Option<&Host>, after: &Host) -> Result<(), Rejection> {
    names::check_new(before.map(|before| &before.name), &after.name)?;
    if before.is_none_or(|before| before.static_endpoint != after.static_endpoint) {
        egress::check_router(intent, after)?;
    }
    Ok(())
}

fn check_node(intent: &Intent, before: Option<&Node>, after: &Node) -> Result<(), Rejection> {
    if before.is_none() {
        let (host, network) = (host::find(intent, after.host)?, network::find(intent, after.network)?);
        egress::check_host(intent, host, network)?;
    }
    node::check(intent, before, after)
}

/// Refuses more of a kind than a network can have. Where there are more already, they may not become more still.
fn check_counts(before: &Intent, after: &Intent, network: NetworkId) -> Result<(), Rejection> {
    let counts = |intent: &Intent| {
        [
            (bounds::POLICIES, intent.policies_in_network(network).count(), bounds::MOST_POLICIES),
            (
                bounds::POLICY_TESTS,
                intent.policy_tests_in_network(network).count(),
                bounds::MOST_POLICY_TESTS,
            ),
            (bounds::DNS_RECORDS, intent.dns_records_in_network(network).count(), bounds::MOST_DNS_RECORDS),
            (bounds::DNS_RECORD_BYTES, dns::bytes(intent, network), bounds::MOST_DNS_RECORD_BYTES),
            (bounds::POLICY_WORDS, policy::volume(intent, network), bounds::MOST_POLICY_WORDS),
            (bounds::UPSTREAMS, intent.upstreams_in_network(network).count(), bounds::MOST_UPSTREAMS),
        ]
    };
    for ((what, given, most), (_, had, _)) in counts(after).into_iter().zip(counts(before)) {
        if given > had {
            bounds::at_most(what, given, most)?;
        }
    }
    Ok(())
}

/// A record, as sentences name it.
fn words(intent: &Intent, record: &Record) -> String {
    let of = |network: NetworkId| format!("of network `{}`", names::of_network(intent, network));
    match record {
        Record::Network(it) => format!("network `{}`", it.name),
        Record::Host(it) => format!("host `{}`", it.name),
        Record::Node(it) => names::at(intent, it).to_string(),
        Record::EnrollmentKey(it) => format!("enrollment key `{}`", it.title),
        Record::User(it) => format!("user `{}`", it.name),
        Record::ApiToken(it) => format!("token `{}`", it.title),
        Record::Client(it) => format!("client `{}` {}", it.name, of(it.network)),
        Record::Egress(it) => format!("egress range `{}` {}", it.name, of(it.network)),
        Record::Policy(it) => format!("policy `{}` {}", it.name, of(it.network)),
        Record::PolicyTest(it) => format!("policy test {} {}", it.id, of(it.network)),
        Record::DnsRecord(it) => {
            format!("DNS record at {} {}", RecordName(it.name.clone()), of(it.network))
        }
        Record::Upstream(it) => format!("name servers for `{}` {}", it.domain, of(it.network)),
    }
}
