//! Names: every kind of record, from agents, from the server, and from what it writes for other DNS servers.

use serde_json::json;
use testkit::house::{Host, House, dig, patience};
use testkit::lab::{Daemon, Machine, eventually};
use testkit::programs;

use anyhow::{Result, ensure};

use crate::{SOON, all_leave, join_all};

const FOLDER: &str = "/var/lib/zones";
const DOMAIN: &str = "home.netloom.internal";

/// Questions and their whole answers.
fn questions(hosts: &[&Host]) -> Vec<(Vec<String>, Vec<String>)> {
    let mut questions = Vec::new();
    let mut ask = |words: &[&str], lines: &[&str]| {
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        questions.push((own(words), own(lines)));
    };
    for host in hosts {
        let name = format!("{}.{DOMAIN}", host.name());
        let [v4, v6] = [host.v4().unwrap(), host.v6().unwrap()].map(|address| address.to_string());
        ask(&[&name, "A"], &[&v4]);
        ask(&[&name, "AAAA"], &[&v6]);
        ask(&["-x", &v4], &[&format!("{name}.")]);
        ask(&["-x", &v6], &[&format!("{name}.")]);
    }
    let web = hosts[0].v4().unwrap().to_string();
    ask(&[&format!("printer.{DOMAIN}"), "A"], &["192.168.7.9"]);
    ask(&[&format!("printer.{DOMAIN}"), "AAAA"], &["fd07::9"]);
    ask(&[&format!("www.{DOMAIN}"), "CNAME"], &[&format!("web.{DOMAIN}.")]);
    ask(&[&format!("www.{DOMAIN}"), "A"], &[&format!("web.{DOMAIN}."), &web]);
    ask(&[DOMAIN, "TXT"], &["\"all \\\"is\\\" well\""]);
    ask(&[&format!("_ldap._tcp.{DOMAIN}"), "SRV"], &[&format!("10 20 389 web.{DOMAIN}.")]);
    ask(&[&format!("nobody.{DOMAIN}"), "A"], &[]);
    questions
}

fn records(house: &House) {
    let desk = house.desk().unwrap();
    let all = [
        json!({"name": "printer", "data": {"type": "a", "address": "192.168.7.9"}}),
        json!({"name": "printer", "data": {"type": "aaaa", "address": "fd07::9"}}),
        json!({"name": "www", "data": {"type": "cname", "target": format!("web.{DOMAIN}")}}),
        json!({"data": {"type": "txt", "text": "all \"is\" well"}}),
        json!({"name": "_ldap._tcp", "data": {"type": "srv", "priority": 10, "weight": 20, "port": 389, "target": format!("web.{DOMAIN}")}}),
    ];
    for record in &all {
        desk.post("dns/records", record).unwrap();
    }
}

/// Everything is answered as it should be by UDP and by TCP.
fn answers(asker: &Machine, server: &[&str], questions: &[(Vec<String>, Vec<String>)]) -> Result<()> {
    for transport in ["+notcp", "+tcp"] {
        for (words, lines) in questions {
            let words: Vec<&str> =
                server.iter().copied().chain([transport]).chain(words.iter().map(String::as_str)).collect();
            let said = dig(asker, &words)?;
            ensure!(&said == lines, "`dig {}` says {said:?}, not {lines:?}", words.join(" "));
        }
    }
    Ok(())
}

