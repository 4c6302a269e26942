//! `netclient status`: what works, what does not, and what to do, in words.
//!
//! Not for finding it out (`show::view`). It keeps true that whatever is broken is told, worst things included.

use std::time::Duration;

use model::NetworkName;
use reconcile::{Obstacle, PathStatus};
use serde::Serialize;
use wire::NatMapping;

use super::output::{ago, count};
use super::{Context, service, show};
use crate::control::NotRunning;
use crate::talk::now;
use crate::view::{FirewallView, Idle, InternetView, NetworkView, PeerView, ServerView, View};

/// How long the rendezvous may take to answer before that is worth a word.
const CALLING: Duration = Duration::from_secs(5);

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    Works,
    Limited,
    Broken,
}

/// One thing, how it is, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    about: &'static str,
    health: Health,
    says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

fn finding(about: &'static str, health: Health, says: impl Into<String>) -> Finding {
    Finding { about, health, says: says.into(), advice: None }
}

impl Finding {
    fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

/// Shows it.
pub(super) async fn status(context: &Context) -> anyhow::Result<()> {
    let view = match show::view(context).await {
        Ok(view) => view,
        Err(error) if is_not_joined(context) => {
            let view = View { daemon: false, ..View::idle(Idle::NotJoined) };
            tracing::debug!("{error:#}");
            view
        }
        Err(error) => return Err(error),
    };
    let mut findings = vec![daemon(context, &view)];
    findings.extend(of(&view));
    let worst = findings.iter().map(|finding| finding.health).max().unwrap_or(Health::Works);
    let value = serde_json::json!({ "health": worst, "findings": findings, "state": view });
    context.output.result(|| words(&findings), &value)
}

fn is_not_joined(context: &Context) -> bool {
    matches!(context.state.identity(), Ok(None)) || matches!(context.state.active(), Ok(None))
}

fn words(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.about.len()).max().unwrap_or(0);
    let line = |finding: &Finding| {
        let mark = match finding.health {
            Health::Works => "ok  ",
            Health::Limited => "note",
            Health::Broken => "FAIL",
        };
        let advice = finding
            .advice
            .as_deref()
            .map(|advice| format!("\n{:width$}        → {advice}", ""))
            .unwrap_or_default();
        format!("{mark}  {:width$}  {}{advice}", finding.about, super::output::printable(&finding.says))
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn daemon(context: &Context, view: &View) -> Finding {
    let service = service::state(&context.places);
    let enabled = service.as_ref().map(|service| service.installed && service.enabled);
    if !view.daemon {
        let health = if view.idle == Some(Idle::NotJoined) { Health::Limited } else { Health::Broken };
        let says = match &service {
            Some(service) if service.installed => {
                format!("the service is installed and {}, but no daemon answers", service.state)
            }
            Some(_) | None => "no daemon runs: changes come only with `netclient pull`".to_owned(),
        };
        return finding("daemon", health, says).advise(NotRunning.to_string());
    }
    match enabled {
        Some(true) => finding(
            "daemon",
            Health::Works,
            format!("version {} runs and starts with the machine", view.version),
        ),
        Some(false) => finding(
            "daemon",
            Health::Limited,
            format!("version {} runs, but will not start with the machine", view.version),
        )
        .advise("set up the service with `netclient install`"),
        None => finding(
            "daemon",
            Health::Works,
            format!("version {} runs; this machine has no systemd that would start it", view.version),
        ),
    }
}

/// What the view says.
fn of(view: &View) -> Vec<Finding> {
    if let Some(idle) = &view.idle {
        let health = if *idle == Idle::NotJoined { Health::Limited } else { Health::Broken };
        return vec![finding("networks", health, idle.to_string())];
    }
    let mut findings = Vec::new();
    if let Some(server) = view.server.as_ref().filter(|_| view.daemon) {
        findings.push(of_server(server));
        findings.push(of_pushes(server));
        findings.extend(of_rendezvous(view, server));
    }
    findings.push(of_interface(view));
    findings.extend(
        view.failures
            .iter()
            .map(|failure| finding("machine", Health::Broken, format!("{}: {}", failure.op, failure.error))),
    );
    for network in &view.networks {
        findings.extend(of_network(network, &view.peers));
    }
    findings.extend(of_firewall(view));
    findings.extend(of_names(view));
    findings.extend(of_peers(&view.peers));
    findings
}

fn of_network(network: &NetworkView, peers: &[PeerView]) -> Vec<Finding> {
    let name = &network.name;
    if network.pending {
        let says = format!("{name}: this machine waits to be let in");
        return vec![
            finding("network", Health::Limited, says)
                .advise("an administrator approves it with `netloom node approve`"),
        ];
    }
    if !network.connected {
        return vec![
            finding("network", Health::Limited, format!("{name}: paused"))
                .advise(format!("take part again with `netclient connect {name}`")),
        ];
    }
    let addresses: Vec<String> = network.addresses.iter().map(ToString::to_string).collect();
    let mut says = format!("{name}: {}, {}", addresses.join(" and "), count(network.peers, "peer"));
    if let Some(via) = &network.via {
        says.push_str(&format!(", all through {via}"));
    }
    if !network.leads_to.is_empty() {
        let ranges: Vec<String> = network.leads_to.iter().map(ToString::to_string).collect();
        says.push_str(&format!("; leads to {}", ranges.join(" and ")));
    }
    if network.internet_gateway {
        says.push_str("; is the way to the internet for others");
    }
    let mut findings = vec![finding("network", Health::Works, says)];
    findings.extend(network.internet.as_ref().map(|way| of_internet(name, way, peers)));
    findings
}

/// The way to everything outside: where there is a gateway, it is as good as the path to it.
fn of_internet(network: &NetworkName, way: &InternetView, peers: &[PeerView]) -> Finding {
    let lan = if way.lan { ", but for the networks it is attached to" } else { "" };
    let nothing = |why: &str| {
        let says = format!("nothing leaves this machine{lan}: its internet gateway {why}");
        finding("internet", Health::Broken, says)
    };
    let other = format!(
        "choose another, or none, at the server: `netloom node update {network} HOST --internet GATEWAY` (or `none`)"
    );
    let Some(gateway) = &way.gateway else {
        return nothing("is paused or was removed").advise(other);
    };
    let is_gateway = |peer: &&PeerView| {
        peer.name == *gateway && peer.networks.iter().any(|place| place.network == *network)
    };
    let peer = peers.iter().find(is_gateway);
    if let Some(carrier) = peer.and_then(PeerView::carrier) {
        let why = format!("{gateway} is itself reached through another node, {carrier}");
        return nothing(&why).advise(other);
    }
    match peer.and_then(|peer| peer.path) {
        Some(PathStatus::Unreachable(obstacle)) => {
            nothing(&format!("{gateway} cannot be reached: {obstacle}"))
                .advise(format!("look at `netclient status` on {gateway}, or {other}"))
        }
        Some(path @ PathStatus::Trying { .. }) => nothing(&format!("{gateway} has not answered yet: {path}")),
        Some(PathStatus::Direct { .. } | PathStatus::Checking { .. }) | None => {
            let says = format!("everything that leaves this machine goes through {gateway}{lan}");
            finding("internet", Health::Works, says)
        }
    }
}

/// What is let in, where that matters to somebody.
fn of_firewall(view: &View) -> Option<Finding> {
    let leads = |network: &NetworkView| !network.leads_to.is_empty() || network.internet_gateway;
    let matters = view.networks.iter().any(|network| network.guarded || leads(network));
    Some(match view.firewall.filter(|_| matters)? {
        FirewallView::Holds => finding("firewall", Health::Works, "lets in and through what policies allow"),
        FirewallView::Changed => {
            finding("firewall", Health::Limited, "was changed by somebody else, and is being made anew")
        }
        FirewallView::Absent => {
            finding("firewall", Health::Broken, "is not there: nothing new is let in until it is")
        }
        FirewallView::Impossible => finding(
            "firewall",
            Health::Broken,
            "this machine's kernel has no nf_tables: what policies need it for is not opened",
        )
        .advise("load it with `modprobe nf_tables`"),
    })
}

fn of_names(view: &View) -> Option<Finding> {
    let dns = view.dns.as_ref().filter(|dns| !dns.listening.is_empty())?;
    let list =
        |all: &[std::net::SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let others = if dns.upstreams.is_empty() {
        "nobody is asked about others".to_owned()
    } else {
        format!("{} asked about others", list(&dns.upstreams))
    };
    Some(finding("names", Health::Works, format!("answered at {}; {others}", list(&dns.listening))))
}

fn of_server(server: &ServerView) -> Finding {
    let name = format!("{} ({})", server.name, server.url);
    if let Some(error) = server.error.as_ref().filter(|_| server.unreadable) {
        let says = format!("{name} answers, and its map cannot be read: {error}");
        return finding("server", Health::Broken, says).advise(
            "changes do not reach this machine, revocations neither: bring server and agent to the same version (`netloom-server check` there)",
        );
    }
    match (&server.error, server.answered) {
        (None, None) => finding("server", Health::Limited, format!("{name} is being asked")),
        (None, Some(_)) if server.pushes => finding("server", Health::Works, format!("{name} answers")),
        (None, Some(when)) => finding("server", Health::Works, format!("{name} answered {}", ago(Some(when), now()))),
        (Some(error), _) if server.pushes => finding("server", Health::Limited, format!("{name} pushes changes, but the last request failed: {error}")),
        (Some(error), _) => finding("server", Health::Broken, format!("{name}: {error}"))
            .advise("tunnels stay as they are, and the daemon goes on trying; check the server, this machine's network and clock"),
    }
}

fn of_pushes(server: &ServerView) -> Finding {
    match &server.push_error {
        None if server.pushes => {
            let by = server.broker.as_ref().map(|broker| format!(" by {broker}")).unwrap_or_default();
            finding("changes", Health::Works, format!("are pushed the moment they happen{by}"))
        }
        None => finding("changes", Health::Limited, "the connection for pushes is being made"),
        Some(error) if server.error.is_none() => finding(
            "changes",
            Health::Limited,
            format!("are asked for every minute, since they cannot be pushed: {error}"),
        )
        .advise("check that proxies and firewalls in between let WebSockets through"),
        Some(error) => finding("changes", Health::Broken, format!("do not come in: {error}")),
    }
}

fn of_rendezvous(view: &View, server: &ServerView) -> Option<Finding> {
    let total = server.rendezvous.len();
    let answering = server.rendezvous.iter().filter(|rendezvous| rendezvous.answers).count();
    let nat = match view.host.as_ref().map(|host| host.nat) {
        Some(NatMapping::PerDestination) => {
            "; the NAT in front of this machine maps per destination, which some peers cannot reach"
        }
        Some(NatMapping::Endpoint | NatMapping::Unknown) | None => "",
    };
    let seen: Vec<String> = view.host.iter().flat_map(|host| &host.seen).map(ToString::to_string).collect();
    let seen = if seen.is_empty() {
        String::new()
    } else {
        format!(", which sees this machine at {}", seen.join(" and "))
    };
    let named = server.rendezvous.iter().find_map(|rendezvous| rendezvous.endpoint);
    if total == 0 {
        return None;
    }
    let young = server.since.is_some_and(|since| now().since(since) < CALLING);
    Some(match (answering, named) {
        (0, Some(endpoint)) if young => finding("rendezvous", Health::Limited, format!("{endpoint} is being called")),
        (0, None) => finding("rendezvous", Health::Broken, "its name cannot be resolved").advise("check this machine's DNS"),
        (0, Some(endpoint)) => finding("rendezvous", Health::Limited, format!("no answer from {endpoint} (UDP)"))
            .advise("peers on the same network are reached all the same; for others, let UDP out to the server's rendezvous ports"),
        (_, _) => finding("rendezvous", Health::Works, format!("{answering} of {total} answer{seen}{nat}")),
    })
}

fn of_interface(view: &View) -> Finding {
    let Some(interface) = &view.interface else {
        return finding("interface", Health::Broken, "nothing is known of it");
    };
    match interface.wireguard {
        None => finding("interface", Health::Broken, format!("{} is not there", interface.name))
            .advise("`netclient pull` makes it again; its log says why it could not be made"),
        Some(_) if !interface.up => {
            finding("interface", Health::Broken, format!("{} is down", interface.name))
                .advise(format!("`netclient pull`, or `ip link set {} up`", interface.name))
        }
        Some(kind) => finding(
            "interface",
            Health::Works,
            format!("{}: {kind} WireGuard on UDP port {}", interface.name, interface.port),
        ),
    }
}

fn of_peers(peers: &[PeerView]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Clients come and go, and those who are carried are as well off as who carries them.
    let is_direct = |peer: &&PeerView| peer.path.is_some() && peer.reachable() == Some(true);
    let reachable = peers.iter().filter(is_direct).count();
    let watched = peers.iter().filter(|peer| peer.path.is_some()).count();
    let carried = peers.iter().filter(|peer| peer.carrier().is_some() && !peer.is_range()).count();
    if watched > 0 {
        let health = if reachable == watched { Health::Works } else { Health::Limited };
        findings.push(finding(
            "peers",
            health,
            format!("{reachable} of {} reachable", count(watched, "peer")),
        ));
    }
    if carried > 0 {
        let lost =
            peers.iter().filter(|peer| peer.carrier().is_some() && peer.reached == Some(false)).count();
        let health = if lost == 0 { Health::Works } else { Health::Limited };
        let says = format!("{} reached through others", count(carried, "more peer"));
        findings.push(finding("peers", health, says));
    }
    for range in peers.iter().filter(|peer| peer.is_range()) {
        findings.extend(of_range(range));
    }
    for peer in peers {
        match peer.path {
            Some(PathStatus::Unreachable(obstacle)) => findings.push(of_obstacle(peer, obstacle)),
            Some(path @ PathStatus::Trying { .. }) => {
                findings.push(finding("peer", Health::Limited, format!("{}: {path}", peer.name)));
            }
            Some(PathStatus::Direct { .. } | PathStatus::Checking { .. }) | None => {}
        }
    }
    findings
}

fn of_range(range: &PeerView) -> Option<Finding> {
    let carrier = range.carrier()?;
    let nets: Vec<String> =
        range.networks.iter().flat_map(|network| &network.ranges).map(ToString::to_string).collect();
    let says = format!("{} ({}) through {carrier}", range.name, nets.join(" and "));
    Some(match range.reached {
        Some(false) => finding("range", Health::Limited, format!("{says}, which cannot be reached")),
        Some(true) | None => finding("range", Health::Works, says),
    })
}

fn of_obstacle(peer: &PeerView, obstacle: Obstacle) -> Finding {
    let text = obstacle.to_string();
    let says =
        |why: &str| finding("peer", Health::Limited, format!("{} cannot be reached: {why}", peer.name));
    match text.split_once("; ") {
        Some((why, advice)) => says(why).advise(advice),
        None => says(&text).advise(format!("look at `netclient status` on {} too", peer.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_joined_nothing_is_told_how_to() {
        let findings = of(&View::idle(Idle::NotJoined));
        assert_eq!(findings.len(), 1);
        assert!(words(&findings).contains("netclient join -t TOKEN"), "{}", words(&findings));
    }

    #[test]
    fn what_is_broken_comes_with_advice() {
        let server = ServerView {
            name: "s".parse().unwrap(),
            url: "https://192.0.2.1".into(),
            since: None,
            answered: None,
            error: Some("the server cannot be reached: refused".into()),
            unreadable: false,
            pushes: false,
            broker: None,
            push_error: Some("refused".into()),
            rendezvous: Vec::new(),
        };
        let found = of_server(&server);
        assert_eq!(found.health, Health::Broken);
        assert!(found.advice.is_some_and(|advice| advice.contains("goes on trying")));
        assert_eq!(of_pushes(&server).health, Health::Broken);
        let (pushes, unreadable) = (true, true);
        let found = of_server(&ServerView { pushes, unreadable, ..server });
        assert_eq!(found.health, Health::Broken, "a map that cannot be read is no note");
        assert!(found.says.contains("cannot be read"), "{}", found.says);
    }

    fn network() -> NetworkView {
        NetworkView {
            name: "office".parse().unwrap(),
            ranges: Vec::new(),
            addresses: vec![[10, 7, 0, 1].into()],
            connected: true,
            pending: false,
            via: None,
            guarded: true,
            leads_to: vec!["192.168.7.0/24".parse().unwrap()],
            internet_gateway: false,
            internet: Some(InternetView { gateway: Some("edge".parse().unwrap()), lan: true }),
            peers: 2,
            reachable: None,
        }
    }

    #[test]
    fn gateways_are_named_and_waiting_for_approval_is_told_with_who_can_help() {
        let found = words(&of_network(&network(), &[]));
        assert!(found.contains("leads to 192.168.7.0/24") && found.contains("goes through edge"), "{found}");
        let found = of_network(&NetworkView { pending: true, ..network() }, &[]);
        assert!(found.len() == 1 && found[0].says.contains("waits to be let in"), "{found:?}");
        assert!(found[0].advice.as_ref().is_some_and(|advice| advice.contains("approve")));
    }

    #[test]
    fn there_is_no_internet_where_its_gateway_is_not_reached_or_not_there() {
        let endpoint = "192.0.2.1:51820".parse().unwrap();
        let edge = |path| PeerView {
            name: "edge".parse().unwrap(),
            id: model::MemberId::from_bytes([1; 16]),
            key: None,
            networks: vec![crate::view::PeerNetwork {
                network: "office".parse().unwrap(),
                addresses: model::Addresses::default(),
                ranges: Vec::new(),
                via: Vec::new(),
                used: None,
            }],
            path: Some(path),
            endpoint: None,
            handshake: None,
            received: 0,
            sent: 0,
            reached: None,
        };
        let of = |network: &NetworkView, path| of_network(network, &[edge(path)]).pop().unwrap();
        let obstacle = Obstacle::NoAnswer { addresses: 1 };
        for (path, health) in [
            (PathStatus::Checking { endpoint }, Health::Works),
            (PathStatus::Trying { endpoint: None, addresses: 1 }, Health::Broken),
            (PathStatus::Unreachable(obstacle), Health::Broken),
        ] {
            let found = of(&network(), path);
            assert_eq!((found.about, found.health), ("internet", health), "{found:?}");
        }
        let found = of(&network(), PathStatus::Unreachable(obstacle));
        assert!(found.says.contains("nothing leaves") && found.says.contains("no answer"), "{found:?}");
        assert!(found.advice.is_some_and(|advice| advice.contains("status` on edge")));
        let mut carried = edge(PathStatus::Checking { endpoint });
        carried.networks[0].used = Some("hub".parse().unwrap());
        let found = of_network(&network(), &[carried]).pop().unwrap();
        assert!(
            found.health == Health::Broken && found.says.contains("through another node, hub"),
            "{found:?}"
        );
        let gone = NetworkView { internet: Some(InternetView { gateway: None, lan: true }), ..network() };
        let found = of(&gone, PathStatus::Checking { endpoint });
        assert!(found.says.contains("nothing leaves") && found.advice.is_some(), "{found:?}");
    }

    #[test]
    fn a_firewall_is_told_of_where_it_matters() {
        let mut view = View { networks: vec![network()], ..View::idle(Idle::NotJoined) };
        assert_eq!(of_firewall(&view), None);
        view.firewall = Some(FirewallView::Impossible);
        assert_eq!(of_firewall(&view).map(|found| found.health), Some(Health::Broken));
        view.firewall = Some(FirewallView::Holds);
        assert_eq!(of_firewall(&view).map(|found| found.health), Some(Health::Works));
        view.networks = vec![NetworkView { guarded: false, leads_to: Vec::new(), ..network() }];
        assert_eq!(of_firewall(&view), None);
    }
}
