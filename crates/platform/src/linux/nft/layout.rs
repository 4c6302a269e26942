//! A firewall as chains, rules and sets of one table.
//!
//! Not for telling the kernel. It keeps true that the rules mean what `Firewall::verdict` says, and that looking for a
//! grant takes two steps: by the source first, so that a packet meets the grants of its own source alone.
//!
//! What goes the way in which its connection was opened is judged each time, not only the first packet: a connection ends
//! when its grant does. To have the kernel forget such connections instead would open them again: the next packet that
//! this machine sends back would count as one that opens the connection the other way round.
//!
//! ```text
//!  input ── not over our link, but from or to what is inside: drop
//!        ── not over our link: accept
//!        ── reply, or error: accept
//!        ── IPv4 ─▶ input_v4 ── source in s1 ─▶ input_from_s1 ── destination in s2 ─▶ services_0 ── tcp 443: accept
//!        ── IPv6 ─▶ input_v6 …
//!        ── drop
//! ```

use std::collections::BTreeMap;

use ipnet::IpNet;
use reconcile::{AddressSet, Family, Filter, Firewall, Grant, LinkName, Service, Services, Side};

use super::expression::{End, Rule, Target};
use super::service;
use super::set::{Owner, SetName, word};

/// What a table holds.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) chains: Vec<Chain>,
    /// The sets with their members, the empty ones too.
    pub(super) sets: BTreeMap<SetName, Vec<IpNet>>,
}

/// A chain.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) name: String,
    pub(super) hook: Option<Hook>,
    pub(super) rules: Vec<Rule>,
}

/// Where packets enter a chain. What reaches its end passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hook {
    /// The kernel's number of the place.
    pub(super) number: u32,
    /// Its rank among the chains there.
    pub(super) priority: i32,
    /// The type of chain.
    pub(super) kind: &'static str,
    /// The module that the type needs.
    pub(super) needs: &'static str,
}

const FILTER: Hook = Hook { number: 0, priority: 0, kind: "filter", needs: "nf_tables" };
const INPUT: Hook = Hook { number: 1, ..FILTER };
const FORWARD: Hook = Hook { number: 2, ..FILTER };
const OUTPUT: Hook = Hook { number: 3, ..FILTER };
const PREROUTING: Hook = Hook { number: 0, priority: -100, kind: "nat", needs: "nft_chain_nat" };
const POSTROUTING: Hook = Hook { number: 4, priority: 100, ..PREROUTING };

/// What is gathered while a firewall is laid out.
pub(super) struct Plan<'a> {
    firewall: &'a Firewall,
    inside: &'a AddressSet,
    link: &'a LinkName,
    layout: Layout,
    lists: BTreeMap<&'a AddressSet, u32>,
    services: BTreeMap<&'a [Service], String>,
}

/// Where the grants of one source are.
enum Granted<'a> {
    /// In a chain of this name.
    Chain(String),
    /// With the rule that looks at the source: there is one, or nothing to look at.
    Here(Vec<&'a Grant>),
}

impl Layout {
    /// Lays a firewall out.
    pub(super) fn new(firewall: &Firewall, link: &LinkName) -> Self {
        let inside = firewall.inside.iter().copied().collect();
        let mut plan = Plan {
            firewall,
            inside: &inside,
            link,
            layout: Self::default(),
            lists: BTreeMap::new(),
            services: BTreeMap::new(),
        };
        plan.sets();
        plan.input();
        plan.forward();
        plan.output();
        plan.translations();
        plan.layout
    }
}

impl<'a> Plan<'a> {
    fn sets(&mut self) {
        for (id, members) in &self.firewall.sets {
            for family in Family::ALL {
                let names = SetName::of_set(*id, members, family).map(|name| (name, Vec::new()));
                self.layout.sets.extend(names);
            }
            self.fill(Owner::Set(*id), members);
        }
    }

    fn fill(&mut self, owner: Owner, members: &AddressSet) {
        for member in members {
            self.layout.sets.entry(SetName::of(owner, member)).or_default().push(member);
        }
    }

