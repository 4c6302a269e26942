//! Machines that join: those that may, and those that may not and why.

use std::time::Duration;

use api::{CreateKey, Key, KeyState, path};
use testkit::fleet::{Agent, AgentError, Application, Keys, Wish, each, random};
use wire::{HostSettings, RefusalCode, Token};

use crate::running::{Ready, start};

async fn apply(ready: &Ready, keys: &Keys, wish: &Wish) -> Result<Agent, AgentError> {
    Application::prepare(&ready.running.site, keys, wish).await.unwrap().send().await
}

fn told(refused: Result<Agent, AgentError>) -> (RefusalCode, String) {
    let error = refused.unwrap_err();
    let refusal = error.refusal().unwrap_or_else(|| panic!("no refusal: {error:#}"));
    (refusal.code, refusal.message.clone())
}

#[tokio::test]
async fn a_key_that_is_unknown_spent_or_expired_is_refused_in_words() {
    let ready = start().await;
    ready.network("home", "10.1.0.0/16").await;
    let unknown = Wish { enrollment: Some(random()), hostname: "a".to_owned(), ..Wish::default() };
    let (code, text) = told(apply(&ready, &Keys::generate(), &unknown).await);
    assert_eq!(code, RefusalCode::UnknownKey);
    assert!(text.contains("no such enrollment key") && text.contains("new token"), "{text}");

    let (_, once) = ready.admin.key("once", &["home"], Some(1)).await.unwrap();
    Agent::join(&once, "first").await.unwrap();
    let (code, text) = told(Agent::join(&once, "second").await);
    assert_eq!(code, RefusalCode::SpentKey);
    assert!(text.contains("`once`"), "{text}");

    let create = CreateKey {
        networks: vec!["home".parse().unwrap()],
        expires_in: Some(1),
        ..CreateKey::titled("short".parse().unwrap())
    };
    let (_, short) = ready.admin.create_key(&create).await.unwrap();
    let at = path::fill(path::KEY, &["short"]);
    while ready.admin.get::<Key>(&at).await.unwrap().state != KeyState::Expired {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (code, text) = told(Agent::join(&short, "third").await);
    assert_eq!(code, RefusalCode::ExpiredKey);
    assert!(text.contains("`short`") && text.contains("expired at"), "{text}");

    let (code, text) = told(apply(&ready, &Keys::generate(), &Wish::default()).await);
    assert_eq!(code, RefusalCode::Invalid);
    assert!(text.contains("netclient join -t"), "{text}");
    assert_eq!(ready.running.server.handle.intent().host_count(), 1, "only the first was let in");
}

#[tokio::test]
async fn what_is_not_proved_is_refused() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let wish = Wish::of_token(&token, "web");
    let (keys, thief) = (Keys::generate(), Keys::generate());

    let mut changed = Application::prepare(&ready.running.site, &keys, &wish).await.unwrap();
    changed.request.signature[10] ^= 1;
    assert_eq!(told(changed.send().await).0, RefusalCode::NotProved);
    let mut cut = Application::prepare(&ready.running.site, &keys, &wish).await.unwrap();
    cut.request.registration.truncate(20);
    assert_eq!(told(cut.send().await).0, RefusalCode::Invalid);

    let stolen = Application::prepare(&ready.running.site, &thief, &wish).await.unwrap().request;
    let mut mixed = Application::prepare(&ready.running.site, &keys, &wish).await.unwrap();
    mixed.request.wireguard_proof = stolen.wireguard_proof;
    assert_eq!(told(mixed.send().await).0, RefusalCode::NotProved);

    let site = &ready.running.site;
    let junk =
        site.send(testkit::fleet::Method::POST, wire::path::REGISTER, &[], b"junk".to_vec()).await.unwrap();
    let refusal: wire::Refusal = wire::decode(&junk.body).unwrap();
    assert_eq!((junk.status, refusal.code), (400, RefusalCode::Invalid));
    assert_eq!(ready.running.server.handle.intent().host_count(), 0);
}

