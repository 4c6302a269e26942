//! What the map gives and this machine does not use, and why: in words for reports.
//!
//! Not for finding it out (`reach`).

use ipnet::IpNet;
use model::HostName;
use wire::{Outcome, Peer};

/// A range that the map gives and this machine does not use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Whose it is.
    pub name: HostName,
    /// Whether that is a client, and no egress.
    pub is_client: bool,
    /// Why not.
    pub why: LeftOutWhy,
}

/// Why something that the map gives is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOutWhy {
    /// The machine is directly attached to this.
    Lan(IpNet),
    /// The host itself leads to this.
    Duty(IpNet),
    /// The internet gateway is itself reached through another node.
    NotDirect,
    /// This host is to lead there, and is in a network of this range.
    OwnNetwork(IpNet),
    /// This host is to lead there, and does so already under another name.
    Twice,
}

impl LeftOut {
    pub(crate) fn of(peer: &Peer, why: LeftOutWhy) -> Self {
        let is_client = peer.nodes.iter().any(|node| node.addresses.iter().next().is_some());
        Self { name: peer.name.clone(), is_client, why }
    }

    pub(crate) fn outcome(&self, range: IpNet) -> Outcome {
        let Self { name, is_client, why } = self;
        let (whose, mend) = match is_client {
            true => ("client", "one of the two needs another range"),
            false => ("egress", "map it to another range"),
        };
        let reach = || format!("reach the range {range} of {whose} {name}");
        let lead = || format!("lead to the range {range} of egress {name}");
        let (op, error) = match why {
            LeftOutWhy::Lan(lan) => (
                reach(),
                format!(
                    "the range {range} of {whose} {name} is this machine's own LAN ({lan}): left out; {mend}"
                ),
            ),
            LeftOutWhy::Duty(duty) => (
                reach(),
                format!(
                    "the range {range} of {whose} {name} shares addresses with {duty}, to which this host leads: left out; \
                     {mend}"
                ),
            ),
            LeftOutWhy::NotDirect => (
                format!("send everything to the internet gateway {name}"),
                format!(
                    "{name} is itself reached through another node: nothing leaves this machine; choose a gateway that is \
                     reached directly"
                ),
            ),
            LeftOutWhy::OwnNetwork(own) => (
                lead(),
                format!(
                    "the range {range} of egress {name} shares addresses with {own}, a network that this host is in: nobody \
                     is led there; take this host out of the network, or name another router"
                ),
            ),
            LeftOutWhy::Twice => (
                lead(),
                format!(
                    "this host leads to {range} under another name already: nobody is led there as egress {name}; use that \
                     one, or name another router"
                ),
            ),
        };
        Outcome { op, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_said_to_be_whose_it_is_with_what_helps() {
        let why = LeftOutWhy::Lan("192.168.7.0/24".parse().unwrap());
        for (is_client, whose, helps) in [(true, "client", "needs another"), (false, "egress", "map it")] {
            let left = LeftOut { name: HostName::nearest("plant"), is_client, why };
            let Outcome { op, error } = left.outcome("192.168.7.0/24".parse().unwrap());
            let whose = format!("192.168.7.0/24 of {whose} plant");
            assert!(op.contains(&whose) && error.contains(&whose) && error.contains(helps), "{op}: {error}");
        }
    }
}