    fn input(&mut self) {
        let mut rules = self.pretended(&[End::Source, End::Destination]);
        if !rules.is_empty() {
            // This machine speaks to itself by its own addresses, which are inside.
            rules.insert(0, Rule::default().came_from_itself().then(Target::Accept));
        }
        let Filter::Only(grants) = &self.firewall.input else {
            if !rules.is_empty() {
                self.chain("input".to_owned(), Some(INPUT), rules);
            }
            return;
        };
        rules.push(Rule::default().came_otherwise(self.link).then(Target::Accept));
        rules.extend(answers());
        rules.extend(self.firewall.always.iter().flat_map(service::rules));
        self.filter("input", INPUT, rules, grants);
    }

    fn forward(&mut self) {
        let others =
            Rule::default().came_otherwise(self.link).leaves_otherwise(self.link).then(Target::Accept);
        let mut rules = self.pretended(&[End::Source]);
        let judges = !rules.is_empty() || self.firewall.clamp;
        rules.push(others);
        if self.firewall.clamp {
            // Before replies: the answer to the first packet is one.
            rules.push(Rule::default().clamp());
        }
        match &self.firewall.forward {
            Filter::Only(grants) => {
                rules.extend(answers());
                self.filter("forward", FORWARD, rules, grants);
            }
            Filter::Open if judges => self.chain("forward".to_owned(), Some(FORWARD), rules),
            Filter::Open => {}
        }
    }

    fn output(&mut self) {
        let Filter::Only(grants) = &self.firewall.output else { return };
        let mut rules = vec![Rule::default().leaves_otherwise(self.link).then(Target::Accept)];
        rules.extend(answers());
        self.filter("output", OUTPUT, rules, grants);
    }

    /// The rules that drop what came over other links with an address that is only ever met on ours.
    fn pretended(&mut self, ends: &[End]) -> Vec<Rule> {
        let mut rules = Vec::new();
        for family in Family::ALL {
            for name in self.list(self.inside, family) {
                rules.extend(ends.iter().map(|end| {
                    let foreign = Rule::default().came_otherwise(self.link).family(family);
                    let inside = foreign.address_in(*end, family, name.length, &name.to_string());
                    inside.counter().then(Target::Drop)
                }));
            }
        }
        rules
    }

    /// A chain at a hook that drops what neither these rules accept nor a grant does.
    fn filter(&mut self, name: &str, hook: Hook, mut rules: Vec<Rule>, grants: &'a [Grant]) {
        let mut by_source: BTreeMap<&Side, Vec<&'a Grant>> = BTreeMap::new();
        for grant in grants {
            by_source.entry(&grant.from).or_default().push(grant);
        }
        let sources: Vec<(&Side, Granted<'a>)> =
            by_source.into_iter().map(|(from, grants)| (from, self.of_source(name, from, grants))).collect();
        for family in Family::ALL {
            let chain = format!("{name}_{}", word(family));
            let granted: Vec<Rule> =
                sources.iter().flat_map(|(from, granted)| self.source(from, granted, family)).collect();
            if !granted.is_empty() {
                rules.push(Rule::default().family(family).then(Target::Jump(&chain)));
                self.chain(chain, None, granted);
            }
        }
        rules.push(Rule::default().counter().then(Target::Drop));
        self.chain(name.to_owned(), Some(hook), rules);
    }

    /// Several grants of one source are in a chain of their own, of both families.
    fn of_source(&mut self, name: &str, from: &'a Side, grants: Vec<&'a Grant>) -> Granted<'a> {
        if *from == Side::Any || grants.len() == 1 {
            return Granted::Here(grants);
        }
        let start = Rule::default();
        let mut rules = Vec::new();
        for grant in grants {
            let families = if grant.to == Side::Any { &Family::ALL[..1] } else { &Family::ALL };
            rules.extend(families.iter().flat_map(|family| self.grant(&start, grant, *family)));
        }
        let chain = format!("{name}_from_{}", self.owner(from));
        self.chain(chain.clone(), None, rules);
        Granted::Chain(chain)
    }

    /// The rules of a family for a source.
    fn source(&mut self, from: &'a Side, granted: &Granted<'a>, family: Family) -> Vec<Rule> {
        let starts = self.matches(Rule::default(), End::Source, from, family);
        match granted {
            Granted::Chain(chain) => {
                starts.into_iter().map(|start| start.then(Target::Jump(chain))).collect()
            }
            Granted::Here(grants) => {
                let of_start =
                    |start| grants.iter().flat_map(|grant| self.grant(start, grant, family)).collect();
                starts.iter().flat_map::<Vec<Rule>, _>(of_start).collect()
            }
        }
    }

