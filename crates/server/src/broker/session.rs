//! One MQTT connection from CONNECT to its end: who may do what, keepalive, acknowledgements, flow.
//!
//! Knows nothing of what carries the bytes, see [`super::wire`]. Invariants: nothing is answered before the host proved
//! itself · a topic that is not the host's own ends the connection (a subscription to one is refused) · each wait has
//! a deadline or ends when the connection is asked to end · nothing is read while something is left to be written, so a
//! host that sends and does not read fills nothing.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::wire::{HostTopic, TopicKind};
use bytes::{Bytes, BytesMut};
use model::HostId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tracing::{debug, warn};

use super::mailbox::Found;
use super::packet::{Connect, Malformed, Packet, Publish, Qos, Subscribe, Welcome};
use super::registry::{Client, Registry};
use super::wire::{Filled, Wire};
use super::{Authenticate, Ended, Limits, PRESENCE_OFFLINE, codec};

/// One write has no more than this, and one message.
const BATCH_BYTES: usize = 16 * 1024;
const FAREWELL: Duration = Duration::from_secs(1);

/// What all connections of one broker share.
pub(super) struct Shared {
    pub(super) registry: Registry,
    pub(super) authenticate: Authenticate,
    pub(super) limits: Limits,
    pub(super) connecting: Arc<Semaphore>,
}

/// Serves one connection until it ends.
pub(super) async fn serve(
    shared: Arc<Shared>,
    mut wire: Wire,
    peer: SocketAddr,
    connecting: OwnedSemaphorePermit,
) {
    let mut input = BytesMut::new();
    let welcomed = timeout(shared.limits.connect_timeout, welcome(&shared, &mut wire, &mut input)).await;
    drop(connecting);
    let (client, keepalive) = match welcomed {
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
    let now = Instant::now();
    let patience = keepalive * 3 / 2;
    let mut session = Session {
        topic: HostTopic { host: client.host, kind: TopicKind::Map }.to_string(),
        shared: &shared,
        client: &client,
        wire,
        input,
        granted: None,
        in_flight: VecDeque::new(),
        last_id: 0,
        last_heard: now,
        patience,
        writing_since: None,
        stuck: false,
        timer: Box::pin(sleep_until(now + patience)),
    };
    let reason = session.run().await;
    let mut wire = session.wire;
    // Whatever ended it: from now on nothing is put there any more.
    client.mailbox.end(reason);
    debug!(%peer, host = %client.host, %reason, "MQTT connection closed");
    tokio::join!(shared.registry.leave(&client, reason), farewell(&mut wire));
}

async fn farewell(wire: &mut Wire) {
    // Whoever does not take the farewell in time goes without.
    let _ = timeout(FAREWELL, wire.close()).await;
}

type Welcomed = (Arc<Client>, Duration);

/// Reads CONNECT, judges it, and answers.
async fn welcome(shared: &Shared, wire: &mut Wire, input: &mut BytesMut) -> Result<Welcomed, &'static str> {
    let connect = match read_connect(shared, wire, input).await? {
        Ok(connect) => connect,
        Err(refusal) => return refuse(wire, refusal).await,
    };
    // Before anybody is judged: a server that follows may not know a host yet that joined just now.
    if !shared.registry.is_open() {
        return refuse(wire, Welcome::Unavailable).await;
    }
    let host = match judge(shared, &connect) {
        Ok(host) => host,
        Err(refusal) => return refuse(wire, refusal).await,
    };
    let client = match shared.registry.admit(host) {
        Ok(client) => client,
        Err(refusal) => return refuse(wire, refusal).await,
    };
    codec::write_connack(wire.packets(), Welcome::Accepted);
    if wire.flush().await.is_err() {
        shared.registry.leave(&client, Ended::Lost).await;
        return Err("it was gone before it was answered");
    }
    let wanted = Duration::from_secs(connect.keepalive.into());
    let longest = shared.limits.max_keepalive;
    let keepalive = if wanted.is_zero() { longest } else { wanted.min(longest) };
    Ok((client, keepalive))
}

