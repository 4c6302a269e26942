//! The rules on what came over other links and says that it is somebody whom ours leads to.
//!
//! Not for what came over our link: WireGuard says who that is. It keeps true that what is behind this machine is judged as
//! what came over our link, and that all others who pretend are dropped.

use super::{End, Family, Filter, JUDGED_INPUT, Plan, Rule, Target};

impl Plan<'_> {
    /// What came over other links from behind this machine to what is inside: judged as what came over ours.
    pub(super) fn let_in_from_behind(&mut self) -> Vec<Rule> {
        let target = match &self.firewall.input {
            Filter::Open => Target::Accept,
            Filter::AllBut(_) | Filter::Only(_) => Target::Jump(JUDGED_INPUT),
        };
        let mut rules = Vec::new();
        for family in Family::ALL {
            let (behind, inside) = (self.list(self.behind, family), self.list(self.inside, family));
            for (from, to) in behind.iter().flat_map(|from| inside.iter().map(move |to| (from, to))) {
                let foreign = Rule::default().came_otherwise(self.link).family(family);
                let rule = foreign.address_in(End::Source, family, from.length, &from.to_string());
                let rule = rule.address_in(End::Destination, family, to.length, &to.to_string());
                rules.push(rule.then(target));
            }
        }
        rules
    }

    /// Whoever is met on our link alone, but for what is behind this machine, does not come over another one to go on over
    /// ours.
    pub(super) fn beside(&mut self) -> Vec<Rule> {
        let start = Rule::default();
        let mut rules = Vec::new();
        for family in Family::ALL {
            let strangers: Vec<Rule> = self
                .firewall
                .beyond
                .iter()
                .flat_map(|side| self.matches(start.clone(), End::Source, side, family))
                .collect();
            if strangers.is_empty() {
                continue;
            }
            let behind = self.list(self.behind, family).into_iter().map(|name| {
                start.clone().family(family).address_in(End::Source, family, name.length, &name.to_string())
            });
            rules.extend(behind.map(|rule| rule.then(Target::Return)));
            rules.extend(strangers.into_iter().map(|rule| rule.counter().then(Target::Drop)));
        }
        rules
    }

    /// The rules that drop what came over other links from an address that is only ever met on ours.
    pub(super) fn pretended(&mut self) -> Vec<Rule> {
        self.others_with(End::Source).map(|rule| rule.counter().then(Target::Drop)).collect()
    }

    /// What came over other links and has one end inside.
    pub(super) fn others_with(&mut self, end: End) -> impl Iterator<Item = Rule> + use<> {
        let names = Family::ALL.map(|family| self.list(self.inside, family)).concat();
        let start = Rule::default().came_otherwise(self.link);
        names.into_iter().map(move |name| {
            let foreign = start.clone().family(name.family);
            foreign.address_in(end, name.family, name.length, &name.to_string())
        })
    }
}
