//! `netloom policy`: who may open connections to whom.

mod explain;
mod show;
mod test;
mod write;

use api::path;
use clap::{Args, Subcommand};

use crate::arguments::AtMost;
use crate::client::trying;
use crate::console::Console;
use crate::failure::Failure;

pub(crate) use show::changes;

/// Who may open connections to whom.
///
/// Subjects are everything, node:NAME, client:NAME, egress:NAME, tag:NAME, user:NAME and group:NAME. Services look like
/// tcp/443, udp/53,1000-2000, icmp, tcp or proto/47. Policies only allow; what none allows, the network's access decides.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// List a network's
    #[command(visible_alias = "ls")]
    List {
        /// The network's name or id
        network: String,
        #[command(flatten)]
        most: AtMost,
    },
    /// Make one
    Create(write::Create),
    /// Show one
    Show(Place),
    /// Change one
    Update(write::Update),
    /// Let one count
    Enable(Tried),
    /// Let one not count
    Disable(Tried),
    /// Delete one
    #[command(visible_alias = "rm")]
    Delete(Tried),
    /// Say whether one member may open connections to another, and what decides it
    Explain(explain::Explain),
    /// Sentences about policies that must stay true
    #[command(subcommand, visible_alias = "tests")]
    Test(test::Test),
}

/// Which one.
#[derive(Debug, Args)]
pub struct Place {
    /// The network's name or id
    network: String,
    /// Its name or id
    policy: String,
}

impl Place {
    fn path(&self) -> String {
        path::fill(path::POLICY, &[&self.network, &self.policy])
    }
}

/// Which one, and whether for real.
#[derive(Debug, Args)]
pub struct Tried {
    #[command(flatten)]
    place: Place,
    /// Change nothing; say who would gain and who would lose access
    #[arg(long)]
    dry_run: bool,
}

impl Policy {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let client = console.client()?;
        match self {
            Self::List { network, most } => {
                let answer = client.list(&path::fill(path::POLICIES, &[&network]), &[], most.limit).await?;
                console.show(&answer, |policies: &Vec<api::Policy>, view| show::all(policies, view))
            }
            Self::Create(create) => create.run(&client, console).await,
            Self::Show(place) => {
                let answer = client.get(&place.path(), &[]).await?;
                console.show(&answer, show::one)
            }
            Self::Update(update) => update.run(&client, console).await,
            Self::Enable(Tried { place, dry_run }) => {
                let answer = client.patch_or_try(&place.path(), &write::enabled(true), dry_run).await?;
                console.show_written(&answer, dry_run, show::one)
            }
            Self::Disable(Tried { place, dry_run }) => {
                let answer = client.patch_or_try(&place.path(), &write::enabled(false), dry_run).await?;
                console.show_written(&answer, dry_run, show::one)
            }
            Self::Delete(Tried { place, dry_run: true }) => {
                let answer = client.delete(&place.path(), &trying(true)).await?;
                console.show_tried(&answer)
            }
            Self::Delete(Tried { place, dry_run: false }) => {
                console
                    .confirm(&format!("delete policy `{}` of network `{}`", place.policy, place.network))?;
                let answer = client.delete(&place.path(), &[]).await?;
                let words = format!("Policy `{}` is deleted from network `{}`.", place.policy, place.network);
                console.done(&answer, &words)
            }
            Self::Explain(explain) => explain.run(&client, console).await,
            Self::Test(test) => test.run(&client, console).await,
        }
    }
}
