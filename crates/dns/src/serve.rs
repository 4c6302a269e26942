//! The server: addresses that are listened on, upstreams, who may ask for what; all of it changeable while it runs.
//!
//! Not for deciding any of that. It keeps true that an address which cannot be had is told and harms no other, that what
//! is given up is closed when the call returns, and that foreign names are forwarded only for those who may.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::available_parallelism;

use arc_swap::ArcSwap;
use domain::base::iana::Rcode;
use ipnet::IpNet;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use crate::answer::{Terms, Transport};
use crate::crowd::Crowd;
use crate::foreign::Foreign;
use crate::forward::{Forwarding, Routes};
use crate::names::Names;
use crate::socket::Sockets;
use crate::stats::{Counts, Stats};
use crate::{tcp, udp, upstream};

/// Questions that upstreams are asked at one time, and half as many for one client; for more, the answer is SERVFAIL.
const MOST_UNDER_WAY: usize = 256;
/// Connections at one time.
const MOST_CONNECTIONS: usize = 256;
/// Connections of one client at one time.
const MOST_CONNECTIONS_OF_ONE: usize = 32;
/// Sockets that share one address.
const MOST_READERS: usize = 4;

/// What a server begins with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where it listens, by UDP and TCP; port 0 is any that is free.
    pub listen: Vec<SocketAddr>,
    /// What it knows.
    pub names: Names,
    /// Who is answered; none: everybody who can ask. Others are refused.
    pub allow: Option<Vec<IpNet>>,
    /// Who is asked about everything else.
    pub forwarding: Forwarding,
    /// For whom somebody else is asked; everybody else is refused.
    pub allow_forward: Vec<IpNet>,
}

/// An address that cannot be listened on now.
#[derive(Debug, thiserror::Error)]
#[error("cannot answer DNS on {address}: {}", why(*.address, .source))]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the kernel says.
    pub source: io::Error,
}

fn why(address: SocketAddr, source: &io::Error) -> String {
    let port = address.port();
    match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program has port {port} there, or on all addresses (`ss -lntup 'sport = :{port}'` says which); have it \
             listen elsewhere, or on single addresses"
        ),
        io::ErrorKind::AddrNotAvailable => "the machine does not have the address".to_owned(),
        io::ErrorKind::PermissionDenied => format!("this process may not use port {port}"),
        _other => source.to_string(),
    }
}

/// A running server. It ends when it is dropped.
pub struct Server {
    shared: Arc<Shared>,
    /// By the address that was asked for.
    listening: tokio::sync::Mutex<BTreeMap<SocketAddr, Listening>>,
}

struct Listening {
    tasks: JoinSet<()>,
    address: SocketAddr,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("listening", &self.shared.own.load()).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts, and says on which addresses it could not.
    pub async fn start(options: Options) -> (Self, Vec<ListenError>) {
        let Options { listen, names, allow, forwarding, allow_forward } = options;
        let shared = Arc::new(Shared {
            names,
            allow: ArcSwap::from_pointee(allow),
            stats: Stats::default(),
            routes: ArcSwap::from_pointee(Routes::new(forwarding)),
            allow_forward: ArcSwap::from_pointee(allow_forward),
            own: ArcSwap::default(),
            questions: Crowd::new(MOST_UNDER_WAY, MOST_UNDER_WAY / 2),
            connections: Crowd::new(MOST_CONNECTIONS, MOST_CONNECTIONS_OF_ONE),
        });
        let server = Self { shared, listening: tokio::sync::Mutex::default() };
        let errors = server.set_listen(&listen).await;
        (server, errors)
    }

    /// Listens on these addresses and no others; those that stay are not interrupted. What could not be had is told, and
    /// tried again by the next call.
    pub async fn set_listen(&self, addresses: &[SocketAddr]) -> Vec<ListenError> {
        let wanted: BTreeSet<SocketAddr> = addresses.iter().copied().collect();
        let mut listening = self.listening.lock().await;
        let gone: Vec<SocketAddr> =
            listening.keys().filter(|there| !wanted.contains(there)).copied().collect();
        for address in gone {
            if let Some(mut old) = listening.remove(&address) {
                old.tasks.shutdown().await;
            }
        }
        let mut errors = Vec::new();
        for address in wanted {
            if listening.contains_key(&address) {
                continue;
            }
            match listen(address, &self.shared) {
                Ok(new) => drop(listening.insert(address, new)),
                Err(source) => errors.push(ListenError { address, source }),
            }
        }
        self.shared.own.store(Arc::new(listening.values().map(|one| one.address).collect()));
        errors
    }

