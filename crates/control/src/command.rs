//! Commands: all that can be asked of the server's intent. Secrets never come in here: shells bring their digests.
//!
//! What a host may ask (`Own…`) names no host: it is always the one that asks.

use model::{
    Addresses, ApiTokenId, Digest, Endpoint, EnrollmentKeyId, HostId, HostName, Keepalive, Mtu, NetworkId,
    NetworkName, NodeId, PasswordHash, Ranges, Role, SealingPublicKey, SigningPublicKey, Timestamp, Title,
    TokenPurpose, UserId, UserName, Uses, WgPublicKey,
};
use wire::{HostSettings, Leave, NodeSwitch};

/// What becomes of a setting that may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Edit<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It goes back to the default.
    Clear,
    /// It is set.
    Set(T),
}

impl<T: Clone> Edit<T> {
    pub(crate) fn apply(&self, to: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *to = None,
            Self::Set(value) => *to = Some(value.clone()),
        }
    }
}

impl<T> From<Option<Option<T>>> for Edit<T> {
    fn from(edit: Option<Option<T>>) -> Self {
        match edit {
            None => Self::Keep,
            Some(None) => Self::Clear,
            Some(Some(value)) => Self::Set(value),
        }
    }
}

/// A registration whose proofs were verified, with the digest of the enrollment key's secret in place of the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// Digest of the enrollment key's secret; none for a known host that only renews what it registered.
    pub enrollment: Option<Digest>,
    /// What the machine calls itself.
    pub hostname: HostName,
    /// Its WireGuard key.
    pub wireguard_key: WgPublicKey,
    /// The key it signs with.
    pub signing_key: SigningPublicKey,
    /// Its end of the sealed channel.
    pub sealing_key: SealingPublicKey,
    /// The encapsulated key of its HPKE hand-over.
    pub encapsulated: SealingPublicKey,
    /// What its own settings say. What they leave open stays as it is.
    pub settings: HostSettings,
}

impl Register {
    /// Of a verified registration and the digest of its enrollment secret (`wire::TokenSecret::digest`).
    pub fn of(registration: wire::Registration, enrollment: Option<Digest>) -> Self {
        let wire::Registration {
            enrollment: _,
            hostname,
            wireguard_key,
            signing_key,
            sealing_key,
            encapsulated,
            ..
        } = registration;
        let settings = registration.settings;
        Self { enrollment, hostname, wireguard_key, signing_key, sealing_key, encapsulated, settings }
    }
}

