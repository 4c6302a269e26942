//! `netloom egress`: ways to ranges outside of a network.

use std::str::FromStr;

use api::{CreateEgress, HostSelector, PatchEgress, SelectorError, SetRouter, path};
use clap::{ArgGroup, Args, Subcommand};
use ipnet::IpNet;
use model::HostName;

use crate::arguments::AtMost;
use crate::command::removal::remove;
use crate::console::Console;
use crate::failure::Failure;
use crate::render::{View, details, joined, online, table, yes_no};
use crate::value::{OnOff, OrNone, switched};

/// Ways to ranges outside of a network.
#[derive(Debug, Subcommand)]
pub enum Egress {
    /// List a network's
    #[command(visible_alias = "ls")]
    List {
        /// The network's name or id
        network: String,
        #[command(flatten)]
        most: AtMost,
    },
    /// Make one
    Create(Create),
    /// Show one
    Show(Place),
    /// Change one; its range is fixed
    Update(Update),
    /// Use one again
    Enable(Place),
    /// Leave one unused
    Disable(Place),
    /// Delete one
    #[command(visible_alias = "rm")]
    Delete(Place),
}

/// Which one.
#[derive(Debug, Args)]
pub struct Place {
    /// The network's name or id
    network: String,
    /// Its name or id
    egress: String,
}

impl Place {
    fn path(&self) -> String {
        path::fill(path::EGRESS, &[&self.network, &self.egress])
    }
}

/// What is made.
#[derive(Debug, Args)]
pub struct Create {
    /// The network's name or id
    network: String,
    /// Its name
    name: HostName,
    /// The range as it is behind the routers, such as 192.168.7.0/24
    range: IpNet,
    /// A host that leads there, the best first, or each with a priority: lower is used first; may be given several times
    #[arg(long = "router", value_name = "HOST[:PRIORITY]", required = true, value_delimiter = ',')]
    routers: Vec<Router>,
    /// Whether machines there see the router's address, so that they need no way back [default: on]
    #[arg(long, value_enum, value_name = "ON|OFF")]
    nat: Option<OnOff>,
    /// The range under which members reach it, where the same range is in use elsewhere; as large
    #[arg(long, value_name = "RANGE")]
    mapped: Option<IpNet>,
    /// Do not use it yet
    #[arg(long)]
    disabled: bool,
}

/// What is changed.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
pub struct Update {
    #[command(flatten)]
    place: Place,
    /// Its new name
    #[arg(long, group = "change")]
    name: Option<HostName>,
    /// All hosts that lead there, the best first, in place of those until now; may be given several times
    #[arg(long = "router", value_name = "HOST[:PRIORITY]", group = "change", value_delimiter = ',')]
    routers: Vec<Router>,
    /// Whether machines there see the router's address, so that they need no way back
    #[arg(long, value_enum, value_name = "ON|OFF", group = "change")]
    nat: Option<OnOff>,
    /// The range under which members reach it, or none: its own
    #[arg(long, value_name = "RANGE", group = "change")]
    mapped: Option<OrNone<IpNet>>,
}

/// A host that leads there, as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Router(SetRouter);

/// The text names no router.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouterError {
    /// What stands before the colon.
    #[error(transparent)]
    Host(#[from] SelectorError),
    /// What stands behind it.
    #[error("`{0}` is no priority; it is a number from 0 to 65535, as in HOST:10")]
    Priority(String),
}

impl FromStr for Router {
    type Err = RouterError;

    fn from_str(text: &str) -> Result<Self, RouterError> {
        let Some((host, priority)) = text.split_once(':') else {
            return Ok(Self(SetRouter { node: text.parse()?, priority: None }));
        };
        let number =
            priority.parse().map_err(|_| RouterError::Priority(priority.chars().take(32).collect()))?;
        Ok(Self(SetRouter { node: host.parse::<HostSelector>()?, priority: Some(number) }))
    }
}

fn routers(given: Vec<Router>) -> Vec<SetRouter> {
    given.into_iter().map(|Router(router)| router).collect()
}

