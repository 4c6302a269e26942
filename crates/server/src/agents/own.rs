//! What a host may do to itself.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use control::{Actor, Command};
use wire::{ChannelChange, KeyChange, Leave, RefusalCode};

use super::signed::Signed;
use super::{Agents, Refused};

async fn submit(agents: &Agents, signed: &Signed, command: Command) -> Result<StatusCode, Refused> {
    agents.brain.submit(Actor::Host(signed.host.id), command).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Its own settings changed.
pub(super) async fn settings(
    State(agents): State<Arc<Agents>>,
    signed: Signed,
) -> Result<StatusCode, Refused> {
    let command = Command::OwnSettings(signed.message()?);
    submit(&agents, &signed, command).await
}

/// It takes part in a network, or pauses.
pub(super) async fn node(State(agents): State<Arc<Agents>>, signed: Signed) -> Result<StatusCode, Refused> {
    let command = Command::OwnSwitch(signed.message()?);
    submit(&agents, &signed, command).await
}

/// It has another WireGuard key, and proves it.
pub(super) async fn key(State(agents): State<Arc<Agents>>, signed: Signed) -> Result<StatusCode, Refused> {
    let change: KeyChange = signed.message()?;
    if !change.is_proved(signed.host.id, &agents.identity.rendezvous[0]) {
        let sentence = "the new WireGuard key was not proved; make another one";
        return Err(Refused::new(RefusalCode::NotProved, sentence.to_owned()));
    }
    submit(&agents, &signed, Command::OwnKey(change.wireguard_key)).await
}

/// It has agreed a channel with the key that the server changes to.
pub(super) async fn channel(
    State(agents): State<Arc<Agents>>,
    signed: Signed,
) -> Result<StatusCode, Refused> {
    let change: ChannelChange = signed.message()?;
    let agreed = agents.channels.check_change(&signed.host, &change);
    agreed.map_err(|error| Refused::new(RefusalCode::NotProved, format!("{error:#}; agree another one")))?;
    let ChannelChange { server, encapsulated } = change;
    submit(&agents, &signed, Command::OwnChannel { server, encapsulated }).await
}

/// It leaves one network, or everything.
pub(super) async fn leave(State(agents): State<Arc<Agents>>, signed: Signed) -> Result<StatusCode, Refused> {
    let leave: Leave = signed.message()?;
    let everything = leave == Leave::Server;
    let status = submit(&agents, &signed, Command::OwnLeave(leave)).await?;
    if everything {
        agents.replays.forget(signed.host.id);
        tracing::info!(host = %signed.host.name, "host left");
    }
    Ok(status)
}
