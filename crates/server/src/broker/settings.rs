//! What people set about the message broker: the one inside this process, or another and how its accounts are kept.
//!
//! Not for reaching it. It keeps true that no password travels in the clear over a network: plain addresses are for loopback.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::http::Uri;
use settings::Layers;
use zeroize::Zeroizing;

use crate::settings::{first_line, folder};

/// Which broker carries changes.
#[derive(Debug, Clone)]
pub enum BrokerSettings {
    /// The one inside this process.
    Embedded,
    /// One that somebody else runs.
    External(ExternalSettings),
}

/// A broker that somebody else runs.
#[derive(Debug, Clone)]
pub struct ExternalSettings {
    /// Where the server reaches it.
    pub address: BrokerAddress,
    /// Where agents are told that it is, best first.
    pub told: Vec<String>,
    /// The server's own user name there.
    pub user: String,
    /// And its password.
    pub password: Secret,
    /// The PEM file of the authorities that vouch for its certificate; none: those of the machine.
    pub authorities: Option<PathBuf>,
    /// Who keeps the accounts of hosts.
    pub accounts: AccountSettings,
}

/// How a broker learns who its hosts are.
#[derive(Debug, Clone)]
pub enum AccountSettings {
    /// Mosquitto's dynamic security plugin is told over MQTT.
    Dynsec,
    /// Mosquitto reads files that we write.
    MosquittoFiles(FileSettings),
    /// NATS reads a file that we write.
    NatsFile(FileSettings),
    /// The broker asks us over HTTP, as EMQX does; it shows this token.
    Http(Secret),
    /// Somebody else sees to it.
    None,
}

/// Where account files go, and who reads them again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// Their folder.
    pub folder: PathBuf,
    /// The file with the number of the process that reads them again when it gets SIGHUP.
    pub reload: Option<PathBuf>,
}

/// A text that is never shown, and wiped from memory.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// A secret from its text.
    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How MQTT is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// On TCP.
    Stream,
    /// On WebSocket.
    WebSocket,
}

