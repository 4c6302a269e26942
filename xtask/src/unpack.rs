//! Debian packages that tests need and that must not be installed: installing them would change how this machine resolves
//! names. They are downloaded and unpacked beside what cargo builds.
//!
//! Not for packages that may be installed (`requirements`). It keeps true that nothing outside of the target folder changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run::{is_there, run, say};

/// The packages, each with the reason.
const PACKAGES: [(&str, &str); 4] = [
    ("openresolv", "one of the two programs `resolvconf`"),
    ("resolvconf", "the other one"),
    ("systemd-resolved", "the resolver of most machines"),
    ("libsystemd-shared", "what it is linked with"),
];

/// Unpacks what is not there yet.
pub(crate) fn for_tests() -> Result<()> {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let folder = std::path::absolute(PathBuf::from(target).join("unpacked"))?;
    let missing = PACKAGES.iter().filter(|(package, _)| !folder.join(package).is_dir());
    let missing: Vec<&(&str, &str)> = missing.collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_there("apt-get") || !is_there("dpkg-deb") {
        bail!("the tests of the resolver need packages of Debian or Ubuntu, and `apt-get` is missing");
    }
    for (package, why) in missing {
        say(&format!("unpacking {package} ({why})"));
        unpack(package, &folder)?;
    }
    Ok(())
}

fn unpack(package: &str, folder: &Path) -> Result<()> {
    let draft = folder.join(format!(".{package}"));
    if draft.exists() {
        fs::remove_dir_all(&draft).with_context(|| format!("cannot remove {}", draft.display()))?;
    }
    fs::create_dir_all(&draft).with_context(|| format!("cannot make {}", draft.display()))?;
    let download = || {
        let mut command = Command::new("apt-get");
        command.args(["download", "-qq", package]).current_dir(&draft);
        command
    };
    if run(download()).is_err() {
        // The lists of packages are missing or old.
        let mut update = Command::new("apt-get");
        update.args(["update", "-qq"]);
        run(update)?;
        run(download())?;
    }
    let archive = archive_in(&draft)?;
    let mut extract = Command::new("dpkg-deb");
    extract.arg("-x").arg(&archive).arg(&draft);
    run(extract)?;
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
    fs::rename(&draft, folder.join(package)).with_context(|| format!("cannot put {package} in its place"))
}

fn archive_in(folder: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "deb") {
            return Ok(path);
        }
    }
    bail!("apt-get downloaded nothing into {}", folder.display())
}
