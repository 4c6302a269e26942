//! Why a command is refused: what is wrong, where, and what to do. Each has a code that programs can rely on.

use std::net::IpAddr;

use ipnet::IpNet;
use model::{
    Addresses, ApiTokenId, ClientId, DnsRecordId, EgressId, EnrollmentKeyId, HostId, HostName, NetworkId,
    NetworkName, NodeId, PolicyId, PolicyTestId, Timestamp, Title, UpstreamId, UserId, UserName,
};

/// The class of a refusal; shells map it to a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nobody knows who asks.
    Unauthenticated,
    /// Whoever asks may not do this.
    Forbidden,
    /// What the command names is not there.
    NotFound,
    /// It does not go together with what is there.
    Conflict,
    /// The command makes no sense, whatever is there.
    Invalid,
}

macro_rules! rejections {
    ($($(#[doc = $doc:literal])* $variant:ident $({ $($field:ident: $type:ty),* $(,)? })?
        = $class:ident $code:literal $message:literal),* $(,)?) => {
        /// Why a command is refused.
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[allow(missing_docs, reason = "the fields say what they are, and the sentence says it again")]
        pub enum Rejection {
            $($(#[doc = $doc])* #[error($message)] $variant $({ $($field: $type),* })?,)*
        }

        impl Rejection {
            /// The class.
            pub const fn class(&self) -> Class {
                match self {
                    $(Self::$variant { .. } => Class::$class,)*
                }
            }

            /// The code: stable, for programs.
            pub const fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $code,)*
                }
            }

            /// Every code, for documentation.
            pub const CODES: &[&str] = &[$($code,)*];
        }
    };
}