/// Where a broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// As it was written.
    pub text: String,
    /// How MQTT is carried.
    pub carrier: Carrier,
    /// Whether there is TLS below it.
    pub is_secure: bool,
    /// The machine, without the brackets of an IPv6 address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl BrokerAddress {
    /// Reads `mqtts://`, `wss://` and, where it is this machine, `mqtt://` and `ws://`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("`{text}` is not a broker's address such as mqtts://broker.example.org:8883: {why}")
        };
        let uri: Uri = text.parse().map_err(|_| wrong("it cannot be read"))?;
        let (carrier, is_secure, port) = match uri.scheme_str() {
            Some("mqtts") => (Carrier::Stream, true, 8883),
            Some("mqtt") => (Carrier::Stream, false, 1883),
            Some("wss") => (Carrier::WebSocket, true, 443),
            Some("ws") => (Carrier::WebSocket, false, 80),
            Some(_) | None => return Err(wrong("it has to begin with mqtts:, wss:, mqtt: or ws:")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it names no machine"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("user and password belong into `broker_user` and `broker_password_file`"));
        }
        if carrier == Carrier::Stream && !matches!(uri.path(), "" | "/") {
            return Err(wrong("only wss: and ws: have a path"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if !is_secure && !is_loopback(&host) {
            return Err(wrong(
                "without TLS everybody on the way reads passwords, so that it has to be this machine (127.0.0.1, \
                 [::1] or localhost); use mqtts: or wss:",
            ));
        }
        let port = authority.port_u16().unwrap_or(port);
        Ok(Self { text: text.to_owned(), carrier, is_secure, host, port })
    }
}

/// Whether this names the machine on which it is read, whichever that is.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    is_loopback(host) || host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
}

/// Reads the settings.
pub(crate) fn read(layers: &mut Layers) -> BrokerSettings {
    let address = layers.one("broker", choice).flatten();
    let told = layers.list("broker_urls", |text| BrokerAddress::parse(text).map(|address| address.text));
    let user = layers.one("broker_user", user_name);
    let password = layers.one("broker_password_file", secret);
    let authorities = layers.one("broker_ca_file", folder);
    let folder = layers.one("broker_accounts_folder", folder);
    let reload = layers.one("broker_reload", crate::settings::folder);
    let token = layers.one("broker_hook_token_file", secret);
    let kind = layers.one("broker_accounts", kind).unwrap_or(Kind::Dynsec);
    let Some(address) = address else {
        return BrokerSettings::Embedded;
    };
    let mut needed = |key: &'static str, is_missing: bool, why: &str| {
        if is_missing {
            layers.wrong(key, why);
        }
    };
    needed("broker_user", user.is_none(), "the server needs a user name at a broker that is not its own");
    needed(
        "broker_password_file",
        password.is_none(),
        "the server needs its password at the broker in a file",
    );
    let files = matches!(kind, Kind::MosquittoFiles | Kind::NatsFile);
    needed("broker_accounts_folder", files && folder.is_none(), "the account files need a folder");
    needed("broker_hook_token_file", kind == Kind::Http && token.is_none(), "the broker has to show a token");
    let files = FileSettings { folder: folder.unwrap_or_default(), reload };
    // What is missing was told above, and the settings are refused for it.
    let none = || Secret::new(String::new());
    let accounts = match kind {
        Kind::Dynsec => AccountSettings::Dynsec,
        Kind::MosquittoFiles => AccountSettings::MosquittoFiles(files),
        Kind::NatsFile => AccountSettings::NatsFile(files),
        Kind::Http => AccountSettings::Http(token.unwrap_or_else(none)),
        Kind::None => AccountSettings::None,
    };
    BrokerSettings::External(ExternalSettings {
        told: told.filter(|told| !told.is_empty()).unwrap_or_else(|| vec![address.text.clone()]),
        address,
        user: user.unwrap_or_default(),
        password: password.unwrap_or_else(none),
        authorities,
        accounts,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dynsec,
    MosquittoFiles,
    NatsFile,
    Http,
    None,
}

fn kind(value: &str) -> Result<Kind, String> {
    match value {
        "dynsec" => Ok(Kind::Dynsec),
        "mosquitto-files" => Ok(Kind::MosquittoFiles),
        "nats-file" => Ok(Kind::NatsFile),
        "http" => Ok(Kind::Http),
        "none" => Ok(Kind::None),
        _ => Err(format!(
            "`{value}` is no way to keep a broker's accounts; there are dynsec, mosquitto-files, nats-file, http and none"
        )),
    }
}

/// A name that every kind of account can have: files of accounts have a colon behind it, and lines.
fn user_name(value: &str) -> Result<String, String> {
    let is_odd = |c: char| c == ':' || c.is_whitespace() || c.is_control();
    match value.is_empty() || value.contains(is_odd) {
        false => Ok(value.to_owned()),
        true => Err(format!(
            "`{value}` is no user name for a broker: it has no colons and no spaces, and is not empty"
        )),
    }
}

/// None: the broker inside this process.
fn choice(value: &str) -> Result<Option<BrokerAddress>, String> {
    if value == "embedded" { Ok(None) } else { BrokerAddress::parse(value).map(Some) }
}

fn secret(file: &str) -> Result<Secret, String> {
    first_line(file).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &str) -> Result<BrokerSettings, String> {
        let mut layers = Layers::new("NETLOOM_", [], Some(("server.toml", file)));
        let settings = read(&mut layers);
        layers.finish().map(|()| settings).map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn the_broker_inside_the_server_is_used_unless_another_is_named() {
        assert!(matches!(of("").unwrap(), BrokerSettings::Embedded));
        assert!(matches!(of("broker = \"embedded\"").unwrap(), BrokerSettings::Embedded));
    }

    #[test]
    fn an_external_broker_is_read_whole_and_agents_are_told_the_same_address() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "secret\n").unwrap();
        let text = format!(
            "broker = \"mqtts://b.example:99\"\nbroker_user = \"netloom\"\nbroker_password_file = {file:?}\n"
        );
        let BrokerSettings::External(settings) = of(&text).unwrap() else { panic!("not external") };
        assert_eq!((settings.address.host.as_str(), settings.address.port), ("b.example", 99));
        assert_eq!(settings.told, ["mqtts://b.example:99"]);
        assert_eq!(settings.password.expose(), "secret");
        assert!(!format!("{settings:?}").contains("secret\""), "the password is shown");
        assert!(matches!(settings.accounts, AccountSettings::Dynsec));
        let text = format!("{text}broker_urls = [\"wss://b.example/mqtt\"]\nbroker_accounts = \"none\"\n");
        let BrokerSettings::External(settings) = of(&text).unwrap() else { panic!("not external") };
        assert_eq!(settings.told, ["wss://b.example/mqtt"]);
    }

    #[test]
    fn what_is_missing_or_would_show_passwords_is_told_at_once() {
        let text = of("broker = \"mqtts://b\"\nbroker_accounts = \"nats-file\"\n").unwrap_err();
        for key in ["broker_user", "broker_password_file", "broker_accounts_folder"] {
            assert!(text.contains(key), "{text}");
        }
        for url in
            ["mqtt://b.example", "ws://10.0.0.1/mqtt", "http://b", "b", "mqtts://u:p@b", "mqtts://b/path"]
        {
            assert!(BrokerAddress::parse(url).is_err(), "{url}");
        }
        for user in ["a:b", "a b", "", "a\\tb"] {
            let text = of(&format!("broker_user = \"{user}\"")).unwrap_err();
            assert!(text.contains("no user name"), "{user}: {text}");
        }
        let local = BrokerAddress::parse("mqtt://[::1]").unwrap();
        assert_eq!((local.host.as_str(), local.port), ("::1", 1883));
        assert!(BrokerAddress::parse("ws://127.0.0.1:80/mqtt").is_ok());
    }
}
