//! `netloom host`.

use api::{KeyRotation, Nat, PatchHost, path};
use clap::Subcommand;
use model::{Endpoint, HostName, Mtu};
use serde_json::json;

use crate::arguments::AtMost;
use crate::client::Client;
use crate::command::removal::remove;
use crate::console::{Console, meaning};
use crate::failure::Failure;
use crate::render::{View, addresses, details, joined, online, or_dash, printable, table, yes_no};
use crate::value::{OnOff, OrDefault, OrNone, switched};

/// Clients that are named in a warning; all are counted.
const MOST_NAMED: usize = 20;

/// Machines.
#[derive(Debug, Subcommand)]
pub enum Host {
    /// List them
    #[command(visible_alias = "ls")]
    List {
        /// Only those in this network
        #[arg(long, short)]
        network: Option<String>,
        /// Only those whose agent is connected
        #[arg(long, conflicts_with = "offline")]
        online: bool,
        /// Only those whose agent is not connected
        #[arg(long)]
        offline: bool,
        /// Only those with this in their name, an address or the WireGuard key
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        #[command(flatten)]
        most: AtMost,
    },
    /// Show one
    Show {
        /// Its name or id
        host: String,
    },
    /// Change one
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Update {
        /// Its name or id
        host: String,
        /// Its new name
        #[arg(long, group = "change")]
        name: Option<HostName>,
        /// The MTU of its interface in bytes, or `default`
        #[arg(long, value_name = "BYTES", group = "change")]
        mtu: Option<OrDefault<Mtu>>,
        /// Where it can always be reached, such as 203.0.113.7:51820, or `none`
        #[arg(long, value_name = "ENDPOINT", group = "change")]
        static_endpoint: Option<OrNone<Endpoint>>,
        /// Whether it joins every new network
        #[arg(long, value_enum, value_name = "ON|OFF", group = "change")]
        default: Option<OnOff>,
        /// Whether it is removed when it has been offline for a while
        #[arg(long, value_enum, value_name = "ON|OFF", group = "change")]
        ephemeral: Option<OnOff>,
    },
    /// Ask one, or all, for a new WireGuard key; agents lose no packet, and plain WireGuard clients of a gateway are cut off
    RotateKey {
        /// Its name or id
        #[arg(required_unless_present = "all")]
        host: Option<String>,
        /// Ask every host
        #[arg(long, conflicts_with = "host")]
        all: bool,
    },
    /// Remove one from everything
    #[command(visible_alias = "rm")]
    Delete {
        /// Its name or id
        host: String,
    },
}

impl Host {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let client = console.client()?;
        match self {
            Self::List { network, online, offline, search, most } => {
                let mut query = Vec::new();
                query.extend(network.map(|network| ("network", network)));
                query.extend((online || offline).then(|| ("online", online.to_string())));
                query.extend(search.map(|search| ("search", search)));
                let answer = client.list(path::HOSTS, &query, most.limit).await?;
                console.show(&answer, |hosts: &Vec<api::Host>, view| all(hosts, view))
            }
            Self::Show { host } => {
                let answer = client.get(&path::fill(path::HOST, &[&host]), &[]).await?;
                console.show(&answer, one)
            }
            Self::Update { host, name, mtu, static_endpoint, default, ephemeral } => {
                let (mtu, static_endpoint) = (OrDefault::edit(mtu), OrNone::edit(static_endpoint));
                let (default, ephemeral) = (switched(default), switched(ephemeral));
                let body = PatchHost { name, mtu, static_endpoint, default, ephemeral };
                let answer = client.patch(&path::fill(path::HOST, &[&host]), &body).await?;
                console.show(&answer, one)
            }
            Self::RotateKey { host, all: _ } => rotate_key(host, &client, console).await,
            Self::Delete { host } => {
                let order = format!("remove host `{host}` from all networks and from the server");
                let done = format!("Host `{host}` is removed.");
                remove(&client, console, &path::fill(path::HOST, &[&host]), &order, &done).await
            }
        }
    }
}

