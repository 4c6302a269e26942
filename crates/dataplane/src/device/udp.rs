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
use rustix::net::sockopt;

const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(25);
/// What the kernel does not grant it cuts; smaller buffers still work.
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
                Ok((sender, receiver)) => {
                    make_room(&sender, KERNEL_BUFFER);
                    return Ok((sender, Receiver(receiver)));
                }
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

/// Makes the socket's buffers so large. Beyond the machine's limits for everybody, which are made for much less than the traffic
/// of a whole machine, this takes privileges; without them what is granted is enough to go on.
fn make_room(socket: &UdpSocket, size: usize) {
    let granted = sockopt::set_socket_recv_buffer_size_force(socket.socket(), size)
        .and_then(|()| sockopt::set_socket_send_buffer_size_force(socket.socket(), size));
    if let Err(error) = granted {
        tracing::debug!(%error, "the device's UDP socket has no larger buffers than every program may have");
    }
}

async fn wait_after(error: &io::Error) {
    tracing::debug!(%error, "the device's UDP socket could not receive");
    tokio::time::sleep(PAUSE).await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use gotatun::udp::UdpSend as _;
    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    async fn socket() -> UdpSocket {
        let params = UdpTransportFactoryParams { addr: None, port: 0, fwmark: None };
        Sockets::new().bind(&params).await.unwrap().0
    }

    fn datagram(byte: u8) -> Packet {
        let mut packet = PacketBufPool::<64>::new(1).get();
        packet.buf_mut().clear();
        packet.buf_mut().extend_from_slice(&[byte]);
        packet
    }

    #[tokio::test]
    async fn a_datagram_that_cannot_be_sent_costs_no_other_one() {
        let ear = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let here = ear.local_addr().unwrap();
        // The kernel refuses: nobody asked for leave to broadcast.
        let refused = (Ipv4Addr::BROADCAST, 9).into();
        let to = [refused, here, refused, refused, here, refused];
        let mut together: Vec<(Packet, SocketAddr)> =
            (0..).zip(to).map(|(byte, to)| (datagram(byte), to)).collect();
        let told = socket().await.send_many_to(&mut Default::default(), &mut together).await;
        assert!(told.is_err() && together.is_empty(), "{told:?}");
        for wanted in [1, 4] {
            let mut byte = [0];
            timeout(DEADLINE, ear.recv(&mut byte)).await.expect("it arrives").unwrap();
            assert_eq!(byte, [wanted]);
        }
    }

    #[tokio::test]
    async fn buffers_are_as_large_as_privileges_allow() {
        let socket = socket().await;
        let other = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let is_privileged = sockopt::set_socket_recv_buffer_size_force(&other, KERNEL_BUFFER).is_ok();
        let wanted = |limit: &str| {
            let limit = std::fs::read_to_string(format!("/proc/sys/net/core/{limit}")).unwrap();
            if is_privileged { KERNEL_BUFFER } else { KERNEL_BUFFER.min(limit.trim().parse().unwrap()) }
        };
        // The kernel counts each byte twice, for what it needs itself.
        assert!(sockopt::socket_recv_buffer_size(socket.socket()).unwrap() >= 2 * wanted("rmem_max"));
        assert!(sockopt::socket_send_buffer_size(socket.socket()).unwrap() >= 2 * wanted("wmem_max"));
    }
}
