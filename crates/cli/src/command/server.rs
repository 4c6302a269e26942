//! `netloom server`: the server itself.

use api::{BrokerState, BrokerStatus, RekeyStatus, ServerStatus, path};
use clap::Subcommand;

use crate::console::Console;
use crate::failure::Failure;
use crate::render::{View, counted, details, joined, table, yes_no};
use crate::span::Words;

/// The server itself.
#[derive(Debug, Subcommand)]
pub enum Server {
    /// Show how it is
    Status,
    /// List the servers that share its database
    #[command(visible_alias = "ls")]
    List,
}

impl Server {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        match self {
            Self::Status => {
                let answer = console.client()?.get(path::SERVER, &[]).await?;
                console.show(&answer, one)
            }
            Self::List => {
                let answer = console.client()?.get(path::SERVERS, &[]).await?;
                console.show(&answer, |servers: &Vec<api::Server>, view| all(servers, view))
            }
        }
    }
}

fn all(servers: &[api::Server], view: &View) -> String {
    let row = |server: &api::Server| {
        let api::Server { id, name, address, version, leads, this, trouble } = server.clone();
        [name, yes_no(leads), yes_no(this), address, version, id, trouble.unwrap_or_default()]
    };
    let columns = ["name", "leads", "asked", "address", "version", "id", "trouble"];
    table(view, columns, servers, row, "No server runs.")
}

fn part(kind: &str, ok: bool, detail: &Option<String>) -> String {
    match (ok, detail) {
        (true, _) => format!("{kind}, working"),
        (false, Some(detail)) => format!("{kind}, NOT WORKING: {detail}"),
        (false, None) => format!("{kind}, NOT WORKING"),
    }
}

fn broker(BrokerStatus { kind, state, detail, agents }: &BrokerStatus) -> String {
    let how = match state {
        BrokerState::Working => part(kind, true, detail),
        BrokerState::Failing => part(kind, false, detail),
        BrokerState::Elsewhere => {
            let who = detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
            format!("{kind}, seen to by another server{who}")
        }
    };
    format!("{how}, {agents} agents")
}

fn next_keys(rekey: RekeyStatus) -> String {
    match (rekey.taken_back, rekey.hosts_left) {
        (false, 0) => "known to all hosts: stop the servers and say `netloom-server rekey finish`".to_owned(),
        (false, left) => format!("not known to {} yet", counted(left, "host")),
        (true, 0) => "used by no host: stop the servers and say `netloom-server rekey abandon`".to_owned(),
        (true, left) => format!("taken back, and still used by {}", counted(left, "host")),
    }
}

fn one(status: &ServerStatus, view: &View) -> String {
    let ServerStatus { database, counts, .. } = status;
    let size = database.bytes.map(|bytes| format!(", {} KiB", bytes.div_ceil(1024))).unwrap_or_default();
    let rendezvous = status.rendezvous.iter().map(|rendezvous| format!("UDP {}", rendezvous.port));
    details(
        view,
        &[
            ("Version", status.version.clone()),
            ("Up", Words(status.now.since(status.started)).to_string()),
            ("Addresses", joined(&status.addresses)),
            ("Pin", status.pin.map_or_else(|| "none: publicly trusted".to_owned(), |pin| pin.to_string())),
            ("Rendezvous", joined(rendezvous)),
            ("Database", format!("{}{size}", part(&database.kind, database.ok, &database.detail))),
            ("Broker", broker(&status.broker)),
            ("Next keys", status.rekey.map_or_else(|| "none".to_owned(), next_keys)),
            ("Changes", status.seq.to_string()),
            ("Networks", counts.networks.to_string()),
            ("Hosts", format!("{}, {} online", counts.hosts, counts.hosts_online)),
            ("Nodes", counts.nodes.to_string()),
            ("Keys", counts.keys.to_string()),
            ("Users", counts.users.to_string()),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_another_server_sees_to_is_not_shown_as_broken() {
        let status = |state, detail: Option<&str>| BrokerStatus {
            kind: "external".to_owned(),
            state,
            detail: detail.map(str::to_owned),
            agents: 3,
        };
        let shown = |state, detail| broker(&status(state, detail));
        assert_eq!(shown(BrokerState::Working, None), "external, working, 3 agents");
        assert_eq!(
            shown(BrokerState::Failing, Some("it refuses us")),
            "external, NOT WORKING: it refuses us, 3 agents"
        );
        assert_eq!(
            shown(BrokerState::Elsewhere, Some("vpn-1 leads")),
            "external, seen to by another server (vpn-1 leads), 3 agents"
        );
    }

    #[test]
    fn a_change_of_keys_is_shown_with_the_way_it_goes_and_what_ends_it() {
        let shown = |taken_back, hosts_left| next_keys(RekeyStatus { hosts_left, taken_back });
        assert_eq!(shown(false, 2), "not known to 2 hosts yet");
        assert!(shown(false, 0).contains("rekey finish"));
        assert_eq!(shown(true, 1), "taken back, and still used by 1 host");
        assert!(shown(true, 0).contains("rekey abandon"));
    }
}
