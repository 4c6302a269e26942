//! How what the agent itself sends leaves this machine: beside ranges and a full tunnel, or as all that the machine sends.
//!
//! Ranges and a full tunnel let pass what carries the firewall mark of our WireGuard device, and the agent's own sockets carry it
//! too: they go where they would go without both, also into the networks. Where there is neither, the mark means nothing.
//! So a connection made before, or while, a tunnel is switched on or off lives on.
//!
//! Not for choosing whom to connect to. It keeps true that nothing of other programs ever carries the mark: it is set on
//! single sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Mark, TcpUserTimeout};
use reconcile::FIREWALL_MARK;
use tokio::net::{TcpSocket, TcpStream};

/// A connection whose peer confirms nothing for this long, in milliseconds, is dead. It is noticed sooner than by what is
/// said over it.
const UNCONFIRMED: u32 = 30_000;

/// How something leaves this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// As if there were no ranges and no full tunnel.
    Beside,
    /// As all else that this machine sends: through a range's router or the tunnel, where that is its way.
    Usual,
}

impl Road {
    /// The ways to an address, best first. They differ where the address to speak from does: the kernel says so, and nothing
    /// is sent.
    pub(super) fn all_to(to: SocketAddr) -> Vec<Self> {
        let source = |road| datagrams(to, road).and_then(|socket| socket.local_addr()).map(|own| own.ip());
        match (source(Self::Beside), source(Self::Usual)) {
            (Ok(beside), Ok(usual)) if beside != usual => vec![Self::Beside, Self::Usual],
            (Ok(_), Ok(_) | Err(_)) => vec![Self::Beside],
            // No way beside the tunnel, or no right to mark. Where there is no way at all the attempt says why.
            (Err(_), Ok(_) | Err(_)) => vec![Self::Usual],
        }
    }

    fn mark(self, socket: &impl AsFd) -> io::Result<()> {
        match self {
            Self::Beside => Ok(setsockopt(socket, Mark, &FIREWALL_MARK)?),
            Self::Usual => Ok(()),
        }
    }
}

/// A socket for datagrams to and from this address.
pub(super) fn datagrams(to: SocketAddr, road: Road) -> io::Result<UdpSocket> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    road.mark(&socket)?;
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A connection to this address.
pub(super) async fn stream(to: SocketAddr, road: Road) -> io::Result<TcpStream> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    road.mark(&socket)?;
    socket.set_nodelay(true)?;
    setsockopt(&socket, TcpUserTimeout, &UNCONFIRMED)?;
    socket.connect(to).await
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::getsockopt;

    use super::*;

    fn nowhere() -> SocketAddr {
        "127.0.0.1:9".parse().unwrap()
    }

    #[test]
    fn without_a_tunnel_there_is_one_way() {
        let [road] = Road::all_to(nowhere())[..] else { panic!("{:?}", Road::all_to(nowhere())) };
        assert_eq!(road == Road::Beside, datagrams(nowhere(), Road::Beside).is_ok());
    }

    #[test]
    fn only_what_goes_beside_the_tunnel_is_marked() {
        let usual = datagrams(nowhere(), Road::Usual).unwrap();
        assert_eq!(getsockopt(&usual, Mark).unwrap(), 0);
        match datagrams(nowhere(), Road::Beside) {
            Ok(beside) => assert_eq!(getsockopt(&beside, Mark).unwrap(), FIREWALL_MARK),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }
}
