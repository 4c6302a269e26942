//! One connection to the broker, as a conversation in MQTT 3.1.1.
//!
//! Not for topics or what is in messages. It keeps true that no more reports are on their way than the broker may leave
//! unconfirmed, that what is sent is taken within a time or the connection is lost, and that a broker that breaks the
//! protocol is not listened to any longer.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rumqttc::{
    Codec, Connect, ConnectReturnCode, Packet, PubAck, Publish, QoS, Subscribe, SubscribeReasonCode,
};
use tokio::time::timeout;
use tokio_util::codec::Framed;

use crate::link::dial::Stream;
use crate::link::error::root_cause;
use crate::link::{LinkError, Road};

/// The number of the one subscription, beyond those of messages.
const SUBSCRIPTION: u16 = 33;

/// See the module.
pub(super) struct Conversation {
    packets: Framed<Stream, Codec>,
    /// A bit for each message of ours, by its number, that was not confirmed yet.
    unconfirmed: u32,
    pinged: bool,
    patience: Duration,
}

/// What the broker said.
pub(super) enum Said {
    /// What was subscribed to comes from now on.
    Subscribed,
    /// A message.
    Message { topic: String, payload: Vec<u8> },
    /// Nothing that anybody need know of.
    Nothing,
}

impl Conversation {
    /// Greets the broker. `limits`: the largest packets to take and to send. What is sent must be taken within `patience`.
    pub(super) async fn open(
        stream: Stream,
        greeting: Connect,
        limits: [usize; 2],
        patience: Duration,
    ) -> Result<Self, LinkError> {
        let [max_incoming_size, max_outgoing_size] = limits;
        let packets = Framed::new(stream, Codec { max_incoming_size, max_outgoing_size });
        let mut talk = Self { packets, unconfirmed: 0, pinged: false, patience };
        let unreachable = |error| match error {
            LinkError::Lost(why) => LinkError::Unreachable(why),
            other => other,
        };
        talk.send(Packet::Connect(greeting)).await.map_err(unreachable)?;
        match talk.read().await.map_err(unreachable)? {
            Packet::ConnAck(answer) => accepted(answer.code).map(|()| talk),
            _ => Err(confused()),
        }
    }

    /// How the connection leaves this machine.
    pub(super) fn road(&self) -> Road {
        self.packets.get_ref().road()
    }

    /// The next packet, to be given to [`Self::take`]. Loses nothing when it is not waited for any longer.
    pub(super) async fn read(&mut self) -> Result<Packet, LinkError> {
        match self.packets.next().await {
            Some(Ok(packet)) => Ok(packet),
            Some(Err(error)) => Err(LinkError::Lost(root_cause(&error))),
            None => Err(LinkError::Lost("it was closed at the other end".to_owned())),
        }
    }

