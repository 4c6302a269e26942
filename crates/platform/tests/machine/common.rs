//! A machine for each test: namespaces of its own for users, network and mounts, with an empty /run.
//!
//! Not for what is tested. It keeps true that nothing outside of these namespaces is touched: a test's body runs only in a
//! second run of the test's own binary, inside.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use platform::{DeviceProgram, Machine, MachineOptions, SOCKET_DIR};
use reconcile::LinkName;
use tokio::time::Instant;
use wire::WgSecret;

const INSIDE: &str = "NETLOOM_TEST_IS_INSIDE";
/// The name of our link in all tests.
pub(crate) const LINK: &str = "netloom0";

/// Runs the body of the test of this name in namespaces of its own. `before` is shell, run in there first; its last line
/// may begin with `exec` and a program that limits what follows.
pub(crate) fn inside(test: &str, before: &str, body: impl AsyncFnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(body());
        return;
    }
    let before = if before.contains("exec ") { before.to_owned() } else { format!("{before}\nexec") };
    let script = format!("set -e; mount -t tmpfs tmpfs /run; ip link set lo up; {before} \"$0\" \"$@\"");
    let program = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["-Urnm", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script])
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("this test needs `unshare` of util-linux");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "inside its namespaces:\n{said}");
}

/// Set where the kernel is known to have WireGuard, so that the tests of it cannot pass for the lack of it.
pub(crate) const KERNEL_MUST_HAVE_WIREGUARD: &str = "NETLOOM_TEST_KERNEL_MUST_HAVE_WIREGUARD";

/// Whether this kernel has WireGuard.
pub(crate) fn kernel_has_wireguard() -> bool {
    let has = run("ip link add nlasks type wireguard") && run("ip link delete nlasks");
    assert!(
        has || std::env::var_os(KERNEL_MUST_HAVE_WIREGUARD).is_none(),
        "the kernel must have WireGuard here"
    );
    has
}

/// Runs a shell command.
pub(crate) fn run(command: &str) -> bool {
    Command::new("sh").args(["-c", command]).status().unwrap().success()
}

/// What a shell command prints.
pub(crate) fn output(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Our own userspace device.
pub(crate) fn our_device() -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().join("examples");
    folder.join("device")
}

/// The hands, with this program for userspace devices.
pub(crate) fn machine(program: &Path) -> Machine {
    let program = DeviceProgram {
        program: program.into(),
        arguments: Vec::new(),
        log: "/run/device.log".into(),
        withheld: Vec::new(),
    };
    let link: LinkName = LINK.parse().unwrap();
    Machine::open(MachineOptions { link, program, socket_dir: SOCKET_DIR.into() }).unwrap()
}

/// The private key of this host.
pub(crate) fn secret() -> WgSecret {
    WgSecret::from_random([0x42; 32])
}

/// All that can be seen of the network and of control sockets, to compare before and after.
pub(crate) fn picture() -> String {
    output(
        "ip -o address; ip route show table all; ip -6 route show table all; ip rule; ls -R /run | grep -v device",
    )
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !holds().await {
        assert!(Instant::now() < deadline, "this does not come true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An address.
pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The living processes of our own userspace device, in this test's machine.
pub(crate) fn device_processes() -> Vec<u32> {
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_device = |pid: &u32| {
        std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program == our_device())
    };
    pids.filter(is_device).collect()
}
