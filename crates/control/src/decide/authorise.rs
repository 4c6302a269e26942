//! Who may give which command. The only place that says so.

use model::{Digest, Role, Timestamp, UserId};

use crate::{Actor, Command, Intent, Rejection};

/// Who the bearer of a token's secret is.
pub fn authenticate(intent: &Intent, digest: &Digest, now: Timestamp) -> Result<Actor, Rejection> {
    let token = intent.api_token_by_digest(digest).ok_or(Rejection::NotLoggedIn)?;
    match token.expires {
        Some(expired) if expired <= now => Err(Rejection::TokenExpired { expired }),
        Some(_) | None => Ok(Actor::User(token.user)),
    }
}

/// Refuses those who may not look at everything.
pub fn authorise_reading(intent: &Intent, actor: &Actor) -> Result<(), Rejection> {
    match actor {
        Actor::System => Ok(()),
        Actor::User(user) => match role(intent, *user)? {
            Role::Administrator | Role::Auditor => Ok(()),
        },
        Actor::Setup | Actor::Host(_) | Actor::Registrant => Err(Rejection::NotAllowed { command: "read" }),
    }
}

/// Refuses those who do not administer: for what is no command (`what` names it), and for what costs the server work before
/// the command it is for can be made.
pub fn authorise_administration(intent: &Intent, actor: &Actor, what: &'static str) -> Result<(), Rejection> {
    let administrates = match actor {
        Actor::System => true,
        Actor::User(user) => role(intent, *user)? == Role::Administrator,
        Actor::Setup | Actor::Host(_) | Actor::Registrant => false,
    };
    if administrates { Ok(()) } else { Err(Rejection::NotAllowed { command: what }) }
}

fn role(intent: &Intent, user: UserId) -> Result<Role, Rejection> {
    intent.user(user).map(|user| user.role).ok_or(Rejection::NotLoggedIn)
}

/// What it takes to give a command.
enum Needs {
    /// The set-up code.
    SetupCode,
    /// Proved keys.
    ProvedKeys,
    /// To be a host that exists.
    AHost,
    /// To be this user.
    Being(UserId),
    /// To be this user, or an administrator.
    BeingOrAdministrator(UserId),
    /// To be an administrator.
    Administrator,
    /// To be the server itself.
    System,
}

fn needs(intent: &Intent, command: &Command) -> Needs {
    match command {
        Command::SetUpFirstAdministrator { .. } => Needs::SetupCode,
        Command::Sweep { .. } => Needs::System,
        Command::Register(_) => Needs::ProvedKeys,
        Command::OwnSettings(_)
        | Command::OwnSwitch(_)
        | Command::OwnKey(_)
        | Command::OwnChannel { .. }
        | Command::OwnLeave(_) => Needs::AHost,
        // Not even an administrator makes tokens with which to act as somebody else.
        Command::CreateToken { user, .. } => Needs::Being(*user),
        Command::ChangePassword { user, .. } => Needs::BeingOrAdministrator(*user),
        // A token that is not there is nobody's: who may not delete others' does not learn which exist.
        Command::DeleteToken { token } => match intent.api_token(*token) {
            Some(token) => Needs::BeingOrAdministrator(token.user),
            None => Needs::Administrator,
        },
        Command::CreateUser { .. }
        | Command::SetRole { .. }
        | Command::SetGroups { .. }
        | Command::DeleteUser { .. }
        | Command::CreateNetwork { .. }
        | Command::UpdateNetwork { .. }
        | Command::DeleteNetwork { .. }
        | Command::CreateEnrollmentKey { .. }
        | Command::UpdateEnrollmentKey { .. }
        | Command::DeleteEnrollmentKey { .. }
        | Command::UpdateHost { .. }
        | Command::RotateKeys { .. }
        | Command::RemoveHost { .. }
        | Command::AddNode { .. }
        | Command::UpdateNode { .. }
        | Command::RemoveNode { .. }
        | Command::CreateClient(_)
        | Command::UpdateClient { .. }
        | Command::DeleteClient { .. }
        | Command::CreateEgress(_)
        | Command::UpdateEgress { .. }
        | Command::DeleteEgress { .. }
        | Command::CreatePolicy(_)
        | Command::UpdatePolicy { .. }
        | Command::DeletePolicy { .. }
        | Command::CreatePolicyTest { .. }
        | Command::DeletePolicyTest { .. }
        | Command::CreateDnsRecord { .. }
        | Command::UpdateDnsRecord { .. }
        | Command::DeleteDnsRecord { .. }
        | Command::CreateUpstream { .. }
        | Command::UpdateUpstream { .. }
        | Command::DeleteUpstream { .. }
        | Command::Import { .. } => Needs::Administrator,
    }
}

/// Refuses actors who may not give the command.
pub(super) fn authorise(intent: &Intent, actor: &Actor, command: &Command) -> Result<(), Rejection> {
    let needs = needs(intent, command);
    let allowed = match actor {
        Actor::Setup => matches!(needs, Needs::SetupCode),
        Actor::Registrant => matches!(needs, Needs::ProvedKeys),
        Actor::System => {
            matches!(
                needs,
                Needs::Being(_) | Needs::BeingOrAdministrator(_) | Needs::Administrator | Needs::System
            )
        }
        Actor::Host(host) => {
            intent.host(*host).ok_or(Rejection::NoSuchHost { host: *host })?;
            matches!(needs, Needs::AHost)
        }
        Actor::User(id) => {
            let administrates = role(intent, *id)? == Role::Administrator;
            match needs {
                Needs::SetupCode | Needs::ProvedKeys | Needs::AHost | Needs::System => false,
                Needs::Being(user) => user == *id,
                Needs::BeingOrAdministrator(user) => user == *id || administrates,
                Needs::Administrator => administrates,
            }
        }
    };
    if allowed { Ok(()) } else { Err(Rejection::NotAllowed { command: command.name() }) }
}
