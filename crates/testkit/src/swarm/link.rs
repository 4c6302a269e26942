//! An agent's standing connection to a broker: TLS, WebSocket where that is asked for, MQTT 3.1.1.
//!
//! Not for what the messages mean and not for when to connect. It keeps true that the agent is subscribed to its own map topic
//! and has said that it is there before the connection counts as standing.

use std::io;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use wire::{PRESENCE_OFFLINE, PRESENCE_ONLINE, TopicKind};

use super::dial::{CONNECT, Stream};
use super::doors::{Door, Doors};
use super::http::take_head;
use super::machine::Machine;
use super::mqtt::{self, Connect, Packet};
use super::pace::Jitter;
use super::websocket::{self, Opcode};

const STEP: usize = 4 * 1024;

/// A connection that stands, or is about to.
pub(super) struct Link {
    stream: Stream,
    /// Whether MQTT goes in WebSocket frames.
    framed: bool,
    /// What came and was not yet taken: WebSocket frames, and the packets in them.
    frames: BytesMut,
    packets: BytesMut,
    /// Packets that are to be sent.
    pub(super) out: Vec<u8>,
    written: Vec<u8>,
    jitter: Jitter,
    last_id: u16,
    /// Seconds.
    pub(super) keepalive: u16,
    pub(super) last_sent: Instant,
}

impl Link {
    /// Connects as the machine to whichever broker its turn is, and returns when the connection stands.
    pub(super) async fn connect(
        doors: &Doors,
        machine: &Machine,
        turn: usize,
        keepalive: u16,
        seed: u64,
    ) -> Result<Self> {
        let links = machine.map().server.clone();
        let standing = async {
            let door = doors.broker(&links, turn)?;
            let mut link = Self::open(&door, machine, seed).await?;
            link.introduce(&door, machine, keepalive).await?;
            anyhow::Ok(link)
        };
        timeout(CONNECT, standing).await.context("the broker did not answer in time")?
    }

    /// A connection on which nothing of MQTT was said yet.
    pub(super) async fn open(door: &Door<'_>, machine: &Machine, seed: u64) -> Result<Self> {
        let stream = door.open(machine).await?;
        let mut link = Self {
            stream,
            framed: true,
            frames: BytesMut::new(),
            packets: BytesMut::new(),
            out: Vec::new(),
            written: Vec::new(),
            jitter: Jitter::new(seed),
            last_id: 0,
            keepalive: 0,
            last_sent: Instant::now(),
        };
        let Some(target) = door.target() else {
            link.framed = false;
            return Ok(link);
        };
        let mut key = [0; 16];
        key[..8].copy_from_slice(&link.jitter.next().to_le_bytes());
        key[8..].copy_from_slice(&link.jitter.next().to_le_bytes());
        link.raw(&websocket::upgrade(door.host(), target, key)).await?;
        loop {
            if let Some(head) = take_head(&mut link.frames)? {
                ensure!(head.status == 101, "the broker is not there: status {}", head.status);
                return Ok(link);
            }
            ensure!(link.fill().await? > 0, "the server closed before it answered");
        }
    }

    async fn introduce(&mut self, door: &Door<'_>, machine: &Machine, keepalive: u16) -> Result<()> {
        let host = machine.host.to_string();
        // The server's own broker keeps nothing for whoever is away, and is asked for no more than that.
        let (password, qos) = match door {
            Door::Server(_) => (machine.password(), 0),
            Door::Broker(_) => (machine.channel.broker_password(), 1),
        };
        self.keepalive = keepalive;
        let connect = Connect {
            host: &host,
            password: &password,
            will_topic: &TopicKind::Presence.topic_of(&host),
            will: PRESENCE_OFFLINE,
            keepalive,
        };
        mqtt::put_connect(&mut self.out, &connect);
        self.flush().await?;
        match self.next().await? {
            Packet::ConnAck { code: 0 } => {}
            other => bail!("the broker at {} refused the connection: {other:?}", door.host()),
        }
        let id = self.fresh_id();
        mqtt::put_subscribe(&mut self.out, id, &TopicKind::Map.topic_of(&host), qos);
        self.flush().await?;
        match self.next().await? {
            Packet::SubAck { granted } if granted == qos => {}
            other => bail!("the broker at {} refused the subscription: {other:?}", door.host()),
        }
        self.say_online(machine);
        self.flush().await?;
        Ok(())
    }

