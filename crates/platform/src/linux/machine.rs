//! This machine's hands: looking at what exists under our link's name, and carrying out one op.
//!
//! Not for deciding anything: which ops, in which order, is `reconcile`'s. It keeps true that the kernel is asked each
//! time and nothing is remembered, that an op done twice is done once, and that nothing but our link is touched.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use ipnet::IpNet;
use model::{Keepalive, Timestamp, WgPublicKey};
use reconcile::{Actual, DesiredPeer, Device, Gate, LinkKind, LinkLook, LinkName, Look, Op, Route};
use rustix::io::Errno;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use wire::WgSecret;

use super::netlink::{Kind, Link, Netlink};
use super::nft::FirewallTable;
use super::presence;
use super::wireguard::Wireguard;
use crate::options::{DeviceProgram, MachineOptions};
use crate::userspace::ControlSocket;
use crate::wireguard::{Allowed, Choice, DeviceChange, PeerChange, PeerSettings, PeerStep};
use crate::words;

/// How long a device may take to go after its process has.
const VANISHING: Duration = Duration::from_secs(2);
/// Changes to peers that a device is handed together: it answers in time however many there are, and others may ask in
/// between.
const PEERS_TOGETHER: usize = 1024;
/// Packets that may wait for a userspace device, as many as for the kernel's. It begins with 500, which one burst fills before
/// a busy machine gives the device a turn.
const QUEUE: u32 = 1024;
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The hands.
#[derive(Debug)]
pub struct Machine {
    pub(super) link: LinkName,
    pub(super) netlink: Netlink,
    program: DeviceProgram,
    socket: ControlSocket,
    kernel: OnceCell<Wireguard>,
    /// The firewall's hands, or why there are none.
    pub(super) firewall: Result<FirewallTable, String>,
}

impl Machine {
    /// Connects to the kernel, in the network namespace of the calling thread.
    pub fn open(options: MachineOptions) -> anyhow::Result<Self> {
        let netlink = Netlink::open().map_err(|error| words::could_not("open a netlink socket", error))?;
        let socket = ControlSocket::new(&options.socket_dir, options.link.as_str());
        let firewall = FirewallTable::open(&options.link).map_err(|error| format!("{error:#}"));
        let (link, program) = (options.link, options.program);
        Ok(Self { link, netlink, program, socket, kernel: OnceCell::new(), firewall })
    }

    /// Whose WireGuard this machine can offer. An existing device of ours is not asked about: see `observe`.
    pub async fn kind(&self, choice: Choice) -> anyhow::Result<LinkKind> {
        if choice == Choice::Only(LinkKind::Userspace) {
            return Ok(LinkKind::Userspace);
        }
        let there = presence::is_there(&self.netlink)
            .await
            .map_err(|error| words::could_not("find out whether the kernel has WireGuard", error))?;
        match (there, choice) {
            (true, _) => Ok(LinkKind::Kernel),
            (false, Choice::Only(LinkKind::Kernel)) => {
                bail!("this kernel has no WireGuard: load it with `modprobe wireguard`, or choose userspace")
            }
            (false, _) => Ok(LinkKind::Userspace),
        }
    }

    /// What exists under our link's name.
    pub async fn observe(&self) -> anyhow::Result<Actual> {
        let deadline = Instant::now() + VANISHING;
        loop {
            match self.observe_once().await {
                Err(error) if is_vanishing(&error) && Instant::now() < deadline => sleep(LOOK_AGAIN).await,
                observed => return observed,
            }
        }
    }

    /// The link of our name as it is seen from outside, and what is around it, at a cost that does not grow with its peers.
    pub async fn look_at_link(&self) -> anyhow::Result<Look> {
        let link = match self.find().await? {
            Some(link) => Some(self.look_at(&link).await?),
            None => None,
        };
        Ok(Look { link, surroundings: self.look_around().await? })
    }

    async fn observe_once(&self) -> anyhow::Result<Actual> {
        let surroundings = self.look_around().await?;
        let Some(link) = self.find().await? else {
            return Ok(Actual { link: None, surroundings });
        };
        let look = self.look_at(&link).await?;
        let device = self.device(&link).await?;
        Ok(Actual { link: Some(look.with(device)), surroundings })
    }