#[test]
fn every_kind_of_record_is_answered_by_agents_by_the_server_and_by_who_reads_its_zone_files() {
    let settings = [
        ("NETLOOM_DNS_LISTEN", "203.0.113.1:53"),
        ("NETLOOM_DNS_ALLOW", "203.0.113.0/24"),
        ("NETLOOM_COREDNS_FOLDER", FOLDER),
    ];
    let house = House::with_settings("names", &settings).unwrap();
    let token = house.first_network().unwrap();
    let hosts = ["web", "db"].map(|name| house.public_machine(name).unwrap());
    let before = hosts.each_ref().map(|host| host.machine().snapshot().unwrap());
    let [web, db] = &hosts;
    join_all(&[web, db], &token);
    records(&house);
    let questions = questions(&[web, db]);
    eventually(patience(SOON), || answers(web.machine(), &["@203.0.113.1"], &questions)).unwrap();
    let _other = another_reader(house.server().machine());
    eventually(patience(SOON), || {
        answers(house.server().machine(), &["@127.0.0.1", "-p", "5454"], &questions)
    })
    .unwrap();
    let listed = house.server().machine().read(&format!("{FOLDER}/hosts")).unwrap();
    for host in [web, db] {
        let line = format!("{} {}.{DOMAIN}", host.v4().unwrap(), host.name());
        assert!(listed.lines().any(|there| there.starts_with(&line)), "{line} is not in\n{listed}");
    }
    for host in [web, db] {
        let at = format!("@{}", host.v4().unwrap());
        eventually(patience(SOON), || answers(host.machine(), &[&at], &questions)).unwrap();
        let at = format!("@{}", host.v6().unwrap());
        answers(host.machine(), &[&at], &questions[..2]).unwrap();
        // As every program on the machine asks.
        let said = host.machine().run("getent", ["ahostsv4", &format!("web.{DOMAIN}")]).unwrap().stdout;
        assert!(said.contains(&web.v4().unwrap().to_string()), "{said}");
    }

    let said = web.machine().run("getent", ["ahostsv4", "db"]).unwrap().stdout;
    assert!(said.contains(&db.v4().unwrap().to_string()), "by the search domain: {said}");

    house.server().kill().unwrap();
    let at = format!("@{}", web.v4().unwrap());
    answers(web.machine(), &[&at], &questions).unwrap();
    house.server().run().unwrap();
    let [first, second] = before;
    all_leave(&[(web, first), (db, second)]);
}

/// The judgement of BIND on each zone file, and `unbound` that serves them: CoreDNS itself is no package of Debian.
fn another_reader(server: &Machine) -> Daemon {
    let files = server.run("sh", ["-c", &format!("cd {FOLDER} && ls -d db.*")]).unwrap().stdout;
    let mut settings = "server:\n username: \"\"\n chroot: \"\"\n directory: \"/run\"\n pidfile: \"\"\n use-syslog: no\n \
         interface: 127.0.0.1@5454\n do-daemonize: no\n module-config: \"iterator\"\n do-not-query-localhost: no\n \
         local-zone: \"10.in-addr.arpa.\" nodefault\n local-zone: \"d.f.ip6.arpa.\" nodefault\nremote-control:\n control-enable: no\n"
        .to_owned();
    assert!(files.lines().count() >= 3, "a zone for the names and one for each range: {files}");
    for file in files.lines() {
        let origin = file.trim_start_matches("db.");
        let said = server.run("named-checkzone", [origin, &format!("{FOLDER}/{file}")]).unwrap().stdout;
        assert!(said.trim_end().ends_with("OK"), "{said}");
        settings += &format!(
            "auth-zone:\n name: \"{origin}\"\n zonefile: \"{FOLDER}/{file}\"\n for-downstream: yes\n for-upstream: yes\n"
        );
    }
    server.write("/run/other.conf", &settings).unwrap();
    let mut command = server.command("unbound").unwrap();
    server.spawn("unbound", command.args(["-d", "-c", "/run/other.conf"])).unwrap()
}