/// All that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Makes the first account, an administrator.
    SetUpFirstAdministrator {
        /// Its log-in name.
        name: UserName,
        /// Its password's hash.
        password: PasswordHash,
    },
    /// Makes an account.
    CreateUser {
        /// Its log-in name.
        name: UserName,
        /// Its password's hash.
        password: PasswordHash,
        /// What it may do.
        role: Role,
    },
    /// Changes a password, and ends the account's log-ins.
    ChangePassword {
        /// Whose.
        user: UserId,
        /// The new one's hash.
        password: PasswordHash,
        /// The log-in that goes on: the one that asks.
        keep: Option<ApiTokenId>,
    },
    /// Changes what an account may do.
    SetRole {
        /// Whose.
        user: UserId,
        /// The new role.
        role: Role,
    },
    /// Removes an account with its tokens.
    DeleteUser {
        /// Which.
        user: UserId,
    },
    /// Makes a token or a log-in, for oneself. The shell has checked the password of a log-in.
    CreateToken {
        /// Whose.
        user: UserId,
        /// What people call it.
        title: Title,
        /// What it is for.
        purpose: TokenPurpose,
        /// Digest of its secret.
        digest: Digest,
        /// From when on it is refused.
        expires: Option<Timestamp>,
    },
    /// Ends a token or a log-in.
    DeleteToken {
        /// Which.
        token: ApiTokenId,
    },
    /// Makes a network.
    CreateNetwork {
        /// Its name.
        name: NetworkName,
        /// Its ranges; none: free ones are found.
        ranges: Option<Ranges>,
        /// Keepalive between its nodes; none: the default.
        keepalive: Option<Keepalive>,
    },
    /// Changes a network. Its ranges are fixed.
    UpdateNetwork {
        /// Which.
        network: NetworkId,
        /// Its new name.
        name: Option<NetworkName>,
        /// Its new keepalive.
        keepalive: Option<Keepalive>,
    },
    /// Removes a network, and the keys that led nowhere else.
    DeleteNetwork {
        /// Which.
        network: NetworkId,
        /// Also when nodes are in it: they go too.
        force: bool,
    },
    /// Makes an enrollment key.
    CreateEnrollmentKey {
        /// What people call it.
        title: Title,
        /// Digest of its secret.
        digest: Digest,
        /// The networks it leads into.
        networks: Vec<NetworkId>,
        /// How often it may be used.
        uses: Uses,
        /// From when on it is refused.
        expires: Option<Timestamp>,
    },
    /// Gives an enrollment key another title.
    UpdateEnrollmentKey {
        /// Which.
        key: EnrollmentKeyId,
        /// The new title.
        title: Title,
    },
    /// Removes an enrollment key. Hosts that used it stay.
    DeleteEnrollmentKey {
        /// Which.
        key: EnrollmentKeyId,
    },
    /// A machine becomes a host, or a known host renews what it registered and may join further networks.
    Register(Register),
    /// Changes a host.
    UpdateHost {
        /// Which.
        host: HostId,
        /// Its new name.
        name: Option<HostName>,
        /// The MTU of its interface.
        mtu: Edit<Mtu>,
        /// An endpoint at which it can always be reached.
        static_endpoint: Edit<Endpoint>,
    },
    /// Removes a host from everything.
    RemoveHost {
        /// Which.
        host: HostId,
    },
    /// Puts a host into a network.
    AddNode {
        /// The host.
        host: HostId,
        /// The network.
        network: NetworkId,
        /// Its addresses; what is left open is handed out.
        addresses: Option<Addresses>,
    },
    /// Lets a node take part, or pause.
    UpdateNode {
        /// Which.
        node: NodeId,
        /// Whether it takes part.
        connected: bool,
    },
    /// Takes a host out of a network.
    RemoveNode {
        /// Which.
        node: NodeId,
    },
    /// A host's own settings. What they leave open stays as it is.
    OwnSettings(HostSettings),
    /// A host takes part in one of its networks, or pauses.
    OwnSwitch(NodeSwitch),
    /// A host leaves one network, or everything.
    OwnLeave(Leave),
}

impl Command {
    /// Its name, as the journal keeps it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SetUpFirstAdministrator { .. } => "set-up-first-administrator",
            Self::CreateUser { .. } => "create-user",
            Self::ChangePassword { .. } => "change-password",
            Self::SetRole { .. } => "set-role",
            Self::DeleteUser { .. } => "delete-user",
            Self::CreateToken { .. } => "create-token",
            Self::DeleteToken { .. } => "delete-token",
            Self::CreateNetwork { .. } => "create-network",
            Self::UpdateNetwork { .. } => "update-network",
            Self::DeleteNetwork { .. } => "delete-network",
            Self::CreateEnrollmentKey { .. } => "create-enrollment-key",
            Self::UpdateEnrollmentKey { .. } => "update-enrollment-key",
            Self::DeleteEnrollmentKey { .. } => "delete-enrollment-key",
            Self::Register(_) => "register",
            Self::UpdateHost { .. } => "update-host",
            Self::RemoveHost { .. } => "remove-host",
            Self::AddNode { .. } => "add-node",
            Self::UpdateNode { .. } => "update-node",
            Self::RemoveNode { .. } => "remove-node",
            Self::OwnSettings(_) => "own-settings",
            Self::OwnSwitch(_) => "own-switch",
            Self::OwnLeave(_) => "own-leave",
        }
    }
}
