//! What `netclient status` says of the server: whether it answers, pushes changes, and knows where this machine is.

use std::time::Duration;

use wire::NatMapping;

use super::{Finding, Health, finding};
use crate::command::output::ago;
use crate::talk::now;
use crate::view::{ServerView, View};

/// How long the rendezvous may take to answer before that is worth a word.
const CALLING: Duration = Duration::from_secs(5);

pub(super) fn of_server(server: &ServerView) -> Finding {
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

pub(super) fn of_pushes(server: &ServerView) -> Finding {
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

pub(super) fn of_rendezvous(view: &View, server: &ServerView) -> Option<Finding> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
