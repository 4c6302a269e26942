//! The server's certificate: made at the first start or given as files, swapped while connections go on.
//!
//! Not for ACME. Invariants: the key pair is the server's identity (join tokens pin its SHA-256), so an existing key is
//! never replaced · a key file is readable by its owner only · files that cannot be used leave the old certificate in
//! force.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use arc_swap::ArcSwap;
use data_encoding::HEXLOWER;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use tracing::{debug, info, warn};

/// What is taken of all that a client offers, if it does.
const PREFERRED: [CipherSuite; 1] = [CipherSuite::TLS13_AES_128_GCM_SHA256];

/// Makes *ring* the process-wide provider of cryptography for TLS; libraries that ask for a default need it.
pub fn install_crypto_provider() {
    // Fails if one is installed already, which is as good.
    let _ = ring::default_provider().install_default();
}

/// SHA-256 of the public key (SubjectPublicKeyInfo) of a certificate: what join tokens carry.
pub fn pin_of(certificate: &CertificateDer<'_>) -> Result<[u8; 32]> {
    let parsed = ParsedCertificate::try_from(certificate).context("the certificate cannot be read")?;
    Ok(Sha256::digest(parsed.subject_public_key_info()).into())
}

/// A pin as people read it: lower-case hexadecimal.
pub fn pin_hex(pin: &[u8; 32]) -> String {
    HEXLOWER.encode(pin)
}

/// The certificate in force, and the files it comes from.
#[derive(Debug)]
pub struct Certificates {
    certificate_file: PathBuf,
    key_file: PathBuf,
    current: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    certified: Arc<CertifiedKey>,
    pin: [u8; 32],
    stamps: Stamps,
}

/// Tell whether files changed, without reading them.
type Stamps = [(SystemTime, u64); 2];

impl Certificates {
    /// Uses `cert.pem` and `key.pem` in `folder`, which are made if they are not there. `names` are the host names and
    /// addresses under which the server is reached; agents go by the pin and do not look at them. Without `cert.pem` a
    /// new certificate is made for the old key, so that the pin stays.
    pub fn self_signed(folder: &Path, names: &[String]) -> Result<Arc<Self>> {
        let (certificate_file, key_file) = Self::own_files(folder);
        make(folder, &certificate_file, &key_file, names)
            .with_context(|| format!("cannot make the server's certificate in {}", folder.display()))?;
        Self::from_files(certificate_file, key_file)
    }

    /// The files in which the server's own certificate and its key are kept.
    pub fn own_files(folder: &Path) -> (PathBuf, PathBuf) {
        (folder.join("cert.pem"), folder.join("key.pem"))
    }

    /// Uses a certificate chain and its key, both PEM.
    pub fn from_files(certificate_file: PathBuf, key_file: PathBuf) -> Result<Arc<Self>> {
        let loaded = load(&certificate_file, &key_file)?;
        Ok(Arc::new(Self { certificate_file, key_file, current: ArcSwap::from_pointee(loaded) }))
    }

    /// The pin of the certificate in force.
    pub fn pin(&self) -> [u8; 32] {
        self.current.load().pin
    }

    /// Takes the files again if they changed; true if they did. After an error the old certificate stays.
    pub fn reload_if_changed(&self) -> Result<bool> {
        if stamps(&self.certificate_file, &self.key_file)? == self.current.load().stamps {
            return Ok(false);
        }
        self.current.store(Arc::new(load(&self.certificate_file, &self.key_file)?));
        Ok(true)
    }

    /// Looks at the files again and again; to be spawned for as long as the server runs.
    pub async fn follow_files(self: Arc<Self>, every: Duration) {
        let mut failed_before = false;
        loop {
            tokio::time::sleep(every).await;
            let outcome = self.reload_if_changed();
            match &outcome {
                Ok(true) => info!(pin = pin_hex(&self.pin()), "the changed certificate is in force"),
                Ok(false) => {}
                Err(error) if failed_before => {
                    debug!("the changed certificate still cannot be used: {error:#}");
                }
                Err(error) => warn!("the changed certificate cannot be used, the old one stays: {error:#}"),
            }
            failed_before = outcome.is_err();
        }
    }

    /// TLS settings that always present the certificate in force.
    pub fn server_config(self: &Arc<Self>, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .context("TLS 1.2 and 1.3 are not available")?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.ticketer = ring::Ticketer::new().context("cannot make keys for TLS session tickets")?;
        config.send_tls13_tickets = 1;
        config.ignore_client_order = true;
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().certified.clone())
    }
}

/// AES-128 comes first: SHA-256 goes with it, which processors have instructions for, and SHA-384 with AES-256. Where thousands
/// of agents come back at once the handshakes are most of the work.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| !PREFERRED.contains(&suite.suite()));
    Arc::new(provider)
}

