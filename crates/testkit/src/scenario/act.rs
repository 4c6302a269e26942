//! The verbs of a scenario: what each line does, and who does it.
//!
//! ```text
//! network create NAME [v4=RANGE] [v6=RANGE] [keepalive=S] [access=allow|deny] [domain=] [approval]
//! network update NAME [name=] [keepalive=] [access=] [approval=yes|no] [hub=MACHINE] [domain=]      network delete NAME [force]
//! key create TITLE [networks=A,B] [uses=N] [expires=S] [tags=A,B] [ephemeral]     key rename TITLE NEW     key delete TITLE
//! register MACHINE [key=TITLE] [hostname=] [name=] [mtu=] [endpoint=] [addresses=A,B] [fresh] [copy=MACHINE]
//! settings MACHINE [name=] [mtu=] [endpoint=]               connect|disconnect MACHINE NETWORK         leave MACHINE NETWORK|server
//! host update MACHINE [name=] [mtu=] [endpoint=] [default=yes|no] [ephemeral=yes|no]                   host remove MACHINE
//! rotate MACHINE|everybody                                  rekey MACHINE                              sweep [away=A,B]
//! setup NAME    user create|role NAME ROLE    user groups NAME [groups=A,B]    user password|delete NAME
//! token create|delete TITLE [user=NAME] [login]
//! seen MACHINE ENDPOINT [door=first|second]                 online|offline MACHINE
//! report MACHINE [local=E,E] [client=NAME network=NETWORK]  wait SECONDS                               map MACHINE
//! ```
//!
//! Members of networks are in `members`, policies and names in `rules`. `rekey` is the machine's answer to `rotate`, `fresh` makes a new WireGuard key first, `copy` uses another machine's. Administrators' commands come from the server
//! itself unless somebody speaks (`as anna: …`).

use anyhow::{Result, bail};
use control::{Actor, Command, Door, Edit, Effect, NetworkEdit, Register};
use model::{
    Access, ApiTokenId, Digest, EnrollmentKeyId, HostId, HostName, NetworkId, NetworkName, PasswordHash,
    Ranges, Role, SealingPublicKey, SigningPublicKey, Title, TokenPurpose, UserId, UserName, Uses,
};
use wire::{HostSettings, Leave, NodeSwitch, Report};

use super::line::Line;
use super::stage::{Stage, bytes, digest};
use super::{members, rules};

/// Does what a line says, and tells what came of it.
pub(super) fn act(stage: &mut Stage, mut line: Line) -> Result<Vec<String>> {
    let verb = line.word()?;
    let said = match verb.as_str() {
        "network" => network(stage, &mut line)?,
        "key" => key(stage, &mut line)?,
        "host" => host(stage, &mut line)?,
        "node" => members::node(stage, &mut line)?,
        "client" => members::client(stage, &mut line)?,
        "egress" => members::egress(stage, &mut line)?,
        "policy" => rules::policy(stage, &mut line)?,
        "test" => rules::test(stage, &mut line)?,
        "record" => rules::record(stage, &mut line)?,
        "upstream" => rules::upstream(stage, &mut line)?,
        "rotate" => (Actor::System, Command::RotateKeys { host: everybody_or_one(stage, &mut line)? }),
        "rekey" => rekey(stage, &mut line)?,
        "sweep" => {
            let away = line.list::<String>("away")?.iter().map(|machine| stage.host(machine)).collect();
            (Actor::System, Command::Sweep { away })
        }
        "setup" => {
            let (name, password) = (line.value()?, PasswordHash::from_phc("first".to_owned()));
            (Actor::Setup, Command::SetUpFirstAdministrator { name, password })
        }
        "user" => user(stage, &mut line)?,
        "token" => token(stage, &mut line)?,
        "register" => (Actor::Registrant, Command::Register(register(stage, &mut line)?)),
        "settings" => (own(stage, &mut line)?, Command::OwnSettings(settings(&mut line)?)),
        "connect" | "disconnect" => {
            let (host, network) = (own(stage, &mut line)?, line.value()?);
            (host, Command::OwnSwitch(NodeSwitch { network, connected: verb == "connect" }))
        }
        "leave" => (own(stage, &mut line)?, Command::OwnLeave(leave(&mut line)?)),
        _ => return watch(stage, &verb, line),
    };
    let (actor, command) = said;
    let actor = match &line.speaker {
        None => actor,
        Some(name) => Actor::User(user_id(stage, &name.parse()?)),
    };
    line.end()?;
    Ok(match stage.give(&actor, command)? {
        Err(rejection) => {
            vec![format!("refused ({}): {}", rejection.code(), stage.named(&rejection.to_string()))]
        }
        Ok((change, heard)) => [stage.change(&change), stage.heard(&heard)].concat(),
    })
}

