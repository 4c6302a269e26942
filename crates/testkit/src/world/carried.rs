//! What people may wish of those whom nodes carry: clients, and ranges behind routers.
//!
//! Not for the rules about them (`wish`). It keeps true that a range's routers stand at it, and that there are few of both, so
//! that wishes meet.

use std::collections::BTreeSet;

use control::{ClientEdit, Command, Edit, EgressEdit, NewClient, NewEgress};
use model::{NodeId, Router};

use super::wish::{Numbers, pick, tags};
use super::{NETWORKS, World};

const MOST_CLIENTS: usize = 3;
const RANGES: [&str; 2] = ["172.16.1.0/24", "172.16.2.0/24"];

impl World {
    /// Nodes of one network, which let clients in where they are to.
    fn gateways(&self, numbers: Numbers) -> Option<(usize, Vec<NodeId>)> {
        let Numbers { a, b, c } = numbers;
        let network = usize::from(c) % NETWORKS;
        let nodes = self.server.intent.nodes_in_network(self.networks[network], None);
        let nodes: Vec<NodeId> = nodes.filter(|node| node.duties.remote_access).map(|node| node.id).collect();
        let mut gateways = vec![pick(&nodes, a)?, pick(&nodes, b)?];
        gateways.dedup();
        Some((network, gateways))
    }

    pub(super) fn client(&mut self, numbers: Numbers) -> Option<Command> {
        let Numbers { a, b, c } = numbers;
        if let Some(client) = pick(&self.client_ids(None), a).filter(|_| c.is_multiple_of(5)) {
            return Some(Command::DeleteClient { client });
        }
        let (network, gateways) = self.gateways(numbers)?;
        let idle =
            self.clients.iter().position(|client| self.server.intent.client_by_key(&client.key).is_none());
        let key = match idle {
            Some(idle) => self.clients[idle].key,
            None if self.clients.len() < MOST_CLIENTS => {
                let sites = self.borders.len();
                self.foreign(usize::from(b) % sites).1
            }
            None => return None,
        };
        let number = self.server.intent.clients().count();
        Some(Command::CreateClient(NewClient {
            network: self.networks[network],
            name: format!("phone-{number}-{c}").parse().ok()?,
            key,
            addresses: None,
            gateways,
            owner: self.user(b).filter(|_| a.is_multiple_of(2)),
            enabled: true,
            tags: tags(a),
            expires: None,
            ranges: BTreeSet::new(),
            full_tunnel: b.is_multiple_of(4),
            dns: None,
            mtu: None,
            keepalive: None,
        }))
    }

    pub(super) fn client_edit(&self, numbers: Numbers) -> Option<Command> {
        let Numbers { a, b, c } = numbers;
        let client = pick(&self.client_ids(None), a)?;
        let edit = match c % 4 {
            0 => ClientEdit { enabled: Some(b % 3 != 0), ..ClientEdit::default() },
            1 => ClientEdit { owner: Edit::from(Some(self.user(b))), ..ClientEdit::default() },
            2 => ClientEdit { full_tunnel: Some(b.is_multiple_of(2)), ..ClientEdit::default() },
            _ => ClientEdit {
                gateways: self.gateways(numbers).map(|(_, gateways)| gateways),
                ..ClientEdit::default()
            },
        };
        Some(Command::UpdateClient { client, edit })
    }

    /// Routers among a network's nodes, attached to the range that they lead to.
    fn routers(&mut self, annex: usize, network: usize, (b, c): (u8, u8)) -> Option<BTreeSet<Router>> {
        let nodes = self.node_ids(Some(network));
        let mut chosen = vec![pick(&nodes, b)?, pick(&nodes, c)?];
        chosen.dedup();
        let hosts = chosen.iter().filter_map(|node| self.server.intent.node(*node));
        let hosts: Vec<usize> = hosts.filter_map(|node| self.by_id.get(&node.host).copied()).collect();
        hosts.into_iter().for_each(|host| self.attach(annex, host));
        Some(chosen.into_iter().zip(1..).map(|(node, priority)| Router { priority, node }).collect())
    }

    pub(super) fn egress(&mut self, numbers: Numbers) -> Option<Command> {
        let Numbers { a, b, c } = numbers;
        if let Some(egress) = pick(&self.egress_ids(), a).filter(|_| c.is_multiple_of(5)) {
            return Some(Command::DeleteEgress { egress });
        }
        while self.annexes.len() < RANGES.len() {
            self.annex(RANGES[self.annexes.len()], &[]);
        }
        // Of IPv4, where the network has it.
        let (annex, network) = (usize::from(a) % RANGES.len(), usize::from(b) % 2);
        let range: ipnet::IpNet = RANGES[annex].parse().ok()?;
        if self.server.intent.egresses_in_network(self.networks[network]).any(|egress| egress.range == range)
        {
            return None;
        }
        let routers = self.routers(annex, network, (b, c))?;
        Some(Command::CreateEgress(NewEgress {
            network: self.networks[network],
            name: format!("site-{annex}").parse().ok()?,
            range,
            mapped: c
                .is_multiple_of(3)
                .then(|| format!("100.64.{}.0/24", 4 * network + annex).parse().ok())
                .flatten(),
            routers,
            nat: c.is_multiple_of(2),
            enabled: true,
        }))
    }

    pub(super) fn egress_edit(&mut self, numbers: Numbers) -> Option<Command> {
        let Numbers { a, b, c } = numbers;
        let egress = self.server.intent.egress(pick(&self.egress_ids(), a)?)?.clone();
        let edit = match c % 4 {
            0 => EgressEdit { enabled: Some(b % 3 != 0), ..EgressEdit::default() },
            1 => EgressEdit { nat: Some(!egress.nat), ..EgressEdit::default() },
            2 => EgressEdit {
                mapped: match egress.mapped {
                    Some(_) => Edit::Clear,
                    None => Edit::Set(format!("100.64.{}.0/24", b % 8).parse().ok()?),
                },
                ..EgressEdit::default()
            },
            _ => {
                let annex = self.annexes.iter().position(|annex| egress.range == annex.range.into())?;
                let network = self.networks.iter().position(|network| *network == egress.network)?;
                EgressEdit {
                    routers: self.routers(annex, network, (b, c.rotate_left(4))),
                    ..EgressEdit::default()
                }
            }
        };
        Some(Command::UpdateEgress { egress: egress.id, edit })
    }
}
