//! What every broker must do for us, and must not let hosts do.

use bytes::Bytes;
use rumqttc::{ConnectReturnCode, LastWill, QoS};
use server::broker::{Broker as _, Delivery, Ended, Limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Client, connect, join, options, topic};
use crate::server::{
    DEADLINE, Server, embedded, next_event, offline, online, password_of, report, start_with,
};

async fn plain(limits: Limits) -> Server {
    start_with(limits, false, "127.0.0.1:0").await
}

async fn server() -> Server {
    plain(Limits::default()).await
}

/// A host that was let in: it is announced and hears the server.
async fn joined(server: &mut Server, host: &str) -> Client {
    let client = join(server, host).await;
    assert_eq!(server.event().await, online(host));
    client
}

#[tokio::test]
async fn who_cannot_prove_who_it_is_stays_outside() {
    let server = server().await;
    let mut wrong_password = options(&server, "a");
    wrong_password.set_credentials("a", password_of("b"));
    let mut other_user = options(&server, "a");
    other_user.set_credentials("b", password_of("a"));
    let mut no_password = options(&server, "a");
    no_password.set_credentials("a", "");
    for options in [wrong_password, other_user, no_password] {
        let refusal = connect(options).await.err();
        assert_eq!(refusal, Some(ConnectReturnCode::BadUserNamePassword));
    }
    for id in ["+", "a/map", "#"] {
        let refusal = connect(options(&server, id)).await.err();
        assert_eq!(refusal, Some(ConnectReturnCode::BadClientId), "{id}");
    }
    assert_eq!(server.broker.connected(), 0);
    assert!(connect(options(&server, "a")).await.is_ok());
}

#[tokio::test]
async fn a_host_hears_its_map_topic_and_no_other() {
    let mut server = server().await;
    let mut client = joined(&mut server, "a").await;
    let foreign = ["b/map", "+/map", "b/report", "a/report", "a/presence", "a/#", "#"]
        .map(|rest| format!("netloom/v1/host/{rest}"));
    let wild =
        ["#", "+/+/+/+/+", "$SYS/#", "$share/g/netloom/v1/host/b/map", "$share/g/netloom/v1/host/a/map"];
    for filter in foreign.iter().map(String::as_str).chain(wild) {
        assert!(!client.subscribe(filter).await, "{filter} was granted");
    }
    let _other = joined(&mut server, "b").await;
    assert_eq!(server.broker.publish("b", Bytes::from_static(b"for b")), Delivery::Queued);
    assert_eq!(server.broker.publish("a", Bytes::from_static(b"for a")), Delivery::Queued);
    let message = client.message().await;
    assert_eq!((message.topic, &message.payload[..]), (topic("a", "map"), &b"for a"[..]));
    assert!(!message.retain);
}

#[tokio::test]
async fn a_host_speaks_of_itself_only() {
    let mut server = server().await;
    let _victim = joined(&mut server, "b").await;
    let mut foreign = ["report", "presence", "map"].map(|channel| topic("b", channel)).to_vec();
    foreign.extend([topic("a", "map"), topic("a", "other"), "netloom/v1/host".into(), "$SYS/x".into()]);
    for topic in foreign {
        let mut client = joined(&mut server, "a").await;
        assert!(client.publish(&topic, "forged").await.is_err(), "{topic} was taken");
        assert_eq!(server.event().await, offline("a", Ended::Forbidden));
    }
    let mut client = joined(&mut server, "a").await;
    client.publish(&topic("a", "report"), "honest").await.unwrap();
    assert_eq!(server.event().await, report("a", b"honest"));
    assert!(server.broker.is_online("b"));
}

#[tokio::test]
async fn a_last_will_may_speak_of_the_host_itself_only() {
    let server = server().await;
    for will in [topic("b", "presence"), topic("a", "report"), topic("a", "map"), "#".into()] {
        let mut options = options(&server, "a");
        options.set_last_will(LastWill::new(&will, "offline", QoS::AtLeastOnce, false));
        assert_eq!(connect(options).await.err(), Some(ConnectReturnCode::NotAuthorized), "{will}");
    }
}

