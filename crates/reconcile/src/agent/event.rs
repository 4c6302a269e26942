//! What the agent hears and what it wants done: the words between `Agent` and its shell.

use std::collections::BTreeSet;

use model::{Endpoint, Generation, MemberId, NetworkId, SealingPublicKey, WgPublicKey};
use wire::{ClientSeen, Delta, Down, Facts, HostMap, Membership, Outcome, Refusal, RefusalCode, Report};

/// Why the server gave no map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskFailure {
    /// It cannot be reached, or its answer cannot be read.
    Unreachable,
    /// It has too much to do; it may say for how many seconds.
    Busy(Option<u32>),
    /// It does not know this host any more.
    Removed,
    /// It refused for another reason, such as clocks that differ.
    Refused,
}

impl From<&Refusal> for AskFailure {
    fn from(refusal: &Refusal) -> Self {
        match refusal.code {
            RefusalCode::UnknownHost => Self::Removed,
            RefusalCode::Busy => Self::Busy(refusal.retry_after),
            RefusalCode::UnknownKey
            | RefusalCode::ExpiredKey
            | RefusalCode::SpentKey
            | RefusalCode::ClockSkew
            | RefusalCode::NotProved
            | RefusalCode::Invalid
            | RefusalCode::Internal
            | RefusalCode::Other => Self::Refused,
        }
    }
}

/// What the server said to an agent that asked for its map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What the agent has is current.
    Current,
    /// What it missed.
    Delta(Delta),
    /// The whole map, put together of its parts.
    Whole(HostMap),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentEvent {
    /// Connected to the broker, and subscribed to the host's map topic.
    BrokerUp,
    /// Connecting failed, or the connection was lost.
    BrokerDown,
    /// The map names other brokers than the connection was made to, or other ways to prove oneself. It was dropped.
    BrokersChanged,
    /// A message came and was opened.
    Pushed(Down),
    /// A message came that cannot be opened or read.
    PushedUnreadable,
    /// The answer to `Ask`.
    Answered(Answer),
    /// `Ask` brought no answer.
    AskFailed(AskFailure),
    /// `netclient pull`, or another reason to ask at once.
    AskNow,
    /// The ops for this generation were carried out; these failed.
    CarriedOut(Generation, Vec<Outcome>),
    /// The machine's addresses with its WireGuard port, ordered.
    Local(Vec<Endpoint>),
    /// What the machine is.
    Facts(Facts),
    /// Clients that this host let in, by id, when `Clients` has news.
    Clients(Vec<ClientSeen>),
    /// `Rotate` is over: the server knows the new key.
    Rotated,
    /// `Rotate` failed: the device has the former key again or never had another.
    RotationFailed(Outcome),
    /// The channel that was agreed with this key of the server's counts.
    Agreed(SealingPublicKey),
    /// `Agree` failed, or nobody knows.
    AgreeFailed,
    /// The report reached server or broker.
    Reported,
    /// It did not.
    ReportFailed,
}

/// What of the map changed since it was last carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// Anything.
    Everything,
    /// These peers alone, and the DNS records of these networks.
    Peers {
        /// The peers that are new, changed or gone.
        members: BTreeSet<MemberId>,
        /// The keys they have and had.
        keys: BTreeSet<WgPublicKey>,
        /// The networks whose records are others.
        records: BTreeSet<NetworkId>,
    },
}

impl Changed {
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Everything, _) | (_, Self::Everything) => Self::Everything,
            (
                Self::Peers { mut members, mut keys, mut records },
                Self::Peers { members: more, keys: more_keys, records: more_records },
            ) => {
                members.extend(more);
                keys.extend(more_keys);
                records.extend(more_records);
                Self::Peers { members, keys, records }
            }
        }
    }

    pub(super) fn by(map: &HostMap, delta: &Delta) -> Self {
        let Delta { base: _, generation: _, host, server, networks, networks_gone, .. } = delta;
        let Delta { peers, peers_gone, records, .. } = delta;
        // What catches up names all of this, changed or not.
        let own = host.as_ref().is_some_and(|host| *host != map.host);
        let doors = server.as_ref().is_some_and(|server| *server != map.server);
        let was = |id| map.networks.get(id).map(Membership::without_records);
        let another = networks.iter().any(|(id, now)| was(id).as_ref() != Some(now));
        if own || doors || another || !networks_gone.is_empty() {
            return Self::Everything;
        }
        let members: BTreeSet<MemberId> = peers.keys().chain(peers_gone).copied().collect();
        let before = members.iter().filter_map(|member| map.peers.get(member)).filter_map(|peer| peer.key);
        let keys = before.chain(peers.values().filter_map(|peer| peer.key)).collect();
        Self::Peers { members, keys, records: records.keys().copied().collect() }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentAction {
    /// Write `Agent::map` to disk. A failure is told to people, and does not stop what follows.
    Store,
    /// Make the machine what `Agent::map` says, then `CarriedOut`.
    CarryOut(Changed),
    /// The host was removed: make the machine as if we had never been there, and then forget the map (in this order: who
    /// dies in between is told again when it starts). Nothing follows.
    TakeDown,
    /// Connect to the broker and subscribe, then `BrokerUp` or `BrokerDown`. A connection that is there is dropped without
    /// a word: it is from where this machine was before it moved. Nothing of an earlier connection may come as an event.
    ConnectBroker,
    /// Say `online` on the presence topic once more. Whether it arrives does not matter: the roll is called again.
    SayOnline,
    /// The broker is back after it was away: `Paths::handle_server_back`.
    ServerBack,
    /// Ask for the map over HTTP, then `Answered` or `AskFailed`. Parts are put together with the map as it was when asking.
    Ask {
        /// What the agent has; none where a delta did not fit, so that the server goes by digests alone.
        have: Generation,
    },
    /// Make a new WireGuard key, switch the device to it, and tell the server, or switch back again soon; then `Rotated` or
    /// `RotationFailed`.
    Rotate,
    /// Agree a sealed channel with this key of the server's, if the one that counts was agreed with another; then `Agreed` or
    /// `AgreeFailed`.
    Agree {
        /// The key.
        server: SealingPublicKey,
    },
    /// Send this, over the broker if it is up and else over HTTP, then `Reported` or `ReportFailed`.
    Report(Report),
}

/// What `poll_deadline` is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentWait {
    /// Connecting to the broker again.
    Broker,
    /// Asking the server.
    Ask,
    /// Reporting.
    Report,
    /// Changing the key once more, or asking whether that is wanted.
    Rotate,
    /// Agreeing a channel.
    Agree,
}
