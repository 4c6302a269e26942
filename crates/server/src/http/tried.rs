//! Dry runs: what a command would change between the members of a network. Nothing is committed.

use std::sync::Arc;

use anyhow::Context as _;
use api::{AccessChange, PairChange};
use control::policy::{self, Comparison, Member, Reach};
use control::{Actor, Command, Env, Intent, Rejection, apply, decide};
use model::{DnsName, NetworkId};

use super::{Admin, Failure, name};
use crate::brain::now;

/// Pairs that are named; all are counted.
const MOST_PAIRS: usize = 100;

/// What the command would change. Whoever may not give it learns no more than from giving it.
pub(super) async fn tried(
    admin: &Admin,
    intent: Arc<Intent>,
    actor: Actor,
    command: Command,
    network: NetworkId,
) -> Result<AccessChange, Failure> {
    let domain = admin.parts.settings.domain.clone();
    // In a large network this takes a core for a while.
    let looked =
        tokio::task::spawn_blocking(move || look((&intent, &domain), &actor, command, network)).await;
    Ok(looked.context("a dry run broke")??)
}

fn look(
    (intent, domain): (&Intent, &DnsName),
    actor: &Actor,
    command: Command,
    network: NetworkId,
) -> Result<AccessChange, Rejection> {
    let mut random = |bytes: &mut [u8]| {
        getrandom::fill(bytes).expect("the operating system gives randomness: it did at the start");
    };
    let change = decide(intent, actor, command, &mut Env { now: now(), domain, random: &mut random })?;
    let mut after = intent.clone();
    if !change.is_empty() {
        apply(&mut after, &change);
    }
    let Comparison { pairs, gaining, losing, changing } =
        policy::compare(intent, &after, network, MOST_PAIRS);
    let named = |member: Member| {
        let at = if member.is_in(&after, network) { &after } else { intent };
        name::member(at, member)
    };
    let pair = |pair: policy::PairChange| PairChange {
        from: named(pair.from),
        to: named(pair.to),
        gained: words(&pair.gained()),
        lost: words(&pair.lost()),
    };
    Ok(AccessChange { changing, gaining, losing, pairs: pairs.into_iter().map(pair).collect() })
}

fn words(reach: &Reach) -> Vec<String> {
    if reach.is_everything() {
        return vec!["everything".to_owned()];
    }
    reach.services().iter().map(ToString::to_string).collect()
}