impl Create {
    fn body(self) -> (String, CreateEgress) {
        let Self { network, name, range, routers: given, nat, mapped, disabled } = self;
        let nat = nat.is_none_or(bool::from);
        (network, CreateEgress { name, range, mapped, routers: routers(given), nat, enabled: !disabled })
    }
}

impl Egress {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let client = console.client()?;
        let answer = match self {
            Self::List { network, most } => {
                let answer = client.list(&path::fill(path::EGRESSES, &[&network]), &[], most.limit).await?;
                return console.show(&answer, |egresses: &Vec<api::Egress>, view| all(egresses, view));
            }
            Self::Create(create) => {
                let (network, body) = create.body();
                client.post(&path::fill(path::EGRESSES, &[&network]), &body).await?
            }
            Self::Show(place) => client.get(&place.path(), &[]).await?,
            Self::Update(Update { place, name, routers: given, nat, mapped }) => {
                let routers = (!given.is_empty()).then(|| routers(given));
                let (nat, mapped) = (switched(nat), OrNone::edit(mapped));
                let body = PatchEgress { name, mapped, routers, nat, enabled: None };
                client.patch(&place.path(), &body).await?
            }
            Self::Enable(place) => client.patch(&place.path(), &enabled(true)).await?,
            Self::Disable(place) => client.patch(&place.path(), &enabled(false)).await?,
            Self::Delete(place) => {
                let order = format!("delete egress `{}` of network `{}`", place.egress, place.network);
                let done = format!("Egress `{}` is deleted from network `{}`.", place.egress, place.network);
                return remove(&client, console, &place.path(), &order, &done).await;
            }
        };
        console.show(&answer, one)
    }
}

fn enabled(enabled: bool) -> PatchEgress {
    PatchEgress { enabled: Some(enabled), ..PatchEgress::default() }
}

fn router(router: &api::Router) -> String {
    format!("{}:{} ({})", router.node.host_name, router.priority, online(router.online))
}

/// A range that lost all of its routers cannot be reached.
fn routers_shown(egress: &api::Egress) -> String {
    match egress.routers.is_empty() {
        true => "no router".to_owned(),
        false => joined(egress.routers.iter().map(router)),
    }
}

fn all(egresses: &[api::Egress], view: &View) -> String {
    table(
        view,
        ["name", "range", "reached as", "routers", "nat", "enabled"],
        egresses,
        |egress| {
            [
                egress.name.to_string(),
                egress.range.to_string(),
                egress.reached_as.to_string(),
                routers_shown(egress),
                yes_no(egress.nat),
                yes_no(egress.enabled),
            ]
        },
        "Nothing leads out of this network. Make a way: `netloom egress create NETWORK NAME RANGE --router HOST`.",
    )
}

fn one(egress: &api::Egress, view: &View) -> String {
    let mut lines = vec![
        ("Name", egress.name.to_string()),
        ("Id", egress.id.to_string()),
        ("Network", egress.network_name.to_string()),
        ("Range", egress.range.to_string()),
        ("Reached as", egress.reached_as.to_string()),
        ("NAT", yes_no(egress.nat)),
        ("Enabled", yes_no(egress.enabled)),
    ];
    match egress.routers.is_empty() {
        true => lines.push(("Router", "no router".to_owned())),
        false => lines.extend(egress.routers.iter().map(|one| ("Router", router(one)))),
    }
    lines.extend(egress.notes.iter().map(|note| ("Note", note.clone())));
    lines.push(("Created", view.moment(egress.created)));
    details(view, &lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_has_a_priority_or_its_place() {
        let Router(router) = "gw:10".parse().unwrap();
        assert_eq!((router.node.as_str(), router.priority), ("gw", Some(10)));
        assert_eq!("gw".parse::<Router>().unwrap().0.priority, None);
        for (text, expected) in [("gw:best", "`best` is no priority"), ("my gw", "neither an id nor a name")]
        {
            let error = text.parse::<Router>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
