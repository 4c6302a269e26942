//! Opens the rendezvous's UDP socket: for both families if asked for `[::]`, with a buffer for a burst.
//!
//! A whole fleet comes back within seconds after a restart of the server; what does not fit in the buffer meanwhile
//! costs those hosts five seconds.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::UdpSocket;

const KERNEL_BUFFER: usize = 4 << 20;

/// Opens `addr`; where the machine has no IPv6 at all, `[::]` means all of IPv4.
pub(super) fn open(addr: SocketAddr) -> io::Result<UdpSocket> {
    let has_no_ipv6 = |error: &rustix::io::Errno| {
        matches!(*error, rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ADDRNOTAVAIL)
    };
    let opened = match try_open(addr) {
        Err(error) if has_no_ipv6(&error) && addr.is_ipv6() && addr.ip().is_unspecified() => {
            try_open(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), addr.port()))
        }
        opened => opened,
    };
    let socket = opened.map_err(|error| explain(addr, error))?;
    UdpSocket::from_std(socket)
}

fn try_open(addr: SocketAddr) -> rustix::io::Result<std::net::UdpSocket> {
    let family = if addr.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    if addr.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !addr.ip().is_unspecified())?;
    }
    // The kernel cuts it to its own limit; a smaller buffer still works.
    let _ = sockopt::set_socket_recv_buffer_size(&socket, KERNEL_BUFFER);
    rustix::net::bind(&socket, &addr)?;
    Ok(socket.into())
}

fn explain(addr: SocketAddr, error: rustix::io::Errno) -> io::Error {
    let error = io::Error::from(error);
    let sentence = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "UDP port {} is already in use; stop what uses it, or choose another port for the rendezvous",
                addr.port()
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "not allowed to open UDP port {}; choose a port of 1024 or above for the rendezvous",
                addr.port()
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{} is not an address of this machine; choose another for the rendezvous", addr.ip())
        }
        _ => format!("cannot open UDP {addr} for the rendezvous: {error}"),
    };
    io::Error::new(error.kind(), sentence)
}
