//! A small double of the server, and a console whose screen and keyboard are in memory.
//!
//! It answers by the contract's types and decides nothing: what the real server does is tested with the real server.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use api::{Limit, Page, Paging, Problem, ProblemKind};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use clap::Parser as _;
use cli::{Arguments, Ask, Console, Environment, Terminal};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use model::{Digest, NetworkId, Timestamp};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
pub(crate) const TOKEN: &str = "the-token-of-alice";
pub(crate) const CODE: &str = "the-set-up-code";
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) token: Option<String>,
    pub(crate) body: Value,
}

/// What arrived, and what is answered beside what the double knows by itself.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Seen>>>, Arc<Mutex<BTreeMap<String, (u16, Value)>>>);

/// The double.
pub(crate) struct Double {
    pub(crate) url: String,
    pub(crate) pin: Option<Digest>,
    log: Log,
}

impl Double {
    /// One that speaks plain HTTP.
    pub(crate) async fn plain() -> Self {
        let (listener, address) = listener().await;
        let log = Log::default();
        let app = app(log.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url: format!("http://{address}"), pin: None, log }
    }

    /// One with a certificate of its own.
    pub(crate) async fn tls() -> Self {
        let (listener, address) = listener().await;
        let (config, pin) = certificate();
        let log = Log::default();
        let app = app(log.clone());
        tokio::spawn(serve_tls(listener, TlsAcceptor::from(config), app));
        Self { url: format!("https://{address}"), pin: Some(pin), log }
    }

    /// What arrived.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.0.lock().expect("no test panics while it holds the log").clone()
    }

    /// Answers a request such as `GET /api/v1/hosts`, whatever its query, with this. A text is sent as it is.
    pub(crate) fn answers(&self, request: &str, status: u16, answer: Value) {
        let mut answers = self.log.1.lock().expect("no test panics while it holds the answers");
        answers.insert(request.to_owned(), (status, answer));
    }

    /// Answers a list with these items.
    pub(crate) fn lists(&self, path: &str, items: Value) {
        self.answers(&format!("GET {path}"), 200, json!({ "items": items, "next": null }));
    }

    /// Whether a text arrived in any request.
    pub(crate) fn heard(&self, text: &str) -> bool {
        self.seen().iter().any(|seen| format!("{seen:?}").contains(text))
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    (listener, address)
}

fn certificate() -> (Arc<ServerConfig>, Digest) {
    let key = KeyPair::generate().expect("a key can be made");
    let parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("the name is one");
    let certificate = parameters.self_signed(&key).expect("it can be signed").der().clone();
    let pin = tls::pin_of(&certificate).expect("it has a key");
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows the protocols")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], secret)
        .expect("the key fits");
    (Arc::new(config), pin)
}

async fn serve_tls(listener: TcpListener, acceptor: TlsAcceptor, app: Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, app) = (acceptor.clone(), app.clone());
        tokio::spawn(async move {
            // A client that refuses the certificate ends the handshake; that is what some tests are about.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = TowerToHyperService::new(app);
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn app(log: Log) -> Router {
    Router::new()
        .route(api::path::SETUP, get(|| async { Json(json!({ "done": false })) }).post(set_up))
        .route(api::path::LOGIN, axum::routing::post(log_in))
        .route(api::path::NETWORKS, get(networks))
        .route(api::path::NETWORK, any(network))
        .route(api::path::BACKUP, get(|| async { (StatusCode::OK, "SQLite format 3\0 and so on") }))
        .fallback(prepared)
        .layer(axum::middleware::from_fn_with_state(log.clone(), note))
        .with_state(log)
}

/// Notes each request, and turns away who has a wrong token.
async fn note(
    State(log): State<Log>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, api::MOST_BODY).await.unwrap_or_default();
    let token = bearer(&parts.headers);
    let seen = Seen {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        token: token.clone(),
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    };
    log.0.lock().expect("no test panics while it holds the log").push(seen);
    let open = [api::path::SETUP, api::path::LOGIN].contains(&parts.uri.path());
    if !open && token.as_deref() != Some(TOKEN) {
        return problem(ProblemKind::Unauthenticated, "the token is not known");
    }
    next.run(axum::extract::Request::from_parts(parts, bytes.into())).await
}

/// What a test prepared. Where it holds `$public_key`, that of the request is put in.
async fn prepared(State(log): State<Log>, method: Method, uri: Uri) -> Response {
    let request = format!("{method} {}", uri.path());
    let answers = log.1.lock().expect("no test panics while it holds the answers");
    let Some((status, answer)) = answers.get(&request) else {
        return problem(ProblemKind::NotFound, &format!("there is nothing at {uri}"));
    };
    let seen = log.0.lock().expect("no test panics while it holds the log");
    let key = seen.last().and_then(|seen| seen.body["public_key"].as_str()).unwrap_or_default();
    let status = StatusCode::from_u16(*status).unwrap_or_default();
    match answer {
        Value::Null => status.into_response(),
        Value::String(text) => (status, text.clone()).into_response(),
        answer => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (status, json, answer.to_string().replace("$public_key", key)).into_response()
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::to_owned)
}

fn problem(kind: ProblemKind, detail: &str) -> Response {
    let status = StatusCode::from_u16(kind.status()).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, Problem::MEDIA_TYPE)], Json(Problem::new(kind, detail))).into_response()
}

