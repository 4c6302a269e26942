//! Commands that build and start something for people to use: the demo, the server, the benchmarks.

use anyhow::Result;

use crate::requirements;
use crate::run::{cargo, run};

/// The demo: a server and some machines, each in namespaces of its own.
pub(crate) fn demo(once: bool, machines: u8) -> Result<()> {
    requirements::for_demo()?;
    run(cargo(&["build", "--workspace", "--bins", "--locked"]))?;
    let machines = machines.to_string();
    let mut command = cargo(&["run", "--quiet", "--locked", "-p", "testkit", "--bin", "netloom-demo", "--"]);
    command.args(["--machines", &machines]);
    if once {
        command.arg("--once");
    }
    run(command)
}

/// Just the server.
pub(crate) fn server(arguments: &[String]) -> Result<()> {
    let mut command =
        cargo(&["run", "--release", "--locked", "-p", "server", "--bin", "netloom-server", "--"]);
    command.args(arguments);
    run(command)
}

/// The benchmarks, optimised. `fleet` and `dns` are programs of their own: they need neither the lab nor what it needs.
/// `cluster` needs more than the others.
pub(crate) fn bench(name: Option<&str>, more: &[String]) -> Result<()> {
    if name == Some("fleet") {
        return fleet(more);
    }
    if name == Some("dns") {
        return dns(more);
    }
    if name == Some("cluster") {
        return cluster(more);
    }
    requirements::for_demo()?;
    run(cargo(&["build", "--release", "--workspace", "--bins", "--locked"]))?;
    let mut command =
        cargo(&["run", "--release", "--quiet", "--locked", "-p", "testkit", "--bin", "netloom-bench", "--"]);
    command.args(name).args(more);
    run(command)
}

/// Thousands of simulated agents against the real server.
fn fleet(more: &[String]) -> Result<()> {
    requirements::for_build()?;
    let programs = ["-p", "server", "--bin", "netloom-server", "-p", "testkit", "--bin", "netloom-fleet"];
    run(cargo(&[&["build", "--release", "--locked"], &programs[..]].concat()))?;
    let mut command =
        cargo(&["run", "--release", "--quiet", "--locked", "-p", "testkit", "--bin", "netloom-fleet", "--"]);
    command.args(more);
    run(command)
}

/// Several servers, a database and a broker, which are killed while simulated agents and real ones go on.
fn cluster(more: &[String]) -> Result<()> {
    requirements::for_tests(false)?;
    let programs = ["-p", "server", "--bin", "netloom-server", "-p", "agent", "--bin", "netclient"];
    let own = ["-p", "testkit", "--bin", "netloom-cluster"];
    run(cargo(&[&["build", "--release", "--locked"], &programs[..], &own[..]].concat()))?;
    let mut command = cargo(&[&["run", "--release", "--quiet", "--locked"], &own[..], &["--"]].concat());
    command.args(more);
    run(command)
}

/// Our DNS server beside another one.
fn dns(more: &[String]) -> Result<()> {
    requirements::for_dns_bench()?;
    let mut command = cargo(&[
        "run",
        "--release",
        "--quiet",
        "--locked",
        "-p",
        "testkit",
        "--bin",
        "netloom-dns-bench",
        "--",
    ]);
    command.args(more);
    run(command)
}
