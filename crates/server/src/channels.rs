//! The sealed channels to hosts: agreed again from public parts when first needed, then kept while the host's keys stay.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use model::{Host, HostId, SealingIdentity, SealingPublicKey};
use wire::{Channel, ChannelChange, Direction, Opened, SealingSecret};
use zeroize::Zeroizing;

use crate::identity::random;
use crate::rekey::{Course, Next};

/// The channels of all hosts that were spoken with.
#[derive(Debug)]
pub struct Channels {
    secret: SealingSecret,
    /// The keys that the server changes to, or back from: some hosts have agreed their channel with them.
    next: Option<Next>,
    agreed: Mutex<HashMap<HostId, (SealingIdentity, Channel)>>,
}

impl Channels {
    /// With the server's own sealing key, and the next keys while a change is under way.
    pub fn new(secret: SealingSecret, next: Option<Next>) -> Self {
        Self { secret, next, agreed: Mutex::default() }
    }

    /// The secret that a channel was agreed with.
    fn secret(&self, server: Option<&SealingPublicKey>) -> &SealingSecret {
        let next = self.next.as_ref().map(|next| &next.sealing);
        let next = next.filter(|next| server == Some(&next.public()));
        next.unwrap_or(&self.secret)
    }

    fn channel(&self, host: &Host) -> Result<Channel> {
        if let Some((identity, channel)) = self.lock().get(&host.id)
            && *identity == host.sealing
        {
            return Ok(channel.clone());
        }
        // Outside of the lock: it is costly, and after a restart all hosts need it at once.
        let SealingIdentity { key, encapsulated, server } = host.sealing;
        let channel = Channel::accept(self.secret(server.as_ref()), host.id, &key, &encapsulated)
            .with_context(|| format!("no sealed channel can be agreed with host {}", host.name))?;
        self.lock().insert(host.id, (host.sealing, channel.clone()));
        Ok(channel)
    }

    /// Whether a channel can be agreed with a host that brings these keys; it need not be there yet.
    pub fn check(&self, key: &SealingPublicKey, encapsulated: &SealingPublicKey) -> Result<()> {
        agrees(&self.secret, key, encapsulated)
    }

    /// Whether a host has agreed a channel with the key that the server changes to, or with the one it has. From a change that is
    /// taken back there is no other: what a host says that has not heard of it comes too late.
    pub fn check_change(&self, host: &Host, change: &ChannelChange) -> Result<()> {
        let next = self.next.as_ref().filter(|next| next.course == Course::Forward);
        let known = [Some(&self.secret), next.map(|next| &next.sealing)];
        let secret = known.into_iter().flatten().find(|secret| secret.public() == change.server);
        let secret =
            secret.context("the channel was agreed with a key that this server does not change to")?;
        agrees(secret, &host.sealing.key, &change.encapsulated)
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

    /// The host's password at a broker that is not the server's own.
    pub fn broker_password(&self, host: &Host) -> Result<Zeroizing<String>> {
        Ok(Zeroizing::new(self.channel(host)?.broker_password()))
    }

    /// Forgets a host that was removed.
    pub fn forget(&self, host: HostId) {
        self.lock().remove(&host);
    }
}

fn agrees(secret: &SealingSecret, key: &SealingPublicKey, encapsulated: &SealingPublicKey) -> Result<()> {
    // The id is no part of what is agreed, only of what is sealed.
    Channel::accept(secret, HostId::from_bytes([0; 16]), key, encapsulated)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_which_nothing_can_be_agreed_are_refused() {
        let own = SealingSecret::from_random([3; 32]);
        let (good, bad) = (own.public(), SealingPublicKey::from_bytes([0; 32]));
        let channels = Channels::new(own, None);
        assert!(channels.check(&good, &good).is_ok());
        assert!(channels.check(&bad, &good).is_err());
        assert!(channels.check(&good, &bad).is_err());
    }

    #[test]
    fn a_host_goes_to_the_next_key_and_while_that_is_taken_back_only_from_it() {
        let (own, next) = (SealingSecret::from_random([3; 32]), SealingSecret::from_random([4; 32]));
        let key = SealingSecret::from_random([5; 32]).public();
        let host = |server: &SealingSecret| {
            let mut host = crate::rekey::tests::host(1, Some(server.public()));
            (host.sealing.key, host.sealing.encapsulated) = (key, key);
            host
        };
        for (course, goes_on) in [(Course::Forward, true), (Course::Back, false)] {
            let channels =
                Channels::new(own.clone(), Some(Next { sealing: next.clone(), pin: None, course }));
            let to = |server: &SealingSecret| ChannelChange { server: server.public(), encapsulated: key };
            assert_eq!(channels.check_change(&host(&own), &to(&next)).is_ok(), goes_on);
            assert!(channels.check_change(&host(&next), &to(&own)).is_ok());
            // Whoever speaks by one of them is understood.
            for server in [&own, &next] {
                let theirs = Channel::accept(server, host(server).id, &key, &key).unwrap().broker_password();
                assert_eq!(*channels.broker_password(&host(server)).unwrap(), theirs);
            }
        }
    }
}