    /// Where it listens now, with the ports.
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.shared.own.load().to_vec()
    }

    /// Asks these upstreams from now on.
    pub fn set_forwarding(&self, forwarding: Forwarding) {
        self.shared.routes.store(Arc::new(Routes::new(forwarding)));
    }

    /// Answers these from now on; none: everybody.
    pub fn set_allow(&self, allowed: Option<Vec<IpNet>>) {
        self.shared.allow.store(Arc::new(allowed));
    }

    /// Forwards for these from now on.
    pub fn set_allow_forward(&self, allowed: Vec<IpNet>) {
        self.shared.allow_forward.store(Arc::new(allowed));
    }

    /// What it knows.
    pub fn names(&self) -> &Names {
        &self.shared.names
    }

    /// What was done with the questions.
    pub fn counts(&self) -> Counts {
        self.shared.stats.counts()
    }

    /// Ends; its addresses are free when this returns.
    pub async fn shutdown(self) {
        self.set_listen(&[]).await;
    }
}

fn listen(address: SocketAddr, shared: &Arc<Shared>) -> io::Result<Listening> {
    let readers = available_parallelism().map_or(1, usize::from).min(MOST_READERS);
    let Sockets { address, udp, tcp } = Sockets::open(address, readers)?;
    let mut tasks = JoinSet::new();
    for socket in udp {
        tasks.spawn(udp::serve(UdpSocket::from_std(socket)?, address, Arc::clone(shared)));
    }
    tasks.spawn(tcp::serve(TcpListener::from_std(tcp)?, address, Arc::clone(shared)));
    Ok(Listening { tasks, address })
}

/// What all sockets share.
pub(crate) struct Shared {
    pub(crate) names: Names,
    pub(crate) stats: Stats,
    allow: ArcSwap<Option<Vec<IpNet>>>,
    routes: ArcSwap<Routes>,
    allow_forward: ArcSwap<Vec<IpNet>>,
    /// Where we listen: asking ourselves would go round for ever.
    own: ArcSwap<Vec<SocketAddr>>,
    /// Questions that upstreams are asked.
    questions: Arc<Crowd>,
    pub(crate) connections: Arc<Crowd>,
}

impl Shared {
    /// What holds for a client.
    pub(crate) fn terms(&self, client: IpAddr, transport: Transport) -> Terms {
        let client = client.to_canonical();
        let among = |allowed: &[IpNet]| allowed.iter().any(|net| net.contains(&client));
        let welcome = self.allow.load().as_deref().is_none_or(among);
        Terms { transport, welcome, recursion: among(&self.allow_forward.load()) }
    }

    /// Has an upstream answer in a task of its own, and gives the reply to `send`.
    pub(crate) fn forward(
        self: &Arc<Self>,
        client: IpAddr,
        foreign: Foreign,
        transport: Transport,
        send: impl FnOnce(Vec<u8>) + Send + 'static,
    ) {
        let count = |reply: Vec<u8>| {
            let mut counts = Counts::default();
            counts.count_reply(&reply);
            self.stats.add(counts);
            reply
        };
        let Some(group) = self.routes.load().choose(foreign.name()) else {
            return send(count(foreign.unasked(transport)));
        };
        let Some(place) = self.questions.take(client) else {
            return send(count(foreign.reply_with(Rcode::SERVFAIL)));
        };
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let _place = place;
            let own = shared.own.load_full();
            let (reply, counts) = match upstream::ask(&group, &foreign, transport, |address| {
                own.iter().any(|own| reaches(*own, address))
            })
            .await
            {
                Some(answer) => {
                    (foreign.pass_on(answer, transport), Counts { forwarded: 1, ..Counts::default() })
                }
                None => (foreign.reply_with(Rcode::SERVFAIL), Counts { failed: 1, ..Counts::default() }),
            };
            shared.stats.add(counts);
            send(reply);
        });
    }
}

/// Whether a question to this upstream would come back to where we listen.
fn reaches(own: SocketAddr, upstream: SocketAddr) -> bool {
    let is_same = own == upstream;
    let is_here = upstream.ip().is_loopback() || upstream.ip().is_unspecified();
    let is_any = own.ip().is_unspecified() && own.is_ipv4() == upstream.is_ipv4();
    is_same || (is_here && is_any && own.port() == upstream.port())
}