async fn read_connect(
    shared: &Shared,
    wire: &mut Wire,
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
        if !matches!(wire.fill(input).await, Ok(Filled::Some)) {
            return Err("it closed before introducing itself");
        }
    }
}

async fn refuse(wire: &mut Wire, refusal: Welcome) -> Result<Welcomed, &'static str> {
    codec::write_connack(wire.packets(), refusal);
    // Refused either way.
    let _ = wire.flush().await;
    Err(match refusal {
        Welcome::Accepted => "accepted",
        Welcome::UnacceptableProtocol => "it does not speak MQTT 3.1.1",
        Welcome::IdentifierRejected => "its client id is no host id",
        Welcome::Unavailable => "the server is full or shutting down, or another one leads",
        Welcome::BadCredentials => "its credentials are wrong",
        Welcome::NotAuthorised => "its last will is on a topic that is not its own presence",
    })
}

fn judge(shared: &Shared, connect: &Connect) -> Result<HostId, Welcome> {
    let name = connect.client_id.as_str();
    let host: HostId = name.parse().map_err(|_| Welcome::IdentifierRejected)?;
    // A host has one spelling only, as its topics do.
    if host.to_string() != name {
        return Err(Welcome::IdentifierRejected);
    }
    let Some(password) = &connect.password else {
        return Err(Welcome::BadCredentials);
    };
    if connect.user_name.as_deref() != Some(name) || !(shared.authenticate)(host, password) {
        return Err(Welcome::BadCredentials);
    }
    match &connect.will_topic {
        Some(topic) if HostTopic::of_own(host, topic) != Some(TopicKind::Presence) => {
            Err(Welcome::NotAuthorised)
        }
        Some(_) | None => Ok(host),
    }
}

struct Session<'a> {
    shared: &'a Shared,
    client: &'a Arc<Client>,
    topic: String,
    wire: Wire,
    input: BytesMut,
    granted: Option<Qos>,
    in_flight: VecDeque<u16>,
    last_id: u16,
    last_heard: Instant,
    patience: Duration,
    /// Since when a write makes no progress, and how far it had come then.
    writing_since: Option<(Instant, u64)>,
    /// What the mailbox was told last.
    stuck: bool,
    /// Fires no later than the next deadline. It is moved when it fires and rarely before: most deadlines are put off
    /// again and again, and each time it would have to be registered anew.
    timer: Pin<Box<Sleep>>,
}

