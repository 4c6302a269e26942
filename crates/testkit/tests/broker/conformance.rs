//! What every broker must do for us, and must not let hosts do.

use std::time::Duration;

use bytes::Bytes;
use model::HostId;
use rumqttc::{ConnectReturnCode, LastWill, QoS};
use server::broker::{Backlog, Broker as _, BrokerEvent, Delivery, Ended, Limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Client, connect, join, options, topic};
use crate::server::{
    A, B, DEADLINE, Server, embedded, next_event, offline, online, password_of, report, start_with,
};

async fn plain(limits: Limits) -> Server {
    start_with(limits, false, "127.0.0.1:0").await
}

async fn server() -> Server {
    plain(Limits::default()).await
}

/// A host that was let in: it is announced and hears the server.
async fn joined(server: &mut Server, host: HostId) -> Client {
    let client = join(server, host).await;
    assert_eq!(server.event().await, online(host));
    client
}

#[tokio::test]
async fn who_cannot_prove_who_it_is_stays_outside() {
    let server = server().await;
    let mut wrong_password = options(&server, A);
    wrong_password.set_credentials(A.to_string(), password_of(B));
    let mut other_user = options(&server, A);
    other_user.set_credentials(B.to_string(), password_of(A));
    let mut no_password = options(&server, A);
    no_password.set_credentials(A.to_string(), "");
    for options in [wrong_password, other_user, no_password] {
        let refusal = connect(options).await.err();
        assert_eq!(refusal, Some(ConnectReturnCode::BadUserNamePassword));
    }
    let upper = A.to_string().to_uppercase();
    for id in ["+", "a/map", "#", "a", &upper] {
        let mut options = options(&server, A);
        options.set_client_id(id.to_owned()).set_credentials(id, password_of(A));
        let refusal = connect(options).await.err();
        assert_eq!(refusal, Some(ConnectReturnCode::BadClientId), "{id}");
    }
    assert_eq!(server.broker.connected(), 0);
    assert!(connect(options(&server, A)).await.is_ok());
}

#[tokio::test]
async fn a_host_hears_its_map_topic_and_no_other() {
    let mut server = server().await;
    let mut client = joined(&mut server, A).await;
    let mut foreign =
        [topic(B, "map"), topic(B, "report"), topic(A, "report"), topic(A, "presence"), topic(A, "#")]
            .to_vec();
    foreign.extend([A, B].map(|host| format!("$share/g/{}", topic(host, "map"))));
    foreign.push(topic(A, "map").to_uppercase());
    foreign
        .extend(["#", "+/+/+/+/+", "$SYS/#", "netloom/v1/host/+/map", "netloom/v1/host/#"].map(String::from));
    for filter in foreign {
        assert!(!client.subscribe(&filter).await, "{filter} was granted");
    }
    let _other = joined(&mut server, B).await;
    assert_eq!(server.broker.publish(B, Bytes::from_static(b"for b")), Delivery::Queued);
    assert_eq!(server.broker.publish(A, Bytes::from_static(b"for a")), Delivery::Queued);
    let message = client.message().await;
    assert_eq!((message.topic, &message.payload[..]), (topic(A, "map"), &b"for a"[..]));
    assert!(!message.retain);
}

#[tokio::test]
async fn a_host_speaks_of_itself_only() {
    let mut server = server().await;
    let _victim = joined(&mut server, B).await;
    let mut foreign = ["report", "presence", "map"].map(|channel| topic(B, channel)).to_vec();
    foreign.extend([topic(A, "map"), topic(A, "other"), "netloom/v1/host".into(), "$SYS/x".into()]);
    for topic in foreign {
        let mut client = joined(&mut server, A).await;
        assert!(client.publish(&topic, "forged").await.is_err(), "{topic} was taken");
        assert_eq!(server.event().await, offline(A, Ended::Forbidden));
    }
    let mut client = joined(&mut server, A).await;
    client.publish(&topic(A, "report"), "honest").await.unwrap();
    assert_eq!(server.event().await, report(A, b"honest"));
    assert!(server.broker.is_online(B));
}

