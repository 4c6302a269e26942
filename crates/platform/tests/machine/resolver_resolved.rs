//! systemd-resolved: the real one of Debian's package, on a bus of its own, with name servers that note what they are asked.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use platform::{ResolverApplied, ResolverHands, ResolverLook, ResolverOptions};
use reconcile::{Resolver, ResolverWay};

use crate::common::{LINK, eventually, inside, output, run};
use crate::resolver_common::{CONF, ETC, STATE, hands, noticed, tell, text, unpacked, upstreams, wanted};

const BUS: &str = r#"<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen>
<auth>EXTERNAL</auth><policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>"#;
/// Our link, the LAN's and somebody else's VPN. Cables, so that resolved takes them for alive.
const LINKS: &str = "for link in netloom0 eth0 vpn0; do \
    ip link add $link type veth peer name far-$link; ip link set $link up; ip link set far-$link up; done; \
    ip address add 10.20.0.5/16 dev netloom0; ip -6 address add fd20::5/64 dev netloom0 nodad; \
    ip address add 192.0.2.53/24 dev eth0; ip address add 198.51.100.53/24 dev vpn0; ";

/// What runs a program of the unpacked package.
fn command(program: &str) -> Command {
    let folders = unpacked("libsystemd-shared").join("usr/lib");
    let architecture = std::fs::read_dir(folders).unwrap().next().unwrap().unwrap().path();
    let mut command = Command::new(unpacked("systemd-resolved").join(program));
    command.env("LD_LIBRARY_PATH", architecture.join("systemd")).stdin(Stdio::null());
    command
}

fn resolvectl(arguments: &str) -> String {
    let output = command("usr/bin/resolvectl").args(arguments.split(' ')).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "resolvectl {arguments}: {said}");
    said.into_owned()
}

/// The machine's bus and its resolver. What is started here ends with the machine.
struct Resolved {
    _bus: Child,
    service: Child,
}

impl Resolved {
    /// A machine that leaves resolving to systemd-resolved, which asks the server of eth0.
    async fn start() -> Self {
        std::fs::create_dir_all("/run/dbus").unwrap();
        std::fs::create_dir_all("/run/systemd").unwrap();
        std::fs::write("/run/bus.conf", BUS).unwrap();
        // It gives up root for a user that our namespace has no number for.
        assert!(run(
            "echo systemd-resolve:x:0:0::/:/bin/false >> /etc/passwd; echo systemd-resolve:x:0: >> /etc/group"
        ));
        let bus = Command::new("dbus-daemon")
            .args(["--config-file=/run/bus.conf", "--nofork", "--nopidfile"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs `dbus-daemon`");
        eventually("the bus is there", async || PathBuf::from("/run/dbus/system_bus_socket").exists()).await;
        std::os::unix::fs::symlink("../run/systemd/resolve/stub-resolv.conf", CONF).unwrap();
        let service = Self::run().await;
        resolvectl("dns eth0 192.0.2.53");
        resolvectl("default-route eth0 yes");
        Self { _bus: bus, service }
    }

    async fn run() -> Child {
        let service = command("lib/systemd/systemd-resolved")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("systemd-resolved runs", async || detect("resolved").await.is_ok()).await;
        service
    }

    async fn restart(&mut self) {
        self.service.kill().unwrap();
        self.service.wait().unwrap();
        eventually("systemd-resolved is gone", async || detect("resolved").await.is_err()).await;
        self.service = Self::run().await;
    }
}

async fn detect(choice: &str) -> anyhow::Result<ResolverHands> {
    let options =
        ResolverOptions { link: LINK.parse().unwrap(), state: STATE.into(), choice: choice.parse().unwrap() };
    ResolverHands::detect(options).await
}

/// A name server that gives every name the same address and notes the names.
struct Server {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(at: &str, answer: [u8; 4]) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let socket = UdpSocket::bind((at, 53)).unwrap();
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let (name, reply) = answered(&buffer[..length], answer);
                noted.lock().unwrap().push(name);
                let _ = socket.send_to(&reply, from);
            }
        });
        Self { asked }
    }

    fn was_asked(&self, name: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked == name)
    }
}

