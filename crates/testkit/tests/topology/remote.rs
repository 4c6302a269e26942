//! Remote access: plain WireGuard comes in through a gateway.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use data_encoding::BASE64;
use serde_json::json;
use testkit::house::{Foreign, Home, Host, House, NETWORK, dig, patience};
use testkit::lab::{Capture, Load, NatKind, eventually, qr};

use crate::{SOON, all_leave, ip, join_all, state};

/// The promise: cut off within one second.
const CUT_OFF: Duration = Duration::from_secs(1);
/// A client that comes in by another gateway is found there within moments; within this also where it was at the one before
/// for a moment only.
const FOUND: Duration = Duration::from_secs(10);

struct Scene {
    house: House,
    gate: Host,
    inner: Host,
    phone: Foreign,
    _homes: [Home; 2],
}

/// A gateway in public, a host behind a NAT, and a foreign machine behind another.
fn scene(name: &str) -> Scene {
    let (house, token) = House::with_network(name).unwrap();
    let homes = ["office", "street"].map(|name| house.home(name, NatKind::PortRestricted).unwrap());
    let (gate, inner) = (house.public("gate").unwrap(), house.behind(&homes[0], "inner").unwrap());
    join_all(&[&gate, &inner], &token);
    house.desk().unwrap().node("gate", &json!({"remote_access": true})).unwrap();
    let phone = house.foreign_behind(&homes[1], "phone").unwrap();
    Scene { house, gate, inner, phone, _homes: homes }
}

pub(crate) fn answers(phone: &Foreign, host: &Host, limit: Duration) {
    for address in host.addresses().unwrap() {
        eventually(limit, || phone.machine().ping(*address)).unwrap();
    }
}

#[test]
fn a_phone_comes_in_by_its_configuration_and_the_qr_code_says_the_same() {
    let Scene { house, gate, inner, phone, _homes } = scene("phone");
    let desk = house.desk().unwrap();
    let phone_before = phone.machine().snapshot().unwrap();
    let configuration = made_by_command(&house);
    the_server_makes_the_same_kind(&house);
    let made = desk.get("clients/phone").unwrap();
    let text = desk.get("clients/phone/config").unwrap().to_string();
    assert!(
        text.contains("[Peer]") && !text.contains("\nPrivateKey"),
        "the server never knew the key: {text}"
    );

    phone.up(&configuration).unwrap();
    phone.is_wireguard_go().unwrap();
    let capture = Capture::start(phone.machine(), "eth0", "phone").unwrap();
    answers(&phone, &gate, patience(SOON));
    answers(&phone, &inner, patience(SOON));
    let addresses = ["v4", "v6"].map(|family| ip(made[family].as_str().unwrap()));
    for address in addresses {
        inner.ping_within(address, patience(SOON)).unwrap();
        gate.ping_within(address, patience(SOON)).unwrap();
    }
    let load = Load::start(phone.machine(), inner.machine(), inner.v4().unwrap(), 5201, 2).unwrap();
    let report = load.finish(patience(SOON)).unwrap();
    assert!(report.completed && report.bytes() > 1_000_000, "{report:?}");
    assert!(report.longest_stall() < patience(Duration::from_secs(1)), "{report:?}");

    names(&phone, &inner, &gate, &addresses.map(|address| address.to_string()));
    let traffic = capture.stop().unwrap();
    let strange = traffic.clone().without(|flow| flow.protocol == 17 && flow.concerns(gate_address(&gate)));
    assert!(strange.is_empty() && !traffic.is_empty(), "beside WireGuard with the gateway:\n{strange}");

    phone.down().unwrap();
    phone.machine().run("rm", ["-r", "/etc/wireguard"]).unwrap();
    let left = phone.machine().snapshot().unwrap().without(|_, line| line.contains("/run/wireguard"));
    let difference = phone_before.diff(&left);
    assert!(difference.is_empty(), "{difference}");
}

/// As an administrator makes a client: its key is made by the command, and the file, the screen and the picture say the same.
fn made_by_command(house: &House) -> String {
    let words =
        ["client", "create", NETWORK, "phone", "--qr", "-o", "/run/phone.conf", "--png", "/run/phone.png"];
    let words = words.iter().chain(&["--svg", "/run/phone.svg"]);
    let shown = house.administrator().run(words).unwrap().stdout;
    let server = house.server().machine();
    let configuration = server.read("/run/phone.conf").unwrap();
    assert_eq!(qr::decode_terminal(&shown).unwrap(), configuration);
    let picture = server.run("base64", ["-w", "0", "/run/phone.png"]).unwrap().stdout;
    assert_eq!(decoded(house, &picture), configuration);
    assert_eq!(qr::decode_svg(&server.read("/run/phone.svg").unwrap()).unwrap(), configuration);
    configuration
}

