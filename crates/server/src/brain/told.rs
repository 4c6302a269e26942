//! What agents have been told: the snapshot that the newest deltas were made of, and each host's generation in it.

use std::sync::Arc;

use control::{Intent, Inventory};
use model::{Epoch, Generation, HostId};
use wire::{HostMap, ServerLinks};

/// One moment of everything agents may know. Cheap to clone: its maps are persistent.
#[derive(Debug, Clone)]
pub struct Told {
    /// Intent at that moment.
    pub intent: Arc<Intent>,
    /// Inventory at that moment.
    pub inventory: Inventory,
    /// The server's doors.
    pub links: ServerLinks,
    pub(super) first: Generation,
    pub(super) last: Generation,
    pub(super) generations: imbl::HashMap<HostId, Generation>,
}

impl Told {
    pub(super) fn new(intent: Arc<Intent>, inventory: Inventory, links: ServerLinks, epoch: Epoch) -> Self {
        let first = Generation::first_of(epoch);
        Self { intent, inventory, links, first, last: first, generations: imbl::HashMap::new() }
    }

    /// The generation of a host's map: when it last changed in this run of the server.
    pub fn generation(&self, host: HostId) -> Generation {
        self.generations.get(&host).copied().unwrap_or(self.first)
    }

    /// A host's whole map; none for a host that is not known.
    pub fn host_map(&self, host: HostId) -> Option<HostMap> {
        control::plan::host_map(&self.intent, &self.inventory, &self.links, host, self.generation(host))
    }
}
