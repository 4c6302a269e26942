//! The invariants of what networks hold besides nodes: who names whom, and that nobody is named who cannot be.

use ipnet::IpNet;
use model::{Client, Egress, NetworkId, NodeId, Policy, Subject};

use super::Findings;
use crate::RecordKey;

impl Findings<'_> {
    pub(super) fn members(&mut self) {
        let intent = self.intent;
        intent.clients.values().for_each(|client| self.client(client));
        intent.egresses.values().for_each(|egress| self.egress(egress));
        intent.policies.values().for_each(|policy| self.policy(policy));
        for test in intent.policy_tests.values() {
            self.lies_in(test.id, test.network);
            self.speaks_of(test.id.into(), test.network, &test.from);
            self.speaks_of(test.id.into(), test.network, &test.to);
            let ports = test.service.ports();
            let one = ports.len() <= 1 && ports.iter().all(|range| range.first() == range.last());
            self.rule(test.id, "a test is of at most one port", one);
        }
        let names = |network, name: &dyn std::fmt::Display| format!("{name} in {network}");
        let of_egresses = intent.egresses.values().map(|v| (names(v.network, &v.name), v.id.into()));
        self.unique("egress name", of_egresses);
        let of_policies = intent.policies.values().map(|v| (names(v.network, &v.name), v.id.into()));
        self.unique("policy name", of_policies);
    }

    pub(super) fn lies_in(&mut self, record: impl Into<RecordKey>, network: NetworkId) {
        self.refers(record, network, self.intent.network(network).is_some());
    }

    /// A node that others name as their way: of the same network, and let in.
    pub(super) fn way(&mut self, record: RecordKey, network: NetworkId, node: NodeId) {
        let found = self.intent.node(node);
        self.refers(record, node, found.is_some());
        if let Some(found) = found {
            self.rule(record, "its way is a node of its network", found.network == network);
            self.rule(record, "its way does not wait to be let in", !found.pending);
        }
    }

    fn client(&mut self, client: &Client) {
        let key: RecordKey = client.id.into();
        self.lies_in(key, client.network);
        if let Some(user) = client.owner {
            self.refers(key, user, self.intent.user(user).is_some());
        }
        for gateway in &client.gateways {
            self.way(key, client.network, *gateway);
            let Some(node) = self.intent.node(*gateway) else {
                continue;
            };
            self.rule(key, "its gateway lets clients in", node.duties.remote_access);
            let everything = !client.full_tunnel || node.duties.internet;
            self.rule(key, "its gateway leads where it sends", everything);
        }
        let once = client.gateways.iter().enumerate().all(|(at, id)| !client.gateways[..at].contains(id));
        self.rule(key, "it names each gateway once", once);
        self.canonical(key, client.ranges.iter());
    }

    fn egress(&mut self, egress: &Egress) {
        let key: RecordKey = egress.id.into();
        self.lies_in(key, egress.network);
        for router in &egress.routers {
            self.way(key, egress.network, router.node);
            let times = egress.routers.iter().filter(|other| other.node == router.node).count();
            self.rule(key, "it names each router once", times == 1);
        }
        self.canonical(key, [&egress.range].into_iter().chain(&egress.mapped));
        let alike = |mapped: IpNet| {
            let family = mapped.addr().is_ipv4() == egress.range.addr().is_ipv4();
            family && mapped.prefix_len() == egress.range.prefix_len()
        };
        self.rule(key, "its mapped range is as large", egress.mapped.is_none_or(alike));
    }

    fn canonical<'a>(&mut self, key: RecordKey, mut ranges: impl Iterator<Item = &'a IpNet>) {
        self.rule(key, "its ranges are ranges", ranges.all(|range| range.trunc() == *range));
    }

    fn policy(&mut self, policy: &Policy) {
        let key: RecordKey = policy.id.into();
        self.lies_in(key, policy.network);
        let both = !policy.from.is_empty() && !policy.to.is_empty();
        self.rule(key, "a policy has both sides", both);
        for subject in policy.from.iter().chain(&policy.to) {
            self.speaks_of(key, policy.network, subject);
        }
    }

    fn speaks_of(&mut self, key: RecordKey, network: NetworkId, subject: &Subject) {
        let intent = self.intent;
        let lies = match subject {
            Subject::Everything | Subject::Tag(_) | Subject::Group(_) => return,
            Subject::User(id) => return self.refers(key, *id, intent.user(*id).is_some()),
            Subject::Node(id) => {
                self.refers(key, *id, intent.node(*id).is_some());
                intent.node(*id).map(|node| node.network)
            }
            Subject::Client(id) => {
                self.refers(key, *id, intent.client(*id).is_some());
                intent.client(*id).map(|client| client.network)
            }
            Subject::Egress(id) => {
                self.refers(key, *id, intent.egress(*id).is_some());
                intent.egress(*id).map(|egress| egress.network)
            }
        };
        self.rule(key, "it speaks of its own network", lies.is_none_or(|lies| lies == network));
    }
}
