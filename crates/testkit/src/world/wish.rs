//! What people may wish of a world, from a few numbers: for random histories.
//!
//! Not for machines and their trouble (`steps`), and not for how a client, a range or a name is made up (`carried`, `naming`).
//! It keeps true that a wish which the server refuses changes nothing, and that
//! machines stand where the wish needs them: at the range that they are to lead to, or with a configuration at hand.

use std::collections::BTreeSet;
use std::time::Duration;

use control::{ClientEdit, Command, Edit, NetworkEdit, NewPolicy, NodeEdit, PolicyEdit};
use model::{
    Access, ClientId, EgressId, GroupName, InternetUse, NodeId, PasswordHash, Role, Service, Subject, Tag,
    UserId,
};

use super::kernel::wall;
use super::{NETWORKS, World};

/// What somebody wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Another rule, or the end of one, or that it counts or not.
    Policy,
    /// What no rule speaks of passes, or not.
    Access,
    /// Tags of a node or client.
    Tags,
    /// Groups of a person, who is made if need be.
    Groups,
    /// What a node does for others.
    Duties,
    /// The node through which another is reached, or all are.
    Relay,
    /// The way to the internet.
    Internet,
    /// A client, or its end.
    Client,
    /// Another client than before.
    ClientRest,
    /// A client gets its configuration anew.
    Import,
    /// A range, or its end.
    Egress,
    /// Another range than before.
    EgressRest,
    /// A time at which somebody's time is over.
    Expiry,
    /// Whether newcomers wait, and that those who wait are let in.
    Approval,
    /// New keys.
    Rotate,
    /// Another address.
    Renumber,
    /// Another name of a machine or a client.
    Name,
    /// The domain of a network's names.
    Domain,
    /// A name that somebody wrote down, or its end.
    Record,
    /// Name servers for a domain, or their end.
    Upstream,
}

/// One of them, and numbers that say of whom.
#[derive(Debug, Clone, Copy)]
pub struct Numbers {
    /// Mostly whom.
    pub a: u8,
    /// Mostly who else.
    pub b: u8,
    /// Mostly what.
    pub c: u8,
}

pub(super) fn pick<T: Copy>(all: &[T], number: u8) -> Option<T> {
    (!all.is_empty()).then(|| all[usize::from(number) % all.len()])
}

pub(super) fn tags(bits: u8) -> BTreeSet<Tag> {
    let names = ["red", "blue"].iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
    names.map(|(_, name)| name.parse().expect("a tag")).collect()
}

fn group(number: u8) -> GroupName {
    ["staff", "guests"][usize::from(number % 2)].parse().expect("a group")
}

fn services(number: u8) -> BTreeSet<Service> {
    let texts: &[&str] = match number % 5 {
        0 => &["icmp"],
        1 => &["tcp/80,443"],
        2 => &["udp/1-600", "icmp"],
        _ => &[],
    };
    texts.iter().map(|text| text.parse().expect("a service")).collect()
}

impl World {
    /// Wishes something of the server, which must be up; whether it was granted.
    pub fn wish(&mut self, wish: Wish, numbers: Numbers) -> bool {
        let Some(command) = self.command_for(wish, numbers) else { return false };
        self.try_command(command).is_ok()
    }

