//! Who this machine is: its private keys, made here, never sent anywhere, and the mark of the machine they were made on.
//!
//! Not for servers (`server`). It keeps true that a copy of the disk on another machine is noticed.

use data_encoding::HEXLOWER;
use model::WgPublicKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wire::{SealingSecret, SigningSecret, WgSecret};

use super::secret::Stored;

/// The machine's keys.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its WireGuard key.
    pub wireguard: WgSecret,
    /// The key that is to take its place, from before the device has it until the server has said yes or no.
    pub next: Option<WgSecret>,
    /// The key it signs with.
    pub signing: SigningSecret,
    /// Its end of sealed channels.
    pub sealing: SealingSecret,
    machine: Option<MachineMark>,
}

/// A digest of the machine's id (machine-id(5) asks not to use the id itself).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MachineMark(String);

impl MachineMark {
    /// Of the text of `/etc/machine-id`; none where the machine has no id (yet).
    pub fn of(text: &str) -> Option<Self> {
        let id = text.trim();
        if id.is_empty() || id == "uninitialized" {
            return None;
        }
        let mut hash = Sha256::new_with_prefix(b"netclient machine v1\n");
        hash.update(id);
        Some(Self(HEXLOWER.encode(&hash.finalize())))
    }

    /// This machine's.
    pub fn here() -> Option<Self> {
        let read = |path| std::fs::read_to_string(path).ok().as_deref().and_then(Self::of);
        read("/etc/machine-id").or_else(|| read("/var/lib/dbus/machine-id"))
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct IdentityFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    machine: Option<MachineMark>,
    wireguard: Stored,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<Stored>,
    signing: Stored,
    sealing: Stored,
}

impl Identity {
    /// Fresh keys for the machine with this mark.
    pub fn generate(machine: Option<MachineMark>) -> anyhow::Result<Self> {
        Ok(Self {
            wireguard: WgSecret::from_random(random()?),
            next: None,
            signing: SigningSecret::from_random(random()?),
            sealing: SealingSecret::from_random(random()?),
            machine,
        })
    }

    /// Whether a WireGuard device with this key is this machine's.
    pub fn has(&self, key: &WgPublicKey) -> bool {
        self.wireguard.public() == *key || self.next.as_ref().is_some_and(|next| next.public() == *key)
    }

    /// Whether these keys were made on another machine: the disk was copied. Where either mark is missing, nobody knows.
    pub fn is_of_another(&self, here: Option<&MachineMark>) -> bool {
        match (&self.machine, here) {
            (Some(made), Some(here)) => made != here,
            (None, _) | (_, None) => false,
        }
    }
}

impl From<&Identity> for IdentityFile {
    fn from(identity: &Identity) -> Self {
        Self {
            machine: identity.machine.clone(),
            wireguard: Stored::new(identity.wireguard.expose()),
            next: identity.next.as_ref().map(|next| Stored::new(next.expose())),
            signing: Stored::new(identity.signing.expose()),
            sealing: Stored::new(identity.sealing.expose()),
        }
    }
}

impl From<IdentityFile> for Identity {
    fn from(file: IdentityFile) -> Self {
        Self {
            wireguard: WgSecret::from_random(file.wireguard.bytes()),
            next: file.next.map(|next| WgSecret::from_random(next.bytes())),
            signing: SigningSecret::from_random(file.signing.bytes()),
            sealing: SealingSecret::from_random(file.sealing.bytes()),
            machine: file.machine,
        }
    }
}

/// Randomness of the system.
pub fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no randomness: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_on_another_machine_is_noticed_and_a_missing_id_accuses_nobody() {
        let here = MachineMark::of("0123456789abcdef0123456789abcdef\n");
        let there = MachineMark::of("ffffffffffffffffffffffffffffffff\n");
        let identity = Identity::generate(here.clone()).unwrap();
        assert!(!identity.is_of_another(here.as_ref()));
        assert!(identity.is_of_another(there.as_ref()));
        assert!(!identity.is_of_another(None));
        assert_eq!(MachineMark::of("uninitialized"), None);
    }

    #[test]
    fn keys_read_back_from_their_file_and_are_not_shown() {
        let next = Some(WgSecret::from_random([5; 32]));
        let identity = Identity { next, ..Identity::generate(None).unwrap() };
        let text = serde_json::to_string(&IdentityFile::from(&identity)).unwrap();
        let back = Identity::from(serde_json::from_str::<IdentityFile>(&text).unwrap());
        assert_eq!((&back.wireguard, &back.next), (&identity.wireguard, &identity.next));
        assert!(back.has(&identity.wireguard.public()) && back.has(&WgSecret::from_random([5; 32]).public()));
        assert_eq!(back.signing.public(), identity.signing.public());
        assert!(!format!("{identity:?}").contains(&text[20..40]));
    }
}