#[tokio::test]
async fn a_last_will_may_speak_of_the_host_itself_only() {
    let server = server().await;
    for will in [topic(B, "presence"), topic(A, "report"), topic(A, "map"), "#".into()] {
        let mut options = options(&server, A);
        options.set_last_will(LastWill::new(&will, "offline", QoS::AtLeastOnce, false));
        assert_eq!(connect(options).await.err(), Some(ConnectReturnCode::NotAuthorized), "{will}");
    }
}

#[tokio::test]
async fn a_host_that_dies_is_offline_at_once() {
    let mut server = server().await;
    let client = joined(&mut server, A).await;
    assert!(server.broker.is_online(A));
    drop(client);
    assert_eq!(server.event().await, offline(A, Ended::Lost));
    assert!(!server.broker.is_online(A));
    assert_eq!(server.broker.publish(A, Bytes::from_static(b"late")), Delivery::Offline);
}

#[tokio::test]
async fn a_host_that_says_farewell_is_offline_once() {
    let mut server = server().await;
    let mut client = joined(&mut server, A).await;
    client.publish(&topic(A, "presence"), "offline").await.unwrap();
    assert_eq!(server.event().await, offline(A, Ended::Left));
    client.mqtt.try_disconnect().unwrap();
    client.ended().await;
    let _next = joined(&mut server, B).await;
}

#[tokio::test]
async fn nothing_waits_for_a_host_that_is_away_and_nothing_is_retained() {
    let mut server = server().await;
    assert_eq!(server.broker.publish(A, Bytes::from_static(b"missed")), Delivery::Offline);
    let mut client = joined(&mut server, A).await;
    assert_eq!(server.broker.publish(A, Bytes::from_static(b"now")), Delivery::Queued);
    assert_eq!(&client.message().await.payload[..], b"now");
}

#[tokio::test]
async fn a_second_connection_takes_over_and_the_host_never_seems_away() {
    let mut server = server().await;
    let mut old = joined(&mut server, A).await;
    let mut new = joined(&mut server, A).await;
    old.ended().await;
    assert!(server.broker.is_online(A));
    assert_eq!(server.broker.connected(), 1);
    assert_eq!(server.broker.publish(A, Bytes::from_static(b"hello")), Delivery::Queued);
    assert_eq!(&new.message().await.payload[..], b"hello");
    drop(new);
    assert_eq!(server.event().await, offline(A, Ended::Lost));
}

#[tokio::test]
async fn a_kicked_host_is_gone() {
    let mut server = server().await;
    let mut client = joined(&mut server, A).await;
    assert!(server.broker.kick(A));
    client.ended().await;
    assert_eq!(server.event().await, offline(A, Ended::Kicked));
    assert!(!server.broker.kick(A));
}

#[tokio::test]
async fn messages_arrive_whole_and_in_order() {
    let mut server = server().await;
    let mut client = joined(&mut server, A).await;
    let large = vec![7_u8; 900_000];
    for number in 0..40_u8 {
        assert_eq!(server.broker.publish(A, Bytes::from(vec![number])), Delivery::Queued);
    }
    assert_eq!(server.broker.publish(A, Bytes::from(large.clone())), Delivery::Queued);
    for number in 0..40_u8 {
        assert_eq!(&client.message().await.payload[..], [number]);
    }
    assert_eq!(client.message().await.payload, large);
}

#[tokio::test]
async fn packets_that_are_too_large_are_refused_in_both_directions() {
    let mut server = server().await;
    let mut client = joined(&mut server, A).await;
    assert_eq!(server.broker.publish(A, Bytes::from(vec![0; (1 << 20) + 1])), Delivery::TooLarge);
    client.publish(&topic(A, "report"), vec![0; 60_000]).await.unwrap();
    server.event().await;
    assert!(client.publish(&topic(A, "report"), vec![0; 70_000]).await.is_err());
    assert_eq!(server.event().await, offline(A, Ended::Violation));
}