/// Says who is cut off before anybody is.
async fn rotate_key(host: Option<String>, client: &Client, console: &mut Console) -> Result<(), Failure> {
    let (at, whom, asked) = match &host {
        Some(host) => {
            let at = path::fill(path::HOST_ROTATE_KEY, &[host]);
            (at, format!("host `{host}`"), format!("Host `{host}`"))
        }
        None => (path::ROTATE_KEYS.to_owned(), "every host".to_owned(), "Every host".to_owned()),
    };
    let tried = client.post_or_try(&at, &json!({}), true).await?;
    let tried: KeyRotation = meaning(&tried)?;
    if tried.cut_off_count > 0 {
        console.terminal.note(&printable(&warning(&tried)));
    }
    if tried.cut_off_count > 0 || host.is_none() {
        console.confirm(&format!("ask {whom} for a new WireGuard key"))?;
    }
    let answer = client.post(&at, &json!({})).await?;
    console.done(&answer, &format!("{asked} is asked for a new WireGuard key."))
}

/// Who is cut off.
fn warning(tried: &KeyRotation) -> String {
    let named = tried.cut_off.iter().take(MOST_NAMED);
    let named = joined(named.map(|it| format!("{} ({}, by {})", it.client, it.network, it.gateway)));
    let more = match tried.cut_off_count.saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let what = "Plain WireGuard clients know a gateway by its key. These are cut off until they get their configuration anew";
    format!("{what} (`netloom client config`): {named}{more}")
}

fn networks(host: &api::Host) -> String {
    joined(host.networks.iter().map(|node| format!("{}{}", node.network.name, aside(node))))
}

/// Why it takes no part in a network, in brackets.
fn aside(node: &api::HostNetwork) -> &'static str {
    match (node.pending, node.connected) {
        (true, _) => " (waits to be let in)",
        (false, false) => " (paused)",
        (false, true) => "",
    }
}

fn all(hosts: &[api::Host], view: &View) -> String {
    table(
        view,
        ["name", "state", "networks", "addresses", "seen at", "last seen"],
        hosts,
        |host| {
            let nodes = host.networks.iter();
            [
                host.name.to_string(),
                state(host),
                or_dash(networks(host)),
                or_dash(joined(nodes.map(|node| addresses(node.v4, node.v6)))),
                or_dash(joined(&host.inventory.endpoints)),
                view.moment_or(host.inventory.last_seen, "never"),
            ]
        },
        "No hosts here. Let one join: `netloom key create TITLE --network NETWORK`, then `netclient join -t TOKEN` on it.",
    )
}

fn state(host: &api::Host) -> String {
    let connected = online(host.inventory.online);
    if host.inventory.failures.is_empty() { connected } else { format!("{connected}, failing") }
}

fn one(host: &api::Host, view: &View) -> String {
    let seen = &host.inventory;
    let facts = seen.facts.clone().unwrap_or_default();
    let mut lines = vec![
        ("Name", host.name.to_string()),
        ("Id", host.id.to_string()),
        ("State", state(host)),
        ("Last seen", view.moment_or(seen.last_seen, "never")),
        ("WireGuard key", host.wireguard_key.to_string()),
        ("New key", if host.rotating { "asked for" } else { "" }.to_owned()),
        ("Default", yes_no(host.default)),
        ("Ephemeral", yes_no(host.ephemeral)),
        ("MTU", host.mtu.map_or_else(|| format!("{} (default)", Mtu::DEFAULT), |mtu| mtu.to_string())),
        ("Static endpoint", host.static_endpoint.map(|endpoint| endpoint.to_string()).unwrap_or_default()),
        ("Seen at", joined(&seen.endpoints)),
        ("Own addresses", joined(&seen.local)),
        ("NAT", nat(seen.nat).to_owned()),
        ("Map", map(seen)),
        (
            "Machine",
            joined([&facts.os, &facts.release, &facts.arch].into_iter().filter(|fact| !fact.is_empty())),
        ),
        ("Kernel", facts.kernel),
        ("Agent", facts.agent),
        ("WireGuard", facts.wireguard),
        ("Created", view.moment(host.created)),
    ];
    lines.extend(host.networks.iter().map(|node| {
        ("Network", format!("{}: {}{}", node.network.name, addresses(node.v4, node.v6), aside(node)))
    }));
    lines.extend(
        seen.failures.iter().map(|failure| ("Failing", format!("{}: {}", failure.op, failure.error))),
    );
    details(view, &lines)
}

