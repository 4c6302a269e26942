//! Commands that build and start something for people to use: the demo, the server, the benchmarks.

use std::ffi::OsStr;

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

/// The benchmarks, optimised. Those that are programs of their own need neither the lab nor what it needs.
pub(crate) fn bench(name: Option<&str>, more: &[String]) -> Result<()> {
    match name {
        Some("fleet") => fleet(more),
        Some("dns") => dns(more),
        Some("cluster") => cluster(more),
        _ => {
            requirements::for_demo()?;
            run(cargo(&["build", "--release", "--workspace", "--bins", "--locked"]))?;
            let all: Vec<&str> = name.into_iter().chain(more.iter().map(String::as_str)).collect();
            measure("netloom-bench", &all)
        }
    }
}

/// Runs a program of `testkit` that measures.
fn measure(program: &str, arguments: &[impl AsRef<OsStr>]) -> Result<()> {
    let mut command =
        cargo(&["run", "--release", "--quiet", "--locked", "-p", "testkit", "--bin", program, "--"]);
    command.args(arguments);
    run(command)
}

/// Thousands of simulated agents against the real server.
fn fleet(more: &[String]) -> Result<()> {
    requirements::for_build()?;
    let programs = ["-p", "server", "--bin", "netloom-server", "-p", "testkit", "--bin", "netloom-fleet"];
    run(cargo(&[&["build", "--release", "--locked"], &programs[..]].concat()))?;
    measure("netloom-fleet", more)
}

/// Several servers, a database and a broker, which are killed while simulated agents and real ones go on.
fn cluster(more: &[String]) -> Result<()> {
    requirements::for_tests(false)?;
    let programs = ["-p", "server", "--bin", "netloom-server", "-p", "agent", "--bin", "netclient"];
    let own = ["-p", "testkit", "--bin", "netloom-cluster"];
    run(cargo(&[&["build", "--release", "--locked"], &programs[..], &own[..]].concat()))?;
    measure("netloom-cluster", more)
}

/// Our DNS server beside another one.
fn dns(more: &[String]) -> Result<()> {
    requirements::for_dns_bench()?;
    measure("netloom-dns-bench", more)
}