impl Session<'_> {
    async fn run(&mut self) -> Ended {
        loop {
            if let Err(reason) = self.step().await {
                return reason;
            }
        }
    }

    /// Handles what came, then sends what is to be sent until something comes.
    async fn step(&mut self) -> Result<(), Ended> {
        while let Some(packet) = self.next_packet()? {
            self.last_heard = Instant::now();
            self.handle(packet).await?;
        }
        if self.input.is_empty() {
            // A connection at rest keeps no buffer.
            self.input = BytesMut::new();
        }
        poll_fn(|cx| self.poll_input(cx)).await
    }

    /// Waits until something came, and sends meanwhile.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        self.client.mailbox.watch(cx.waker());
        let flushed = match self.poll_send(cx) {
            Ok(flushed) => flushed,
            Err(reason) => return Poll::Ready(Err(reason)),
        };
        if flushed {
            match self.wire.poll_fill(cx, &mut self.input) {
                Poll::Ready(Ok(Filled::Some)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(Filled::Closed) | Err(_)) => return Poll::Ready(Err(Ended::Lost)),
                Poll::Pending => {}
            }
        }
        self.poll_deadline(cx)
    }

    /// Sends as much as the host takes; true if nothing is left to be written.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        loop {
            match self.wire.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.written(),
                Poll::Ready(Err(_)) => return Err(Ended::Lost),
                Poll::Pending => {
                    self.writing();
                    self.tell_stuck(true);
                    // Whoever is asked to end need not be read to the end.
                    return self.client.mailbox.ended().map_or(Ok(false), Err);
                }
            }
            if !self.put_waiting()? {
                self.tell_stuck(!self.has_room());
                return Ok(true);
            }
        }
    }

    fn written(&mut self) {
        if self.writing_since.take().is_some() {
            // It was not listened to meanwhile.
            self.last_heard = Instant::now();
        }
    }

    fn writing(&mut self) {
        let taken = self.wire.taken();
        if self.writing_since.is_none_or(|(_, before)| before != taken) {
            self.writing_since = Some((Instant::now(), taken));
        }
    }

    fn tell_stuck(&mut self, stuck: bool) {
        if self.stuck != stuck {
            self.stuck = stuck;
            self.client.mailbox.set_stuck(stuck);
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight.len() < self.shared.limits.in_flight
    }

    /// When the connection ends if nothing more happens, and why.
    fn deadline(&self) -> (Instant, Ended) {
        match self.writing_since {
            Some((since, _)) => (since + self.shared.limits.write_timeout, Ended::TooSlow),
            None => (self.last_heard + self.patience, Ended::Silent),
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let (deadline, reason) = self.deadline();
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if deadline <= Instant::now() {
                return Poll::Ready(Err(reason));
            }
            self.timer.as_mut().reset(deadline);
        }
        Poll::Pending
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
            Packet::PubAck { id } => self.acknowledged(id),
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::Unsubscribe { id, filters } => {
                if filters.contains(&self.topic) {
                    self.granted = None;
                    self.client.mailbox.set_listening(false);
                }
                codec::write_unsuback(self.wire.packets(), id);
            }
            Packet::PingReq => codec::write_pingresp(self.wire.packets()),
            Packet::Disconnect => return Err(Ended::Left),
        }
        Ok(())
    }

    fn acknowledged(&mut self, id: u16) {
        // Clients acknowledge in order, as the protocol asks them to.
        if self.in_flight.front() == Some(&id) {
            self.in_flight.pop_front();
        } else {
            self.in_flight.retain(|waiting| *waiting != id);
        }
    }

    async fn published(&mut self, publish: Publish) -> Result<(), Ended> {
        let told = tell(&self.shared.registry, self.client, &publish);
        tokio::select! {
            told = told => told?,
            reason = asked_to_end(self.client) => return Err(reason),
        }
        if let Some(id) = publish.id {
            codec::write_puback(self.wire.packets(), id);
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
        codec::write_suback(self.wire.packets(), subscribe.id, &granted);
        self.client.mailbox.set_listening(self.granted.is_some());
    }

    /// Takes more of what waits, as long as one write stays small and the client acknowledges; true if there was any.
    fn put_waiting(&mut self) -> Result<bool, Ended> {
        let mut any = false;
        loop {
            let room = self.has_room() && self.wire.waiting() < BATCH_BYTES;
            match self.client.mailbox.take(room) {
                Found::Message(payload) => self.put(&payload),
                Found::Nothing => return Ok(any),
                Found::Ended(reason) => return Err(reason),
            }
            any = true;
        }
    }

    fn put(&mut self, payload: &Bytes) {
        let id = match self.granted {
            // It unsubscribed after this was queued.
            None => return,
            Some(Qos::AtMostOnce) => None,
            Some(Qos::AtLeastOnce) => Some(self.fresh_id()),
        };
        codec::write_publish(self.wire.packets(), &self.topic, id, payload);
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
}

/// Tells the rest of the server what a host published.
async fn tell(registry: &Registry, client: &Arc<Client>, publish: &Publish) -> Result<(), Ended> {
    match HostTopic::of_own(client.host, &publish.topic) {
        Some(TopicKind::Report) => registry.report(client, publish.payload.clone()).await,
        Some(TopicKind::Presence) => registry.announce(client, publish.payload != PRESENCE_OFFLINE).await,
        Some(TopicKind::Map) | None => {
            let topic: String = publish.topic.chars().take(128).collect();
            warn!(host = %client.host, ?topic, "MQTT connection ended: not a topic it may publish to");
            return Err(Ended::Forbidden);
        }
    }
    Ok(())
}

/// Waits until somebody asks this connection to end.
async fn asked_to_end(client: &Client) -> Ended {
    poll_fn(|cx| {
        client.mailbox.watch(cx.waker());
        client.mailbox.ended().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}
