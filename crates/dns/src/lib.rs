//! DNS for names that we know, and a way on for those that we do not: shared by the agent and the server, knowing neither.
//!
//! Two halves. The pure one: [`Names`] holds what is known, [`answer()`] turns a request's bytes into a reply's,
//! [`coredns`] writes the same names for a foreign server. The shell, [`Server`], has the sockets: UDP and TCP on any
//! number of addresses, and the upstreams that foreign names are forwarded to.
//!
//! Not for deciding which names there are or who may know them: the owner does that, and gives each address that is
//! listened on to those who may ask there. No cache, no DNSSEC, no zone transfers.
//!
//! It keeps true that a reply to a name of ours never waits for anything, that whatever comes in is bounded (messages,
//! connections, questions under way), that no bytes make it panic, and that it is no open resolver.

mod answer;
pub mod coredns;
mod crowd;
mod foreign;
mod forward;
mod key;
mod lookup;
mod name;
mod names;
mod network;
mod question;
mod record;
mod serve;
mod snapshot;
mod socket;
mod stats;
mod tcp;
mod udp;
mod upstream;

pub use answer::{Answer, Terms, Transport, answer};
pub use foreign::Foreign;
pub use forward::{DomainRule, Forwarding};
pub use lookup::{AddressKind, lookup};
pub use name::{Name, NameError};
pub use names::{Edit, Names, RecordError};
pub use network::{MEMBER_TTL, Network};
pub use record::{Data, Record, Service, Text, TextError};
pub use serve::{ListenError, Options, Server};
pub use snapshot::{Snapshot, Zone};
pub use stats::Counts;
