//! gotatun's UDP sockets, with patience.
//!
//! When the device opens another port, or its own again, the old socket may still be held for a moment
//! by a task that is being aborted. Such a port is free a few milliseconds later; only a port that stays taken is.
//! And where gotatun ends all traffic for good when a socket once fails to receive, this tries again.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use gotatun::packet::{Packet, PacketBufPool};
use gotatun::udp::socket::{UdpSocket, UdpSocketFactory};
use gotatun::udp::{UdpRecv, UdpTransportFactory, UdpTransportFactoryParams};

const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(25);
/// What the kernel does not grant it cuts; a smaller buffer still works.
const KERNEL_BUFFER: usize = 4 << 20;

/// Opens the device's UDP sockets.
pub(super) struct Sockets(UdpSocketFactory);

/// Receives, whatever happens.
pub(super) struct Receiver(UdpSocket);

impl Sockets {
    /// With buffers for bursts.
    pub(super) const fn new() -> Self {
        Self(UdpSocketFactory {
            recv_buffer_size: Some(KERNEL_BUFFER),
            send_buffer_size: Some(KERNEL_BUFFER),
        })
    }
}

impl UdpTransportFactory for Sockets {
    type Send = UdpSocket;
    type Recv = Receiver;

    async fn bind(&mut self, params: &UdpTransportFactoryParams) -> io::Result<(UdpSocket, Receiver)> {
        let mut attempt = 1;
        loop {
            match self.0.bind(params).await {
                Ok((sender, receiver)) => return Ok((sender, Receiver(receiver))),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl UdpRecv for Receiver {
    type RecvManyBuf = <UdpSocket as UdpRecv>::RecvManyBuf;

    async fn recv_from(&mut self, pool: &mut PacketBufPool) -> io::Result<(Packet, SocketAddr)> {
        loop {
            match self.0.recv_from(pool).await {
                Err(error) => wait_after(&error).await,
                received => return received,
            }
        }
    }

    async fn recv_many_from(
        &mut self,
        buffer: &mut Self::RecvManyBuf,
        pool: &mut PacketBufPool,
        packets: &mut Vec<(Packet, SocketAddr)>,
    ) -> io::Result<()> {
        while let Err(error) = self.0.recv_many_from(buffer, pool, packets).await {
            wait_after(&error).await;
        }
        Ok(())
    }

    fn enable_udp_gro(&self) -> io::Result<()> {
        self.0.enable_udp_gro()
    }
}

async fn wait_after(error: &io::Error) {
    tracing::debug!(%error, "the device's UDP socket could not receive");
    tokio::time::sleep(PAUSE).await;
}
