//! A stand-in for rqlite's HTTP interface, backed by SQLite in memory, that also plays its errors. There is no Debian package
//! of rqlite; where one runs, the tests can be pointed at it instead.
//!
//! Not Raft: its nodes are doors to one database. Faithful are the paths, the form of questions and answers, what a transaction
//! undoes, and what a client sees when the leader changes. It keeps true that a request is carried out wholly or not at all,
//! whatever it answers.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{Connection, Row, ToSql};
use serde_json::{Value, json};

/// Names a real cluster, for the tests that do not need the stand-in: `http://host:4001`, with commas where it has several nodes.
pub const NAMED: &str = "NETLOOM_TEST_RQLITE";
/// What only the stand-in's answers carry, so that nobody takes it for a real one.
pub const MARK: &str = "x-netloom-stand-in";

/// The real cluster that was named, as an address for a server.
pub fn named() -> Option<String> {
    std::env::var(NAMED).ok().map(|url| as_address(&url))
}

/// An address for a server, however it was written for a browser.
pub fn as_address(url: &str) -> String {
    let (scheme, nodes) = match url.split_once("://") {
        Some(("http" | "rqlite", nodes)) => ("rqlite", nodes),
        Some(("https" | "rqlites", nodes)) => ("rqlites", nodes),
        Some(_) | None => return url.to_owned(),
    };
    format!("{scheme}://{}", nodes.trim_end_matches('/'))
}

/// What goes wrong with the next request that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// This node is not the leader, and says where it is.
    Elsewhere,
    /// No leader is known: 503, and nothing is done.
    NoLeader,
    /// The leader changes before anything is done.
    LostBefore,
    /// It is done, and then the leader says that it lost its office.
    LostAfter,
    /// It is done, and no answer comes: the connection ends.
    SilentAfter,
    /// The connection ends, and it is done when the next request was answered.
    SilentAndLate,
    /// No room on the disk.
    Full,
    /// The database's file may not be written.
    ReadOnly,
}

/// A request that is carried out: its path, and its statements.
type Request = (String, Vec<Value>);

struct State {
    /// The leader's database.
    leader: Connection,
    /// A node that hears of nothing: what `level=none` may answer.
    behind: Connection,
    troubles: VecDeque<Trouble>,
    /// What goes wrong with every request that writes.
    lasting: Option<Trouble>,
    /// How long every answer takes.
    delay: Duration,
    /// Whether nobody is answered at all.
    is_gone: bool,
    late: Vec<Request>,
    login: Option<String>,
    version: &'static str,
}

/// A cluster of nodes that are one.
pub struct StandIn {
    state: Arc<Mutex<State>>,
    nodes: Vec<SocketAddr>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("nobody panics with it")
}

impl StandIn {
    /// Starts this many nodes.
    pub fn start(nodes: usize) -> io::Result<Self> {
        let open = || Connection::open_in_memory().map_err(io::Error::other);
        let state = State {
            leader: open()?,
            behind: open()?,
            troubles: VecDeque::new(),
            lasting: None,
            delay: Duration::ZERO,
            is_gone: false,
            late: Vec::new(),
            login: None,
            version: "v8.36.0",
        };
        let state = Arc::new(Mutex::new(state));
        let listeners: Vec<TcpListener> =
            (0..nodes).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
        let addresses: Vec<SocketAddr> =
            listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
        for (at, listener) in listeners.into_iter().enumerate() {
            let (state, leader) = (Arc::clone(&state), addresses[(at + 1) % nodes]);
            thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let state = Arc::clone(&state);
                    // A client that is gone ends its connection's thread.
                    thread::spawn(move || drop(serve(&stream, &state, leader)));
                }
            });
        }
        Ok(Self { state, nodes: addresses })
    }

    /// The same for a test that plays troubles, as a real one does not; which is said where a real one was named.
    pub fn for_troubles(nodes: usize) -> io::Result<Self> {
        if named().is_some() {
            let thread = thread::current();
            let test = thread.name().unwrap_or("this test");
            // Past the test harness, which would keep it to itself.
            writeln!(io::stderr(), "rqlite: {test} plays troubles: it runs against the stand-in of testkit")?;
        }
        Self::start(nodes)
    }

    /// Where its nodes listen.
    pub fn nodes(&self) -> &[SocketAddr] {
        &self.nodes
    }

    /// What goes wrong with the next requests that write, in this order.
    pub fn play(&self, troubles: &[Trouble]) {
        lock(&self.state).troubles.extend(troubles);
    }

    /// Nothing more goes wrong.
    pub fn play_no_more(&self) {
        lock(&self.state).troubles.clear();
    }

    /// From now on this goes wrong with every request that writes; nothing without it.
    pub fn play_on(&self, trouble: Option<Trouble>) {
        lock(&self.state).lasting = trouble;
    }

    /// From now on every answer takes so long.
    pub fn delay(&self, delay: Duration) {
        lock(&self.state).delay = delay;
    }

    /// From now on its nodes end every connection without an answer, or no longer.
    pub fn be_gone(&self, gone: bool) {
        lock(&self.state).is_gone = gone;
    }

    /// Its address for a server.
    pub fn url(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(ToString::to_string).collect();
        format!("rqlite://{}", nodes.join(","))
    }

    /// Whether all that was to go wrong has.
    pub fn has_played(&self) -> bool {
        lock(&self.state).troubles.is_empty()
    }

    /// From now on it wants this user and password, as HTTP encodes them (`user:password` in Base64).
    pub fn want_login(&self, encoded: &str) {
        lock(&self.state).login = Some(format!("Basic {encoded}"));
    }

    /// What it says its version is.
    pub fn call_itself(&self, version: &'static str) {
        lock(&self.state).version = version;
    }

    /// Has statements carried out as they are.
    pub fn sql(&self, statements: &str) -> rusqlite::Result<()> {
        lock(&self.state).leader.execute_batch(statements)
    }
}

