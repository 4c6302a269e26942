//! `netloom dns`: names of a network beside those that its members have by themselves.

mod record;
mod upstream;

use api::path;
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::console::Console;
use crate::failure::Failure;
use crate::render::printable;

/// Names.
#[derive(Debug, Subcommand)]
pub enum Dns {
    /// Records of a network, beside those that its members have by themselves
    #[command(subcommand, visible_alias = "records")]
    Record(record::Record),
    /// Name servers for single domains, for all hosts of a network
    #[command(subcommand, visible_alias = "upstreams")]
    Upstream(upstream::Upstream),
    /// Print all names of a network, for name servers of others
    Zone {
        /// The network's name or id
        network: String,
        /// In which form
        #[arg(long, value_enum, default_value = "zone")]
        format: ZoneFormat,
    },
}

/// A form in which name servers take names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ZoneFormat {
    /// A zone file (RFC 1035), for CoreDNS's `file` and others
    Zone,
    /// Addresses and names as in /etc/hosts, for CoreDNS's `hosts` and others
    Hosts,
}

impl ZoneFormat {
    /// As the API takes it.
    const fn name(self) -> &'static str {
        match self {
            Self::Zone => "zone",
            Self::Hosts => "hosts",
        }
    }
}

impl Dns {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let client = console.client()?;
        match self {
            Self::Record(record) => record.run(&client, console).await,
            Self::Upstream(upstream) => upstream.run(&client, console).await,
            Self::Zone { network, format } => {
                let query = [("format", format.name().to_owned())];
                let text = client.text(&path::fill(path::DNS_ZONE, &[&network]), &query).await?;
                if console.global.json {
                    return console.show_json(&json!({ "format": format.name(), "text": text }));
                }
                let lines: Vec<String> = text.lines().map(printable).collect();
                console.terminal.print(&lines.join("\n"))
            }
        }
    }
}
