//! Probes between this host and the routers of ranges, and clients that came in: what two of the brain's parts want done.
//!
//! Not for deciding which router lives (`reconcile::Routers`) or which client is worth a word (`reconcile::Clients`). It keeps
//! true that this host answers probes on its addresses where it leads to something, and nowhere else.

use std::net::IpAddr;
use std::time::Duration;

use reconcile::{AgentEvent, RouterAction};
use wire::{HostMap, Peer, PeerNode};

use super::Engine;
use crate::probe::{Echo, Prober};

/// When an address that could not be had is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// The next answer to a probe.
pub(super) async fn heard(prober: &mut Option<Prober>) -> Echo {
    match prober {
        Some(prober) => prober.heard().await,
        None => std::future::pending().await,
    }
}

impl Engine {
    /// Carries out what the choice of routers wants now; whether there was something.
    pub(super) async fn follow_routers(&mut self) -> bool {
        if self.prober.is_none() {
            return false;
        }
        let mut followed = false;
        while let Some(action) = self.routers.poll_action() {
            followed = true;
            match action {
                RouterAction::Probe { host: _, from, to, nonce } => {
                    if let Some(prober) = &self.prober {
                        prober.ask(from, to, nonce);
                    }
                }
                RouterAction::Use { member, host } => {
                    let Some(map) = self.agent.map() else { continue };
                    tracing::info!(range = %member, router = %host, "another router is used");
                    self.keeper.choose(map, member, host).await;
                    self.tell_outcome();
                }
            }
        }
        followed
    }

    /// Asks and answers on the addresses that take part in this, once they are on the link.
    pub(super) async fn listen_for_probes(&mut self) {
        let Some(prober) = &mut self.prober else { return };
        let addresses = self.agent.map().map(probed).unwrap_or_default();
        let refused = prober.set_addresses(&addresses).await;
        for (address, error) in &refused {
            tracing::debug!(%address, %error, "no probes there yet");
        }
        self.listen_at = (!refused.is_empty()).then(|| self.now() + AGAIN);
    }

    /// Clients that came in are sent to here, and the server is told of them if that is news.
    pub(super) async fn follow_clients(&mut self) {
        let Some(map) = self.agent.map() else { return };
        let news = self.keeper.clients_seen(map);
        let moved = self.keeper.place_clients(map).await;
        if let Some(clients) = news {
            self.agent.handle(AgentEvent::Clients(clients), self.now());
        }
        if moved {
            self.tell_outcome();
        }
    }

    /// It is time to read the device for the clients' sake.
    pub(super) async fn look_for_clients(&mut self) {
        if self.keeper.look().await {
            self.tell_outcome();
        }
        self.follow_clients().await;
    }
}

/// Whether the member is a range with several routers.
pub(super) fn has_choice(peer: &Peer) -> bool {
    peer.nodes.iter().any(leads_by_several)
}

fn leads_by_several(node: &PeerNode) -> bool {
    !node.ranges.is_empty() && node.via.len() > 1
}

/// The addresses at which this host is asked, or asks: in networks where it leads to a range, and where others do.
fn probed(map: &HostMap) -> Vec<IpAddr> {
    let taking_part = map.networks.iter().filter(|(_, told)| told.takes_part());
    let asks = |network| {
        let nodes = map.peers.values().flat_map(|peer| &peer.nodes);
        nodes.into_iter().any(|node| node.network == network && leads_by_several(node))
    };
    let wanted = taking_part.filter(|(network, told)| !told.egress.is_empty() || asks(**network));
    wanted.flat_map(|(_, told)| told.addresses.iter()).collect()
}

#[cfg(test)]
mod tests {
    use model::{Addresses, HostId, MemberId, NetworkId};
    use wire::{EgressDuty, Net};

    use super::*;
    use crate::names::tests::{NETWORK, map, peer};

    fn range() -> Net {
        Net("192.168.7.0/24".parse().unwrap())
    }

    #[test]
    fn only_who_leads_to_a_range_or_has_a_choice_of_routers_takes_part_in_probes() {
        let mut told = map(2);
        assert_eq!(probed(&told), Vec::<IpAddr>::new());
        let own: IpAddr = "10.7.0.200".parse().unwrap();
        let duty = EgressDuty { id: MemberId::from_bytes([9; 16]), range: range(), mapped: None, nat: false };
        told.networks.get_mut(&NETWORK).unwrap().egress.push(duty);
        assert_eq!(probed(&told), [own]);
        told.networks.get_mut(&NETWORK).unwrap().connected = false;
        assert_eq!(probed(&told), Vec::<IpAddr>::new());

        let mut told = map(2);
        let behind = |hosts: &[u8], network: NetworkId| wire::Peer {
            key: None,
            nodes: vec![PeerNode {
                ranges: vec![range()],
                via: hosts.iter().map(|host| HostId::from_bytes([*host; 16])).collect(),
                ..PeerNode::new(network, Addresses::default())
            }],
            ..peer(9)
        };
        told.peers.insert(MemberId::from_bytes([9; 16]), behind(&[1], NETWORK));
        assert_eq!(probed(&told), Vec::<IpAddr>::new());
        assert!(!has_choice(&behind(&[1], NETWORK)) && has_choice(&behind(&[1, 2], NETWORK)));
        told.peers.insert(MemberId::from_bytes([9; 16]), behind(&[1, 2], NETWORK));
        assert_eq!(probed(&told), [own]);
    }
}
