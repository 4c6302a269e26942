//! The sealed channels to hosts: agreed again from public parts when first needed, then kept while the host's keys stay.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use model::{Host, HostId, SealingIdentity};
use wire::{Channel, Direction, Opened, SealingSecret};

use crate::identity::random;

/// The channels of all hosts that were spoken with.
#[derive(Debug)]
pub struct Channels {
    secret: SealingSecret,
    agreed: Mutex<HashMap<HostId, (SealingIdentity, Channel)>>,
}

impl Channels {
    /// With the server's own sealing key.
    pub fn new(secret: SealingSecret) -> Self {
        Self { secret, agreed: Mutex::default() }
    }

    fn channel(&self, host: &Host) -> Result<Channel> {
        if let Some((identity, channel)) = self.lock().get(&host.id)
            && *identity == host.sealing
        {
            return Ok(channel.clone());
        }
        // Outside of the lock: it is costly, and after a restart all hosts need it at once.
        let SealingIdentity { key, encapsulated } = host.sealing;
        let channel = Channel::accept(&self.secret, host.id, &key, &encapsulated)
            .with_context(|| format!("no sealed channel can be agreed with host {}", host.name))?;
        self.lock().insert(host.id, (host.sealing, channel.clone()));
        Ok(channel)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<HostId, (SealingIdentity, Channel)>> {
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals a message for a host.
    pub fn seal(&self, host: &Host, sequence: u64, plaintext: &[u8]) -> Result<Vec<u8>> {
        Ok(self.channel(host)?.seal(Direction::Down, sequence, random()?, plaintext))
    }

    /// Opens a message from a host.
    pub fn open(&self, host: &Host, direction: Direction, message: &[u8]) -> Result<Opened> {
        Ok(self.channel(host)?.open(direction, message)?)
    }

    /// Forgets a host that was removed.
    pub fn forget(&self, host: HostId) {
        self.lock().remove(&host);
    }
}
