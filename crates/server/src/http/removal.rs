//! Removing: what goes with what is removed, said before and afterwards.
//!
//! Not for what becomes of whom, which `control` decides: that is read off the change.

use api::{Affected, Fate, Removal};
use axum::Json;
use control::{Command, Intent, Record, RecordChange};
use model::{NetworkId, NodeId, PolicyTest};

use super::caller::Caller;
use super::tried::decided;
use super::{Admin, Answer, name};

/// Removes something, or looks what would go with it.
pub(super) async fn remove(
    admin: &Admin,
    caller: &Caller,
    command: Command,
    dry_run: bool,
) -> Answer<Removal> {
    let before = admin.parts.brain.intent();
    let records = if dry_run {
        decided(admin, before.clone(), caller.actor, command).await?.records
    } else {
        admin.submit(caller.actor, command).await?.change.records.clone()
    };
    Ok(Json(Removal::of(dry_run, records.iter().filter_map(|change| affected(&before, change)))))
}

/// What became of something that is not itself what was removed.
fn affected(intent: &Intent, RecordChange { before, after }: &RecordChange) -> Option<Affected> {
    let one = |fate, network: NetworkId, name: String| {
        Some(Affected { fate, network: intent.network(network)?.name.clone(), name })
    };
    match (before.as_ref()?, after.as_ref()) {
        (Record::Policy(policy), after) => {
            let fate = if after.is_some() { Fate::PolicyNarrowed } else { Fate::PolicyRemoved };
            one(fate, policy.network, policy.name.to_string())
        }
        (Record::PolicyTest(test), None) => one(Fate::PolicyTestRemoved, test.network, said(intent, test)),
        (Record::Client(before), Some(Record::Client(after))) => {
            let fate = match (before.owner == after.owner, after.gateways.is_empty()) {
                (false, _) => Fate::ClientWithoutOwner,
                (true, true) => Fate::ClientWithoutGateway,
                (true, false) => Fate::ClientLosesGateway,
            };
            one(fate, after.network, after.name.to_string())
        }
        (Record::Egress(_), Some(Record::Egress(after))) => {
            let alone = after.routers.is_empty();
            let fate = if alone { Fate::EgressWithoutRouter } else { Fate::EgressLosesRouter };
            one(fate, after.network, after.name.to_string())
        }
        (Record::Node(before), Some(Record::Node(after))) => {
            let shut = before.internet != after.internet;
            let fate = if shut { Fate::NodeWithoutInternet } else { Fate::NodeWithoutRelay };
            one(fate, after.network, host_of(intent, after.id)?)
        }
        (Record::Network(_), Some(Record::Network(after))) => {
            one(Fate::NetworkWithoutHub, after.id, after.name.to_string())
        }
        (
            Record::Network(_)
            | Record::Host(_)
            | Record::Node(_)
            | Record::EnrollmentKey(_)
            | Record::User(_)
            | Record::ApiToken(_)
            | Record::Client(_)
            | Record::Egress(_)
            | Record::PolicyTest(_)
            | Record::DnsRecord(_)
            | Record::Upstream(_),
            _,
        ) => None,
    }
}

fn host_of(intent: &Intent, node: NodeId) -> Option<String> {
    name::node(intent, node).map(|node| node.host_name.to_string())
}

/// A test in the words in which it is made.
fn said(intent: &Intent, test: &PolicyTest) -> String {
    let subject = |one| name::subject(intent, one);
    format!("{} to {} by {}", subject(&test.from), subject(&test.to), test.service)
}