    async fn look_at(&self, link: &Link) -> anyhow::Result<LinkLook> {
        let addresses =
            self.netlink.addresses(Some(link.index)).await.map_err(|error| self.looking(error))?;
        let routes = self.netlink.routes(link.index).await.map_err(|error| self.looking(error))?;
        let addresses = addresses.into_iter().map(|address| address.net).collect();
        Ok(LinkLook { index: link.index, up: link.up, mtu: link.mtu, addresses, routes })
    }

    fn looking(&self, error: io::Error) -> anyhow::Error {
        words::could_not(&format!("look at the interface {}", self.link), error)
    }

    async fn find(&self) -> anyhow::Result<Option<Link>> {
        self.netlink.link(self.link.as_str()).await.map_err(|error| self.looking(error))
    }

    async fn device(&self, link: &Link) -> anyhow::Result<Option<Device>> {
        match link.kind {
            Kind::Wireguard => Ok(Some(self.kernel().await?.read(self.link.as_str(), now()).await?)),
            // A TUN link without a control socket is another program's.
            Kind::Tun if self.socket.exists() => Ok(Some(self.socket.read(now()).await?)),
            Kind::Tun | Kind::Bridge | Kind::Other => Ok(None),
        }
    }

    async fn kernel(&self) -> anyhow::Result<&Wireguard> {
        let open = self.kernel.get_or_try_init(Wireguard::open).await;
        open.map_err(|error| words::could_not("reach the kernel's WireGuard", error))
    }

    /// Carries out ops in their order and says how each went. Changes to peers that follow one another are handed to
    /// WireGuard together.
    pub async fn execute_all(&self, ops: &[Op], secret: &WgSecret) -> Vec<anyhow::Result<()>> {
        let mut outcomes = Vec::with_capacity(ops.len());
        let mut gate = Gate::default();
        let runs = ops.chunk_by(|a, b| a.is_about_a_peer() && b.is_about_a_peer());
        for run in runs.flat_map(|run| run.chunks(PEERS_TOGETHER)) {
            let open = run.iter().all(|op| gate.ask(op).is_ok());
            if run.len() > 1 && open && self.execute_peers(run).await.is_ok() {
                outcomes.extend(run.iter().map(|_| Ok(())));
                continue;
            }
            // One by one, so that a failure is told of the op that failed and the others are done.
            for op in run {
                let outcome = match gate.ask(op) {
                    Ok(()) => self.execute(op, secret).await,
                    Err(held_back) => Err(held_back.into()),
                };
                gate.tell(op, outcome.is_ok());
                outcomes.push(outcome);
            }
        }
        outcomes
    }

    /// Carries out one op. The secret is that of this host, for the op that sets it.
    pub async fn execute(&self, op: &Op, secret: &WgSecret) -> anyhow::Result<()> {
        match op {
            Op::CreateLink(LinkKind::Kernel) => self.create_kernel().await,
            Op::CreateLink(LinkKind::Userspace) => self.create_userspace().await,
            Op::DeleteLink => self.delete().await,
            Op::SetKey(key) => self.set_key(key, secret).await,
            Op::SetPort(port) => {
                self.change(DeviceChange { listen_port: Some(*port), ..DeviceChange::default() }).await
            }
            Op::SetMark(mark) => {
                self.change(DeviceChange { mark: Some(*mark), ..DeviceChange::default() }).await
            }
            Op::SetMtu(mtu) => {
                let set = self.netlink.set_mtu(self.ours().await?.index, mtu.get()).await;
                self.said(set, || format!("set the MTU of {} to {mtu}", self.link))
            }
            Op::SetUp => self.set_up().await,
            Op::AddAddress(address) => self.add_address(*address).await,
            Op::RemoveAddress(net) => {
                let Some(link) = self.find().await? else {
                    return Ok(());
                };
                let removed = self.netlink.remove_address(link.index, *net).await;
                self.said(removed, || format!("remove the address {net} from {}", self.link))
            }
            Op::AddRoute(route) => self.add_route(route).await,
            Op::RemoveRoute(route) => {
                let Some(link) = self.find().await? else {
                    return Ok(());
                };
                let removed = self.netlink.remove_route(link.index, route).await;
                self.said(removed, || format!("remove the route to {} over {}", route.destination, self.link))
            }
            Op::RemovePeer(key) => {
                let Some(link) = self.find().await? else {
                    return Ok(());
                };
                let peers = vec![PeerChange { key: *key, step: PeerStep::Remove }];
                self.change_behind(&link, DeviceChange { peers, ..DeviceChange::default() }).await
            }
            Op::AddPeer(..)
            | Op::AllowMore(..)
            | Op::SetAllowed(..)
            | Op::SetKeepalive(..)
            | Op::SetEndpoint(..)
            | Op::Poke(..) => self.execute_peers(std::slice::from_ref(op)).await,
            Op::Around(around) => self.execute_around(around).await,
        }
    }

