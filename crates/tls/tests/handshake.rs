//! Handshakes in memory between rustls' own server and a client of each trust.

use std::sync::Arc;

use model::Digest;
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use tls::{Failure, Trust, client_config, client_config_by_authorities, client_config_by_pins, pin_of};

struct Server {
    certificate: CertificateDer<'static>,
    config: Arc<ServerConfig>,
}

#[expect(clippy::unwrap_used, reason = "a test's own certificate")]
fn server() -> Server {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["server.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let certificate = certificate.der().clone();
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], secret)
        .unwrap();
    Server { certificate, config: Arc::new(config) }
}

#[expect(clippy::unwrap_used, reason = "memory does not fail")]
fn shake(server: &Server, trust: &Trust, name: &'static str) -> Result<(), rustls::Error> {
    shake_by(server, client_config(trust).unwrap(), name)
}

#[expect(clippy::unwrap_used, reason = "memory does not fail")]
fn shake_by(server: &Server, config: ClientConfig, name: &'static str) -> Result<(), rustls::Error> {
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(name).unwrap()).unwrap();
    let mut peer = ServerConnection::new(Arc::clone(&server.config)).unwrap();
    while client.is_handshaking() || peer.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        peer.read_tls(&mut bytes.as_slice()).unwrap();
        peer.process_new_packets()?;
        let mut bytes = Vec::new();
        peer.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn the_pinned_key_is_believed_under_any_name() {
    let server = server();
    let pin = Trust::Pin(pin_of(&server.certificate).unwrap());
    assert_eq!(shake(&server, &pin, "another.test"), Ok(()));
}

#[test]
fn another_key_is_refused_and_both_pins_are_told() {
    let (server, wanted) = (server(), Digest::from_bytes([7; 32]));
    let error = shake(&server, &Trust::Pin(wanted), "server.test").unwrap_err();
    let found = pin_of(&server.certificate).unwrap();
    let inside = std::io::Error::other(error);
    assert_eq!(Failure::find(&inside), Some(Failure::WrongPin { wanted, found }));
}

#[test]
fn while_a_server_changes_its_key_either_is_believed_and_no_third() {
    let (server, other) = (server(), Digest::from_bytes([7; 32]));
    let found = pin_of(&server.certificate).unwrap();
    for pins in [[found, other], [other, found]] {
        assert_eq!(shake_by(&server, client_config_by_pins(pins).unwrap(), "another.test"), Ok(()));
    }
    let third = Digest::from_bytes([8; 32]);
    let error = shake_by(&server, client_config_by_pins([other, third]).unwrap(), "server.test").unwrap_err();
    assert_eq!(Failure::find(&error), Some(Failure::WrongPin { wanted: other, found }));
}

#[test]
fn authorities_in_a_text_cover_their_names_and_no_others() {
    let server = server();
    let body = data_encoding::BASE64.encode(&server.certificate);
    let text = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let by_text = || client_config_by_authorities(&text).unwrap();
    assert_eq!(shake_by(&server, by_text(), "server.test"), Ok(()));
    assert!(shake_by(&server, by_text(), "another.test").is_err());
    for none in ["", "no certificate"] {
        let told = client_config_by_authorities(none).unwrap_err().to_string();
        assert!(told.contains("in PEM"), "{told}");
    }
}

#[test]
fn an_authority_file_covers_its_names_and_no_others() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    let path = folder.path().join("ca.pem");
    let body = data_encoding::BASE64.encode(&server.certificate);
    std::fs::write(&path, format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"))
        .unwrap();
    let trust = Trust::AuthorityFile(path);
    assert_eq!(shake(&server, &trust, "server.test"), Ok(()));
    let error = shake(&server, &trust, "another.test").unwrap_err();
    assert_eq!(Failure::find(&error), Some(Failure::WrongName));
}

#[test]
fn an_authority_file_without_a_certificate_is_named() {
    let missing = Trust::AuthorityFile("/nonexistent/ca.pem".into());
    let sentence = client_config(&missing).unwrap_err().to_string();
    assert!(sentence.contains("/nonexistent/ca.pem"), "{sentence}");
}
