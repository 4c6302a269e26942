//! Machines made of namespaces, and processes in them. What they are to prove is said by the tests.
//!
//! Invariant: nothing outlives the test; the namespaces hang on processes that end with it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Says what the test binary is when it is not a test.
pub(crate) const ROLE: &str = "DATAPLANE_TEST_ROLE";
/// The test that plays the role.
pub(crate) const PROCESS_TEST: &str = "process_in_the_lab";
const DEADLINE: Duration = Duration::from_secs(20);

/// A machine: a network and a mount namespace with its own `/run`, kept by a process that waits for us to die.
pub(crate) struct Machine {
    holder: Child,
    _leash: ChildStdin,
}

impl Machine {
    /// The first machine, in a user namespace of its own.
    pub(crate) fn first() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--mount", "cat"]);
        Self::held_by(command)
    }

    /// Another machine in the same user namespace, joined to the first by a cable.
    pub(crate) fn beside(&self) -> Self {
        let mut command = self.enter();
        command.args(["unshare", "--net", "--mount", "cat"]);
        let other = Self::held_by(command);
        self.sh(&format!("ip link add eth0 type veth peer name eth0 netns {}", other.holder.id()));
        for (machine, number) in [(self, 1), (&other, 2)] {
            machine.sh(&format!(
                "ip link set lo up; ip addr add 10.9.0.{number}/24 dev eth0; \
                 ip addr add fd09::{number}/64 dev eth0 nodad; ip link set eth0 up"
            ));
        }
        other
    }

    fn held_by(mut command: Command) -> Self {
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("unshare runs");
        let leash = holder.stdin.take().expect("piped");
        let machine = Self { holder, _leash: leash };
        let comm = format!("/proc/{}/comm", machine.holder.id());
        eventually("the namespaces", || std::fs::read_to_string(&comm).is_ok_and(|name| name == "cat\n"));
        machine.sh("mount -t tmpfs tmpfs /run");
        machine
    }

    pub(crate) fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.holder.id().to_string();
        command.args(["--target", &pid, "--user", "--preserve-credentials", "--net", "--mount", "--"]);
        command
    }

    pub(crate) fn try_sh(&self, script: &str) -> Output {
        self.enter().args(["sh", "-ec", script]).stdin(Stdio::null()).output().expect("nsenter runs")
    }

    pub(crate) fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{script}\n{stdout}{stderr}");
        stdout.trim().to_owned()
    }

    /// Starts this binary in a role and waits until it is ready.
    pub(crate) fn start(&self, role: &str) -> Process {
        let mut child = self
            .enter()
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", PROCESS_TEST, "--nocapture"])
            .env(ROLE, role)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut process = Process { child, lines };
        process.line_with("ready");
        process
    }

    /// A device named wg0 with a key; its public key.
    pub(crate) fn start_device(&self, number: u8, port: u16) -> (Process, String) {
        let process = self.start("device wg0");
        let public_key = self.sh(&format!(
            "umask 077; wg genkey > /run/key; wg set wg0 private-key /run/key listen-port {port}; \
             ip addr add 10.77.0.{number}/24 dev wg0; ip addr add fd77::{number}/64 dev wg0; ip link set wg0 up; \
             wg pubkey < /run/key"
        ));
        (process, public_key)
    }

    fn control_socket(&self) -> String {
        format!("/proc/{}/root/run/wireguard/wg0.sock", self.holder.id())
    }

    /// Speaks with the control socket as `wg` does.
    pub(crate) fn call(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.control_socket()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

pub(crate) struct Process {
    pub(crate) child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Process {
    pub(crate) fn line_with(&mut self, word: &str) -> String {
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            // The test runner writes its own words in front of ours.
            if let Some(at) = line.find(word) {
                return line[at..].to_owned();
            }
        }
        panic!("the process ended before it said {word:?}");
    }

    pub(crate) fn ends_well(&mut self) {
        let mut status = None;
        eventually("the end of the process", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{status:?}");
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
