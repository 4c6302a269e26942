//! The agent's brain: what this machine should have (`desired`), what it has (`Actual`), the steps in between (`reconcile`
//! to `Op`s), the choice of endpoints (`Paths`), and what to do about server and broker (`Agent`).
//!
//! Not for touching anything: `platform` observes and executes, the agent's shell carries messages. Nothing here reads a
//! clock, a file, a socket or randomness; `now` and seeds are arguments. It keeps true that local settings never widen
//! access and that nothing of others is ever named in an op.

mod access;
mod actual;
mod agent;
mod around;
mod clients;
mod derived;
mod desired;
mod firewall;
mod gate;
mod left_out;
mod link;
mod meaning;
mod op;
mod path;
mod reach;
mod reconcile;
mod resolver;
mod router;
mod rule;
mod settings;
mod succession;
mod sysctl;
mod tunnel;

pub use actual::{Actual, ActualPeer, Device, Link, LinkLook, Look, Route, Surroundings};
pub use agent::{Agent, AgentAction, AgentEvent, AgentWait, Answer, AskFailure, Changed};
pub use around::{Around, Need};
pub use clients::Clients;
pub use derived::{Derived, Followed};
pub use desired::{Circumstances, Desired, DesiredFirewall, DesiredPeer, Interface, desired};
pub use firewall::{
    AddressSet, Ban, Family, Filter, Firewall, FirewallDigest, FirewallDigestError, FirewallLook,
    FirewallStep, Grant, Outward, Packet, PortRange, Ports, PrefixMap, PrefixMapError, Service, Services,
    SetChange, SetChanges, SetId, Side, StableHasher, Translation, Verdict, Way, diff as firewall_diff,
    element_digest,
};
pub use gate::{Gate, HeldBack, shut, shut_early};
pub use left_out::{LeftOut, LeftOutWhy};
pub use link::{LinkKind, LinkName, LinkNameError};
pub use op::Op;
pub use path::{
    Candidate, Obstacle, Own, PathAction, PathKind, PathStatus, PathWait, Paths, PeerView, Pointing,
    candidates,
};
pub use reconcile::{Conflict, conflict, reconcile, reconcile_followed, reconcile_link};
pub use resolver::{Resolver, ResolverChoice, ResolverChoiceError, ResolverWay};
pub use router::{Nonce, RouterAction, Routers};
pub use rule::{RULE_PRIORITIES, Rule, RuleMatch};
pub use settings::LocalSettings;
pub use succession::carry_endpoints_over;
pub use sysctl::{Kept, Sysctl};
pub use tunnel::Tunnel;

/// The routing protocol number (`ip route show proto 78`) that marks a route as ours. None of iproute2's names has it.
pub const ROUTE_PROTOCOL: u8 = 78;

/// The metric of our routes: higher than what kernels and network managers choose, so that where one of our ranges is also
/// the machine's own LAN, the LAN stays.
pub const ROUTE_METRIC: u32 = 20_044;

/// The main table: the machine's own routes, and ours to the networks' own ranges.
pub const ROUTE_TABLE: u32 = 254;

/// The table of what else is reached through members, which nothing that we send ourselves looks in: the ranges, and while a
/// full tunnel is on the networks too.
pub const RANGE_TABLE: u32 = 20_043;

/// The table of a full tunnel: a default route over our link, and below it one that is `unreachable`.
pub const TUNNEL_TABLE: u32 = 20_044;

/// The metric of the `unreachable` default routes in `TUNNEL_TABLE`: worse than any other there.
pub const UNREACHABLE_METRIC: u32 = 2_000_000_000;

/// The firewall mark of all that our WireGuard device sends (`NL`): a full tunnel lets it pass as if it were not there.
pub const FIREWALL_MARK: u32 = 0x4e4c;

/// The UDP port at which each agent answers the probes of others.
pub const PROBE_PORT: u16 = 51_823;