struct Asked {
    path: String,
    login: Option<String>,
    body: Vec<u8>,
}

/// What a node does after carrying out, or not.
enum Reply {
    Answer(u16, Option<String>, String),
    Hang,
}

fn serve(stream: &TcpStream, state: &Mutex<State>, other: SocketAddr) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(asked) = read(&mut reader)? {
        let (version, delay, is_gone) = {
            let state = lock(state);
            (state.version, state.delay, state.is_gone)
        };
        if is_gone {
            return stream.shutdown(Shutdown::Both);
        }
        thread::sleep(delay);
        let (status, location, body) = match answer(&asked, state, other) {
            Reply::Answer(status, location, body) => (status, location, body),
            Reply::Hang => return stream.shutdown(Shutdown::Both),
        };
        let location = location.map(|location| format!("Location: {location}\r\n")).unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json; charset=utf-8\r\nX-RQLITE-VERSION: {version}\r\n\
             {MARK}: yes\r\n{location}Content-Length: {}\r\n\r\n",
            body.len()
        );
        // At once: two pieces would wait for one another in the kernel.
        let mut stream = stream;
        stream.write_all(format!("{head}{body}").as_bytes())?;
    }
    Ok(())
}

fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let (mut length, mut login) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "authorization" => login = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Asked { path, login, body }))
}

fn problem(status: u16, text: &str) -> Reply {
    Reply::Answer(status, None, format!("{text}\n"))
}

fn answer(asked: &Asked, state: &Mutex<State>, other: SocketAddr) -> Reply {
    let mut state = lock(state);
    if state.login.is_some() && state.login != asked.login {
        return problem(401, "unauthorized");
    }
    let Ok(Value::Array(statements)) = serde_json::from_slice(&asked.body) else {
        return problem(400, "invalid request");
    };
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let is_query = match path {
        "/db/query" => true,
        "/db/execute" | "/db/request" => false,
        _ => return problem(404, "not found"),
    };
    let has = |option: &str| query.split('&').any(|part| part == option);
    if is_query && has("level=none") {
        let results = run(&mut state.behind, true, false, &statements);
        return Reply::Answer(200, None, json!({ "results": results }).to_string());
    }
    let request = (asked.path.clone(), statements);
    let trouble = if is_query { None } else { state.troubles.pop_front().or(state.lasting) };
    let reply = troubled(&mut state, request, trouble, (is_query, has("transaction")), other);
    // What lay in a buffer comes after it.
    if trouble != Some(Trouble::SilentAndLate) {
        for late in std::mem::take(&mut state.late) {
            carry_out(&mut state, &late, (false, true));
        }
    }
    reply
}

/// A statement that failed, and with it all of them.
fn refused(error: &str) -> Reply {
    Reply::Answer(200, None, json!({ "results": [{ "error": error }] }).to_string())
}

fn carry_out(state: &mut State, request: &Request, (is_query, transaction): (bool, bool)) -> Vec<Value> {
    run(&mut state.leader, is_query, transaction, &request.1)
}