fn nat(nat: Nat) -> &'static str {
    match nat {
        Nat::Unknown => "not known yet",
        Nat::Endpoint => "none, or one that peers can reach",
        Nat::PerDestination => "another port for each destination: peers may not reach it directly",
    }
}

fn map(seen: &api::Inventory) -> String {
    match (&seen.wanted_generation, &seen.applied_generation) {
        (Some(wanted), Some(applied)) if wanted == applied => format!("{applied}, up to date"),
        (Some(wanted), Some(applied)) => format!("{applied}, {wanted} is wanted"),
        (Some(wanted), None) => format!("none yet, {wanted} is wanted"),
        (None, Some(applied)) => applied.clone(),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn host() -> api::Host {
        api::Host {
            id: model::HostId::from_bytes([1; 16]),
            name: "web".parse().unwrap(),
            wireguard_key: model::WgPublicKey::from_bytes([2; 32]),
            mtu: None,
            static_endpoint: None,
            default: false,
            ephemeral: false,
            rotating: false,
            networks: vec![api::HostNetwork {
                network: api::NetworkRef {
                    id: model::NetworkId::from_bytes([3; 16]),
                    name: "home".parse().unwrap(),
                },
                node: model::NodeId::from_bytes([4; 16]),
                v4: Some([10, 1, 0, 2].into()),
                v6: None,
                connected: false,
                pending: false,
            }],
            inventory: api::Inventory {
                online: true,
                last_seen: Some(Timestamp::from_millis(NOW.as_millis() - 120_000)),
                endpoints: vec!["203.0.113.7:51820".parse().unwrap()],
                wanted_generation: Some("5.2".to_owned()),
                applied_generation: Some("5.1".to_owned()),
                failures: vec![api::Failure {
                    op: "add route".to_owned(),
                    error: "no\u{1b} right".to_owned(),
                }],
                ..api::Inventory::default()
            },
            created: NOW,
        }
    }

    #[test]
    fn a_list_of_hosts_tells_state_networks_and_endpoints() {
        let expected = "\
NAME  STATE            NETWORKS       ADDRESSES  SEEN AT            LAST SEEN
web   online, failing  home (paused)  10.1.0.2   203.0.113.7:51820  2027-01-15T07:58:00.000Z";
        assert_eq!(all(&[host()], &View { now: NOW, width: None }), expected);
    }

    #[test]
    fn those_whom_a_new_key_cuts_off_are_named_and_counted() {
        let phone = |number: usize| api::CutOff {
            client: format!("phone{number}").parse().unwrap(),
            network: "home".parse().unwrap(),
            gateway: "gw".parse().unwrap(),
        };
        let text = warning(&KeyRotation::of(true, (0..2).map(phone)));
        assert!(text.ends_with(": phone0 (home, by gw), phone1 (home, by gw)"), "{text}");
        let text = warning(&KeyRotation::of(true, (0..1_500).map(phone)));
        assert!(text.ends_with(", phone19 (home, by gw) and 1480 more"), "{text}");
    }

    #[test]
    fn a_host_tells_what_fails_and_whether_its_map_is_current() {
        let text = one(&host(), &View { now: NOW, width: Some(120) });
        for expected in [
            "Last seen      2 minutes ago",
            "MTU            1420 (default)",
            "Map            5.1, 5.2 is wanted",
            "Network        home: 10.1.0.2 (paused)",
            "Failing        add route: no\u{fffd} right",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert!(!text.contains("Static endpoint"), "{text}");
    }
}
