//! Commands: all that can be asked of the server's intent. Secrets never come in here: shells bring their digests.
//!
//! What a host may ask (`Own…`) names no host: it is always the one that asks.

mod edit;
mod new;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use model::{
    Access, Addresses, ApiTokenId, ClientId, Digest, DnsName, DnsRecordId, EgressId, Endpoint,
    EnrollmentKeyId, GroupName, HostId, HostName, Keepalive, Mtu, NetworkId, NetworkName, NodeId,
    PasswordHash, PolicyId, PolicyTestId, Ranges, RecordData, Role, SealingPublicKey, Service, Subject, Tag,
    Timestamp, Title, TokenPurpose, UpstreamId, UserId, UserName, Uses, WgPublicKey,
};
use wire::{HostSettings, Leave, NodeSwitch};

use crate::Record;

pub use edit::{ClientEdit, Edit, EgressEdit, NetworkEdit, NodeEdit, PolicyEdit, SetEdit};
pub use new::{NewClient, NewEgress, NewPolicy, Register};

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
    /// Puts a person into these groups, and into no others.
    SetGroups {
        /// Whom.
        user: UserId,
        /// The groups, all of them.
        groups: BTreeSet<GroupName>,
    },
    /// Removes an account with its tokens. Its clients are switched off and belong to nobody.
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
        /// What happens to what no policy speaks of; none: it passes.
        access: Option<Access>,
        /// Whether new nodes wait until somebody lets them in.
        approval: bool,
        /// The domain of its names; none: its name below the server's domain.
        domain: Option<DnsName>,
    },
    /// Changes a network. Its ranges are fixed.
    UpdateNetwork {
        /// Which.
        network: NetworkId,
        /// How.
        edit: NetworkEdit,
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
        /// Tags of the nodes it makes.
        tags: BTreeSet<Tag>,
        /// Whether its hosts are removed once they have been away for a while.
        ephemeral: bool,
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
        /// Whether it joins every new network.
        default: Option<bool>,
        /// Whether it is removed once it has been away for a while.
        ephemeral: Option<bool>,
    },
    /// Has hosts make themselves new WireGuard keys.
    RotateKeys {
        /// Which one; none: all of them.
        host: Option<HostId>,
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
        /// Its tags.
        tags: BTreeSet<Tag>,
    },
    /// Changes a node.
    UpdateNode {
        /// Which.
        node: NodeId,
        /// How.
        edit: NodeEdit,
    },
    /// Takes a host out of a network. Refused where others have nobody else for what the node does for them.
    RemoveNode {
        /// Which.
        node: NodeId,
    },
    /// Makes a client.
    CreateClient(NewClient),
    /// Changes a client.
    UpdateClient {
        /// Which.
        client: ClientId,
        /// How.
        edit: ClientEdit,
    },
    /// Removes a client.
    DeleteClient {
        /// Which.
        client: ClientId,
    },
    /// Makes a way to a range outside.
    CreateEgress(NewEgress),
    /// Changes a way to a range outside.
    UpdateEgress {
        /// Which.
        egress: EgressId,
        /// How.
        edit: EgressEdit,
    },
    /// Removes a way to a range outside.
    DeleteEgress {
        /// Which.
        egress: EgressId,
    },
    /// Makes a policy.
    CreatePolicy(NewPolicy),
    /// Changes a policy.
    UpdatePolicy {
        /// Which.
        policy: PolicyId,
        /// How.
        edit: PolicyEdit,
    },
    /// Removes a policy.
    DeletePolicy {
        /// Which.
        policy: PolicyId,
    },
    /// Makes a test of policies. It must be true now.
    CreatePolicyTest {
        /// The network.
        network: NetworkId,
        /// Everybody in this …
        from: Subject,
        /// … to everybody in this …
        to: Subject,
        /// … by this: one protocol and at most one port …
        service: Service,
        /// … is allowed, or denied.
        expect: Access,
    },
    /// Removes a test of policies.
    DeletePolicyTest {
        /// Which.
        test: PolicyTestId,
    },
    /// Makes a DNS record.
    CreateDnsRecord {
        /// The network in whose domain it is.
        network: NetworkId,
        /// Its name below the network's domain; none: the domain itself.
        name: Option<DnsName>,
        /// How many seconds it may be kept.
        ttl: u32,
        /// What it says.
        data: RecordData,
    },
    /// Changes a DNS record.
    UpdateDnsRecord {
        /// Which.
        record: DnsRecordId,
        /// How many seconds it may be kept.
        ttl: Option<u32>,
        /// What it says.
        data: Option<RecordData>,
    },
    /// Removes a DNS record.
    DeleteDnsRecord {
        /// Which.
        record: DnsRecordId,
    },
    /// Names the servers to ask about a domain.
    CreateUpstream {
        /// The network whose hosts ask there.
        network: NetworkId,
        /// The domain.
        domain: DnsName,
        /// Whom to ask, in order.
        servers: Vec<SocketAddr>,
    },
    /// Names other servers.
    UpdateUpstream {
        /// Which.
        upstream: UpstreamId,
        /// Whom to ask, in order.
        servers: Vec<SocketAddr>,
    },
    /// Leaves a domain to the usual servers again.
    DeleteUpstream {
        /// Which.
        upstream: UpstreamId,
    },
    /// Brings intent to what a document says.
    Import {
        /// Its records. What is secret of them does not count.
        records: Vec<Record>,
        /// Whether what is not among them goes.
        prune: bool,
        /// The number of the last change that whoever imports has seen: nothing is done after another one.
        seen: Option<u64>,
    },
    /// Removes nodes, switches clients off, and asks hosts for new keys, whose time has come.
    Sweep {
        /// Hosts that are away, as far as is known: none waits for their new keys.
        away: BTreeSet<HostId>,
    },
    /// A host's own settings. What they leave open stays as it is.
    OwnSettings(HostSettings),
    /// A host takes part in one of its networks, or pauses.
    OwnSwitch(NodeSwitch),
    /// A host has another WireGuard key, which it proved to have.
    OwnKey(WgPublicKey),
    /// A host has agreed another channel, which both ends can make.
    OwnChannel {
        /// The server's key that it was agreed with.
        server: SealingPublicKey,
        /// What the agreement sends over.
        encapsulated: SealingPublicKey,
    },
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
            Self::SetGroups { .. } => "set-groups",
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
            Self::RotateKeys { .. } => "rotate-keys",
            Self::RemoveHost { .. } => "remove-host",
            Self::AddNode { .. } => "add-node",
            Self::UpdateNode { .. } => "update-node",
            Self::RemoveNode { .. } => "remove-node",
            Self::CreateClient(_) => "create-client",
            Self::UpdateClient { .. } => "update-client",
            Self::DeleteClient { .. } => "delete-client",
            Self::CreateEgress(_) => "create-egress",
            Self::UpdateEgress { .. } => "update-egress",
            Self::DeleteEgress { .. } => "delete-egress",
            Self::CreatePolicy(_) => "create-policy",
            Self::UpdatePolicy { .. } => "update-policy",
            Self::DeletePolicy { .. } => "delete-policy",
            Self::CreatePolicyTest { .. } => "create-policy-test",
            Self::DeletePolicyTest { .. } => "delete-policy-test",
            Self::CreateDnsRecord { .. } => "create-dns-record",
            Self::UpdateDnsRecord { .. } => "update-dns-record",
            Self::DeleteDnsRecord { .. } => "delete-dns-record",
            Self::CreateUpstream { .. } => "create-upstream",
            Self::UpdateUpstream { .. } => "update-upstream",
            Self::DeleteUpstream { .. } => "delete-upstream",
            Self::Import { .. } => "import",
            Self::Sweep { .. } => "sweep",
            Self::OwnSettings(_) => "own-settings",
            Self::OwnSwitch(_) => "own-switch",
            Self::OwnKey(_) => "own-key",
            Self::OwnChannel { .. } => "own-channel",
            Self::OwnLeave(_) => "own-leave",
        }
    }
}