/// The name of the question, and an answer to it: the address for A, nothing for other kinds.
fn answered(query: &[u8], address: [u8; 4]) -> (String, Vec<u8>) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).into_owned());
        at = end;
    }
    let question = &query[12..at + 5];
    let is_a = query[at + 1..at + 3] == [0, 1];
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    reply.extend(question);
    if is_a {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(address);
    }
    (labels.join("."), reply)
}

fn dig(name: &str) -> String {
    output(&format!("dig +short +tries=2 +timeout=5 {name} A")).trim().to_owned()
}

/// All that resolved keeps by link.
fn settings() -> String {
    ["dns", "domain", "default-route", "llmnr", "mdns", "dnsovertls", "nta"].map(resolvectl).concat()
}

#[test]
fn our_names_come_to_us_and_others_go_where_they_went() {
    let name = "resolver_resolved::our_names_come_to_us_and_others_go_where_they_went";
    inside(name, &format!("{ETC}{LINKS}"), async || {
        let _resolved = Resolved::start().await;
        let (ours, lan) =
            (Server::start("10.20.0.5", [10, 20, 0, 77]), Server::start("192.0.2.53", [192, 0, 2, 77]));
        let (before, link) = (settings(), std::fs::read_link(CONF).unwrap());
        let mut hands = hands("auto").await;
        assert_eq!(hands.way(), Some(ResolverWay::Resolved));
        assert_eq!(hands.look(&wanted()).await.unwrap(), ResolverLook::Unset);
        tell(&mut hands).await;

        assert_eq!(dig("web.office.netloom"), "10.20.0.77");
        assert_eq!(dig("web.lab.netloom"), "10.20.0.77");
        assert_eq!(dig("www.example.com"), "192.0.2.77");
        let found = output("getent ahostsv4 short");
        assert!(found.starts_with("10.20.0.77"), "the search domain is tried: {found}");
        assert!(ours.was_asked("web.office.netloom") && ours.was_asked("short.office.netloom"));
        assert!(!ours.was_asked("www.example.com"), "what is not ours is none of our business");
        assert!(!lan.was_asked("web.office.netloom") && !lan.was_asked("web.lab.netloom"));

        let all = Resolver { all: true, ..wanted() };
        assert_eq!(hands.look(&all).await.unwrap(), ResolverLook::Different);
        assert_eq!(hands.apply(&all).await.unwrap(), ResolverApplied::Changed);
        assert_eq!(dig("all.example.com"), "10.20.0.77");
        assert!(!lan.was_asked("all.example.com"), "a full tunnel asks nobody else");

        assert!(hands.restore().await.unwrap());
        assert_eq!(settings(), before);
        assert_eq!(dig("after.office.netloom"), "192.0.2.77");
        assert_eq!(std::fs::read_link(CONF).unwrap(), link);
        std::fs::remove_dir(STATE).unwrap();
    });
}

#[test]
fn upstreams_are_those_of_links_that_are_asked_anything() {
    let name = "resolver_resolved::upstreams_are_those_of_links_that_are_asked_anything";
    inside(name, &format!("{ETC}{LINKS}"), async || {
        let _resolved = Resolved::start().await;
        resolvectl("dns vpn0 198.51.100.53");
        resolvectl("domain vpn0 ~corp.example");
        resolvectl("default-route vpn0 no");
        let mut hands = hands("auto").await;
        assert_eq!(upstreams(&hands).await, ["192.0.2.53:53"]);
        tell(&mut hands).await;
        assert_eq!(upstreams(&hands).await, ["192.0.2.53:53"]);

        let mut watch = hands.watch().unwrap();
        resolvectl("dns eth0 192.0.2.54:5353");
        noticed(&mut watch, "another server on eth0").await;
        assert_eq!(upstreams(&hands).await, ["192.0.2.54:5353"]);
        assert!(run("ip link delete eth0"));
        noticed(&mut watch, "eth0 went").await;
        assert_eq!(upstreams(&hands).await, ["198.51.100.53:53"], "better than nobody");
    });
}