    /// Does what a packet asks for.
    pub(super) async fn take(&mut self, packet: Packet) -> Result<Said, LinkError> {
        match packet {
            Packet::SubAck(answer) if answer.pkid == SUBSCRIPTION => {
                if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                    return Err(LinkError::NotAuthorised);
                }
                Ok(Said::Subscribed)
            }
            Packet::Publish(message) => {
                match message.qos {
                    QoS::AtMostOnce => {}
                    QoS::AtLeastOnce => self.send(Packet::PubAck(PubAck::new(message.pkid))).await?,
                    QoS::ExactlyOnce => return Err(confused()),
                }
                Ok(Said::Message { topic: message.topic, payload: message.payload.to_vec() })
            }
            Packet::PubAck(answer) => {
                let bit = answer.pkid.checked_sub(1).and_then(|bit| 1_u32.checked_shl(bit.into()));
                self.unconfirmed &= !bit.filter(|bit| self.unconfirmed & bit != 0).ok_or_else(confused)?;
                Ok(Said::Nothing)
            }
            Packet::PingResp => {
                self.pinged = false;
                Ok(Said::Nothing)
            }
            // The library's own enum; nothing else is for a client that asked for no more than we did.
            _ => Err(confused()),
        }
    }

    pub(super) async fn subscribe(&mut self, topic: &str, quality: QoS) -> Result<(), LinkError> {
        let mut subscription = Subscribe::new(topic, quality);
        subscription.pkid = SUBSCRIPTION;
        self.send(Packet::Subscribe(subscription)).await
    }

    /// Whether one message more may be on its way.
    pub(super) const fn has_room(&self) -> bool {
        self.unconfirmed != u32::MAX
    }

    /// Sends a message, at QoS 1. Without room it is lost, which nobody is told.
    pub(super) async fn publish(&mut self, topic: &str, payload: Vec<u8>) -> Result<(), LinkError> {
        if !self.has_room() {
            return Ok(());
        }
        let bit = self.unconfirmed.trailing_ones();
        self.unconfirmed |= 1 << bit;
        let mut message = Publish::new(topic, QoS::AtLeastOnce, payload);
        message.pkid = u16::try_from(bit + 1).expect("there are 32 bits");
        self.send(Packet::Publish(message)).await
    }

    /// Asks whether the broker is there; it must have answered the time before.
    pub(super) async fn ping(&mut self) -> Result<(), LinkError> {
        if std::mem::replace(&mut self.pinged, true) {
            return Err(LinkError::Lost("the broker does not answer".to_owned()));
        }
        self.send(Packet::PingReq).await
    }

    /// Ends it in good order.
    pub(super) async fn close(&mut self) -> Result<(), LinkError> {
        self.send(Packet::Disconnect).await?;
        self.packets.close().await.map_err(|error| LinkError::Lost(root_cause(&error)))
    }

    async fn send(&mut self, packet: Packet) -> Result<(), LinkError> {
        match timeout(self.patience, self.packets.send(packet)).await {
            Ok(sent) => sent.map_err(|error| LinkError::Lost(root_cause(&error))),
            Err(_late) => Err(LinkError::Lost("the broker takes nothing any more".to_owned())),
        }
    }
}

fn accepted(code: ConnectReturnCode) -> Result<(), LinkError> {
    match code {
        ConnectReturnCode::Success => Ok(()),
        ConnectReturnCode::BadUserNamePassword
        | ConnectReturnCode::NotAuthorized
        | ConnectReturnCode::BadClientId => Err(LinkError::NotAuthorised),
        ConnectReturnCode::ServiceUnavailable => {
            let why = "the broker takes nobody now: it is full or shutting down, or another server leads";
            Err(LinkError::Refused(why.to_owned()))
        }
        ConnectReturnCode::RefusedProtocolVersion => {
            Err(LinkError::Refused("the broker does not speak MQTT 3.1.1".to_owned()))
        }
    }
}

fn confused() -> LinkError {
    LinkError::Lost("the broker broke the protocol".to_owned())
}

#[cfg(test)]
mod tests {
    use rumqttc::{ConnAck, SubAck};
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    type Broker = Framed<DuplexStream, Codec>;

    const SIZE: usize = 4096;

    /// A conversation with a broker that has answered with this.
    async fn greeted(code: ConnectReturnCode) -> (Result<Conversation, LinkError>, Broker) {
        let (ours, theirs) = duplex(SIZE);
        let mut broker = Framed::new(theirs, Codec { max_incoming_size: SIZE, max_outgoing_size: SIZE });
        let patience = Duration::from_secs(60);
        let stream = Stream::new(ours, Road::Beside);
        let opening = Conversation::open(stream, Connect::new("host"), [SIZE; 2], patience);
        let answering = async {
            assert!(
                matches!(heard(&mut broker).await, Packet::Connect(greeting) if greeting.client_id == "host")
            );
            broker.send(Packet::ConnAck(ConnAck::new(code, false))).await.unwrap();
        };
        let (talk, ()) = tokio::join!(opening, answering);
        (talk, broker)
    }

    async fn started() -> (Conversation, Broker) {
        let (talk, broker) = greeted(ConnectReturnCode::Success).await;
        (talk.unwrap(), broker)
    }

    async fn heard(broker: &mut Broker) -> Packet {
        broker.next().await.unwrap().unwrap()
    }

    /// What the conversation makes of a packet.
    async fn said(talk: &mut Conversation, broker: &mut Broker, packet: Packet) -> Result<Said, LinkError> {
        broker.send(packet).await.unwrap();
        let packet = talk.read().await?;
        talk.take(packet).await
    }