/// The verbs that are no commands: observations, time, and looking.
fn watch(stage: &mut Stage, verb: &str, mut line: Line) -> Result<Vec<String>> {
    if verb == "wait" {
        stage.wait(line.value()?);
        line.end()?;
        return Ok(vec![format!("it is {}", stage.now)]);
    }
    let machine = line.word()?;
    let host = stage.host(&machine);
    let heard = match verb {
        "map" => {
            line.end()?;
            return Ok(stage.whole_map(host));
        }
        "seen" => {
            let (endpoint, doors) = (line.value()?, doors(line.option("door")?)?);
            let mut heard = Vec::new();
            for door in doors {
                heard
                    .extend(stage.observe(host, |known, now| known.observe_seen(host, door, endpoint, now))?);
            }
            heard
        }
        "report" => {
            let clients = members::clients_seen(stage, &mut line)?;
            let report = Report { local: line.list("local")?, clients, ..Report::default() };
            stage.observe(host, |known, now| known.observe_report(host, &report, now))?
        }
        "online" | "offline" => stage.observe(host, |known, now| {
            known.observe_presence(host, verb == "online", now);
            Effect::None
        })?,
        _ => bail!("nobody knows how to `{verb}`"),
    };
    line.end()?;
    if heard.is_empty() {
        return Ok(vec!["nobody hears of it".to_owned()]);
    }
    Ok(stage.heard(&heard))
}

fn doors(door: Option<String>) -> Result<Vec<Door>> {
    Ok(match door.as_deref() {
        None => vec![Door::First, Door::Second],
        Some("first") => vec![Door::First],
        Some("second") => vec![Door::Second],
        Some(other) => bail!("the doors are `first` and `second`, not `{other}`"),
    })
}

fn everybody_or_one(stage: &mut Stage, line: &mut Line) -> Result<Option<HostId>> {
    if line.has("everybody") {
        return Ok(None);
    }
    host_id(stage, line).map(Some)
}

/// The machine makes itself another WireGuard key.
fn rekey(stage: &mut Stage, line: &mut Line) -> Result<(Actor, Command)> {
    let machine = line.word()?;
    *stage.wireguard_keys.entry(machine.clone()).or_insert(1) += 1;
    let host = stage.host(&machine);
    Ok((Actor::Host(host), Command::OwnKey(stage.wireguard_key(&machine))))
}

pub(super) fn network_id(stage: &mut Stage, name: &NetworkName) -> NetworkId {
    match stage.intent.network_by_name(name) {
        Some(network) => network.id,
        None => stage.absent(name.as_str(), NetworkId::from_bytes),
    }
}

fn key_id(stage: &mut Stage, title: &Title) -> EnrollmentKeyId {
    match stage.intent.enrollment_key_by_title(title) {
        Some(key) => key.id,
        None => stage.absent(title.as_str(), EnrollmentKeyId::from_bytes),
    }
}

pub(super) fn user_id(stage: &mut Stage, name: &UserName) -> UserId {
    match stage.intent.user_by_name(name) {
        Some(user) => user.id,
        None => stage.absent(name.as_str(), UserId::from_bytes),
    }
}

fn host_id(stage: &mut Stage, line: &mut Line) -> Result<HostId> {
    Ok(stage.host(&line.word()?))
}

fn own(stage: &mut Stage, line: &mut Line) -> Result<Actor> {
    host_id(stage, line).map(Actor::Host)
}

fn ranges(line: &mut Line) -> Result<Option<Ranges>> {
    match (line.option("v4")?, line.option("v6")?) {
        (None, None) => Ok(None),
        (v4, v6) => Ok(Some(Ranges::new(v4, v6)?)),
    }
}

fn access(line: &mut Line) -> Result<Option<Access>> {
    let text: Option<String> = line.option("access")?;
    text.map(|text| access_of(&text)).transpose()
}

pub(super) fn access_of(text: &str) -> Result<Access> {
    match text {
        "allow" => Ok(Access::Allow),
        "deny" => Ok(Access::Deny),
        other => bail!("access is `allow` or `deny`, not `{other}`"),
    }
}

fn network(stage: &mut Stage, line: &mut Line) -> Result<(Actor, Command)> {
    let verb = line.word()?;
    let name: NetworkName = line.value()?;
    let network = network_id(stage, &name);
    let command = match verb.as_str() {
        "create" => Command::CreateNetwork {
            name,
            ranges: ranges(line)?,
            keepalive: line.option("keepalive")?,
            access: access(line)?,
            approval: line.has("approval"),
            domain: line.option("domain")?,
        },
        "update" => Command::UpdateNetwork {
            network,
            edit: NetworkEdit {
                name: line.option("name")?,
                keepalive: line.option("keepalive")?,
                access: access(line)?,
                approval: line.yes("approval")?,
                hub: members::edit_node(stage, line, "hub", network)?,
                domain: line.edit("domain")?,
            },
        },
        "delete" => Command::DeleteNetwork { network, force: line.has("force") },
        _ => bail!("nobody knows how to `network {verb}`"),
    };
    Ok((Actor::System, command))
}

