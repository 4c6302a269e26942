//! A broker beside the server: a Mosquitto on its machine, over TLS by an authority that nobody else knows.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use testkit::brokers::authority::Authority;
use testkit::brokers::{PASSWORD, USER};
use testkit::house::{Host, House, all_reach_all, patience};
use testkit::lab::{Daemon, Machine, eventually};

use crate::{SOON, join_all};

const BROKER: &str = "mqtts://203.0.113.1:8883";
const SETTINGS: &str = "/etc/netloom/server.toml";

/// All that Mosquitto and the server have to be told.
fn prepare(machine: &Machine) {
    let authority = Authority::for_names(&["203.0.113.1"]).unwrap();
    machine.run("mkdir", ["-p", "/var/lib/broker", "/etc/netloom"]).unwrap();
    machine.write("/var/lib/broker/authority.pem", &authority.authority).unwrap();
    machine.write("/var/lib/broker/certificate.pem", &authority.certificate).unwrap();
    machine.write("/var/lib/broker/key.pem", &authority.key).unwrap();
    machine.write("/var/lib/broker/password", PASSWORD).unwrap();
    machine
        .run("mosquitto_ctrl", ["dynsec", "init", "/var/lib/broker/accounts.json", USER, PASSWORD])
        .unwrap();
    let plugin = "for each in /usr/lib/*/mosquitto_dynamic_security.so; do echo $each; done";
    let plugin = machine.run("sh", ["-c", plugin]).unwrap().stdout;
    let configuration = format!(
        "plugin {}\nplugin_opt_config_file /var/lib/broker/accounts.json\nallow_anonymous false\npersistence false\n\
         user root\nlistener 8883 203.0.113.1\ncertfile /var/lib/broker/certificate.pem\n\
         keyfile /var/lib/broker/key.pem\n",
        plugin.trim()
    );
    machine.write("/var/lib/broker/mosquitto.conf", &configuration).unwrap();
    let settings = format!(
        "broker = \"{BROKER}\"\nbroker_user = \"{USER}\"\nbroker_password_file = \"/var/lib/broker/password\"\n\
         broker_ca_file = \"/var/lib/broker/authority.pem\"\n"
    );
    machine.write(SETTINGS, &settings).unwrap();
}

fn start(machine: &Machine) -> Daemon {
    let mut command = machine.command("mosquitto").unwrap();
    command.args(["-c", "/var/lib/broker/mosquitto.conf"]);
    let mut daemon = machine.spawn("mosquitto", &mut command).unwrap();
    eventually(patience(SOON), || {
        ensure!(daemon.is_running(), "the broker ended\n{}", daemon.log_tail());
        machine.run("bash", ["-c", "exec 3<> /dev/tcp/203.0.113.1/8883"])
    })
    .unwrap();
    daemon
}

/// Waits until changes are pushed to a host by this broker; none: the server's own.
fn is_pushed_to(host: &Host, broker: Option<&str>) {
    eventually(patience(3 * SOON), || {
        let status: Value = host.json(&["status"])?;
        let server = &status["state"]["server"];
        let pushes = server["pushes"].as_bool().context("no server")?;
        ensure!(pushes && server["broker"].as_str() == broker, "{server}");
        Ok(())
    })
    .unwrap();
}

/// Waits until what a host sends into the internet goes into its tunnel, or does not any more.
fn goes_through_tunnel(host: &Host, does: bool) {
    eventually(patience(SOON), || {
        let route = host.machine().attempt("ip", ["route", "get", "198.51.100.1"])?.stdout;
        ensure!(route.contains("netloom0") == does, "{route}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn hosts_go_over_to_a_broker_beside_the_server_find_it_beside_a_dead_tunnel_and_come_back() {
    let (house, token) = House::with_network("broker").unwrap();
    let machine = house.server().machine();
    let (a, b) = (house.public("a").unwrap(), house.public("b").unwrap());
    join_all(&[&a, &b], &token);
    [&a, &b].into_iter().for_each(|host| is_pushed_to(host, None));
    let pinger = a.machine().pinger(b.v4().unwrap()).unwrap();

    prepare(machine);
    let mut mosquitto = start(machine);
    house.server().kill().unwrap();
    house.server().run().unwrap();
    for host in [&a, &b] {
        is_pushed_to(host, Some(BROKER));
        house.administrator().wait_for_presence(host.name(), true, patience(SOON)).unwrap();
    }
    // Changes come by it, also to a host that was never told of the server's own.
    let late = house.public("late").unwrap();
    late.join(&token).unwrap();
    all_reach_all(&[&a, &b, &late], patience(SOON)).unwrap();
    is_pushed_to(&late, Some(BROKER));
    pinger.stop().unwrap().none_lost().unwrap();

    // All of a goes through b, and b dies: what the agent says goes beside it, to the broker too.
    let desk = house.desk().unwrap();
    desk.node("b", &json!({"internet_gateway": true})).unwrap();
    desk.node("a", &json!({"internet": {"gateway": "b", "lan": false}})).unwrap();
    goes_through_tunnel(&a, true);
    b.die().unwrap();
    a.machine().cannot_ping("203.0.113.1".parse().unwrap()).unwrap();
    mosquitto.kill().unwrap();
    let mut mosquitto = start(machine);
    is_pushed_to(&a, Some(BROKER));
    house.administrator().wait_for_presence("a", true, patience(SOON)).unwrap();
    desk.node("a", &json!({"internet": Value::Null})).unwrap();
    goes_through_tunnel(&a, false);

    // Whoever is still connected there would hear nothing of the server's change of mind.
    machine.run("rm", [SETTINGS]).unwrap();
    house.server().kill().unwrap();
    mosquitto.kill().unwrap();
    house.server().run().unwrap();
    [&a, &late].into_iter().for_each(|host| is_pushed_to(host, None));
    all_reach_all(&[&a, &late], patience(SOON)).unwrap();
}
