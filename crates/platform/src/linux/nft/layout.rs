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
//!  input ── not over our link, but from what is inside: drop
//!        ── not over our link, but to what is inside: drop, unless from behind this machine ─▶ input_judged
//!        ── not over our link: accept
//!        ── reply, or error: accept
//!        ── IPv4 ─▶ input_v4 ── source in s1 ─▶ input_from_s1 ── destination in s2 ─▶ services_0 ── tcp 443: accept
//!        ── IPv6 ─▶ input_v6 …
//!        ── drop
//!  forward ── not over our link, but to it ─▶ forward_beside ── from behind this machine: return
//!          │                                               ── from those whom our link leads to: drop
//!          ── reply …
//!  output ── not over our link: accept; where it is confined ─▶ output_confined ── marked, to the LAN …: accept ── drop
//!         ── to those towards whom it is judged ─▶ output_judged ── reply … ── drop
//! ```

mod beside;
mod confined;
mod translations;

use std::collections::BTreeMap;

use ipnet::IpNet;
use reconcile::{
    AddressSet, Ban, Family, Filter, Firewall, Grant, LinkName, Outward, Service, Services, Side,
};

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

/// Where what comes to this machine is judged, if two ways lead there; and what leaves it.
const JUDGED_INPUT: &str = "input_judged";
const JUDGED_OUTPUT: &str = "output_judged";
/// What this machine sends over other links while it is confined to ours.
const CONFINED: &str = "output_confined";
/// What came over other links and leaves over ours.
const BESIDE: &str = "forward_beside";

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
    behind: &'a AddressSet,
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
        let (inside, behind) =
            [&firewall.inside, &firewall.behind].map(|nets| nets.iter().copied().collect()).into();
        let mut plan = Plan {
            firewall,
            inside: &inside,
            behind: &behind,
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
        let (mut rules, mut behind) = (self.pretended(), Vec::new());
        if !rules.is_empty() {
            // This machine speaks to itself by its own addresses, which are inside.
            rules.insert(0, Rule::default().came_from_itself().then(Target::Accept));
            behind = self.let_in_from_behind();
            rules.extend_from_slice(&behind);
            rules.extend(self.others_with(End::Destination).map(|rule| rule.counter().then(Target::Drop)));
        }
        if self.firewall.input != Filter::Open {
            rules.push(Rule::default().came_otherwise(self.link).then(Target::Accept));
            let mut judging = self.filtering("input", &self.firewall.input);
            if !behind.is_empty() {
                // Two ways lead there.
                self.chain(JUDGED_INPUT.to_owned(), None, judging);
                judging = vec![Rule::default().then(Target::Jump(JUDGED_INPUT))];
            }
            rules.extend(judging);
        }
        self.enter("input", INPUT, rules);
    }

    fn forward(&mut self) {
        let mut rules = self.pretended();
        let filter = &self.firewall.forward;
        let beside = self.beside();
        if !rules.is_empty() || self.firewall.clamp || !beside.is_empty() || *filter != Filter::Open {
            let others = Rule::default().came_otherwise(self.link).leaves_otherwise(self.link);
            rules.push(others.then(Target::Accept));
        }
        if self.firewall.clamp {
            // Before replies: the answer to the first packet is one.
            rules.push(Rule::default().clamp());
        }
        if !beside.is_empty() {
            self.chain(BESIDE.to_owned(), None, beside);
            rules.push(Rule::default().came_otherwise(self.link).then(Target::Jump(BESIDE)));
        }
        rules.extend(self.filtering("forward", filter));
        self.enter("forward", FORWARD, rules);
    }

    fn output(&mut self) {
        let Outward { towards, grants } = &self.firewall.output;
        let otherwise = Rule::default().leaves_otherwise(self.link);
        let mut rules = Vec::new();
        if let Some(to) = &self.firewall.confined {
            let confined = self.confined(to);
            self.chain(CONFINED.to_owned(), None, confined);
            rules.push(otherwise.then(Target::Jump(CONFINED)));
        } else if !towards.is_empty() {
            rules.push(otherwise.then(Target::Accept));
        }
        if !towards.is_empty() {
            let judging = self.judging("output", grants);
            self.chain(JUDGED_OUTPUT.to_owned(), None, judging);
        }
        for (side, family) in towards.iter().flat_map(|side| Family::ALL.map(|family| (side, family))) {
            let goes = self.matches(Rule::default(), End::Destination, side, family);
            rules.extend(goes.into_iter().map(|rule| rule.then(Target::Jump(JUDGED_OUTPUT))));
        }
        self.enter("output", OUTPUT, rules);
    }

    /// A chain at a hook, where there is something to do.
    fn enter(&mut self, name: &str, hook: Hook, rules: Vec<Rule>) {
        if !rules.is_empty() {
            self.chain(name.to_owned(), Some(hook), rules);
        }
    }

    /// The rules of a filter. Where it is open there are none.
    fn filtering(&mut self, name: &str, filter: &'a Filter) -> Vec<Rule> {
        match filter {
            Filter::Open => Vec::new(),
            Filter::AllBut(bans) => {
                let answers = answers().into_iter();
                let banned: Vec<Rule> = bans.iter().flat_map(|ban| self.ban(ban)).collect();
                answers.chain(banned).chain([Rule::default().then(Target::Accept)]).collect()
            }
            Filter::Only(grants) => self.judging(name, grants),
        }
    }

    fn ban(&mut self, ban: &'a Ban) -> Vec<Rule> {
        let mut rules = Vec::new();
        for family in Family::ALL {
            for from in self.matches(Rule::default(), End::Source, &ban.from, family) {
                let banned = self.matches(from, End::Destination, &ban.to, family);
                rules.extend(banned.into_iter().map(|rule| rule.counter().then(Target::Drop)));
            }
        }
        rules
    }

    /// The rules that let pass what answers and what is granted, and drop all else.
    fn judging(&mut self, name: &str, grants: &'a [Grant]) -> Vec<Rule> {
        let mut rules = Vec::from(answers());
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
        rules
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
