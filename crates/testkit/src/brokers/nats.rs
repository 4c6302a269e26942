//! A NATS server of a test's own with its MQTT listener: in a folder of its own, on free ports of loopback, with an authority of
//! its own.
//!
//! Not the machine's own service, which is never touched. Its configuration is the one that docs/guide/brokers.md gives.

use std::fs;
use std::io;
use std::path::Path;

use super::mosquitto::{PASSWORD, mqtts, wss};
use super::process::{Process, folder, on_free_ports, program};

/// A running NATS server.
#[derive(Debug)]
pub struct Nats {
    /// What both kinds of broker are: started, killed, held, started again.
    pub process: Process,
    /// Its own protocol, MQTT over TLS, and WebSocket over TLS.
    ports: [u16; 3],
}

impl Nats {
    /// Starts one.
    pub fn start() -> io::Result<Self> {
        on_free_ports(Self::start_at)
    }

    fn start_at(ports: [u16; 3]) -> io::Result<Self> {
        let nats = program(&["/usr/sbin/nats-server", "/usr/bin/nats-server"], "nats-server")?;
        let folder = folder("nats")?;
        // NATS does not start without it, and lets everybody in without users; the server writes it anew.
        let nobody =
            format!("authorization {{ users = [ {{ user: \"nobody\", password: \"{PASSWORD}\" }} ] }}\n");
        fs::write(folder.join("accounts/nats-users.conf"), nobody)?;
        fs::write(folder.join("nats.conf"), configuration(&folder, ports))?;
        let arguments = vec!["-c".to_owned(), folder.join("nats.conf").display().to_string()];
        let process = Process::start(folder, nats, arguments, ports.to_vec(), "Server is ready")?;
        Ok(Self { process, ports })
    }

    /// Where it is reached, over TLS and over WebSocket.
    pub fn urls(&self) -> [String; 2] {
        [mqtts(self.ports[1]), wss(self.ports[2])]
    }
}

/// What it does by default for messages that are confirmed is said aloud: NATS 2.9 takes it for zero when it reads its
/// configuration again, and then hands on none of them any more.
fn configuration(folder: &Path, [own, mqtt, websocket]: [u16; 3]) -> String {
    let folder = folder.display();
    let tls = format!("tls {{ cert_file: \"{folder}/certificate.pem\", key_file: \"{folder}/key.pem\" }}");
    format!(
        "server_name: netloom\nlisten: 127.0.0.1:{own}\n\
         jetstream {{ store_dir: \"{folder}/jetstream\" }}\n\
         mqtt {{ listen: 127.0.0.1:{mqtt}, ack_wait: \"30s\", max_ack_pending: 1024, {tls} }}\n\
         websocket {{ listen: 127.0.0.1:{websocket}, {tls} }}\n\
         include accounts/nats-users.conf\n"
    )
}
