//! Who is asked about names that are not ours.
//!
//! Not for asking: that is [`crate::upstream`]. It keeps true that the longest domain decides, and that a domain without
//! upstreams of its own leads to the default ones.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::base;

use crate::key::{Key, with_parents};
use crate::name::Name;

/// Who is asked about foreign names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// Asked about everything else, in this order.
    pub default: Vec<SocketAddr>,
    /// Asked about some domains.
    pub domains: Vec<DomainRule>,
}

/// Who is asked about one domain and what lies below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRule {
    /// The domain.
    pub domain: Name,
    /// Asked in this order; where there are none, the default ones are asked.
    pub upstreams: Vec<SocketAddr>,
}

/// After so long with another one, the first in order is asked first again.
const BACK: Duration = Duration::from_secs(300);

/// Upstreams that know the same; the one that answered last is asked first, for a while.
#[derive(Debug, Default)]
pub(crate) struct Group {
    upstreams: Vec<SocketAddr>,
    /// Who is asked first in place of the first, and since when.
    instead: Mutex<Option<(usize, Instant)>>,
}

impl Group {
    /// All of them in the order of asking, each with its number.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = (usize, SocketAddr)> {
        self.in_order_at(Instant::now())
    }

    fn in_order_at(&self, now: Instant) -> impl Iterator<Item = (usize, SocketAddr)> {
        let instead = *self.instead.lock().unwrap_or_else(PoisonError::into_inner);
        let first =
            instead.filter(|(_, since)| now.duration_since(*since) < BACK).map_or(0, |(number, _)| number);
        let count = self.upstreams.len();
        (0..count).map(move |step| (first + step) % count).map(|number| (number, self.upstreams[number]))
    }

    /// Remembers who answered.
    pub(crate) fn answered(&self, number: usize) {
        self.answered_at(number, Instant::now());
    }

    fn answered_at(&self, number: usize, now: Instant) {
        let mut instead = self.instead.lock().unwrap_or_else(PoisonError::into_inner);
        // Since when, not until when: who answers all the time is no reason to stay.
        let since = instead.filter(|(other, since)| *other == number && now.duration_since(*since) < BACK);
        let since = since.map_or(now, |(_, since)| since);
        *instead = (number != 0).then_some((number, since));
    }
}

/// The rules, ready for looking up.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    default: Arc<Group>,
    domains: HashMap<Box<[u8]>, Arc<Group>>,
}

impl Routes {
    /// Rules for the same domain are one.
    pub(crate) fn new(forwarding: Forwarding) -> Self {
        let Forwarding { mut default, domains } = forwarding;
        let mut of_domain: HashMap<Box<[u8]>, Vec<SocketAddr>> = HashMap::new();
        for DomainRule { domain, upstreams } in domains {
            of_domain.entry(Key::of(&domain).as_slice().into()).or_default().extend(upstreams);
        }
        // A rule for the root is one for everything.
        if let Some(everything) = of_domain.remove(&[][..]).filter(|upstreams| !upstreams.is_empty()) {
            default = everything;
        }
        let group = |upstreams| Arc::new(Group { upstreams, instead: Mutex::default() });
        let domains = of_domain.into_iter().map(|(key, upstreams)| (key, group(upstreams))).collect();
        Self { default: group(default), domains }
    }

    /// Who is asked about a name; nobody where there are no upstreams.
    pub(crate) fn choose(&self, name: &base::Name<Vec<u8>>) -> Option<Arc<Group>> {
        let key = Key::of_labels(name.iter());
        let longest = with_parents(key.as_slice()).filter_map(|parent| self.domains.get(parent)).last();
        let group = longest.filter(|group| !group.upstreams.is_empty()).unwrap_or(&self.default);
        (!group.upstreams.is_empty()).then(|| Arc::clone(group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn rule(domain: &str, ports: &[u16]) -> DomainRule {
        let upstreams = ports.iter().map(|port| upstream(*port)).collect();
        DomainRule { domain: domain.parse().unwrap(), upstreams }
    }

    fn ports(routes: &Routes, name: &str) -> Option<Vec<u16>> {
        let name = name.parse::<base::Name<Vec<u8>>>().unwrap();
        Some(routes.choose(&name)?.in_order().map(|(_, address)| address.port()).collect())
    }

    #[test]
    fn the_longest_domain_decides() {
        let domains = vec![
            rule("corp.example", &[1, 2]),
            rule("lab.corp.example", &[3]),
            rule("out.corp.example", &[]),
        ];
        let routes = Routes::new(Forwarding { default: vec![upstream(9)], domains });
        for (name, expected) in [
            ("www.corp.example", &[1, 2][..]),
            ("CORP.example", &[1, 2]),
            ("a.lab.corp.EXAMPLE", &[3]),
            ("www.out.corp.example", &[9]),
            ("xcorp.example", &[9]),
            ("debian.org", &[9]),
            (".", &[9]),
        ] {
            assert_eq!(ports(&routes, name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn without_upstreams_nobody_is_asked() {
        let routes =
            Routes::new(Forwarding { default: vec![], domains: vec![rule("a", &[1]), rule("b", &[])] });
        assert_eq!(ports(&routes, "x.a"), Some(vec![1]));
        assert_eq!((ports(&routes, "x.b"), ports(&routes, "c")), (None, None));
    }

    #[test]
    fn a_rule_for_the_root_is_one_for_everything() {
        let routes = Routes::new(Forwarding { default: vec![upstream(9)], domains: vec![rule(".", &[1])] });
        assert_eq!(ports(&routes, "a.b"), Some(vec![1]));
    }

    #[test]
    fn who_answered_is_asked_first_for_a_while() {
        let upstreams = vec![upstream(1), upstream(2), upstream(3)];
        let group = Group { upstreams, instead: Mutex::default() };
        let now = Instant::now();
        let order = |at| group.in_order_at(at).map(|(_, address)| address.port()).collect::<Vec<_>>();
        group.answered_at(1, now);
        assert_eq!(order(now), [2, 3, 1]);
        group.answered_at(1, now + BACK / 2);
        assert_eq!(order(now + BACK / 2), [2, 3, 1]);
        assert_eq!(order(now + BACK), [1, 2, 3], "the first may have come back");
        group.answered_at(2, now + BACK);
        group.answered_at(0, now + BACK);
        assert_eq!(order(now + BACK), [1, 2, 3]);
    }
}
