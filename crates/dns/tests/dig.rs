//! A foreign client, `dig`, asks for every kind of record by UDP and TCP, IPv4 and IPv6.

#![allow(clippy::unwrap_used, reason = "in tests, a panic is the message")]

mod support;

use std::net::SocketAddr;

use dns::{Name, Options, Server};
use support::{ORIGIN, names};
use tokio::process::Command;

async fn dig(server: SocketAddr, how: &str, what: &[&str]) -> String {
    let mut command = Command::new("dig");
    command.arg(format!("@{}", server.ip())).args([
        "-p",
        &server.port().to_string(),
        how,
        "+tries=1",
        "+time=20",
    ]);
    let output = command.args(what).kill_on_drop(true).output().await;
    let output =
        output.expect("`dig` runs: `cargo xtask test` installs it, or `apt-get install bind9-dnsutils`");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn dig_reads_every_kind_of_record() {
    let listen = ["127.0.0.1:0", "[::1]:0"].map(|address| address.parse().unwrap()).to_vec();
    let (server, errors) = Server::start(Options { listen, names: names(), ..Options::default() }).await;
    assert!(errors.is_empty(), "{errors:?}");
    let of = |label: &str| format!("{label}.{ORIGIN}");
    let web = format!("{}.", of("web"));
    let reverse = Name::reverse("fd00:1::3".parse().unwrap()).to_string();
    let soa = format!("ns.{ORIGIN}. admin.{ORIGIN}. 8 3600 600 604800 30");
    let kinds = [
        ("A", of("web"), "10.1.2.3\n10.1.2.4".to_owned()),
        ("AAAA", of("web"), "fd00:1::3".to_owned()),
        ("CNAME", of("www"), web.clone()),
        ("AAAA", of("wiki"), format!("{}.\n{web}\nfd00:1::3", of("www"))),
        ("TXT", of("text"), r#""v=1; \"q\" \\ back" "" "\195\188\010""#.to_owned()),
        ("SRV", of("_sip._udp"), format!("10 5 5060 {web}")),
        ("PTR", "3.2.1.10.in-addr.arpa".to_owned(), web.clone()),
        ("PTR", reverse, web.clone()),
        ("NS", ORIGIN.to_owned(), format!("ns.{ORIGIN}.")),
        ("SOA", ORIGIN.to_owned(), soa),
    ];
    for address in server.listening() {
        for how in ["+notcp", "+tcp"] {
            for (kind, owner, expected) in &kinds {
                let answer = dig(address, how, &["+short", kind, owner]).await;
                assert_eq!(answer.trim_end(), expected, "{kind} {owner} {how} at {address}");
            }
            let whole = dig(address, how, &["A", &of("none")]).await;
            assert!(whole.contains("status: NXDOMAIN") && whole.contains("SOA"), "{whole}");
            assert!(!whole.contains("WARNING: Message parser"), "{whole}");
            let reversed = dig(address, how, &["+short", "-x", "10.1.2.3"]).await;
            assert_eq!(reversed.trim_end(), web);
            let foreign = dig(address, how, &["A", "debian.org"]).await;
            assert!(foreign.contains("status: REFUSED"), "{foreign}");
        }
    }
    let counts = server.counts();
    assert_eq!((counts.queries, counts.answered, counts.refused, counts.failed), (52, 48, 4, 0));
}