#[test]
fn a_domain_with_an_upstream_of_its_own_is_asked_there_and_what_is_foreign_where_it_was_asked_before() {
    let (house, token) = House::with_network("upstream").unwrap();
    let hosts = ["web", "db"].map(|name| house.public_machine(name).unwrap());
    let [web, db] = &hosts;
    let _servers = [("corp", "203.0.113.61", "wiki.corp.example. A 198.51.100.7"), ("isp", "203.0.113.62", "www.example.org. A 198.51.100.8")]
        .map(|(name, address, record)| {
            let machine = house.lab().machine(name).unwrap();
            machine.attach(house.internet(), &[&format!("{address}/24")], &[]).unwrap();
            let settings = format!(
                "server:\n username: \"\"\n chroot: \"\"\n directory: \"/run\"\n pidfile: \"\"\n use-syslog: no\n do-daemonize: no\n \
                 interface: {address}\n access-control: 0.0.0.0/0 allow\n local-zone: \"example.\" static\n local-zone: \"example.org.\" static\n \
                 local-data: \"{record}\"\nremote-control:\n control-enable: no\n"
            );
            machine.write("/run/dns.conf", &settings).unwrap();
            let mut command = machine.command("unbound").unwrap();
            let daemon = machine.spawn("unbound", command.args(["-d", "-c", "/run/dns.conf"])).unwrap();
            (machine, daemon)
        });
    for host in [web, db] {
        host.machine().write("/etc/resolv.conf", "nameserver 203.0.113.62\n").unwrap();
    }
    let before = hosts.each_ref().map(|host| host.machine().snapshot().unwrap());
    join_all(&[web, db], &token);
    let body = json!({"domain": "corp.example", "servers": ["203.0.113.61"]});
    house.desk().unwrap().post("dns/upstreams", &body).unwrap();
    for host in [web, db] {
        eventually(patience(SOON), || {
            let said = dig(host.machine(), &["wiki.corp.example", "A"])?;
            ensure!(said == ["198.51.100.7"], "{said:?}");
            let said = dig(host.machine(), &["www.example.org", "A"])?;
            ensure!(said == ["198.51.100.8"], "{said:?}");
            let said = dig(host.machine(), &[&format!("db.{DOMAIN}"), "A"])?;
            ensure!(said == [db.v4()?.to_string()], "{said:?}");
            Ok(())
        })
        .unwrap();
    }
    let [first, second] = before;
    all_leave(&[(web, first), (db, second)]);
}

/// A server on this machine beside the house's: who has port 53 first is chance where both start with the machine.
fn a_server_of_its_own(host: &Host) -> Daemon {
    let mut command = host.machine().command(programs::find("netloom-server").unwrap()).unwrap();
    command.args(["--data", "/var/lib/second"]).env("NETLOOM_URL", "https://203.0.113.200:8443");
    host.machine().spawn("second", &mut command).unwrap()
}

/// The server on this machine answers where no agent does, and the agent at its own addresses.
fn both_answer(host: &Host) -> Result<()> {
    let name = format!("{}.{DOMAIN}", host.name());
    for address in host.addresses()? {
        let said = dig(host.machine(), &[&format!("@{address}"), &name, "A"])?;
        ensure!(said == [host.v4()?.to_string()], "the agent at {address}: {said:?}");
    }
    // It knows no network and refuses: that it says so is the answer.
    dig(host.machine(), &["@127.0.0.1", &name, "A"])?;
    dig(host.machine(), &["@::1", &name, "A"]).map(drop)
}

#[test]
fn a_server_and_an_agent_on_one_machine_have_names_both_whoever_comes_first() {
    let (house, token) = House::with_network("together").unwrap();
    let hosts = ["first", "second"].map(|name| house.public_machine(name).unwrap());
    let [server_first, agent_first] = &hosts;
    let _one = a_server_of_its_own(server_first);
    eventually(patience(SOON), || dig(server_first.machine(), &["@127.0.0.1", "localhost"])).unwrap();
    join_all(&[server_first, agent_first], &token);
    let _other = a_server_of_its_own(agent_first);
    for host in &hosts {
        eventually(patience(SOON), || both_answer(host)).unwrap();
    }
}

#[test]
fn a_container_that_copied_the_machines_resolver_is_answered() {
    let (house, token) = House::with_network("inside").unwrap();
    let web = house.public_machine("web").unwrap();
    web.join(&token).unwrap();
    // What an engine makes: a bridge, and a machine behind it with another source address.
    let make = "ip link add docker0 type bridge && ip address add 172.17.0.1/16 dev docker0 && ip link set docker0 up && \
                ip netns add box && ip link add inside type veth peer name eth0 netns box && \
                ip link set inside master docker0 up && ip -n box address add 172.17.0.2/16 dev eth0 && \
                ip -n box link set eth0 up && ip -n box route add default via 172.17.0.1";
    web.machine().run("sh", ["-c", make]).unwrap();
    let (at, own) = (format!("@{}", web.v4().unwrap()), web.v4().unwrap().to_string());
    eventually(patience(SOON), || {
        let name = format!("web.{DOMAIN}");
        let asked = ["netns", "exec", "box", "dig", "+short", "+tries=1", "+time=2", &at, &name, "A"];
        let said = web.machine().run("ip", asked)?.stdout;
        ensure!(said.trim() == own, "{said}");
        Ok(())
    })
    .unwrap();
}
