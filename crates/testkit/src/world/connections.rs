//! What a kernel remembers of connections: who opened them, and how their addresses are changed on the way.
//!
//! Not for whether they may be opened. It keeps true that a connection nobody speaks on for a while is forgotten, and that
//! what answers is changed back exactly.

use std::collections::BTreeMap;
use std::time::Duration;

use super::packet::Flow;

/// A connection lives as long as this without a packet.
const IDLE: Duration = Duration::from_secs(120);
const PURGE_AT: usize = 512;

#[derive(Debug, Clone, Copy)]
struct Connection {
    changed: Flow,
    used: Duration,
}

/// How a packet belongs to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belongs {
    /// It goes as the one that opened it, and becomes this.
    Forth(Flow),
    /// It goes the other way, and becomes this.
    Back(Flow),
}

/// The connections through one machine.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections {
    opened: BTreeMap<Flow, Connection>,
    /// What comes back, and the connection.
    back: BTreeMap<Flow, Flow>,
}

impl Connections {
    /// The connection of a packet; it is in use.
    pub(super) fn find(&mut self, flow: &Flow, now: Duration) -> Option<Belongs> {
        let opened = if self.opened.contains_key(flow) { *flow } else { *self.back.get(flow)? };
        let connection = self.opened.get_mut(&opened)?;
        if now >= connection.used + IDLE {
            self.forget(&opened);
            return None;
        }
        connection.used = now;
        let changed = connection.changed;
        Some(if opened == *flow { Belongs::Forth(changed) } else { Belongs::Back(opened.back()) })
    }

    /// A packet opened a connection, and leaves as `changed`.
    pub(super) fn open(&mut self, opened: Flow, changed: Flow, now: Duration) {
        if self.opened.len() >= PURGE_AT {
            let old = self.opened.iter().filter(|(_, connection)| now >= connection.used + IDLE);
            let old: Vec<Flow> = old.map(|(flow, _)| *flow).collect();
            old.iter().for_each(|flow| self.forget(flow));
        }
        self.opened.insert(opened, Connection { changed, used: now });
        self.back.insert(changed.back(), opened);
    }

    fn forget(&mut self, opened: &Flow) {
        if let Some(connection) = self.opened.remove(opened) {
            self.back.remove(&connection.changed.back());
        }
    }
}
