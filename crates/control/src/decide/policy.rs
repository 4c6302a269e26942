//! Policies and their tests.

use model::{Access, NetworkId, Policy, PolicyId, PolicyTest, PolicyTestId, Service, Subject};

use super::{Decision, changed, network};
use crate::{Env, Intent, NewPolicy, PolicyEdit, RecordChange, Rejection};

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
    let id = PolicyId::new(env.now, env.bytes());
    let NewPolicy { network, name, enabled, from, to, services, both } = new;
    let created = env.now;
    Ok(vec![RecordChange::made(Policy { id, network, name, enabled, from, to, services, both, created })])
}

fn find(intent: &Intent, policy: PolicyId) -> Result<&Policy, Rejection> {
    intent.policy(policy).ok_or(Rejection::NoSuchPolicy { policy })
}

pub(super) fn update(intent: &Intent, policy: PolicyId, edit: PolicyEdit) -> Decision {
    let before = find(intent, policy)?;
    let mut after = before.clone();
    after.name = edit.name.unwrap_or(after.name);
    after.enabled = edit.enabled.unwrap_or(after.enabled);
    after.from = edit.from.unwrap_or(after.from);
    after.to = edit.to.unwrap_or(after.to);
    after.services = edit.services.unwrap_or(after.services);
    after.both = edit.both.unwrap_or(after.both);
    Ok(changed(before, after))
}

pub(super) fn delete(intent: &Intent, policy: PolicyId) -> Decision {
    Ok(vec![RecordChange::removed(find(intent, policy)?.clone())])
}

pub(super) fn create_test(intent: &Intent, new: NewTest, env: &mut Env<'_>) -> Decision {
    network::find(intent, new.network)?;
    let id = PolicyTestId::new(env.now, env.bytes());
    let NewTest { network, from, to, service, expect } = new;
    Ok(vec![RecordChange::made(PolicyTest { id, network, from, to, service, expect, created: env.now })])
}

pub(super) fn delete_test(intent: &Intent, test: PolicyTestId) -> Decision {
    let before = intent.policy_test(test).ok_or(Rejection::NoSuchPolicyTest { test })?;
    Ok(vec![RecordChange::removed(before.clone())])
}