fn session() -> Response {
    let user = json!({ "id": "01010101-0101-0101-0101-010101010101", "name": "alice", "role": "administrator",
        "created": NOW });
    let expires = NOW + std::time::Duration::from_secs(86_400);
    Json(json!({ "token": TOKEN, "expires": expires, "user": user })).into_response()
}

async fn set_up(body: axum::body::Bytes) -> Response {
    match api::read::<api::Setup>(&body) {
        Ok(setup) if setup.code.expose() == CODE => session(),
        Ok(_) => problem(ProblemKind::Forbidden, "the set-up code is wrong; it is in the server's log"),
        Err(problem) => (StatusCode::UNPROCESSABLE_ENTITY, Json(problem)).into_response(),
    }
}

async fn log_in(body: axum::body::Bytes) -> Response {
    match api::read::<api::Login>(&body) {
        Ok(login) if login.password.expose() == PASSWORD => session(),
        Ok(_) | Err(_) => {
            let wrong = Problem::coded(
                ProblemKind::Unauthenticated,
                api::WRONG_PASSWORD,
                "name or password is wrong",
            );
            (StatusCode::UNAUTHORIZED, Json(wrong)).into_response()
        }
    }
}

fn example(number: u8) -> api::Network {
    api::Network {
        id: NetworkId::from_bytes([number; 16]),
        name: format!("net-{number:02}").parse().expect("it is a name"),
        v4: Some(format!("10.{number}.0.0/16").parse().expect("it is a range")),
        v6: None,
        keepalive: model::Keepalive::DEFAULT,
        access: api::Access::Allow,
        approval: false,
        hub: None,
        domain: None,
        nodes: 0,
        created: NOW,
    }
}

/// Twenty-five networks, at most ten a page whatever is asked for.
async fn networks(Query(paging): Query<Paging>) -> Json<Page<api::Network>> {
    let limit = Limit::new(10).filter(|most| most.get() < paging.limit.get()).unwrap_or(paging.limit);
    let paging = Paging { limit, ..paging };
    let page = Page::cut("networks", (0..25).map(example), &paging, |network| network.name.to_string());
    Json(page.expect("the program takes the cursor it was given"))
}

async fn network(log: State<Log>, method: Method, uri: Uri, Path(name): Path<String>) -> Response {
    match (method, name.as_str()) {
        (Method::GET, "net-03") => Json(example(3)).into_response(),
        (Method::DELETE, "net-03") => StatusCode::NO_CONTENT.into_response(),
        (Method::GET, "html") => (StatusCode::OK, "<html>").into_response(),
        (Method::GET, "nowhere") => problem(ProblemKind::NotFound, &format!("there is no network `{name}`")),
        (method, _) => prepared(log, method, uri).await,
    }
}

/// What was written.
#[derive(Clone, Default)]
pub(crate) struct Paper(Rc<RefCell<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.borrow()).into_owned()
    }
}

/// Somebody who gives these answers in turn; nobody when there are none.
struct Somebody {
    there: bool,
    answers: VecDeque<String>,
}

impl Ask for Somebody {
    fn interactive(&self) -> bool {
        self.there
    }

    fn line(&mut self) -> io::Result<String> {
        self.answers.pop_front().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn secret(&mut self) -> io::Result<String> {
        self.line()
    }

    fn rest(&mut self) -> io::Result<String> {
        self.line()
    }
}

/// How a command went.
#[derive(Debug)]
pub(crate) struct Went {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Somebody's seat: a home folder that stays from command to command.
pub(crate) struct Seat {
    folder: tempfile::TempDir,
    pub(crate) environment: Environment,
}

impl Seat {
    /// With an empty home folder.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is room for a test");
        let contexts = Some(folder.path().join("contexts.toml"));
        Self { folder, environment: Environment { contexts, now: Some(NOW), ..Environment::default() } }
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command where nobody can be asked; standard input holds `input`.
    pub(crate) async fn run(&self, line: &str, input: &str) -> Went {
        self.go(line, false, &[input]).await
    }

    /// Runs a command on a terminal with somebody who gives these answers.
    pub(crate) async fn ask(&self, line: &str, answers: &[&str]) -> Went {
        self.go(line, true, answers).await
    }

    async fn go(&self, line: &str, there: bool, answers: &[&str]) -> Went {
        let words = std::iter::once("netloom").chain(line.split_whitespace());
        let arguments = Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        let (out, err) = (Paper::default(), Paper::default());
        let answers = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let somebody = Box::new(Somebody { there, answers });
        let width = there.then_some(100);
        let terminal = Terminal::new(Box::new(out.clone()), Box::new(err.clone()), somebody, width);
        let mut console = Console::new(terminal, self.environment.clone(), arguments.global);
        let code = cli::run_in(arguments.command, &mut console).await;
        Went { code, out: out.text(), err: err.text() }
    }
}