    fn command_for(&mut self, wish: Wish, numbers: Numbers) -> Option<Command> {
        let Numbers { a, b, c } = numbers;
        match wish {
            Wish::Policy => self.policy(numbers),
            Wish::Access => {
                let access = Some(if c % 3 == 0 { Access::Allow } else { Access::Deny });
                Some(self.network_edit(a, NetworkEdit { access, ..NetworkEdit::default() }))
            }
            Wish::Tags => match pick(&self.client_ids(None), b).filter(|_| c.is_multiple_of(2)) {
                Some(client) => {
                    let edit = ClientEdit { tags: Some(tags(a)).into(), ..ClientEdit::default() };
                    Some(Command::UpdateClient { client, edit })
                }
                None => self.node_edit(a, NodeEdit { tags: Some(tags(c)).into(), ..NodeEdit::default() }),
            },
            Wish::Groups => self.groups(numbers),
            Wish::Duties => {
                let (remote_access, internet_gateway) = (Some(c % 4 != 0), Some(c % 2 == 0));
                self.node_edit(a, NodeEdit { remote_access, internet_gateway, ..NodeEdit::default() })
            }
            Wish::Relay | Wish::Internet => self.way_edit(wish, numbers),
            Wish::Client => self.client(numbers),
            Wish::ClientRest => self.client_edit(numbers),
            Wish::Import => {
                let client = usize::from(a) % self.clients.len().max(1);
                if client < self.clients.len() {
                    self.import_by(client, usize::from(b % 2));
                }
                None
            }
            Wish::Egress => self.egress(numbers),
            Wish::EgressRest => self.egress_edit(numbers),
            Wish::Expiry => {
                let expires = Edit::Set(wall(self.now) + Duration::from_secs(1 + u64::from(c)));
                match pick(&self.client_ids(None), b).filter(|_| c.is_multiple_of(2)) {
                    Some(client) => {
                        let edit = ClientEdit { expires, ..ClientEdit::default() };
                        Some(Command::UpdateClient { client, edit })
                    }
                    None => self.node_edit(a, NodeEdit { expires, ..NodeEdit::default() }),
                }
            }
            Wish::Approval if c.is_multiple_of(2) => {
                let approval = Some(c.is_multiple_of(4));
                Some(self.network_edit(a, NetworkEdit { approval, ..NetworkEdit::default() }))
            }
            Wish::Approval => self.node_edit(a, NodeEdit { approve: true, ..NodeEdit::default() }),
            Wish::Rotate => {
                let hosts: Vec<_> = self.server.intent.hosts(None).map(|host| host.id).collect();
                Some(Command::RotateKeys { host: pick(&hosts, a).filter(|_| c % 4 != 0) })
            }
            Wish::Name => self.rename(numbers),
            Wish::Domain => Some(self.domain(numbers)),
            Wish::Record => self.record(numbers),
            Wish::Upstream => Some(self.upstream(numbers)),
            Wish::Renumber => {
                let node = self.server.intent.node(pick(&self.node_ids(None), a)?)?;
                let v4 = node.addresses.v4.map(|v4| {
                    let [x, y, z, _] = v4.octets();
                    std::net::Ipv4Addr::new(x, y, z, 100 + c % 100)
                })?;
                let addresses = Some(model::Addresses { v4: Some(v4), v6: None });
                Some(Command::UpdateNode {
                    node: node.id,
                    edit: NodeEdit { addresses, ..NodeEdit::default() },
                })
            }
        }
    }

    pub(super) fn network_edit(&self, number: u8, edit: NetworkEdit) -> Command {
        Command::UpdateNetwork { network: self.networks[usize::from(number) % NETWORKS], edit }
    }

    fn node_edit(&self, number: u8, edit: NodeEdit) -> Option<Command> {
        Some(Command::UpdateNode { node: pick(&self.node_ids(None), number)?, edit })
    }

    pub(super) fn node_ids(&self, network: Option<usize>) -> Vec<NodeId> {
        let network = network.map(|network| self.networks[network]);
        let nodes = self.server.intent.nodes(None);
        nodes
            .filter(|node| network.is_none_or(|network| node.network == network))
            .map(|node| node.id)
            .collect()
    }

    pub(super) fn client_ids(&self, network: Option<usize>) -> Vec<ClientId> {
        let network = network.map(|network| self.networks[network]);
        let clients = self.server.intent.clients();
        let clients = clients.filter(|client| network.is_none_or(|network| client.network == network));
        clients.map(|client| client.id).collect()
    }

    pub(super) fn egress_ids(&self) -> Vec<EgressId> {
        self.server.intent.egresses().map(|egress| egress.id).collect()
    }

