//! When the hub tells agents what changed, and whom: changes are gathered, and more of them while it is busy.
//!
//! Not for what a host is told (`told`), nor for carrying it (`outbox`). It keeps true that whoever reads sees what was told
//! before any host hears of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use control::plan::Touched;
use model::HostId;
use tokio::time::Instant;

use super::hub::Hub;

/// How long the hub rests at most between tellings; a host is told of a change well within a second.
const MOST_REST: Duration = Duration::from_millis(250);

/// How long telling is put off while the broker still carries what was told before, and how often that is looked at.
const MOST_HOLD: Duration = Duration::from_secs(1);
const HOLD: Duration = Duration::from_millis(5);

/// Who may have missed what was told.
#[derive(Debug)]
pub(super) enum Missed {
    /// These.
    Some(BTreeSet<HostId>),
    /// Any.
    All,
}

impl Default for Missed {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl Hub {
    pub(super) fn touch(&mut self, touched: Touched) {
        self.touched = std::mem::take(&mut self.touched).and(touched);
        self.flush_soon();
    }

    pub(super) fn flush_soon(&mut self) {
        let (soon, rested) = (Instant::now() + self.coalesce, self.rested);
        self.flush_at.get_or_insert_with(|| soon.max(rested));
    }

    pub(super) fn may_have_missed(&mut self, host: Option<HostId>) {
        match (host, &mut self.missed) {
            (Some(host), Missed::Some(hosts)) => drop(hosts.insert(host)),
            (None, missed) => *missed = Missed::All,
            (Some(_), Missed::All) => {}
        }
        self.flush_soon();
    }

    /// Tells, unless most hosts have not even been sent what they were told before: then more is gathered, for a while.
    pub(super) async fn flush_or_hold(&mut self) {
        let now = Instant::now();
        let since = *self.held_since.get_or_insert(now);
        if self.outbox.is_congested() && now < since + MOST_HOLD {
            metrics::counter!("netloom_tellings_held_total").increment(1);
            self.flush_at = Some(now + HOLD);
            return;
        }
        self.held_since = None;
        self.flush().await;
    }

    /// Shows the new snapshot, then tells the hosts whose maps differ from what they were told.
    pub(super) async fn flush(&mut self) {
        self.flush_at = None;
        if !self.leads() {
            return;
        }
        let began = Instant::now();
        let before = self.told.borrow().clone();
        let touched = std::mem::take(&mut self.touched);
        let (after, deltas) = before.next(Arc::clone(&self.intent), self.inventory.clone(), &touched);
        let after = Arc::new(after);
        self.told.send_replace(Arc::clone(&after));
        metrics::histogram!("netloom_plan_seconds").record(began.elapsed());
        if self.database.is_shared() {
            // The others show which map each host is to have.
            let hosts = deltas.changed.iter().map(|(host, _)| host).chain(&deltas.new);
            hosts.for_each(|host| self.keeper.changed(*host));
        }
        self.outbox.send(&before, &after, deltas).await;
        self.outbox.ask_to_look(&after, std::mem::take(&mut self.missed)).await;
        self.outbox.send_off(std::mem::take(&mut self.gone), after.unused());
        self.count_waiting();
        self.rested = Instant::now() + began.elapsed().min(MOST_REST);
    }
}
