//! Why a command is refused: what is wrong, where, and what to do. Each has a code that programs can rely on.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use model::{
    Addresses, ApiTokenId, ClientId, DnsName, DnsRecordId, EgressId, Endpoint, EnrollmentKeyId, HostId,
    HostName, NetworkId, NetworkName, NodeId, PolicyId, PolicyTestId, Service, Timestamp, Title, UpstreamId,
    UserId, UserName,
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
    /// A client has the WireGuard key.
    WireguardKeyOfClient = Conflict "wireguard-key-of-client"
        "a remote access client has this WireGuard key: it was copied; remove the key file here, so that a new key is made, and join again",
    /// A host or another client has the client's key.
    ClientKeyTaken { holder: String } = Conflict "client-key-taken"
        "{holder} has this WireGuard key already; make a new pair of keys for the client",
    /// Somebody in the network has the name, or a DNS record is there.
    NameInUse { name: HostName, network: NetworkName, holder: &'static str } = Conflict "name-in-use"
        "`{name}` is the name of {holder} in network `{network}` already; choose another name",
    /// A name with a meaning of its own.
    NameReserved { name: HostName } = Invalid "name-reserved"
        "machines give the name `{name}` a meaning of its own, whoever answers to it (themselves, their proxy, their tunnel); choose another name",
    /// Another egress range of the network has the name.
    EgressNameTaken { name: HostName, network: NetworkName } = Conflict "egress-name-taken"
        "there is an egress range named `{name}` in network `{network}` already; choose another name",
    /// Another policy of the network has the name.
    PolicyNameTaken { name: Title, network: NetworkName } = Conflict "policy-name-taken"
        "there is a policy named `{name}` in network `{network}` already; choose another name",
    /// A client has the address.
    AddressOfClient { address: IpAddr, client: HostName } = Conflict "address-of-client"
        "{address} is the address of client `{client}` already; choose another",
    /// The range shares addresses with an egress range as it is reached.
    RangeOverlapsEgress { range: IpNet, other: IpNet, egress: HostName, network: NetworkName } = Conflict "range-overlaps-egress"
        "{range} overlaps {other}, as which egress range `{egress}` of network `{network}` is reached; choose another range, or give one of two sites with the same range a `mapped` one",
    /// The range shares addresses with one behind a client.
    RangeOverlapsClient { range: IpNet, other: IpNet, client: HostName, network: NetworkName } = Conflict "range-overlaps-client"
        "{range} overlaps {other} behind client `{client}` of network `{network}`; choose another range",
    /// A router leads to the range already.
    LedToAlready { node: NodeAt, range: IpNet, egress: HostName, reached_as: IpNet } = Conflict "led-to-already"
        "{node} leads to {range} already, as egress range `{egress}`, which is reached as {reached_as}; use that one, or name another router",
    /// A host would lead to a range of a network that it is in.
    LeadsToOwnNetwork { host: HostName, range: IpNet, egress: HostName, other: IpNet, network: NetworkName } = Conflict "leads-to-own-network"
        "host `{host}` cannot lead to {range} (egress range `{egress}`) and be in network `{network}`, which is {other}: it could not tell the two apart; name another router, or keep it out of that network",
    /// A router's own endpoint lies in the range.
    RangeHoldsRouter { range: IpNet, egress: HostName, host: HostName, endpoint: Endpoint } = Conflict "range-holds-router"
        "{range} (egress range `{egress}`) holds {endpoint}, where its router `{host}` is reached: the way there would lead through itself; choose a smaller range, a `mapped` one, or another endpoint",
    /// A node of another network was named.
    NodeElsewhere { node: NodeAt, network: NetworkName } = Conflict "node-elsewhere"
        "{node} is not of network `{network}`; name a node of that network",
    /// A node that waits was named for a duty.
    NodePending { node: NodeAt } = Conflict "node-pending"
        "{node} still waits to be let in; approve it first",
    /// A node that lets no clients in was named as a gateway.
    NotAGateway { node: NodeAt } = Conflict "not-a-gateway"
        "{node} is no remote access gateway; give it that duty first, or name another node",
    /// A node that is no way to the internet was named as one.
    NotAnInternetGateway { node: NodeAt } = Conflict "not-an-internet-gateway"
        "{node} is no internet gateway; give it that duty first, or name another node",
    /// A full tunnel through a gateway that leads nowhere else.
    FullTunnelNeedsInternet { client: HostName, node: NodeAt } = Conflict "full-tunnel-needs-internet"
        "client `{client}` cannot send everything through {node}, which is no internet gateway; give it that duty first, name another gateway, or do without the full tunnel",
    /// Clients need the gateway.
    GatewayInUse { node: NodeAt, clients: Names } = Conflict "gateway-in-use"
        "clients name {node} as their gateway: {clients}; give them another one first",
    /// Clients would be left without a gateway.
    LastGateway { node: NodeAt, clients: Names } = Conflict "last-gateway"
        "{node} is the only gateway of clients {clients}; give them another one or remove them first, or remove the whole host",
    /// An egress range would be left without a router.
    LastRouter { node: NodeAt, egresses: Names } = Conflict "last-router"
        "{node} is the only router of egress ranges {egresses}; give them another one or remove them first, or remove the whole host",
    /// Nodes are reached through the node.
    RelayInUse { node: NodeAt, users: Names } = Conflict "relay-in-use"
        "{users} are reached through {node}; give them another relay or none first, or remove the whole host",
    /// The node is its network's hub.
    HubInUse { node: NodeAt } = Conflict "hub-in-use"
        "{node} is the hub of its network; name another hub or none first, or remove the whole host",
    /// Nodes or clients reach the internet through the node.
    InternetGatewayInUse { node: NodeAt, users: Names } = Conflict "internet-gateway-in-use"
        "{users} reach the internet through {node}; give them another internet gateway or none first",
    /// A node that is reached through another one would be a way for others.
    RelayedServes { node: NodeAt, relay: HostName, duties: Names } = Conflict "relayed-serves"
        "{node} cannot be reached through `{relay}` and be {duties} at once, that would be a chain; give it no relay, or take that from it first",
    /// The relay is itself reached through another one.
    RelayChain { node: NodeAt, relay: HostName, next: HostName } = Conflict "relay-chain"
        "{node} cannot be reached through `{relay}`, which is itself reached through `{next}`: that would be a chain; name `{next}` instead, or another node",
    /// Nodes that would become spokes are ways for others.
    HubServes { hub: HostName, network: NetworkName, serving: Names } = Conflict "hub-serves"
        "`{hub}` cannot be the hub of network `{network}` while these would be reached through it that others are reached through themselves: {serving}; take that from them first",
    /// A node that is reached through another one has one way to the internet.
    RelayedInternet { node: NodeAt, relay: HostName, gateway: HostName } = Conflict "relayed-internet"
        "{node} is reached through `{relay}` and so cannot use `{gateway}` as its internet gateway; use `{relay}` for both, or no relay",
    /// An internet gateway would use another.
    InternetGatewayUses { node: NodeAt, gateway: WayOut } = Conflict "internet-gateway-uses"
        "{node} cannot be an internet gateway and use {gateway} as its own; take one of the two from it",
    /// An internet gateway would use one of another network.
    InternetGatewayUsesElsewhere { node: NodeAt, gateway: WayOut } = Conflict "internet-gateway-uses-elsewhere"
        "{node} cannot be an internet gateway while that host uses {gateway} as its own; take one of the two from it",
    /// A host would have two ways to the internet.
    InternetUsedTwice { host: HostName, gateway: WayOut, other: WayOut } = Conflict "internet-used-twice"
        "host `{host}` cannot use {gateway} as its internet gateway besides {other}: all it sends goes one way; let it use one of them only",
    /// An expired client would be let in.
    ClientExpired { client: HostName, expired: Timestamp } = Conflict "client-expired"
        "client `{client}` expired at {expired}; give it a new expiry, or none, to let it in again",
    /// Tests of policies would fail.
    PolicyTestsFail { tests: Names } = Conflict "policy-tests-fail"
        "tests of policies say otherwise: {tests}; change the tests first, or the policy",
    /// A document's records do not go together, among themselves or with what is there.
    ImportBroken { reason: String } = Conflict "import-broken"
        "the document cannot be taken: {reason}; nothing was changed, mend the document, or import it with what is not in it removed (`--prune`)",
    /// A document's record could not be made by a command either.
    ImportRefused { record: String, why: Box<Rejection> } = Conflict "import-refused"
        "the document cannot be taken: {record}: {why}; nothing was changed",
    /// Something was changed since whoever imports has looked.
    ImportStale { seen: u64, now: u64 } = Conflict "import-stale"
        "other changes were made since you looked (number {now} is the last one, not {seen}); nothing was changed, look again",
    /// Whoever imports would not be an administrator any more.
    ImportLocksOut = Conflict "import-locks-out"
        "your own account would not be an administrator's afterwards; nothing was changed: add it to the document as one, import without removing what is not in it (`--prune`), or let another administrator import",
    /// A record stands at the name already that nothing may stand beside, or the new one is such.
    NotBesideCname { name: RecordName, network: NetworkName } = Conflict "not-beside-cname"
        "a CNAME stands alone at its name, and {name} in network `{network}` would have other records beside it; remove the others first, or choose another name",
    /// The name is a member's.
    RecordAtMember { name: RecordName, network: NetworkName, holder: &'static str } = Conflict "record-at-member"
        "{name} is the name of {holder} in network `{network}`; choose another name for the record",
    /// The same record is there.
    DnsRecordExists { name: RecordName, network: NetworkName } = Conflict "dns-record-exists"
        "network `{network}` has this very record at {name} already",
    /// Servers for the domain are named already.
    UpstreamExists { domain: DnsName, network: NetworkName } = Conflict "upstream-exists"
        "network `{network}` has name servers for `{domain}` already; change those",
    /// Servers were named for what we answer ourselves.
    UpstreamWithin { domain: DnsName, network: NetworkName, own: DnsName } = Conflict "upstream-within"
        "`{domain}` is within `{own}`, the domain of network `{network}`, which Netloom answers itself; choose another domain",
    /// Name servers are named for what would be ours.
    DomainHasUpstream { domain: DnsName, upstream: DnsName, network: NetworkName } = Conflict "domain-has-upstream"
        "network `{network}` has name servers for `{upstream}`, which is within `{domain}`; remove those first, or choose another domain",
    /// Another network has the domain, one within it, or one around it.
    DomainTaken { domain: DnsName, other: DnsName, network: NetworkName } = Conflict "domain-taken"
        "`{domain}` overlaps `{other}`, the domain of network `{network}`; choose another domain",
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
    /// More than is possible.
    TooMany { what: &'static str, given: usize, most: usize } = Invalid "too-many"
        "at most {most} {what} are possible, not {given}",
    /// None where one is needed.
    NoneGiven { what: &'static str } = Invalid "none-given" "at least one {what} is needed; name one",
    /// A registration asks for another address in a network that the host is in.
    AddressKept { host: HostName, network: NetworkName, has: AddressList, wanted: IpAddr } = Conflict "address-kept"
        "host `{host}` is in network `{network}` with {has} already and keeps that, so it cannot join with {wanted}; join without that address, and have an administrator change it (`netloom node update`)",
    /// An address in a registration that no network has.
    AddressNowhere { address: IpAddr } = Invalid "address-nowhere"
        "{address} lies in no network that this machine joins, or is one too many there; ask for one address of each family in each network",
    /// An address within a range.
    NotARange { given: IpNet, range: IpNet } = Invalid "not-a-range"
        "{given} is an address within a range; the range itself is {range}",
    /// Everything, or nearly.
    RangeTooLarge { range: IpNet } = Invalid "range-too-large"
        "{range} is too large (IPv4 ranges begin at /8, IPv6 ranges at /16); a way to everything is an internet gateway, a node's duty",
    /// Addresses with a meaning of their own.
    RangeReserved { range: IpNet, reserved: IpNet } = Invalid "range-reserved"
        "{range} overlaps {reserved}, which is not for routing between sites (this host, loopback, link-local, multicast or reserved); choose another range",
    /// A family that members have no addresses of.
    RangeFamily { range: IpNet, network: NetworkName } = Invalid "range-family"
        "network `{network}` has no addresses of the family of {range}, so nobody in it could reach that; make a network of that family",
    /// The mapped range is not as large.
    MappedUnequal { range: IpNet, mapped: IpNet } = Invalid "mapped-unequal"
        "{mapped} cannot stand for {range}: it must be of the same family and have the same prefix length",
    /// A router twice.
    RouterTwice { node: NodeAt } = Invalid "router-twice" "{node} is named twice as a router; give it one priority",
    /// A way through itself.
    ThroughItself { node: NodeAt } = Invalid "through-itself" "{node} cannot be its own relay or internet gateway; name another node",
    /// A test of more than one port.
    TestNeedsOnePort { service: Service } = Invalid "test-needs-one-port"
        "a test of policies is about one protocol and at most one port, not `{service}`; make one test for each",
    /// A time to live that is too long.
    TtlTooLong { ttl: u32, most: u32 } = Invalid "ttl-too-long" "a record may be kept for at most {most} seconds, not {ttl}",
    /// More text than a record holds.
    TextTooLong { bytes: usize, most: usize } = Invalid "text-too-long" "a TXT record holds at most {most} bytes, not {bytes}",
    /// Below the network's domain, the name would not fit into a DNS message.
    RecordNameTooLong { name: DnsName, domain: DnsName } = Invalid "record-name-too-long"
        "`{name}` below `{domain}` has more than the 253 characters that a DNS name can have; choose a shorter one",
    /// A CNAME at the domain itself.
    CnameAtDomain { network: NetworkName } = Invalid "cname-at-domain"
        "the domain of network `{network}` itself cannot be a CNAME; choose a name below it",
    /// A target of one label.
    TargetNotWhole { target: DnsName, example: DnsName } = Invalid "target-not-whole"
        "`{target}` is one label, and the target of a record is a whole name; for the one in this network write `{example}`",
    /// A CNAME that leads to itself.
    CnameToItself { target: DnsName } = Invalid "cname-to-itself" "`{target}` cannot be a CNAME for itself; name another target",
    /// A name server of the loopback.
    NameServerIsEach { server: SocketAddr } = Invalid "name-server-is-each"
        "{server} is each machine itself, and every host of the network would ask its own; give an address at which all of them reach the name server",
    /// A name server that cannot be asked.
    NoNameServer { server: SocketAddr } = Invalid "no-name-server"
        "{server} cannot be asked for names; give a server's address and port",
}

/// Addresses in a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressList(pub Addresses);

impl fmt::Display for AddressList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.0.iter().map(|ip| ip.to_string()).collect();
        f.write_str(&texts.join(" and "))
    }
}

/// A node in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAt {
    /// The host.
    pub host: HostName,
    /// The network.
    pub network: NetworkName,
}

impl fmt::Display for NodeAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host `{}` in network `{}`", self.host, self.network)
    }
}

/// An internet gateway that somebody uses, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayOut {
    /// Its host; none: it was removed.
    pub gateway: Option<HostName>,
    /// The network.
    pub network: NetworkName,
}

impl fmt::Display for WayOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.gateway {
            Some(host) => write!(f, "host `{host}` in network `{}`", self.network),
            None => write!(f, "one that was removed from network `{}`", self.network),
        }
    }
}

/// Where a record is, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordName(pub Option<DnsName>);

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(f, "`{name}`"),
            None => f.write_str("the domain itself"),
        }
    }
}

/// Things in a sentence: the first few, and how many more there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

impl Names {
    /// How many are named.
    const SHOWN: usize = 5;

    /// Names, as names are written in sentences.
    pub fn quoted<T: fmt::Display>(names: impl IntoIterator<Item = T>) -> Self {
        Self(names.into_iter().map(|name| format!("`{name}`")).collect())
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, more) = self.0.split_at(self.0.len().min(Self::SHOWN));
        f.write_str(&shown.join(", "))?;
        match more.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
