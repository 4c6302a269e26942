//! The accounts of hosts at a broker that is not ours: who may come, by which password, and to which topics.
//!
//! Not for carrying maps. It keeps true that a host reaches its own three topics and nothing else, that nobody stores or sends
//! its password but the broker (both ends derive it), and that accounts that are not ours are never touched.

pub(super) mod dynsec;
mod dynsec_rights;
#[cfg(test)]
mod dynsec_tests;
mod dynsec_words;
pub(super) mod files;
pub(super) mod hook;
mod mosquitto;
mod nats;

use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use model::HostId;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use wire::{HostTopic, TopicKind};
use zeroize::Zeroizing;

use crate::brain::Brain;
use crate::channels::Channels;
use crate::cluster::{Claim, Holder};

/// How long the database may take to say what others committed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where it is not certain which hosts there are, that is looked at again after this.
pub(super) const UNCERTAIN: Duration = Duration::from_secs(1);

/// Who may come to the broker, and by which password.
pub trait Guests: Send + Sync {
    /// All hosts.
    fn hosts(&self) -> Vec<HostId>;
    /// Whether there is this host.
    fn is_known(&self, host: HostId) -> bool;
    /// The password of a host; none where there is no such host any more.
    fn password(&self, host: HostId) -> Option<Zeroizing<String>>;
    /// Whether nobody else can lead now. Where somebody may, what is known of hosts may be old, and no account is changed by it.
    fn are_certain(&self) -> bool {
        true
    }
    /// Learns what other servers committed; whether it is certain then which hosts there are.
    fn learn(&self) -> BoxFuture<'_, bool> {
        futures_util::future::ready(self.are_certain()).boxed()
    }
}

/// The hosts of intent.
pub struct HostsOfIntent {
    brain: Brain,
    channels: Arc<Channels>,
    claim: watch::Receiver<Claim<Holder>>,
}

impl HostsOfIntent {
    /// Whoever intent knows, by what the sealed channel to it gives; certain while this claim to lead is.
    pub fn new(brain: Brain, channels: Arc<Channels>, claim: watch::Receiver<Claim<Holder>>) -> Self {
        Self { brain, channels, claim }
    }
}

impl Guests for HostsOfIntent {
    fn hosts(&self) -> Vec<HostId> {
        self.brain.intent().hosts(None).map(|host| host.id).collect()
    }

    fn is_known(&self, host: HostId) -> bool {
        self.brain.intent().host(host).is_some()
    }

    fn password(&self, host: HostId) -> Option<Zeroizing<String>> {
        let intent = self.brain.intent();
        let host = intent.host(host)?;
        let password = self.channels.broker_password(host);
        password.inspect_err(|error| tracing::error!("a host gets no account at the broker: {error:#}")).ok()
    }

    fn are_certain(&self) -> bool {
        self.claim.borrow().holds(Instant::now())
    }

    fn learn(&self) -> BoxFuture<'_, bool> {
        async {
            // A database that does not answer need not be asked.
            let learned = self.are_certain() && {
                let learned = tokio::time::timeout(PATIENCE, self.brain.caught_up()).await;
                matches!(learned, Ok(Ok(())))
            };
            learned && self.are_certain()
        }
        .boxed()
    }
}

/// What tells two passwords apart and nothing else: they are random, so that nobody finds one by trying.
fn fingerprint(password: &str) -> String {
    let digest = Sha256::digest(format!("netloom broker account {password}").as_bytes());
    HEXLOWER.encode(&digest.as_slice()[..8])
}

/// What a host may do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Publish,
    Subscribe,
}

/// The topics of a host that it may publish to, and to which it may subscribe.
const SPEAKS: [TopicKind; 2] = [TopicKind::Report, TopicKind::Presence];
const HEARS: [TopicKind; 1] = [TopicKind::Map];

/// Whether a host may do this. Each file and each role says the same in its broker's words.
fn may(host: HostId, action: Action, topic: &str) -> bool {
    let kinds: &[TopicKind] = match action {
        Action::Publish => &SPEAKS,
        Action::Subscribe => &HEARS,
    };
    HostTopic::of_own(host, topic).is_some_and(|kind| kinds.contains(&kind))
}

/// The topics of all hosts under which the server hears.
pub(super) fn heard() -> [String; 2] {
    SPEAKS.map(|kind| kind.topic_of("+"))
}

/// The topics of all hosts under which it speaks.
fn spoken() -> [String; 1] {
    HEARS.map(|kind| kind.topic_of("+"))
}
