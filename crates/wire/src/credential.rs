//! How a host shows who it is, without a shared secret: it signs each HTTP request and each MQTT log-in with its own key.
//!
//! A signature names a time and is good for a short while around it; the server remembers the times that it took from each
//! host, so that a copied one cannot be used again.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use model::{HostId, SigningPublicKey, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::secret::{SigningSecret, verifies};

/// How far the clocks of server and host may differ.
pub const MOST_SKEW: Duration = Duration::from_secs(300);

const SCHEME: &str = "Netloom ";

/// The clocks of both sides differ by more than `MOST_SKEW`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clocks differ too much: this machine says {host}, the server says {server}; set the clock (NTP) and try again"
)]
pub struct ClockSkew {
    /// The host's time.
    pub host: Timestamp,
    /// The server's time.
    pub server: Timestamp,
}

/// Why a credential was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Not of the expected form.
    #[error("the request is not signed as a host signs it")]
    Form,
    /// Signed at another time.
    #[error(transparent)]
    Clock(#[from] ClockSkew),
    /// Not this host's signature over this request.
    #[error("the signature is not this host's")]
    Signature,
}

fn check_time(host: Timestamp, server: Timestamp) -> Result<(), ClockSkew> {
    if host.distance(server) > MOST_SKEW {
        return Err(ClockSkew { host, server });
    }
    Ok(())
}

/// What of a request is signed.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// `GET`, `POST`.
    pub method: &'a str,
    /// Path and query as sent.
    pub target: &'a str,
    /// The body; empty where there is none.
    pub body: &'a [u8],
}

impl SignedRequest<'_> {
    fn message(&self, host: HostId, time: Timestamp) -> Vec<u8> {
        let body = BASE64URL_NOPAD.encode(&Sha256::digest(self.body));
        let Self { method, target, .. } = self;
        let time = time.as_millis();
        format!("netloom request v1\n{host}\n{time}\n{method}\n{target}\n{body}").into_bytes()
    }
}

/// The value of the `Authorization` header: `Netloom HOST.MILLISECONDS.SIGNATURE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSignature {
    /// Who says it is.
    pub host: HostId,
    /// When it signed.
    pub time: Timestamp,
    signature: [u8; 64],
}

impl RequestSignature {
    /// Signs a request.
    pub fn sign(secret: &SigningSecret, host: HostId, time: Timestamp, request: &SignedRequest<'_>) -> Self {
        Self { host, time, signature: secret.sign(&request.message(host, time)) }
    }

    /// The header's value.
    pub fn header(&self) -> String {
        let Self { host, time, signature } = self;
        format!("{SCHEME}{host}.{}.{}", time.as_millis(), BASE64URL_NOPAD.encode(signature))
    }

    /// Reads a header's value. Nothing is proved yet.
    pub fn parse(header: &str) -> Result<Self, CredentialError> {
        let mut parts = header.strip_prefix(SCHEME).ok_or(CredentialError::Form)?.splitn(3, '.');
        let mut part = || parts.next().ok_or(CredentialError::Form);
        let host = part()?.parse().map_err(|_| CredentialError::Form)?;
        let time = parse_time(part()?)?;
        Ok(Self { host, time, signature: parse_signature(part()?)? })
    }

    /// Proves that the host with this key signed this request just now.
    pub fn verify(
        &self,
        key: &SigningPublicKey,
        now: Timestamp,
        request: &SignedRequest<'_>,
    ) -> Result<(), CredentialError> {
        check_time(self.time, now)?;
        if !verifies(key, &request.message(self.host, self.time), &self.signature) {
            return Err(CredentialError::Signature);
        }
        Ok(())
    }
}

fn parse_time(text: &str) -> Result<Timestamp, CredentialError> {
    text.parse().map(Timestamp::from_millis).map_err(|_| CredentialError::Form)
}

fn parse_signature(text: &str) -> Result<[u8; 64], CredentialError> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| CredentialError::Form)?;
    bytes.try_into().map_err(|_| CredentialError::Form)
}

fn mqtt_message(host: HostId, time: Timestamp) -> Vec<u8> {
    format!("netloom mqtt v1\n{host}\n{}", time.as_millis()).into_bytes()
}

/// The password of an MQTT log-in: `MILLISECONDS.SIGNATURE`. The user name is the host id.
pub fn mqtt_password(secret: &SigningSecret, host: HostId, now: Timestamp) -> String {
    let signature = secret.sign(&mqtt_message(host, now));
    format!("{}.{}", now.as_millis(), BASE64URL_NOPAD.encode(&signature))
}

/// Proves that the host with this key made this password just now, and says when.
pub fn verify_mqtt_password(
    key: &SigningPublicKey,
    host: HostId,
    password: &str,
    now: Timestamp,
) -> Result<Timestamp, CredentialError> {
    let (time, signature) = password.split_once('.').ok_or(CredentialError::Form)?;
    let (time, signature) = (parse_time(time)?, parse_signature(signature)?);
    check_time(time, now)?;
    if !verifies(key, &mqtt_message(host, time), &signature) {
        return Err(CredentialError::Signature);
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn host() -> (SigningSecret, HostId) {
        (SigningSecret::from_random([8; 32]), HostId::from_bytes([9; 16]))
    }

    #[test]
    fn a_request_proves_its_sender_and_nothing_else_passes() {
        let (secret, host) = host();
        let request = SignedRequest { method: "POST", target: "/agent/v1/leave", body: b"x" };
        let header = RequestSignature::sign(&secret, host, NOW, &request).header();
        let signature = RequestSignature::parse(&header).unwrap();
        assert_eq!(signature.verify(&secret.public(), NOW, &request), Ok(()));

        let other_body = SignedRequest { body: b"y", ..request };
        let refused = Err(CredentialError::Signature);
        assert_eq!(signature.verify(&secret.public(), NOW, &other_body), refused);
        let other_target = SignedRequest { target: "/agent/v1/node", ..request };
        assert_eq!(signature.verify(&secret.public(), NOW, &other_target), refused);
        let stranger = SigningSecret::from_random([1; 32]).public();
        assert_eq!(signature.verify(&stranger, NOW, &request), refused);
    }

    #[test]
    fn a_clock_a_day_off_is_told_with_both_times() {
        let (secret, host) = host();
        let yesterday = Timestamp::from_millis(NOW.as_millis() - 86_400_000);
        let password = mqtt_password(&secret, host, yesterday);
        let error = verify_mqtt_password(&secret.public(), host, &password, NOW).unwrap_err();
        assert_eq!(error, CredentialError::Clock(ClockSkew { host: yesterday, server: NOW }));
        assert!(error.to_string().contains("set the clock"));
    }

    #[test]
    fn a_password_is_only_its_hosts() {
        let (secret, host) = host();
        let password = mqtt_password(&secret, host, NOW);
        assert_eq!(verify_mqtt_password(&secret.public(), host, &password, NOW), Ok(NOW));
        let other = HostId::from_bytes([1; 16]);
        let refused = Err(CredentialError::Signature);
        assert_eq!(verify_mqtt_password(&secret.public(), other, &password, NOW), refused);
        for text in ["", ".", "1.2", "x.y", "99999999999999999999.AA"] {
            assert!(verify_mqtt_password(&secret.public(), host, text, NOW).is_err(), "{text}");
            assert!(RequestSignature::parse(text).is_err(), "{text}");
        }
    }
}
