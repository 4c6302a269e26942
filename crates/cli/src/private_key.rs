//! WireGuard private keys of remote access clients, made on this machine so that no server ever sees them.
//!
//! It keeps true that a key is in no `Debug` and leaves only into the configuration that it is made for.

use anyhow::Context as _;
use api::{PRIVATE_KEY_MISSING, Secret};
use data_encoding::BASE64;
use model::WgPublicKey;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::failure::Failure;

/// A private key.
pub(crate) struct PrivateKey(StaticSecret);

impl PrivateKey {
    /// A new one.
    pub(crate) fn generate() -> Result<Self, Failure> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).context("this machine gives no randomness")?;
        Ok(Self(StaticSecret::from(bytes)))
    }

    /// The one in a text: alone on its first line, or as the `PrivateKey` of a configuration.
    pub(crate) fn find(text: &str) -> Option<Self> {
        let of_config = |line: &str| {
            let (name, value) = line.split_once('=')?;
            name.trim().eq_ignore_ascii_case("PrivateKey").then(|| value.trim().to_owned())
        };
        let found = text.lines().find_map(of_config);
        let line = found.or_else(|| text.lines().next().map(|line| line.trim().to_owned()))?;
        let bytes: [u8; 32] = BASE64.decode(line.as_bytes()).ok()?.try_into().ok()?;
        Some(Self(StaticSecret::from(bytes)))
    }

    /// The public key that goes with it.
    pub(crate) fn public(&self) -> WgPublicKey {
        WgPublicKey::from_bytes(PublicKey::from(&self.0).to_bytes())
    }

    /// As WireGuard writes it.
    pub(crate) fn text(&self) -> Secret {
        BASE64.encode(self.0.as_bytes()).into()
    }

    /// A configuration with this key in it, in place of the comment that says that it is missing.
    pub(crate) fn put_into(&self, config: &str) -> String {
        config.replacen(PRIVATE_KEY_MISSING, &format!("PrivateKey = {}", self.text().expose()), 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7748, 6.1: Alice's pair.
    const PRIVATE: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
    const PUBLIC: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

    #[test]
    fn a_key_is_found_alone_and_in_a_configuration() {
        for text in [
            PRIVATE.to_owned(),
            format!("{PRIVATE}\n"),
            format!("# x\n[Interface]\nprivatekey={PRIVATE}\n[Peer]\n"),
        ] {
            let key = PrivateKey::find(&text).unwrap();
            assert_eq!((key.text().expose(), key.public().to_string().as_str()), (PRIVATE, PUBLIC), "{text}");
        }
        for text in ["", "PrivateKey = x", "dwdtCnMYpX0=", "# PrivateKey = <put"] {
            assert!(PrivateKey::find(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_configuration_gets_the_key_where_it_is_missing() {
        let key = PrivateKey::find(PRIVATE).unwrap();
        let config = format!("[Interface]\n{PRIVATE_KEY_MISSING}\nAddress = 10.0.0.2/32\n");
        assert_eq!(
            key.put_into(&config),
            format!("[Interface]\nPrivateKey = {PRIVATE}\nAddress = 10.0.0.2/32\n")
        );
    }

    #[test]
    fn no_two_keys_are_alike() {
        let keys = [PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap()];
        assert_ne!(keys[0].public(), keys[1].public());
    }
}