    pub(super) fn user(&self, number: u8) -> Option<UserId> {
        let users: Vec<UserId> = self.server.intent.users(None).map(|user| user.id).collect();
        pick(&users, number)
    }

    fn subject(&self, network: usize, number: u8) -> Subject {
        let of = number / 8;
        let egresses = self.server.intent.egresses_in_network(self.networks[network]);
        let egresses: Vec<EgressId> = egresses.map(|egress| egress.id).collect();
        let subject = match number % 8 {
            0 => None,
            1 | 2 => pick(&self.node_ids(Some(network)), of).map(Subject::Node),
            3 => pick(&self.client_ids(Some(network)), of).map(Subject::Client),
            4 => pick(&egresses, of).map(Subject::Egress),
            5 => self.user(of).map(Subject::User),
            6 => Some(Subject::Group(group(of))),
            _ => tags(1 + of % 2).into_iter().next().map(Subject::Tag),
        };
        subject.unwrap_or(Subject::Everything)
    }

    fn policy(&self, numbers: Numbers) -> Option<Command> {
        let Numbers { a, b, c } = numbers;
        let policies: Vec<_> = self.server.intent.networks(None).collect();
        let policies = policies.iter().flat_map(|network| self.server.intent.policies_in_network(network.id));
        let policies: Vec<_> = policies.map(|policy| (policy.id, policy.enabled)).collect();
        match (pick(&policies, a), c % 4) {
            (Some((policy, _)), 0) => Some(Command::DeletePolicy { policy }),
            (Some((policy, enabled)), 1) => {
                let edit = PolicyEdit { enabled: Some(!enabled), ..PolicyEdit::default() };
                Some(Command::UpdatePolicy { policy, edit })
            }
            (_, _) => {
                let network = usize::from(a) % NETWORKS;
                Some(Command::CreatePolicy(NewPolicy {
                    network: self.networks[network],
                    name: format!("rule {a} {b} {c}").parse().ok()?,
                    enabled: true,
                    from: BTreeSet::from([self.subject(network, b)]),
                    to: BTreeSet::from([self.subject(network, c), self.subject(network, c.rotate_left(3))]),
                    services: services(a ^ b),
                    both: c % 8 > 5,
                }))
            }
        }
    }

    fn groups(&self, numbers: Numbers) -> Option<Command> {
        let Numbers { a, b, c } = numbers;
        let count = self.server.intent.users(None).count();
        if count < 2 {
            let name = ["ann", "bob"][count].parse().expect("a name");
            let password = PasswordHash::from_phc("$argon2id$".to_owned());
            return Some(Command::CreateUser { name, password, role: Role::Auditor });
        }
        let groups = (0..2).filter(|bit| c >> bit & 1 == 1).map(group).collect();
        Some(Command::SetGroups { user: self.user(a ^ b)?, groups })
    }

    fn way_edit(&self, wish: Wish, numbers: Numbers) -> Option<Command> {
        let Numbers { a, b, c } = numbers;
        let node = self.server.intent.node(pick(&self.node_ids(None), a)?)?;
        let network = self.networks.iter().position(|network| *network == node.network)?;
        let other = pick(&self.node_ids(Some(network)), b)?;
        let set = c % 4 != 0;
        if wish == Wish::Relay && c % 8 > 5 {
            let hub = if set { Edit::Set(other) } else { Edit::Clear };
            let edit = NetworkEdit { hub, ..NetworkEdit::default() };
            return Some(Command::UpdateNetwork { network: node.network, edit });
        }
        let edit = match wish {
            Wish::Relay => {
                NodeEdit { relay: if set { Edit::Set(other) } else { Edit::Clear }, ..NodeEdit::default() }
            }
            _ => {
                let used = InternetUse { gateway: Some(other), lan: c.is_multiple_of(3) };
                NodeEdit { internet: if set { Edit::Set(used) } else { Edit::Clear }, ..NodeEdit::default() }
            }
        };
        Some(Command::UpdateNode { node: node.id, edit })
    }
}
