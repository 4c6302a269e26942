//! The userspace device as a process, in namespaces of its own: configured by `wg`, judged by `ping`.
//!
//! No root needed: everything happens inside a user namespace. The device's process is this test binary again, told
//! by an environment variable what to be.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use dataplane::device::{self, DeviceOptions};
use dataplane::rendezvous::Rendezvous;
use lab::{Machine, PROCESS_TEST, Process, ROLE, eventually};

mod lab;

/// A process inside the lab; not a test of anything when run without a role.
#[test]
fn process_in_the_lab() {
    let Ok(role) = std::env::var(ROLE) else { return };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level()).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build().unwrap();
    match role.split_whitespace().collect::<Vec<_>>()[..] {
        ["device", name] => runtime.block_on(device::run(DeviceOptions::new(name), || say("ready"))).unwrap(),
        ["rendezvous", port, host] => runtime.block_on(async {
            let addr = format!("[::]:{port}").parse().unwrap();
            let mut rendezvous = Rendezvous::bind(addr, [5; 32]).unwrap();
            rendezvous.peers().add_peer(unhex(host)).unwrap();
            say(&format!("ready {}", hex(&rendezvous.public_key())));
            loop {
                say(&format!("seen {}", rendezvous.next_seen().await.endpoint));
            }
        }),
        ["sink", addr] => {
            let listener = TcpListener::bind(addr).unwrap();
            say("ready");
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            say(if received == stream_of_bytes() { "whole" } else { "damaged" });
        }
        ["source", addr] => {
            TcpStream::connect(addr).unwrap().write_all(&stream_of_bytes()).unwrap();
            say("ready");
        }
        ref other => panic!("no such role: {other:?}"),
    }
}

/// What the devices log; shown when a test fails.
fn level() -> tracing::Level {
    std::env::var("DATAPLANE_TEST_LOG")
        .ok()
        .and_then(|level| level.parse().ok())
        .unwrap_or(tracing::Level::WARN)
}

