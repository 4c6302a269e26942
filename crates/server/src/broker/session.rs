//! One MQTT connection from CONNECT to its end: who may do what, keepalive, acknowledgements, flow.
//!
//! Generic over what carries the bytes, see [`super::wire`]. Invariants: nothing is answered before the host proved
//! itself · a topic that is not the host's own ends the connection (a subscription to one is refused) · each wait has
//! a deadline or ends when the connection is asked to end.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::wire::TopicKind;
use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use super::packet::{Connect, Malformed, Packet, Publish, Qos, Subscribe, Welcome};
use super::registry::{Client, Registry};
use super::wire::Wire;
use super::{Authenticate, Ended, Limits, PRESENCE_OFFLINE, codec, is_host_id};

const BATCH_BYTES: usize = 64 * 1024;
const FAREWELL: Duration = Duration::from_secs(1);

/// What all connections of one broker share.
pub(super) struct Shared {
    pub(super) registry: Registry,
    pub(super) authenticate: Authenticate,
    pub(super) limits: Limits,
    pub(super) connecting: Arc<Semaphore>,
}

/// Serves one connection until it ends.
pub(super) async fn serve<W: Wire>(
    shared: Arc<Shared>,
    mut wire: W,
    peer: SocketAddr,
    connecting: OwnedSemaphorePermit,
) {
    let mut input = BytesMut::new();
    let welcomed = timeout(shared.limits.connect_timeout, welcome(&shared, &mut wire, &mut input)).await;
    drop(connecting);
    let (client, queue, keepalive) = match welcomed {
        Ok(Ok(welcomed)) => welcomed,
        Ok(Err(reason)) => {
            debug!(%peer, %reason, "MQTT connection refused");
            return farewell(&mut wire).await;
        }
        Err(_) => {
            debug!(%peer, "MQTT connection refused: it did not introduce itself in time");
            return farewell(&mut wire).await;
        }
    };
    debug!(%peer, host = %client.host, "MQTT connection opened");
    wire.trust();
    let mut session = Session {
        topic: TopicKind::Map.topic_of(&client.host),
        shared: &shared,
        client: &client,
        wire,
        queue,
        input,
        out: BytesMut::new(),
        granted: None,
        in_flight: VecDeque::new(),
        last_id: 0,
        last_heard: Instant::now(),
        patience: keepalive * 3 / 2,
    };
    let reason = session.run().await;
    let Session { mut wire, queue, .. } = session;
    drop(queue);
    debug!(%peer, host = %client.host, %reason, "MQTT connection closed");
    tokio::join!(shared.registry.leave(&client, reason), farewell(&mut wire));
}

async fn farewell<W: Wire>(wire: &mut W) {
    // Whoever does not take the farewell in time goes without.
    let _ = timeout(FAREWELL, wire.close()).await;
}

type Welcomed = (Arc<Client>, mpsc::Receiver<Bytes>, Duration);

/// Reads CONNECT, judges it, and answers.
async fn welcome<W: Wire>(
    shared: &Shared,
    wire: &mut W,
    input: &mut BytesMut,
) -> Result<Welcomed, &'static str> {
    let connect = match read_connect(shared, wire, input).await? {
        Ok(connect) => connect,
        Err(refusal) => return refuse(wire, refusal).await,
    };
    if let Err(refusal) = judge(shared, &connect) {
        return refuse(wire, refusal).await;
    }
    let (client, queue) = match shared.registry.admit(&connect.client_id) {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(wire, refusal).await,
    };
    let mut out = BytesMut::new();
    codec::write_connack(&mut out, Welcome::Accepted);
    if wire.send(out.freeze()).await.is_err() {
        shared.registry.leave(&client, Ended::Lost).await;
        return Err("it was gone before it was answered");
    }
    let wanted = Duration::from_secs(connect.keepalive.into());
    let longest = shared.limits.max_keepalive;
    let keepalive = if wanted.is_zero() { longest } else { wanted.min(longest) };
    Ok((client, queue, keepalive))
}

async fn read_connect<W: Wire>(
    shared: &Shared,
    wire: &mut W,
    input: &mut BytesMut,
) -> Result<Result<Connect, Welcome>, &'static str> {
    loop {
        match codec::read(input, shared.limits.connect_bytes) {
            Ok(Some(Packet::Connect(connect))) => return Ok(Ok(connect)),
            Ok(Some(_)) => return Err("its first packet was no CONNECT"),
            Err(Malformed::Protocol(_)) => return Ok(Err(Welcome::UnacceptableProtocol)),
            Err(_) => return Err("its first packet was malformed or too large"),
            Ok(None) => {}
        }
        if !matches!(wire.fill(input).await, Ok(1..)) {
            return Err("it closed before introducing itself");
        }
    }
}

async fn refuse<W: Wire>(wire: &mut W, refusal: Welcome) -> Result<Welcomed, &'static str> {
    let mut out = BytesMut::new();
    codec::write_connack(&mut out, refusal);
    // Refused either way.
    let _ = wire.send(out.freeze()).await;
    Err(match refusal {
        Welcome::Accepted => "accepted",
        Welcome::UnacceptableProtocol => "it does not speak MQTT 3.1.1",
        Welcome::IdentifierRejected => "its client id is no host id",
        Welcome::Unavailable => "the server is full or shutting down",
        Welcome::BadCredentials => "its credentials are wrong",
        Welcome::NotAuthorised => "its last will is on a topic that is not its own presence",
    })
}

