//! A new sealed channel, where the server's keys change: agreed here, on disk before the server hears of it, used once the server
//! has it.
//!
//! ```text
//!  the map names the next key ─▶ channel on disk as the next one ─▶ the server is told ─┬─ yes, or something comes by it ─▶ it counts
//!                                                                                       └─ no, or no answer ─▶ told again later
//! ```
//!
//! Not for when (`reconcile::Agent`). It keeps true that at every moment, a crash included, each channel that the server may use is
//! on disk.

use model::SealingPublicKey;
use reconcile::AgentEvent;
use wire::{Agreement, ChannelChange};

use super::Engine;
use super::messages::Done;
use crate::state::Which;
use crate::talk::TalkError;

/// What came of telling the server.
#[derive(Debug)]
pub(super) struct Agreed {
    server: SealingPublicKey,
    said: Result<(), TalkError>,
}

impl Engine {
    /// Agrees a channel with this key of the server's, unless the one that counts was.
    pub(super) fn agree(&mut self, server: SealingPublicKey) {
        if self.session.record.is_agreed_with(&server) {
            return self.agent.handle(AgentEvent::Agreed(server), self.now());
        }
        let change = match self.prepare(server) {
            Ok(change) => change,
            Err(error) => {
                tracing::warn!("no channel could be agreed with the server's next key: {error:#}");
                return self.agent.handle(AgentEvent::AgreeFailed, self.now());
            }
        };
        self.agreeing = true;
        let client = self.session.client.clone();
        self.tasks.spawn(async move {
            let said = client.change_channel(&change).await;
            Done::Agreed(Agreed { server, said })
        });
    }

    /// The channel to come, on disk. One that the server may have heard of before is gone on with.
    fn prepare(&mut self, server: SealingPublicKey) -> anyhow::Result<ChannelChange> {
        let change = match self.session.record.pending() {
            Some(change) if change.server == server => change,
            Some(_) | None => {
                let mut random = getrandom::rand_core::UnwrapErr(getrandom::SysRng);
                let agreement = Agreement::initiate(&self.session.identity.sealing, &server, &mut random)?;
                self.session.agree(server, agreement)
            }
        };
        self.state.save_server(&self.session.record)?;
        Ok(change)
    }

    pub(super) fn agreed(&mut self, agreed: Agreed) {
        self.agreeing = false;
        match agreed.said {
            // Something may have come by it before the answer did.
            Ok(()) if self.session.record.is_agreed_with(&agreed.server) => {}
            Ok(()) => self.take_next_channel(),
            Err(error) => {
                tracing::info!("the server has not taken a channel with its next key: {error}");
                if !self.session.record.is_agreed_with(&agreed.server) {
                    self.agent.handle(AgentEvent::AgreeFailed, self.now());
                }
            }
        }
    }

    /// The task that told the server broke.
    pub(super) fn agreed_nothing(&mut self) {
        if std::mem::take(&mut self.agreeing) {
            self.agent.handle(AgentEvent::AgreeFailed, self.now());
        }
    }

    /// Something of the server's came by this channel.
    pub(super) fn heard_by(&mut self, which: Which) {
        match which {
            Which::Current if self.session.forget_former() => self.keep_record(),
            Which::Next => self.take_next_channel(),
            Which::Current | Which::Former => {}
        }
    }

    /// The server has the next channel: it is the one that counts.
    fn take_next_channel(&mut self) {
        let Some(server) = self.session.take_next() else { return };
        tracing::info!("this machine has a sealed channel with the server's next key");
        self.keep_record();
        self.agent.handle(AgentEvent::Agreed(server), self.now());
        // Brokers of somebody else's know this host by a password that comes from the channel.
        self.leave_external();
    }
}
