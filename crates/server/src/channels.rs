//! The sealed channels to hosts: agreed again from public parts when first needed, then kept while the host's keys stay.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

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
        let mut agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((identity, channel)) = agreed.get(&host.id)
            && *identity == host.sealing
        {
            return Ok(channel.clone());
        }
        let SealingIdentity { key, encapsulated } = host.sealing;
        let channel = Channel::accept(&self.secret, host.id, &key, &encapsulated)
            .with_context(|| format!("no sealed channel can be agreed with host {}", host.name))?;
        agreed.insert(host.id, (host.sealing, channel.clone()));
        Ok(channel)
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
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner).remove(&host);
    }
}
