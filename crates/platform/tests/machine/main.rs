//! The hands on real networks, each test in namespaces of its own.

mod common;
mod hands;
mod trouble;
mod watching;
