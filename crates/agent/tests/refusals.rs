//! What a person reads when the server says no, or is none: each refusal keeps its sentence on the way from a server that
//! answers as ours does to the words of the error.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::net::SocketAddr;

use agent::talk::{ServerClient, TalkError};
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::any;
use model::{HostId, Timestamp};
use wire::{Refusal, RefusalCode, SigningSecret};

/// A server that answers every request alike.
async fn server(status: StatusCode, body: Vec<u8>) -> SocketAddr {
    let answer = move || {
        let body = body.clone();
        async move { (status, [(header::CONTENT_TYPE, wire::path::MEDIA_TYPE)], body).into_response() }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(answer))).await.unwrap() });
    address
}

fn refusal(code: RefusalCode, message: &str) -> Vec<u8> {
    wire::encode(&Refusal {
        code,
        message: message.to_owned(),
        server_time: Timestamp::from_millis(1),
        retry_after: None,
        elsewhere: false,
    })
}

fn client(urls: &[String]) -> ServerClient {
    agent::link::install_crypto_provider();
    ServerClient::new(urls, None).unwrap()
}

async fn told(status: StatusCode, body: Vec<u8>) -> TalkError {
    let address = server(status, body).await;
    client(&[format!("http://{address}")]).hello().await.unwrap_err()
}

#[tokio::test]
async fn each_refusal_keeps_its_sentence() {
    for (code, sentence) in [
        (RefusalCode::UnknownKey, "the server knows no such enrollment key"),
        (RefusalCode::ExpiredKey, "the enrollment key `a` expired yesterday"),
        (RefusalCode::SpentKey, "the enrollment key `a` was used as often as it may be"),
        (RefusalCode::ClockSkew, "the clocks differ too much; set the clock"),
        (RefusalCode::Other, "something that only a later version can say"),
    ] {
        let error = told(StatusCode::FORBIDDEN, refusal(code, sentence)).await;
        assert_eq!(error.to_string(), sentence);
        assert_eq!(error.refusal(), Some(code));
    }
}

#[tokio::test]
async fn what_is_no_server_of_ours_is_told_with_its_address() {
    let error = told(StatusCode::OK, b"<html>hello</html>".to_vec()).await.to_string();
    assert!(
        error.contains("http://127.0.0.1:") && error.contains("does not speak as a Netloom server"),
        "{error}"
    );
    let error = told(StatusCode::NOT_FOUND, b"not here".to_vec()).await.to_string();
    assert!(error.contains("404"), "{error}");
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_told_and_the_next_one_is_asked() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client(std::slice::from_ref(&dead)).hello().await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached") && error.contains(&dead), "{error}");

    let alive = server(StatusCode::FORBIDDEN, refusal(RefusalCode::UnknownKey, "no")).await;
    let both = client(&[dead, format!("http://{alive}")]);
    assert_eq!(both.hello().await.unwrap_err().to_string(), "no");
    assert!(both.url().ends_with(&alive.to_string()));
}

#[tokio::test]
async fn a_removed_host_is_told_so() {
    let address = server(StatusCode::UNAUTHORIZED, refusal(RefusalCode::UnknownHost, "join again")).await;
    let host = client(&[format!("http://{address}")])
        .as_host(HostId::from_bytes([1; 16]), SigningSecret::from_random([2; 32]));
    let error = host.map(&wire::MapRequest::default()).await.unwrap_err();
    assert_eq!(error.refusal(), Some(RefusalCode::UnknownHost));
}
