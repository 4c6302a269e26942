//! A server's shell around the plan, as thin as can be: it gathers what is touched, tells, records, and after each telling
//! compares everything with the definition: every delta, the roster, what leads on from earlier maps, maps in parts.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::LazyLock;

use control::plan::{
    Deltas, Differing, Log, Picture, Roster, Touched, catch_up, default_domain, deltas_within, host_map,
};
use control::{Change, Effect, Intent, RecordChange};
use model::{DnsName, Generation, HostId};
use proptest::prelude::*;
use wire::{HostMap, MapRequest, Part, assemble, digests, pack};

use crate::history::{Brain, Did, Step};

const FIRST: Generation = Generation::from_number(7);
/// How many tellings back maps are kept, to start from them.
const KEPT: usize = 24;

pub(crate) type Maps = BTreeMap<HostId, HostMap>;
pub(crate) type Checked = Result<(), TestCaseError>;

static DOMAIN: LazyLock<DnsName> = LazyLock::new(default_domain);

pub(crate) fn picture(brain: &Brain) -> Picture<'_> {
    Picture { intent: &brain.intent, inventory: &brain.inventory, links: &brain.links, domain: &DOMAIN }
}

/// Everybody's map, by the definition.
pub(crate) fn maps(brain: &Brain, generation: impl Fn(HostId) -> Generation) -> Maps {
    let picture = picture(brain);
    let map = |host| Some((host, host_map(&picture, host, generation(host))?));
    brain.intent.hosts(None).filter_map(|host| map(host.id)).collect()
}

/// How a shell works.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    /// The most peers in a delta: few, so that it matters, or as many as there are.
    pub(crate) most: usize,
    /// How many steps are told together, one after the other and over again.
    pub(crate) windows: Vec<usize>,
    /// Whether changes are looked at when they happen, or from both ends when they are told.
    pub(crate) at_once: bool,
    /// Whether the log remembers everything.
    pub(crate) roomy: bool,
}

pub(crate) fn habits(window: usize) -> impl Strategy<Value = Habits> {
    let most = prop_oneof![0usize..4, Just(control::plan::MOST_TOLD)];
    let windows = prop::collection::vec(1..=window, 8);
    (most, windows, any::<bool>(), any::<bool>()).prop_map(|(most, windows, at_once, roomy)| Habits {
        most,
        windows,
        at_once,
        roomy,
    })
}

/// What happened often enough that a law about it says something.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) told: usize,
    pub(crate) fetch: usize,
    pub(crate) caught_up: usize,
    pub(crate) refused: usize,
    pub(crate) parts: usize,
    pub(crate) kept: usize,
}

/// The server.
pub(crate) struct Shell {
    habits: Habits,
    pub(crate) brain: Brain,
    told: Brain,
    maps: Rc<Maps>,
    roster: Roster,
    log: Log,
    last: Generation,
    touched: Touched,
    changes: Vec<Change>,
    /// Everybody's maps after the tellings before, oldest first.
    archive: Vec<Rc<Maps>>,
    flushes: usize,
    pub(crate) counts: Counts,
}

impl Shell {
    pub(crate) fn new(brain: Brain, habits: Habits) -> Self {
        let log = if habits.roomy { Log::new(FIRST) } else { Log::bounded(FIRST, 12, 100) };
        Self {
            habits,
            told: brain.clone(),
            maps: Rc::new(maps(&brain, |_| FIRST)),
            roster: Roster::of(&picture(&brain)),
            log,
            last: FIRST,
            touched: Touched::default(),
            changes: Vec::new(),
            archive: Vec::new(),
            flushes: 0,
            counts: Counts::default(),
            brain,
        }
    }

    /// Takes all steps, telling after each window.
    pub(crate) fn run(&mut self, mut steps: &[Step]) -> Checked {
        while !steps.is_empty() {
            let window = self.habits.windows[self.flushes % self.habits.windows.len()];
            let (now, later) = steps.split_at(window.min(steps.len()));
            now.iter().for_each(|step| self.step(step));
            self.flush()?;
            steps = later;
        }
        Ok(())
    }

