//! Database engines for tests, each started by the test that wants it: PostgreSQL as it is installed, a stand-in for rqlite,
//! and what troubles them: a cable that can be cut at any byte, locks, and small disks.
//!
//! Not for the product, and nothing of it is used here: the tests of `store` take these files in as they are (`#[path]`),
//! for `testkit` stands above `store` and cannot be asked from below. It keeps true that nothing which was started outlives
//! the process that started it, however that ends.

pub mod cable;
pub mod disk;
pub mod postgres;
pub mod rqlite;
pub mod sqlite;
