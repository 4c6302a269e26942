//! Systems that Netloom cannot configure yet: the same names as in `linux`, and one clear error.
//!
//! Not for anything else. It keeps true that no `Machine` exists there, so that nothing can be asked of one.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::bail;
use ipnet::IpNet;
use reconcile::{Actual, LinkKind, Look, Op, Resolver};
use wire::{Facts, WgSecret};

use crate::{Choice, MachineOptions, Notice, ResolverApplied, ResolverOptions};

/// The hands, which nobody has here.
#[derive(Debug)]
pub enum Machine {}

/// An open ear, which nobody has here.
#[derive(Debug)]
pub enum Watch {}

impl Machine {
    /// Fails: this system is not supported yet.
    pub fn open(_: MachineOptions) -> anyhow::Result<Self> {
        bail!("netclient cannot configure {} yet: it runs on Linux", std::env::consts::OS)
    }

    /// Whose WireGuard this machine can offer.
    pub async fn kind(&self, _: Choice) -> anyhow::Result<LinkKind> {
        match *self {}
    }

    /// What exists under our link's name.
    pub async fn observe(&self) -> anyhow::Result<Actual> {
        match *self {}
    }

    /// The link of our name as it is seen from outside, and what is around it.
    pub async fn look_at_link(&self) -> anyhow::Result<Look> {
        match *self {}
    }

    /// Carries out one op.
    pub async fn execute(&self, _: &Op, _: &WgSecret) -> anyhow::Result<()> {
        match *self {}
    }

    /// Carries out ops in their order.
    pub async fn execute_all(&self, _: &[Op], _: &WgSecret) -> Vec<anyhow::Result<()>> {
        match *self {}
    }

    /// Notices from now on.
    pub async fn watch(&self) -> anyhow::Result<Watch> {
        match *self {}
    }

    /// The machine's own addresses.
    pub async fn local_addresses(&self) -> anyhow::Result<BTreeSet<IpNet>> {
        match *self {}
    }

    /// The networks inside this machine.
    pub async fn inside_networks(&self) -> anyhow::Result<BTreeSet<IpNet>> {
        match *self {}
    }
}

impl Watch {
    /// Waits until something changed.
    pub async fn changed(&mut self) -> anyhow::Result<Notice> {
        match *self {}
    }
}

/// The machine's facts, as far as they are the same everywhere.
pub fn facts() -> Facts {
    Facts { os: std::env::consts::OS.to_owned(), arch: std::env::consts::ARCH.to_owned(), ..Facts::default() }
}

/// The hands for the resolver, which nobody has here.
#[derive(Debug)]
pub enum ResolverHands {}

/// A watch on the resolver, which nobody has here.
#[derive(Debug)]
pub enum ResolverWatch {}

impl ResolverHands {
    /// Fails: this system is not supported yet.
    pub async fn detect(_: ResolverOptions) -> anyhow::Result<Self> {
        bail!("netclient cannot tell the resolver of {} yet: it can on Linux", std::env::consts::OS)
    }

    /// Finds out again.
    pub async fn detect_again(&mut self) -> anyhow::Result<bool> {
        match *self {}
    }

    /// Tells the resolver.
    pub async fn apply(&mut self, _: &Resolver) -> anyhow::Result<ResolverApplied> {
        match *self {}
    }

    /// Takes back all that was told.
    pub async fn restore(&mut self) -> anyhow::Result<bool> {
        match *self {}
    }

    /// The name servers that this machine asks without us.
    pub async fn upstreams(&self, _: &[IpAddr]) -> anyhow::Result<Vec<SocketAddr>> {
        match *self {}
    }

    /// A watch for all that may change what `upstreams` says.
    pub fn watch(&self) -> anyhow::Result<ResolverWatch> {
        match *self {}
    }
}

impl ResolverWatch {
    /// Waits for a change.
    pub async fn changed(&mut self) -> anyhow::Result<()> {
        match *self {}
    }
}
