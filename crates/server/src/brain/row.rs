//! A host's inventory as it stands in the database: what it said and where it was seen, and which map it is to have.

use std::borrow::Cow;

use control::HostInventory;
use model::{Generation, HostId};
use serde::{Deserialize, Serialize};

/// One row.
#[derive(Serialize, Deserialize)]
pub(super) struct Row<'a> {
    /// What is known of the host.
    #[serde(flatten)]
    pub(super) entry: Cow<'a, HostInventory>,
    /// The generation of the map that it was told of last. For the other servers: the one that leads knows it by heart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wanted: Option<Generation>,
}

impl Row<'_> {
    /// What a row says; none where it cannot be read.
    pub(super) fn read(host: HostId, json: &str) -> Option<Row<'static>> {
        let read = serde_json::from_str::<Row<'static>>(json);
        read.inspect_err(|error| tracing::warn!(%host, %error, "inventory was not read")).ok()
    }

    pub(super) fn write(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

#[cfg(test)]
mod tests {
    use control::Inventory;
    use model::Timestamp;

    use super::*;

    #[test]
    fn rows_of_earlier_versions_are_read_and_those_of_this_one_by_earlier_versions() {
        let host = HostId::from_bytes([1; 16]);
        let mut inventory = Inventory::default();
        inventory.observe_presence(host, true, Timestamp::from_millis(5));
        let entry = inventory.host(host).unwrap();
        let old = serde_json::to_string(entry).unwrap();
        let row = Row::read(host, &old).unwrap();
        assert_eq!((&*row.entry, row.wanted), (entry, None));
        let wanted = Some(Generation::from_number((7 << 40) | 3));
        let new = Row { entry: Cow::Borrowed(entry), wanted }.write().unwrap();
        assert_eq!(Row::read(host, &new).unwrap().wanted, wanted);
        assert_eq!(&serde_json::from_str::<HostInventory>(&new).unwrap(), entry);
        assert!(Row::read(host, "nonsense").is_none());
    }
}
