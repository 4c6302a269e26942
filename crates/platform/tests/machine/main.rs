//! The hands on real networks, each test in namespaces of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

mod common;
mod hands;
mod trouble;
mod vm;
mod watching;
