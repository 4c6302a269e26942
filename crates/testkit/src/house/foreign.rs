//! A machine that knows nothing of Netloom: plain `wg`, `wg-quick` and Debian's `wireguard-go`.
//!
//! Not for making configurations: what comes in here is what the server gave to a person. Keeps true that nothing of
//! ours runs on such a machine.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::time::patience;
use crate::lab::{Link, Machine, Switch, eventually};

/// The name of its interface, and of its configuration.
pub const APP: &str = "phone";
const LIMIT: Duration = Duration::from_secs(20);

/// As much of `resolvconf` as `wg-quick` uses: what is registered comes first, and the old file comes back.
const RESOLVCONF: &str = r#"#!/bin/sh
set -e
case $1 in
  -a) [ -e /run/resolv.before ] || cp /etc/resolv.conf /run/resolv.before; cat > /etc/resolv.conf ;;
  -d) [ ! -e /run/resolv.before ] || { cat /run/resolv.before > /etc/resolv.conf; rm /run/resolv.before; } ;;
  -l) cat /etc/resolv.conf ;;
esac
"#;

/// Such a machine.
#[derive(Debug)]
pub struct Foreign {
    machine: Machine,
    link: Link,
}

/// Two halves of a WireGuard key, in base64.
#[derive(Clone)]
pub struct KeyPair {
    /// The half that stays on the machine.
    pub private: String,
    /// The half that the server is given.
    pub public: String,
}

impl Foreign {
    /// Makes such a machine of a new one: plugs it in, and gives it the little it lacks.
    pub fn create(machine: Machine, switch: &Switch, addresses: &[&str], gateways: &[&str]) -> Result<Self> {
        let link = machine.attach(switch, addresses, gateways)?;
        machine.write("/usr/local/bin/resolvconf", RESOLVCONF)?;
        machine.run("chmod", ["755", "/usr/local/bin/resolvconf"])?;
        Ok(Self { machine, link })
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The machine's link.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// A key of its own, made by `wg`.
    pub fn key_pair(&self) -> Result<KeyPair> {
        let script = "umask 077; wg genkey | tee /run/key | wg pubkey; cat /run/key; rm /run/key";
        let said = self.machine.run("sh", ["-c", script])?.stdout;
        let (public, private) = said.trim().split_once('\n').context("`wg` made no key")?;
        Ok(KeyPair { private: private.to_owned(), public: public.to_owned() })
    }

    /// Comes in by a configuration, as `wg-quick up` does it.
    pub fn up(&self, configuration: &str) -> Result<()> {
        self.machine.write(&format!("/etc/wireguard/{APP}.conf"), configuration)?;
        self.machine.run("chmod", ["600", &format!("/etc/wireguard/{APP}.conf")])?;
        // Without the module this is what `wg-quick` falls back to anyway.
        let mut command = self.machine.command("wg-quick")?;
        command.env("WG_QUICK_USERSPACE_IMPLEMENTATION", "wireguard-go").args(["up", APP]);
        self.machine.finish(&mut command, patience(LIMIT))?.success()?;
        Ok(())
    }

    /// Goes out again, as `wg-quick down` does it.
    pub fn down(&self) -> Result<()> {
        self.machine.run("wg-quick", ["down", APP]).map(drop)
    }

    /// Out and in again by the same configuration: a session that the gateway has forgotten is begun anew at once.
    pub fn renew(&self) -> Result<()> {
        self.down()?;
        self.machine.run("wg-quick", ["up", APP]).map(drop)
    }

    /// Waits until WireGuard has had a handshake.
    pub fn handshaken(&self, limit: Duration) -> Result<()> {
        eventually(limit, || {
            let said = self.machine.run("wg", ["show", APP, "latest-handshakes"])?.stdout;
            ensure!(said.lines().any(|line| !line.ends_with("\t0")), "no handshake yet: {said}");
            Ok(())
        })
    }

    /// Whether it is really the foreign userspace WireGuard that runs.
    pub fn is_wireguard_go(&self) -> Result<()> {
        let script = "for each in /proc/[0-9]*; do readlink $each/exe; done; true";
        let said = self.machine.run("sh", ["-c", script])?.stdout;
        if said.lines().any(|program| program.ends_with("/wireguard-go")) {
            return Ok(());
        }
        bail!("on {} `wireguard-go` does not run, only:\n{said}", self.machine.name())
    }

    /// `dig` with these words, asked as the machine is set up; the lines of its short answer.
    pub fn dig(&self, words: &[&str]) -> Result<Vec<String>> {
        dig(&self.machine, words)
    }
}

/// `dig +short` on a machine; the lines of the answer.
pub fn dig(machine: &Machine, words: &[&str]) -> Result<Vec<String>> {
    let mut command: Command = machine.command("dig")?;
    command.args(["+short", "+tries=2", "+time=2"]).args(words);
    let said = machine.finish(&mut command, patience(LIMIT))?.success()?.stdout;
    Ok(said.lines().map(str::to_owned).collect())
}