    pub(crate) fn step(&mut self, step: &Step) {
        let before = self.brain.intent.clone();
        let did = self.brain.step(step);
        self.did(&before, did);
    }

    /// Takes what was done.
    pub(crate) fn did(&mut self, before: &Intent, did: Did) {
        let touched = match did {
            Did::Decided(Ok(change)) => {
                let touched = Touched::by_change(before, &self.brain.intent, &change);
                self.changes.push(change);
                if self.habits.at_once { touched } else { Touched::default() }
            }
            Did::Observed(host, Effect::Maps) => Touched::by_inventory(&self.brain.intent, host),
            Did::Decided(Err(_)) | Did::Observed(_, Effect::None) | Did::Waited => Touched::default(),
        };
        self.touched = std::mem::take(&mut self.touched).and(touched);
    }

    /// What was touched since the last telling.
    fn take_touched(&mut self, changes: &[Change]) -> Touched {
        let touched = std::mem::take(&mut self.touched);
        if self.habits.at_once {
            return touched;
        }
        let by = |change| Touched::by_change(&self.told.intent, &self.brain.intent, change);
        changes.iter().map(by).fold(touched, Touched::and)
    }

    /// Tells everybody, and checks what is told.
    pub(crate) fn flush(&mut self) -> Checked {
        let changes = std::mem::take(&mut self.changes);
        let touched = self.take_touched(&changes);
        let mut roster = self.roster.clone();
        roster.update(&picture(&self.brain), &touched);
        prop_assert_eq!(&roster, &Roster::of(&picture(&self.brain)));
        let pictures = (&picture(&self.told), &picture(&self.brain));
        let fast = deltas_within(self.habits.most, pictures, (&self.roster, &roster), &touched);
        self.check_way_back(&changes, &touched)?;

        if !fast.changed.is_empty() || !fast.new.is_empty() {
            self.last = self.last.next();
        }
        self.log.record(self.last, &self.roster, &roster, &touched);
        let fresh: BTreeSet<HostId> =
            fast.changed.iter().map(|(host, _)| host).chain(&fast.new).copied().collect();
        let generation = |host| match self.maps.get(&host) {
            Some(map) if !fresh.contains(&host) => map.generation,
            Some(_) | None => self.last,
        };
        let now = maps(&self.brain, generation);
        self.check_deltas(&fast, &now)?;

        self.counts.told += fast.changed.len();
        self.counts.fetch += fast.new.iter().filter(|host| self.maps.contains_key(host)).count();
        self.archive.push(std::mem::replace(&mut self.maps, Rc::new(now)));
        if self.archive.len() > KEPT {
            self.archive.remove(0);
        }
        self.told = self.brain.clone();
        self.roster = roster;
        self.flushes += 1;
        self.check_catching_up()?;
        self.check_parts()
    }

    /// The fast way is the slow way: who is told, of what, and who is not.
    fn check_deltas(&self, fast: &Deltas, now: &Maps) -> Checked {
        let (mut changed, mut new) = (Vec::new(), Vec::new());
        for (host, to) in now {
            let Some(from) = self.maps.get(host) else {
                new.push(*host);
                continue;
            };
            let delta = wire::delta(from, to);
            // Who comes to records fetches them with the rest.
            let comes_to_records = to.networks.iter().any(|(id, told)| {
                let was_there = from.networks.get(id).is_some_and(wire::Membership::takes_part);
                !told.records.is_empty() && !was_there
            });
            if comes_to_records || delta.peers.len() + delta.peers_gone.len() > self.habits.most {
                new.push(*host);
            } else if !delta.is_empty() {
                let mut patched = from.clone();
                prop_assert_eq!(wire::patch(&mut patched, delta.clone()), Ok(()));
                prop_assert_eq!(&patched, to);
                changed.push((*host, delta));
            }
        }
        let generation = |maps: &Maps, host| maps.get(host).map(|map| map.generation).unwrap_or_default();
        let sent = fast.changed.iter();
        let sent: Vec<_> = sent
            .map(|(host, delta)| (*host, delta.to_wire(generation(&self.maps, host), generation(now, host))))
            .collect();
        prop_assert_eq!(sent, changed);
        let removed: Vec<_> = self.maps.keys().filter(|host| !now.contains_key(*host)).copied().collect();
        prop_assert_eq!((&fast.new, &fast.removed), (&new, &removed));
        Ok(())
    }

