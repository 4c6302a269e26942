//! Removing: what goes along is said before anybody confirms it, and after it went.

use std::collections::BTreeMap;

use api::{Affected, Fate, Removal};

use crate::client::{Client, trying};
use crate::console::{Console, meaning};
use crate::failure::Failure;
use crate::render::{joined, printable};

/// What is named of each kind; all are counted.
const MOST_NAMED: usize = 20;

/// Removes what is at a path. `order` is what is confirmed, such as ``delete client `phone` ``; `done` says that it happened.
pub(crate) async fn remove(
    client: &Client,
    console: &mut Console,
    path: &str,
    order: &str,
    done: &str,
) -> Result<(), Failure> {
    let tried: Removal = meaning(&client.delete(path, &trying(true)).await?)?;
    if let Some(list) = told(&tried) {
        console.terminal.note(&format!("What this does to others:\n{list}"));
    }
    console.confirm(order)?;
    let answer = client.delete(path, &[]).await?;
    let words = match told(&meaning(&answer)?) {
        Some(list) => format!("{done} What that did to others:\n{list}"),
        None => done.to_owned(),
    };
    console.done(&answer, &words)
}

/// A line for each kind of consequence; none if there is none.
fn told(removal: &Removal) -> Option<String> {
    let mut by_fate: BTreeMap<Fate, Vec<&Affected>> = BTreeMap::new();
    for one in &removal.affected {
        by_fate.entry(one.fate).or_default().push(one);
    }
    let line = |(fate, all): (&Fate, &Vec<&Affected>)| {
        let named = all.iter().take(MOST_NAMED).map(|one| format!("{} ({})", one.name, one.network));
        let more = match all.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        printable(&format!("  {}: {}{more}", words(*fate), joined(named)))
    };
    let mut lines: Vec<String> = by_fate.iter().map(line).collect();
    let unnamed = removal.affected_count.saturating_sub(removal.affected.len());
    lines.extend((unnamed > 0).then(|| format!("  and {unnamed} more")));
    (!lines.is_empty()).then(|| lines.join("\n"))
}

const fn words(fate: Fate) -> &'static str {
    match fate {
        Fate::PolicyRemoved => "policies that are removed, for they would speak of nobody",
        Fate::PolicyNarrowed => "policies that speak of fewer",
        Fate::PolicyTestRemoved => "tests of policies that are removed",
        Fate::ClientWithoutGateway => "clients that cannot come in until they get another gateway",
        Fate::ClientLosesGateway => "clients that go on by their other gateways, with another configuration",
        Fate::ClientWithoutOwner => "clients that are nobody's and switched off",
        Fate::EgressWithoutRouter => "egress ranges that cannot be reached until they get another router",
        Fate::EgressLosesRouter => "egress ranges that go on by their other routers",
        Fate::NodeWithoutInternet => {
            "nodes of which nothing goes out until they get another internet gateway, or are to use none"
        }
        Fate::NodeWithoutRelay => "nodes that are reached through it no more",
        Fate::NetworkWithoutHub => "networks that go on without a hub",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consequences_are_told_by_kind_and_counted() {
        let one = |fate, name: String| Affected { fate, network: "home".parse().unwrap(), name };
        assert_eq!(told(&Removal::of(true, std::iter::empty())), None);
        let clients = (0..22).map(|number| one(Fate::ClientWithoutGateway, format!("phone{number}")));
        let all = clients.chain([one(Fate::PolicyRemoved, "to web".to_owned())]);
        let text = told(&Removal::of(true, all)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("would speak of nobody: to web (home)"), "{text}");
        assert!(
            lines[1].contains("gateway: phone0 (home), ") && lines[1].ends_with("phone19 (home) and 2 more"),
            "{text}"
        );
        let many = (0..1_500).map(|number| one(Fate::PolicyNarrowed, format!("p{number}")));
        assert!(told(&Removal::of(true, many)).unwrap().ends_with("\n  and 500 more"));
    }
}
