//! What records and what hosts are told of networks look like as text: fields in order, by the names of things.
//!
//! It keeps true that a field that is as in most networks (no tags, access for all, no relay) is empty, so that what a story
//! is not about does not stand in it.

use std::collections::BTreeSet;

use control::Record;
use model::{Access, Node, RecordData, Role, Subject, TokenPurpose, ToldRecord, Uses};
use wire::{Class, EgressDuty, Grant, Membership, Party, ToldUpstream};

use super::show::{Fields, list, option};
use super::stage::{Stage, text_of};

/// `yes`, or nothing.
fn flag(on: bool) -> String {
    if on { "yes".to_owned() } else { String::new() }
}

fn uses(uses: Uses) -> String {
    match uses {
        Uses::Unlimited => "unlimited".to_owned(),
        Uses::Left(left) => left.to_string(),
    }
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::Administrator => "administrator",
        Role::Auditor => "auditor",
    }
}

const fn purpose(purpose: TokenPurpose) -> &'static str {
    match purpose {
        TokenPurpose::Login => "log-in",
        TokenPurpose::Program => "program",
    }
}

const fn access(access: Access) -> &'static str {
    match access {
        Access::Allow => "allow",
        Access::Deny => "deny",
    }
}

fn data(data: &RecordData) -> String {
    match data {
        RecordData::A { address } => format!("A:{address}"),
        RecordData::Aaaa { address } => format!("AAAA:{address}"),
        RecordData::Cname { target } => format!("CNAME:{target}"),
        RecordData::Txt { text } => format!("TXT:{text}"),
        RecordData::Srv { priority, weight, port, target } => {
            format!("SRV:{priority}:{weight}:{port}:{target}")
        }
    }
}

fn told_record(record: &ToldRecord) -> String {
    let name = record.name.as_ref().map_or_else(|| "@".to_owned(), ToString::to_string);
    format!("{name} {} {}", record.ttl, data(&record.data))
}

fn told_upstream(upstream: &ToldUpstream) -> String {
    format!("{}@{}", upstream.domain, list(&upstream.servers))
}

impl Stage {
    /// A record: what it is, and its fields.
    pub(super) fn record(&self, record: &Record) -> (String, Fields) {
        let what =
            format!("{} {}", record.key().kind.as_str().replace('_', "-"), self.name(record.key().id_text()));
        let fields = match record {
            Record::Network(network) => vec![
                ("name", network.name.to_string()),
                ("ranges", list(network.ranges.iter())),
                ("keepalive", network.keepalive.to_string()),
                ("guarded", flag(network.access == Access::Deny)),
                ("approval", flag(network.approval)),
                ("hub", option(network.hub.map(|hub| self.name(hub)))),
                ("domain", option(network.domain.as_ref())),
            ],
            Record::Host(host) => vec![
                ("name", host.name.to_string()),
                ("key", text_of(host.wireguard_key.as_bytes())),
                ("mtu", option(host.mtu)),
                ("endpoint", option(host.static_endpoint)),
                ("default", flag(host.default)),
                ("ephemeral", flag(host.ephemeral)),
                ("rotate", flag(host.rotate)),
                ("rotate_since", option(host.rotate_since)),
                ("rekeyed", option(host.rekeyed)),
            ],
            Record::Node(node) => self.node(node),
            Record::EnrollmentKey(key) => vec![
                ("title", key.title.to_string()),
                ("networks", list(key.networks.iter().map(|network| self.name(network)))),
                ("uses", uses(key.uses)),
                ("expires", option(key.expires)),
                ("tags", list(&key.tags)),
                ("ephemeral", flag(key.ephemeral)),
            ],
            Record::User(user) => vec![
                ("name", user.name.to_string()),
                ("role", role(user.role).to_owned()),
                ("groups", list(&user.groups)),
            ],
            Record::ApiToken(token) => {
                vec![("user", self.name(token.user)), ("purpose", purpose(token.purpose).to_owned())]
            }
            Record::Client(_) | Record::Egress(_) => self.served(record),
            Record::Policy(_) | Record::PolicyTest(_) => self.rule(record),
            Record::DnsRecord(record) => {
                vec![("ttl", record.ttl.to_string()), ("data", data(&record.data))]
            }
            Record::Upstream(upstream) => vec![("servers", list(&upstream.servers))],
        };
        (what, fields)
    }

    fn node(&self, node: &Node) -> Fields {
        vec![
            ("addresses", list(node.addresses.iter())),
            ("connected", node.connected.to_string()),
            ("pending", flag(node.pending)),
            ("tags", list(&node.tags)),
            ("clients", flag(node.duties.remote_access)),
            ("way-out", flag(node.duties.internet)),
            ("relay", option(node.relay.map(|relay| self.name(relay)))),
            ("internet", option(node.internet.map(|used| self.internet(used.gateway, used.lan)))),
            ("expires", option(node.expires)),
        ]
    }

    fn internet(&self, gateway: Option<impl ToString>, lan: bool) -> String {
        let gateway = gateway.map_or_else(|| "nobody".to_owned(), |gateway| self.name(gateway));
        format!("{gateway}{}", if lan { " beside the LAN" } else { "" })
    }

