//! The first meeting with a server: is its certificate believed already, or does its pin have to be accepted?
//!
//! It keeps true that nothing but the meeting itself is sent before somebody has accepted the pin.

use api::path;
use tls::Trust;

use crate::client::http_client;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// How the pin of a new server is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// Somebody is asked.
    Ask,
    /// Whatever is shown is taken.
    Given,
}

/// Finds out how a new server is to be recognised.
pub(crate) async fn meet(
    server: &str,
    acceptance: Acceptance,
    terminal: &mut Terminal,
) -> Result<Trust, Failure> {
    let failure = match knock(server, &Trust::System).await {
        Ok(()) => return Ok(Trust::System),
        Err(failure) => failure,
    };
    let reason = match failure {
        Failure::NotTrusted { failure, .. } => failure.to_string(),
        Failure::Local(error) if error.downcast_ref::<tls::TrustError>().is_some() => error.to_string(),
        failure => return Err(failure),
    };
    // No key has this pin: the handshake ends as soon as the server has shown its own.
    let nobody = Trust::Pin(model::Digest::from_bytes([0; 32]));
    let shown = knock(server, &nobody).await;
    let Err(Failure::WrongPin { failure: tls::Failure::WrongPin { found, .. }, .. }) = shown else {
        return Err(shown.err().unwrap_or(Failure::Answer("its certificate could not be read".to_owned())));
    };
    terminal.note(&format!("{server}: {}", reason.trim_end_matches("; nothing was sent")));
    terminal.note(&format!("The server's certificate has the pin\n  {found}\nThe server logs its pin when it starts; compare the two."));
    let accepted = match acceptance {
        Acceptance::Given => true,
        Acceptance::Ask if terminal.interactive() => {
            terminal.confirmed("Trust this certificate from now on?")?
        }
        Acceptance::Ask => {
            return Err(Failure::Usage(format!(
                "the certificate of {server} has to be accepted: give --pin {found} if that is the right pin, or --accept-pin"
            )));
        }
    };
    if !accepted {
        return Err(Failure::Local(anyhow::anyhow!("the certificate was not accepted; nothing was changed")));
    }
    Ok(Trust::Pin(found))
}

/// Looks whether anything answers, with a question that everybody may ask.
async fn knock(server: &str, trust: &Trust) -> Result<(), Failure> {
    let http = http_client(server, trust)?;
    let answer = http.get(format!("{server}{}", path::SETUP)).send().await;
    answer.map(drop).map_err(|error| Failure::of_transport(server, &error))
}
