//! The lab's machines: what they share, what they do not, and what is left of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and so do its parts")]

mod lab_common;

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::ensure;
use lab_common::two_machines_ping;
use testkit::lab::{Lab, Machine, eventually};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn machines_on_one_switch_ping_each_other_as_root() {
    two_machines_ping(&Lab::new("ping").unwrap());
}

#[test]
fn machines_in_a_user_namespace_ping_each_other() {
    let lab = Lab::rootless("ping").unwrap();
    let (a, _b) = two_machines_ping(&lab);
    let user = a.run("sh", ["-c", "id -u; cat /proc/self/uid_map"]).unwrap().stdout;
    assert!(user.starts_with("0\n") && !user.contains("4294967295"), "{user}");
    a.reboot().unwrap();
    eventually(SOON, || a.ping("fd01::2".parse()?)).unwrap();
}

/// The run of this test file by a user without any rights, when this is run by root.
#[test]
fn a_user_without_rights_can_use_the_lab() {
    if !rustix::process::geteuid().is_root() {
        two_machines_ping(&Lab::new("user").unwrap());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for path in [folder.path(), &program] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
        .arg(&program)
        .args(["--exact", "machines_on_one_switch_ping_each_other_as_root"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn each_machine_has_files_names_and_processes_of_its_own() {
    let lab = Lab::new("own").unwrap();
    let (a, b) = (lab.machine("a").unwrap(), lab.machine("b").unwrap());
    for path in ["/etc/x/y", "/run/y", "/var/run/z", "/var/lib/x/y", "/tmp/y", "/usr/local/bin/y"] {
        a.write(path, "content\n").unwrap();
        assert_eq!(a.read(path).unwrap(), "content\n");
        assert!(!b.exists(path).unwrap(), "{path} is seen in another machine");
        assert!(!std::path::Path::new(path).exists(), "{path} is seen outside");
    }
    assert_eq!(a.read("/run/z").unwrap(), "content\n");
    assert_eq!(a.run("hostname", [""; 0]).unwrap().stdout, "a\n");
    assert_ne!(a.read("/etc/machine-id").unwrap(), b.read("/etc/machine-id").unwrap());
    let processes = b.run("sh", ["-c", "ls -d /proc/[0-9]*"]).unwrap().stdout;
    assert!(processes.lines().count() <= 3, "{processes}");
    assert_eq!(b.run("ls", ["/sys/class/net"]).unwrap().stdout, "lo\n");
}

#[test]
fn a_machine_cannot_write_to_the_host() {
    let lab = Lab::new("host").unwrap();
    let a = lab.machine("a").unwrap();
    for path in ["/usr/netloom-lab-test", "/etc/ssl/netloom-lab-test", "/srv/netloom-lab-test"] {
        let output = a.attempt("touch", [path]).unwrap();
        assert!(!output.status.success(), "{path} could be written");
    }
}

#[test]
fn the_program_under_test_is_seen_in_machines() {
    let lab = Lab::new("program").unwrap();
    let a = lab.machine("a").unwrap();
    let program = std::env::current_exe().unwrap();
    let output = a.run(program.to_str().unwrap(), ["--list"]).unwrap();
    assert!(output.stdout.contains("the_program_under_test_is_seen_in_machines"));
}

#[test]
fn a_failing_command_shows_machine_command_and_output() {
    let lab = Lab::new("failure").unwrap();
    let a = lab.machine("a").unwrap();
    let error = format!("{:#}", a.run("sh", ["-c", "echo said; echo cried >&2; exit 4"]).unwrap_err());
    for part in ["on a", "sh -c", "said", "cried", "4"] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
}

#[test]
fn a_command_that_hangs_is_killed_in_the_machine_too() {
    let lab = Lab::new("hang").unwrap();
    let a = lab.machine("a").unwrap();
    let error = a.finish(a.command("sleep").unwrap().arg("12345"), Duration::from_millis(200)).unwrap_err();
    assert!(format!("{error:#}").contains("sleep 12345"));
    eventually(SOON, || nothing_runs(&a, "sleep")).unwrap();
}

#[test]
fn nobody_has_no_rights() {
    for lab in [Lab::new("nobody").unwrap(), Lab::rootless("nobody").unwrap()] {
        let a = lab.machine("a").unwrap();
        let mut command = a.command_as_nobody("sh").unwrap();
        let output = a.finish(command.args(["-c", "id -u; ip tuntap add x mode tun"]), SOON).unwrap();
        assert!(output.stdout.starts_with("65534\n"), "{output}");
        assert!(!output.status.success() && output.stderr.contains("not permitted"), "{output}");
    }
}

#[test]
fn signals_reach_the_program_of_a_daemon() {
    let lab = Lab::new("signals").unwrap();
    let a = lab.machine("a").unwrap();
    let script = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let mut daemon = a.spawn("trap", a.command("sh").unwrap().args(["-c", script])).unwrap();
    eventually(SOON, || {
        ensure!(daemon.log()?.contains("ready"), "not ready");
        Ok(())
    })
    .unwrap();
    assert_eq!(daemon.terminate(SOON).unwrap().code(), Some(7));
    assert!(daemon.log_tail().contains("asked") && lab.log_tails().contains("asked"));

    let mut daemon = a.spawn("sleep", a.command("sleep").unwrap().arg("600")).unwrap();
    assert!(daemon.is_running());
    assert_eq!(daemon.kill().unwrap().signal(), Some(9));
    let mut failed = a.spawn("false", &mut a.command("false").unwrap()).unwrap();
    assert_eq!(failed.wait(SOON).unwrap().code(), Some(1));
    assert!(failed.kill().is_err());
    let dropped = a.spawn("sleep", a.command("sleep").unwrap().arg("600")).unwrap();
    drop(dropped);
    eventually(SOON, || nothing_runs(&a, "sleep")).unwrap();
}

/// The agent asks whether its device's process lives; a dead one must not look alive for want of a parent.
#[test]
fn orphans_are_collected_when_they_end() {
    let lab = Lab::new("orphans").unwrap();
    let a = lab.machine("a").unwrap();
    a.run("sh", ["-c", "setsid sh -c 'sleep 0.1; echo > /run/ended' > /dev/null 2>&1 & "]).unwrap();
    eventually(SOON, || a.read("/run/ended")).unwrap();
    eventually(SOON, || {
        let states = a.run("sh", ["-c", "cat /proc/[0-9]*/stat 2> /dev/null"]).map(|output| output.stdout)?;
        ensure!(!states.contains(") Z "), "a dead process is still there:\n{states}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_reboot_keeps_files_and_cables_and_nothing_else() {
    let lab = Lab::new("reboot").unwrap();
    let (a, b) = two_machines_ping(&lab);
    let before = a.snapshot().unwrap();
    a.write("/etc/kept", "1").unwrap();
    a.write("/var/lib/kept", "1").unwrap();
    a.write("/run/lost", "1").unwrap();
    a.run("ip", ["tuntap", "add", "extra", "mode", "tun"]).unwrap();
    let mut daemon = a.spawn("sleep", a.command("sleep").unwrap().arg("600")).unwrap();
    a.power_off().unwrap();
    assert!(daemon.wait(SOON).is_ok());
    assert!(a.command("true").is_err());
    b.cannot_ping("10.1.0.1".parse().unwrap()).unwrap();
    a.power_on().unwrap();
    b.ping("10.1.0.1".parse().unwrap()).unwrap();
    a.ping("fd01::2".parse().unwrap()).unwrap();
    let after = a.snapshot().unwrap().without(|_, line| line.contains("/kept"));
    let difference = before.diff(&after);
    assert!(difference.is_empty(), "{difference}");
    assert!(a.exists("/etc/kept").unwrap() && a.exists("/var/lib/kept").unwrap());
}

#[test]
fn a_snapshot_sees_every_kind_of_change_and_nothing_else() {
    let lab = Lab::new("snapshot").unwrap();
    let (a, _b) = two_machines_ping(&lab);
    let before = a.snapshot().unwrap();
    let equal = before.diff(&a.snapshot().unwrap());
    assert!(equal.is_empty(), "{equal}");
    let changes = [
        ("links", "ip tuntap add d0 mode tun", "ip link del d0"),
        ("addresses", "ip addr add 10.9.0.1/32 dev eth0", "ip addr del 10.9.0.1/32 dev eth0"),
        (
            "routes4",
            "ip route add 10.8.0.0/16 dev eth0 table 77",
            "ip route del 10.8.0.0/16 dev eth0 table 77",
        ),
        ("routes6", "ip route add fd08::/16 dev eth0", "ip route del fd08::/16 dev eth0"),
        ("rules4", "ip rule add fwmark 7 table 77", "ip rule del fwmark 7 table 77"),
        ("rules6", "ip -6 rule add fwmark 7 table 77", "ip -6 rule del fwmark 7 table 77"),
        ("nftables", "nft add table inet t", "nft delete table inet t"),
        ("settings", "echo 1 > /proc/sys/net/ipv4/ip_forward", "echo 0 > /proc/sys/net/ipv4/ip_forward"),
        ("files", "mkdir /etc/netclient", "rmdir /etc/netclient"),
        (
            "contents",
            "cp /etc/hosts /run/hosts; echo x >> /etc/hosts",
            "mv /run/hosts /tmp/h; cat /tmp/h > /etc/hosts",
        ),
    ];
    for (section, change, back) in changes {
        a.run("sh", ["-c", change]).unwrap();
        let changed = before.diff(&a.snapshot().unwrap()).to_string();
        assert!(changed.contains(&format!("{section}:\n")), "{change} was not seen in {section}: {changed}");
        a.run("sh", ["-c", back]).unwrap();
        let restored = before.diff(&a.snapshot().unwrap());
        assert!(restored.is_empty(), "after {back}: {restored}");
    }
}

#[test]
fn a_full_disk_refuses_writes_and_keeps_what_was_there() {
    let lab = Lab::new("full").unwrap();
    let a = lab.machine("a").unwrap();
    a.write("/var/lib/x/kept", "here").unwrap();
    a.fill_disk("/var/lib").unwrap();
    let refused = a.write("/var/lib/x/new", &"x".repeat(100_000)).unwrap_err();
    assert!(format!("{refused:#}").contains("No space left"), "{refused:#}");
    assert_eq!(a.read("/var/lib/x/kept").unwrap(), "here");
    a.free_disk("/var/lib").unwrap();
    a.write("/var/lib/x/new", "x").unwrap();
}

#[test]
fn nothing_is_left_of_a_lab() {
    let lab = Lab::new("gone").unwrap();
    let (a, _b) = two_machines_ping(&lab);
    let _daemon = a.spawn("sleep", a.command("sleep").unwrap().arg("600")).unwrap();
    a.run("sh", ["-c", "setsid sleep 601 > /dev/null 2>&1 &"]).unwrap();
    let folder = lab.folder().to_owned();
    let marks = marks_of(&folder);
    assert!(!marks.is_empty());
    drop(lab);
    assert!(!folder.exists());
    eventually(SOON, || gone(&marks)).unwrap();
}

/// Started again by the next test, to be killed.
#[test]
fn victim() {
    if std::env::var_os("NETLOOM_LAB_VICTIM").is_none() {
        return;
    }
    let lab = Lab::new("victim").unwrap();
    let (a, _b) = two_machines_ping(&lab);
    a.run("sh", ["-c", "setsid sleep 602 > /dev/null 2>&1 &"]).unwrap();
    println!("\nfolder {}", lab.folder().display());
    let _forever = std::io::read_to_string(std::io::stdin());
}

#[test]
fn nothing_is_left_when_the_test_process_is_killed() {
    use std::io::{BufRead as _, BufReader};
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env("NETLOOM_LAB_VICTIM", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let folder = lines.filter_map(|line| line.strip_prefix("folder ").map(PathBuf::from)).next().unwrap();
    let marks = marks_of(&folder);
    assert!(!marks.is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    eventually(SOON, || {
        ensure!(!folder.exists(), "{} is still there", folder.display());
        gone(&marks)
    })
    .unwrap();
}

#[test]
fn a_machine_needs_a_plain_name_that_is_free() {
    let lab = Lab::new("names").unwrap();
    let _a = lab.machine("a").unwrap();
    for name in ["a", "", "../b", "B"] {
        assert!(lab.machine(name).is_err(), "{name:?} was accepted");
    }
}

fn nothing_runs(machine: &Machine, program: &str) -> anyhow::Result<()> {
    let names =
        machine.run("sh", ["-c", "cat /proc/[0-9]*/comm 2> /dev/null"]).map(|output| output.stdout)?;
    ensure!(!names.lines().any(|name| name == program), "{program} still runs");
    Ok(())
}

/// The network namespaces of a lab: those of all processes below the holder, which has the folder as an argument.
fn marks_of(folder: &std::path::Path) -> Vec<PathBuf> {
    let folder = folder.to_str().unwrap();
    processes()
        .filter(|process| {
            std::fs::read(process.join("cmdline")).is_ok_and(|line| {
                String::from_utf8_lossy(&line).split('\0').any(|word| word.starts_with(folder))
            })
        })
        .filter_map(|process| std::fs::read_link(process.join("ns/pid")).ok())
        .filter(|space| Some(space) != std::fs::read_link("/proc/self/ns/pid").ok().as_ref())
        .collect()
}

fn gone(marks: &[PathBuf]) -> anyhow::Result<()> {
    for process in processes() {
        let space = std::fs::read_link(process.join("ns/pid")).unwrap_or_default();
        ensure!(!marks.contains(&space), "{} is still in {}", process.display(), space.display());
    }
    Ok(())
}

fn processes() -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path())
}
