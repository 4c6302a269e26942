//! What a host can do at every broker, and what it cannot.

use agent::link::{LinkError, LinkEvent};
use bytes::Bytes;
use rumqttc::{LastWill, QoS};
use server::broker::{BrokerEvent, Delivery};

use crate::client::{Outcome, connect, let_in, options, topic};
use crate::subject::{A, B, C, Kind, Subject, on_every_broker, password_of};

on_every_broker! {
    who_cannot_prove_who_it_is_stays_outside
    maps_come_in_and_reports_go_out_whole_and_in_order
    a_host_hears_its_own_map_topic_and_no_other
    a_host_speaks_of_itself_only
    a_last_will_may_speak_of_the_host_itself_only
    a_host_that_dies_is_offline
    a_host_that_says_farewell_is_offline
    a_second_connection_takes_over
    nothing_waits_for_a_host_that_is_away_and_nothing_is_retained
    a_packet_that_is_too_large_ends_one_connection_and_disturbs_nobody_else
    what_comes_twice_is_handed_on_twice_and_in_order
}

async fn who_cannot_prove_who_it_is_stays_outside(mut subject: Subject) {
    let _proof = subject.joined(A).await;
    for (host, password) in
        [(A, password_of(B)), (A, String::new()), (C, password_of(C)), (C, password_of(A))]
    {
        let mut link = subject.link_with(host, &password);
        let LinkEvent::Disconnected { reason, .. } = link.next().await else { panic!("{host} was let in") };
        // NATS ends the connection of a host that comes without a password before it has read all of it.
        assert!(matches!(reason, LinkError::NotAuthorised) || subject.kind == Kind::Nats, "{reason:?}");
    }
    let mut stranger = options(&subject, B);
    stranger.set_credentials(A.to_string(), password_of(B));
    assert!(connect(stranger).await.is_none());
    assert!(subject.broker.is_online(A), "an attempt under its name does not end its connection");
}

async fn maps_come_in_and_reports_go_out_whole_and_in_order(mut subject: Subject) {
    let mut host = subject.joined(A).await;
    // Mosquitto 2.0.11 hands out 40 KiB a second over WebSocket: see docs/guide/brokers.md.
    let large = vec![7_u8; if subject.kind == Kind::MosquittoFiles { 20_000 } else { 900_000 }];
    for number in 0..60_u8 {
        subject.publish(A, [number]);
    }
    subject.publish(A, large.clone());
    for number in 0..60_u8 {
        assert_eq!(host.map().await, [number]);
    }
    assert_eq!(host.map().await, large);
    let report = vec![9_u8; 60_000];
    for number in 0..12_u8 {
        host.handle.publish_report(vec![number]).unwrap();
    }
    host.handle.publish_report(report.clone()).unwrap();
    for number in 0..12_u8 {
        let payload = Bytes::from(vec![number]);
        assert_eq!(subject.event().await, BrokerEvent::Report { host: A, payload });
    }
    assert_eq!(subject.event().await, BrokerEvent::Report { host: A, payload: report.into() });
    assert_eq!(subject.broker.publish(A, Bytes::from(vec![0; (1 << 20) + 1])), Delivery::TooLarge);
}

async fn a_host_hears_its_own_map_topic_and_no_other(mut subject: Subject) {
    let mut victim = subject.joined(B).await;
    let mut foreign =
        [topic(B, "map"), topic(B, "report"), topic(A, "report"), topic(B, "presence")].to_vec();
    let wild = [
        "#",
        "+/+/+/+/+",
        "$SYS/#",
        "netloom/v1/host/+/map",
        "netloom/v1/host/#",
        "$CONTROL/#",
        "$MQTT/sub/#",
    ];
    foreign.extend(wild.map(String::from));
    foreign.extend([format!("$share/g/{}", topic(B, "map")), topic(A, "#")]);
    let mut client = None;
    for filter in &foreign {
        let mut current = match client.take() {
            Some(client) => client,
            None => let_in(&subject, A).await,
        };
        // Mosquitto's files grant it, and then nothing is handed on.
        if current.subscribe(filter).await != Outcome::Ended {
            client = Some(current);
        }
    }
    let mut client = match client {
        Some(client) => client,
        None => let_in(&subject, A).await,
    };
    assert_eq!(client.subscribe(&topic(A, "map")).await, Outcome::Granted);
    assert_eq!(client.publish(&topic(A, "presence"), "online").await, Outcome::Granted);
    subject.until_online(A).await;
    victim.handle.publish_report(b"secret".to_vec()).unwrap();
    subject.until(|event| matches!(event, BrokerEvent::Report { .. })).await;
    subject.publish(B, b"for b");
    assert_eq!(victim.map().await, b"for b");
    subject.publish(A, b"for a");
    // All that it might have heard was published before this.
    let mut heard = client.message().await;
    while heard.0 == topic(A, "presence") || heard.0 == topic(A, "report") {
        heard = client.message().await;
    }
    assert_eq!(heard, (topic(A, "map"), b"for a".to_vec()));
}

