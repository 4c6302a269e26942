//! Systems that Netloom cannot configure yet: the same names as in `linux`, and one clear error.
//!
//! Not for anything else. It keeps true that no `Machine` exists there, so that nothing can be asked of one.

use std::collections::BTreeSet;

use anyhow::bail;
use ipnet::IpNet;
use reconcile::{Actual, LinkKind, LinkLook, Op};
use wire::{Facts, WgSecret};

use crate::{Choice, MachineOptions, Notice};

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

    /// The link of our name as it is seen from outside.
    pub async fn look_at_link(&self) -> anyhow::Result<Option<LinkLook>> {
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
