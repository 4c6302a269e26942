//! `cargo xtask ci`: all checks, cheapest first.

use anyhow::{Result, bail};

use crate::run::{cargo, is_there, run, say};
use crate::{test, tidy};

/// Every check that must hold before a change lands.
pub(crate) fn ci() -> Result<()> {
    run(cargo(&["fmt", "--all", "--check"]))?;
    tidy::tidy()?;
    run(cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    let mut docs = cargo(&["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"]);
    // Private items are documented too, so links to them lead somewhere.
    docs.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links");
    run(docs)?;
    deny()?;
    codegen(true)?;
    test::test(false, None)
}

/// Licences, duplicates and sources. Advisories need the advisory database, which is a git repository: checked where it
/// can be reached, by `cargo deny check advisories`.
fn deny() -> Result<()> {
    if !is_there("cargo-deny") {
        say("cargo-deny is not installed; building it (once)");
        run(cargo(&["install", "cargo-deny", "--locked", "--version", "0.20.2"]))?;
    }
    run(cargo(&["deny", "--locked", "check", "licenses", "bans", "sources"]))
}

/// Writes `openapi/netloom.json` from the server's own routes, or checks that it is in step.
pub(crate) fn codegen(check: bool) -> Result<()> {
    const FILE: &str = "openapi/netloom.json";
    let mut command =
        cargo(&["run", "--quiet", "--locked", "-p", "server", "--bin", "netloom-server", "--", "openapi"]);
    say("netloom-server openapi");
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("`netloom-server openapi` failed ({})", output.status);
    }
    let there = std::fs::read(FILE).unwrap_or_default();
    if there == output.stdout {
        return Ok(());
    }
    if check {
        bail!("{FILE} is not what the server's routes say; run `cargo xtask codegen` and commit the result");
    }
    std::fs::write(FILE, output.stdout)?;
    say(&format!("wrote {FILE}"));
    Ok(())
}
