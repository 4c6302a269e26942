//! How policies are shown, and what a change of them would do.

use api::{AccessChange, PairChange};

use crate::render::{View, counted, details, joined, or_dash, table, yes_no};

fn services(policy: &api::Policy) -> String {
    if policy.services.is_empty() { "everything".to_owned() } else { spaced(&policy.services) }
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

/// Who gains and who loses access.
pub(crate) fn changes(change: &AccessChange, view: &View) -> String {
    if change.changing == 0 {
        return "Nobody would gain or lose access. Nothing was changed.".to_owned();
    }
    let row = |pair: &PairChange| {
        let (gained, lost) = (or_dash(spaced(&pair.gained)), or_dash(spaced(&pair.lost)));
        [pair.from.to_string(), pair.to.to_string(), gained, lost]
    };
    let pairs = table(view, ["from", "to", "gains", "loses"], &change.pairs, row, "");
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
        let pair = |from: &str, gained: &[&str], lost: &[&str]| PairChange {
            from: from.parse().unwrap(),
            to: "node:web".parse().unwrap(),
            gained: gained.iter().map(ToString::to_string).collect(),
            lost: lost.iter().map(ToString::to_string).collect(),
        };
        let pairs =
            vec![pair("client:phone", &["icmp", "tcp/80,443"], &[]), pair("node:db", &[], &["everything"])];
        let change = AccessChange { changing: 3, gaining: 1, losing: 2, pairs };
        let expected = "\
FROM          TO        GAINS            LOSES
client:phone  node:web  icmp tcp/80,443  -
node:db       node:web  -                everything

1 pair would gain access, 2 pairs would lose it. The first 2 are shown. Nothing was changed.";
        assert_eq!(changes(&change, &VIEW), expected);
        let nobody = changes(&AccessChange::default(), &VIEW);
        assert_eq!(nobody, "Nobody would gain or lose access. Nothing was changed.");
    }
}
