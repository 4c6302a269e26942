//! Seals what changed for each host and hands it to the broker. Nothing is kept for a host that is not there: it fetches
//! its map when it comes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use control::plan::Deltas;
use model::{Generation, Host, HostId};
use wire::Down;

use super::Told;
use super::telling::Missed;
use crate::broker::{Broker, Delivery};
use crate::channels::Channels;

/// How long a removed host has to read that it was removed.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// So many hosts may wait for what is on its way to them, beside an eighth of all, before telling is put off.
const FEW_WAIT: usize = 64;
/// Messages that are sealed before others may work: well under a millisecond.
const BREATH: usize = 64;

/// The way out to agents.
pub(super) struct Outbox {
    broker: Arc<dyn Broker>,
    channels: Arc<Channels>,
}

impl Outbox {
    pub(super) fn new(broker: Arc<dyn Broker>, channels: Arc<Channels>) -> Self {
        Self { broker, channels }
    }

    /// Whether many hosts could take what waits for them, and the server has not come to it yet.
    pub(super) fn is_congested(&self) -> bool {
        self.broker.backlog().hosts > FEW_WAIT + self.broker.connected() / 8
    }

    /// Sends what leads from one snapshot to the next. Lets others work in between: what was handed over first is on its way
    /// while the rest is sealed.
    pub(super) async fn send(&self, before: &Told, after: &Told, deltas: Deltas) {
        let Deltas { changed, new, removed: _ } = deltas;
        for (at, (host, delta)) in changed.into_iter().enumerate() {
            if let Some(host) = self.listener(after, host) {
                let generation = after.generation(host.id);
                self.push(host, generation, &delta.encode(before.generation(host.id), generation));
            }
            breathe(at).await;
        }
        // Most of them are not there yet and fetch their map anyway when they come.
        self.have_fetched(after, new).await;
    }

    /// Has hosts that may have missed something look whether their map is the newest.
    pub(super) async fn ask_to_look(&self, told: &Told, missed: Missed) {
        let hosts: Vec<HostId> = match missed {
            Missed::Some(hosts) => hosts.into_iter().collect(),
            Missed::All => told.intent.hosts(None).map(|host| host.id).collect(),
        };
        self.have_fetched(told, hosts).await;
    }

    /// Has hosts fetch their maps, unless these are what they hold.
    async fn have_fetched(&self, told: &Told, hosts: Vec<HostId>) {
        for (at, host) in hosts.into_iter().enumerate() {
            if let Some(host) = self.listener(told, host) {
                let generation = told.generation(host.id);
                self.push(host, generation, &wire::encode(&Down::Fetch(generation)));
            }
            breathe(at).await;
        }
    }

    /// Whether the broker knows the host to be connected.
    pub(super) fn is_online(&self, host: HostId) -> bool {
        self.broker.is_online(host)
    }

    /// There is this host, or it has other keys.
    pub(super) fn admit(&self, host: HostId) {
        self.broker.admit(host);
    }

    /// The host, if something sent now may reach it. Not `is_online`: between listening and saying so the host fetches its map,
    /// and what changes then is news to it.
    fn listener<'a>(&self, told: &'a Told, host: HostId) -> Option<&'a Host> {
        told.intent.host(host).filter(|_| self.broker.is_listening(host))
    }

    /// Tells hosts that they were removed, and ends their connections once they had time to read it. Those as well that came
    /// and went so fast that they never were in what was told: nobody else would part from them.
    pub(super) fn send_off(&self, gone: Vec<Host>, generation: Generation) {
        if gone.is_empty() {
            return;
        }
        for host in &gone {
            self.push(host, generation, &wire::encode(&Down::Removed));
            self.channels.forget(host.id);
        }
        let broker = Arc::clone(&self.broker);
        tokio::spawn(async move {
            tokio::time::sleep(LAST_WORDS).await;
            for host in gone {
                broker.kick(host.id);
            }
        });
    }

    fn push(&self, host: &Host, generation: Generation, message: &[u8]) {
        let sealed = match self.channels.seal(host, generation.number(), message) {
            Ok(sealed) => sealed,
            Err(error) => {
                tracing::error!(host = %host.name, "a change was not sealed: {error:#}");
                return;
            }
        };
        metrics::counter!("netloom_pushed_bytes_total").increment(sealed.len() as u64);
        let delivery = self.broker.publish(host.id, Bytes::from(sealed));
        metrics::counter!("netloom_pushed_total", "delivery" => label(delivery)).increment(1);
        if matches!(delivery, Delivery::TooLarge | Delivery::Full) {
            let fetch = wire::encode(&Down::Fetch(generation));
            if let Ok(sealed) = self.channels.seal(host, generation.number(), &fetch) {
                self.broker.publish(host.id, Bytes::from(sealed));
            }
        }
    }
}

/// Lets others work, every now and then.
async fn breathe(at: usize) {
    if at % BREATH == BREATH - 1 {
        tokio::task::yield_now().await;
    }
}

fn label(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Queued => "queued",
        Delivery::Offline => "offline",
        Delivery::Full => "full",
        Delivery::TooLarge => "too_large",
    }
}

#[cfg(test)]
mod tests {
    use wire::SealingSecret;

    use super::*;
    use crate::broker::Backlog;

    /// A broker with so many hosts, of which so many wait.
    struct Loaded {
        connected: usize,
        hosts: usize,
    }

    impl Broker for Loaded {
        fn publish(&self, _: HostId, _: Bytes) -> Delivery {
            Delivery::Offline
        }

        fn kick(&self, _: HostId) -> bool {
            false
        }

        fn is_online(&self, _: HostId) -> bool {
            false
        }

        fn is_listening(&self, _: HostId) -> bool {
            false
        }

        fn connected(&self) -> usize {
            self.connected
        }

        fn backlog(&self) -> Backlog {
            Backlog { hosts: self.hosts, ..Backlog::default() }
        }
    }

    fn is_congested(connected: usize, hosts: usize) -> bool {
        let channels = Arc::new(Channels::new(SealingSecret::from_random([1; 32]), None));
        Outbox::new(Arc::new(Loaded { connected, hosts }), channels).is_congested()
    }

    #[test]
    fn telling_is_put_off_while_many_wait_for_what_they_were_told_before() {
        assert!(!is_congested(10_000, 0) && !is_congested(10_000, 1_000) && is_congested(10_000, 2_000));
        assert!(!is_congested(50, 50), "a small network is told at once");
    }
}
