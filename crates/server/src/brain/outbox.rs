//! Seals what changed for each host and hands it to the broker. Nothing is kept for a host that is not there: it fetches
//! its map when it comes.

use std::sync::Arc;

use bytes::Bytes;
use control::plan::Deltas;
use model::{Generation, Host};
use wire::Down;

use super::Told;
use crate::broker::{Broker, Delivery};
use crate::channels::Channels;

/// The way out to agents.
pub(super) struct Outbox {
    broker: Arc<dyn Broker>,
    channels: Arc<Channels>,
}

impl Outbox {
    pub(super) fn new(broker: Arc<dyn Broker>, channels: Arc<Channels>) -> Self {
        Self { broker, channels }
    }

    /// Sends what leads from one snapshot to the next.
    pub(super) fn send(&self, before: &Told, after: &Told, deltas: Deltas) {
        for (host, delta) in deltas.changed {
            let Some(known) = after.intent.host(host) else {
                continue;
            };
            // Not `is_online`: between listening and saying so the host fetches its map, and what changes then is news to it.
            if !self.broker.is_listening(&host.to_string()) {
                continue;
            }
            let generation = after.generation(host);
            let delta = delta.to_wire(before.generation(host), generation);
            self.push(known, generation, &Down::Delta(delta));
        }
        // Most of them are not there yet and fetch their map anyway when they come.
        for host in deltas.new {
            let Some(known) = after.intent.host(host) else {
                continue;
            };
            if self.broker.is_listening(&host.to_string()) {
                let generation = after.generation(host);
                self.push(known, generation, &Down::Fetch(generation));
            }
        }
    }

    /// Tells hosts that they were removed, and ends their connections. Those as well that came and went so fast that they
    /// never were in what was told: nobody else would part from them.
    pub(super) fn send_off(&self, gone: Vec<Host>, generation: Generation) {
        for host in gone {
            self.push(&host, generation, &Down::Removed);
            self.channels.forget(host.id);
            self.part_from(host.id.to_string());
        }
    }

    fn push(&self, host: &Host, generation: Generation, message: &Down) {
        let sealed = match self.channels.seal(host, generation.number(), &wire::encode(message)) {
            Ok(sealed) => sealed,
            Err(error) => {
                tracing::error!(host = %host.name, "a change was not sealed: {error:#}");
                return;
            }
        };
        metrics::counter!("netloom_pushed_bytes_total").increment(sealed.len() as u64);
        let delivery = self.broker.publish(&host.id.to_string(), Bytes::from(sealed));
        metrics::counter!("netloom_pushed_total", "delivery" => label(delivery)).increment(1);
        if delivery == Delivery::TooLarge {
            let fetch = wire::encode(&Down::Fetch(generation));
            if let Ok(sealed) = self.channels.seal(host, generation.number(), &fetch) {
                self.broker.publish(&host.id.to_string(), Bytes::from(sealed));
            }
        }
    }

    /// Ends the connection of a removed host, once it had time to read that it was removed.
    fn part_from(&self, host: String) {
        let broker = Arc::clone(&self.broker);
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            broker.kick(&host);
        });
    }
}

fn label(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Queued => "queued",
        Delivery::Offline => "offline",
        Delivery::TooSlow => "too_slow",
        Delivery::TooLarge => "too_large",
    }
}