async fn a_host_speaks_of_itself_only(mut subject: Subject) {
    let mut victim = subject.joined(B).await;
    let mut foreign = ["report", "presence", "map"].map(|channel| topic(B, channel)).to_vec();
    foreign.extend([
        topic(A, "map"),
        topic(A, "other"),
        "$CONTROL/dynamic-security/v1".into(),
        "else".into(),
    ]);
    for forged in &foreign {
        let mut client = let_in(&subject, A).await;
        if client.publish(forged, "offline").await != Outcome::Ended {
            client.mqtt.try_disconnect().unwrap();
            client.ended().await;
        }
    }
    let mut client = let_in(&subject, A).await;
    assert_eq!(client.publish(&topic(A, "report"), "honest").await, Outcome::Granted);
    let event = subject
        .until(|event| {
            !matches!(event, BrokerEvent::Online { host: A } | BrokerEvent::Offline { host: A, .. })
        })
        .await;
    assert_eq!(event, BrokerEvent::Report { host: A, payload: Bytes::from_static(b"honest") });
    assert!(subject.broker.is_online(B));
    subject.publish(B, b"true");
    assert_eq!(victim.map().await, b"true", "nobody else's word came before it");
}

async fn a_last_will_may_speak_of_the_host_itself_only(mut subject: Subject) {
    let _victim = subject.joined(B).await;
    let mut options = options(&subject, A);
    options.set_last_will(LastWill::new(topic(B, "presence"), "offline", QoS::AtLeastOnce, false));
    if let Some(mut client) = connect(options).await {
        // Let in, it dies at once.
        client.publish(&topic(A, "presence"), "online").await;
        drop(client);
    }
    let mut host = subject.joined(A).await;
    host.handle.publish_report(b"r".to_vec()).unwrap();
    subject.until(|event| matches!(event, BrokerEvent::Report { .. })).await;
    assert!(subject.broker.is_online(B));
    subject.publish(A, b"m");
    assert_eq!(host.map().await, b"m");
}

async fn a_host_that_dies_is_offline(mut subject: Subject) {
    let mut client = let_in(&subject, A).await;
    assert_eq!(client.subscribe(&topic(A, "map")).await, Outcome::Granted);
    assert_eq!(client.publish(&topic(A, "presence"), "online").await, Outcome::Granted);
    subject.until_online(A).await;
    assert!(subject.broker.is_online(A) && subject.broker.connected() == 1);
    drop(client);
    subject.until_offline(A).await;
    assert!(!subject.broker.is_online(A) && subject.broker.connected() == 0);
}

async fn a_host_that_says_farewell_is_offline(mut subject: Subject) {
    let host = subject.joined(A).await;
    host.handle.close().await;
    subject.until_offline(A).await;
    assert!(!subject.broker.is_online(A));
    let _again = subject.joined(A).await;
    assert!(subject.broker.is_online(A));
}

async fn a_second_connection_takes_over(mut subject: Subject) {
    let mut old = let_in(&subject, A).await;
    assert_eq!(old.subscribe(&topic(A, "map")).await, Outcome::Granted);
    assert_eq!(old.publish(&topic(A, "presence"), "online").await, Outcome::Granted);
    subject.until_online(A).await;
    let mut new = subject.link_with(A, &password_of(A));
    new.connected().await;
    old.ended().await;
    subject.until_online(A).await;
    assert!(subject.broker.is_online(A));
    subject.publish(A, b"hello");
    assert_eq!(new.map().await, b"hello");
    assert!(subject.broker.is_online(A), "the last will of the first is not the host's");
}

async fn nothing_waits_for_a_host_that_is_away_and_nothing_is_retained(mut subject: Subject) {
    let mut other = subject.joined(B).await;
    // An external broker may be asked to tell a host of which nothing is known yet; it keeps nothing for it.
    subject.broker.publish(A, Bytes::from_static(b"missed"));
    subject.publish(B, b"after it");
    assert_eq!(other.map().await, b"after it");
    let mut host = subject.joined(A).await;
    subject.publish(A, b"now");
    assert_eq!(host.map().await, b"now");
}

async fn a_packet_that_is_too_large_ends_one_connection_and_disturbs_nobody_else(mut subject: Subject) {
    let mut other = subject.joined(B).await;
    let mut client = let_in(&subject, A).await;
    client.publish(&topic(A, "report"), vec![0; 1_500_000]).await;
    // What the broker takes and we do not: nothing of it is handed on.
    if let Some(mut client) = connect(options(&subject, A)).await {
        client.publish(&topic(A, "report"), vec![0; 500_000]).await;
    }
    other.handle.publish_report(b"still here".to_vec()).unwrap();
    let is_of_b = |event: &BrokerEvent| matches!(event, BrokerEvent::Report { .. } | BrokerEvent::Restored);
    let event = subject.until(is_of_b).await;
    assert_eq!(event, BrokerEvent::Report { host: B, payload: Bytes::from_static(b"still here") });
    subject.publish(B, b"m");
    assert_eq!(other.map().await, b"m");
}

async fn what_comes_twice_is_handed_on_twice_and_in_order(mut subject: Subject) {
    let mut client = let_in(&subject, A).await;
    for word in ["one", "one", "two"] {
        assert_eq!(client.publish(&topic(A, "report"), word).await, Outcome::Granted);
    }
    for word in ["one", "one", "two"] {
        let event = subject.until(|event| !matches!(event, BrokerEvent::Online { .. })).await;
        assert_eq!(event, BrokerEvent::Report { host: A, payload: Bytes::from(word) });
    }
}
