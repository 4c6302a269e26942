//! A broker of somebody else's, over TLS by authorities of one's own: who is believed, what it is shown, and what it hears.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agent::link::{
    Dialer, Link, LinkError, LinkEvent, LinkHandle, LinkOptions, PRESENCE_ONLINE, ServerTrust,
};
use futures_util::{SinkExt as _, StreamExt as _};
use model::HostId;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rumqttc::{
    Codec, ConnAck, Connect, ConnectReturnCode, Packet, PubAck, Publish, QoS, SubAck, SubscribeReasonCode,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::codec::Framed;
use wire::{Channel, TopicKind};

const DEADLINE: Duration = Duration::from_secs(20);
const SIZE: usize = 64 * 1024;
const HOST: HostId = HostId::from_bytes([1; 16]);

type Talk = Framed<TlsStream<TcpStream>, Codec>;

/// An authority that signs brokers' certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    fn trust(&self) -> ServerTrust {
        ServerTrust::Authorities(self.0.pem().into())
    }

    fn acceptor(&self) -> TlsAcceptor {
        agent::link::install_crypto_provider();
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        let chain = vec![CertificateDer::from(certificate)];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config =
            rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A broker: what each connection began with, and the connection to go on with.
struct Broker {
    port: u16,
    greeted: mpsc::Receiver<(Connect, Talk)>,
}

impl Broker {
    async fn start(acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, greeted) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Whoever does not believe us goes away.
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let mut talk =
                    Framed::new(stream, Codec { max_incoming_size: SIZE, max_outgoing_size: SIZE });
                let Some(Ok(Packet::Connect(greeting))) = talk.next().await else { continue };
                if tell.send((greeting, talk)).await.is_err() {
                    return;
                }
            }
        });
        Self { port, greeted }
    }

    async fn greeted(&mut self) -> (Connect, Talk) {
        timeout(DEADLINE, self.greeted.recv()).await.unwrap().unwrap()
    }

    fn options(&self, trust: ServerTrust) -> LinkOptions {
        let channel = Channel::restore(HOST, [2; 32], [3; 32]);
        let password = Arc::new(move || channel.broker_password());
        LinkOptions::new(format!("mqtts://localhost:{}", self.port), HOST.to_string(), password, trust)
    }
}

/// Lets a host in that asked for its maps with this quality.
async fn let_in(talk: &mut Talk) -> QoS {
    talk.send(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))).await.unwrap();
    let Packet::Subscribe(asked) = heard(talk).await else { panic!("no subscription") };
    let [filter] = &asked.filters[..] else { panic!("{asked:?}") };
    assert_eq!(filter.path, TopicKind::Map.topic_of(&HOST.to_string()));
    let granted = vec![SubscribeReasonCode::Success(filter.qos)];
    talk.send(Packet::SubAck(SubAck::new(asked.pkid, granted))).await.unwrap();
    filter.qos
}

async fn heard(talk: &mut Talk) -> Packet {
    timeout(DEADLINE, talk.next()).await.unwrap().unwrap().unwrap()
}

/// The next message, confirmed.
async fn message(talk: &mut Talk) -> Publish {
    let Packet::Publish(message) = heard(talk).await else { panic!("no message") };
    talk.send(Packet::PubAck(PubAck::new(message.pkid))).await.unwrap();
    message
}

async fn event(events: &mut mpsc::Receiver<LinkEvent>) -> LinkEvent {
    timeout(DEADLINE, events.recv()).await.unwrap().unwrap()
}

async fn refused(options: LinkOptions) -> LinkError {
    let (_handle, mut events) = Link::connect(options).unwrap();
    let LinkEvent::Disconnected { reason, .. } = event(&mut events).await else { panic!("believed") };
    reason
}

async fn connected(
    broker: &mut Broker,
    options: LinkOptions,
) -> (LinkHandle, mpsc::Receiver<LinkEvent>, Talk) {
    let (handle, mut events) = Link::connect(options).unwrap();
    let (_, mut talk) = broker.greeted().await;
    let_in(&mut talk).await;
    assert_eq!(&message(&mut talk).await.payload[..], PRESENCE_ONLINE);
    assert_eq!(event(&mut events).await, LinkEvent::Connected);
    (handle, events, talk)
}

#[tokio::test]
async fn a_broker_is_believed_by_the_authorities_that_the_server_names_and_by_nothing_else() {
    let authority = Authority::new();
    let mut broker = Broker::start(authority.acceptor()).await;
    for trust in [Authority::new().trust(), ServerTrust::Pin([7; 32])] {
        let reason = refused(broker.options(trust)).await;
        assert!(reason.needs_a_person(), "{reason}");
    }
    let options = broker.options(authority.trust());
    connected(&mut broker, options).await;
}

#[tokio::test]
async fn it_is_shown_the_derived_password_and_nothing_is_lost_on_the_way() {
    let authority = Authority::new();
    let mut broker = Broker::start(authority.acceptor()).await;
    let (_handle, mut events) = Link::connect(broker.options(authority.trust())).unwrap();
    let (greeting, mut talk) = broker.greeted().await;
    let login = greeting.login.unwrap();
    assert_eq!((greeting.client_id, login.username), (HOST.to_string(), HOST.to_string()));
    assert_eq!(login.password, Channel::restore(HOST, [2; 32], [3; 32]).broker_password());
    let will = greeting.last_will.unwrap();
    assert_eq!((will.topic, will.retain), (TopicKind::Presence.topic_of(&HOST.to_string()), false));

    assert_eq!(let_in(&mut talk).await, QoS::AtLeastOnce);
    assert!(!message(&mut talk).await.retain);
    assert_eq!(event(&mut events).await, LinkEvent::Connected);
    let mut map = Publish::new(TopicKind::Map.topic_of(&HOST.to_string()), QoS::AtLeastOnce, "map");
    map.pkid = 9;
    talk.send(Packet::Publish(map)).await.unwrap();
    assert_eq!(event(&mut events).await, LinkEvent::Map(b"map".to_vec()));
    assert_eq!(heard(&mut talk).await, Packet::PubAck(PubAck::new(9)));
}

#[tokio::test]
async fn when_the_roll_is_called_it_hears_once_more_that_the_host_is_there() {
    let authority = Authority::new();
    let mut broker = Broker::start(authority.acceptor()).await;
    let options = broker.options(authority.trust());
    let (handle, _events, mut talk) = connected(&mut broker, options).await;
    handle.say_online().unwrap();
    let said = message(&mut talk).await;
    assert_eq!(said.topic, TopicKind::Presence.topic_of(&HOST.to_string()));
    assert_eq!((&said.payload[..], said.qos, said.retain), (PRESENCE_ONLINE, QoS::AtLeastOnce, false));
}

#[tokio::test]
async fn a_brokers_address_is_remembered_for_when_nobody_can_be_asked_as_the_servers_is() {
    let authority = Authority::new();
    let mut broker = Broker::start(authority.acceptor()).await;
    let dialer = Dialer::default();
    let options = LinkOptions { dialer: dialer.clone(), ..broker.options(authority.trust()) };
    let (handle, ..) = connected(&mut broker, options).await;
    let known = dialer.book().known();
    let addresses: BTreeSet<_> = known.get("localhost").unwrap().iter().copied().collect();
    assert!(addresses.contains(&[127, 0, 0, 1].into()), "{known:?}");
    // It left this machine by the same roads as what is said to the server: `dial` knows of no other.
    assert!(handle.road().is_some());
}
