//! A certificate authority of a test's own, and a certificate by it for this machine or another one.
//!
//! Not for the product. It keeps true that nobody else believes it: it is made anew each time.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// What an authority and a server need, in PEM.
#[derive(Debug, Clone)]
pub struct Authority {
    /// The authority's own certificate: what clients are given.
    pub authority: String,
    /// The server's certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// Makes one; the certificate is for 127.0.0.1, ::1 and localhost.
    pub fn new() -> Result<Self, rcgen::Error> {
        Self::for_names(&["127.0.0.1", "::1", "localhost"])
    }

    /// Makes one; the certificate is for these names and addresses.
    pub fn for_names(names: &[&str]) -> Result<Self, rcgen::Error> {
        let mut own = CertificateParams::new(Vec::new())?;
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        own.distinguished_name.push(rcgen::DnType::CommonName, "Netloom test authority");
        let authority = CertifiedIssuer::self_signed(own, KeyPair::generate()?)?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        Ok(Self { authority: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
    }
}
