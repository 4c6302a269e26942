//! What a lab needs from the machine it runs on, and how the lab gets the right to make namespaces.
//!
//! Not for installing anything: callers show the sentences. Keeps true that a lab which cannot work says so before it
//! starts, naming the Debian package or the setting, and that no test is skipped in silence.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::bail;

/// Where commands of a lab are looked for, outside and inside of machines; users' own paths often lack `sbin`.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The commands that the lab itself runs, each with the Debian package it comes from.
const TOOLS: [(&str, &str); 12] = [
    ("bash", "bash"),
    ("find", "findutils"),
    ("hostname", "hostname"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("ping", "iputils-ping"),
    ("setpriv", "util-linux"),
    ("sha256sum", "coreutils"),
    ("umount", "mount"),
    ("unshare", "util-linux"),
];

/// Something this machine lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What is missing: a command, a device, a permission.
    pub what: String,
    /// The Debian package that brings it, if a package can.
    pub package: Option<&'static str>,
    /// One sentence: what to do.
    pub remedy: String,
}

impl Missing {
    pub(crate) fn tool(tool: &str, package: &'static str) -> Self {
        Self {
            what: format!("the command `{tool}`"),
            package: Some(package),
            remedy: format!("The command `{tool}` is missing: install the Debian package {package}."),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.remedy)
    }
}

/// How the lab may make namespaces on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// As the machine's root.
    Root,
    /// As root of a user namespace of its own.
    User,
}

impl Privilege {
    /// The arguments `unshare` needs for this privilege.
    pub(crate) fn unshare_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Root => &[],
            Self::User => &["--user", "--map-root-user"],
        }
    }

    /// The arguments `nsenter` needs for this privilege.
    pub(crate) fn nsenter_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Root => &[],
            Self::User => &["--user", "--preserve-credentials"],
        }
    }

    /// What the machine's script is told.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "user",
        }
    }

    fn works(self) -> bool {
        Command::new("unshare")
            .env("PATH", PATH)
            .args(self.unshare_arguments())
            .args(["--net", "--mount", "--pid", "--fork", "--", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// The best privilege that really works here.
    pub(crate) fn detect() -> Option<Self> {
        static FOUND: OnceLock<Option<Privilege>> = OnceLock::new();
        *FOUND.get_or_init(|| {
            if rustix::process::geteuid().is_root() && Self::Root.works() {
                return Some(Self::Root);
            }
            Self::User.works().then_some(Self::User)
        })
    }
}

/// Everything this machine lacks for a lab; empty when a lab can run.
pub fn requirements() -> Vec<Missing> {
    let mut missing: Vec<Missing> = TOOLS
        .iter()
        .filter(|(tool, _)| find_tool(tool).is_none())
        .map(|(tool, package)| Missing::tool(tool, package))
        .collect();
    if find_tool("unshare").is_some() && Privilege::detect().is_none() {
        missing.push(no_namespaces());
    }
    if !Path::new("/dev/net/tun").exists() {
        missing.push(Missing {
            what: "the device /dev/net/tun".to_owned(),
            package: None,
            remedy: "The device /dev/net/tun is missing: load the kernel module with `modprobe tun`, or pass the device into the container."
                .to_owned(),
        });
    }
    missing
}

/// Fails with one sentence for each thing that is missing.
pub(crate) fn require(missing: &[Missing]) -> anyhow::Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let sentences: Vec<String> = missing.iter().map(ToString::to_string).collect();
    bail!("{}", sentences.join("\n"))
}

/// The place of a command, looked for as the lab will look for it.
pub(crate) fn find_tool(tool: &str) -> Option<PathBuf> {
    PATH.split(':').map(|folder| Path::new(folder).join(tool)).find(|path| path.is_file())
}

/// Settings that forbid user namespaces: the file, the value that forbids, and the value to set.
const SWITCHES: [(&str, &str, &str); 3] = [
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
    ("user/max_user_namespaces", "0", "10000"),
];

fn no_namespaces() -> Missing {
    let what = "the permission to make namespaces".to_owned();
    let forbids = SWITCHES.iter().find(|(file, forbidden, _)| {
        std::fs::read_to_string(format!("/proc/sys/{file}")).is_ok_and(|value| value.trim() == *forbidden)
    });
    let remedy = match forbids {
        Some((file, _, allowed)) => format!(
            "User namespaces are switched off on this machine: run `sysctl -w {}={allowed}` as root, or run this as root.",
            file.replace('/', ".")
        ),
        None => "This process may make neither namespaces nor user namespaces: run it as root, outside of a container or in a privileged one."
            .to_owned(),
    };
    Missing { what, package: None, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_command_names_its_package() {
        let missing = Missing::tool("nft", "nftables");
        assert_eq!(missing.to_string(), "The command `nft` is missing: install the Debian package nftables.");
        let refused = require(&[missing]).unwrap_err();
        assert!(refused.to_string().contains("nftables"), "{refused}");
    }

    #[test]
    fn a_command_that_does_not_exist_is_not_found() {
        assert_eq!(find_tool("netloom-no-such-command"), None);
        assert!(find_tool("bash").is_some());
    }
}
