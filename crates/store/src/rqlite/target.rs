//! Which rqlite: an `rqlite://` address read once.
//!
//! Not for asking. User and password of the address are told to its nodes and shown to nobody.

use model::Digest;
use reqwest::Url as HttpUrl;
use tls::{Trust, TrustError, client_config};

use super::http::{Http, Login};
use crate::address::{Address, Password, Url};
use crate::{Place, StoreError};

const DEFAULT_PORT: u16 = 4001;
const EXAMPLE: &str = "rqlite://user@host:4001,host:4001";

struct Parsed {
    nodes: Vec<HttpUrl>,
    user: Option<String>,
    password: Option<Password>,
    place: Place,
}

/// The words for this address.
pub(super) fn place(url: &Url) -> Result<Place, String> {
    parse(url).map(|parsed| parsed.place)
}

/// The way to what this address names.
pub(super) fn http(address: &Address) -> Result<Http, StoreError> {
    let place = address.place.clone();
    let open = |reason| StoreError::Open { place: place.clone(), reason };
    let Parsed { nodes, user, password, .. } = parse(&address.url).map_err(open)?;
    let password = address.access.password.clone().or(password);
    let login = user.map(|user| Login { user, password });
    let trust = match nodes.iter().any(|node| node.scheme() == "https") {
        true => address.access.authority.clone().map_or(Trust::System, Trust::AuthorityFile),
        // Never used; a client cannot be made without, and this asks for no authorities on the machine.
        false => Trust::Pin(Digest::from_bytes([0; 32])),
    };
    let refuse = |error: TrustError| StoreError::Tls { place: place.clone(), reason: error.to_string() };
    let tls = client_config(&trust).map_err(refuse)?;
    Http::new(place.clone(), nodes, login, tls)
}

fn parse(url: &Url) -> Result<Parsed, String> {
    let secure = url.scheme == "rqlites";
    let wrong = |what: &str| format!("the address cannot be read: {what}; it is like {EXAMPLE}");
    let rest = url.rest().strip_prefix("//").ok_or_else(|| wrong("`//` is missing"))?;
    let (login, hosts) = match rest.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, rest),
    };
    let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
    if hosts.is_empty() {
        return Err(wrong("it names no host"));
    }
    if hosts.contains(['/', '?', '#']) {
        return Err(wrong("nothing may follow the hosts, neither a path nor options"));
    }
    let node = |host: &str| node(host, secure).ok_or_else(|| wrong(&format!("`{host}` is no host and port")));
    let nodes: Vec<HttpUrl> = hosts.split(',').map(node).collect::<Result<_, _>>()?;
    let words: Vec<String> = nodes.iter().map(authority).collect();
    let place = Place::named(format!("{}://{}", url.scheme, words.join(",")));
    let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
        None => (None, None),
        Some((user, "")) => (Some(plain(user)), None),
        Some((user, password)) => (Some(plain(user)), Some(Password::new(plain(password)))),
    };
    Ok(Parsed { nodes, user, password, place })
}

fn node(host: &str, secure: bool) -> Option<HttpUrl> {
    let scheme = if secure { "https" } else { "http" };
    let mut url: HttpUrl = format!("{scheme}://{host}/").parse().ok()?;
    let names_port =
        host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) && !host.ends_with(']');
    if !names_port {
        url.set_port(Some(DEFAULT_PORT)).ok()?;
    }
    (!host.is_empty() && url.username().is_empty()).then_some(url)
}

fn authority(url: &HttpUrl) -> String {
    let host = url.host_str().unwrap_or_default();
    // The usual port of HTTP is none to the parser.
    let port = url.port_or_known_default().unwrap_or(DEFAULT_PORT);
    format!("{host}:{port}")
}

/// The text without its percent signs, where it is one that can be read so.
fn plain(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        let byte = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}
