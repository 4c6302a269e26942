//! What the tests and the demo need beside Rust: installed where that is possible, named where it is not.

use std::path::{Path, PathBuf};
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
    need("bash", "bash", "the first process of each machine of the lab"),
    need("find", "findutils", "looks at the files of the lab's machines"),
    need("hostname", "hostname", "names the lab's machines"),
    need("ip", "iproute2", "makes the lab's networks"),
    need("mount", "mount", "gives the lab's machines folders of their own"),
    need("nft", "nftables", "makes the lab's NAT boxes"),
    need("ping", "iputils-ping", "probes who reaches whom"),
    need(
        "unshare",
        "util-linux",
        "makes the lab's machines, and with nsenter and setpriv enters and ends them",
    ),
    need("wg", "wireguard-tools", "looks at our WireGuard from outside"),
];

const TESTS: &[Need] = &[
    need("dbus-daemon", "dbus", "the bus of a systemd-resolved that only a test's machine has"),
    need("curl", "curl", "speaks to our API as other programs do"),
    need("dig", "bind9-dnsutils", "asks our DNS server as others do"),
    need("faketime", "faketime", "sets a machine's clock a day off"),
    need("iperf3", "iperf3", "loads tunnels with TCP"),
    need("mosquitto", "mosquitto", "a message broker that a test starts in a folder of its own"),
    need("mosquitto_ctrl", "mosquitto", "sets up that broker's accounts"),
    need("nats-server", "nats-server", "another message broker, as a test starts it"),
    need("named-checkzone", "bind9-utils", "judges the zone files that we write for other DNS servers"),
    need("postgres", "postgresql", "a database server that a test starts in a folder of its own"),
    need("strace", "strace", "kills a process at each of its steps in turn"),
    need("tcpdump", "tcpdump", "sees what really leaves a machine"),
    need("unbound", "unbound", "serves the zone files that we write, and stands for others' name servers"),
    need("wireguard-go", "wireguard-go", "a WireGuard that is not ours comes in as a client"),
    need("zbarimg", "zbar-tools", "reads our QR codes as a phone does"),
];

const DNS_BENCH: &[Need] = &[
    need("dnsperf", "dnsperf", "asks DNS servers as fast as they answer"),
    need("unbound", "unbound", "is measured beside our DNS server"),
];

const VM: &[Need] = &[
    need("qemu-system-x86_64", "qemu-system-x86", "boots a kernel that has WireGuard"),
    need("virtiofsd", VIRTIOFSD, "shows the virtual machine our files"),
    need("busybox", "busybox-static", "the virtual machine's first program"),
    need("modprobe", "kmod", "orders the kernel's modules"),
];

/// A package of its own from Debian 13 and Ubuntu 23.10 on; before that, part of qemu.
const VIRTIOFSD: &str = "virtiofsd";
const VIRTIOFSD_BEFORE: &str = "qemu-system-common";
/// Where programs lie that only other programs call.
const INNER_FOLDERS: [&str; 2] = ["/usr/lib/qemu", "/usr/libexec"];
/// Where Debian puts each version of PostgreSQL: below it `15/bin`, and so on.
const POSTGRES_FOLDER: &str = "/usr/lib/postgresql";
/// Services that their packages would start as the machine's own.
const SERVICES: [(&str, &str); 4] = [
    ("unbound", "unbound.service"),
    ("postgres", "postgresql.service"),
    ("mosquitto", "mosquitto.service"),
    ("nats-server", "nats-server.service"),
];

/// For building alone.
pub(crate) fn for_build() -> Result<()> {
    provide(&[BUILD].concat_needs())
}

/// For building and for machines in namespaces.
pub(crate) fn for_demo() -> Result<()> {
    provide(&[BUILD, LAB].concat_needs())
}

/// For building and for the figures of the DNS server.
pub(crate) fn for_dns_bench() -> Result<()> {
    provide_without_services(&[BUILD, DNS_BENCH].concat_needs())
}

/// Installing a server would start it as the machine's own: while it is installed, systemd is told not to.
fn provide_without_services(needs: &[&Need]) -> Result<()> {
    let systemctl = |word: &str, service: &str| {
        let mut command = Command::new("systemctl");
        command.args([word, "--runtime", service]);
        output(command)
    };
    let missing = SERVICES.iter().filter(|(program, _)| !has_program(program));
    let held: Vec<&str> = missing
        .filter(|(_, service)| systemctl("mask", service).is_some())
        .map(|(_, service)| *service)
        .collect();
    let provided = provide(needs);
    for service in held {
        if systemctl("unmask", service).is_none() {
            say(&format!("systemd still holds {service}: `systemctl unmask --runtime {service}` lets it go"));
        }
    }
    provided
}

/// For every test.
pub(crate) fn for_tests(with_vm: bool) -> Result<()> {
    let vm: &[Need] = if with_vm { VM } else { &[] };
    provide_without_services(&[BUILD, LAB, TESTS, vm].concat_needs())
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
    let missing: Vec<&&Need> = needs.iter().filter(|need| !is_met(need)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let can_install = is_root() && is_there("apt-get");
    if can_install {
        // Before anything is named: what a package is called depends on the release.
        run(apt(&["update", "-qq"]))?;
    }
    let mut packages: Vec<&str> = missing.iter().map(|need| package(need)).collect();
    packages.sort_unstable();
    packages.dedup();
    let install = format!("apt-get install {}", packages.join(" "));
    for need in missing {
        let (Need { program, package: _, why }, package) = (need, package(need));
        say(&format!("missing: {program} ({why}); Debian and Ubuntu have it in the package {package}"));
    }
    if !can_install {
        bail!("some programs are missing; install them (`sudo {install}`) and run this again");
    }
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(packages);
    run(apt(&arguments))
}

fn is_met(need: &Need) -> bool {
    has_program(need.program)
}

fn has_program(program: &str) -> bool {
    is_there(program)
        || INNER_FOLDERS.iter().any(|folder| Path::new(folder).join(program).is_file())
        || postgres_folders().iter().any(|folder| folder.join(program).is_file())
}

/// Debian keeps the versions of PostgreSQL apart, and none of them in the path.
fn postgres_folders() -> Vec<PathBuf> {
    let versions = std::fs::read_dir(POSTGRES_FOLDER).into_iter().flatten().filter_map(Result::ok);
    versions.map(|entry| entry.path().join("bin")).collect()
}

/// The package as this release of the system calls it.
fn package(need: &Need) -> &'static str {
    let known = |package: &str| {
        let mut command = Command::new("apt-cache");
        command.args(["show", "--no-all-versions", package]);
        output(command).is_some_and(|text| !text.trim().is_empty())
    };
    if need.package == VIRTIOFSD && !known(VIRTIOFSD) && known(VIRTIOFSD_BEFORE) {
        return VIRTIOFSD_BEFORE;
    }
    need.package
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
