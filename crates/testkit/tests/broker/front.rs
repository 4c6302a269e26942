//! The server's port itself: who gets in, how long it waits, whom it believes, how it stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use rumqttc::tokio_rustls::TlsConnector;
use rumqttc::tokio_rustls::client::TlsStream;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use server::front::{Certificates, Front, Limits, Running, TrustedProxies};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::server::DEADLINE;

fn serve(router: Router, proxies: TrustedProxies, limits: Limits) -> Running {
    Front::bind("127.0.0.1:0".parse().unwrap(), None, proxies, limits).unwrap().serve(router)
}

async fn ask(address: SocketAddr, head: &str) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, tcp.read_to_string(&mut answer)).await.expect("no answer in time").unwrap();
    answer
}

async fn expect_end(mut tcp: TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = timeout(DEADLINE, tcp.read_to_end(&mut rest)).await.expect("it was not ended in time");
}

#[tokio::test]
async fn the_clients_address_is_taken_from_trusted_proxies_only() {
    let whoami = Router::new()
        .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }));
    let trusting = TrustedProxies::new(vec!["127.0.0.0/8".parse().unwrap()]);
    let forwarded = "X-Forwarded-For: 198.51.100.7\r\n";
    let behind = serve(whoami.clone(), trusting, Limits::default());
    assert!(ask(behind.address(), forwarded).await.ends_with("198.51.100.7"));
    let open = serve(whoami, TrustedProxies::default(), Limits::default());
    assert!(ask(open.address(), forwarded).await.ends_with("127.0.0.1"));
}

#[tokio::test]
async fn who_says_nothing_is_not_kept() {
    let brief = Duration::from_millis(200);
    let limits = Limits { handshake_timeout: brief, header_timeout: brief, ..Limits::default() };
    let folder = TempDir::new().unwrap();
    let certificates = Certificates::self_signed(folder.path(), &["x.example".to_owned()]).unwrap();
    let any_port = "127.0.0.1:0".parse().unwrap();
    for certificates in [None, Some(&certificates)] {
        let front = Front::bind(any_port, certificates, TrustedProxies::default(), limits.clone()).unwrap();
        let running = front.serve(Router::new());
        expect_end(TcpStream::connect(running.address()).await.unwrap()).await;
    }
}

#[tokio::test]
async fn more_handshakes_than_allowed_wait_their_turn() {
    let limits = Limits { handshakes: 1, handshake_timeout: Duration::from_millis(300), ..Limits::default() };
    let folder = TempDir::new().unwrap();
    let certificates = Certificates::self_signed(folder.path(), &["x.example".to_owned()]).unwrap();
    let trust = agent::link::ServerTrust::Pin(certificates.pin());
    let any_port = "127.0.0.1:0".parse().unwrap();
    let front = Front::bind(any_port, Some(&certificates), TrustedProxies::default(), limits).unwrap();
    let running = front.serve(Router::new().route("/", get(|| async { "hello" })));
    let _silent = TcpStream::connect(running.address()).await.unwrap();
    let client = agent::link::HttpClient::new(&trust, &agent::link::HttpLimits::default()).unwrap();
    let url = format!("https://{}/", running.address());
    let answer = client.send(client.request(agent::link::Method::GET, &url)).await.unwrap();
    assert_eq!(answer.body, b"hello");
}

#[tokio::test]
async fn a_shutdown_frees_the_port_and_lets_open_requests_finish() {
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, waited) = (entered.clone(), go_on.clone());
    let slow = Router::new().route(
        "/",
        get(move || async move {
            told.notify_one();
            waited.notified().await;
            "done"
        }),
    );
    let running = serve(slow, TrustedProxies::default(), Limits::default());
    let address = running.address();
    let request = tokio::spawn(async move { ask(address, "").await });
    timeout(DEADLINE, entered.notified()).await.expect("the request did not arrive");
    let shutdown = tokio::spawn(running.shutdown());
    let freed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, freed).await.expect("the port was not freed");
    go_on.notify_one();
    assert!(request.await.unwrap().ends_with("done"));
    timeout(DEADLINE, shutdown).await.expect("the shutdown did not end").unwrap();
}

