//! That the accounts of a broker follow the hosts there are, and nothing else is touched.

use std::sync::Arc;

use agent::link::{LinkError, LinkEvent, ServerTrust};
use rumqttc::{AsyncClient, Event, LastWill, Packet, QoS};
use server::broker::settings::{AccountSettings, ExternalSettings, FileSettings, Secret};
use server::broker::{Broker as _, BrokerEvent, External, Guests, Limits, Usable, examine, probe};
use testkit::brokers::mosquitto::{self, Mosquitto};
use testkit::brokers::nats::Nats;
use testkit::brokers::process::Process;
use testkit::brokers::{PASSWORD, USER};
use tokio::sync::watch;

use crate::client::{connect, options, options_at, topic};
use crate::subject::{
    A, B, C, Engine, Kind, Known, PAUSES, Subject, on_every_external_broker, password_of, settings, subject,
    until,
};

on_every_external_broker! {
    a_new_host_is_let_in_and_one_that_was_removed_is_put_out_and_others_notice_nothing
    a_host_with_new_keys_is_let_in_by_its_new_password_and_by_no_other
    a_broker_whose_certificate_nobody_vouches_for_is_not_believed
    a_check_says_whether_the_broker_can_be_used
}

async fn a_new_host_is_let_in_and_one_that_was_removed_is_put_out_and_others_notice_nothing(
    mut subject: Subject,
) {
    let mut staying = subject.joined(A).await;
    let mut leaving = subject.joined(B).await;
    subject.known.set(C, &password_of(C));
    subject.broker.admit(C);
    let mut newcomer = subject.joined(C).await;
    subject.known.remove(B);
    subject.broker.kick(B);
    loop {
        if let LinkEvent::Disconnected { reason: LinkError::NotAuthorised, .. } = leaving.next().await {
            break;
        }
    }
    assert!(!subject.broker.is_online(B));
    for (host, link) in [(A, &mut staying), (C, &mut newcomer)] {
        subject.publish(host, b"m");
        assert_eq!(link.next().await, LinkEvent::Map(b"m".to_vec()), "its connection never ended");
    }
}

async fn a_host_with_new_keys_is_let_in_by_its_new_password_and_by_no_other(mut subject: Subject) {
    let mut old = subject.joined(A).await;
    subject.known.set(A, "a newer secret");
    subject.broker.admit(A);
    loop {
        if let LinkEvent::Disconnected { reason: LinkError::NotAuthorised, .. } = old.next().await {
            break;
        }
    }
    drop(old);
    let mut new = subject.link_with(A, "a newer secret");
    new.connected().await;
    subject.until_online(A).await;
    subject.publish(A, b"m");
    assert_eq!(new.map().await, b"m");
}

async fn a_broker_whose_certificate_nobody_vouches_for_is_not_believed(mut subject: Subject) {
    subject.trust = ServerTrust::PublicRoots;
    let mut host = subject.link_with(A, &password_of(A));
    let LinkEvent::Disconnected { reason, .. } = host.next().await else { panic!("it was believed") };
    assert!(matches!(reason, LinkError::Untrusted(_)), "{reason:?}");
}

async fn a_check_says_whether_the_broker_can_be_used(subject: Subject) {
    let good = subject.settings();
    let url = good.address.text.clone();
    probe(good.clone()).await.unwrap();
    assert_eq!(examine(good.clone(), false).await.unwrap(), Usable::Now);
    probe(ExternalSettings { accounts: AccountSettings::None, ..good.clone() }).await.unwrap();
    let wrong = ExternalSettings { password: Secret::new("wrong".to_owned()), ..good.clone() };
    let text = format!("{:#}", probe(wrong).await.unwrap_err());
    assert!(text.contains(&url) && text.contains("broker_password_file"), "{text}");
    let untrusted = ExternalSettings { authorities: None, ..good };
    assert!(examine(untrusted, false).await.is_err());
}

/// Settings for a broker to which no server ever came.
fn first(url: &str, process: &Process, accounts: AccountSettings) -> ExternalSettings {
    agent::link::install_crypto_provider();
    settings(url, process.authority(), accounts)
}

