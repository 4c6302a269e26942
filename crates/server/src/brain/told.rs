//! What agents have been told: the snapshot that the newest deltas were made of, each host's generation in it, and what was
//! touched of late, for those who come back.

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
    first: Generation,
    last: Generation,
    generations: imbl::HashMap<HostId, Generation>,
    roster: Roster,
    log: Log,
}

impl Told {
    /// The first snapshot: nothing was told yet in this epoch.
    pub(super) fn new(
        intent: Arc<Intent>,
        inventory: Inventory,
        links: ServerLinks,
        domain: DnsName,
        epoch: Epoch,
    ) -> Self {
        let first = Generation::first_of(epoch);
        let picture = Picture { intent: &intent, inventory: &inventory, links: &links, domain: &domain };
        let roster = Roster::of(&picture);
        let (generations, log) = (imbl::HashMap::new(), Log::new(first));
        Self { intent, inventory, links, domain, first, last: first, generations, roster, log }
    }

    /// The snapshot of this intent and inventory, and what it says to whom. Everything that differs is in `touched`.
    pub(super) fn next(
        &self,
        intent: Arc<Intent>,
        inventory: Inventory,
        touched: &Touched,
    ) -> (Self, Deltas) {
        let mut next = Self { intent, inventory, ..self.clone() };
        let mut roster = self.roster.clone();
        roster.update(&next.picture(), touched);
        next.roster = roster;
        let deltas = deltas(&self.picture(), &next.picture(), &self.roster, &next.roster, touched);
        if !deltas.changed.is_empty() || !deltas.new.is_empty() {
            next.last = self.last.next();
        }
        let fresh = deltas.changed.iter().map(|(host, _)| host).chain(&deltas.new);
        next.generations.extend(fresh.map(|host| (*host, next.last)));
        for gone in &deltas.removed {
            next.generations.remove(gone);
        }
        next.log.record(next.last, &self.roster, &next.roster, touched);
        (next, deltas)
    }

    fn picture(&self) -> Picture<'_> {
        Picture { intent: &self.intent, inventory: &self.inventory, links: &self.links, domain: &self.domain }
    }

    /// The generation of a host's map: when it last changed in this run of the server.
    pub fn generation(&self, host: HostId) -> Generation {
        self.generations.get(&host).copied().unwrap_or(self.first)
    }

    /// A generation that no host was told yet.
    pub(super) fn unused(&self) -> Generation {
        self.last.next()
    }

    /// What a host missed since this generation; none when that is not known any more, or is too much.
    pub fn missed(&self, host: HostId, since: Generation) -> Option<HostDelta> {
        catch_up(&self.log, &self.picture(), &self.roster, host, since)
    }

    /// A host's map in parts, without what it holds; none for a host that is not known.
    pub fn parts(&self, host: HostId, request: &MapRequest) -> Option<(PartsHead, Vec<Differing>)> {
        self.roster.answer(&self.picture(), host, self.generation(host), request)
    }
}
