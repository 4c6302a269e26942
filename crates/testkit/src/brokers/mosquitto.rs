//! A Mosquitto of a test's own: in a folder of its own, on free ports of loopback, with an authority of its own.
//!
//! Not the machine's own service, which is never touched. Its configuration is the one that docs/guide/brokers.md gives.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::process::{Process, folder, on_free_ports, program};

/// The files that the server writes.
const PASSWORDS: &str = "mosquitto-passwords";
const SERVER_PASSWORD: &str = "mosquitto-server-password";
const RIGHTS: &str = "mosquitto-rights";
/// Where Debian has its plugin, on the machines that we know.
const PLUGINS: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so",
    "/usr/lib/aarch64-linux-gnu/mosquitto_dynamic_security.so",
];
/// The server's user name.
pub const USER: &str = "netloom";
/// And its password.
pub const PASSWORD: &str = "the-server's own secret";

/// How accounts come to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accounts {
    /// By its dynamic security plugin.
    Dynsec,
    /// By files in its folder `accounts`.
    Files,
}

/// A running Mosquitto.
#[derive(Debug)]
pub struct Mosquitto {
    /// What both kinds of broker are: started, killed, held, started again.
    pub process: Process,
    /// TLS for hosts, WebSocket over TLS for hosts, and the same two for servers.
    ports: [u16; 4],
}

impl Mosquitto {
    /// Starts one.
    pub fn start(accounts: Accounts) -> io::Result<Self> {
        on_free_ports(|ports| Self::start_at(accounts, ports))
    }

    fn start_at(accounts: Accounts, ports: [u16; 4]) -> io::Result<Self> {
        let mosquitto = program(&["/usr/sbin/mosquitto", "/usr/bin/mosquitto"], "mosquitto")?;
        let folder = folder("mosquitto")?;
        let text = match accounts {
            Accounts::Dynsec => dynsec(&folder)?,
            Accounts::Files => files(&folder)?,
        };
        fs::write(folder.join("mosquitto.conf"), text + &listeners(&folder, ports, accounts))?;
        let arguments = vec!["-c".to_owned(), folder.join("mosquitto.conf").display().to_string()];
        let process = Process::start(folder, mosquitto, arguments, ports.to_vec(), " running")?;
        Ok(Self { process, ports })
    }

    /// Where hosts reach it, over TLS and over WebSocket.
    pub fn for_hosts(&self) -> [String; 2] {
        [mqtts(self.ports[0]), wss(self.ports[1])]
    }

    /// Where servers do.
    pub fn for_servers(&self) -> [String; 2] {
        [mqtts(self.ports[2]), wss(self.ports[3])]
    }
}

pub(super) fn mqtts(port: u16) -> String {
    format!("mqtts://127.0.0.1:{port}")
}

pub(super) fn wss(port: u16) -> String {
    format!("wss://127.0.0.1:{port}/mqtt")
}

fn dynsec(folder: &Path) -> io::Result<String> {
    let file = folder.join("accounts/dynamic-security.json");
    let mut command = Command::new("mosquitto_ctrl");
    command.args(["dynsec", "init"]).arg(&file).arg(USER).arg(PASSWORD).stdin(Stdio::null());
    let made = command.output()?;
    if !made.status.success() || !file.exists() {
        return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
    }
    let plugin = program(&PLUGINS, "mosquitto")?;
    Ok(format!("plugin {}\nplugin_opt_config_file {}\n", plugin.display(), file.display()))
}

/// Mosquitto does not start without them; the server writes them anew.
fn files(folder: &Path) -> io::Result<String> {
    for name in [PASSWORDS, SERVER_PASSWORD, RIGHTS] {
        fs::write(folder.join("accounts").join(name), "")?;
    }
    Ok("per_listener_settings true\n".to_owned())
}

fn listeners(folder: &Path, ports: [u16; 4], accounts: Accounts) -> String {
    let mut text = "persistence false\nmessage_size_limit 1100000\n".to_owned();
    text += "max_queued_messages 100000\nconnection_messages false\nuser root\n";
    for (at, port) in ports.into_iter().enumerate() {
        text += &format!("listener {port} 127.0.0.1\nallow_anonymous false\n");
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| folder.join(name));
        text += &format!("certfile {}\nkeyfile {}\n", certificate.display(), key.display());
        if at % 2 == 1 {
            text += "protocol websockets\n";
        }
        if accounts == Accounts::Files {
            // The plugin ties each account to its client id; with files the first of these does, and no host gets in at the other.
            let (ids, passwords) =
                if at < 2 { ("use_username_as_clientid true\n", PASSWORDS) } else { ("", SERVER_PASSWORD) };
            let [passwords, rights] = [passwords, RIGHTS].map(|name| folder.join("accounts").join(name));
            text += &format!("{ids}password_file {}\nacl_file {}\n", passwords.display(), rights.display());
        }
    }
    text
}
