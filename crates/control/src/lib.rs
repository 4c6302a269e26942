//! The server's brain: commands become changes or refusals (`decide`), changes become intent (`apply`), and intent with
//! inventory becomes what each host must know (`plan`).
//!
//! Pure: no files, sockets, clock or randomness; `Env` brings what a decision needs of them. It keeps true that authorisation
//! is decided here and nowhere else, that `decide` changes nothing, and that no secret comes in: shells bring digests.

mod actor;
mod allocate;
mod bits;
mod change;
mod command;
mod decide;
mod env;
mod intent;
mod inventory;
pub mod plan;
pub mod policy;
mod record;
mod rejection;

pub use actor::Actor;
pub use change::{ActorName, Change, RecordChange};
pub use command::{
    ClientEdit, Command, Edit, EgressEdit, NetworkEdit, NewClient, NewEgress, NewPolicy, NodeEdit,
    PolicyEdit, Register, SetEdit,
};
pub use decide::{
    authenticate, authorise_administration, authorise_reading, decide, next_turn, usual_gateways,
};
pub use env::Env;
pub use intent::{Damaged, Differences, Intent, Violation, apply};
pub use inventory::{ClientSession, Door, Effect, HostInventory, Inventory};
pub use record::{Kind, Noun, Record, RecordKey, UnknownKind};
pub use rejection::{AddressList, Class, Names, NodeAt, RecordName, Rejection, WayOut};
