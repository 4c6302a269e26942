//! What passes on a link, as `tcpdump` saw it: who spoke to whom by which protocol and ports.
//!
//! Not for what was said. Keeps true that a capture which runs misses nothing that comes after its start, and that
//! address resolution, which no link can do without, is told apart from what goes over the link.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use super::eventually::eventually;
use super::machine::Machine;
use super::process::Daemon;

/// The header of a capture's file, of each packet in it, and of an Ethernet frame.
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;
const ETHERNET: usize = 14;
const LIMIT: Duration = Duration::from_secs(20);
/// Logs are added to, and no capture may begin with what an earlier one of its name saw.
static CAPTURES: AtomicU32 = AtomicU32::new(0);

/// Packets of one kind: the protocol's number in IP, and who spoke to whom; ports are 0 where the protocol has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// 6 is TCP, 17 is UDP, 1 and 58 are ICMP.
    pub protocol: u8,
    /// Who sent it.
    pub from: (IpAddr, u16),
    /// To whom.
    pub to: (IpAddr, u16),
}

impl Flow {
    /// Whether this is UDP from or to this port.
    pub fn is_udp(&self, port: u16) -> bool {
        self.protocol == 17 && (self.from.1 == port || self.to.1 == port)
    }

    /// Whether one of the two is this address.
    pub fn concerns(&self, address: IpAddr) -> bool {
        self.from.0 == address || self.to.0 == address
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            1 => "icmp".to_owned(),
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            58 => "icmpv6".to_owned(),
            other => format!("protocol {other}"),
        };
        write!(f, "{protocol} {} port {} -> {} port {}", self.from.0, self.from.1, self.to.0, self.to.1)
    }
}

/// How many packets of each kind passed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    flows: BTreeMap<Flow, u64>,
}

impl Traffic {
    /// Each kind with its number.
    pub fn flows(&self) -> impl Iterator<Item = (&Flow, u64)> {
        self.flows.iter().map(|(flow, packets)| (flow, *packets))
    }

    /// How many packets are of the kinds for which `wanted` says so.
    pub fn count(&self, wanted: impl Fn(&Flow) -> bool) -> u64 {
        self.flows().filter(|(flow, _)| wanted(flow)).map(|(_, packets)| packets).sum()
    }

    /// Without the kinds for which `expected` says so.
    #[must_use]
    pub fn without(mut self, expected: impl Fn(&Flow) -> bool) -> Self {
        self.flows.retain(|flow, _| !expected(flow));
        self
    }

    /// Whether nothing passed.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Reads a capture's file. A packet that is cut off at its end was under way.
    fn parse(file: &[u8]) -> Result<Self> {
        let head = file.get(..FILE_HEADER).context("the capture has no header")?;
        ensure!(head.starts_with(&[0xd4, 0xc3, 0xb2, 0xa1]), "the capture is in another format");
        let is_framed = match head[20] {
            1 => true,
            // A tunnel's.
            101 => false,
            _ => bail!("the capture is of another kind of link"),
        };
        let mut rest = &file[FILE_HEADER..];
        let mut traffic = Self::default();
        while let Some((header, after)) = rest.split_at_checked(PACKET_HEADER) {
            let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
            let Some((frame, after)) = after.split_at_checked(usize::try_from(length)?) else {
                break;
            };
            let packet = if is_framed { of_ethernet(frame) } else { Some(frame) };
            if let Some(flow) = packet.and_then(flow) {
                *traffic.flows.entry(flow).or_default() += 1;
            }
            rest = after;
        }
        Ok(traffic)
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.flows().try_for_each(|(flow, packets)| writeln!(f, "{packets:6} {flow}"))
    }
}

/// The packet of IP in a frame.
fn of_ethernet(frame: &[u8]) -> Option<&[u8]> {
    let (header, packet) = frame.split_at_checked(ETHERNET)?;
    matches!(header[12..], [0x08, 0x00] | [0x86, 0xdd]).then_some(packet)
}