/// Enough that the kernel makes large segments of it.
fn stream_of_bytes() -> Vec<u8> {
    (0..8_000_000_u32).flat_map(u32::to_be_bytes).collect()
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("somebody listens");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> [u8; 32] {
    let bytes: Vec<u8> =
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

fn two_devices() -> (Machine, Machine, [Process; 2], [String; 2]) {
    let a = Machine::first();
    let b = a.beside();
    let (process_a, key_a) = a.start_device(1, 51820);
    let (process_b, key_b) = b.start_device(2, 51820);
    a.sh(&format!(
        "wg set wg0 peer {key_b} allowed-ips 10.77.0.2/32,fd77::2/128 endpoint 10.9.0.2:51820 persistent-keepalive 25"
    ));
    b.sh(&format!("wg set wg0 peer {key_a} allowed-ips 10.77.0.1/32,fd77::1/128"));
    // The keepalive alone opens the session, although nobody has sent anything.
    eventually("the handshake", || !b.sh("wg show wg0 latest-handshakes").ends_with("\t0"));
    (a, b, [process_a, process_b], [key_a, key_b])
}

#[test]
fn two_devices_carry_both_families_and_a_new_endpoint_loses_no_packet() {
    let (a, b, _processes, [_, key_b]) = two_devices();
    a.sh("ping -q -c 3 -i 0.1 -W 5 10.77.0.2; ping -q -c 3 -i 0.1 -W 5 fd77::2");
    b.sh("ping -q -c 3 -i 0.1 -W 5 10.77.0.1; ping -q -c 3 -i 0.1 -W 5 fd77::1");
    assert_eq!(a.sh("stat -c %a /run/wireguard /run/wireguard/wg0.sock"), "700\n600");

    let handshake = a.sh("wg show wg0 latest-handshakes");
    let pings = std::thread::scope(|scope| {
        let pings = scope.spawn(|| a.sh("ping -q -c 300 -i 0.01 -W 5 10.77.0.2"));
        for endpoint in ["[fd09::2]:51820", "10.9.0.2:51820", "[fd09::2]:51820"] {
            // A packet that was under way from the old address may move it back, as WireGuard has it.
            eventually("the endpoint", || {
                a.sh(&format!("wg set wg0 peer {key_b} endpoint {endpoint} persistent-keepalive 20"));
                a.sh("sleep 0.1; wg show wg0 endpoints").ends_with(endpoint)
            });
        }
        pings.join().unwrap()
    });
    assert!(pings.contains(" 0% packet loss"), "{pings}");
    assert_eq!(a.sh("wg show wg0 latest-handshakes"), handshake, "the session is the same");
    assert!(b.sh("wg show wg0 endpoints").contains("[fd09::1]:51820"), "the other end followed");

    for (from, to, addr) in [(&a, &b, "10.77.0.2:7000"), (&b, &a, "[fd77::1]:7000")] {
        let mut sink = to.start(&format!("sink {addr}"));
        let _source = from.start(&format!("source {addr}"));
        assert_eq!(sink.line_with("whole"), "whole");
    }

    // Whatever the size: segments that the kernel leaves to us, and a smaller MTU while it runs.
    a.sh("ip link set wg0 mtu 1280; ping -q -c 2 -i 0.1 -W 5 -s 3000 10.77.0.2; ping -q -c 2 -W 5 -s 1200 -M do fd77::2");
}

#[test]
fn settings_mean_what_they_mean_to_every_wireguard_device() {
    let (a, _b, _processes, [_, key_b]) = two_devices();
    let other = a.sh("wg genkey | wg pubkey");
    a.sh(&format!("wg set wg0 peer {other} allowed-ips 10.77.0.2/32,10.77.1.0/24"));
    // The first peer has lost the prefix, and touching it does not bring it back.
    a.sh(&format!("wg set wg0 peer {key_b} persistent-keepalive 7"));
    let allowed = a.sh("wg show wg0 allowed-ips | sort");
    assert!(allowed.contains(&format!("{key_b}\tfd77::2/128")), "{allowed}");
    assert!(allowed.contains(&format!("{other}\t10.77.0.2/32 10.77.1.0/24")), "{allowed}");
    assert!(!a.try_sh("ping -q -c 1 -W 1 10.77.0.2").status.success(), "it goes to the peer that has it");
    a.sh(&format!("wg set wg0 peer {other} remove; wg set wg0 peer {key_b} allowed-ips 10.77.0.2/32"));
    a.sh("ping -q -c 1 -W 5 10.77.0.2");

    a.sh(&format!("wg set wg0 fwmark 0x77 peer {key_b} preshared-key /run/key"));
    assert_eq!(a.sh("wg show wg0 fwmark"), "0x77");
    assert!(!a.sh("wg show wg0 preshared-keys").contains("(none)"));
    a.sh(&format!("wg set wg0 fwmark 0 peer {key_b} preshared-key /dev/null persistent-keepalive off"));
    let shown = a.sh("wg show wg0 fwmark; wg show wg0 preshared-keys; wg show wg0 persistent-keepalive");
    assert!(shown.starts_with("off") && shown.contains("(none)") && shown.ends_with("off"), "{shown}");
    let transfer = a.sh("wg show wg0 transfer");
    assert!(transfer.split('\t').skip(1).all(|n| n.parse::<u64>().unwrap() > 100), "{transfer}");

    let strange = "7f".repeat(32);
    // Replacing everything keeps the session of a peer that stays, and drops what is not said again.
    let before = (a.sh("wg show wg0 latest-handshakes"), a.sh("wg show wg0 listen-port"));
    let b_again =
        a.call("get=1\n\n").lines().find(|line| line.starts_with("public_key=")).unwrap().to_owned();
    let replace = format!(
        "set=1\nreplace_peers=true\npublic_key={strange}\n{b_again}\nendpoint=10.9.0.2:51820\nallowed_ip=10.77.0.2/32\n\n"
    );
    assert_eq!(a.call(&replace), "errno=0\n\n");
    a.sh("ping -q -c 1 -W 5 10.77.0.2");
    assert!(a.sh("wg show wg0 latest-handshakes").contains(&before.0), "the same session");
    assert_eq!(a.sh("wg show wg0 listen-port"), before.1);
    assert!(!a.sh("wg show wg0 allowed-ips").contains("fd77::2/128"));
    assert_eq!(a.call(&format!("set=1\npublic_key={strange}\nremove=true\n\n")), "errno=0\n\n");
    assert_eq!(a.call(&format!("set=1\npublic_key={strange}\nupdate_only=true\n\n")), "errno=0\n\n");
    assert!(!a.call("get=1\n\n").contains(&strange));
    assert_eq!(a.call("set=1\nlisten_port=what\n\n"), "errno=-22\n\n");
}

#[test]
fn a_port_that_is_taken_is_refused_and_the_device_goes_on_as_before() {
    let (a, _b, _processes, [_, key_b]) = two_devices();
    a.sh(&format!("wg set wg0 peer {key_b} persistent-keepalive 25"));
    let _taken = a.start(&format!("rendezvous 40000 {}", "7f".repeat(32)));
    let refused = a.try_sh("wg set wg0 listen-port 40000");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use"), "{refused:?}");
    assert_eq!(a.sh("wg show wg0 listen-port"), "51820");
    a.sh("ping -q -c 1 -W 5 10.77.0.2; wg set wg0 listen-port 40001; ping -q -c 1 -W 5 10.77.0.2");
}

#[test]
fn peers_and_port_may_come_before_the_key() {
    let a = Machine::first();
    let b = a.beside();
    let (_process_b, key_b) = b.start_device(2, 51820);
    let _process_a = a.start("device wg0");
    a.sh(&format!(
        "wg set wg0 listen-port 51999 peer {key_b} allowed-ips 10.77.0.2/32 endpoint 10.9.0.2:51820; \
         ip addr add 10.77.0.1/24 dev wg0; ip link set wg0 up"
    ));
    assert!(!a.sh("wg show wg0 dump").contains("private_key"));
    assert_eq!(a.sh("wg show wg0 public-key"), "(none)");
    let key_a = a.sh("umask 077; wg genkey > /run/key; wg pubkey < /run/key");
    b.sh(&format!("wg set wg0 peer {key_a} allowed-ips 10.77.0.1/32"));
    a.sh("wg set wg0 private-key /run/key; ping -q -c 1 -W 5 10.77.0.2");
    assert!(b.sh("wg show wg0 endpoints").ends_with("10.9.0.1:51999"));
}

#[test]
fn thousands_of_peers_are_set_changed_and_replaced_in_bounded_time() {
    const PEERS: u32 = 3000;
    const MOVED: u32 = 500;
    let (a, _b, _processes, [_, key_b]) = two_devices();
    let peer =
        |i: u32, rest: &str| format!("public_key={}{}\n{rest}", hex(&i.to_be_bytes()), "2b".repeat(28));
    let prefix = |i: u32| {
        format!("allowed_ip={}/32\nallowed_ip=fd88::{i:x}/128\n", std::net::Ipv4Addr::from(0x0a58_0000 + i))
    };
    let began = Instant::now();
    let all: String = (0..PEERS).map(|i| peer(i, &prefix(i))).collect();
    assert_eq!(a.call(&format!("set=1\n{all}\n")), "errno=0\n\n");
    let moved: String = (0..MOVED).map(|i| peer(i, "update_only=true\nendpoint=192.0.2.1:9\n")).collect();
    assert_eq!(a.call(&format!("set=1\n{moved}\n")), "errno=0\n\n");
    assert_eq!(a.call(&format!("set=1\n{moved}\n")), "errno=0\n\n");
    let shown = a.call("get=1\n\n");
    assert_eq!(shown.matches("public_key=").count(), 1 + PEERS as usize);
    assert_eq!(shown.matches("endpoint=192.0.2.1:9").count(), MOVED as usize);
    assert_eq!(shown.matches("allowed_ip=").count(), 2 + 2 * PEERS as usize);
    a.sh(&format!("ping -q -c 1 -W 5 10.77.0.2; wg set wg0 peer {key_b} persistent-keepalive 9"));
    assert_eq!(a.call(&format!("set=1\nreplace_peers=true\n{}\n", peer(PEERS, &prefix(1)))), "errno=0\n\n");
    let shown = a.call("get=1\n\n");
    assert!(shown.matches("public_key=").count() == 1 && shown.contains(&peer(PEERS, "")), "{shown}");
    assert!(began.elapsed() < Duration::from_secs(60), "took {:?}", began.elapsed());
}

#[test]
fn it_ends_when_told_and_when_the_interface_is_deleted_and_leaves_nothing() {
    let (a, b, [mut process_a, mut process_b], _) = two_devices();
    process_a.signal("-HUP");
    let second = a
        .enter()
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", PROCESS_TEST, "--nocapture"])
        .env(ROLE, "device wg0")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("is running already"), "{said}");
    a.sh("ping -q -c 1 -W 5 10.77.0.2");

    a.sh("ip link del wg0");
    process_a.ends_well();
    process_b.signal("-TERM");
    process_b.ends_well();
    for machine in [&a, &b] {
        assert_eq!(
            machine.sh("ls /run/wireguard; ls /sys/class/net >/dev/null; ip -o link | grep -c wg0 || true"),
            "0"
        );
    }

    // A device without a key reads nothing, and notices all the same. And one that was killed leaves a socket.
    let mut idle = a.start("device wg0");
    a.sh("ip link del wg0");
    idle.ends_well();
    let mut killed = a.start("device wg0");
    killed.signal("-KILL");
    killed.child.wait().unwrap();
    assert_eq!(a.sh("ls /run/wireguard"), "wg0.sock");
    let mut next = a.start("device wg0");
    a.sh("wg show wg0");
    next.signal("-INT");
    next.ends_well();
}

#[test]
fn a_rendezvous_sees_a_real_device_through_its_keepalive_alone() {
    let a = Machine::first();
    let b = a.beside();
    let (_process, _) = a.start_device(1, 51820);
    let key_a = a.call("get=1\n\n");
    let private = key_a.lines().find_map(|line| line.strip_prefix("private_key=")).unwrap().to_owned();
    let public = gotatun::x25519::PublicKey::from(&gotatun::x25519::StaticSecret::from(unhex(&private)));
    let mut rendezvous = b.start(&format!("rendezvous 51821 {}", hex(public.as_bytes())));
    let server = gotatun::x25519::PublicKey::from(&gotatun::x25519::StaticSecret::from([5; 32]));
    let peer = hex(server.as_bytes());
    let set =
        format!("set=1\npublic_key={peer}\nendpoint=10.9.0.2:51821\npersistent_keepalive_interval=1\n\n");
    assert_eq!(a.call(&set), "errno=0\n\n");
    assert_eq!(rendezvous.line_with("seen"), "seen 10.9.0.1:51820");
    // The machine roams: another address, and another port.
    a.sh("ip addr del 10.9.0.1/24 dev eth0; ip addr add 10.9.0.7/24 dev eth0");
    assert_eq!(rendezvous.line_with("seen"), "seen 10.9.0.7:51820");
    a.sh("wg set wg0 listen-port 52000");
    assert_eq!(rendezvous.line_with("seen"), "seen 10.9.0.7:52000");
}
