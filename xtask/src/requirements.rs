//! What the tests and the demo need beside Rust: installed where that is possible, named where it is not.

use std::process::Command;

use anyhow::{Result, bail};

use crate::run::{is_there, output, run, say};

/// A program and the Debian package that has it.
struct Need {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

const fn need(program: &'static str, package: &'static str, why: &'static str) -> Need {
    Need { program, package, why }
}

const BUILD: &[Need] = &[need("cc", "gcc", "builds SQLite and the cryptography")];

const LAB: &[Need] = &[
    need("ip", "iproute2", "makes the lab's networks"),
    need("nft", "nftables", "makes the lab's NAT boxes"),
    need("unshare", "util-linux", "makes the lab's machines"),
    need("setpriv", "util-linux", "ends the lab's machines with the lab"),
    need("ping", "iputils-ping", "probes who reaches whom"),
    need("wg", "wireguard-tools", "checks our WireGuard from outside"),
];

const VM: &[Need] = &[
    need("qemu-system-x86_64", "qemu-system-x86", "boots a kernel that has WireGuard"),
    need("busybox", "busybox-static", "the virtual machine's first program"),
    need("modprobe", "kmod", "orders the kernel's modules"),
];

/// For building and for machines in namespaces.
pub(crate) fn for_demo() -> Result<()> {
    provide(&[BUILD, LAB].concat_needs())
}

/// For every test.
pub(crate) fn for_tests(with_vm: bool) -> Result<()> {
    let vm: &[Need] = if with_vm { VM } else { &[] };
    provide(&[BUILD, LAB, vm].concat_needs())
}

trait ConcatNeeds {
    fn concat_needs(&self) -> Vec<&'static Need>;
}

impl ConcatNeeds for [&'static [Need]] {
    fn concat_needs(&self) -> Vec<&'static Need> {
        self.iter().copied().flatten().collect()
    }
}

fn provide(needs: &[&Need]) -> Result<()> {
    let missing: Vec<&&Need> = needs.iter().filter(|need| !is_there(need.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    packages.dedup();
    let install = format!("apt-get install {}", packages.join(" "));
    for Need { program, package, why } in missing {
        say(&format!("missing: {program} ({why}); Debian and Ubuntu have it in the package {package}"));
    }
    if !is_root() || !is_there("apt-get") {
        bail!("some programs are missing; install them (`sudo {install}`) and run this again");
    }
    run(apt(&["update", "-qq"]))?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(packages);
    run(apt(&arguments))
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(std::process::Stdio::null());
    command
}

fn is_root() -> bool {
    let mut id = Command::new("id");
    id.arg("-u");
    output(id).is_some_and(|uid| uid.trim() == "0")
}