#[tokio::test]
async fn a_full_broker_says_so() {
    let mut server = plain(Limits { connections: 1, ..Limits::default() }).await;
    let _first = joined(&mut server, A).await;
    let refusal = connect(options(&server, B)).await.err();
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

/// A packet of less than sixteen thousand bytes.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let (low, high) = (body.len() % 128, body.len() / 128);
    let length = if high == 0 { vec![low] } else { vec![low | 128, high] };
    let length: Vec<u8> = length.into_iter().map(|byte| u8::try_from(byte).unwrap()).collect();
    [&[first], &length[..], body].concat()
}

/// CONNECT of host A with a keepalive of one second.
fn connect_bytes(level: u8) -> Vec<u8> {
    connect_bytes_of(A, level, 1)
}

fn connect_bytes_of(host: HostId, level: u8, keepalive: u8) -> Vec<u8> {
    let head = [&field("MQTT")[..], &[level, 0xc2, 0, keepalive]].concat();
    packet(
        0x10,
        &[head, field(&host.to_string()), field(&host.to_string()), field(&password_of(host))].concat(),
    )
}

/// CONNECT, SUBSCRIBE and presence in one go.
fn join_bytes() -> Vec<u8> {
    [connect_bytes(4), arrive_bytes(A)].concat()
}

/// The same of any host, with a keepalive that outlasts the test.
fn join_bytes_of(host: HostId) -> Vec<u8> {
    [connect_bytes_of(host, 4, 200), arrive_bytes(host)].concat()
}

fn arrive_bytes(host: HostId) -> Vec<u8> {
    let subscribe = packet(0x82, &[vec![0, 1], field(&topic(host, "map")), vec![1]].concat());
    let presence = packet(0x30, &[field(&topic(host, "presence")), b"online".to_vec()].concat());
    [subscribe, presence].concat()
}

/// A message to host A.
fn message(id: u8, text: &str) -> Vec<u8> {
    packet(0x32, &[field(&topic(A, "map")), vec![0, id], text.into()].concat())
}

const WELCOME: &[u8] = &[0x20, 2, 0, 0];
const GRANTED: &[u8] = &[0x90, 3, 0, 1, 1];