#[tokio::test]
async fn a_broker_that_the_server_is_yet_to_give_accounts_is_no_mistake() {
    let (mosquitto, nats) = (Mosquitto::start(mosquitto::Accounts::Files).unwrap(), Nats::start().unwrap());
    let files =
        |process: &Process| FileSettings { folder: process.accounts(), reload: Some(process.pid_file()) };
    let url = mosquitto.for_servers()[0].clone();
    let by_files =
        first(&url, &mosquitto.process, AccountSettings::MosquittoFiles(files(&mosquitto.process)));
    let nats_url = nats.urls()[0].clone();
    let by_nats = first(&nats_url, &nats.process, AccountSettings::NatsFile(files(&nats.process)));
    for settings in [&by_files, &by_nats] {
        let Usable::Later(why) = examine(settings.clone(), false).await.unwrap() else {
            panic!("it let us in")
        };
        assert!(why.contains("the server writes it"), "{why}");
    }
    // Whoever is asked by the broker has to run.
    let by_http =
        ExternalSettings { accounts: AccountSettings::Http(Secret::new("x".to_owned())), ..by_files.clone() };
    let Usable::Later(why) = examine(by_http.clone(), false).await.unwrap() else { panic!("it let us in") };
    assert!(why.contains("does not run"), "{why}");
    assert!(examine(by_http, true).await.is_err());

    // Written, and nobody has it read.
    let AccountSettings::MosquittoFiles(kept) = &by_files.accounts else { panic!("other accounts") };
    let mut alone = by_files.clone();
    alone.accounts = AccountSettings::MosquittoFiles(FileSettings { reload: None, ..kept.clone() });
    let (broker, _events) = External::new(alone.clone(), Limits::default(), PAUSES).unwrap();
    let guests: Arc<dyn Guests> = Arc::new(Known::default());
    let tasks = broker.run(&guests, &watch::channel(true).1);
    let passwords = mosquitto.process.accounts().join("mosquitto-passwords");
    until("no account was written", || {
        std::fs::read_to_string(&passwords).is_ok_and(|text| !text.is_empty())
    })
    .await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let text = format!("{:#}", examine(alone, false).await.unwrap_err());
    assert!(text.contains("broker_reload") && text.contains("mosquitto-passwords"), "{text}");
}

#[tokio::test]
async fn a_broker_that_nobody_tells_of_new_accounts_is_a_mistake() {
    let subject = subject(Kind::MosquittoFiles).await;
    let mut settings = subject.settings();
    let AccountSettings::MosquittoFiles(files) = &mut settings.accounts else { panic!("other accounts") };
    files.reload = Some(files.folder.join("nobody.pid"));
    let text = format!("{:#}", examine(settings, false).await.unwrap_err());
    assert!(text.contains("broker_reload"), "{text}");
}

#[tokio::test]
async fn a_plugin_to_which_no_server_came_yet_is_good_as_it_is() {
    let engine = Mosquitto::start(mosquitto::Accounts::Dynsec).unwrap();
    let settings = first(&engine.for_servers()[0], &engine.process, AccountSettings::Dynsec);
    assert_eq!(examine(settings, false).await.unwrap(), Usable::Now);
}

#[tokio::test]
async fn a_plugin_that_is_not_loaded_is_noticed() {
    let subject = subject(Kind::MosquittoFiles).await;
    let settings = ExternalSettings { accounts: AccountSettings::Dynsec, ..subject.settings() };
    let text = format!("{:#}", probe(settings).await.unwrap_err());
    assert!(text.contains("plugin does not answer"), "{text}");
}

/// The plugin and NATS's users tie a host's account to its client id only where they can: see docs/guide/brokers.md.
#[tokio::test]
async fn a_host_cannot_come_under_another_ones_client_id_to_mosquitto() {
    let mut subject = subject(Kind::MosquittoDynsec).await;
    let _victim = subject.joined(B).await;
    let mut thief = options(&subject, A);
    thief.set_client_id(B.to_string());
    assert!(connect(thief).await.is_none());
    assert!(subject.broker.is_online(B));
}

/// With files the listener for servers ties client ids to nobody, and no host is let in there.
#[tokio::test]
async fn no_host_comes_in_where_servers_do() {
    let mut subject = subject(Kind::MosquittoFiles).await;
    let _victim = subject.joined(B).await;
    let Engine::Mosquitto(engine) = &subject.engine else { panic!("another engine") };
    for url in engine.for_servers() {
        let mut thief = options_at(&subject, A, &url);
        thief.set_client_id(B.to_string());
        assert!(connect(thief).await.is_none(), "{url}");
    }
    assert!(subject.broker.is_online(B));
}

