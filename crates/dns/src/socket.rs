//! Sockets for an address: several for UDP, so that several threads read, and one for TCP.
//!
//! Not for what goes through them. It keeps true that an address is ours alone or an error, though several sockets of ours
//! share it, and that IPv6 sockets take IPv6 only.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt as set};

/// Connections that wait to be taken.
const BACKLOG: i32 = 128;
/// How much the kernel keeps for us while we are busy; it gives less where it may not.
const RECEIVE_BUFFER: usize = 1 << 20;
/// How often a port is drawn that must be free for UDP and TCP.
const DRAWS: usize = 16;

/// The sockets of one address.
pub(crate) struct Sockets {
    /// The address with its port.
    pub(crate) address: SocketAddr,
    pub(crate) udp: Vec<UdpSocket>,
    pub(crate) tcp: TcpListener,
}

impl Sockets {
    /// Opens them all, or none.
    pub(crate) fn open(address: SocketAddr, readers: usize) -> io::Result<Self> {
        if address.port() != 0 {
            return Self::open_at(address, readers);
        }
        let mut outcome = Err(io::Error::from(io::ErrorKind::AddrInUse));
        for _ in 0..DRAWS {
            let drawn = UdpSocket::bind(address)?.local_addr()?;
            outcome = Self::open_at(drawn, readers);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    fn open_at(address: SocketAddr, readers: usize) -> io::Result<Self> {
        let tcp = tcp(address)?;
        let first = socket(address, SocketType::DGRAM)?;
        // The first one does not share when it takes the address: that shows whether somebody else has it.
        bind(&first, &address)?;
        set::set_socket_reuseport(&first, true)?;
        let mut udp = vec![ready(first, address)?];
        for _ in 1..readers {
            let next = socket(address, SocketType::DGRAM)?;
            set::set_socket_reuseport(&next, true)?;
            bind(&next, &address)?;
            udp.push(ready(next, address)?);
        }
        Ok(Self { address, udp, tcp })
    }
}

fn socket(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if address.is_ipv6() {
        set::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, SocketType::STREAM)?;
    set::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

fn ready(socket: OwnedFd, address: SocketAddr) -> io::Result<UdpSocket> {
    set::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
    if address.ip().is_unspecified() {
        // Datagrams then say which of our addresses they were sent to.
        match address {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
    }
    Ok(UdpSocket::from(socket))
}
