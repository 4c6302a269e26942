//! An agent that knows several addresses of its server: whichever answers is asked, whoever may not answer is passed over.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use agent::engine::{NoMap, fetch_map};
use agent::state::Channels;
use agent::talk::{HostClient, ServerClient};
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use model::{Epoch, Generation, HostId, HostName, Mtu, Timestamp};
use reconcile::Answer;
use wire::{
    Channel, Direction, HostMap, MapReply, NatMapping, OwnHost, PartsHead, Refusal, RefusalCode, ServerLinks,
    SigningSecret,
};

const HOST: HostId = HostId::from_bytes([1; 16]);

fn channel() -> Channel {
    Channel::restore(HOST, [2; 32], [3; 32])
}

/// A server, and the credentials it was shown.
struct Fake {
    url: String,
    shown: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// One that answers every request alike.
    async fn answering(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> Self {
        let shown = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&shown);
        let answer = move |headers: HeaderMap| {
            let credential =
                headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
            notes.lock().unwrap().extend(credential);
            let answer = answer();
            async move { answer }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(any(answer));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shown }
    }

    /// One that leads, and whose newest map has this generation.
    async fn leading(generation: Generation) -> Self {
        Self::answering(move || map_of(generation)).await
    }

    /// One that refuses.
    async fn refusing(refusal: Refusal) -> Self {
        Self::answering(move || (StatusCode::SERVICE_UNAVAILABLE, wire::encode(&refusal)).into_response())
            .await
    }

    fn asked(&self) -> usize {
        self.shown.lock().unwrap().len()
    }
}

fn map_of(generation: Generation) -> Response {
    let map = map(generation);
    let head = PartsHead {
        generation,
        host: map.host,
        server: map.server,
        networks: BTreeMap::new(),
        whole: Vec::new(),
        parts: 0,
        records: BTreeMap::new(),
    };
    let reply = wire::encode(&MapReply::Parts(head));
    let sealed = channel().seal(Direction::Down, generation.number(), [7; 24], &reply);
    wire::frames::frame(&sealed).into_response()
}

fn map(generation: Generation) -> HostMap {
    let host = OwnHost {
        id: HOST,
        name: HostName::nearest("own"),
        mtu: Mtu::DEFAULT,
        seen: vec![],
        nat: NatMapping::Unknown,
        rotate: false,
    };
    let server = ServerLinks::default();
    HostMap { generation, host, server, networks: BTreeMap::new(), peers: BTreeMap::new() }
}

fn first_of(epoch: u32) -> Generation {
    Generation::first_of(Epoch::new(epoch))
}

fn busy(elsewhere: bool) -> Refusal {
    Refusal {
        code: RefusalCode::Busy,
        message: "no server leads just now".to_owned(),
        server_time: Timestamp::from_millis(1),
        retry_after: Some(1),
        elsewhere,
    }
}

/// An address where nobody listens.
fn dead() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    format!("http://{address}")
}

fn client(urls: &[&str]) -> HostClient {
    agent::link::install_crypto_provider();
    let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
    ServerClient::new(&urls, None).unwrap().as_host(HOST, SigningSecret::from_random([4; 32]))
}

async fn fetch(client: &HostClient, held: Option<HostMap>) -> Result<Generation, NoMap> {
    let have = held.as_ref().map_or(Generation::NONE, |map| map.generation);
    let channels = Channels::only(channel());
    let (answer, _) = fetch_map(client, &channels, have, held).await?;
    let Answer::Whole(map) = answer else { panic!("no whole map") };
    Ok(map.generation)
}

#[tokio::test]
async fn a_server_that_died_is_passed_over_and_the_one_that_answered_is_asked_first_from_then_on() {
    let second = Fake::leading(first_of(2)).await;
    let dead = dead();
    let client = client(&[&dead, &second.url]);
    assert_eq!(fetch(&client, None).await.unwrap(), first_of(2));
    assert_eq!(client.url(), second.url);
}

#[tokio::test]
async fn who_follows_and_knows_no_leader_is_passed_over_without_waiting() {
    let follower = Fake::refusing(busy(true)).await;
    let leader = Fake::leading(first_of(2)).await;
    let client = client(&[&follower.url, &leader.url]);
    assert_eq!(fetch(&client, None).await.unwrap(), first_of(2));
    assert_eq!((follower.asked(), client.url()), (1, leader.url.as_str()));
    // Each server sees a credential of its own: none takes one that was seen before.
    assert_ne!(*follower.shown.lock().unwrap(), *leader.shown.lock().unwrap());
}

#[tokio::test]
async fn who_leads_and_is_busy_is_waited_for() {
    let leader = Fake::refusing(busy(false)).await;
    let other = Fake::leading(first_of(2)).await;
    let refused = fetch(&client(&[&leader.url, &other.url]), None).await.unwrap_err();
    assert!(matches!(refused, NoMap::Talk(error) if error.refusal() == Some(RefusalCode::Busy)));
    assert_eq!(other.asked(), 0);
}

#[tokio::test]
async fn where_no_server_leads_the_last_word_is_when_to_come_again() {
    let follower = Fake::refusing(busy(true)).await;
    for urls in [[follower.url.clone(), dead()], [dead(), follower.url.clone()]] {
        let refused = fetch(&client(&urls.each_ref().map(String::as_str)), None).await.unwrap_err();
        assert!(matches!(refused, NoMap::Talk(error) if error.refusal() == Some(RefusalCode::Busy)));
    }
}

#[tokio::test]
async fn a_proxy_whose_server_died_is_passed_over() {
    let proxy = Fake::answering(|| (StatusCode::BAD_GATEWAY, "bad gateway").into_response()).await;
    let leader = Fake::leading(first_of(2)).await;
    assert_eq!(fetch(&client(&[&proxy.url, &leader.url]), None).await.unwrap(), first_of(2));
}

#[tokio::test]
async fn what_a_leader_of_the_past_says_is_not_taken_and_another_is_asked() {
    let past = Fake::leading(first_of(2)).await;
    let leader = Fake::leading(first_of(4)).await;
    let both = client(&[&past.url, &leader.url]);
    assert_eq!(fetch(&both, Some(map(first_of(3)))).await.unwrap(), first_of(4));
    assert_eq!(both.url(), leader.url);

    let alone = client(&[&past.url]);
    let none = fetch(&alone, Some(map(first_of(3)))).await.unwrap_err();
    assert!(matches!(none, NoMap::Older), "{none}");
    assert!(none.to_string().contains("does not lead"), "{none}");
}
