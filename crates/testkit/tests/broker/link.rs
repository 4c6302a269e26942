//! The agent's link against the server's broker: what each tells of the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent::link::{Backoff, Link, LinkError, LinkEvent, LinkHandle, LinkOptions, ServerTrust, Undelivered};
use bytes::Bytes;
use model::HostId;
use server::broker::{Broker as _, Delivery, Ended, Limits};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::server::{A, DEADLINE, Server, offline, online, password_of, report, start, start_with};

pub(crate) fn options(url: String, trust: ServerTrust, host: HostId) -> LinkOptions {
    let password = password_of(host);
    let mut options = LinkOptions::new(url, host.to_string(), Arc::new(move || password.clone()), trust);
    options.backoff = Backoff { first: Duration::from_millis(20), longest: Duration::from_millis(200) };
    options
}

fn link_to(server: &Server, host: HostId) -> (LinkHandle, mpsc::Receiver<LinkEvent>) {
    Link::connect(options(server.url(), server.trust(), host)).unwrap()
}

async fn next(events: &mut mpsc::Receiver<LinkEvent>) -> LinkEvent {
    timeout(DEADLINE, events.recv()).await.expect("no event came in time").expect("the link is gone")
}

async fn reason(options: LinkOptions) -> LinkError {
    let (_handle, mut events) = Link::connect(options).unwrap();
    match next(&mut events).await {
        LinkEvent::Disconnected { reason, .. } => reason,
        other => panic!("it should not have connected: {other:?}"),
    }
}

#[tokio::test]
async fn maps_come_in_and_reports_go_out_over_wss_and_over_plain_websockets() {
    for tls in [true, false] {
        let mut server = start_with(Limits::default(), tls, "127.0.0.1:0").await;
        let (handle, mut events) = link_to(&server, A);
        assert_eq!(next(&mut events).await, LinkEvent::Connected);
        assert_eq!(server.event().await, online(A));
        assert_eq!(server.broker.publish(A, Bytes::from_static(b"map")), Delivery::Queued);
        assert_eq!(next(&mut events).await, LinkEvent::Map(b"map".to_vec()));
        assert_eq!(handle.publish_report(b"report".to_vec()), Ok(()));
        assert_eq!(server.event().await, report(A, b"report"));
        handle.close().await;
        assert_eq!(server.event().await, offline(A, Ended::Left));
        assert_eq!(server.broker.connected(), 0);
    }
}

#[tokio::test]
async fn it_works_on_a_tcp_port_with_and_without_tls() {
    let mut server = start().await;
    let certificates = server.certificates.clone().unwrap();
    let any_port = "127.0.0.1:0".parse().unwrap();
    let secure = server.broker.open_port(any_port, Some(&certificates)).unwrap();
    let plain = server.broker.open_port(any_port, None).unwrap();
    let secure_url = format!("mqtts://{}", secure.address());
    let plain_url = format!("mqtt://{}", plain.address());
    for (url, trust) in [(secure_url, server.trust()), (plain_url, ServerTrust::PublicRoots)] {
        let (handle, mut events) = Link::connect(options(url, trust, A)).unwrap();
        assert_eq!(next(&mut events).await, LinkEvent::Connected);
        assert_eq!(server.event().await, online(A));
        drop(handle);
        assert_eq!(server.event().await, offline(A, Ended::Left));
    }
    secure.shutdown().await;
    plain.shutdown().await;
}

#[tokio::test]
async fn the_largest_map_arrives_and_a_report_that_is_too_large_is_not_sent() {
    let mut server = start().await;
    let (handle, mut events) = link_to(&server, A);
    assert_eq!(next(&mut events).await, LinkEvent::Connected);
    assert_eq!(server.event().await, online(A));
    let map = vec![9; 1 << 20];
    assert_eq!(server.broker.publish(A, Bytes::from(map.clone())), Delivery::Queued);
    assert_eq!(next(&mut events).await, LinkEvent::Map(map));
    let limit = 64 * 1024 - 256;
    assert_eq!(handle.publish_report(vec![0; limit + 1]), Err(Undelivered::TooLarge { limit }));
    assert_eq!(handle.publish_report(vec![0; limit]), Ok(()));
    let report = server.event().await;
    assert_eq!(report, server::broker::BrokerEvent::Report { host: A, payload: vec![0; limit].into() });
}

#[tokio::test]
async fn it_comes_back_by_itself_after_the_server_was_restarted_with_a_fresh_credential() {
    let mut server = start_with(Limits::default(), false, "127.0.0.1:0").await;
    let mut options = options(server.url(), server.trust(), A);
    let made = Arc::new(AtomicU32::new(0));
    let counter = made.clone();
    options.password = Arc::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        password_of(A)
    });
    let (handle, mut events) = Link::connect(options).unwrap();
    assert_eq!(next(&mut events).await, LinkEvent::Connected);
    assert_eq!(server.event().await, online(A));
    let address = server.stop().await;
    assert!(matches!(next(&mut events).await, LinkEvent::Disconnected { .. }));
    assert_eq!(handle.publish_report(b"r".to_vec()), Err(Undelivered::NotConnected));
    let mut server = start_with(Limits::default(), false, &address.to_string()).await;
    while next(&mut events).await != LinkEvent::Connected {}
    assert_eq!(server.event().await, online(A));
    assert!(made.load(Ordering::Relaxed) >= 2);
}

#[tokio::test]
async fn a_host_that_was_kicked_tries_again() {
    let mut server = start().await;
    let (_handle, mut events) = link_to(&server, A);
    assert_eq!(next(&mut events).await, LinkEvent::Connected);
    assert_eq!(server.event().await, online(A));
    server.broker.kick(A);
    assert!(matches!(next(&mut events).await, LinkEvent::Disconnected { reason: LinkError::Lost(_), .. }));
    assert_eq!(server.event().await, offline(A, Ended::Kicked));
    assert_eq!(next(&mut events).await, LinkEvent::Connected);
    assert_eq!(server.event().await, online(A));
}

#[tokio::test]
async fn each_way_to_be_left_outside_has_its_own_reason() {
    let server = start().await;
    let (url, trust) = (server.url(), server.trust());
    let mut unknown = options(url.clone(), trust.clone(), A);
    unknown.password = Arc::new(|| "wrong".to_owned());
    assert_eq!(reason(unknown).await, LinkError::NotAuthorised);
    let wrong_pin = options(url.clone(), ServerTrust::Pin([7; 32]), A);
    assert_eq!(reason(wrong_pin).await, LinkError::WrongPin);
    let by_name = reason(options(url.clone(), ServerTrust::PublicRoots, A));
    assert!(matches!(by_name.await, LinkError::Untrusted(_)));
    let elsewhere = options(url.replace("/mqtt", "/other"), trust.clone(), A);
    assert!(matches!(reason(elsewhere).await, LinkError::Refused(_)));
    server.stop().await;
    let gone = reason(options(url, trust, A)).await;
    assert!(matches!(gone, LinkError::Unreachable(_)), "{gone:?}");
}

#[tokio::test]
async fn closing_ends_a_link_that_never_stood() {
    let (handle, mut events) =
        Link::connect(options("ws://127.0.0.1:1/mqtt".into(), ServerTrust::PublicRoots, A)).unwrap();
    assert!(matches!(next(&mut events).await, LinkEvent::Disconnected { .. }));
    timeout(DEADLINE, handle.close()).await.expect("it did not end in time");
    while let Some(event) = timeout(DEADLINE, events.recv()).await.expect("the link did not end") {
        assert!(matches!(event, LinkEvent::Disconnected { .. }));
    }
}