    /// Puts the word that the machine is there.
    pub(super) fn say_online(&mut self, machine: &Machine) {
        self.publish(&TopicKind::Presence.topic_of(&machine.host.to_string()), PRESENCE_ONLINE);
    }

    /// Puts a message at QoS 1 and says under which id.
    pub(super) fn publish(&mut self, topic: &str, payload: &[u8]) -> u16 {
        let id = self.fresh_id();
        mqtt::put_publish(&mut self.out, id, topic, payload);
        id
    }

    fn fresh_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// Sends what was put.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() && self.framed {
            websocket::put(&mut self.written, Opcode::Binary, self.jitter.mask(), &self.out);
            self.out.clear();
        } else {
            self.written.append(&mut self.out);
        }
        if self.written.is_empty() {
            return Ok(());
        }
        let written = std::mem::take(&mut self.written);
        let sent = self.raw(&written).await;
        self.written = written;
        self.written.clear();
        self.written.shrink_to(STEP);
        sent
    }

    /// Sends these bytes as they are, inside TLS and nothing else.
    pub(super) async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.last_sent = Instant::now();
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Waits for more bytes; 0 means that the server closed. Loses nothing when it is given up.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        let input = if self.framed { &mut self.frames } else { &mut self.packets };
        input.reserve(STEP);
        self.stream.read_buf(input).await
    }

    /// The next packet of what came; none if there is not enough yet.
    pub(super) fn take(&mut self) -> Result<Option<Packet>> {
        loop {
            if let Some(packet) = mqtt::take(&mut self.packets)? {
                return Ok(Some(packet));
            }
            if !self.framed {
                return Ok(None);
            }
            let Some(frame) = websocket::take(&mut self.frames)? else {
                return Ok(None);
            };
            match frame.opcode {
                Opcode::Binary | Opcode::Continuation if self.packets.is_empty() => {
                    self.packets = BytesMut::from(frame.payload);
                }
                Opcode::Binary | Opcode::Continuation => self.packets.extend_from_slice(&frame.payload),
                Opcode::Ping => {
                    let mask = self.jitter.mask();
                    websocket::put(&mut self.written, Opcode::Pong, mask, &frame.payload);
                }
                Opcode::Pong => {}
                Opcode::Close => bail!("the server said goodbye"),
                Opcode::Text => bail!("the server sent text"),
            }
        }
    }

    async fn next(&mut self) -> Result<Packet> {
        loop {
            if let Some(packet) = self.take()? {
                return Ok(packet);
            }
            ensure!(self.fill().await? > 0, "the server closed the connection");
        }
    }

    /// The bytes that came since this was asked last, below TLS.
    pub(super) fn take_received(&mut self) -> u64 {
        self.stream.get_mut().0.take_received()
    }

    /// Ends by a reset.
    pub(super) fn cut(self) {
        self.stream.get_ref().0.will_reset();
    }

    /// Says farewell, as far as that is possible.
    pub(super) async fn farewell(mut self, machine: &Machine) {
        self.publish(&TopicKind::Presence.topic_of(&machine.host.to_string()), PRESENCE_OFFLINE);
        mqtt::put_disconnect(&mut self.out);
        let said = async {
            self.flush().await?;
            self.stream.shutdown().await
        };
        // Who is not there to hear it goes without.
        let _unheard = timeout(CONNECT, said).await;
    }
}
