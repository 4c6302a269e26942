//! The invariants of who is reached through whom: no chains, one way for each node.

use std::collections::BTreeSet;

use model::{Node, NodeId};

use super::Findings;

impl Findings<'_> {
    pub(super) fn ways(&mut self) {
        let intent = self.intent;
        for network in intent.networks.values() {
            if let Some(hub) = network.hub {
                self.way(network.id.into(), network.id, hub);
            }
        }
        let relays = intent.nodes.values().filter_map(|node| node.relay);
        let hubs = intent.networks.values().filter_map(|network| network.hub);
        let routers = intent.egresses.values().flat_map(|egress| egress.routers.iter());
        let busy: BTreeSet<NodeId> = relays.chain(hubs).chain(routers.map(|router| router.node)).collect();
        for node in intent.nodes.values() {
            self.relayed(node, busy.contains(&node.id));
            self.internet(node);
        }
    }

    fn relayed(&mut self, node: &Node, busy: bool) {
        if let Some(relay) = node.relay {
            self.way(node.id.into(), node.network, relay);
            self.rule(node.id, "it is not its own relay", relay != node.id);
        }
        let Some(relay) = self.intent.relay_of(node) else {
            return;
        };
        let serves = busy || node.duties.remote_access || node.duties.internet;
        self.rule(node.id, "a node that is reached through another is no way for others", !serves);
        let one = node.internet.and_then(|used| used.gateway).is_none_or(|gateway| gateway == relay.id);
        self.rule(node.id, "its relay is its internet gateway", one);
    }

    fn internet(&mut self, node: &Node) {
        let Some(used) = node.internet else {
            return;
        };
        self.rule(node.id, "an internet gateway uses none", !node.duties.internet);
        let Some(gateway) = used.gateway else {
            return;
        };
        self.way(node.id.into(), node.network, gateway);
        let leads = self.intent.node(gateway).is_none_or(|gateway| gateway.duties.internet);
        self.rule(node.id, "its internet gateway is one", leads);
    }
}