    /// What ends where it began sends nothing, and moves nothing in the roster.
    fn check_way_back(&self, changes: &[Change], touched: &Touched) -> Checked {
        let back = |change: &Change| {
            let records = change.records.iter().cloned();
            let records =
                records.map(|RecordChange { before, after }| RecordChange { before: after, after: before });
            let change = Change { records: records.collect(), ..change.clone() };
            Touched::by_change(&self.brain.intent, &self.told.intent, &change)
        };
        let touched = changes.iter().rev().map(back).fold(touched.clone(), Touched::and);
        let picture = picture(&self.told);
        let mut roster = self.roster.clone();
        roster.update(&picture, &touched);
        prop_assert_eq!(&roster, &self.roster);
        let deltas = deltas_within(self.habits.most, (&picture, &picture), (&self.roster, &roster), &touched);
        prop_assert_eq!(deltas, Deltas::default());
        Ok(())
    }

    /// From everybody's map after an earlier telling to the map now.
    fn check_catching_up(&mut self) -> Checked {
        let at = (self.flushes * 7) % self.archive.len();
        let archive = Rc::clone(&self.archive[at]);
        for (host, now) in &*Rc::clone(&self.maps) {
            let Some(then) = archive.get(host) else { continue };
            let missed = catch_up(&self.log, &picture(&self.brain), &self.roster, *host, then.generation);
            let Some(missed) = missed else {
                self.counts.refused += 1;
                continue;
            };
            self.counts.caught_up += 1;
            let delta = missed.to_wire(then.generation, now.generation);
            let maps = self.archive[at..].iter().chain([&self.maps]).filter_map(|maps| maps.get(host));
            let known: BTreeSet<_> = maps.flat_map(|map| map.peers.keys()).collect();
            prop_assert!(delta.peers.keys().chain(&delta.peers_gone).all(|peer| known.contains(peer)));
            let mut patched = then.clone();
            prop_assert_eq!(wire::patch(&mut patched, delta), Ok(()));
            prop_assert_eq!(&patched, now);
        }
        Ok(())
    }

    /// The map of one host in parts, for whatever it holds.
    fn check_parts(&mut self) -> Checked {
        let Some((host, now)) = self.maps.iter().nth(self.flushes % self.maps.len().max(1)) else {
            return Ok(());
        };
        let networks = now.networks.iter().filter(|(_, membership)| membership.takes_part());
        for network in networks.map(|(network, _)| *network) {
            let digests = digests(now).remove(&network).unwrap_or_default();
            prop_assert_eq!(self.roster.digests_for(*host, network), digests);
        }
        let archive = &self.archive[(self.flushes * 5) % self.archive.len()];
        for held in [None, archive.get(host), Some(now)] {
            let mut request = held.map(MapRequest::of).unwrap_or_default();
            if self.flushes.is_multiple_of(4) {
                request.digests.pop_last();
            }
            let answer = self.roster.answer(&picture(&self.brain), *host, now.generation, &request);
            let (head, buckets) = answer.expect("the host exists");
            let same = MapRequest::of(now);
            if (&request.digests, &request.records) == (&same.digests, &same.records) {
                prop_assert!(buckets.is_empty() && head.parts == 0);
                self.counts.kept += 1;
            }
            self.counts.parts += buckets.len();
            for differing in &buckets {
                if let Differing::Members(_, _, bucket) = differing {
                    prop_assert_eq!(bucket.packed(), pack(bucket.entries().iter()));
                }
            }
            let parts: Vec<Part> = buckets.iter().map(Differing::to_part).collect();
            let assembled = assemble(held, head, &parts);
            prop_assert_eq!(assembled.as_ref(), Ok(now));
        }
        Ok(())
    }
}