/// As a program makes one: the private key is in the answer, this once.
fn the_server_makes_the_same_kind(house: &House) {
    let desk = house.desk().unwrap();
    let made = desk.post("clients", &json!({"name": "tablet"})).unwrap();
    let configuration = made["config"].as_str().unwrap();
    assert_eq!(decoded(house, made["qr_png"].as_str().unwrap()), configuration);
    assert_eq!(qr::decode_svg(made["qr_svg"].as_str().unwrap()).unwrap(), configuration);
    let private = made["private_key"].as_str().unwrap();
    assert!(configuration.contains(private));
    assert!(!desk.get("clients/tablet/config").unwrap().to_string().contains(private), "it is shown once");
    desk.delete("clients/tablet").unwrap();
}

/// The text in a PNG that is given in base64.
fn decoded(house: &House, picture: &str) -> String {
    let file = house.lab().folder().join("picture.png");
    std::fs::write(&file, BASE64.decode(picture.trim().as_bytes()).unwrap()).unwrap();
    qr::decode(&file).unwrap()
}

fn gate_address(gate: &Host) -> IpAddr {
    let said = gate.machine().run("ip", ["-o", "-4", "address", "show", "dev", "eth0"]).unwrap().stdout;
    ip(said.split_whitespace().nth(3).unwrap().split('/').next().unwrap())
}

/// Names of hosts for the phone, as its configuration set it up; the phone's name for hosts; both ways back.
pub(crate) fn names(phone: &Foreign, inner: &Host, gate: &Host, addresses: &[String; 2]) {
    let set = phone.machine().read("/etc/resolv.conf").unwrap();
    assert!(set.contains("nameserver") && set.contains("search"), "{set}");
    let domain = set.lines().find_map(|line| line.strip_prefix("search ")).unwrap();
    let domain = domain.split_whitespace().next().unwrap();
    let inner_name = format!("{}.{domain}", inner.name());
    assert_eq!(phone.dig(&[&inner_name, "A"]).unwrap(), [inner.v4().unwrap().to_string()]);
    assert_eq!(phone.dig(&[&inner_name, "AAAA"]).unwrap(), [inner.v6().unwrap().to_string()]);
    let back = phone.dig(&["-x", &inner.v6().unwrap().to_string()]).unwrap();
    assert_eq!(back, [format!("{inner_name}.")]);
    let server = format!("@{}", gate.v4().unwrap());
    let name = format!("{}.{domain}", phone.machine().name());
    assert_eq!(dig(gate.machine(), &[&server, &name, "A"]).unwrap(), [addresses[0].clone()]);
    assert_eq!(dig(gate.machine(), &[&server, &name, "AAAA"]).unwrap(), [addresses[1].clone()]);
}

#[test]
fn a_client_that_is_disabled_is_cut_off_within_a_second_and_may_come_back() {
    let Scene { house, gate, inner, phone, _homes } = scene("disable");
    let desk = house.desk().unwrap();
    let before = [&gate, &inner].map(|host| state(host.machine()).unwrap());
    let client = comes_in(&house, &phone);
    answers(&phone, &inner, patience(SOON));
    is_cut_off_and_comes_back(&house, &client, &phone, &gate, &inner);
    desk.delete("clients/phone").unwrap();
    is_not_let_in(&client, &gate);
    desk.node("gate", &json!({"remote_access": false})).unwrap();
    eventually(patience(SOON), || {
        for (host, before) in [&gate, &inner].iter().zip(&before) {
            let difference = before.diff(&state(host.machine())?);
            ensure!(difference.is_empty(), "{} is not what it was:\n{difference}", host.name());
        }
        Ok(())
    })
    .unwrap();
}

/// A client that the server knows by its public key.
pub(crate) struct Client {
    key: String,
    configuration: String,
    pub(crate) addresses: [IpAddr; 2],
}

/// Makes a client of a machine, whose private key never leaves it, and brings it in.
pub(crate) fn comes_in(house: &House, phone: &Foreign) -> Client {
    let keys = phone.key_pair().unwrap();
    let body = json!({"name": phone.machine().name(), "public_key": keys.public});
    let made = house.desk().unwrap().post("clients", &body).unwrap();
    assert!(made.get("private_key").is_none(), "{made}");
    let configuration = configuration(made["config"].as_str().unwrap(), &keys.private);
    phone.up(&configuration).unwrap();
    let addresses = ["v4", "v6"].map(|family| ip(made["client"][family].as_str().unwrap()));
    Client { key: keys.public, configuration, addresses }
}

