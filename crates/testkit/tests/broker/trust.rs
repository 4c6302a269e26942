//! Who may pass for the server, over HTTP and with certificates that change.

use std::sync::Arc;

use agent::link::{HttpClient, HttpLimits, LinkError, Method, ServerTrust, StatusCode};
use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use server::front::{Acceptor, Certificates, Front, Limits, Running, TrustedProxies};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

fn names() -> Vec<String> {
    vec!["elsewhere.example".to_owned()]
}

fn site() -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/away", get(|| async { Redirect::to("/") }))
        .route("/large", get(|| async { vec![0_u8; 100_000] }))
}

fn serve(certificates: Option<&Arc<Certificates>>) -> Running {
    let any_port = "127.0.0.1:0".parse().unwrap();
    Front::bind(any_port, certificates, TrustedProxies::default(), Limits::default()).unwrap().serve(site())
}

async fn fetch(trust: ServerTrust, url: &str) -> Result<(StatusCode, Vec<u8>), LinkError> {
    let limits = HttpLimits { body_bytes: 1000, ..HttpLimits::default() };
    let client = HttpClient::new(&trust, &limits).unwrap();
    let answer = client.send(client.request(Method::GET, url)).await?;
    Ok((answer.status, answer.body))
}

#[tokio::test]
async fn the_pin_decides_whatever_the_name_in_the_certificate() {
    let folder = TempDir::new().unwrap();
    let certificates = Certificates::self_signed(folder.path(), &names()).unwrap();
    let running = serve(Some(&certificates));
    let url = format!("https://{}/", running.address());
    let right = fetch(ServerTrust::Pin(certificates.pin()), &url).await;
    assert_eq!(right, Ok((StatusCode::OK, b"hello".to_vec())));
    let mut pin = certificates.pin();
    pin[31] ^= 1;
    assert_eq!(fetch(ServerTrust::Pin(pin), &url).await, Err(LinkError::WrongPin));
    let by_name = fetch(ServerTrust::PublicRoots, &url).await;
    assert!(matches!(by_name, Err(LinkError::Untrusted(_))), "{by_name:?}");
    running.shutdown().await;
    let gone = fetch(ServerTrust::Pin(certificates.pin()), &url).await;
    assert!(matches!(gone, Err(LinkError::Unreachable(_))), "{gone:?}");
}

#[tokio::test]
async fn a_changed_certificate_is_presented_to_the_next_connection() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let certificates = Certificates::self_signed(folder.path(), &names()).unwrap();
    let (old, running) = (certificates.pin(), serve(Some(&certificates)));
    let url = format!("https://{}/", running.address());
    assert!(fetch(ServerTrust::Pin(old), &url).await.is_ok());
    let new = Certificates::self_signed(other.path(), &["another-name.example".to_owned()]).unwrap().pin();
    for file in ["cert.pem", "key.pem"] {
        std::fs::copy(other.path().join(file), folder.path().join(file)).unwrap();
    }
    assert!(certificates.reload_if_changed().unwrap());
    assert!(fetch(ServerTrust::Pin(new), &url).await.is_ok());
    assert_eq!(fetch(ServerTrust::Pin(old), &url).await, Err(LinkError::WrongPin));
}

/// Presents somebody else's certificate without having its key.
#[derive(Debug)]
struct Thief(Arc<CertifiedKey>);

impl ResolvesServerCert for Thief {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[tokio::test]
async fn a_copied_certificate_without_its_key_is_worth_nothing() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let certificates = Certificates::self_signed(folder.path(), &names()).unwrap();
    Certificates::self_signed(other.path(), &names()).unwrap();
    let stolen = CertificateDer::from_pem_file(folder.path().join("cert.pem")).unwrap();
    let own_key = PrivateKeyDer::from_pem_file(other.path().join("key.pem")).unwrap();
    let provider = Arc::new(ring::default_provider());
    let key = provider.key_provider.load_private_key(own_key).unwrap();
    let thief = Thief(Arc::new(CertifiedKey::new(vec![stolen], key)));
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(thief));
    let (any_port, proxies) = ("127.0.0.1:0".parse().unwrap(), TrustedProxies::default());
    let acceptor = Acceptor::bind(any_port, Some(Arc::new(tls)), proxies, &Limits::default()).unwrap();
    let running = acceptor.run(|mut stream, _, _| async move {
        let mut secret = Vec::new();
        let _ = stream.read_to_end(&mut secret).await;
        assert!(secret.is_empty(), "the client spoke to the thief");
    });
    let url = format!("https://{}/", running.address());
    let error = fetch(ServerTrust::Pin(certificates.pin()), &url).await;
    assert!(matches!(error, Err(LinkError::Untrusted(_))), "{error:?}");
    running.shutdown().await;
}

#[tokio::test]
async fn redirects_are_not_followed_and_answers_are_bounded() {
    let running = serve(None);
    let url = |path: &str| format!("http://{}{path}", running.address());
    let (status, _) = fetch(ServerTrust::PublicRoots, &url("/away")).await.unwrap();
    assert_eq!(status, StatusCode::SEE_OTHER);
    let large = fetch(ServerTrust::PublicRoots, &url("/large")).await;
    assert_eq!(large, Err(LinkError::TooLarge { limit: 1000 }));
    let nonsense = fetch(ServerTrust::PublicRoots, "http://").await;
    assert!(matches!(nonsense, Err(LinkError::BadUrl(_))), "{nonsense:?}");
}

#[tokio::test]
async fn what_does_not_speak_tls_is_told_apart() {
    let running = serve(None);
    let url = format!("https://{}/", running.address());
    let error = fetch(ServerTrust::Pin([0; 32]), &url).await;
    assert!(matches!(error, Err(LinkError::Unreachable(_))), "{error:?}");
}
