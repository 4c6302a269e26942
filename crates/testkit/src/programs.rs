//! Finds the programs under test: they lie beside the running test, where cargo built them.
//!
//! Not for building them. Keeps true that a missing program is told with what to type, rather than skipped.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// The program of this name, built with the same profile as the one that runs.
pub fn find(name: &str) -> Result<PathBuf> {
    let running = std::env::current_exe().context("the running program has no path")?;
    let program = folder_of(&running).context("the running program lies in no folder")?.join(name);
    if !program.is_file() {
        bail!("{} is missing: run `cargo build --workspace --bins` or `cargo xtask test`", program.display());
    }
    Ok(program)
}

/// Tests lie one folder deeper than programs.
fn folder_of(running: &Path) -> Option<&Path> {
    let folder = running.parent()?;
    if folder.ends_with("deps") || folder.ends_with("examples") {
        return folder.parent();
    }
    Some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_told_with_what_to_type() {
        let error = find("netloom-no-such-program").unwrap_err().to_string();
        assert!(error.contains("cargo xtask test"), "{error}");
    }

    #[test]
    fn programs_lie_above_tests() {
        let above = |path: &str| folder_of(Path::new(path)).map(Path::to_owned);
        assert_eq!(above("/t/debug/deps/x-1"), Some("/t/debug".into()));
        assert_eq!(above("/t/release/x"), Some("/t/release".into()));
    }
}
