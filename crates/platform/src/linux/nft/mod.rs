//! The firewall's hands: one table of nf_tables, made and looked at over netlink.
//!
//! Not for what the firewall is (`reconcile::Firewall` says it, and what it means) and not for the programs `nft` and
//! `iptables`, which are not needed. It keeps true that each change is one transaction that happens wholly or not at all,
//! and that nothing outside of our own table is ever touched.
//!
//! That somebody else changed our table is noticed at little cost: the kernel counts the transactions of all tables. While
//! that number is the one of the last look, nothing changed. When it is not, the table is read and compared with the seal
//! and the digest that it carries; no memory of ours is needed for that, so an agent that starts again knows as much.

mod expression;
mod kernel;
mod layout;
mod look;
mod message;
mod number;
mod seal;
mod service;
mod set;
mod transaction;
mod trouble;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use reconcile::{Firewall, FirewallDigest, FirewallLook, LinkName, SetChanges};
use rustix::io::Errno;

use kernel::{Failure, Kernel};
use look::Read;
use message::Transaction;
pub use watch::FirewallWatch;

/// How often a change is tried again that others were faster than.
const TRIES: usize = 8;

/// The hands.
#[derive(Debug, Clone)]
pub struct FirewallTable {
    link: LinkName,
    table: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    kernel: Kernel,
    /// What was there, in the generation in which it was read.
    known: Option<Read>,
}

impl FirewallTable {
    /// Connects to the kernel, in the network namespace of the calling thread. Only what comes from or goes to this link
    /// will be judged.
    pub fn open(link: &LinkName) -> anyhow::Result<Self> {
        let kernel = Kernel::open().map_err(trouble::unsupported)?;
        let state = Arc::new(Mutex::new(State { kernel, known: None }));
        Ok(Self { link: link.clone(), table: table_of(link), state })
    }

    /// The name of the table, of the family `inet`.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Notices from now on that the table changed. Look after this, so that nothing falls in between.
    pub fn watch(&self) -> anyhow::Result<FirewallWatch> {
        FirewallWatch::open(&self.table).map_err(trouble::unsupported)
    }

    /// What is there. Costs one question while nobody changed any firewall of the machine.
    pub async fn look(&self) -> anyhow::Result<FirewallLook> {
        let table = self.table.clone();
        self.with(move |state| state.look(&table).map(|known| known.look)).await
    }

    /// Makes this the firewall, whatever was there.
    pub async fn set(&self, firewall: &Firewall) -> anyhow::Result<()> {
        let transaction = transaction::whole(&self.table, &self.link, firewall);
        let table = self.table.clone();
        self.with(move |state| state.set(&table, &transaction)).await
    }

    /// Changes members of sets of the firewall that had this digest. Where it is so already, nothing happens; where
    /// another firewall is, it fails.
    pub async fn change(&self, had: FirewallDigest, changes: &SetChanges) -> anyhow::Result<()> {
        let (table, changes) = (self.table.clone(), changes.clone());
        self.with(move |state| state.change(&table, had, &changes)).await
    }

    /// Removes the table, if it is there.
    pub async fn remove(&self) -> anyhow::Result<()> {
        let table = self.table.clone();
        self.with(move |state| state.remove(&table)).await
    }

    /// Where waiting for the kernel disturbs nobody.
    async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut State) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let state = Arc::clone(&self.state);
        let acting = tokio::task::spawn_blocking(move || {
            // What a panic left behind is only what is known, and that is compared with the kernel's number.
            act(&mut state.lock().unwrap_or_else(PoisonError::into_inner))
        });
        acting.await.context("the firewall's hands stopped")?
    }
}

/// One table for each link, so that two agents on one machine do not meet.
fn table_of(link: &LinkName) -> String {
    if *link == LinkName::default() { "netloom".to_owned() } else { format!("netloom-{link}") }
}

impl State {
    fn look(&mut self, table: &str) -> anyhow::Result<Read> {
        let generation = self.kernel.generation().map_err(trouble::unsupported)?;
        if let Some(known) = self.known.filter(|known| known.generation == generation) {
            return Ok(known);
        }
        let read = look::look(&mut self.kernel, table)
            .with_context(|| format!("could not read the firewall's table {table}"))?;
        Ok(*self.known.insert(read))
    }

    fn set(&mut self, table: &str, transaction: &Transaction) -> anyhow::Result<()> {
        self.known = None;
        let made = self.kernel.carry_out(transaction);
        made.map_err(|failure| sentence(failure, "set the firewall", table))
    }

    fn change(&mut self, table: &str, had: FirewallDigest, changes: &SetChanges) -> anyhow::Result<()> {
        let wanted = had.after(changes);
        for _ in 0..TRIES {
            let known = self.look(table)?;
            match known.look {
                FirewallLook::Intact(digest) if digest == wanted => return Ok(()),
                FirewallLook::Intact(digest) if digest == had => {}
                FirewallLook::Intact(_) | FirewallLook::Changed | FirewallLook::Absent => {
                    bail!(
                        "could not change the firewall: another one is there than the change is for; set it as a whole"
                    )
                }
            }
            let mut transaction = transaction::change(table, changes, wanted, known.seal);
            transaction.for_generation(known.generation);
            match self.kernel.carry_out(&transaction) {
                Ok(()) => {
                    // Carried out on what is known, so this is what is there now, in the next generation.
                    let generation = known.generation.checked_add(1).unwrap_or(1);
                    self.known = Some(Read { generation, look: FirewallLook::Intact(wanted), ..known });
                    return Ok(());
                }
                Err(Failure::Late) => {}
                Err(failure) => return Err(sentence(failure, "change the firewall", table)),
            }
        }
        bail!("could not change the firewall: other programs change theirs all the time")
    }

    fn remove(&mut self, table: &str) -> anyhow::Result<()> {
        self.known = None;
        match self.kernel.carry_out(&transaction::nothing(table)) {
            Err(Failure::Refused(refusal)) if refusal.is(Errno::NOENT) => Ok(()),
            removed => removed.map_err(|failure| sentence(failure, "remove the firewall", table)),
        }
    }
}

fn sentence(failure: Failure, doing: &str, table: &str) -> anyhow::Error {
    match failure {
        Failure::Late => anyhow::anyhow!("could not {doing}: another program was faster"),
        Failure::TooLarge { bytes, allowed } => trouble::too_large(bytes, allowed),
        Failure::Refused(refusal) => refusal.sentence(doing, table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_link_has_a_table_of_its_own() {
        assert_eq!(table_of(&LinkName::default()), "netloom");
        assert_eq!(table_of(&"office1".parse().unwrap()), "netloom-office1");
    }
}