    #[tokio::test]
    async fn a_broker_that_refuses_is_told_apart_from_one_that_cannot() {
        let refused = |code| async move { greeted(code).await.0.err().unwrap() };
        assert_eq!(refused(ConnectReturnCode::NotAuthorized).await, LinkError::NotAuthorised);
        let full = refused(ConnectReturnCode::ServiceUnavailable).await;
        assert!(matches!(full, LinkError::Refused(_)), "{full}");
    }

    #[tokio::test]
    async fn no_more_is_on_its_way_than_was_left_unconfirmed_and_a_confirmation_makes_room() {
        let (mut talk, mut broker) = started().await;
        let mut numbers = Vec::new();
        while talk.has_room() {
            talk.publish("t", vec![7]).await.unwrap();
            let Packet::Publish(message) = heard(&mut broker).await else { panic!("no message") };
            numbers.push(message.pkid);
        }
        assert_eq!(numbers, (1..=32).collect::<Vec<u16>>());
        said(&mut talk, &mut broker, Packet::PubAck(PubAck::new(5))).await.unwrap();
        assert!(talk.has_room());
        talk.publish("t", vec![7]).await.unwrap();
        assert!(matches!(heard(&mut broker).await, Packet::Publish(message) if message.pkid == 5));
    }

    #[tokio::test]
    async fn what_was_not_asked_for_ends_the_connection() {
        for strange in [0, 1, 33, u16::MAX] {
            let (mut talk, mut broker) = started().await;
            let taken = said(&mut talk, &mut broker, Packet::PubAck(PubAck::new(strange))).await;
            assert!(matches!(taken, Err(LinkError::Lost(_))), "a confirmation of {strange}");
        }
        let (mut talk, mut broker) = started().await;
        let taken = said(&mut talk, &mut broker, Packet::PingReq).await;
        assert!(matches!(taken, Err(LinkError::Lost(_))), "a ping of the broker's own");
    }

    #[tokio::test]
    async fn a_message_is_handed_on_and_confirmed_where_the_broker_asks_for_it() {
        let (mut talk, mut broker) = started().await;
        talk.subscribe("t", QoS::AtLeastOnce).await.unwrap();
        let Packet::Subscribe(asked) = heard(&mut broker).await else { panic!("no subscription") };
        let granted = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce)];
        let answer = Packet::SubAck(SubAck::new(asked.pkid, granted));
        assert!(matches!(said(&mut talk, &mut broker, answer).await, Ok(Said::Subscribed)));
        let mut message = Publish::new("t", QoS::AtLeastOnce, "map");
        message.pkid = 9;
        let taken = said(&mut talk, &mut broker, Packet::Publish(message)).await.unwrap();
        assert!(
            matches!(taken, Said::Message { topic, payload } if topic == "t" && payload == b"map".as_slice())
        );
        assert_eq!(heard(&mut broker).await, Packet::PubAck(PubAck::new(9)));
    }

    #[tokio::test]
    async fn a_broker_that_does_not_answer_between_two_pings_is_lost() {
        let (mut talk, mut broker) = started().await;
        talk.ping().await.unwrap();
        assert_eq!(heard(&mut broker).await, Packet::PingReq);
        said(&mut talk, &mut broker, Packet::PingResp).await.unwrap();
        talk.ping().await.unwrap();
        assert!(matches!(talk.ping().await, Err(LinkError::Lost(_))));
    }

    #[tokio::test]
    async fn a_connection_that_ends_is_lost_and_one_that_was_never_begun_was_out_of_reach() {
        let (mut talk, broker) = started().await;
        drop(broker);
        assert!(matches!(talk.read().await, Err(LinkError::Lost(_))));
        let (ours, theirs) = duplex(SIZE);
        drop(theirs);
        let stream = Stream::new(ours, Road::Beside);
        let opened = Conversation::open(stream, Connect::new("host"), [SIZE; 2], Duration::from_secs(60));
        assert!(matches!(opened.await, Err(LinkError::Unreachable(_))));
    }
}
