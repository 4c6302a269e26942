//! Small and read-only disks: a test that starts itself again in a namespace where a folder is a disk of its own.
//!
//! Not for PostgreSQL's disk, which the cluster makes itself. It keeps true that a disk ends with the test that has it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a test that is to run on the disk finds the folder.
const FOLDER: &str = "NETLOOM_TEST_DISK";

/// The folder that is a disk of its own, for the test that was started again; none where the harness started it.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Runs a test of the same binary where a folder is a disk with these options of `tmpfs`, such as `size=3m` or `ro`.
///
/// # Panics
/// When the test fails, or there are no user namespaces.
pub fn run_on(options: &str, test: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let script = r#"mount -t tmpfs -o "$1" tmpfs "$2" && exec "$3" --exact "$4" --nocapture"#;
    run(script, options, folder.path(), test);
}

/// Runs a test of the same binary where this file can only be read, and its folder written.
///
/// # Panics
/// When the test fails, or there are no user namespaces.
pub fn run_with_read_only(file: &Path, test: &str) {
    let script = r#"
        mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$3" --exact "$4" --nocapture"#;
    let folder = file.parent().expect("a file is in a folder");
    run(script, &file.display().to_string(), folder, test);
}

fn run(script: &str, what: &str, folder: &Path, test: &str) {
    let this = std::env::current_exe().expect("the test runs");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", what])
        .args([folder.as_os_str(), this.as_os_str(), test.as_ref()])
        .env(FOLDER, folder)
        .output()
        .expect("`unshare` of util-linux is there");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success(),
        "needs user namespaces (kernel.unprivileged_userns_clone=1)\n{out}\n{err}"
    );
    assert!(out.contains("1 passed"), "{out}");
}
