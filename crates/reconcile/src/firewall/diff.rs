//! From one firewall to another in the smallest step.
//!
//! Not for what is there in truth: whoever looks says whether `had` still holds. It keeps true that a change of sets alone
//! costs what it changes, and that it never needs anything but sets that are there already.

use ipnet::IpNet;

use super::{AddressSet, Firewall, SetId};

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirewallStep {
    /// They are equal.
    Nothing,
    /// Only members of sets differ.
    Sets(SetChanges),
    /// Make the wanted one anew.
    Whole,
}

/// Members that come and go, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SetChanges(pub Vec<SetChange>);

/// Members of one set that come and go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetChange {
    /// The set.
    pub set: SetId,
    /// What is not in it and will be.
    pub add: Vec<IpNet>,
    /// What is in it and will not be.
    pub remove: Vec<IpNet>,
}

/// What makes `had` into `wanted`.
pub fn diff(wanted: &Firewall, had: &Firewall) -> FirewallStep {
    let Firewall { sets, input, forward, output, inside, behind, beyond, clamp, translations, confined } =
        wanted;
    let same_rules = sets.keys().eq(had.sets.keys())
        && (input, forward, output, inside, behind, beyond, clamp, translations, confined)
            == (
                &had.input,
                &had.forward,
                &had.output,
                &had.inside,
                &had.behind,
                &had.beyond,
                &had.clamp,
                &had.translations,
                &had.confined,
            );
    if !same_rules {
        return FirewallStep::Whole;
    }
    let mut changes = Vec::new();
    for ((set, wanted), had) in sets.iter().zip(had.sets.values()) {
        if wanted == had {
            continue;
        }
        // A prefix of a new length needs a rule that looks for it.
        if !wanted.prefix_lengths().is_subset(&had.prefix_lengths()) {
            return FirewallStep::Whole;
        }
        changes.push(SetChange { set: *set, add: missing(had, wanted), remove: missing(wanted, had) });
    }
    if changes.is_empty() { FirewallStep::Nothing } else { FirewallStep::Sets(SetChanges(changes)) }
}

/// What of `there` is not in `here`.
fn missing(here: &AddressSet, there: &AddressSet) -> Vec<IpNet> {
    there.iter().filter(|net| !here.has(*net)).collect()
}

impl Firewall {
    /// Changes its sets: what the step `Sets` means. A set that is not there stays away.
    pub fn change(&mut self, changes: &SetChanges) {
        for change in &changes.0 {
            let Some(set) = self.sets.get_mut(&change.set) else { continue };
            for net in &change.remove {
                set.remove(*net);
            }
            set.extend(change.add.iter().copied());
        }
    }
}