fn judge(shared: &Shared, connect: &Connect) -> Result<(), Welcome> {
    let host = connect.client_id.as_str();
    if !is_host_id(host) {
        return Err(Welcome::IdentifierRejected);
    }
    let Some(password) = &connect.password else {
        return Err(Welcome::BadCredentials);
    };
    if connect.user_name.as_deref() != Some(host) || !(shared.authenticate)(host, password) {
        return Err(Welcome::BadCredentials);
    }
    match &connect.will_topic {
        Some(topic) if TopicKind::of_own(host, topic) != Some(TopicKind::Presence) => {
            Err(Welcome::NotAuthorised)
        }
        Some(_) | None => Ok(()),
    }
}

struct Session<'a, W> {
    shared: &'a Shared,
    client: &'a Arc<Client>,
    topic: String,
    wire: W,
    queue: mpsc::Receiver<Bytes>,
    input: BytesMut,
    out: BytesMut,
    granted: Option<Qos>,
    in_flight: VecDeque<u16>,
    last_id: u16,
    last_heard: Instant,
    patience: Duration,
}

impl<W: Wire> Session<'_, W> {
    async fn run(&mut self) -> Ended {
        loop {
            if let Err(reason) = self.step().await {
                return reason;
            }
        }
    }

    /// Handles what came, sends what is to be sent, then waits for something to happen.
    async fn step(&mut self) -> Result<(), Ended> {
        while let Some(packet) = self.next_packet()? {
            self.last_heard = Instant::now();
            self.handle(packet).await?;
        }
        self.flush().await?;
        let room = self.in_flight.len() < self.shared.limits.in_flight;
        tokio::select! {
            reason = self.client.asked_to_end() => Err(reason),
            read = self.wire.fill(&mut self.input) => match read {
                Ok(1..) => Ok(()),
                Ok(0) | Err(_) => Err(Ended::Lost),
            },
            Some(payload) = self.queue.recv(), if room => {
                self.put(&payload);
                self.put_waiting();
                Ok(())
            }
            () = sleep_until(self.last_heard + self.patience) => Err(Ended::Silent),
        }
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, Ended> {
        codec::read(&mut self.input, self.shared.limits.up_bytes).map_err(|malformed| {
            warn!(host = %self.client.host, %malformed, "MQTT connection ended: it sent something malformed");
            Ended::Violation
        })
    }

    async fn handle(&mut self, packet: Packet) -> Result<(), Ended> {
        match packet {
            Packet::Connect(_) => return Err(Ended::Violation),
            Packet::Publish(publish) => self.published(publish).await?,
            Packet::PubAck { id } => self.in_flight.retain(|waiting| *waiting != id),
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::Unsubscribe { id, filters } => {
                if filters.contains(&self.topic) {
                    self.granted = None;
                    self.client.set_listening(false);
                }
                codec::write_unsuback(&mut self.out, id);
            }
            Packet::PingReq => codec::write_pingresp(&mut self.out),
            Packet::Disconnect => return Err(Ended::Left),
        }
        Ok(())
    }

    async fn published(&mut self, publish: Publish) -> Result<(), Ended> {
        let registry = &self.shared.registry;
        let told = async {
            match TopicKind::of_own(&self.client.host, &publish.topic) {
                Some(TopicKind::Report) => registry.report(self.client, publish.payload).await,
                Some(TopicKind::Presence) => {
                    registry.announce(self.client, publish.payload != PRESENCE_OFFLINE).await;
                }
                Some(TopicKind::Map) | None => {
                    let topic: String = publish.topic.chars().take(128).collect();
                    warn!(host = %self.client.host, ?topic, "MQTT connection ended: not a topic it may publish to");
                    return Err(Ended::Forbidden);
                }
            }
            Ok(())
        };
        tokio::select! {
            told = told => told?,
            reason = self.client.asked_to_end() => return Err(reason),
        }
        if let Some(id) = publish.id {
            codec::write_puback(&mut self.out, id);
        }
        Ok(())
    }

    fn subscribe(&mut self, subscribe: &Subscribe) {
        let mut granted = Vec::with_capacity(subscribe.filters.len());
        for (filter, qos) in &subscribe.filters {
            let own = *filter == self.topic;
            if own {
                self.granted = Some(*qos);
            } else {
                let filter: String = filter.chars().take(128).collect();
                warn!(host = %self.client.host, ?filter, "subscription refused: not the host's own topic");
            }
            granted.push(own.then_some(*qos));
        }
        codec::write_suback(&mut self.out, subscribe.id, &granted);
        self.client.set_listening(self.granted.is_some());
    }

    /// Takes more of what waits, as long as one write stays small and the client acknowledges.
    fn put_waiting(&mut self) {
        while self.out.len() < BATCH_BYTES && self.in_flight.len() < self.shared.limits.in_flight {
            let Ok(payload) = self.queue.try_recv() else {
                return;
            };
            self.put(&payload);
        }
    }

    fn put(&mut self, payload: &Bytes) {
        self.client.taken(payload.len());
        let id = match self.granted {
            // It unsubscribed after this was queued.
            None => return,
            Some(Qos::AtMostOnce) => None,
            Some(Qos::AtLeastOnce) => Some(self.fresh_id()),
        };
        codec::write_publish(&mut self.out, &self.topic, id, payload);
    }

    fn fresh_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if self.last_id != 0 && !self.in_flight.contains(&self.last_id) {
                self.in_flight.push_back(self.last_id);
                return self.last_id;
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        if self.out.is_empty() {
            return Ok(());
        }
        let bytes = self.out.split().freeze();
        tokio::select! {
            sent = timeout(self.shared.limits.write_timeout, self.wire.send(bytes)) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(Ended::Lost),
                Err(_) => Err(Ended::TooSlow),
            },
            reason = self.client.asked_to_end() => Err(reason),
        }
    }
}
