//! Who gives a command. The shells prove it (a set-up code, a bearer token, a host's signature) and say no more than that;
//! what the actor may do is decided in `decide::authorise`, from intent.

use model::{HostId, UserId};

use crate::{ActorName, Intent};

/// Who gives a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The holder of the one-time set-up code.
    Setup,
    /// A person. What they may do is looked up in intent each time, so that a role taken away counts at once.
    User(UserId),
    /// A host, of itself.
    Host(HostId),
    /// A machine that proved the keys it registers with.
    Registrant,
    /// The server's own housekeeping and its local command line.
    System,
}

impl Actor {
    /// The words that the journal keeps.
    pub(crate) fn name(&self, intent: &Intent) -> ActorName {
        ActorName::from_text(match self {
            Self::Setup => "setup".to_owned(),
            Self::Registrant => "registrant".to_owned(),
            Self::System => "system".to_owned(),
            Self::User(id) => match intent.user(*id) {
                Some(user) => format!("user {}", user.name),
                None => format!("user {id}"),
            },
            Self::Host(id) => match intent.host(*id) {
                Some(host) => format!("host {}", host.name),
                None => format!("host {id}"),
            },
        })
    }
}