    async fn execute_peers(&self, ops: &[Op]) -> anyhow::Result<()> {
        let peers: Vec<PeerChange> = ops.iter().flat_map(peer_changes).collect();
        self.change(DeviceChange { peers, ..DeviceChange::default() }).await
    }

    fn said(&self, result: io::Result<()>, doing: impl FnOnce() -> String) -> anyhow::Result<()> {
        result.map_err(|error| words::could_not(&doing(), error))
    }

    async fn ours(&self) -> anyhow::Result<Link> {
        self.find().await?.with_context(|| format!("the interface {} is gone", self.link))
    }

    async fn create_kernel(&self) -> anyhow::Result<()> {
        if self.stands(Kind::Wireguard).await? {
            return Ok(());
        }
        match self.netlink.create_wireguard(self.link.as_str()).await {
            Err(error) if words::is(&error, &[Errno::OPNOTSUPP]) => {
                bail!("this kernel has no WireGuard: load it with `modprobe wireguard`, or choose userspace")
            }
            created => self.said(created, || format!("make the interface {}", self.link)),
        }
    }

    async fn create_userspace(&self) -> anyhow::Result<()> {
        if !(self.stands(Kind::Tun).await? && self.socket.answers().await) {
            // The process of a link that somebody deleted may still be on its way out.
            self.socket.wait_until_gone().await?;
            self.socket.start(&self.program).await?;
        }
        // With a shorter one it works as well; and whether the link is there still, the next op says.
        if let Ok(Some(link)) = self.find().await {
            let _ = self.netlink.set_queue(link.index, QUEUE).await;
        }
        Ok(())
    }

    /// Whether the link is there already and of this kind.
    async fn stands(&self, kind: Kind) -> anyhow::Result<bool> {
        match self.find().await? {
            None => Ok(false),
            Some(link) if link.kind == kind => Ok(true),
            Some(_) => {
                bail!("an interface {} of another kind exists; choose another name for ours", self.link)
            }
        }
    }

    async fn delete(&self) -> anyhow::Result<()> {
        let socket = self.socket.exists();
        if let Some(link) = self.find().await? {
            match link.kind {
                Kind::Wireguard => {}
                Kind::Tun if socket => {}
                Kind::Tun | Kind::Bridge | Kind::Other => {
                    bail!("the interface {} is no WireGuard device: it is not ours to delete", self.link)
                }
            }
            let deleted = self.netlink.delete_link(link.index).await;
            self.said(deleted, || format!("delete the interface {}", self.link))?;
        }
        if socket {
            return self.socket.clear_away().await;
        }
        Ok(())
    }

    async fn set_key(&self, key: &WgPublicKey, secret: &WgSecret) -> anyhow::Result<()> {
        if secret.public() != *key {
            bail!("the key to set is not this host's; register again");
        }
        self.change(DeviceChange { private_key: Some(secret.clone()), ..DeviceChange::default() }).await
    }

    async fn set_up(&self) -> anyhow::Result<()> {
        let set = self.netlink.set_up(self.ours().await?.index).await;
        if let Err(error) = &set
            && words::is(error, &[Errno::ADDRINUSE])
        {
            return Err(
                words::of_device(error).context(format!("could not bring the interface {} up", self.link))
            );
        }
        self.said(set, || format!("bring the interface {} up", self.link))
    }