#[tokio::test]
async fn a_host_that_dies_is_offline_at_once() {
    let mut server = server().await;
    let client = joined(&mut server, "a").await;
    assert!(server.broker.is_online("a"));
    drop(client);
    assert_eq!(server.event().await, offline("a", Ended::Lost));
    assert!(!server.broker.is_online("a"));
    assert_eq!(server.broker.publish("a", Bytes::from_static(b"late")), Delivery::Offline);
}

#[tokio::test]
async fn a_host_that_says_farewell_is_offline_once() {
    let mut server = server().await;
    let mut client = joined(&mut server, "a").await;
    client.publish(&topic("a", "presence"), "offline").await.unwrap();
    assert_eq!(server.event().await, offline("a", Ended::Left));
    client.mqtt.try_disconnect().unwrap();
    client.ended().await;
    let _next = joined(&mut server, "b").await;
}

#[tokio::test]
async fn nothing_waits_for_a_host_that_is_away_and_nothing_is_retained() {
    let mut server = server().await;
    assert_eq!(server.broker.publish("a", Bytes::from_static(b"missed")), Delivery::Offline);
    let mut client = joined(&mut server, "a").await;
    assert_eq!(server.broker.publish("a", Bytes::from_static(b"now")), Delivery::Queued);
    assert_eq!(&client.message().await.payload[..], b"now");
}

#[tokio::test]
async fn a_second_connection_takes_over_and_the_host_never_seems_away() {
    let mut server = server().await;
    let mut old = joined(&mut server, "a").await;
    let mut new = joined(&mut server, "a").await;
    old.ended().await;
    assert!(server.broker.is_online("a"));
    assert_eq!(server.broker.connected(), 1);
    assert_eq!(server.broker.publish("a", Bytes::from_static(b"hello")), Delivery::Queued);
    assert_eq!(&new.message().await.payload[..], b"hello");
    drop(new);
    assert_eq!(server.event().await, offline("a", Ended::Lost));
}

#[tokio::test]
async fn a_kicked_host_is_gone() {
    let mut server = server().await;
    let mut client = joined(&mut server, "a").await;
    assert!(server.broker.kick("a"));
    client.ended().await;
    assert_eq!(server.event().await, offline("a", Ended::Kicked));
    assert!(!server.broker.kick("a"));
}

#[tokio::test]
async fn messages_arrive_whole_and_in_order() {
    let mut server = server().await;
    let mut client = joined(&mut server, "a").await;
    let large = vec![7_u8; 900_000];
    for number in 0..40_u8 {
        assert_eq!(server.broker.publish("a", Bytes::from(vec![number])), Delivery::Queued);
    }
    assert_eq!(server.broker.publish("a", Bytes::from(large.clone())), Delivery::Queued);
    for number in 0..40_u8 {
        assert_eq!(&client.message().await.payload[..], [number]);
    }
    assert_eq!(client.message().await.payload, large);
}

#[tokio::test]
async fn packets_that_are_too_large_are_refused_in_both_directions() {
    let mut server = server().await;
    let mut client = joined(&mut server, "a").await;
    assert_eq!(server.broker.publish("a", Bytes::from(vec![0; (1 << 20) + 1])), Delivery::TooLarge);
    client.publish(&topic("a", "report"), vec![0; 60_000]).await.unwrap();
    server.event().await;
    assert!(client.publish(&topic("a", "report"), vec![0; 70_000]).await.is_err());
    assert_eq!(server.event().await, offline("a", Ended::Violation));
}

#[tokio::test]
async fn a_full_broker_says_so() {
    let mut server = plain(Limits { connections: 1, ..Limits::default() }).await;
    let _first = joined(&mut server, "a").await;
    let refusal = connect(options(&server, "b")).await.err();
    assert_eq!(refusal, Some(ConnectReturnCode::ServiceUnavailable));
}

/// A host on a bare TCP port that sends exactly these bytes, so that it can misbehave.
struct Raw {
    tcp: TcpStream,
}

impl Raw {
    async fn send(server: &std::net::SocketAddr, bytes: &[u8]) -> Self {
        let mut tcp = TcpStream::connect(server).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        Self { tcp }
    }

    async fn expect(&mut self, bytes: &[u8]) {
        let mut found = vec![0; bytes.len()];
        timeout(DEADLINE, self.tcp.read_exact(&mut found)).await.expect("no answer in time").unwrap();
        assert_eq!(found, bytes);
    }