fn key(stage: &mut Stage, line: &mut Line) -> Result<(Actor, Command)> {
    let verb = line.word()?;
    let title: Title = line.value()?;
    let key = key_id(stage, &title);
    let command = match verb.as_str() {
        "create" => {
            let names: Vec<NetworkName> = line.list("networks")?;
            let networks = names.iter().map(|name| network_id(stage, name)).collect();
            let uses = line.option("uses")?.map_or(Uses::Unlimited, Uses::Left);
            let expires = line.option("expires")?;
            let expires = expires.map(|seconds| stage.now + std::time::Duration::from_secs(seconds));
            let digest = digest(title.as_str());
            Command::CreateEnrollmentKey {
                title,
                digest,
                networks,
                uses,
                expires,
                tags: line.list("tags")?.into_iter().collect(),
                ephemeral: line.has("ephemeral"),
            }
        }
        "rename" => Command::UpdateEnrollmentKey { key, title: line.value()? },
        "delete" => Command::DeleteEnrollmentKey { key },
        _ => bail!("nobody knows how to `key {verb}`"),
    };
    Ok((Actor::System, command))
}

fn settings(line: &mut Line) -> Result<HostSettings> {
    let (name, mtu) = (line.option("name")?, line.option("mtu")?);
    Ok(HostSettings { name, mtu, static_endpoint: line.option("endpoint")? })
}

fn register(stage: &mut Stage, line: &mut Line) -> Result<Register> {
    let machine = line.word()?;
    if line.has("fresh") {
        *stage.wireguard_keys.entry(machine.clone()).or_insert(1) += 1;
    }
    let copied: Option<String> = line.option("copy")?;
    let secret: Option<String> = line.option("key")?;
    let hostname: Option<HostName> = line.option("hostname")?;
    Ok(Register {
        enrollment: secret.as_deref().map(digest),
        hostname: hostname.unwrap_or_else(|| HostName::nearest(&machine)),
        wireguard_key: stage.wireguard_key(copied.as_ref().unwrap_or(&machine)),
        signing_key: SigningPublicKey::from_bytes(bytes(&machine)),
        sealing_key: SealingPublicKey::from_bytes(bytes(&machine)),
        encapsulated: SealingPublicKey::from_bytes(bytes(&machine)),
        server: None,
        settings: settings(line)?,
        addresses: line.list("addresses")?,
    })
}

fn leave(line: &mut Line) -> Result<Leave> {
    if line.has("server") {
        return Ok(Leave::Server);
    }
    Ok(Leave::Network(line.value()?))
}

fn host(stage: &mut Stage, line: &mut Line) -> Result<(Actor, Command)> {
    let verb = line.word()?;
    let host = host_id(stage, line)?;
    let command = match verb.as_str() {
        "update" => {
            let (name, mtu): (_, Edit<_>) = (line.option("name")?, line.edit("mtu")?);
            Command::UpdateHost {
                host,
                name,
                mtu,
                static_endpoint: line.edit("endpoint")?,
                default: line.yes("default")?,
                ephemeral: line.yes("ephemeral")?,
            }
        }
        "remove" => Command::RemoveHost { host },
        _ => bail!("nobody knows how to `host {verb}`"),
    };
    Ok((Actor::System, command))
}

fn role(line: &mut Line) -> Result<Role> {
    match line.word()?.as_str() {
        "administrator" => Ok(Role::Administrator),
        "auditor" => Ok(Role::Auditor),
        other => bail!("the roles are `administrator` and `auditor`, not `{other}`"),
    }
}

fn user(stage: &mut Stage, line: &mut Line) -> Result<(Actor, Command)> {
    let verb = line.word()?;
    let name: UserName = line.value()?;
    let user = user_id(stage, &name);
    let password = PasswordHash::from_phc(format!("at {}", stage.now));
    let command = match verb.as_str() {
        "create" => Command::CreateUser { name, password, role: role(line)? },
        "role" => Command::SetRole { user, role: role(line)? },
        "password" => Command::ChangePassword { user, password, keep: None },
        "groups" => Command::SetGroups { user, groups: line.list("groups")?.into_iter().collect() },
        "delete" => Command::DeleteUser { user },
        _ => bail!("nobody knows how to `user {verb}`"),
    };
    Ok((Actor::System, command))
}

fn token(stage: &mut Stage, line: &mut Line) -> Result<(Actor, Command)> {
    let verb = line.word()?;
    let title: Title = line.value()?;
    let digest: Digest = digest(title.as_str());
    let command = match verb.as_str() {
        "create" => {
            let Some(owner) = line.option("user")? else { bail!("a token is somebody's: user=NAME") };
            let user = user_id(stage, &owner);
            let purpose = if line.has("login") { TokenPurpose::Login } else { TokenPurpose::Program };
            Command::CreateToken { user, title, purpose, digest, expires: None }
        }
        "delete" => {
            let token = match stage.intent.api_token_by_digest(&digest) {
                Some(token) => token.id,
                None => stage.absent(title.as_str(), ApiTokenId::from_bytes),
            };
            Command::DeleteToken { token }
        }
        _ => bail!("nobody knows how to `token {verb}`"),
    };
    Ok((Actor::System, command))
}
