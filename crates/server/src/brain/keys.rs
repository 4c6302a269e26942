//! Hosts that come, go, or change their keys: the rendezvous, the broker and those who open reports follow them.
//!
//! Not for what other hosts are told of it. It keeps true that the rendezvous answers exactly the keys of hosts that exist.

use control::{Change, Record};
use model::{Host, WgPublicKey};

use super::hub::Hub;

impl Hub {
    /// Takes over which hosts a change makes, changes and removes.
    pub(super) fn follow_keys(&mut self, change: &Change) {
        for record in &change.records {
            let old = record.before.as_ref().and_then(Record::noun::<Host>);
            let new = record.after.as_ref().and_then(Record::noun::<Host>);
            let (old_key, new_key) = (old.map(|host| host.wireguard_key), new.map(|host| host.wireguard_key));
            if old_key != new_key {
                old_key.iter().for_each(|key| self.part_from(key));
                new_key.iter().for_each(|key| self.welcome(key));
            }
            if let Some(gone) = old.filter(|_| new.is_none()) {
                self.inventory.forget(gone.id);
            }
            if self.leads() {
                self.follow_accounts(old, new);
            }
        }
    }

    /// What hosts that come, go or change their keys mean to those who carry messages to and from them.
    fn follow_accounts(&mut self, old: Option<&Host>, new: Option<&Host>) {
        if let Some(new) = new
            && old.is_none_or(|old| old.sealing != new.sealing)
        {
            self.outbox.admit(new.id);
        }
        if let Some(old) = old
            && new.is_none_or(|new| new.sealing != old.sealing)
        {
            self.reports.forget(old.id);
        }
        if let (Some(gone), None) = (old, new) {
            self.keeper.changed(gone.id);
            self.gone.push(gone.clone());
        }
    }

    pub(super) fn welcome(&self, key: &WgPublicKey) {
        for door in &self.doors {
            if let Err(full) = door.add_peer(*key.as_bytes()) {
                tracing::error!(%key, "the rendezvous does not answer this host: {full}");
            }
        }
    }

    fn part_from(&self, key: &WgPublicKey) {
        for door in &self.doors {
            door.remove_peer(key.as_bytes());
        }
    }
}
