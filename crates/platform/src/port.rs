//! Which UDP port WireGuard can have.
//!
//! Not for ports that our own device holds: they look taken, and whoever asks knows them. It keeps true that a port that is
//! called free was free in both families a moment ago.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

/// How many ports behind the wanted one are tried before the system chooses.
const NEIGHBOURS: u16 = 50;

/// Whether nobody listens on this UDP port, in IPv4 and IPv6.
pub fn udp_port_is_free(port: u16) -> bool {
    bind(port).is_ok()
}

/// A free UDP port: the wanted one, else one of the next, else any.
pub fn choose_udp_port(wanted: u16) -> io::Result<u16> {
    let near =
        (wanted..=wanted.saturating_add(NEIGHBOURS)).find(|port| *port != 0 && udp_port_is_free(*port));
    match near {
        Some(port) => Ok(port),
        None => bind(0),
    }
}

/// Binds and lets go again. One after the other: a socket for both families at once collides with one for IPv4.
fn bind(port: u16) -> io::Result<u16> {
    let port = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?.local_addr()?.port();
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        // Free, or there is no IPv6 in which it could be taken.
        Ok(_) | Err(_) => Ok(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_seen_in_either_family_and_another_is_found() {
        for any in ["0.0.0.0:0", "[::]:0"] {
            let Ok(taken) = UdpSocket::bind(any) else { continue };
            let port = taken.local_addr().unwrap().port();
            assert!(!udp_port_is_free(port), "{any}");
            let other = choose_udp_port(port).unwrap();
            assert!(other != port && other != 0);
        }
    }
}
