//! Carrying ops out: what is written down before, what is taken over after, and what is shut where the firewall cannot be set.
//!
//! Not for which ops there are. It keeps true that no setting of the kernel is changed before it is on disk what it was; and
//! that behind a firewall which cannot be set nothing stays open that relies on it.

use std::sync::Arc;

use reconcile::{Around, Derived, Gate, HeldBack, Kept, Need, Op, conflict, reconcile, reconcile_link, shut};
use wire::Outcome;

use super::{Keeper, failed};
use crate::hands::Hands;

/// How a list of ops went.
#[derive(Debug, Default)]
struct Run {
    failures: Vec<Outcome>,
    /// What was not tried, because the firewall that it needs could not be set.
    held_back: Vec<Op>,
    gate: Gate,
}

impl<H: Hands> Keeper<H> {
    pub(super) async fn execute(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let run = self.run_kept(ops).await;
        let run = self.set_whole_firewall(ops, run).await;
        let mut failures = run.failures;
        match run.gate.lacks() {
            Some(need) => failures.extend(self.shut(need).await),
            None if self.is_shut && stands(ops, &run.gate) => {
                self.is_shut = false;
                let derived = self.derived.as_ref().map(Derived::desired);
                let ops = derived.map(|desired| reconcile(desired, &self.actual)).unwrap_or_default();
                let ops = self.with_endpoints(ops);
                failures.extend(self.run_kept(&ops).await.failures);
            }
            None => {}
        }
        if let Err(error) = self.keep_after() {
            failures.push(failed("forget what settings of the kernel were", &error));
        }
        failures
    }

    /// Changes no setting of the kernel that could not be written down.
    async fn run_kept(&mut self, ops: &[Op]) -> Run {
        let Err(error) = self.keep_before(ops) else { return self.run(ops).await };
        let may_be_done = ops.iter().filter(|op| !matches!(op, Op::Around(Around::SetSysctl(_))));
        let may_be_done: Vec<Op> = may_be_done.cloned().collect();
        let mut run = self.run(&may_be_done).await;
        run.failures.insert(0, failed("write down what settings of the kernel were", &error));
        run
    }

    async fn run(&mut self, ops: &[Op]) -> Run {
        let mut run = Run::default();
        let results = self.hands.execute_all(ops, &self.secret).await;
        for (op, result) in ops.iter().zip(results) {
            run.gate.tell(op, result.is_ok());
            match result {
                Ok(()) => {
                    tracing::debug!("{op}");
                    self.actual.apply_alone(op);
                }
                Err(error) if error.is::<HeldBack>() => run.held_back.push(op.clone()),
                Err(error) => {
                    tracing::warn!("could not {op}: {error:#}");
                    run.failures.push(failed(&op.to_string(), &error));
                }
            }
        }
        run
    }

    /// Where a change of the firewall could not be made, because it is another one than was known, the whole one may do.
    async fn set_whole_firewall(&mut self, ops: &[Op], mut run: Run) -> Run {
        let change = ops.iter().find(|op| matches!(op, Op::Around(Around::ChangeFirewall(..))));
        let (Some(change), Some(need)) = (change, run.gate.lacks()) else { return run };
        let interface = self.derived.as_ref().and_then(Derived::interface);
        let Some(wanted) = interface.and_then(|interface| interface.firewall.as_ref()) else { return run };
        let mut again = vec![Op::from(Around::SetFirewall(Arc::clone(&wanted.firewall), need))];
        again.append(&mut run.held_back);
        let change = change.to_string();
        run.failures.retain(|failure| failure.op != change);
        let mut second = self.run(&again).await;
        run.failures.append(&mut second.failures);
        Run { failures: run.failures, ..second }
    }

    /// Shuts what relies on the firewall, until it can be set.
    async fn shut(&mut self, need: Need) -> Vec<Outcome> {
        let Some(desired) = self.derived.as_ref().map(Derived::desired) else { return Vec::new() };
        self.is_shut = true;
        let ops = shut(need, desired, &self.actual);
        let link = &self.local.link;
        let (op, error) = match need {
            Need::Essential => (
                format!("let anything in or out over {link}"),
                "policies need the firewall, and it could not be set: all peers are shut out until it can be, which is \
                 tried again each minute",
            ),
            Need::Forwarding | Need::Wished => (
                "pass on packets of others".to_owned(),
                "a gateway needs the firewall, and it could not be set: nothing is passed on until it can be, which is \
                 tried again each minute",
            ),
        };
        tracing::error!("{error}");
        let mut failures = vec![Outcome { op, error: error.to_owned() }];
        failures.extend(self.run(&ops).await.failures);
        failures
    }

    /// Writes down what settings are before these ops change them.
    fn keep_before(&mut self, ops: &[Op]) -> anyhow::Result<()> {
        let kept = self.kept.kept().before(&self.local.link, ops, &self.actual.surroundings);
        self.keep(kept)
    }

    /// Forgets what was put back.
    fn keep_after(&mut self) -> anyhow::Result<()> {
        let Some(desired) = self.derived.as_ref().map(Derived::desired) else { return Ok(()) };
        let at_rest =
            || conflict(desired, &self.actual).is_none() && reconcile_link(desired, &self.actual).is_empty();
        if self.kept.kept().0.is_empty() || !at_rest() {
            return Ok(());
        }
        let kept = self.kept.kept().after(desired);
        self.keep(kept)
    }

    fn keep(&mut self, kept: Kept) -> anyhow::Result<()> {
        if self.kept.keep(kept)?
            && let Some(derived) = &mut self.derived
        {
            derived.keep(self.kept.kept().clone());
        }
        Ok(())
    }
}

/// Whether the firewall was set by these ops.
fn stands(ops: &[Op], gate: &Gate) -> bool {
    let sets = |op: &Op| {
        matches!(
            op,
            Op::Around(Around::SetFirewall(..) | Around::ChangeFirewall(..) | Around::RemoveFirewall)
        )
    };
    gate.lacks().is_none() && ops.iter().any(sets)
}
