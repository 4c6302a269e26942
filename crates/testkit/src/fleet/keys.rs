//! The private keys of a simulated machine.

use wire::{SealingSecret, SigningSecret, WgSecret};

use super::random;

/// All that a machine must keep secret.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Of its WireGuard interface.
    pub wireguard: WgSecret,
    /// For its requests.
    pub signing: SigningSecret,
    /// Its end of the sealed channel.
    pub sealing: SealingSecret,
}

impl Keys {
    /// New ones.
    pub fn generate() -> Self {
        Self {
            wireguard: WgSecret::from_random(random()),
            signing: SigningSecret::from_random(random()),
            sealing: SealingSecret::from_random(random()),
        }
    }
}
