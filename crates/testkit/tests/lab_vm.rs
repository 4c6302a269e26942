//! The virtual machine: Debian's kernel with its own WireGuard, and the lab inside of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and so do its parts")]

mod lab_common;

use std::time::Duration;

use lab_common::two_machines_ping;
use testkit::lab::{Lab, Machine};
use testkit::vm::{Vm, VmCommand, VmOutput, is_left_out};

/// Set for the tests of this file that run inside of the virtual machine.
const INSIDE: &str = "NETLOOM_LAB_IN_VM";

fn run(command: &VmCommand) -> VmOutput {
    let vm = Vm::prepare(|_step| ()).unwrap();
    vm.run(command, &mut std::io::sink()).unwrap()
}

#[test]
fn a_command_in_the_virtual_machine_keeps_words_output_and_exit_code() {
    if is_left_out("a test of the virtual machine") {
        return;
    }
    let mark = "/tmp/netloom-vm-test";
    let script = format!(
        "printf '%s|' \"$@\" \"$A\" \"$(pwd)\"; touch {mark} && echo wrote; touch /usr/x 2> /run/said || echo refused; exit 7"
    );
    let command =
        VmCommand::new("sh").args(["-c", &script, "sh", "it's", "two words"]).env("A", "b c").folder("/usr");
    let output = run(&command);
    assert_eq!(output, VmOutput { status: 7, output: "it's|two words|b c|/usr|wrote\nrefused\n".to_owned() });
    assert!(!std::path::Path::new(mark).exists(), "the guest wrote to the host");
}

#[test]
fn a_command_that_does_not_end_is_ended_with_the_machine() {
    if is_left_out("a test of the virtual machine") {
        return;
    }
    let vm = Vm::prepare(|_step| ()).unwrap();
    let command = VmCommand::new("sh").args(["-c", "sleep 600"]).limit(Duration::from_secs(8));
    let error = format!("{:#}", vm.run(&command, &mut std::io::sink()).unwrap_err());
    assert!(error.contains("had not ended in time"), "{error}");
}

#[test]
fn the_lab_works_in_the_virtual_machine_with_the_kernels_wireguard() {
    if is_left_out("a test of the virtual machine") {
        return;
    }
    let command = VmCommand::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "two_machines_talk_through_the_kernels_wireguard",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(INSIDE, "1")
        .env("RUST_BACKTRACE", "0");
    let output = run(&command).success().unwrap();
    assert!(
        output.output.contains("1 passed") && output.output.contains("tunnel works"),
        "{}",
        output.output
    );
}

/// The part of the test above that runs inside.
#[test]
fn two_machines_talk_through_the_kernels_wireguard() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    for lab in [Lab::new("vm").unwrap(), Lab::rootless("vm").unwrap()] {
        let (a, b) = two_machines_ping(&lab);
        let (key_a, key_b) = (tunnel(&a, 1), tunnel(&b, 2));
        peer(&a, &key_b, 2);
        peer(&b, &key_a, 1);
        a.ping("10.77.0.2".parse().unwrap()).unwrap();
        let shown = a.run("wg", ["show"]).unwrap().stdout;
        assert!(shown.contains("latest handshake"), "{shown}");
        println!("tunnel works");
    }
}

fn tunnel(machine: &Machine, number: u8) -> String {
    let script = format!(
        "set -e; umask 077; wg genkey > /run/key; ip link add wg0 type wireguard
        wg set wg0 private-key /run/key listen-port 51820; ip addr add 10.77.0.{number}/24 dev wg0; ip link set wg0 up
        wg pubkey < /run/key"
    );
    machine.run("sh", ["-c", &script]).unwrap().stdout.trim().to_owned()
}

fn peer(machine: &Machine, key: &str, number: u8) {
    let allowed = format!("10.77.0.{number}/32");
    let endpoint = format!("10.1.0.{number}:51820");
    machine.run("wg", ["set", "wg0", "peer", key, "allowed-ips", &allowed, "endpoint", &endpoint]).unwrap();
}
