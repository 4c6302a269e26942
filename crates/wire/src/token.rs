//! The token that `netclient join -t` is given: where the server is, the enrollment key's secret, and the pin of the
//! server's certificate. Base64url of a small CBOR record with a checksum, so that a damaged one is told from a wrong one.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use minicbor::{Decode, Encode};
use model::Digest;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

const CHECKSUM: usize = 4;
const MOST_CHARACTERS: usize = 4096;

/// Why a text is not a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing, or white space only.
    #[error("the token is empty; copy the whole token that `netloom key create` printed")]
    Empty,
    /// Characters that no token has, a part missing, or a changed character.
    #[error(
        "the token is damaged (a part is missing or changed); copy the whole token that `netloom key create` printed"
    )]
    Damaged,
    /// A whole token without a server's address.
    #[error("the token names no server; make a new one with `netloom key create`")]
    NoServer,
}

/// The secret of an enrollment key. `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret(Zeroizing<[u8; 32]>);

impl TokenSecret {
    /// The secret made of these random bytes.
    pub fn from_random(random: [u8; 32]) -> Self {
        Self(Zeroizing::new(random))
    }

    /// The bytes, for the request that spends the key.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// SHA-256 of it: what the server keeps.
    pub fn digest(&self) -> Digest {
        Digest::from_bytes(Sha256::digest(*self.0).into())
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(…)")
    }
}

/// What a token holds. `Display` is the token itself: a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Addresses of the server's API, `https://host:port`, best first. At least one.
    pub servers: Vec<String>,
    /// The enrollment key's secret.
    pub secret: TokenSecret,
    /// SHA-256 of the certificate's public key (SubjectPublicKeyInfo); none when the certificate is publicly trusted.
    pub pin: Option<Digest>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Record {
    #[n(0)]
    servers: Vec<String>,
    #[cbor(n(1), with = "minicbor::bytes")]
    secret: [u8; 32],
    #[n(2)]
    pin: Option<Digest>,
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    [digest[0], digest[1], digest[2], digest[3]]
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = Record { servers: self.servers.clone(), secret: *self.secret.expose(), pin: self.pin };
        let mut bytes = crate::encode(&record);
        let sum = checksum(&bytes);
        bytes.extend(sum);
        f.write_str(&BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        // Mail programs and terminals break long lines; white space carries no meaning.
        let text: String = text.chars().filter(|c| !c.is_whitespace()).take(MOST_CHARACTERS + 1).collect();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if text.len() > MOST_CHARACTERS {
            return Err(TokenError::Damaged);
        }
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| TokenError::Damaged)?;
        let (record, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(TokenError::Damaged)?;
        if checksum(record) != *sum {
            return Err(TokenError::Damaged);
        }
        let record: Record = crate::decode(record).map_err(|_| TokenError::Damaged)?;
        if record.servers.is_empty() {
            return Err(TokenError::NoServer);
        }
        let secret = TokenSecret::from_random(record.secret);
        Ok(Self { servers: record.servers, secret, pin: record.pin })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> Token {
        Token {
            servers: vec!["https://vpn.example.org:8443".to_owned()],
            secret: TokenSecret::from_random([7; 32]),
            pin: Some(Digest::from_bytes([9; 32])),
        }
    }

    #[test]
    fn a_token_survives_broken_lines() {
        let text = token().to_string();
        let broken = format!("  {}\n{}\r\n", &text[..20], &text[20..]);
        assert_eq!(broken.parse(), Ok(token()));
    }

    #[test]
    fn an_empty_token_is_not_called_damaged() {
        assert_eq!(" \n".parse::<Token>(), Err(TokenError::Empty));
    }

    proptest! {
        #[test]
        fn a_damaged_token_is_noticed(at in 0usize..200, replace in "[A-Za-z0-9_-]", cut in 0usize..200) {
            let text = token().to_string();
            let at = at % text.len();
            if text[at..=at] != replace {
                let changed = format!("{}{replace}{}", &text[..at], &text[at + 1..]);
                prop_assert_eq!(changed.parse::<Token>(), Err(TokenError::Damaged));
            }
            let cut = 1 + cut % (text.len() - 1);
            prop_assert_eq!(text[..cut].parse::<Token>(), Err(TokenError::Damaged));
        }

        #[test]
        fn any_text_is_answered(text in ".{0,300}") {
            let _ = text.parse::<Token>();
        }
    }
}
