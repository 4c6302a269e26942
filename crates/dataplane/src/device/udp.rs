//! gotatun's UDP sockets, opened with patience.
//!
//! When the device opens its port again (after its key changed, say) the old socket may still be held for a moment
//! by a task that is being aborted. Such a port is free a few milliseconds later; only a port that stays taken is.

use std::io;
use std::time::Duration;

use gotatun::udp::socket::{UdpSocket, UdpSocketFactory};
use gotatun::udp::{UdpTransportFactory, UdpTransportFactoryParams};

const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(25);
/// What the kernel does not grant it cuts; a smaller buffer still works.
const KERNEL_BUFFER: usize = 4 << 20;

/// Opens the device's UDP sockets.
pub(super) struct Sockets(UdpSocketFactory);

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
    type Recv = UdpSocket;

    async fn bind(&mut self, params: &UdpTransportFactoryParams) -> io::Result<(UdpSocket, UdpSocket)> {
        for _ in 1..ATTEMPTS {
            match self.0.bind(params).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => tokio::time::sleep(PAUSE).await,
                opened => return opened,
            }
        }
        self.0.bind(params).await
    }
}
