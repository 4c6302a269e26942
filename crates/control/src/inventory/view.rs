//! What the rendezvous' two doors see of one host in one address family, and what that tells of the NAT in between.
//!
//! ```text
//! both doors see the same endpoint        one mapping for every destination: peers can send there
//! the doors see different endpoints       a mapping for each destination: what is seen helps no peer
//! one door sees something new             where both agreed before, the host moved: the other door's view is old, and
//!                                         what was known of the NAT stays until that door sees the host again
//! ```

use model::Endpoint;
use serde::{Deserialize, Serialize};
use wire::NatMapping;

/// One of the rendezvous' two ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// The first identity and port.
    First,
    /// The second identity and port.
    Second,
}

/// What both doors see, in one address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Views {
    first: Option<Endpoint>,
    second: Option<Endpoint>,
    seen: Option<Endpoint>,
    nat: NatMapping,
}

impl Views {
    /// The endpoint that counts.
    pub(super) const fn seen(&self) -> Option<Endpoint> {
        self.seen
    }

    /// How the NAT maps.
    pub(super) const fn nat(&self) -> NatMapping {
        self.nat
    }

    /// A door sees the host.
    pub(super) fn observe(&mut self, door: Door, endpoint: Endpoint) {
        let (this, other) = match door {
            Door::First => (&mut self.first, &mut self.second),
            Door::Second => (&mut self.second, &mut self.first),
        };
        let before = this.replace(endpoint);
        if before == Some(endpoint) {
            return;
        }
        if before.is_some() && before == *other {
            *other = None;
        }
        let other = *other;
        self.nat = match other {
            None => self.nat,
            Some(other) if other == endpoint => NatMapping::Endpoint,
            Some(_) => NatMapping::PerDestination,
        };
        // Which of two ports nobody can use is told makes no difference, so it stays: no delta for nothing.
        let idle = self.nat == NatMapping::PerDestination
            && self.seen.is_some_and(|seen| seen.ip() == endpoint.ip());
        if !idle {
            self.seen = Some(endpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs observations such as `1 203.0.113.7:9` and tells what is known after each.
    fn story(steps: &[&str]) -> Vec<String> {
        let mut views = Views::default();
        let step = |step: &&str| {
            let (door, endpoint) = step.split_once(' ').unwrap();
            let door = if door == "1" { Door::First } else { Door::Second };
            views.observe(door, endpoint.parse().unwrap());
            format!("{} {:?}", views.seen().unwrap(), views.nat())
        };
        steps.iter().map(step).collect()
    }

    #[test]
    fn two_doors_that_agree_find_one_mapping() {
        let told = story(&["1 203.0.113.7:9", "2 203.0.113.7:9"]);
        assert_eq!(told, ["203.0.113.7:9 Unknown", "203.0.113.7:9 Endpoint"]);
    }

    #[test]
    fn two_doors_that_disagree_find_a_mapping_per_destination() {
        let told = story(&["1 203.0.113.7:9", "2 203.0.113.7:10", "1 203.0.113.7:11", "2 203.0.113.7:12"]);
        assert_eq!(told[1..], ["203.0.113.7:9 PerDestination"; 3]);
    }

    #[test]
    fn a_host_that_moves_keeps_its_verdict_on_the_way() {
        let told = story(&[
            "1 203.0.113.7:9",
            "2 203.0.113.7:9",
            "2 198.51.100.1:5",
            "1 198.51.100.1:5",
            "1 198.51.100.1:6",
        ]);
        let expected = ["198.51.100.1:5 Endpoint", "198.51.100.1:5 Endpoint", "198.51.100.1:6 Endpoint"];
        assert_eq!(told[2..], expected);
    }

    #[test]
    fn a_better_nat_is_noticed() {
        let told = story(&["1 203.0.113.7:9", "2 203.0.113.7:10", "1 198.51.100.1:5", "2 198.51.100.1:5"]);
        assert_eq!(told[2..], ["198.51.100.1:5 PerDestination", "198.51.100.1:5 Endpoint"]);
    }
}