    async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        timeout(DEADLINE, self.tcp.read_to_end(&mut rest)).await.expect("it was not ended in time").unwrap();
        assert!(rest.is_empty(), "nothing more was to come: {rest:?}");
    }
}

fn field(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first, u8::try_from(body.len()).unwrap()], body].concat()
}

/// CONNECT of host "a" with a keepalive of one second.
fn connect_bytes(level: u8) -> Vec<u8> {
    let head = [&field("MQTT")[..], &[level, 0xc2, 0, 1]].concat();
    packet(0x10, &[head, field("a"), field("a"), field(&password_of("a"))].concat())
}

/// CONNECT, SUBSCRIBE and presence in one go.
fn join_bytes() -> Vec<u8> {
    let subscribe = packet(0x82, &[vec![0, 1], field(&topic("a", "map")), vec![1]].concat());
    let presence = packet(0x30, &[field(&topic("a", "presence")), b"online".to_vec()].concat());
    [connect_bytes(4), subscribe, presence].concat()
}

const WELCOME: &[u8] = &[0x20, 2, 0, 0];
const GRANTED: &[u8] = &[0x90, 3, 0, 1, 1];

#[tokio::test]
async fn a_host_whose_cable_is_cut_is_offline_after_one_and_a_half_keepalives() {
    let (broker, mut events) = embedded(Limits::default());
    let port = broker.open_port("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let mut host = Raw::send(&port.address(), &join_bytes()).await;
    host.expect(WELCOME).await;
    assert_eq!(next_event(&mut events).await, online("a"));
    let since = std::time::Instant::now();
    assert_eq!(next_event(&mut events).await, offline("a", Ended::Silent));
    assert!(since.elapsed().as_secs_f64() > 1.0, "it was given up too early");
    host.expect(GRANTED).await;
    host.expect_end().await;
}

#[tokio::test]
async fn a_host_that_does_not_read_or_acknowledge_is_ended_and_costs_little() {
    let (broker, mut events) = embedded(Limits::default());
    let port = broker.open_port("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let host = Raw::send(&port.address(), &join_bytes()).await;
    assert_eq!(next_event(&mut events).await, online("a"));
    let payload = Bytes::from(vec![0; 64 * 1024]);
    let mut queued = 0;
    while broker.publish("a", payload.clone()) == Delivery::Queued {
        queued += 1;
        assert!(queued < 200, "messages pile up without bound");
        tokio::task::yield_now().await;
    }
    assert_eq!(next_event(&mut events).await, offline("a", Ended::TooSlow));
    drop(host);
}

#[tokio::test]
async fn no_more_is_sent_than_the_host_acknowledges() {
    let (broker, mut events) = embedded(Limits { in_flight: 2, ..Limits::default() });
    let port = broker.open_port("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let mut host = Raw::send(&port.address(), &join_bytes()).await;
    host.expect(WELCOME).await;
    host.expect(GRANTED).await;
    assert_eq!(next_event(&mut events).await, online("a"));
    for text in ["one", "two", "three"] {
        assert_eq!(broker.publish("a", Bytes::from(text)), Delivery::Queued);
    }
    let message =
        |id, text: &str| packet(0x32, &[field(&topic("a", "map")), vec![0, id], text.into()].concat());
    host.expect(&message(1, "one")).await;
    host.expect(&message(2, "two")).await;
    host.tcp.write_all(&[0xc0, 0]).await.unwrap();
    host.expect(&[0xd0, 0]).await;
    host.tcp.write_all(&[0x40, 2, 0, 1]).await.unwrap();
    host.expect(&message(3, "three")).await;
}

#[tokio::test]
async fn strangers_are_not_kept() {
    let limits = Limits { connect_timeout: std::time::Duration::from_millis(200), ..Limits::default() };
    let (broker, _events) = embedded(limits);
    let port = broker.open_port("127.0.0.1:0".parse().unwrap(), None).unwrap();
    // Silence, another packet first, too long an introduction, and a protocol that is not spoken here.
    for bytes in [&[][..], &[0xc0, 0], &[0x10, 0xff, 0xff, 0x7f]] {
        Raw::send(&port.address(), bytes).await.expect_end().await;
    }
    let mut newer = Raw::send(&port.address(), &connect_bytes(5)).await;
    newer.expect(&[0x20, 2, 0, 1]).await;
    newer.expect_end().await;
}