    async fn add_address(&self, address: IpAddr) -> anyhow::Result<()> {
        let added = self.netlink.add_address(self.ours().await?.index, IpNet::from(address)).await;
        if let Err(error) = &added
            && address.is_ipv6()
            && words::is(error, &[Errno::ACCESS, Errno::OPNOTSUPP, Errno::AFNOSUPPORT])
        {
            bail!(
                "could not give {} the address {address}: IPv6 is switched off there; switch it on with \
                 `sysctl net.ipv6.conf.{}.disable_ipv6=0` ({error})",
                self.link,
                self.link
            );
        }
        self.said(added, || format!("give {} the address {address}", self.link))
    }

    async fn add_route(&self, route: &Route) -> anyhow::Result<()> {
        let added = self.netlink.add_route(self.ours().await?.index, route).await;
        if let Err(error) = &added
            && words::is(error, &[Errno::EXIST])
        {
            bail!(
                "a route to {} with metric {} exists already and is not ours: another program or VPN uses this range \
                 (see `ip route show {}`)",
                route.destination,
                route.metric,
                route.destination
            );
        }
        self.said(added, || format!("add the route to {} over {}", route.destination, self.link))
    }

    async fn change(&self, change: DeviceChange) -> anyhow::Result<()> {
        self.change_behind(&self.ours().await?, change).await
    }

    async fn change_behind(&self, link: &Link, change: DeviceChange) -> anyhow::Result<()> {
        match link.kind {
            Kind::Wireguard => self.kernel().await?.apply(self.link.as_str(), &change).await,
            Kind::Tun => self.socket.apply(&change).await,
            Kind::Bridge | Kind::Other => bail!("the interface {} is no WireGuard device", self.link),
        }
    }
}

/// Whether the error is that of a device on its way out: what is behind the link goes a moment before the link does.
fn is_vanishing(error: &anyhow::Error) -> bool {
    let kinds = [
        ErrorKind::ConnectionRefused,
        ErrorKind::ConnectionReset,
        ErrorKind::BrokenPipe,
        ErrorKind::UnexpectedEof,
        ErrorKind::NotFound,
    ];
    let Some(error) = error.downcast_ref::<io::Error>() else { return false };
    kinds.contains(&error.kind()) || words::is(error, &[Errno::NODEV])
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn peer_changes(op: &Op) -> Vec<PeerChange> {
    let update = |key: &WgPublicKey, settings| PeerChange { key: *key, step: PeerStep::Update(settings) };
    let keepalive =
        |keepalive: Option<Keepalive>| PeerSettings { keepalive: Some(keepalive), ..PeerSettings::default() };
    let allowed = |allowed| PeerSettings { allowed, ..PeerSettings::default() };
    match op {
        Op::AddPeer(key, DesiredPeer { allowed, keepalive, endpoint }) => {
            let allowed = Allowed::Exactly(allowed.iter().copied().collect());
            let settings = PeerSettings { endpoint: *endpoint, keepalive: Some(Some(*keepalive)), allowed };
            vec![PeerChange { key: *key, step: PeerStep::Put(settings) }]
        }
        Op::RemovePeer(key) => vec![PeerChange { key: *key, step: PeerStep::Remove }],
        Op::AllowMore(key, more) => vec![update(key, allowed(Allowed::More(more.iter().copied().collect())))],
        Op::SetAllowed(key, all) => {
            vec![update(key, allowed(Allowed::Exactly(all.iter().copied().collect())))]
        }
        Op::SetKeepalive(key, seconds) => vec![update(key, keepalive(Some(*seconds)))],
        Op::SetEndpoint(key, endpoint) => {
            vec![update(key, PeerSettings { endpoint: Some(*endpoint), ..PeerSettings::default() })]
        }
        Op::Poke(key, seconds) => vec![update(key, keepalive(None)), update(key, keepalive(Some(*seconds)))],
        Op::CreateLink(_)
        | Op::DeleteLink
        | Op::SetKey(_)
        | Op::SetPort(_)
        | Op::SetMark(_)
        | Op::SetMtu(_)
        | Op::SetUp
        | Op::AddAddress(_)
        | Op::RemoveAddress(_)
        | Op::AddRoute(_)
        | Op::RemoveRoute(_)
        | Op::Around(_) => Vec::new(),
    }
}
