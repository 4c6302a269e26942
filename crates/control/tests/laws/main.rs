//! The laws of the server's brain, over random histories of commands (also ones that are refused) and observations.

#![allow(clippy::unwrap_used, reason = "tests")]

mod history;
mod import;
mod intent;
mod plan;
mod policy;
mod pools;
mod rotation;
mod shell;
mod sight;
mod wild;
