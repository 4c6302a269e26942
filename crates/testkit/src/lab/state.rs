//! What a machine looks like at one moment, so that "exactly as before" can be tested.
//!
//! Not for taking the look. Keeps true that two looks at a machine nobody touched are equal: counters and remaining
//! lifetimes are left out, and everything else is in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Values of `ip -j` that change by themselves, or that name the far end of a cable.
const VOLATILE: [&str; 9] = [
    "stats",
    "stats64",
    "preferred_life_time",
    "valid_life_time",
    "carrier_changes",
    "expires",
    "age",
    "link_index",
    "link_netnsid",
];

/// Links, addresses, routes, rules, settings, nftables and files of a machine at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineState {
    /// Section name to its lines, in order.
    sections: BTreeMap<String, Vec<String>>,
}

impl MachineState {
    /// Reads what the snapshot script prints.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut sections = BTreeMap::new();
        for section in text.split('\u{1}').skip(1) {
            let (name, body) = section.split_once('\n').context("a section has no name")?;
            let lines = if body.trim_start().starts_with('[') {
                objects(body).with_context(|| format!("section {name}"))?
            } else {
                body.lines().map(str::to_owned).collect()
            };
            sections.insert(name.to_owned(), lines);
        }
        Ok(Self { sections })
    }

    /// What differs in a later look.
    pub fn diff(&self, later: &Self) -> Difference {
        let names: BTreeSet<&String> = self.sections.keys().chain(later.sections.keys()).collect();
        let none = Vec::new();
        let mut changes = Vec::new();
        for name in names {
            let before = self.sections.get(name).unwrap_or(&none);
            let after = later.sections.get(name).unwrap_or(&none);
            let gone = before.iter().filter(|line| !after.contains(line)).map(|line| ('-', line));
            let new = after.iter().filter(|line| !before.contains(line)).map(|line| ('+', line));
            let mut lines: Vec<String> =
                gone.chain(new).map(|(sign, line)| format!("{sign} {line}")).collect();
            if lines.is_empty() && before != after {
                lines.push("  the same lines in another order or number".to_owned());
            }
            if !lines.is_empty() {
                changes.push((name.clone(), lines));
            }
        }
        Difference { changes }
    }

    /// Leaves out lines of all sections for which `unwanted` says so, such as the files of a program that stays.
    #[must_use]
    pub fn without(mut self, unwanted: impl Fn(&str, &str) -> bool) -> Self {
        for (name, lines) in &mut self.sections {
            lines.retain(|line| !unwanted(name, line));
        }
        self
    }

    /// The lines of one section: `links`, `addresses`, `routes4`, `routes6`, `rules4`, `rules6`, `settings`,
    /// `nftables`, `hostname`, `files`, `contents`.
    pub fn section(&self, name: &str) -> &[String] {
        self.sections.get(name).map_or(&[], Vec::as_slice)
    }
}

/// What differs between two looks at a machine; empty if nothing does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    changes: Vec<(String, Vec<String>)>,
}

impl Difference {
    /// Whether the two looks were the same.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, lines) in &self.changes {
            writeln!(f, "{name}:")?;
            for line in lines {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}

/// One line for each object of a JSON list, volatile values removed.
fn objects(json: &str) -> Result<Vec<String>> {
    let mut values: Vec<Value> = serde_json::from_str(json).context("not the JSON that ip prints")?;
    values.iter_mut().for_each(still);
    Ok(values
        .iter()
        .filter(|value| value.as_object().is_none_or(|object| !object.is_empty()))
        .map(Value::to_string)
        .collect())
}

fn still(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !VOLATILE.contains(&name.as_str()));
            fields.values_mut().for_each(still);
        }
        Value::Array(items) => items.iter_mut().for_each(still),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str =
        "\u{1}links\n[{\"ifname\":\"lo\",\"stats64\":{\"rx\":1}}]\n\u{1}files\n/etc/a\n/etc/b\n";

    #[test]
    fn counters_do_not_count() {
        let before = MachineState::parse(BEFORE).unwrap();
        let after = MachineState::parse(&BEFORE.replace(":1}", ":2}")).unwrap();
        assert_eq!(before, after);
        assert!(before.diff(&after).is_empty());
    }

    #[test]
    fn a_difference_reads_like_a_patch() {
        let before = MachineState::parse(BEFORE).unwrap();
        let after = MachineState::parse(&BEFORE.replace("/etc/b", "/etc/c")).unwrap();
        assert_eq!(before.diff(&after).to_string(), "files:\n  - /etc/b\n  + /etc/c\n");
    }

    #[test]
    fn a_line_that_doubled_is_a_difference() {
        let before = MachineState::parse(BEFORE).unwrap();
        let after = MachineState::parse(&BEFORE.replace("/etc/b", "/etc/b\n/etc/b")).unwrap();
        assert!(!before.diff(&after).is_empty());
    }
}