    fn served(&self, record: &Record) -> Fields {
        if let Record::Client(client) = record {
            return vec![
                ("name", client.name.to_string()),
                ("key", text_of(client.key.as_bytes())),
                ("addresses", list(client.addresses.iter())),
                ("gateways", list(client.gateways.iter().map(|node| self.name(node)))),
                ("enabled", client.enabled.to_string()),
                ("expired", flag(client.is_over())),
                ("owner", option(client.owner.map(|owner| self.name(owner)))),
                ("tags", list(&client.tags)),
                ("expires", option(client.expires)),
                ("ranges", list(&client.ranges)),
                ("full", flag(client.full_tunnel)),
                ("dns", option(client.dns.as_ref().map(list))),
                ("mtu", option(client.mtu)),
                ("keepalive", option(client.keepalive)),
            ];
        }
        let Record::Egress(egress) = record else { return Vec::new() };
        let routers = egress.routers.iter();
        let routers = routers.map(|router| format!("{}:{}", self.name(router.node), router.priority));
        vec![
            ("name", egress.name.to_string()),
            ("range", egress.range.to_string()),
            ("mapped", option(egress.mapped)),
            ("routers", list(routers)),
            ("nat", flag(egress.nat)),
            ("enabled", egress.enabled.to_string()),
        ]
    }

    fn rule(&self, record: &Record) -> Fields {
        let side = |subjects: &BTreeSet<Subject>| list(subjects.iter().map(|subject| self.subject(subject)));
        if let Record::Policy(policy) = record {
            return vec![
                ("from", side(&policy.from)),
                ("to", side(&policy.to)),
                ("by", policy.services.iter().map(ToString::to_string).collect::<Vec<_>>().join("+")),
                ("both", flag(policy.both)),
                ("enabled", policy.enabled.to_string()),
            ];
        }
        let Record::PolicyTest(test) = record else { return Vec::new() };
        vec![("expect", access(test.expect).to_owned())]
    }

    /// Whom a policy speaks of.
    pub(super) fn subject(&self, subject: &Subject) -> String {
        match subject {
            Subject::Everything => "everything".to_owned(),
            Subject::Node(id) => format!("node:{}", self.name(id)),
            Subject::Client(id) => format!("client:{}", self.name(id)),
            Subject::Egress(id) => format!("egress:{}", self.name(id)),
            Subject::Tag(tag) => format!("tag:{tag}"),
            Subject::User(id) => format!("user:{}", self.name(id)),
            Subject::Group(group) => format!("group:{group}"),
        }
    }

    /// What a class was made of.
    pub(super) fn class(&self, class: Class) -> String {
        self.classes.get(&class).cloned().unwrap_or_else(|| "class of nothing known".to_owned())
    }

    fn party(&self, party: &Party) -> String {
        match party {
            Party::Everything => "everything".to_owned(),
            Party::Class(class) => self.class(*class),
            Party::Member(id) => self.name(id),
            Party::Outside => "outside".to_owned(),
        }
    }

    fn grant(&self, grant: &Grant) -> String {
        let side = |parties: &[Party]| list(parties.iter().map(|party| self.party(party)));
        let services: Vec<String> = grant.services.iter().map(ToString::to_string).collect();
        let by = if services.is_empty() { String::new() } else { format!(" by {}", services.join("+")) };
        format!("{}→{}{by}", side(&grant.from), side(&grant.to))
    }

    fn duty(&self, duty: &EgressDuty) -> String {
        let mapped = duty.mapped.map(|mapped| format!(" as {}", mapped.0)).unwrap_or_default();
        format!("{} {}{mapped}{}", self.name(duty.id), duty.range.0, if duty.nat { " nat" } else { "" })
    }

    /// What a host is told of a network.
    pub(super) fn membership(&self, membership: &Membership) -> Fields {
        let joined = |texts: Vec<String>| texts.join("; ");
        vec![
            ("name", membership.name.to_string()),
            ("ranges", list(membership.ranges.iter())),
            ("addresses", list(membership.addresses.iter())),
            ("connected", membership.connected.to_string()),
            ("keepalive", membership.keepalive.to_string()),
            ("pending", flag(membership.pending)),
            ("via", option(membership.via.map(|via| self.name(via)))),
            ("guarded", flag(membership.guarded)),
            ("classes", list(membership.classes.iter().map(|class| self.class(*class)))),
            ("grants", joined(membership.grants.iter().map(|grant| self.grant(grant)).collect())),
            ("egress", joined(membership.egress.iter().map(|duty| self.duty(duty)).collect())),
            ("way-out", flag(membership.internet_gateway)),
            ("internet", option(membership.internet.map(|way| self.internet(way.via, way.lan)))),
            ("domain", option(membership.domain.as_ref())),
            ("records", joined(membership.records.iter().map(told_record).collect())),
            ("upstreams", joined(membership.upstreams.iter().map(told_upstream).collect())),
        ]
    }
}