#[tokio::test]
async fn a_clock_a_day_off_is_told_both_times() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    for clock_off in [-86_400_000, 86_400_000] {
        let wish = Wish { clock_off, ..Wish::of_token(&token, "web") };
        let refused = apply(&ready, &Keys::generate(), &wish).await.unwrap_err();
        let refusal = refused.refusal().unwrap();
        assert_eq!(refusal.code, RefusalCode::ClockSkew);
        assert!(refusal.message.contains("set the clock"), "{refusal}");
        assert!(refusal.server_time.distance(testkit::fleet::now()) < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn a_known_host_registers_again_and_is_the_same() {
    let ready = start().await;
    ready.network("home", "10.1.0.0/16").await;
    let (_, once) = ready.admin.key("once", &["home"], Some(1)).await.unwrap();
    let keys = Keys::generate();
    let wish = Wish::of_token(&once, "web");
    let first = apply(&ready, &keys, &wish).await.unwrap();
    let lost_answer = apply(&ready, &keys, &wish).await.unwrap();
    assert_eq!((lost_answer.host, &lost_answer.networks), (first.host, &first.networks));
    let settings = HostSettings { mtu: "1380".parse().ok(), ..HostSettings::default() };
    let renewal = Wish { enrollment: None, settings, ..wish };
    let renewed = apply(&ready, &keys, &renewal).await.unwrap();
    assert_eq!((renewed.host, renewed.name), (first.host, first.name));
    let map = Agent::map(&lost_answer).await;
    assert!(map.is_err(), "the channel of the registration before is not the one agreed last");

    let twin = Keys { signing: Keys::generate().signing, ..keys };
    let (_, other) = ready.admin.key("other", &["home"], None).await.unwrap();
    let (code, text) = told(apply(&ready, &twin, &Wish::of_token(&other, "twin")).await);
    assert_eq!(code, RefusalCode::Invalid);
    assert!(text.contains("two machines share one disk image"), "{text}");
}

#[tokio::test]
async fn a_known_host_joins_a_further_network_with_another_key() {
    let ready = start().await;
    let home = ready.network("home", "10.1.0.0/16").await;
    let work = ready.network("work", "10.2.0.0/16").await;
    let keys = Keys::generate();
    let first = apply(&ready, &keys, &Wish::of_token(&home, "web")).await.unwrap();
    let second = apply(&ready, &keys, &Wish::of_token(&work, "web")).await.unwrap();
    assert_eq!(second.host, first.host);
    let names: Vec<String> = second.networks.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["home", "work"]);
}

async fn offer_at_once(ready: &Ready, token: &Token) -> usize {
    let site = &ready.running.site;
    let prepared = each(0..20, 20, |number| {
        let (site, wish) = (site.apart(), Wish::of_token(token, &format!("m-{number}")));
        async move { Application::prepare(&site?, &Keys::generate(), &wish).await }
    });
    let prepared = prepared.await.unwrap();
    let sent = each(prepared, 20, |application| async move { Ok(application.send().await) }).await.unwrap();
    let (admitted, refused): (Vec<_>, Vec<_>) = sent.into_iter().partition(Result::is_ok);
    for refused in refused {
        assert_eq!(told(refused).0, RefusalCode::SpentKey);
    }
    admitted.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_one_use_key_offered_by_20_machines_at_the_same_instant_admits_exactly_one() {
    let ready = start().await;
    ready.network("home", "10.1.0.0/16").await;
    for round in 0..5_usize {
        let (_, once) = ready.admin.key(&format!("once {round}"), &["home"], Some(1)).await.unwrap();
        assert_eq!(offer_at_once(&ready, &once).await, 1, "in round {round}");
        assert_eq!(ready.running.server.handle.intent().host_count(), round + 1);
    }
}