/// What a packet is; none for what is not IP, and for the neighbours' discovery of IPv6.
fn flow(packet: &[u8]) -> Option<Flow> {
    let (protocol, from, to, payload): (u8, IpAddr, IpAddr, &[u8]) = match packet.first()? >> 4 {
        4 => {
            let address = |at: usize| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok().map(Ipv4Addr::from);
            let length = usize::from(packet.first()? & 0x0f) * 4;
            (*packet.get(9)?, address(12)?.into(), address(16)?.into(), packet.get(length..)?)
        }
        6 => {
            let address = |at: usize| <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok().map(Ipv6Addr::from);
            (*packet.get(6)?, address(8)?.into(), address(24)?.into(), packet.get(40..)?)
        }
        _ => return None,
    };
    let is_discovery = protocol == 58 && matches!(payload.first(), Some(133..=137));
    // Multicast listener reports: with an extension header (0), and older ones without.
    let is_report = protocol == 0 || (protocol == 58 && matches!(payload.first(), Some(130..=132 | 143)));
    if is_discovery || is_report {
        return None;
    }
    let port = |at: usize| match (protocol, payload.get(at..at + 2)) {
        (6 | 17, Some(&[high, low])) => u16::from_be_bytes([high, low]),
        (_, _) => 0,
    };
    Some(Flow { protocol, from: (from, port(0)), to: (to, port(2)) })
}

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    daemon: Daemon,
}

impl Capture {
    /// Captures on an interface of a machine. `name` tells this capture's log from others'.
    pub fn start(machine: &Machine, interface: &str, name: &str) -> Result<Self> {
        // What it says of itself must not get between the packets.
        let script = r#"exec tcpdump -n -Z root -i "$1" -s 128 -U --immediate-mode -w - 2> /dev/null"#;
        let mut command = machine.command("sh")?;
        command.args(["-c", script, "capture", interface]);
        let number = CAPTURES.fetch_add(1, Ordering::Relaxed);
        let mut daemon = machine.spawn(&format!("capture-{name}-{number}"), &mut command)?;
        eventually(LIMIT, || {
            ensure!(daemon.is_running(), "tcpdump does not run on {}", machine.name());
            ensure!(bytes(&daemon)?.len() >= FILE_HEADER, "tcpdump has not begun on {}", machine.name());
            Ok(())
        })?;
        Ok(Self { daemon })
    }

    /// What passed so far.
    pub fn traffic(&self) -> Result<Traffic> {
        Traffic::parse(&bytes(&self.daemon)?)
    }

    /// Ends the capture; what passed.
    pub fn stop(mut self) -> Result<Traffic> {
        self.daemon.signal(Signal::INT)?;
        self.daemon.wait(LIMIT)?;
        self.traffic()
    }
}

fn bytes(daemon: &Daemon) -> Result<Vec<u8>> {
    std::fs::read(daemon.log_path()).context("cannot read the capture")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut file =
            vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0, 1, 0, 0, 0];
        for frame in frames {
            let length = u8::try_from(frame.len()).unwrap();
            file.extend([0, 0, 0, 0, 0, 0, 0, 0, length, 0, 0, 0, length, 0, 0, 0]);
            file.extend(frame);
        }
        file
    }

    fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn packets_are_counted_by_kind_and_address_resolution_is_left_out() {
        let udp = v4(17, &[0x00, 0x35, 0xc8, 0x6e]);
        let arp = vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x06, 0, 0];
        let traffic = Traffic::parse(&file(&[udp.clone(), arp, udp])).unwrap();
        assert_eq!(traffic.to_string(), "     2 udp 10.0.0.1 port 53 -> 10.0.0.2 port 51310\n");
        assert_eq!(traffic.count(|flow| flow.is_udp(53)), 2);
        assert!(traffic.without(|flow| flow.is_udp(51310)).is_empty());
    }

    #[test]
    fn a_tunnel_has_packets_without_frames() {
        let mut file = file(&[v4(17, &[0x00, 0x35, 0xc8, 0x6e])[ETHERNET..].to_vec()]);
        file[20] = 101;
        assert_eq!(Traffic::parse(&file).unwrap().count(|flow| flow.is_udp(53)), 1);
        file[20] = 7;
        assert!(Traffic::parse(&file).is_err());
    }

    #[test]
    fn a_packet_that_is_still_being_written_does_not_count() {
        let mut file = file(&[v4(6, &[0, 1, 0, 2])]);
        file.truncate(file.len() - 1);
        assert!(Traffic::parse(&file).unwrap().is_empty());
    }
}