fn troubled(
    state: &mut State,
    request: Request,
    trouble: Option<Trouble>,
    how: (bool, bool),
    other: SocketAddr,
) -> Reply {
    let error = |text: &str| Reply::Answer(200, None, json!({ "results": [], "error": text }).to_string());
    match trouble {
        Some(Trouble::Elsewhere) => {
            let location = format!("http://{other}{}", request.0);
            Reply::Answer(301, Some(location), String::new())
        }
        Some(Trouble::NoLeader) => problem(503, "leader not found"),
        Some(Trouble::LostBefore) => error("leadership lost while committing log"),
        Some(Trouble::LostAfter) => {
            carry_out(state, &request, how);
            error("leadership lost while committing log")
        }
        Some(Trouble::SilentAfter) => {
            carry_out(state, &request, how);
            Reply::Hang
        }
        Some(Trouble::SilentAndLate) => {
            state.late.push(request);
            Reply::Hang
        }
        Some(Trouble::Full) => refused("database or disk is full"),
        Some(Trouble::ReadOnly) => refused("attempt to write a readonly database"),
        None => {
            let results = carry_out(state, &request, how);
            Reply::Answer(200, None, json!({ "results": results }).to_string())
        }
    }
}

/// Statements in their order. In a transaction the first that fails undoes all, and is the last that is answered.
fn run(connection: &mut Connection, is_query: bool, transaction: bool, statements: &[Value]) -> Vec<Value> {
    let mut results = Vec::new();
    let begun = transaction && connection.execute_batch("BEGIN IMMEDIATE").is_ok();
    let mut failed = false;
    for one in statements {
        match run_one(connection, is_query, one) {
            Ok(result) => results.push(result),
            Err(error) => {
                results.push(json!({ "error": error }));
                failed = true;
                if transaction {
                    break;
                }
            }
        }
    }
    if begun {
        let end = if failed { "ROLLBACK" } else { "COMMIT" };
        if let Err(error) = connection.execute_batch(end) {
            results.push(json!({ "error": error.to_string() }));
        }
    }
    results
}

/// A parameter as it came.
struct Parameter<'a>(&'a Value);

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Owned(SqlValue::Null),
            Value::Bool(value) => ToSqlOutput::Owned(SqlValue::Integer(i64::from(*value))),
            Value::Number(value) => ToSqlOutput::Owned(match value.as_i64() {
                Some(value) => SqlValue::Integer(value),
                None => SqlValue::Real(value.as_f64().unwrap_or_default()),
            }),
            Value::String(value) => ToSqlOutput::Borrowed(ValueRef::Text(value.as_bytes())),
            Value::Array(_) | Value::Object(_) => {
                return Err(rusqlite::Error::ToSqlConversionFailure("unsupported type".into()));
            }
        })
    }
}

fn words(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    }
}

fn run_one(connection: &Connection, is_query: bool, one: &Value) -> Result<Value, String> {
    let parts = one.as_array().ok_or("not a statement")?;
    let (sql, parameters) = parts.split_first().ok_or("no statement")?;
    let mut statement = connection.prepare(sql.as_str().ok_or("not SQL")?).map_err(|error| words(&error))?;
    if is_query && !statement.readonly() {
        return Err("attempt to change database via query operation".to_owned());
    }
    let parameters = rusqlite::params_from_iter(parameters.iter().map(Parameter));
    if statement.column_count() == 0 {
        let count = statement.execute(parameters).map_err(|error| words(&error))?;
        return Ok(json!({ "last_insert_id": connection.last_insert_rowid(), "rows_affected": count }));
    }
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let width = columns.len();
    let rows = statement.query_map(parameters, |row| read_row(row, width));
    let rows = rows.and_then(Iterator::collect::<Result<Vec<Value>, _>>).map_err(|error| words(&error))?;
    let types = vec![""; width];
    Ok(match rows.is_empty() {
        true => json!({ "columns": columns, "types": types }),
        false => json!({ "columns": columns, "types": types, "values": rows }),
    })
}

fn read_row(row: &Row<'_>, width: usize) -> rusqlite::Result<Value> {
    let value = |at| {
        Ok(match row.get_ref(at)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(value) => value.into(),
            ValueRef::Real(value) => value.into(),
            ValueRef::Text(value) => String::from_utf8_lossy(value).into_owned().into(),
            ValueRef::Blob(_) => Value::Null,
        })
    };
    (0..width).map(value).collect::<rusqlite::Result<Vec<Value>>>().map(Value::Array)
}