#[tokio::test]
async fn open_requests_are_cut_at_the_end_of_the_grace_time() {
    let hanging = Router::new().route("/", get(std::future::pending::<()>));
    let limits = Limits { grace: Duration::from_millis(100), ..Limits::default() };
    let running = serve(hanging, TrustedProxies::default(), limits);
    let mut tcp = TcpStream::connect(running.address()).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    timeout(DEADLINE, running.shutdown()).await.expect("the shutdown did not end");
    expect_end(tcp).await;
}

#[tokio::test]
async fn a_websocket_that_does_not_mean_mqtt_is_told_so() {
    let (broker, _events) = crate::server::embedded(server::broker::Limits::default());
    let running = serve(broker.router(), TrustedProxies::default(), Limits::default());
    let mut tcp = TcpStream::connect(running.address()).await.unwrap();
    let request = "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(DEADLINE, tcp.read_exact(&mut answer)).await.expect("no answer in time").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
}

#[tokio::test]
async fn little_is_read_from_a_websocket_before_its_host_proved_itself() {
    let patient = Duration::from_secs(3600);
    let limits = server::broker::Limits { connect_timeout: patient, ..server::broker::Limits::default() };
    let (broker, _events) = crate::server::embedded(limits);
    let running = serve(broker.router(), TrustedProxies::default(), Limits::default());
    let mut tcp = TcpStream::connect(running.address()).await.unwrap();
    let request = "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(DEADLINE, tcp.read_exact(&mut answer)).await.expect("no answer in time").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    // A binary message of 200,000 bytes begins, with a mask of zeros, and a CONNECT that fills it, and little of it comes.
    let mut begun = vec![0x82, 0x80 | 127];
    begun.extend_from_slice(&200_000_u64.to_be_bytes());
    begun.extend_from_slice(&[0, 0, 0, 0, 0x10, 0xb0, 0x9a, 0x0c]);
    tcp.write_all(&begun).await.unwrap();
    expect_end(tcp).await;
}

/// A port that speaks HTTP/2, and a client that greeted it.
async fn http2(limits: Limits) -> (Running, TlsStream<TcpStream>, TempDir) {
    let folder = TempDir::new().unwrap();
    let certificates = Certificates::self_signed(folder.path(), &["x.example".to_owned()]).unwrap();
    let any_port = "127.0.0.1:0".parse().unwrap();
    let front = Front::bind(any_port, Some(&certificates), TrustedProxies::default(), limits).unwrap();
    let running = front.serve(Router::new());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.path().join("cert.pem")).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(running.address()).await.unwrap();
    let name = ServerName::try_from("x.example").unwrap();
    let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    (running, tls, folder)
}

#[tokio::test]
async fn a_client_that_asks_for_http2_gets_it_and_a_trusted_certificate_is_enough() {
    let (_running, mut tls, _folder) = http2(Limits::default()).await;
    let mut header = [0; 9];
    timeout(DEADLINE, tls.read_exact(&mut header)).await.expect("no answer in time").unwrap();
    assert_eq!(header[3], 4, "the first frame of HTTP/2 is SETTINGS");
}

#[tokio::test]
async fn an_http2_client_that_answers_pings_and_asks_nothing_is_not_kept() {
    let limits = Limits { header_timeout: Duration::from_millis(200), ..Limits::default() };
    let (_running, mut tls, _folder) = http2(limits).await;
    let answer_pings = async {
        let mut farewell = false;
        let mut header = [0; 9];
        while tls.read_exact(&mut header).await.is_ok() {
            let mut payload = vec![0; usize::from(header[1]) << 8 | usize::from(header[2])];
            tls.read_exact(&mut payload).await.unwrap();
            let (kind, flags) = (header[3], header[4]);
            if kind == 6 && flags == 0 {
                let answer = [&[0, 0, 8, 6, 1, 0, 0, 0, 0][..], &payload].concat();
                tls.write_all(&answer).await.unwrap();
            }
            farewell |= kind == 7;
        }
        farewell
    };
    assert!(timeout(DEADLINE, answer_pings).await.expect("it was kept"), "it was told with GOAWAY");
}
