//! Used addresses as runs of neighbours, so that the lowest free one is found without walking over those in use.
//!
//! It keeps true that runs neither touch nor overlap: equal sets are equal values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A set of addresses of both families: IPv4 as IPv4-mapped IPv6, which no network's IPv6 range holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Runs(imbl::OrdMap<u128, u128>);

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Runs {
    /// The run that holds the number.
    fn holding(&self, number: u128) -> Option<(u128, u128)> {
        self.0.get_prev(&number).map(|(first, last)| (*first, *last)).filter(|(_, last)| *last >= number)
    }

    /// Adds an address.
    pub(super) fn insert(&mut self, ip: IpAddr) {
        let number = number(ip);
        if self.holding(number).is_some() {
            return;
        }
        let below = number.checked_sub(1).and_then(|n| self.holding(n));
        let above = number.checked_add(1).and_then(|n| self.holding(n));
        let first = below.map_or(number, |(first, _)| first);
        if let Some((first, _)) = above {
            self.0.remove(&first);
        }
        self.0.insert(first, above.map_or(number, |(_, last)| last));
    }

    /// Takes an address out.
    pub(super) fn remove(&mut self, ip: IpAddr) {
        let number = number(ip);
        let Some((first, last)) = self.holding(number) else {
            return;
        };
        self.0.remove(&first);
        if first < number {
            self.0.insert(first, number - 1);
        }
        if number < last {
            self.0.insert(number + 1, last);
        }
    }

    /// The lowest address from `first` to `last` that is not in the set; both of one family.
    pub(super) fn first_free(&self, first: IpAddr, last: IpAddr) -> Option<IpAddr> {
        let (low, high) = (number(first), number(last));
        let free = match self.holding(low) {
            None => low,
            Some((_, end)) => end.checked_add(1)?,
        };
        let v6 = (free <= high).then(|| Ipv6Addr::from_bits(free))?;
        if first.is_ipv6() {
            return Some(v6.into());
        }
        v6.to_ipv4_mapped().map(Ipv4Addr::into)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn runs_are_a_set(steps in prop::collection::vec((any::<bool>(), 0u8..40), 0..80), low in 0u8..40) {
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            for (insert, last) in steps {
                if insert {
                    runs.insert(address(last));
                    set.insert(last);
                } else {
                    runs.remove(address(last));
                    set.remove(&last);
                }
            }
            let mut again = Runs::default();
            set.iter().rev().for_each(|last| again.insert(address(*last)));
            prop_assert_eq!(&runs, &again);
            let free = (low..40).find(|last| !set.contains(last)).map(address);
            prop_assert_eq!(runs.first_free(address(low), address(39)), free);
        }
    }
}