#[tokio::test]
async fn accounts_that_are_not_ours_stay_as_they_are_and_ours_are_mended_whatever_was_done_to_them() {
    let mut subject = subject(Kind::MosquittoDynsec).await;
    let _here = subject.joined(A).await;
    let Engine::Mosquitto(engine) = &subject.engine else { panic!("another engine") };
    let file = engine.process.accounts().join("dynamic-security.json");
    let read = || -> serde_json::Value { serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap() };
    let mut before = read();
    let (host_a, host_b) = (A.to_string(), B.to_string());
    let clients = before["clients"].as_array_mut().unwrap();
    clients.push(serde_json::json!({ "username": "somebody", "roles": [] }));
    clients
        .push(serde_json::json!({ "username": C.to_string(), "textdescription": "netloom 00", "roles": [] }));
    clients.retain(|client| client["username"] != *host_b);
    let roles = before["roles"].as_array_mut().unwrap();
    roles.push(serde_json::json!({ "rolename": "theirs", "acls": [] }));
    for role in roles.iter_mut().filter(|role| role["rolename"].as_str().unwrap().ends_with(&host_a)) {
        role["acls"] = serde_json::json!([{ "acltype": "subscribePattern", "topic": "#", "priority": 0, "allow": true }]);
    }
    subject.engine.kill();
    std::fs::write(&file, before.to_string()).unwrap();
    subject.engine.start_again();
    let _mended = subject.joined(B).await;
    let names = |of: &str, name: &str| -> Vec<String> {
        let now = read();
        now[of].as_array().unwrap().iter().map(|one| one[name].as_str().unwrap().to_owned()).collect()
    };
    let is_mended = || {
        let now = read();
        let role = now["roles"]
            .as_array()
            .unwrap()
            .iter()
            .find(|role| role["rolename"].as_str().unwrap().ends_with(&host_a));
        role.is_some_and(|role| role["acls"].as_array().unwrap().len() == 4)
            && !names("clients", "username").contains(&C.to_string())
    };
    until("it was not mended", is_mended).await;
    assert!(names("clients", "username").contains(&"somebody".to_owned()));
    assert!(names("roles", "rolename").contains(&"theirs".to_owned()));
}

/// One command to the plugin, as somebody else who keeps accounts there.
async fn tell_plugin(subject: &Subject, command: serde_json::Value) {
    let Engine::Mosquitto(engine) = &subject.engine else { panic!("another engine") };
    let mut options = options_at(subject, A, &engine.for_servers()[0]);
    options.set_client_id("somebody".to_owned());
    // Without a right to its last will nobody gets in.
    let will = LastWill::new(topic(C, "map"), "", QoS::AtLeastOnce, false);
    options.set_credentials(USER, PASSWORD).set_last_will(will);
    let (client, mut events) = AsyncClient::new(options, 4);
    let message = serde_json::json!({ "commands": [command] }).to_string();
    client.publish("$CONTROL/dynamic-security/v1", QoS::AtLeastOnce, false, message).await.unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {}
}

#[tokio::test]
async fn what_somebody_does_to_accounts_while_the_server_is_connected_is_mended_without_another_connection() {
    let mut subject = subject(Kind::MosquittoDynsec).await;
    let here = subject.joined(A).await;
    drop(here);
    let id = A.to_string();
    tell_plugin(&subject, serde_json::json!({ "command": "deleteClient", "username": id })).await;
    let role = format!("netloom-host-{id}");
    tell_plugin(&subject, serde_json::json!({ "command": "deleteRole", "rolename": role })).await;
    let mut back = subject.link_with(A, &password_of(A));
    back.connected().await;
    let is_there_or_anew =
        |event: &BrokerEvent| matches!(event, BrokerEvent::Online { host: A } | BrokerEvent::Restored);
    let event = subject.until(is_there_or_anew).await;
    assert_eq!(event, BrokerEvent::Online { host: A }, "the server connected again");
}

#[tokio::test]
async fn accounts_are_neither_made_nor_removed_while_somebody_else_may_lead() {
    let mut subject = subject(Kind::MosquittoDynsec).await;
    let mut staying = subject.joined(B).await;
    subject.known.be_certain(false);
    subject.known.remove(B);
    subject.broker.kick(B);
    // Twice as long as until all is looked at again.
    let news = tokio::time::timeout(PAUSES.look * 2, staying.next()).await;
    assert!(news.is_err(), "{news:?}");
    subject.known.be_certain(true);
    assert!(matches!(staying.next().await, LinkEvent::Disconnected { .. }));
}

#[tokio::test]
async fn many_hosts_get_their_accounts_and_keep_them_when_the_server_comes_anew() {
    let engine = Mosquitto::start(mosquitto::Accounts::Dynsec).unwrap();
    agent::link::install_crypto_provider();
    let known = Arc::new(Known::default());
    for number in 0..300_u16 {
        let mut bytes = [1; 16];
        bytes[14..].copy_from_slice(&number.to_be_bytes());
        let host = model::HostId::from_bytes(bytes);
        known.set(host, &password_of(host));
    }
    let file = engine.process.accounts().join("dynamic-security.json");
    let marked = || std::fs::read_to_string(&file).unwrap().matches("\"netloom ").count();
    let settings = settings(&engine.for_servers()[0], engine.process.authority(), AccountSettings::Dynsec);
    for _ in 0..2 {
        let (broker, _events) = External::new(settings.clone(), Limits::default(), PAUSES).unwrap();
        let guests: Arc<dyn Guests> = known.clone();
        let tasks = broker.run(&guests, &watch::channel(true).1);
        until("not all accounts were made", || broker.trouble().is_none() && marked() == 300).await;
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
    assert_eq!(marked(), 300);
}