#[tokio::test]
async fn a_host_whose_cable_is_cut_is_offline_after_one_and_a_half_keepalives() {
    let (broker, mut events) = embedded(Limits::default());
    let port = broker.open_port("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let mut host = Raw::send(&port.address(), &join_bytes()).await;
    host.expect(WELCOME).await;
    assert_eq!(next_event(&mut events).await, online(A));
    let since = std::time::Instant::now();
    assert_eq!(next_event(&mut events).await, offline(A, Ended::Silent));
    assert!(since.elapsed().as_secs_f64() > 1.0, "it was given up too early");
    host.expect(GRANTED).await;
    host.expect_end().await;
}

#[tokio::test]
async fn a_host_that_does_not_acknowledge_costs_little_and_is_told_to_fetch_and_nobody_else_notices() {
    let (broker, mut events) = embedded(Limits { in_flight: 2, queue_messages: 3, ..Limits::default() });
    let port = broker.open_port("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let mut host = Raw::send(&port.address(), &join_bytes()).await;
    host.expect(WELCOME).await;
    host.expect(GRANTED).await;
    assert_eq!(next_event(&mut events).await, online(A));
    for (id, text) in [(1, "one"), (2, "two")] {
        assert_eq!(broker.publish(A, Bytes::from(text)), Delivery::Queued);
        host.expect(&message(id, text)).await;
    }
    for round in 0..1000 {
        match broker.publish(A, Bytes::from("more")) {
            Delivery::Queued => {}
            Delivery::Full => assert_eq!(broker.publish(A, Bytes::from("fetch")), Delivery::Queued),
            other @ (Delivery::Offline | Delivery::TooLarge) => panic!("{other:?} in round {round}"),
        }
        assert!(broker.backlog().messages <= 3, "{:?}", broker.backlog());
        assert_eq!(broker.connected(), 1);
    }
    assert_eq!(broker.backlog().hosts, 0, "nobody is to wait for a host that hangs");
    host.tcp.write_all(&[0x40, 2, 0, 1]).await.unwrap();
    host.expect(&message(3, "fetch")).await;
}

#[tokio::test]
async fn hosts_that_hang_disturb_nobody_while_they_hang_and_when_they_are_ended() {
    const HANGING: u8 = 100;
    const ROUNDS: u16 = 300;
    let limits = Limits { in_flight: 2, queue_messages: 4, ..Limits::default() };
    let mut server = plain(limits).await;
    let mut healthy = joined(&mut server, A).await;
    let port = server.broker.open_port("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let hanging: Vec<HostId> = (0..HANGING).map(|number| HostId::from_bytes([100 + number; 16])).collect();
    let mut silent = Vec::new();
    for host in &hanging {
        silent.push(Raw::send(&port.address(), &join_bytes_of(*host)).await);
        assert_eq!(server.event().await, online(*host));
    }
    for round in 0..ROUNDS {
        for host in &hanging {
            let delivery = server.broker.publish(*host, Bytes::from(vec![0; 300]));
            assert!(matches!(delivery, Delivery::Queued | Delivery::Full), "{delivery:?}");
        }
        assert_eq!(server.broker.publish(A, Bytes::from(round.to_be_bytes().to_vec())), Delivery::Queued);
        assert_eq!(&healthy.message().await.payload[..], round.to_be_bytes());
        assert!(server.broker.backlog().messages <= 4 * usize::from(HANGING));
    }
    hanging.iter().for_each(|host| assert!(server.broker.kick(*host)));
    for _ in &hanging {
        assert!(matches!(server.event().await, BrokerEvent::Offline { reason: Ended::Kicked, .. }));
    }
    assert_eq!(server.broker.publish(A, Bytes::from("last")), Delivery::Queued);
    assert_eq!(&healthy.message().await.payload[..], b"last");
    assert_eq!((server.broker.connected(), server.broker.backlog()), (1, Backlog::default()));
    drop(silent);
}

/// Both ends are there at once: what the kernel takes for the connection is part of what it costs.
#[tokio::test]
async fn a_host_that_does_not_read_is_ended_in_time() {
    let limits = Limits { write_timeout: Duration::from_millis(300), in_flight: 1000, ..Limits::default() };
    let (broker, mut events) = embedded(limits);
    let port = broker.open_port("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let host = Raw::send(&port.address(), &join_bytes()).await;
    assert_eq!(next_event(&mut events).await, online(A));
    let payload = Bytes::from(vec![0; 64 * 1024]);
    let ended = async {
        loop {
            broker.publish(A, payload.clone());
            tokio::task::yield_now().await;
            if let Ok(event) = events.try_recv() {
                return event;
            }
        }
    };
    let ended = timeout(DEADLINE, ended).await.expect("it was kept");
    assert_eq!(ended, offline(A, Ended::TooSlow));
    assert_eq!(broker.backlog(), Backlog::default());
    drop(host);
}

#[tokio::test]
async fn no_more_is_sent_than_the_host_acknowledges() {
    let (broker, mut events) = embedded(Limits { in_flight: 2, ..Limits::default() });
    let port = broker.open_port("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let mut host = Raw::send(&port.address(), &join_bytes()).await;
    host.expect(WELCOME).await;
    host.expect(GRANTED).await;
    assert_eq!(next_event(&mut events).await, online(A));
    for text in ["one", "two", "three"] {
        assert_eq!(broker.publish(A, Bytes::from(text)), Delivery::Queued);
    }
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
