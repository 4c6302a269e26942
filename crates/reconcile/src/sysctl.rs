//! Settings of the kernel that gateways, ranges and full tunnels need, and how they get back what they were.
//!
//! Not for reading or writing them. It keeps true that what a setting was before is known, and kept by the shell, before it
//! is changed; that it is put back when the need is over; and that a value that somebody else gave it meanwhile stays.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Around, Desired, Interface, LinkName, Op, Surroundings};

const FORWARD_V4: &str = "net/ipv4/ip_forward";
const FORWARD_V6: &str = "net/ipv6/conf/all/forwarding";
/// The kernel turns it when forwarding is turned, and with it that of each link (`turned_by`).
const REDIRECTS_V4: &str = "net/ipv4/conf/all/accept_redirects";
const REVERSE_ALL: &str = "net/ipv4/conf/all/rp_filter";
const ROUTER_ADVERTISEMENTS: &str = "/accept_ra";
const REVERSE: &str = "/rp_filter";
const FORWARD: &str = "/forwarding";
const ON: &str = "1";

/// A setting of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sysctl {
    /// Its name as below /proc/sys, with slashes: `net/ipv4/ip_forward`.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Sysctl {
    /// A setting and its value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }

    /// Whether it makes the machine pass packets on.
    pub fn forwards(&self) -> bool {
        matches!(self.name.as_str(), FORWARD_V4 | FORWARD_V6) && self.value == ON
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.name, self.value)
    }
}

/// What settings were before they were changed. The shell keeps it on disk as long as it is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kept(pub BTreeMap<String, String>);

impl Kept {
    /// What is to be kept before these ops are carried out on a machine that is so: on disk first, then the ops.
    #[must_use]
    pub fn before(&self, link: &LinkName, ops: &[Op], surroundings: &Surroundings) -> Self {
        let mut kept = self.0.clone();
        for op in ops {
            let Op::Around(Around::SetSysctl(Sysctl { name, value })) = op else { continue };
            let now = |name: &str| surroundings.sysctls.get(name);
            if value_of_ours(name) != Some(value) {
                // About to be put back: a link that somebody else has turned meanwhile stays as it is.
                kept.retain(|of, _| turned_by(of) != Some(name) || now(of).is_none_or(|now| now == ON));
                continue;
            }
            // What is our own link's goes with it.
            if *name == reverse_of(link) {
                continue;
            }
            let redirects = (name == FORWARD_V4).then_some(REDIRECTS_V4);
            let with_it = std::iter::once(name.as_str()).chain(redirects);
            let all = with_it.chain(links_unlike(name, link, surroundings));
            for (name, now) in all.filter_map(|name| Some((name, now(name)?))) {
                kept.entry(name.to_owned()).or_insert_with(|| now.clone());
            }
        }
        Self(kept)
    }

    /// What is still to be kept once `reconcile` has no more ops: nothing, where nothing needs it any longer.
    #[must_use]
    pub fn after(&self, desired: &Desired) -> Self {
        let needed = |name: &str| match &desired.interface {
            Some(interface) if is_for_forwarding(name) => interface.forwards,
            Some(interface) => interface.hears_beside(),
            None => false,
        };
        Self(self.0.iter().filter(|(name, _)| needed(name)).map(|(n, v)| (n.clone(), v.clone())).collect())
    }
}

/// The setting that turns this one, where it says whether one link (or one that is still to come: `default`) forwards.
fn turned_by(name: &str) -> Option<&'static str> {
    let is_links = |folder: &str| {
        let link = name.strip_prefix(folder).and_then(|rest| rest.strip_suffix(FORWARD));
        link.is_some_and(|link| link != "all")
    };
    [("net/ipv4/conf/", FORWARD_V4), ("net/ipv6/conf/", FORWARD_V6)]
        .into_iter()
        .find_map(|(folder, by)| is_links(folder).then_some(by))
}

/// The settings of links that a setting turns, and that are other than itself: all others come back with it.
fn links_unlike<'a>(
    by: &'a str,
    link: &LinkName,
    surroundings: &'a Surroundings,
) -> impl Iterator<Item = &'a str> {
    let own = ["net/ipv4/conf", "net/ipv6/conf"].map(|folder| format!("{folder}/{link}{FORWARD}"));
    let before = surroundings.sysctls.get(by);
    let all = surroundings.sysctls.iter().filter(move |(name, now)| {
        turned_by(name) == Some(by) && Some(*now) != before && !own.contains(name)
    });
    all.map(|(name, _)| name.as_str())
}

/// The value that we give a setting.
fn value_of_ours(name: &str) -> Option<&'static str> {
    match name {
        FORWARD_V4 | FORWARD_V6 => Some(ON),
        REVERSE_ALL => Some("2"),
        _ if name.ends_with(ROUTER_ADVERTISEMENTS) || name.ends_with(REVERSE) => Some("2"),
        _ => None,
    }
}

fn reverse_of(link: &LinkName) -> String {
    format!("net/ipv4/conf/{link}/rp_filter")
}

fn is_for_forwarding(name: &str) -> bool {
    matches!(name, FORWARD_V4 | FORWARD_V6 | REDIRECTS_V4)
        || turned_by(name).is_some()
        || name.ends_with(ROUTER_ADVERTISEMENTS)
}