#[test]
fn what_others_take_off_our_link_is_noticed_and_put_back() {
    let name = "resolver_resolved::what_others_take_off_our_link_is_noticed_and_put_back";
    inside(name, &format!("{ETC}{LINKS}"), async || {
        let mut resolved = Resolved::start().await;
        let mut hands = hands("auto").await;
        tell(&mut hands).await;
        let mut watch = hands.watch().unwrap();
        resolvectl(&format!("revert {LINK}"));
        noticed(&mut watch, "our link was reverted").await;
        assert_eq!(hands.look(&wanted()).await.unwrap(), ResolverLook::Unset);
        tell(&mut hands).await;

        resolvectl(&format!("domain {LINK} other.example"));
        assert_eq!(hands.look(&wanted()).await.unwrap(), ResolverLook::Different);
        tell(&mut hands).await;

        let mut watch = hands.watch().unwrap();
        resolved.restart().await;
        noticed(&mut watch, "systemd-resolved started again").await;
        hands.apply(&wanted()).await.unwrap();
        assert_eq!(hands.look(&wanted()).await.unwrap(), ResolverLook::Set);

        assert!(run(&format!("ip link delete {LINK}")));
        let said = format!("{:#}", hands.apply(&wanted()).await.unwrap_err());
        assert!(said.contains("netloom0 is gone"), "{said}");
        assert_eq!(hands.look(&wanted()).await.unwrap(), ResolverLook::Unset);
        assert!(hands.restore().await.unwrap(), "a link that is gone is no trouble");
    });
}

#[test]
fn a_resolved_that_is_not_asked_is_not_told() {
    let name = "resolver_resolved::a_resolved_that_is_not_asked_is_not_told";
    inside(name, &format!("{ETC}{LINKS}"), async || {
        let _resolved = Resolved::start().await;
        // The servers that resolved would ask are asked directly.
        assert!(run(&format!("rm {CONF}; ln -s ../run/systemd/resolve/resolv.conf {CONF}")));
        let mut uplinks = hands("auto").await;
        assert_eq!(uplinks.way(), Some(ResolverWay::File));
        tell(&mut uplinks).await;
        assert_eq!(upstreams(&uplinks).await, ["192.0.2.53:53"]);
        uplinks.restore().await.unwrap();

        // The stub, and yet the file is chosen: asking the stub in turn would be a circle.
        assert!(run(&format!("rm {CONF}; ln -s ../run/systemd/resolve/stub-resolv.conf {CONF}")));
        let mut file = hands("file").await;
        tell(&mut file).await;
        assert_eq!(upstreams(&file).await, ["192.0.2.53:53"]);
        assert_eq!(
            hands("auto").await.way(),
            Some(ResolverWay::Resolved),
            "the original counts, not our text"
        );
        let mut hands = hands("auto").await;
        tell(&mut hands).await;
        assert!(text(CONF).contains("127.0.0.53"), "the file was taken back first");

        // Somebody gives the machine a file of its own while we run.
        assert!(!hands.detect_again().await.unwrap());
        assert!(run(&format!("rm {CONF}; echo nameserver 192.0.2.9 > {CONF}")));
        assert!(hands.detect_again().await.unwrap());
        assert_eq!(hands.way(), Some(ResolverWay::File));
        tell(&mut hands).await;
        assert!(!resolvectl(&format!("dns {LINK}")).contains("10.20.0.5"), "and resolved was told to forget");
        assert_eq!(upstreams(&hands).await, ["192.0.2.9:53"]);
    });
}

#[test]
fn without_it_its_absence_is_told_or_another_way_found() {
    inside("resolver_resolved::without_it_its_absence_is_told_or_another_way_found", ETC, async || {
        let said = detect("resolved").await.unwrap_err().to_string();
        assert!(said.contains("does not run") && said.contains("systemctl start"), "{said}");
        // A stub that nobody answers at, as a container may inherit it.
        std::fs::write(CONF, "nameserver 127.0.0.53\n").unwrap();
        assert_eq!(detect("auto").await.unwrap().way(), Some(ResolverWay::File));
    });
}
