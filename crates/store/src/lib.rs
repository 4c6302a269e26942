//! The database: intent as records, the journal beside them, and the inventory, behind a trait that each backend fills.
//!
//! Not for deciding what changes (that is `control`), and not the state that reads are answered from: that is the one
//! value in memory, which is loaded from here once. It keeps true that an acknowledged commit is there after any crash, that
//! a commit is there wholly or not at all, and that no two commits have the same sequence number.
//!
//! # Why the journal and `follow` read different things
//!
//! The journal is read by people and exported, so password hashes and digests of secrets never enter it: they are put out of
//! each record as it is written there (`journal`). Another server, however, needs whole records, or nobody could log in at
//! it. Therefore `follow` takes from the journal only *which* records changed, and reads *what* they are now by key, both
//! in one snapshot. What it answers is thus the newest state, not each step to it. That is enough: intent is its
//! records, and whoever follows derives the rest (whom it touches, what is planned) from the records before, which it has,
//! and after, which it is given.

mod address;
mod commit;
mod database;
mod error;
mod journal;
mod last;
mod lease;
mod neutral;
mod place;
mod postgres;
mod record;
mod rows;
mod rqlite;
mod sqlite;
mod version;

pub use address::{Access, Address, Existing, Inspected, Password, inspect, open, restore};
pub use database::{Answer, Commit, Current, Database, Followed, InventoryRow, Loaded};
pub use error::{CommitError, StoreError};
pub use journal::{JournalEntry, JournalRecord};
pub use lease::{Held, Lease, Leased};
pub use place::Place;
pub use sqlite::Sqlite;