/// The promise of a second, counted from now.
fn is_not_let_in(client: &Client, gate: &Host) {
    let since = Instant::now();
    eventually(patience(CUT_OFF), || {
        ensure!(gate.wg()?.iter().all(|peer| peer.key != client.key), "the gateway still lets it in");
        Ok(())
    })
    .unwrap();
    assert!(since.elapsed() <= patience(CUT_OFF + Duration::from_millis(500)));
}

/// Disabled, the client reaches nobody and nobody reaches it; enabled, it may come in again.
pub(crate) fn is_cut_off_and_comes_back(
    house: &House,
    client: &Client,
    phone: &Foreign,
    gate: &Host,
    inner: &Host,
) {
    let desk = house.desk().unwrap();
    let place = format!("clients/{}", phone.machine().name());
    desk.patch(&place, &json!({"enabled": false})).unwrap();
    is_not_let_in(client, gate);
    phone.machine().cannot_ping(gate.v4().unwrap()).unwrap();
    phone.machine().cannot_ping(inner.v6().unwrap()).unwrap();
    inner.machine().cannot_ping(client.addresses[0]).unwrap();

    desk.patch(&place, &json!({"enabled": true})).unwrap();
    phone.down().unwrap();
    phone.up(&client.configuration).unwrap();
    answers(phone, inner, patience(SOON));
}

/// The configuration with the private key where the server left a place for it.
fn configuration(from_server: &str, private: &str) -> String {
    let lines = from_server.lines().filter(|line| !line.replace(' ', "").contains("PrivateKey="));
    let text: Vec<&str> = lines.collect();
    text.join("\n").replacen("[Interface]", &format!("[Interface]\nPrivateKey = {private}"), 1) + "\n"
}

/// Each reaches the other, within moments.
fn finds(phone: &Foreign, address: IpAddr, host: &Host) {
    answers(phone, host, patience(FOUND));
    host.ping_within(address, patience(FOUND)).unwrap();
}

#[test]
fn a_phone_that_comes_in_by_its_second_gateway_is_found_there() {
    let (house, token) = House::with_network("second").unwrap();
    let untouched = ["one", "two", "inner"].map(|name| house.public_machine(name).unwrap());
    let states = untouched.each_ref().map(|host| host.machine().snapshot().unwrap());
    let [one, two, inner] = &untouched;
    join_all(&[one, two, inner], &token);
    let desk = house.desk().unwrap();
    for gate in ["one", "two"] {
        desk.node(gate, &json!({"remote_access": true})).unwrap();
    }
    let phone = house.foreign("phone").unwrap();
    let keys = phone.key_pair().unwrap();
    let body = json!({"name": "phone", "public_key": keys.public, "gateways": ["one", "two"]});
    let made = desk.post("clients", &body).unwrap();
    let address = ip(made["client"]["v4"].as_str().unwrap());
    // It goes as soon as it was answered, and comes back: from elsewhere, as it does by itself, and from where it was.
    let visits = [("one", 0), ("two", 0), ("one", 0), ("two", 41_000), ("one", 41_000), ("two", 41_000)];
    for (gate, port) in visits {
        let text = desk.get(&format!("clients/phone/config?gateway={gate}")).unwrap();
        let text = configuration(text.as_str().unwrap(), &keys.private);
        phone.up(&text.replacen("[Interface]", &format!("[Interface]\nListenPort = {port}"), 1)).unwrap();
        phone.handshaken(patience(SOON)).unwrap();
        let since = Instant::now();
        // Also the gateway where it is not, which has it as a client as well.
        for host in [inner, one, two] {
            finds(&phone, address, host);
        }
        println!("found at {gate} after {:?}", since.elapsed());
        eventually(patience(SOON), || {
            let session = desk.get("clients/phone")?["session"].take();
            ensure!(session["gateway"]["host_name"] == gate, "it is not at {gate}: {session}");
            Ok(())
        })
        .unwrap();
        phone.down().unwrap();
    }
    // Without the server, where the map leads to its second gateway, it is found at the first as soon as it is back there.
    let text = desk.get("clients/phone/config?gateway=one").unwrap();
    house.server().kill().unwrap();
    phone.up(&configuration(text.as_str().unwrap(), &keys.private)).unwrap();
    phone.handshaken(patience(SOON)).unwrap();
    finds(&phone, address, one);
    phone.down().unwrap();
    house.server().run().unwrap();
    drop(phone);
    let [a, b, c] = states;
    all_leave(&[(one, a), (two, b), (inner, c)]);
}