    /// The rules of a grant, behind what was found out of its source.
    fn grant(&mut self, start: &Rule, grant: &'a Grant, family: Family) -> Vec<Rule> {
        let services = match &grant.services {
            Services::All => None,
            Services::Only(services) => Some(self.services(services)),
        };
        let target = services.as_deref().map_or(Target::Accept, Target::Jump);
        let destinations = self.matches(start.clone(), End::Destination, &grant.to, family);
        destinations.into_iter().map(|rule| rule.then(target)).collect()
    }

    /// The chain that accepts these services.
    fn services(&mut self, services: &'a [Service]) -> String {
        if let Some(chain) = self.services.get(services) {
            return chain.clone();
        }
        let chain = format!("services_{}", self.services.len());
        self.services.insert(services, chain.clone());
        self.chain(chain.clone(), None, services.iter().flat_map(service::rules).collect());
        chain
    }

    /// The rule, and that one end is on this side: a rule for each set that has to be asked.
    fn matches(&mut self, rule: Rule, end: End, side: &'a Side, family: Family) -> Vec<Rule> {
        let names: Vec<SetName> = match side {
            Side::Any => return vec![rule],
            Side::Set(id) => match self.firewall.sets.get(id) {
                Some(members) => SetName::of_set(*id, members, family).collect(),
                None => Vec::new(),
            },
            Side::Nets(members) => self.list(members, family),
        };
        // In a chain of one family it is right without, but then `nft` could not read its own listing of the address.
        let rule = if rule == Rule::default() { rule.family(family) } else { rule };
        let rule_of = |name: SetName| rule.clone().address_in(end, family, name.length, &name.to_string());
        names.into_iter().map(rule_of).collect()
    }

    fn list(&mut self, members: &'a AddressSet, family: Family) -> Vec<SetName> {
        let number = self.number(members);
        SetName::of_list(number, members, family).collect()
    }

    /// The number of a list. Equal lists are one.
    fn number(&mut self, members: &'a AddressSet) -> u32 {
        let next = u32::try_from(self.lists.len()).expect("there are fewer lists than addresses");
        let number = *self.lists.entry(members).or_insert(next);
        if number == next {
            self.fill(Owner::List(number), members);
        }
        number
    }

    fn owner(&mut self, side: &'a Side) -> String {
        match side {
            Side::Any => "any".to_owned(),
            Side::Set(id) => Owner::Set(*id).to_string(),
            Side::Nets(members) => Owner::List(self.number(members)).to_string(),
        }
    }

    fn chain(&mut self, name: String, hook: Option<Hook>, rules: Vec<Rule>) {
        self.layout.chains.push(Chain { name, hook, rules });
    }
}

/// What answers passes.
fn answers() -> [Rule; 2] {
    [Rule::default().reply(), Rule::default().related()].map(|rule| rule.then(Target::Accept))
}

mod translations {
    //! The chains of translations.

    use reconcile::{PrefixMap, Translation};

    use super::{AddressSet, End, Family, POSTROUTING, PREROUTING, Plan, Rule, Side};

    impl<'a> Plan<'a> {
        pub(super) fn translations(&mut self) {
            let (mut arriving, mut leaving) = (Vec::new(), Vec::new());
            for translation in &self.firewall.translations {
                match translation {
                    Translation::Masquerade { from, to } => leaving.extend(self.masquerade(from, to)),
                    Translation::Map(map) => {
                        arriving.push(self.to_real(map));
                        leaving.push(self.to_mapped(map));
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

        fn to_real(&self, map: &PrefixMap) -> Rule {
            let family = Family::of(map.mapped().addr());
            let start = Rule::default().came_over(self.link).family(family);
            start.address_within(End::Destination, map.mapped()).moved(End::Destination, map.real())
        }

        fn to_mapped(&self, map: &PrefixMap) -> Rule {
            let family = Family::of(map.mapped().addr());
            let start = Rule::default().leaves_over(self.link).family(family);
            start.address_within(End::Source, map.real()).moved(End::Source, map.mapped())
        }
    }
}