/// What is to be put back.
pub(crate) fn put_back(desired: &Desired, surroundings: &Surroundings) -> Vec<Op> {
    put_back_unless(
        desired.interface.as_ref().is_some_and(|interface| interface.forwards),
        desired,
        surroundings,
    )
}

/// What is to be put back where the machine may not forward for us, whatever is desired.
pub(crate) fn forward_no_more(desired: &Desired, surroundings: &Surroundings) -> Vec<Op> {
    put_back_unless(false, desired, surroundings)
}

fn put_back_unless(forwards: bool, desired: &Desired, surroundings: &Surroundings) -> Vec<Op> {
    let beside = desired.interface.as_ref().is_some_and(Interface::hears_beside);
    let mut back = Vec::new();
    // In reverse: forwarding ends before router advertisements count less again.
    let alone = |name: &str| name != REDIRECTS_V4 && turned_by(name).is_none();
    for (name, before) in desired.kept.0.iter().rev().filter(|(name, _)| alone(name)) {
        let needed = if is_for_forwarding(name) { forwards } else { beside };
        let now = surroundings.sysctls.get(name);
        let ours = now.map(String::as_str) == value_of_ours(name);
        if !needed && ours && now != Some(before) {
            back.push(Sysctl::new(name, before));
        }
    }
    back.sort_by_key(|sysctl| sysctl.name != FORWARD_V4 && sysctl.name != FORWARD_V6);
    let turned = back.iter().any(|sysctl| sysctl.name == FORWARD_V4);
    if let Some(before) = desired.kept.0.get(REDIRECTS_V4).filter(|_| !forwards)
        && (turned || surroundings.sysctls.get(REDIRECTS_V4).is_some_and(|now| now != before))
    {
        back.push(Sysctl::new(REDIRECTS_V4, before));
    }
    if !forwards {
        back.extend(links_to_put_back(&desired.kept, &back, surroundings));
    }
    back.into_iter().map(Around::SetSysctl).map(Op::Around).collect()
}

/// The links that forwarded, or did not, unlike the machine as a whole: once that is put back, which turns them all. Only
/// those that are as we, or that, left them.
fn links_to_put_back(kept: &Kept, back: &[Sysctl], surroundings: &Surroundings) -> Vec<Sysctl> {
    let now = |name: &str| surroundings.sysctls.get(name);
    let of_link = |(name, before): (&String, &String)| {
        let by = turned_by(name)?;
        let whole = kept.0.get(by)?;
        let as_left = match back.iter().any(|sysctl| sysctl.name == by) {
            true => now(name)? == ON,
            false => now(by)? == whole && now(name)? == whole,
        };
        (as_left && before != whole).then(|| Sysctl::new(name, before))
    };
    kept.0.iter().filter_map(of_link).collect()
}

/// What is to be changed. Only settings that the machine has.
pub(crate) fn take(link: &LinkName, interface: &Interface, surroundings: &Surroundings) -> Vec<Op> {
    let has = |name: &str, value: &str| surroundings.sysctls.get(name).is_some_and(|now| now == value);
    let lacks = |name: &str, value: &str| surroundings.sysctls.get(name).is_some_and(|now| now != value);
    let mut wanted: Vec<String> = Vec::new();
    if interface.forwards {
        // Not for links to come, which have none of their own yet, and not for ours, where no router is.
        let nobodys =
            ["all", "default", "lo", link.as_str()].map(|link| format!("net/ipv6/conf/{link}/accept_ra"));
        let heeded = surroundings.sysctls.keys().filter(|name| {
            name.ends_with(ROUTER_ADVERTISEMENTS) && !nobodys.contains(name) && has(name, "1")
        });
        // First: a machine that forwards heeds no router unless it was told to do so all the same.
        wanted.extend(heeded.cloned());
        wanted
            .extend([FORWARD_V4, FORWARD_V6].into_iter().filter(|name| lacks(name, "1")).map(str::to_owned));
    }
    if interface.forwards || interface.hears_beside() {
        wanted.extend(
            Some(reverse_of(link)).filter(|name| has(name, "1") || (has(name, "0") && has(REVERSE_ALL, "1"))),
        );
    }
    // Answers to the link's own datagrams come over one that the machine would not send to their source over.
    let strict = |(name, value): (&String, &String)| {
        name.starts_with("net/ipv4/conf/") && name.ends_with(REVERSE) && value == "1"
    };
    if interface.hears_beside() && surroundings.sysctls.iter().any(strict) && lacks(REVERSE_ALL, "2") {
        wanted.push(REVERSE_ALL.to_owned());
    }
    let set = |name: String| {
        value_of_ours(&name).map(|value| Around::SetSysctl(Sysctl::new(name.clone(), value)).into())
    };
    wanted.into_iter().filter_map(set).collect()
}

/// What the kernel does besides.
pub(crate) fn apply(surroundings: &mut Surroundings, sysctl: &Sysctl) {
    let Sysctl { name, value } = sysctl;
    let Some(now) = surroundings.sysctls.get_mut(name) else { return };
    if now == value {
        return;
    }
    now.clone_from(value);
    let turned = surroundings.sysctls.iter_mut().filter(|(of, _)| turned_by(of) == Some(name));
    turned.for_each(|(_, now)| now.clone_from(value));
    if name == FORWARD_V4
        && let Some(redirects) = surroundings.sysctls.get_mut(REDIRECTS_V4)
    {
        *redirects = if value == ON { "0" } else { ON }.to_owned();
    }
}