fn load(certificate_file: &Path, key_file: &Path) -> Result<Loaded> {
    let stamps = stamps(certificate_file, key_file)?;
    let chain = CertificateDer::pem_file_iter(certificate_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read certificates from {}", certificate_file.display()))?;
    let first = chain.first();
    let first = first.with_context(|| format!("{} contains no certificate", certificate_file.display()))?;
    let pin = pin_of(first).with_context(|| certificate_file.display().to_string())?;
    let key = PrivateKeyDer::from_pem_file(key_file)
        .with_context(|| format!("cannot read a private key from {}", key_file.display()))?;
    let certified = CertifiedKey::from_der(chain, key, &provider()).with_context(|| {
        format!("{} and {} do not belong together", certificate_file.display(), key_file.display())
    })?;
    Ok(Loaded { certified: Arc::new(certified), pin, stamps })
}

fn stamps(certificate_file: &Path, key_file: &Path) -> Result<Stamps> {
    let stamp = |file: &Path| {
        let metadata = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?;
        let modified = metadata.modified().context("this file system keeps no modification times")?;
        anyhow::Ok((modified, metadata.len()))
    };
    Ok([stamp(certificate_file)?, stamp(key_file)?])
}

fn make(folder: &Path, certificate_file: &Path, key_file: &Path, names: &[String]) -> Result<()> {
    if certificate_file.exists() && key_file.exists() {
        return Ok(());
    }
    ensure!(
        !certificate_file.exists(),
        "{} is there but {} is not. Put the key back; or, to give the server a new identity, remove the certificate: \
         all agents then have to join again",
        certificate_file.display(),
        key_file.display()
    );
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let key = if key_file.exists() {
        KeyPair::from_pem(&fs::read_to_string(key_file)?).context("key.pem holds no usable key")?
    } else {
        let key = KeyPair::generate().context("cannot make a key")?;
        write_whole(key_file, &key.serialize_pem(), 0o600)?;
        key
    };
    let mut params = CertificateParams::new(names).context("a name of the server is not a host name")?;
    params.distinguished_name.push(DnType::CommonName, "netloom-server");
    // Agents go by the pin, so the dates only must never be in the way, whatever a machine's clock says.
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(2200, 1, 1);
    let certificate = params.self_signed(&key).context("cannot sign the certificate")?;
    write_whole(certificate_file, &certificate.pem(), 0o644)
}

/// Writes a file that is either there in full or not at all.
fn write_whole(file: &Path, text: &str, mode: u32) -> Result<()> {
    let unfinished = file.with_extension("new");
    let write = || {
        if unfinished.exists() {
            fs::remove_file(&unfinished)?;
        }
        let mut options = OpenOptions::new();
        let mut handle = options.write(true).create_new(true).mode(mode).open(&unfinished)?;
        handle.write_all(text.as_bytes())?;
        handle.sync_all()?;
        fs::rename(&unfinished, file)
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names() -> Vec<String> {
        vec!["localhost".to_owned(), "192.0.2.1".to_owned()]
    }

    #[test]
    fn the_first_start_makes_a_key_that_only_its_owner_reads_and_the_next_start_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let tls = folder.path().join("tls");
        let first = Certificates::self_signed(&tls, &names()).unwrap();
        let mode = fs::metadata(tls.join("key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = Certificates::self_signed(&tls, &names()).unwrap();
        assert_eq!(first.pin(), second.pin());
        assert_eq!(pin_hex(&first.pin()).len(), 64);
    }

    #[test]
    fn a_lost_certificate_is_made_again_for_the_same_key_but_a_lost_key_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let first = Certificates::self_signed(folder.path(), &names()).unwrap();
        fs::remove_file(folder.path().join("cert.pem")).unwrap();
        let second = Certificates::self_signed(folder.path(), &names()).unwrap();
        assert_eq!(first.pin(), second.pin());
        fs::remove_file(folder.path().join("key.pem")).unwrap();
        let error = Certificates::self_signed(folder.path(), &names()).unwrap_err();
        assert!(format!("{error:#}").contains("Put the key back"), "{error:#}");
    }

    #[test]
    fn changed_files_come_into_force_and_unusable_ones_leave_the_old_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let certificates = Certificates::self_signed(folder.path(), &names()).unwrap();
        let old = certificates.pin();
        assert!(!certificates.reload_if_changed().unwrap());
        let new = Certificates::self_signed(other.path(), &["a.longer.name.example".to_owned()]).unwrap();
        fs::copy(other.path().join("cert.pem"), folder.path().join("cert.pem")).unwrap();
        let error = certificates.reload_if_changed().unwrap_err();
        assert!(format!("{error:#}").contains("do not belong together"), "{error:#}");
        assert_eq!(certificates.pin(), old);
        fs::copy(other.path().join("key.pem"), folder.path().join("key.pem")).unwrap();
        assert!(certificates.reload_if_changed().unwrap());
        assert_eq!(certificates.pin(), new.pin());
    }
}
