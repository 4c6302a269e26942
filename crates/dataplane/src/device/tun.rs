//! The interface: a TUN device with offloading, so that one system call carries many packets.
//!
//! Reading: what the kernel hands over as one large segment is cut into packets. Writing: packets that wait
//! together are merged again where they belong to one flow. Both are tun-rs's; here they are fitted to what gotatun
//! asks of an interface, one packet at a time.
//!
//! Invariant: a packet that the kernel refuses is dropped; only a deleted interface ends the traffic, and everybody
//! who asks [`Tun::gone`] learns of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use gotatun::packet::{Ip, Packet, PacketBufPool};
use gotatun::tun::{IpRecv, IpSend, MtuWatcher};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tun_rs::{AsyncDevice, DeviceBuilder, GROTable, IDEAL_BATCH_SIZE, VIRTIO_NET_HDR_LEN};

/// What WireGuard's interfaces begin with: 1500 less the most that the protocol adds.
const FIRST_MTU: u16 = 1420;
/// How often the interface's MTU is read. It is the user's to change, and the kernel does not tell us here.
const MTU_EVERY: Duration = Duration::from_secs(1);
/// Packets that may wait to be written. When it is full, no more are opened: what comes waits in the kernel's socket, and is
/// dropped there, as everywhere on the way.
const QUEUE: usize = 1024;
/// The largest thing that the kernel hands over at once.
const LARGEST: usize = VIRTIO_NET_HDR_LEN + 65_536;

/// The interface. It exists as long as this and what was made from it.
pub(super) struct Tun {
    device: Arc<AsyncDevice>,
    mtu: watch::Receiver<u16>,
    gone: watch::Receiver<bool>,
    gone_sender: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Tun {
    /// Makes the interface, down and without addresses.
    pub(super) fn create(name: &str) -> anyhow::Result<Self> {
        let built = DeviceBuilder::new().name(name).offload(true).mtu(FIRST_MTU).enable(false).build_async();
        let device = Arc::new(built.map_err(|error| explain(name, error))?);
        let (mtu_sender, mtu) = watch::channel(FIRST_MTU);
        let (gone_sender, gone) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_interface(Arc::clone(&device), mtu_sender, gone_sender.clone()));
        Ok(Self { device, mtu, gone, gone_sender, tasks })
    }

    /// Its two ends, for gotatun.
    pub(super) fn ends(&mut self) -> (TunWriter, TunReader) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        self.tasks.spawn(write_packets(Arc::clone(&self.device), waiting));
        let reader = TunReader {
            device: Arc::clone(&self.device),
            mtu: self.mtu.clone(),
            gone: self.gone_sender.clone(),
            large: vec![0; LARGEST],
            packets: Vec::new(),
            lengths: vec![0; IDEAL_BATCH_SIZE],
        };
        (TunWriter(queue), reader)
    }

    /// Waits until the interface has been deleted.
    pub(super) async fn gone(&mut self) {
        // The sender lives as long as `self`.
        let _ = self.gone.wait_for(|gone| *gone).await;
    }
}

fn explain(name: &str, error: io::Error) -> anyhow::Error {
    let advice = match error.kind() {
        io::ErrorKind::ResourceBusy => "an interface of this name is in use by another process".to_owned(),
        io::ErrorKind::InvalidInput => "an interface of this name and of another kind exists".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "this needs root, or CAP_NET_ADMIN in a network namespace".to_owned()
        }
        io::ErrorKind::NotFound => "there is no /dev/net/tun; load the kernel module tun".to_owned(),
        _ => "the kernel refused".to_owned(),
    };
    anyhow::Error::new(error).context(format!("cannot make the interface {name}: {advice}"))
}

async fn watch_interface(device: Arc<AsyncDevice>, mtu: watch::Sender<u16>, gone: watch::Sender<bool>) {
    loop {
        match device.mtu() {
            Ok(now) => {
                mtu.send_if_modified(|known| std::mem::replace(known, now) != now);
            }
            Err(_) => {
                gone.send_replace(true);
                return;
            }
        }
        tokio::time::sleep(MTU_EVERY).await;
    }
}

/// Reads packets from the interface.
pub(super) struct TunReader {
    device: Arc<AsyncDevice>,
    mtu: watch::Receiver<u16>,
    gone: watch::Sender<bool>,
    large: Vec<u8>,
    packets: Vec<Vec<u8>>,
    lengths: Vec<usize>,
}

impl TunReader {
    /// Room for as many packets of the present MTU as come at once.
    fn make_room(&mut self) {
        let room = usize::from(*self.mtu.borrow()).max(2048);
        if self.packets.first().is_none_or(|first| first.len() < room) {
            self.packets = vec![vec![0; room]; IDEAL_BATCH_SIZE];
        }
    }
}

impl IpRecv for TunReader {
    async fn recv<'a>(
        &'a mut self,
        pool: &mut PacketBufPool,
    ) -> io::Result<impl Iterator<Item = Packet<Ip>> + Send + 'a> {
        let count = loop {
            self.make_room();
            match self.device.recv_multiple(&mut self.large, &mut self.packets, &mut self.lengths, 0).await {
                Ok(count) => break count,
                Err(error) if self.device.mtu().is_err() => {
                    self.gone.send_replace(true);
                    return Err(io::Error::new(io::ErrorKind::BrokenPipe, error));
                }
                Err(error) => {
                    tracing::debug!(%error, "dropped what came from the interface");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        };
        let pool = pool.clone();
        let read = self.packets.iter().zip(&self.lengths).take(count);
        Ok(read.filter_map(move |(packet, length)| {
            let mut pooled = pool.get();
            pooled.buf_mut().clear();
            pooled.buf_mut().extend_from_slice(packet.get(..*length)?);
            pooled.try_into_ip().ok()
        }))
    }

    fn mtu(&self) -> MtuWatcher {
        MtuWatcher::from(self.mtu.clone())
    }
}

/// Writes packets to the interface.
pub(super) struct TunWriter(mpsc::Sender<Packet<Ip>>);

impl IpSend for TunWriter {
    async fn send(&mut self, packet: Packet<Ip>) -> io::Result<()> {
        self.0.send(packet).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

async fn write_packets(device: Arc<AsyncDevice>, mut waiting: mpsc::Receiver<Packet<Ip>>) {
    let mut flows = GROTable::default();
    let mut batch = Vec::with_capacity(IDEAL_BATCH_SIZE);
    let mut buffers: Vec<Vec<u8>> = vec![Vec::new(); IDEAL_BATCH_SIZE];
    while waiting.recv_many(&mut batch, IDEAL_BATCH_SIZE).await > 0 {
        let count = batch.len();
        for (buffer, packet) in buffers.iter_mut().zip(batch.drain(..)) {
            buffer.clear();
            buffer.resize(VIRTIO_NET_HDR_LEN, 0);
            buffer.extend_from_slice(packet.into_bytes().as_ref());
        }
        if let Err(error) = device.send_multiple(&mut flows, &mut buffers[..count], VIRTIO_NET_HDR_LEN).await
        {
            // It is down, or the packets are not what it takes. A deleted one is noticed by who reads it.
            tracing::trace!(%error, "the interface did not take a packet");
        }
    }
}
