//! What is shown: the snapshot that people read from and, at the server that leads, what agents have been told: each host's
//! generation in it, and what was touched of late, for those who come back.

use std::sync::Arc;

use control::plan::{Deltas, Differing, HostDelta, Log, Picture, Roster, Touched, catch_up, deltas};
use control::{Intent, Inventory};
use model::{DnsName, Epoch, Generation, HostId};
use wire::{MapRequest, PartsHead, ServerLinks};

/// One moment of everything agents may know. Cheap to clone: its maps are persistent.
#[derive(Debug, Clone)]
pub struct Told {
    /// Intent at that moment.
    pub intent: Arc<Intent>,
    /// Inventory at that moment.
    pub inventory: Inventory,
    /// The server's doors.
    pub links: ServerLinks,
    /// The server's domain.
    pub domain: DnsName,
    generations: imbl::HashMap<HostId, Generation>,
    /// None at a server that follows: another one makes the maps.
    making: Option<Making>,
}

/// What maps are made from.
#[derive(Debug, Clone)]
struct Making {
    epoch: Epoch,
    first: Generation,
    last: Generation,
    roster: Roster,
    log: Log,
}

impl Told {
    /// The snapshot of a server that follows: people read it, and agents are told by another one. The generations are those
    /// that the other one wrote down.
    pub(super) const fn followed(
        intent: Arc<Intent>,
        inventory: Inventory,
        links: ServerLinks,
        domain: DnsName,
        generations: imbl::HashMap<HostId, Generation>,
    ) -> Self {
        Self { intent, inventory, links, domain, generations, making: None }
    }

    /// The first snapshot of one that leads: nothing was told yet in this epoch.
    pub(super) fn new(
        intent: Arc<Intent>,
        inventory: Inventory,
        links: ServerLinks,
        domain: DnsName,
        epoch: Epoch,
    ) -> Self {
        let first = Generation::first_of(epoch);
        let picture = Picture { intent: &intent, inventory: &inventory, links: &links, domain: &domain };
        let (roster, log) = (Roster::of(&picture), Log::new(first));
        let making = Making { epoch, first, last: first, roster, log };
        let generations = imbl::HashMap::new();
        Self { intent, inventory, links, domain, generations, making: Some(making) }
    }

    /// The snapshot of this intent and inventory, and what it says to whom. Everything that differs is in `touched`. A server
    /// that follows says nothing to anybody.
    pub(super) fn next(
        &self,
        intent: Arc<Intent>,
        inventory: Inventory,
        touched: &Touched,
    ) -> (Self, Deltas) {
        let mut next = Self { intent, inventory, ..self.clone() };
        let (Some(before), Some(mut making)) = (&self.making, next.making.take()) else {
            return (next, Deltas::default());
        };
        making.roster.update(&next.picture(), touched);
        let deltas = deltas(&self.picture(), &next.picture(), &before.roster, &making.roster, touched);
        if !deltas.changed.is_empty() || !deltas.new.is_empty() {
            making.last = making.last.next();
        }
        let fresh = deltas.changed.iter().map(|(host, _)| host).chain(&deltas.new);
        next.generations.extend(fresh.map(|host| (*host, making.last)));
        for gone in &deltas.removed {
            next.generations.remove(gone);
        }
        making.log.record(making.last, &before.roster, &making.roster, touched);
        next.making = Some(making);
        (next, deltas)
    }

    /// The epoch in which this server leads; none where it follows.
    pub fn epoch(&self) -> Option<Epoch> {
        self.making.as_ref().map(|making| making.epoch)
    }

    fn picture(&self) -> Picture<'_> {
        Picture { intent: &self.intent, inventory: &self.inventory, links: &self.links, domain: &self.domain }
    }

    /// The generation that a host's map is to have, as far as this server knows: when it last changed in this epoch.
    pub fn wanted(&self, host: HostId) -> Option<Generation> {
        let first = self.making.as_ref().map(|making| making.first);
        self.generations.get(&host).copied().or(first)
    }

    /// The same, to be sent.
    pub(super) fn generation(&self, host: HostId) -> Generation {
        self.wanted(host).unwrap_or(Generation::NONE)
    }

    /// A generation that no host was told yet.
    pub(super) fn unused(&self) -> Generation {
        self.making.as_ref().map_or(Generation::NONE, |making| making.last.next())
    }

    /// The maps, at the server that makes them.
    pub fn maps(&self) -> Option<Maps<'_>> {
        self.making.as_ref().map(|making| Maps { told: self, making })
    }
}

/// What each host is to know.
#[derive(Debug, Clone, Copy)]
pub struct Maps<'a> {
    told: &'a Told,
    making: &'a Making,
}

impl Maps<'_> {
    /// The generation of a host's map: when it last changed in this epoch.
    pub fn generation(&self, host: HostId) -> Generation {
        self.told.generation(host)
    }

    /// What a host missed since this generation; none when that is not known any more, or is too much.
    pub fn missed(&self, host: HostId, since: Generation) -> Option<HostDelta> {
        catch_up(&self.making.log, &self.told.picture(), &self.making.roster, host, since)
    }

    /// A host's map in parts, without what it holds; none for a host that is not known.
    pub fn parts(&self, host: HostId, request: &MapRequest) -> Option<(PartsHead, Vec<Differing>)> {
        self.making.roster.answer(&self.told.picture(), host, self.generation(host), request)
    }
}
