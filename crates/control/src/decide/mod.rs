//! Deciding: a command becomes a fully specific change, or is refused. One file a noun.
//!
//! Not for doing: nothing here changes intent. It keeps true that intent holds together after every change that is decided
//! here, and that nobody gets done what `authorise` does not let them.

mod authorise;
mod bounds;
mod client;
mod dns;
mod draft;
mod egress;
mod enrollment_key;
mod host;
mod import;
mod imported;
mod names;
mod network;
mod node;
mod outside;
mod policy;
mod register;
mod removal;
mod rotation;
mod sweep;
mod token;
mod upstream;
mod user;
mod ways;

use std::borrow::Cow;

pub use authorise::{authenticate, authorise_administration, authorise_reading};
pub use client::usual_gateways;
pub use rotation::next_turn;

use crate::{Actor, Change, Command, Env, Intent, Record, RecordChange, Rejection};

/// What a command does to the records.
type Decision = Result<Vec<RecordChange>, Rejection>;

/// Decides a command. A command that would change nothing gives an empty change.
pub fn decide(
    intent: &Intent,
    actor: &Actor,
    command: Command,
    env: &mut Env<'_>,
) -> Result<Change, Rejection> {
    authorise::authorise(intent, actor, &command)?;
    let name = command.name();
    let records = dispatch(intent, actor, command, env)?;
    Ok(Change { actor: actor.name(intent), command: Cow::Borrowed(name), records })
}

fn dispatch(intent: &Intent, actor: &Actor, command: Command, env: &mut Env<'_>) -> Decision {
    match command {
        Command::SetUpFirstAdministrator { name, password } => user::set_up(intent, name, password, env),
        Command::CreateUser { name, password, role } => user::create(intent, name, password, role, env),
        Command::ChangePassword { user, password, keep } => {
            user::change_password(intent, user, password, keep)
        }
        Command::SetRole { user, role } => user::set_role(intent, user, role),
        Command::SetGroups { user, groups } => user::set_groups(intent, user, groups),
        Command::DeleteUser { user } => user::delete(intent, user),
        Command::CreateToken { user, title, purpose, digest, expires } => {
            token::create(intent, token::New { user, title, purpose, digest, expires }, env)
        }
        Command::DeleteToken { token } => token::delete(intent, token),
        Command::CreateNetwork { name, ranges, keepalive, access, approval, domain } => {
            let new = network::New { name, ranges, keepalive, access, approval, domain };
            network::create(intent, new, env)
        }
        Command::UpdateNetwork { network, edit } => network::update(intent, network, edit, env.domain),
        Command::DeleteNetwork { network, force } => network::delete(intent, network, force),
        Command::CreateEnrollmentKey { title, digest, networks, uses, expires, tags, ephemeral } => {
            let new = enrollment_key::New { title, digest, networks, uses, expires, tags, ephemeral };
            enrollment_key::create(intent, new, env)
        }
        Command::UpdateEnrollmentKey { key, title } => enrollment_key::update(intent, key, title),
        Command::DeleteEnrollmentKey { key } => enrollment_key::delete(intent, key),
        Command::Register(registration) => register::register(intent, registration, env),
        Command::UpdateHost { host, name, mtu, static_endpoint, default, ephemeral } => {
            host::update(intent, host, host::Edited { name, mtu, static_endpoint, default, ephemeral })
        }
        Command::RotateKeys { host } => rotation::ask(intent, host, env.now),
        Command::RemoveHost { host } => host::remove(intent, host),
        Command::AddNode { host, network, addresses, tags } => {
            node::add(intent, node::New { host, network, addresses, tags }, env)
        }
        Command::UpdateNode { node, edit } => node::update(intent, node, edit, env.now),
        Command::RemoveNode { node } => node::remove(intent, node),
        Command::CreateClient(new) => client::create(intent, new, env),
        Command::UpdateClient { client, edit } => client::update(intent, client, edit, env.now),
        Command::DeleteClient { client } => client::delete(intent, client),
        Command::CreateEgress(new) => egress::create(intent, new, env),
        Command::UpdateEgress { egress, edit } => egress::update(intent, egress, edit),
        Command::DeleteEgress { egress } => egress::delete(intent, egress),
        Command::CreatePolicy(new) => policy::create(intent, new, env),
        Command::UpdatePolicy { policy, edit } => policy::update(intent, policy, edit),
        Command::DeletePolicy { policy } => policy::delete(intent, policy),
        Command::CreatePolicyTest { network, from, to, service, expect } => {
            policy::create_test(intent, policy::NewTest { network, from, to, service, expect }, env)
        }
        Command::DeletePolicyTest { test } => policy::delete_test(intent, test),
        Command::CreateDnsRecord { network, name, ttl, data } => {
            dns::create(intent, dns::New { network, name, ttl, data }, env)
        }
        Command::UpdateDnsRecord { record, ttl, data } => dns::update(intent, record, ttl, data, env.domain),
        Command::DeleteDnsRecord { record } => dns::delete(intent, record),
        Command::CreateUpstream { network, domain, servers } => {
            upstream::create(intent, network, domain, servers, env)
        }
        Command::UpdateUpstream { upstream, servers } => {
            upstream::update(intent, upstream, servers, env.domain)
        }
        Command::DeleteUpstream { upstream } => upstream::delete(intent, upstream),
        Command::Import { records, prune, seen } => {
            import::import(intent, actor, import::Document { records, prune, seen }, env)
        }
        Command::Sweep { away } => sweep::sweep(intent, &away, env.now),
        Command::OwnSettings(settings) => host::own_settings(intent, own(actor)?, settings),
        Command::OwnSwitch(switch) => node::own_switch(intent, own(actor)?, &switch),
        Command::OwnChannel { server, encapsulated } => {
            register::own_channel(intent, own(actor)?, server, encapsulated)
        }
        Command::OwnKey(key) => register::own_key(intent, own(actor)?, key, env.now),
        Command::OwnLeave(leave) => host::own_leave(intent, own(actor)?, &leave),
    }
}

/// The host that acts. `authorise` lets nobody else come this far.
fn own(actor: &Actor) -> Result<model::HostId, Rejection> {
    match actor {
        Actor::Host(host) => Ok(*host),
        Actor::Setup | Actor::User(_) | Actor::Registrant | Actor::System => {
            Err(Rejection::NotAllowed { command: "own" })
        }
    }
}

/// The change of a record, if it is one.
fn changed<T: Clone + PartialEq + Into<Record>>(before: &T, after: T) -> Vec<RecordChange> {
    if *before == after {
        return Vec::new();
    }
    vec![RecordChange::changed(before.clone(), after)]
}
