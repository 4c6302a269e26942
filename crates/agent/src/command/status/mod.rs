//! `netclient status`: what works, what does not, and what to do, in words.
//!
//! Not for finding it out (`show::view`). It keeps true that whatever is broken is told, worst things included.

mod network;
mod peers;
mod server;

use serde::Serialize;

use super::{Context, service, show};
use crate::control::NotRunning;
use crate::view::{FirewallView, Idle, NetworkView, View};
use network::of_network;
use peers::of_peers;
use server::{of_pushes, of_rendezvous, of_server};

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

#[cfg(test)]
mod tests {
    use super::network::tests::network;
    use super::*;

    #[test]
    fn a_machine_that_joined_nothing_is_told_how_to() {
        let findings = of(&View::idle(Idle::NotJoined));
        assert_eq!(findings.len(), 1);
        assert!(words(&findings).contains("netclient join -t TOKEN"), "{}", words(&findings));
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
