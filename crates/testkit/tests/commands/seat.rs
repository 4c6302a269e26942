//! A server of its own, somebody who types `netloom`, and machines that join.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use testkit::fleet::{Agent, PASSWORD, ServerProcess};
use testkit::programs;
use tokio::runtime::{Builder, Runtime};

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Went {
    line: String,
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl fmt::Display for Went {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, code, out, err } = self;
        write!(f, "`netloom {line}` ended with {code}\n--- stdout\n{out}\n--- stderr\n{err}")
    }
}

impl Went {
    /// It did what it was asked.
    #[track_caller]
    pub(crate) fn well(self) -> String {
        assert!(self.code == 0, "{self}");
        self.out
    }

    /// It did not; why.
    #[track_caller]
    pub(crate) fn badly(self) -> String {
        assert!(self.code == 1 && self.out.is_empty() && !self.err.is_empty(), "{self}");
        self.err
    }

    /// What it printed, read as JSON, however it ended.
    #[track_caller]
    pub(crate) fn read(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

/// Who types, and where.
pub(crate) struct Seat {
    folder: TempDir,
    server: ServerProcess,
    runtime: Runtime,
}

impl Seat {
    /// A new server, set up by its first administrator.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        let server = ServerProcess::start(&programs::find("netloom-server").unwrap(), &data).unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let seat = Self { folder, server, runtime };
        let url = seat.server.site.url().to_owned();
        let [code, password] = ["data/setup-code", "password"].map(|name| seat.file(name));
        seat.run(&format!(
            "setup --server {url} --accept-pin --context here --code-file {} --name admin --password-file {}",
            code.display(),
            password.display()
        ))
        .well();
        seat
    }

    /// A file of this test.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The server's address.
    pub(crate) fn url(&self) -> &str {
        self.server.site.url()
    }

    /// Types a command; its words have no blanks.
    pub(crate) fn run(&self, line: &str) -> Went {
        let mut command = Command::new(programs::find("netloom").unwrap());
        command.env_clear().env("HOME", self.folder.path()).args(line.split_whitespace());
        let output = command.output().unwrap();
        let [out, err] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Went { line: line.to_owned(), code: output.status.code().unwrap_or(-1), out, err }
    }

    /// Types a command with `--json`, which must succeed.
    #[track_caller]
    pub(crate) fn json(&self, line: &str) -> Value {
        let went = self.run(&format!("{line} --json"));
        assert!(went.code == 0, "{went}");
        went.read()
    }

    /// A machine joins by a key for these networks.
    pub(crate) fn joins(&self, name: &str, networks: &str) -> Agent {
        let made = self.json(&format!("key create for-{name} -n {networks}"));
        let token = made["token"].as_str().unwrap().parse().unwrap();
        self.runtime.block_on(Agent::join(&token, name)).unwrap()
    }
}
