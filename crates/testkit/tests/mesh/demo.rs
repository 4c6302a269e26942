//! `netloom-demo`, as a newcomer meets it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::ensure;
use testkit::house::alone;
use testkit::lab::{Signal, eventually};

/// What the demo leaves in this folder is what it would leave in `/tmp`.
struct Demo {
    folder: tempfile::TempDir,
}

impl Demo {
    fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("netloom-demo-test-").tempdir().unwrap() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netloom-demo"));
        command.env("TMPDIR", self.folder.path()).stdin(Stdio::null());
        command
    }

    fn left(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

#[test]
fn the_demo_shows_that_every_pair_works_and_leaves_nothing() {
    let _alone = alone();
    let demo = Demo::new();
    let output = demo.command().args(["--once", "--machines", "4"]).output().unwrap();
    let (table, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{table}\n{said}");
    assert!(table.contains("12 of 12 ways work"), "{table}");
    assert!(table.contains("LAN") && table.contains("direct"), "{table}");
    assert_eq!(demo.left(), Vec::<PathBuf>::new());
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing() {
    let _alone = alone();
    let demo = Demo::new();
    let mut child = demo.command().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_for_table(&mut child);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    assert!(child.wait().unwrap().success(), "a demo that is ended has done its work");
    eventually(Duration::from_secs(20), || {
        ensure!(demo.left().is_empty(), "left behind: {:?}", demo.left());
        Ok(())
    })
    .unwrap();
}

/// Reads until the first table and what to type next were shown.
fn wait_for_table(child: &mut Child) {
    use std::io::{BufRead as _, BufReader};
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut guide = false;
    for line in lines.by_ref().map_while(Result::ok) {
        guide |= line.contains("netclient status");
        if line.contains("ways work") {
            assert!(guide, "what to type next comes first");
            // The pipe must stay open: a demo that cannot show its table ends.
            std::thread::spawn(move || lines.for_each(drop));
            return;
        }
    }
    panic!("the demo ended without a table");
}
