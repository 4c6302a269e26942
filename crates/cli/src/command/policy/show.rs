//! How policies are shown, and what a change of them would do.

use api::{AccessChange, PairChange};

use crate::render::{View, counted, details, joined, or_dash, table, yes_no};

/// What stands for all services.
const EVERYTHING: &str = "everything";

fn services(policy: &api::Policy) -> String {
    if policy.services.is_empty() { EVERYTHING.to_owned() } else { spaced(&policy.services) }
}

/// Services have commas of their own.
fn spaced(services: impl IntoIterator<Item = impl ToString>) -> String {
    services.into_iter().map(|service| service.to_string()).collect::<Vec<_>>().join(" ")
}

/// A table of them.
pub(super) fn all(policies: &[api::Policy], view: &View) -> String {
    table(
        view,
        ["name", "from", "to", "services", "both ways", "enabled"],
        policies,
        |policy| {
            [
                policy.name.to_string(),
                joined(&policy.from),
                joined(&policy.to),
                services(policy),
                yes_no(policy.both),
                yes_no(policy.enabled),
            ]
        },
        "No policies yet: the network's access decides. Make one with `netloom policy create`.",
    )
}

/// One policy's properties.
pub(super) fn one(policy: &api::Policy, view: &View) -> String {
    details(
        view,
        &[
            ("Name", policy.name.to_string()),
            ("Id", policy.id.to_string()),
            ("From", joined(&policy.from)),
            ("To", joined(&policy.to)),
            ("Services", services(policy)),
            ("Both ways", yes_no(policy.both)),
            ("Enabled", yes_no(policy.enabled)),
            ("Created", view.moment(policy.created)),
        ],
    )
}

/// What one gains or loses, or a dash; `kept` is what it has at the other end.
fn difference(differs: &[String], kept: &[String]) -> String {
    match (differs, kept) {
        ([everything], [_, ..]) if everything == EVERYTHING => format!("{EVERYTHING} but {}", spaced(kept)),
        (_, _) => or_dash(spaced(differs)),
    }
}

fn pairs(pairs: &[PairChange], view: &View) -> String {
    let row = |pair: &PairChange| {
        let (gained, lost) = (difference(&pair.gained, &pair.before), difference(&pair.lost, &pair.after));
        [pair.network.to_string(), pair.from.to_string(), pair.to.to_string(), gained, lost]
    };
    table(view, ["network", "from", "to", "gains", "loses"], pairs, row, "")
}

/// Who gains and who loses access.
pub(crate) fn changes(change: &AccessChange, view: &View) -> String {
    if change.changing == 0 {
        return "Nobody would gain or lose access. Nothing was changed.".to_owned();
    }
    let pairs = pairs(&change.pairs, view);
    let shown = change.pairs.len() as u64;
    let part = if shown < change.changing { format!(" The first {shown} are shown.") } else { String::new() };
    format!(
        "{pairs}\n\n{} would gain access, {} would lose it.{part} Nothing was changed.",
        counted(change.gaining, "pair"),
        counted(change.losing, "pair")
    )
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;

    const VIEW: View = View { now: Timestamp::from_millis(1_800_000_000_000), width: None };

    #[test]
    fn a_dry_run_tells_who_gains_and_who_loses() {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let pair = |from: &str, [before, after, gained, lost]: [&[&str]; 4]| PairChange {
            network: "home".parse().unwrap(),
            from: from.parse().unwrap(),
            to: "node:web".parse().unwrap(),
            before: texts(before),
            after: texts(after),
            gained: texts(gained),
            lost: texts(lost),
        };
        let all: &[&str] = &["everything"];
        let some: &[&str] = &["icmp", "tcp/80,443"];
        let pairs = vec![
            pair("client:phone", [&[], some, some, &[]]),
            pair("node:db", [all, &[], &[], all]),
            pair("node:pc", [all, some, &[], all]),
            pair("node:tv", [some, all, all, &[]]),
        ];
        let change = AccessChange { changing: 5, gaining: 2, losing: 3, pairs, refused: None };
        let expected = "\
NETWORK  FROM          TO        GAINS                           LOSES
home     client:phone  node:web  icmp tcp/80,443                 -
home     node:db       node:web  -                               everything
home     node:pc       node:web  -                               everything but icmp tcp/80,443
home     node:tv       node:web  everything but icmp tcp/80,443  -

2 pairs would gain access, 3 pairs would lose it. The first 4 are shown. Nothing was changed.";
        assert_eq!(changes(&change, &VIEW), expected);
        let nobody = changes(&AccessChange::default(), &VIEW);
        assert_eq!(nobody, "Nobody would gain or lose access. Nothing was changed.");
    }
}
