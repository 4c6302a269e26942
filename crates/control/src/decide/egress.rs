//! Ways to ranges outside of a network.

use model::{Egress, EgressId};

use super::{Decision, changed, network};
use crate::{EgressEdit, Env, Intent, NewEgress, RecordChange, Rejection};

pub(super) fn create(intent: &Intent, new: NewEgress, env: &mut Env<'_>) -> Decision {
    network::find(intent, new.network)?;
    let id = EgressId::new(env.now, env.bytes());
    let NewEgress { network, name, range, mapped, routers, nat, enabled } = new;
    let created = env.now;
    Ok(vec![RecordChange::made(Egress { id, network, name, range, mapped, routers, nat, enabled, created })])
}

fn find(intent: &Intent, egress: EgressId) -> Result<&Egress, Rejection> {
    intent.egress(egress).ok_or(Rejection::NoSuchEgress { egress })
}

pub(super) fn update(intent: &Intent, egress: EgressId, edit: EgressEdit) -> Decision {
    let before = find(intent, egress)?;
    let mut after = before.clone();
    after.name = edit.name.unwrap_or(after.name);
    edit.mapped.apply(&mut after.mapped);
    after.routers = edit.routers.unwrap_or(after.routers);
    after.nat = edit.nat.unwrap_or(after.nat);
    after.enabled = edit.enabled.unwrap_or(after.enabled);
    Ok(changed(before, after))
}

pub(super) fn delete(intent: &Intent, egress: EgressId) -> Decision {
    Ok(vec![RecordChange::removed(find(intent, egress)?.clone())])
}
