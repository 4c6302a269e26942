//! Whom the agent takes for its server: by the pin of the token, or by the certificate authorities of this machine.
//!
//! Invariant: with a pin, name and dates of a certificate do not matter (clocks are wrong, addresses change), but the
//! server must prove in the handshake that it has the private key to the pinned public key.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::LinkError;

/// How the server proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerTrust {
    /// SHA-256 of the server's public key, from the token.
    Pin([u8; 32]),
    /// The certificate authorities that this machine trusts.
    PublicRoots,
}

/// The certificate presented is not the pinned one.
#[derive(Debug, Error)]
#[error("the certificate is not the pinned one")]
pub(super) struct WrongPin;

/// Makes *ring* the process-wide provider of cryptography for TLS; libraries that ask for a default need it.
pub fn install_crypto_provider() {
    // Fails if one is installed already, which is as good.
    let _ = ring::default_provider().install_default();
}

/// The TLS settings for every connection to the server. No ALPN: HTTP/1.1 is what WebSockets are upgraded from.
pub(super) fn client_config(trust: &ServerTrust) -> Result<Arc<ClientConfig>, LinkError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| LinkError::Tls(error.to_string()))?;
    let config = match trust {
        ServerTrust::Pin(pin) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PinVerifier { pin: *pin, provider }))
            .with_no_client_auth(),
        ServerTrust::PublicRoots => builder
            .with_root_certificates(public_roots()?)
            .with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn public_roots() -> Result<RootCertStore, LinkError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _unreadable) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let advice = "it knows no certificate authorities; install its ca-certificates package, or use a token with a pin";
        return Err(LinkError::Tls(advice.to_owned()));
    }
    Ok(roots)
}

#[derive(Debug)]
struct PinVerifier {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let presented = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        if Sha256::digest(presented).as_slice() != self.pin {
            return Err(CertificateError::Other(OtherError(Arc::new(WrongPin))).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
