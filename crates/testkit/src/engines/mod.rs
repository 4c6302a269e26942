//! Database engines for tests, each started by the test that wants it: PostgreSQL as it is installed, a stand-in for rqlite,
//! and a cable that can be cut at any byte.
//!
//! Not for the product, and nothing of it is used here: the tests of `store` take these files in as they are (`#[path]`),
//! for `testkit` stands above `store` and cannot be asked from below. It keeps true that nothing which was started outlives
//! the process that started it, however that ends.

pub mod cable;
pub mod postgres;
pub mod rqlite;
