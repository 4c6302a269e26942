//! Private keys: wiped when dropped, never shown by `Debug`, made of randomness that the caller brings.
//!
//! They stay on the machine that made them. Only `expose` gives the bytes, to the kernel or to the key file.

use std::fmt;

use ed25519_dalek::Signer as _;
use model::{SealingPublicKey, SigningPublicKey, WgPublicKey};
use zeroize::Zeroizing;

macro_rules! secret {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $type(Zeroizing<[u8; 32]>);

        impl $type {
            /// The secret made of these 32 random bytes.
            pub fn from_random(random: [u8; 32]) -> Self {
                Self(Zeroizing::new(random))
            }

            /// The bytes, for the one place that must have them.
            pub fn expose(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($type), "(…)"))
            }
        }
    };
}

secret!(
    /// A host's WireGuard private key.
    WgSecret
);
secret!(
    /// The private key a host signs its requests with.
    SigningSecret
);
secret!(
    /// One end's private key for the sealed channel.
    SealingSecret
);

fn public_x25519(secret: &[u8; 32]) -> [u8; 32] {
    x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(*secret)).to_bytes()
}

impl WgSecret {
    /// The public key that belongs to it.
    pub fn public(&self) -> WgPublicKey {
        WgPublicKey::from_bytes(public_x25519(&self.0))
    }

    /// The secret shared with the other's key; none with a key of low order, with which everybody shares the same.
    pub(crate) fn agree(&self, other: &WgPublicKey) -> Option<Zeroizing<[u8; 32]>> {
        let secret = x25519_dalek::StaticSecret::from(*self.0);
        let shared = secret.diffie_hellman(&x25519_dalek::PublicKey::from(*other.as_bytes()));
        shared.was_contributory().then(|| Zeroizing::new(shared.to_bytes()))
    }
}

impl SealingSecret {
    /// The public key that belongs to it.
    pub fn public(&self) -> SealingPublicKey {
        SealingPublicKey::from_bytes(public_x25519(&self.0))
    }
}

impl SigningSecret {
    fn key(&self) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&self.0)
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> SigningPublicKey {
        SigningPublicKey::from_bytes(self.key().verifying_key().to_bytes())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key().sign(message).to_bytes()
    }
}

/// Whether the signature is this key's over this message. Strict: weak keys and malleable signatures are refused.
pub(crate) fn verifies(key: &SigningPublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(key.as_bytes()) else {
        return false;
    };
    key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing() {
        let secret = WgSecret::from_random([0x5a; 32]);
        assert_eq!(format!("{secret:?}"), "WgSecret(…)");
    }

    #[test]
    fn public_keys_are_the_known_ones() {
        // RFC 7748, 6.1: Alice's key pair.
        let alice = [
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45,
            0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a,
        ];
        let public = WgSecret::from_random(alice).public();
        let expected = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
        assert_eq!(data_encoding::HEXLOWER.encode(public.as_bytes()), expected);
    }
}
