//! What makes a server's certificate believed: its public key's pin, given authorities, or those of the system.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme, WantsVerifier,
};
use sha2::{Digest as _, Sha256};

use crate::failure::WrongPin;

/// What a server's certificate is held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// This public key and no other (SHA-256 of the SubjectPublicKeyInfo). Name, dates and issuer do not matter then.
    Pin(Digest),
    /// The authorities in this PEM file.
    AuthorityFile(PathBuf),
    /// The authorities of the system.
    System,
}

/// Why a configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The PEM file could not be read.
    #[error("the certificate file {path} cannot be read: {reason}; give a PEM file of certificates")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The text with authorities is no such thing.
    #[error("the given certificate authorities cannot be used: {0}; they must be certificates in PEM")]
    Text(String),
    /// The system has no authorities.
    #[error(
        "no certificate authorities were found on this machine; install ca-certificates, or pin the server's certificate"
    )]
    NoAuthorities,
    /// The cryptography cannot do TLS.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// A client's TLS configuration. Protocols (ALPN) are the caller's to set.
pub fn client_config(trust: &Trust) -> Result<ClientConfig, TrustError> {
    match trust {
        Trust::Pin(pin) => client_config_by_pins([*pin, *pin]),
        Trust::AuthorityFile(path) => config_by(authorities_of(path)?),
        Trust::System => config_by(system_authorities()?),
    }
}

/// The same by either of two public keys, the one that counts first: for a server that is about to change its certificate.
pub fn client_config_by_pins(pins: [Digest; 2]) -> Result<ClientConfig, TrustError> {
    let (builder, provider) = builder()?;
    let verifier = Arc::new(PinVerifier { pins, provider });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The same by the authorities in this text, in PEM, and no others.
pub fn client_config_by_authorities(pem: &str) -> Result<ClientConfig, TrustError> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    config_by(roots_of(certificates).map_err(TrustError::Text)?)
}

fn builder() -> Result<(ConfigBuilder<ClientConfig, WantsVerifier>, Arc<CryptoProvider>), TrustError> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    Ok((builder, provider))
}

fn config_by(roots: RootCertStore) -> Result<ClientConfig, TrustError> {
    Ok(builder()?.0.with_root_certificates(roots).with_no_client_auth())
}

/// SHA-256 of the certificate's public key (SubjectPublicKeyInfo): what a pin is.
pub fn pin_of(certificate: &CertificateDer<'_>) -> Result<Digest, rustls::Error> {
    let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    Ok(Digest::from_bytes(Sha256::digest(spki.as_ref()).into()))
}

fn authorities_of(path: &Path) -> Result<RootCertStore, TrustError> {
    let refuse = |reason: String| TrustError::File { path: path.to_owned(), reason };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| refuse(error.to_string()))?;
    roots_of(certificates).map_err(refuse)
}

fn roots_of(
    certificates: impl Iterator<Item = Result<CertificateDer<'static>, pem::Error>>,
) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    Ok(roots)
}

fn system_authorities() -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TrustError::NoAuthorities);
    }
    Ok(roots)
}

#[derive(Debug)]
struct PinVerifier {
    pins: [Digest; 2],
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
        let found = pin_of(end_entity)?;
        if !self.pins.contains(&found) {
            let error = WrongPin { wanted: self.pins[0], found };
            return Err(CertificateError::Other(OtherError(Arc::new(error))).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
