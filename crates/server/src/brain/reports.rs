//! Sealed reports, opened: each is its host's own, and newer than all before.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Host, HostId, Timestamp};
use wire::{Direction, Report};

use super::now;
use crate::channels::Channels;

/// The newest report of each host. Only hosts that exist enter, so they bound its size.
pub(super) struct Reports {
    channels: Arc<Channels>,
    newest: HashMap<HostId, u64>,
}

impl Reports {
    pub(super) fn new(channels: Arc<Channels>) -> Self {
        Self { channels, newest: HashMap::new() }
    }

    /// A report, unless it is somebody else's, or came late or twice.
    pub(super) fn open(&mut self, host: &Host, sealed: &[u8]) -> Option<Report> {
        let id = host.id;
        let opened = match self.channels.open(host, Direction::Up, sealed) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(host = %id, "a report was not opened: {error:#}");
                return None;
            }
        };
        let (oldest, newest) = times(now());
        let last = self.newest.entry(id).or_insert(oldest);
        if opened.sequence <= *last {
            tracing::debug!(host = %id, "a report came late or twice");
            return None;
        }
        // A clock that ran ahead for a while must not have all later reports refused.
        *last = opened.sequence.min(newest);
        let report = wire::decode(&opened.plaintext);
        report.inspect_err(|error| tracing::warn!(host = %id, "a report was not read: {error}")).ok()
    }

    /// A host is gone or has another channel: what was sealed for one opens on no other, so a new one may count from anywhere.
    pub(super) fn forget(&mut self, host: HostId) {
        self.newest.remove(&host);
    }
}

/// The times within which reports are made that come now, as sequences. An older one is a copy from before the server led.
fn times(now: Timestamp) -> (u64, u64) {
    let now = u64::try_from(now.as_millis()).unwrap_or_default();
    let skew = u64::try_from(wire::MOST_SKEW.as_millis()).unwrap_or(u64::MAX);
    (now.saturating_sub(skew), now.saturating_add(skew))
}
