//! The agent's brain: what this machine should have (`desired`), what it has (`Actual`), the steps in between (`reconcile`
//! to `Op`s), the choice of endpoints (`Paths`), and what to do about server and broker (`Agent`).
//!
//! Not for touching anything: `platform` observes and executes, the agent's shell carries messages. Nothing here reads a
//! clock, a file, a socket or randomness; `now` and seeds are arguments. It keeps true that local settings never widen
//! access and that nothing of others is ever named in an op.

mod actual;
mod agent;
mod derived;
mod desired;
mod firewall;
mod link;
mod meaning;
mod op;
mod path;
mod reconcile;
mod resolver;
mod settings;

pub use actual::{Actual, ActualPeer, Device, Link, LinkLook, Route};
pub use agent::{Agent, AgentAction, AgentEvent, AgentWait, Answer, AskFailure, Changed};
pub use derived::Derived;
pub use desired::{Desired, DesiredPeer, Interface, desired, desired_peer};
pub use firewall::{
    AddressSet, Family, Filter, Firewall, FirewallDigest, FirewallDigestError, FirewallLook, FirewallStep,
    Grant, Packet, PortRange, Ports, PrefixMap, PrefixMapError, Service, Services, SetChange, SetChanges,
    SetId, Side, StableHasher, Translation, Verdict, Way, diff as firewall_diff, element_digest,
};
pub use link::{LinkKind, LinkName, LinkNameError};
pub use op::Op;
pub use path::{
    Candidate, Obstacle, Own, PathAction, PathKind, PathStatus, PathWait, Paths, PeerView, Pointing,
    candidates,
};
pub use reconcile::{Conflict, conflict, reconcile, reconcile_link, reconcile_peers};
pub use resolver::{Resolver, ResolverChoice, ResolverChoiceError, ResolverWay};
pub use settings::LocalSettings;

/// The routing protocol number (`ip route show proto 78`) that marks a route as ours. None of iproute2's names has it.
pub const ROUTE_PROTOCOL: u8 = 78;

/// The metric of our routes: higher than what kernels and network managers choose, so that where one of our ranges is also
/// the machine's own LAN, the LAN stays.
pub const ROUTE_METRIC: u32 = 20_044;

/// The table of our routes: the main one.
pub const ROUTE_TABLE: u32 = 254;
