//! The ports that the server wants: whether it may have them, and nobody else does.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use super::Finding;
use crate::names::Listen;
use crate::settings::Settings;

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![port("https", "TCP", settings.listen, bind_tcp)];
    findings.extend(settings.rendezvous.map(|address| port("rendezvous", "UDP", address, bind_udp)));
    match &settings.dns.listen {
        Listen::Off => findings.push(Finding::good("dns", "off")),
        // It is done without where somebody else has it.
        Listen::Usual => {}
        Listen::At(addresses) => {
            for address in addresses {
                findings.push(port("dns", "UDP", *address, bind_udp));
                findings.push(port("dns", "TCP", *address, bind_tcp));
            }
        }
    }
    findings
}

/// Whether somebody has this port: the server, if it runs.
pub(super) fn is_taken(address: SocketAddr) -> bool {
    bind_tcp(address).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
}

fn bind_tcp(address: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind(address).map(drop)
}

fn bind_udp(address: SocketAddr) -> std::io::Result<()> {
    UdpSocket::bind(address).map(drop)
}

fn port(
    subject: &'static str,
    protocol: &str,
    address: SocketAddr,
    bind: impl Fn(SocketAddr) -> std::io::Result<()>,
) -> Finding {
    let Err(error) = bind(address) else {
        return Finding::good(subject, format!("{protocol} {address} is free"));
    };
    let detail = match error.kind() {
        ErrorKind::AddrInUse => {
            let detail = format!(
                "{protocol} {address} is in use: good if the server runs already, else choose another port or end what has it"
            );
            return Finding::doubtful(subject, detail);
        }
        ErrorKind::PermissionDenied => {
            format!(
                "{protocol} {address} may not be used by this user; ports below 1024 need CAP_NET_BIND_SERVICE"
            )
        }
        ErrorKind::AddrNotAvailable => format!("{} is no address of this machine", address.ip()),
        _ => format!("{protocol} {address} cannot be used: {error}"),
    };
    Finding::wrong(subject, detail)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_port_that_somebody_has_is_told_from_one_that_is_free() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let found = port("https", "TCP", address, bind_tcp);
        assert_eq!(found.state, State::Doubtful, "{found}");
        drop(taken);
        assert_eq!(port("https", "TCP", address, bind_tcp).state, State::Good);
        let foreign = port("https", "TCP", "192.0.2.1:8443".parse().unwrap(), bind_tcp);
        assert!(
            foreign.state == State::Wrong && foreign.detail.contains("no address of this machine"),
            "{foreign}"
        );
    }
}
