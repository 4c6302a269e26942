//! What becomes of everything when a broker that is not ours goes and comes back.

use std::collections::BTreeSet;

use agent::link::{LinkEvent, Undelivered};
use bytes::Bytes;
use model::HostId;
use server::broker::{Backlog, BrokerEvent, Delivery};

use crate::subject::{A, B, C, Host, Subject, on_every_external_broker, password_of, until};

on_every_external_broker! {
    a_broker_that_is_killed_comes_back_and_so_does_everybody
    while_the_broker_is_gone_nothing_grows_and_nobody_seems_gone_and_afterwards_all_is_right
    who_does_not_come_back_with_the_broker_is_gone_once
    a_server_that_does_not_lead_is_not_connected_and_one_that_leads_again_hears_all_hosts_anew
    a_host_that_came_while_it_was_not_listened_to_is_told_to_look
}

async fn a_broker_that_is_killed_comes_back_and_so_does_everybody(mut subject: Subject) {
    let mut hosts = [subject.joined(A).await, subject.joined(B).await];
    for round in 0..3_u8 {
        subject.engine.kill();
        for host in &mut hosts {
            while !matches!(host.next().await, LinkEvent::Disconnected { .. }) {}
            assert_eq!(host.handle.publish_report(vec![1]), Err(Undelivered::NotConnected));
        }
        subject.engine.start_again();
        subject.until(|event| *event == BrokerEvent::Restored).await;
        for (host, id) in hosts.iter_mut().zip([A, B]) {
            host.connected().await;
            subject.publish(id, [round]);
            assert_eq!(host.map().await, [round]);
            host.handle.publish_report(vec![round]).unwrap();
            let is_report =
                |event: &BrokerEvent| matches!(event, BrokerEvent::Report { host, .. } if *host == id);
            subject.until(is_report).await;
        }
    }
    assert_eq!(subject.broker.connected(), 2);
}

async fn while_the_broker_is_gone_nothing_grows_and_nobody_seems_gone_and_afterwards_all_is_right(
    mut subject: Subject,
) {
    let mut staying = subject.joined(A).await;
    let mut leaving = subject.joined(B).await;
    subject.engine.kill();
    until("the connection stands", || subject.broker.trouble().is_some()).await;
    // As much as happens in an hour of fifty changes a second.
    for number in 0..180_000_u32 {
        let host = HostId::from_bytes([u8::try_from(number % 250).unwrap(); 16]);
        assert_eq!(subject.broker.publish(host, Bytes::from_static(&[0; 200])), Delivery::Offline);
        subject.broker.admit(host);
        subject.broker.kick(C);
    }
    assert_eq!(subject.broker.backlog(), Backlog::default());
    assert!(
        subject.broker.is_online(A) && subject.broker.is_online(B),
        "a broker that is gone is no host that is"
    );
    while let Ok(event) = subject.events.try_recv() {
        // On a slow machine a host came after the first moment, in which everybody was waited for.
        assert!(matches!(event, BrokerEvent::Missed { .. }), "{event:?}");
    }
    subject.known.remove(B);
    subject.known.set(C, &password_of(C));
    subject.broker.kick(B);
    subject.broker.admit(C);
    subject.engine.start_again();
    subject.until(|event| *event == BrokerEvent::Restored).await;
    staying.connected().await;
    let mut newcomer = subject.link_with(C, &password_of(C));
    newcomer.connected().await;
    heard(&mut subject, [(A, &mut staying), (C, &mut newcomer)]).await;
    subject.publish(A, b"news");
    assert_eq!(staying.map().await, b"news");
    subject.publish(C, b"welcome");
    assert_eq!(newcomer.map().await, b"welcome");
    // Its account is gone, or will be in a moment.
    let mut refused = subject.link_with(B, &password_of(B));
    while !matches!(refused.next().await, LinkEvent::Disconnected { .. }) {}
    while !matches!(leaving.next().await, LinkEvent::Disconnected { .. }) {}
}

/// Waits until these hosts, which are there, are heard. Whose word was lost is asked again, as by the hub, and says it again.
async fn heard(subject: &mut Subject, mut links: [(HostId, &mut Host); 2]) {
    let mut silent: BTreeSet<HostId> = links.iter().map(|(host, _)| *host).collect();
    while !silent.is_empty() {
        let event = subject.event().await;
        if let BrokerEvent::Online { host } = event {
            silent.remove(&host);
        }
        if let BrokerEvent::Missed { host } = event
            && silent.contains(&host)
            && let Some((_, link)) = links.iter_mut().find(|(id, _)| *id == host)
        {
            subject.publish(host, b"look");
            assert_eq!(link.map().await, b"look");
            link.handle.say_online().unwrap();
        }
    }
}

async fn who_does_not_come_back_with_the_broker_is_gone_once(mut subject: Subject) {
    let mut staying = subject.joined(A).await;
    let leaving = subject.joined(B).await;
    subject.engine.kill();
    drop(leaving);
    subject.engine.start_again();
    subject.until(|event| *event == BrokerEvent::Restored).await;
    // As the hub does: who says nothing by itself is asked.
    subject.publish(A, b"look");
    let staying = tokio::spawn(async move {
        loop {
            if matches!(staying.next().await, LinkEvent::Map(_)) {
                staying.handle.say_online().unwrap();
            }
        }
    });
    subject.until_offline(B).await;
    assert!(!subject.broker.is_online(B) && subject.broker.is_online(A));
    assert_eq!(subject.broker.publish(B, Bytes::from_static(b"m")), Delivery::Offline);
    staying.abort();
    subject.until_offline(A).await;
    assert_eq!(subject.broker.connected(), 0);
}

async fn a_server_that_does_not_lead_is_not_connected_and_one_that_leads_again_hears_all_hosts_anew(
    mut subject: Subject,
) {
    let mut host = subject.joined(A).await;
    subject.leads.send_replace(false);
    until("the connection stands", || subject.broker.trouble().is_some()).await;
    assert_eq!(subject.broker.publish(A, Bytes::from_static(b"m")), Delivery::Offline);
    assert_eq!(subject.broker.connected(), 0);
    subject.leads.send_replace(true);
    subject.until(|event| *event == BrokerEvent::Restored).await;
    // Nothing is known of the host, which is there all the same: it is told, so that it says so.
    assert!(!subject.broker.is_online(A) && subject.broker.is_listening(A));
    subject.publish(A, b"look");
    assert_eq!(host.map().await, b"look");
    host.handle.say_online().unwrap();
    subject.until_online(A).await;
    assert!(subject.broker.is_online(A));
}

async fn a_host_that_came_while_it_was_not_listened_to_is_told_to_look(mut subject: Subject) {
    let _first = subject.joined(A).await;
    // Once all had time to say that they are there, nothing is sent to others.
    until("who said nothing is taken to be there", || !subject.broker.is_listening(B)).await;
    let mut late = subject.link_with(B, &password_of(B));
    late.connected().await;
    subject.until_online(B).await;
    assert_eq!(subject.event().await, BrokerEvent::Missed { host: B });
    subject.publish(B, b"look");
    assert_eq!(late.map().await, b"look");
}
