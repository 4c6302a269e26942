//! Dry runs: what a command would change, between the members of networks above all. Nothing is committed.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use api::{AccessChange, PairChange};
use control::policy::{self, Comparison, Member, Reach};
use control::{Actor, ActorName, Change, Command, Env, Intent, RecordChange, Rejection, apply, decide};
use model::{DnsName, NetworkId};

use super::failure::problem;
use super::{Admin, Failure, name};
use crate::brain::now;

/// Pairs that are named; all are counted.
const MOST_PAIRS: usize = 100;

/// What a command would do.
pub(super) struct Tried {
    /// To the records.
    pub(super) change: Change,
    /// To who may open connections to whom.
    pub(super) access: AccessChange,
}

/// What the command would change between the members of a network. Whoever may not give it learns no more than from giving it.
pub(super) async fn tried(
    admin: &Admin,
    intent: Arc<Intent>,
    actor: Actor,
    command: Command,
    network: NetworkId,
) -> Result<AccessChange, Failure> {
    Ok(look_aside(admin, intent, actor, command, Some(network)).await?.access)
}

/// The same of all networks, with all else that it would change.
pub(super) async fn tried_everywhere(
    admin: &Admin,
    intent: Arc<Intent>,
    actor: Actor,
    command: Command,
) -> Result<Tried, Failure> {
    look_aside(admin, intent, actor, command, None).await
}

/// The records that the command would change, and no look at what follows from them.
pub(super) async fn decided(
    admin: &Admin,
    intent: Arc<Intent>,
    actor: Actor,
    command: Command,
) -> Result<Change, Failure> {
    aside(admin, move |domain| decide_now((&intent, domain), &actor, command)).await
}

async fn look_aside(
    admin: &Admin,
    intent: Arc<Intent>,
    actor: Actor,
    command: Command,
    network: Option<NetworkId>,
) -> Result<Tried, Failure> {
    aside(admin, move |domain| look((&intent, domain), &actor, command, network)).await
}

/// Where nobody waits for it: in a large network this takes a core for a while.
async fn aside<T: Send + 'static>(
    admin: &Admin,
    look: impl FnOnce(&DnsName) -> Result<T, Rejection> + Send + 'static,
) -> Result<T, Failure> {
    let domain = admin.parts.settings.domain.clone();
    let looked = tokio::task::spawn_blocking(move || look(&domain)).await;
    Ok(looked.context("a dry run broke")??)
}

fn decide_now(
    (intent, domain): (&Intent, &DnsName),
    actor: &Actor,
    command: Command,
) -> Result<Change, Rejection> {
    let mut random = |bytes: &mut [u8]| {
        getrandom::fill(bytes).expect("the operating system gives randomness: it did at the start");
    };
    decide(intent, actor, command, &mut Env { now: now(), domain, random: &mut random })
}

/// What it would do; in this network, or in all of them.
fn look(
    (intent, domain): (&Intent, &DnsName),
    actor: &Actor,
    command: Command,
    network: Option<NetworkId>,
) -> Result<Tried, Rejection> {
    let decided = |intent: &Intent, command: Command| decide_now((intent, domain), actor, command);
    let (change, refused) = match decided(intent, command.clone()) {
        Ok(change) => (change, None),
        // What a test forbids is looked at all the same: that is how one sees which of the two is wrong.
        Err(refused @ Rejection::PolicyTestsFail { .. }) => match decided(&without_tests(intent), command) {
            Ok(change) => (change, Some(Box::new(problem(&refused)))),
            Err(_) => return Err(refused),
        },
        Err(refused) => return Err(refused),
    };
    let mut after = intent.clone();
    if !change.is_empty() {
        apply(&mut after, &change);
    }
    let networks = match network {
        Some(network) => BTreeSet::from([network]),
        None => intent.networks(None).chain(after.networks(None)).map(|network| network.id).collect(),
    };
    let mut access = AccessChange { refused, ..AccessChange::default() };
    networks.into_iter().for_each(|network| add(&mut access, (intent, &after), network));
    Ok(Tried { change, access })
}

/// All but the tests of policies.
fn without_tests(intent: &Intent) -> Intent {
    let tests = intent.networks(None).flat_map(|network| intent.policy_tests_in_network(network.id));
    let records = tests.map(|test| RecordChange::removed(test.clone())).collect();
    let change = Change { actor: ActorName::from_text("nobody".to_owned()), command: "look".into(), records };
    let mut without = intent.clone();
    apply(&mut without, &change);
    without
}

/// Adds what changes in a network.
fn add(access: &mut AccessChange, (before, after): (&Intent, &Intent), network: NetworkId) {
    let Some(called) = after.network(network).or_else(|| before.network(network)) else {
        return;
    };
    let room = MOST_PAIRS - access.pairs.len();
    let Comparison { pairs, gaining, losing, changing } = policy::compare(before, after, network, room);
    access.changing += changing;
    access.gaining += gaining;
    access.losing += losing;
    let named = |member: Member| {
        let at = if member.is_in(after, network) { after } else { before };
        name::member(at, member)
    };
    access.pairs.extend(pairs.into_iter().map(|pair| PairChange {
        network: called.name.clone(),
        from: named(pair.from),
        to: named(pair.to),
        before: words(&pair.before),
        after: words(&pair.after),
        gained: words(&pair.gained()),
        lost: words(&pair.lost()),
    }));
}

fn words(reach: &Reach) -> Vec<String> {
    if reach.is_everything() {
        return vec!["everything".to_owned()];
    }
    reach.services().iter().map(ToString::to_string).collect()
}
