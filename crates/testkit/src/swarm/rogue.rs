//! Agents that misbehave: valid hosts with valid credentials, and then anything but an agent.
//!
//! What they do is made to hurt the others as much as one host can; nothing here needs more than one host's rights. It keeps
//! true that a rogue never stops by itself, and ends when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::task::JoinHandle;
use wire::TopicKind;

use super::Shared;
use super::doors::Door;
use super::link::Link;
use super::machine::Machine;
use super::mqtt;
use super::pace::Jitter;
use crate::fleet::random;

/// The keepalive that a rogue says it has.
const KEEPALIVE: u16 = 20;

/// What a rogue does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vice {
    /// Sends garbage, in every way there is, and comes back at once when it is thrown out.
    Garbage,
    /// Connects, goes, and connects again without a pause.
    Reconnects,
}

/// A machine that misbehaves.
#[derive(Debug)]
pub struct Rogue {
    task: JoinHandle<()>,
    tries: Arc<AtomicU64>,
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rogue {
    pub(super) fn start(shared: Arc<Shared>, machine: Arc<Machine>, vice: Vice) -> Self {
        let tries = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&tries);
        let task = tokio::spawn(async move {
            for number in 0_u64.. {
                // What comes of it is nothing to a rogue.
                let _whatever = misbehave(&shared, &machine, vice, number).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { task, tries }
    }

    /// How often it tried so far.
    pub fn tries(&self) -> u64 {
        self.tries.load(Ordering::Relaxed)
    }
}

async fn misbehave(shared: &Shared, machine: &Machine, vice: Vice, number: u64) -> Result<()> {
    let mut jitter = Jitter::new(u64::from_le_bytes(random()));
    let seed = jitter.next();
    match vice {
        Vice::Reconnects => {
            Link::connect(&shared.doors, machine, 0, KEEPALIVE, seed).await?.cut();
            Ok(())
        }
        // Before it has proved who it is.
        Vice::Garbage if number.is_multiple_of(6) => {
            let mut link = Link::open(&Door::Server(shared.doors.server(0)), machine, seed).await?;
            link.raw(&noise(&mut jitter, 60_000)).await?;
            until_closed(link).await
        }
        Vice::Garbage => {
            let mut link = Link::connect(&shared.doors, machine, 0, KEEPALIVE, seed).await?;
            garbage(&mut link, machine, number, &mut jitter);
            link.flush().await?;
            until_closed(link).await
        }
    }
}

/// Garbage of one of several kinds.
fn garbage(link: &mut Link, machine: &Machine, number: u64, jitter: &mut Jitter) {
    let own = machine.host.to_string();
    let report = TopicKind::Report.topic_of(&own);
    match number % 6 {
        // No packets.
        1 => link.out.extend(noise(jitter, 50_000)),
        // Reports that nobody sealed, and sealed ones that are no reports.
        2 => {
            for _ in 0..200 {
                link.publish(&report, &noise(jitter, 300));
                link.publish(&report, &machine.seal(&noise(jitter, 300)));
            }
            mqtt::put_disconnect(&mut link.out);
        }
        // Other hosts' topics, and topics that are nobody's.
        3 => {
            for topic in ["#", "netloom/v1/host/+/map", "$SYS/broker", "$share/x/#"] {
                mqtt::put_subscribe(&mut link.out, 9, topic, 0);
            }
            let other = TopicKind::Report.topic_of("01900000-0000-7000-8000-000000000000");
            link.publish(&other, &noise(jitter, 300));
        }
        // Its own topic, from the wrong end.
        4 => {
            link.publish(&TopicKind::Map.topic_of(&own), &noise(jitter, 300));
        }
        // A packet larger than any may be.
        _ => {
            link.publish(&report, &vec![0; 300_000]);
        }
    }
}

fn noise(jitter: &mut Jitter, bytes: usize) -> Vec<u8> {
    (0..bytes.div_ceil(8)).flat_map(|_| jitter.next().to_le_bytes()).collect()
}

/// Reads until the server has had enough.
async fn until_closed(mut link: Link) -> Result<()> {
    while link.fill().await? > 0 {
        // What came is of no interest, only that it is taken.
        let _packets = link.take()?;
    }
    Ok(())
}