rejections! {
    /// Who asks is not known (any more).
    NotLoggedIn = Unauthenticated "not-logged-in" "you are not logged in, or the log-in has ended; log in again",
    /// The token was good once.
    TokenExpired { expired: Timestamp } = Unauthenticated "token-expired"
        "this token expired at {expired}; log in again, or make a new token",
    /// The actor may not give this command.
    NotAllowed { command: &'static str } = Forbidden "not-allowed"
        "you may not do this (`{command}`); ask an administrator",
    /// A machine that is not known came without a key.
    KeyNeeded = Forbidden "key-needed"
        "this server does not know the machine: join it with a token (`netclient join -t TOKEN`)",
    /// No enrollment key has this secret.
    UnknownKey = Forbidden "unknown-key"
        "the server knows no such enrollment key: it was removed, or the token is another server's; ask for a new token",
    /// The enrollment key has expired.
    ExpiredKey { title: Title, expired: Timestamp } = Forbidden "expired-key"
        "the enrollment key `{title}` expired at {expired}; ask for a new token",
    /// The enrollment key has no use left.
    SpentKey { title: Title } = Forbidden "spent-key"
        "the enrollment key `{title}` was used as often as it may be; ask for a new token",
    /// No such network.
    NoSuchNetwork { network: NetworkId } = NotFound "no-such-network" "there is no network {network}; it may have been removed",
    /// No network of this name.
    NoNetworkNamed { network: NetworkName } = NotFound "no-network-named" "there is no network named `{network}`",
    /// No such host.
    NoSuchHost { host: HostId } = NotFound "no-such-host" "there is no host {host}; it may have been removed",
    /// No such node.
    NoSuchNode { node: NodeId } = NotFound "no-such-node" "there is no node {node}; it may have been removed",
    /// No such enrollment key.
    NoSuchEnrollmentKey { key: EnrollmentKeyId } = NotFound "no-such-enrollment-key"
        "there is no enrollment key {key}; it may have been removed",
    /// No such account.
    NoSuchUser { user: UserId } = NotFound "no-such-user" "there is no user {user}; the account may have been removed",
    /// No such token.
    NoSuchToken { token: ApiTokenId } = NotFound "no-such-token" "there is no token {token}; it may have ended",
    /// No such client.
    NoSuchClient { client: ClientId } = NotFound "no-such-client" "there is no client {client}; it may have been removed",
    /// No such egress range.
    NoSuchEgress { egress: EgressId } = NotFound "no-such-egress"
        "there is no egress range {egress}; it may have been removed",
    /// No such policy.
    NoSuchPolicy { policy: PolicyId } = NotFound "no-such-policy" "there is no policy {policy}; it may have been removed",
    /// No such test of policies.
    NoSuchPolicyTest { test: PolicyTestId } = NotFound "no-such-policy-test"
        "there is no test of policies {test}; it may have been removed",
    /// No such DNS record.
    NoSuchDnsRecord { record: DnsRecordId } = NotFound "no-such-dns-record"
        "there is no DNS record {record}; it may have been removed",
    /// No such upstream.
    NoSuchUpstream { upstream: UpstreamId } = NotFound "no-such-upstream"
        "there are no name servers {upstream} for a domain; they may have been removed",
    /// The host is not in the network it names.
    NotInNetwork { host: HostName, network: NetworkName } = NotFound "not-in-network"
        "host `{host}` is not in network `{network}`",
    /// There are accounts already.
    AlreadySetUp = Conflict "already-set-up" "this server is set up already; log in with an account",
    /// Another network has the name.
    NetworkNameTaken { name: NetworkName } = Conflict "network-name-taken"
        "there is a network named `{name}` already; choose another name",
    /// Another host has the name.
    HostNameTaken { name: HostName } = Conflict "host-name-taken"
        "there is a host named `{name}` already; choose another name",
    /// Another account has the name.
    UserNameTaken { name: UserName } = Conflict "user-name-taken"
        "there is a user named `{name}` already; choose another name",
    /// Another key has the title.
    TitleTaken { title: Title } = Conflict "title-taken"
        "there is an enrollment key titled `{title}` already; choose another title",
    /// Another record has a secret with this digest.
    SecretTaken = Conflict "secret-taken" "this secret is in use already; make a new random one",
    /// The ranges share addresses with another network's.
    RangesOverlap { range: IpNet, other: IpNet, network: NetworkName } = Conflict "ranges-overlap"
        "{range} overlaps {other} of network `{network}`; choose a range that no network has",
    /// No free range of the usual kind was found.
    NoRangeLeft = Conflict "no-range-left"
        "no free range is left in 10.0.0.0/8 to choose from; give the network's range yourself",
    /// Nodes are in the network.
    NetworkInUse { network: NetworkName, nodes: usize } = Conflict "network-in-use"
        "{nodes} nodes are in network `{network}`; remove them first, or force the removal",
    /// All addresses are handed out.
    NoAddressLeft { network: NetworkName, range: IpNet } = Conflict "no-address-left"
        "all addresses of {range} in network `{network}` are in use; remove nodes, or make a larger network",
    /// Another node has the address.
    AddressTaken { address: IpAddr, host: HostName } = Conflict "address-taken"
        "{address} is the address of host `{host}` already; choose another",
    /// The host is in the network, with other addresses.
    NodeExists { host: HostName, network: NetworkName, addresses: AddressList } = Conflict "node-exists"
        "host `{host}` is in network `{network}` already, as {addresses}; remove it from there first",
    /// Another host has the WireGuard key.
    WireguardKeyTaken = Conflict "wireguard-key-taken"
        "another host has this WireGuard key: two machines share one disk image or key file; remove the key file here, so that a new key is made, and join again",
    /// Nobody would be left to administer.
    LastAdministrator { name: UserName } = Conflict "last-administrator"
        "`{name}` is the last administrator; make another one first",
    /// The address is not in the network's ranges.
    AddressOutside { address: IpAddr, network: NetworkName } = Invalid "address-outside"
        "{address} is not in a range of network `{network}`",
    /// The address is a range's first or its broadcast address.
    AddressReserved { address: IpAddr, network: NetworkName } = Invalid "address-reserved"
        "{address} stands for the whole range in network `{network}` (first or broadcast address); choose another",
    /// A key that could never be used.
    NoUses = Invalid "no-uses" "an enrollment key needs at least one use",
    /// An end in the past.
    ExpiryPassed { expires: Timestamp, now: Timestamp } = Invalid "expiry-passed"
        "the expiry {expires} has passed: it is {now} now; choose a later one",
    /// More networks than one key may lead into.
    TooManyNetworks { given: usize, most: usize } = Invalid "too-many-networks"
        "an enrollment key leads into at most {most} networks, not {given}",
}

/// Addresses in a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressList(pub Addresses);

impl std::fmt::Display for AddressList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts: Vec<_> = self.0.iter().map(|ip| ip.to_string()).collect();
        f.write_str(&texts.join(" and "))
    }
}
