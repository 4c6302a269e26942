//! What the lab's own tests share: a UDP socket inside of a machine, spoken to from outside.
//!
//! The probe is this very test binary, started again in the machine: each test file that uses it has a test named
//! [`PROBE`] which does nothing unless it was started as a probe.

#![allow(dead_code, reason = "no test file uses everything")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use testkit::lab::{Lab, Machine};

pub(crate) const PROBE: &str = "udp_probe";
const BIND: &str = "NETLOOM_LAB_PROBE";

/// A UDP socket in a machine.
pub(crate) struct Probe {
    child: Child,
    orders: ChildStdin,
    heard: Receiver<(SocketAddr, String)>,
    sent: Receiver<()>,
}

impl Probe {
    pub(crate) fn start(machine: &Machine, bind: &str) -> Self {
        let mut command = machine.command(std::env::current_exe().unwrap()).unwrap();
        command.args(["--exact", PROBE, "--nocapture"]).env(BIND, bind);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while lines.next().expect("the probe ended").unwrap() != "bound" {}
        let (sender, heard) = sync_channel(1024);
        let (confirm, sent) = sync_channel(1024);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line == "sent" {
                    let _ = confirm.send(());
                }
                let Some((from, text)) = line.split_once(' ') else {
                    continue;
                };
                let Ok(from) = from.parse() else { continue };
                if sender.send((from, text.to_owned())).is_err() {
                    return;
                }
            }
        });
        Self { child, orders, heard, sent }
    }

    /// Sends, and returns when the kernel has taken the datagram.
    pub(crate) fn send(&mut self, to: &str, text: &str) {
        writeln!(self.orders, "{to} {text}").unwrap();
        self.sent.recv_timeout(Duration::from_secs(20)).expect("the probe sends");
    }

    /// The next datagram; panics if none comes.
    pub(crate) fn hear(&self, text: &str) -> SocketAddr {
        let (from, heard) = self.heard.recv_timeout(Duration::from_secs(20)).expect("a datagram");
        assert_eq!(heard, text);
        from
    }

    /// Sends, and the other must hear it; where the other saw it come from.
    pub(crate) fn tell(&mut self, other: &Probe, to: &str, text: &str) -> SocketAddr {
        self.send(to, text);
        other.hear(text)
    }

    pub(crate) fn heard_nothing(&self) -> bool {
        self.heard.try_recv().is_err()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of the test named [`PROBE`].
#[expect(clippy::print_stdout, reason = "this is how a probe speaks to the test that started it")]
pub(crate) fn be_a_probe_if_asked() {
    let Ok(bind) = std::env::var(BIND) else { return };
    let socket = UdpSocket::bind(bind).unwrap();
    let ears = socket.try_clone().unwrap();
    println!("\nbound");
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = ears.recv_from(&mut buffer) {
            println!("{from} {}", String::from_utf8_lossy(&buffer[..length]));
        }
    });
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let (to, text) = line.split_once(' ').unwrap();
        // A refusal by the network is what some tests are about.
        let _ = socket.send_to(text.as_bytes(), to);
        println!("sent");
    }
    std::process::exit(0);
}

/// Two machines on one switch reach each other by IPv4 and IPv6.
pub(crate) fn two_machines_ping(lab: &Lab) -> (Machine, Machine) {
    let lan = lab.switch().unwrap();
    let (a, b) = (lab.machine("a").unwrap(), lab.machine("b").unwrap());
    a.attach(&lan, &["10.1.0.1/24", "fd01::1/64"], &[]).unwrap();
    b.attach(&lan, &["10.1.0.2/24", "fd01::2/64"], &[]).unwrap();
    a.ping("10.1.0.2".parse().unwrap()).unwrap();
    a.ping("fd01::2".parse().unwrap()).unwrap();
    b.ping("10.1.0.1".parse().unwrap()).unwrap();
    b.ping("fd01::1".parse().unwrap()).unwrap();
    (a, b)
}
