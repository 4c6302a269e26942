//! `netloom dns upstream`: name servers for single domains.

use api::{CreateUpstream, NameServer, PatchUpstream, path};
use clap::Subcommand;
use model::DnsName;

use crate::arguments::AtMost;
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;
use crate::render::{View, details, joined, table};

/// Name servers for single domains.
#[derive(Debug, Subcommand)]
pub enum Upstream {
    /// List a network's
    #[command(visible_alias = "ls")]
    List {
        /// The network's name or id
        network: String,
        #[command(flatten)]
        most: AtMost,
    },
    /// Say whom all hosts of a network ask about a domain
    Add {
        /// The network's name or id
        network: String,
        /// The domain
        domain: DnsName,
        /// A name server, such as 10.0.0.1 or 10.0.0.1:5353, the first to ask first
        #[arg(required = true, value_name = "SERVER")]
        servers: Vec<NameServer>,
    },
    /// Say whom they ask from now on
    Update {
        /// The network's name or id
        network: String,
        /// The domain, or the id
        domain: String,
        /// All name servers, in place of those until now
        #[arg(required = true, value_name = "SERVER")]
        servers: Vec<NameServer>,
    },
    /// Leave a domain to the usual name servers again
    #[command(visible_alias = "rm")]
    Delete {
        /// The network's name or id
        network: String,
        /// The domain, or the id
        domain: String,
    },
}

impl Upstream {
    pub(super) async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        match self {
            Self::List { network, most } => {
                let answer =
                    client.list(&path::fill(path::DNS_UPSTREAMS, &[&network]), &[], most.limit).await?;
                console.show(&answer, |upstreams: &Vec<api::Upstream>, view| all(upstreams, view))
            }
            Self::Add { network, domain, servers } => {
                let body = CreateUpstream { domain, servers };
                let answer = client.post(&path::fill(path::DNS_UPSTREAMS, &[&network]), &body).await?;
                console.show(&answer, one)
            }
            Self::Update { network, domain, servers } => {
                let path = path::fill(path::DNS_UPSTREAM, &[&network, &domain]);
                let answer = client.patch(&path, &PatchUpstream { servers }).await?;
                console.show(&answer, one)
            }
            Self::Delete { network, domain } => {
                console.confirm(&format!("forget the name servers for `{domain}` in network `{network}`"))?;
                let answer =
                    client.delete(&path::fill(path::DNS_UPSTREAM, &[&network, &domain]), &[]).await?;
                let words = format!("`{domain}` is left to the usual name servers in network `{network}`.");
                console.done(&answer, &words)
            }
        }
    }
}

fn all(upstreams: &[api::Upstream], view: &View) -> String {
    table(
        view,
        ["domain", "servers", "created"],
        upstreams,
        |one| [one.domain.to_string(), joined(&one.servers), view.moment(one.created)],
        "No domain has name servers of its own here.",
    )
}

fn one(upstream: &api::Upstream, view: &View) -> String {
    details(
        view,
        &[
            ("Domain", upstream.domain.to_string()),
            ("Servers", joined(&upstream.servers)),
            ("Id", upstream.id.to_string()),
            ("Created", view.moment(upstream.created)),
        ],
    )
}
