//! The chains of translations.
//!
//! Not for whether a packet passes. It keeps true that only what comes over our link or leaves over it is translated.

use reconcile::{PrefixMap, Translation};

use super::{AddressSet, End, Family, POSTROUTING, PREROUTING, Plan, Rule, Side};

impl<'a> Plan<'a> {
    pub(super) fn translations(&mut self) {
        let (mut arriving, mut leaving) = (Vec::new(), Vec::new());
        for translation in &self.firewall.translations {
            match translation {
                Translation::Masquerade { from, to } => leaving.extend(self.masquerade(from, to)),
                Translation::Map { map, known_to } => {
                    arriving.extend(known_to.iter().flat_map(|side| self.arriving(map, side)));
                    leaving.extend(known_to.iter().flat_map(|side| self.leaving(map, side)));
                }
            }
        }
        if !arriving.is_empty() {
            self.chain("prerouting".to_owned(), Some(PREROUTING), arriving);
        }
        if !leaving.is_empty() {
            self.chain("postrouting".to_owned(), Some(POSTROUTING), leaving);
        }
    }

    fn masquerade(&mut self, from: &'a Side, to: &'a AddressSet) -> Vec<Rule> {
        let mut rules = Vec::new();
        for family in Family::ALL {
            let start = Rule::default().came_over(self.link).leaves_otherwise(self.link).family(family);
            for rule in self.matches(start, End::Source, from, family) {
                let destinations = self.list(to, family);
                rules.extend(destinations.into_iter().map(|name| {
                    let rule = rule.clone();
                    rule.address_in(End::Destination, family, name.length, &name.to_string()).masquerade()
                }));
            }
        }
        rules
    }

    fn arriving(&mut self, map: &PrefixMap, known_to: &'a Side) -> Vec<Rule> {
        let family = Family::of(map.mapped().addr());
        let start = Rule::default().came_over(self.link).family(family);
        let start = start.address_within(End::Destination, map.mapped());
        let of_those = self.matches(start, End::Source, known_to, family);
        of_those.into_iter().map(|rule| rule.moved(End::Destination, map.real())).collect()
    }

    fn leaving(&mut self, map: &PrefixMap, known_to: &'a Side) -> Vec<Rule> {
        let family = Family::of(map.mapped().addr());
        let start = Rule::default().leaves_over(self.link).family(family);
        let start = start.address_within(End::Source, map.real());
        let to_those = self.matches(start, End::Destination, known_to, family);
        to_those.into_iter().map(|rule| rule.moved(End::Source, map.mapped())).collect()
    }
}
