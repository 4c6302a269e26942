//! Policies and their tests. What a policy means is `crate::policy`'s.
//!
//! It keeps true that a policy speaks of what is there, that neither of its sides is empty, and that no change of policies or of
//! a network's default makes a test wrong that held before. Tags, groups and members are not checked against tests: who has a
//! tag or comes anew may make a test wrong, which is told but refuses nothing, and never what is changed after it.

use std::collections::BTreeSet;

use model::{Access, NetworkId, Policy, PolicyId, PolicyTest, PolicyTestId, Service, Subject};

use super::{Decision, bounds, draft::Draft, names, network, node};
use crate::policy::{Failure, Member, is_of_one_port, run_tests};
use crate::{Env, Intent, Names, NewPolicy, PolicyEdit, RecordChange, Rejection};

/// A test to make.
pub(super) struct NewTest {
    pub(super) network: NetworkId,
    pub(super) from: Subject,
    pub(super) to: Subject,
    pub(super) service: Service,
    pub(super) expect: Access,
}

pub(super) fn create(intent: &Intent, new: NewPolicy, env: &mut Env<'_>) -> Decision {
    network::find(intent, new.network)?;
    let there = intent.policies_in_network(new.network).take(bounds::MOST_POLICIES).count();
    bounds::at_most(bounds::POLICIES, there + 1, bounds::MOST_POLICIES)?;
    let id = PolicyId::new(env.now, env.bytes());
    let NewPolicy { network, name, enabled, from, to, services, both } = new;
    let created = env.now;
    put(intent, Policy { id, network, name, enabled, from, to, services, both, created })
}

fn find(intent: &Intent, policy: PolicyId) -> Result<&Policy, Rejection> {
    intent.policy(policy).ok_or(Rejection::NoSuchPolicy { policy })
}

pub(super) fn update(intent: &Intent, policy: PolicyId, edit: PolicyEdit) -> Decision {
    let mut after = find(intent, policy)?.clone();
    after.name = edit.name.unwrap_or(after.name);
    after.enabled = edit.enabled.unwrap_or(after.enabled);
    edit.from.apply(&mut after.from);
    edit.to.apply(&mut after.to);
    after.services = edit.services.unwrap_or(after.services);
    after.both = edit.both.unwrap_or(after.both);
    put(intent, after)
}

/// How many subjects and services the network's policies name in all: hosts are told of those that speak of them.
pub(super) fn volume(intent: &Intent, network: NetworkId) -> usize {
    intent.policies_in_network(network).map(volume_of).sum()
}

fn volume_of(policy: &Policy) -> usize {
    let Policy { from, to, services, both, .. } = policy;
    (from.len() + to.len() + services.len()) * if *both { 2 } else { 1 }
}

fn put(intent: &Intent, policy: Policy) -> Decision {
    check(intent, &policy)?;
    let network = policy.network;
    let had = intent.policy(policy.id).map_or(0, volume_of);
    if volume_of(&policy) > had {
        let volume = volume(intent, network) - had + volume_of(&policy);
        bounds::at_most(bounds::POLICY_WORDS, volume, bounds::MOST_POLICY_WORDS)?;
    }
    let mut draft = Draft::of(intent);
    draft.put(policy);
    check_tests(intent, draft.now(), network)?;
    Ok(draft.finish())
}

pub(super) fn delete(intent: &Intent, policy: PolicyId) -> Decision {
    let network = find(intent, policy)?.network;
    let mut draft = Draft::of(intent);
    draft.remove(policy);
    check_tests(intent, draft.now(), network)?;
    Ok(draft.finish())
}

/// Whether a policy can be so, beside all others.
pub(super) fn check(intent: &Intent, policy: &Policy) -> Result<(), Rejection> {
    if intent.policy_by_name(policy.network, &policy.name).is_some_and(|other| other.id != policy.id) {
        let (name, network) = (policy.name.clone(), names::of_network(intent, policy.network));
        return Err(Rejection::PolicyNameTaken { name, network });
    }
    check_side(intent, policy.network, &policy.from, "subject that connections come from")?;
    check_side(intent, policy.network, &policy.to, "subject that connections go to")?;
    bounds::at_most("services in one policy", policy.services.len(), bounds::MOST_SERVICES)
}

fn check_side(
    intent: &Intent,
    network: NetworkId,
    subjects: &BTreeSet<Subject>,
    what: &'static str,
) -> Result<(), Rejection> {
    bounds::at_least_one(what, subjects.len())?;
    bounds::at_most("subjects on one side of a policy", subjects.len(), bounds::MOST_SUBJECTS)?;
    subjects.iter().try_for_each(|subject| check_subject(intent, network, subject))
}

