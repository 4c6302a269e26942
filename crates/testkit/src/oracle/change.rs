//! Random changes of policy: rules that come, go and change, tags, groups, clients that are switched off and on.
//!
//! Not for carrying them out on a server: tests do that with what an administrator types. Keeps true that the same seed
//! makes the same changes, and that their number and size stay within bounds.

use std::collections::BTreeSet;

use super::{Kind, Party, Picture, Ports, Rule};

/// Tags and groups that changes hand out.
const TAGS: [&str; 3] = ["red", "green", "blue"];
const GROUPS: [&str; 2] = ["staff", "guests"];

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new rule of this name.
    Add(String, Rule),
    /// The rule of this name is this one from now on.
    Replace(String, Rule),
    /// The rule goes.
    Remove(String),
    /// The rule counts, or does not.
    Enable(String, bool),
    /// A node's or client's tags.
    Tags(String, BTreeSet<String>),
    /// A user's groups.
    Groups(String, BTreeSet<String>),
    /// A client is let in, or not.
    Client(String, bool),
}

/// Where random numbers come from: xorshift, seeded.
#[derive(Debug, Clone)]
pub struct Luck(u64);

impl Luck {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let bound = bound.max(1) as u64;
        usize::try_from((self.0 >> 16) % bound).unwrap_or(0)
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    fn some_of(&mut self, items: &[&str]) -> BTreeSet<String> {
        items.iter().filter(|_| self.below(3) == 0).map(|item| (*item).to_owned()).collect()
    }
}

impl Change {
    /// With so many rules no more are added.
    pub const MOST_RULES: usize = 14;

    /// The next change; `ports` are those that rules name, as in `80` or `443-450`.
    pub fn random(picture: &Picture, luck: &mut Luck, ports: &[&str]) -> Self {
        let names: Vec<&String> = picture.rules.keys().collect();
        let picked = luck.one_of(&names).map(|name| (*name).clone());
        let Some(name) = picked else {
            return Self::Add(fresh(picture), rule(picture, luck, ports));
        };
        match luck.below(10) {
            0 | 1 if names.len() < Self::MOST_RULES => Self::Add(fresh(picture), rule(picture, luck, ports)),
            2 => Self::Remove(name),
            3 => {
                let enabled = picture.rules.get(&name).is_some_and(|rule| rule.enabled);
                Self::Enable(name, !enabled)
            }
            4 | 5 => member(picture, luck, |kind| kind != Kind::Egress)
                .map_or(Self::Remove(name), |member| Self::Tags(member, luck.some_of(&TAGS))),
            6 => {
                let users: Vec<&String> = picture.groups.keys().collect();
                let user = luck.one_of(&users).map(|user| (*user).clone());
                user.map_or(Self::Remove(name), |user| Self::Groups(user, luck.some_of(&GROUPS)))
            }
            7 => match member(picture, luck, |kind| kind == Kind::Client) {
                Some(client) => {
                    let active = picture.members.get(&client).is_some_and(|member| member.active);
                    Self::Client(client, !active)
                }
                None => Self::Remove(name),
            },
            _ => Self::Replace(name, rule(picture, luck, ports)),
        }
    }

    /// What the change makes of a picture.
    pub fn apply(&self, picture: &mut Picture) {
        match self {
            Self::Add(name, rule) | Self::Replace(name, rule) => {
                picture.rules.insert(name.clone(), rule.clone());
            }
            Self::Remove(name) => drop(picture.rules.remove(name)),
            Self::Enable(name, enabled) => {
                picture.rules.entry(name.clone()).and_modify(|rule| rule.enabled = *enabled);
            }
            Self::Tags(name, tags) => {
                picture.members.entry(name.clone()).and_modify(|member| member.tags.clone_from(tags));
            }
            Self::Groups(user, groups) => drop(picture.groups.insert(user.clone(), groups.clone())),
            Self::Client(name, active) => {
                picture.members.entry(name.clone()).and_modify(|member| member.active = *active);
            }
        }
    }
}

fn fresh(picture: &Picture) -> String {
    let numbers = 1..=picture.rules.len() + 1;
    let names = numbers.map(|number| format!("rule-{number}"));
    names.into_iter().find(|name| !picture.rules.contains_key(name)).unwrap_or_default()
}

fn member(picture: &Picture, luck: &mut Luck, wanted: impl Fn(Kind) -> bool) -> Option<String> {
    let names: Vec<&String> =
        picture.members.iter().filter(|(_, member)| wanted(member.kind)).map(|(name, _)| name).collect();
    luck.one_of(&names).map(|name| (*name).clone())
}

fn rule(picture: &Picture, luck: &mut Luck, ports: &[&str]) -> Rule {
    let mut parties = || (0..=luck.below(2)).map(|_| party(picture, luck)).collect();
    let (from, to) = (parties(), parties());
    let services = (0..luck.below(3)).filter_map(|_| service(luck, ports)).collect();
    Rule { enabled: luck.below(8) > 0, from, to, services, both: luck.below(4) == 0 }
}

fn party(picture: &Picture, luck: &mut Luck) -> Party {
    let named = |items: &[&str], luck: &mut Luck| luck.one_of(items).map(|item| (*item).to_owned());
    let user = |luck: &mut Luck| {
        let users: Vec<&String> = picture.groups.keys().collect();
        luck.one_of(&users).map(|user| Party::User((*user).clone()))
    };
    let party = match luck.below(12) {
        0 => Some(Party::Everything),
        1..=4 => named(&TAGS, luck).map(Party::Tag),
        5 | 6 => named(&GROUPS, luck).map(Party::Group),
        7 => user(luck),
        _ => member(picture, luck, |_| true).and_then(|name| {
            let kind = picture.members.get(&name)?.kind;
            Some(Party::Member(kind, name))
        }),
    };
    party.unwrap_or(Party::Everything)
}

fn service(luck: &mut Luck, ports: &[&str]) -> Option<Ports> {
    let protocol = *luck.one_of(&["tcp", "tcp", "udp", "udp", "icmp"])?;
    let text = match luck.one_of(ports).filter(|_| luck.below(4) > 0 && protocol != "icmp") {
        Some(ports) => format!("{protocol}/{ports}"),
        None => protocol.to_owned(),
    };
    Ports::parse(&text)
}