/// Refuses what is not there, or not in this network. Tags and groups may be nobody's yet.
fn check_subject(intent: &Intent, network: NetworkId, subject: &Subject) -> Result<(), Rejection> {
    match subject {
        Subject::Everything | Subject::Tag(_) | Subject::Group(_) => Ok(()),
        Subject::Node(id) => {
            let found = node::find(intent, *id)?;
            if found.network == network {
                return Ok(());
            }
            let network = names::of_network(intent, network);
            Err(Rejection::NodeElsewhere { node: names::at(intent, found), network })
        }
        Subject::Client(client) => match intent.client(*client).filter(|found| found.network == network) {
            Some(_) => Ok(()),
            None => Err(Rejection::NoSuchClient { client: *client }),
        },
        Subject::Egress(egress) => match intent.egress(*egress).filter(|found| found.network == network) {
            Some(_) => Ok(()),
            None => Err(Rejection::NoSuchEgress { egress: *egress }),
        },
        Subject::User(user) => match intent.user(*user) {
            Some(_) => Ok(()),
            None => Err(Rejection::NoSuchUser { user: *user }),
        },
    }
}

pub(super) fn create_test(intent: &Intent, new: NewTest, env: &mut Env<'_>) -> Decision {
    network::find(intent, new.network)?;
    let there = intent.policy_tests_in_network(new.network).take(bounds::MOST_POLICY_TESTS).count();
    bounds::at_most(bounds::POLICY_TESTS, there + 1, bounds::MOST_POLICY_TESTS)?;
    let NewTest { network, from, to, service, expect } = new;
    let id = PolicyTestId::new(env.now, env.bytes());
    let test = PolicyTest { id, network, from, to, service, expect, created: env.now };
    check_test(intent, &test)?;
    let mut draft = Draft::of(intent);
    draft.put(test);
    check_tests(intent, draft.now(), network)?;
    Ok(draft.finish())
}

/// Whether a test can be so, whatever it comes to.
pub(super) fn check_test(intent: &Intent, test: &PolicyTest) -> Result<(), Rejection> {
    let PolicyTest { network, from, to, service, .. } = test;
    check_subject(intent, *network, from)?;
    check_subject(intent, *network, to)?;
    if !is_of_one_port(service) {
        return Err(Rejection::TestNeedsOnePort { service: service.clone() });
    }
    Ok(())
}

pub(super) fn delete_test(intent: &Intent, test: PolicyTestId) -> Decision {
    let before = intent.policy_test(test).ok_or(Rejection::NoSuchPolicyTest { test })?;
    Ok(vec![RecordChange::removed(before.clone())])
}

/// Refuses a change after which a test of the network's policies is wrong that was not wrong before: it held, or it is new.
pub(super) fn check_tests(before: &Intent, after: &Intent, network: NetworkId) -> Result<(), Rejection> {
    let mut failures = run_tests(after, network);
    if failures.is_empty() {
        return Ok(());
    }
    let known: BTreeSet<PolicyTestId> = run_tests(before, network).iter().map(|one| one.test).collect();
    failures.retain(|failure| !known.contains(&failure.test));
    if failures.is_empty() {
        return Ok(());
    }
    Err(Rejection::PolicyTestsFail {
        tests: Names(failures.iter().map(|one| sentence(after, one)).collect()),
    })
}

/// What a test says, and for whom it is not so.
fn sentence(intent: &Intent, failure: &Failure) -> String {
    let test = intent.policy_test(failure.test).expect("a test that failed is there");
    let must = match test.expect {
        Access::Allow => "must be allowed",
        Access::Deny => "must be denied",
    };
    let (from, to) = (words(intent, &test.from), words(intent, &test.to));
    let member = |member: Member| words(intent, &subject_of(member));
    let (one, other) = failure.example;
    let (one, other) = (member(one), member(other));
    format!("{from} to {to} by {} {must}, and from {one} to {other} it is not", test.service)
}

fn subject_of(member: Member) -> Subject {
    match member {
        Member::Node(id) => Subject::Node(id),
        Member::Client(id) => Subject::Client(id),
        Member::Egress(id) => Subject::Egress(id),
    }
}

fn words(intent: &Intent, subject: &Subject) -> String {
    fn named(kind: &str, name: Option<impl ToString>) -> String {
        format!("{kind} `{}`", name.map_or_else(|| "?".to_owned(), |name| name.to_string()))
    }
    match subject {
        Subject::Everything => "everything".to_owned(),
        Subject::Node(id) => named("host", intent.node(*id).map(|node| names::of_host(intent, node))),
        Subject::Client(id) => named("client", intent.client(*id).map(|client| &client.name)),
        Subject::Egress(id) => named("egress range", intent.egress(*id).map(|egress| &egress.name)),
        Subject::Tag(tag) => named("tag", Some(tag)),
        Subject::User(id) => named("user", intent.user(*id).map(|user| &user.name)),
        Subject::Group(group) => named("group", Some(group)),
    }
}
