//! What people may wish of names: those of machines and clients, of networks, and those that they write down.
//!
//! Not for what comes of it (`names`). It keeps true that wishes meet: few names, so that some are taken already.

use std::net::SocketAddr;

use control::{ClientEdit, Command, Edit, NetworkEdit};
use model::{DnsName, DnsRecordId, HostName, RecordData, UpstreamId};

use super::wish::{Numbers, pick};
use super::{NETWORKS, World};

const LABELS: [&str; 6] = ["web", "db", "host0", "host1", "phone", "web-2"];
const RECORDS: [&str; 6] = ["web", "db", "host1", "note.db", "_ldap._tcp", "phone"];
const DOMAINS: [&str; 5] =
    ["corp.example", "far.example", "office.corp.example", "net1.netloom.internal", "names.test"];

fn domain(number: u8) -> DnsName {
    DOMAINS[usize::from(number) % DOMAINS.len()].parse().expect("a domain")
}

fn servers(number: u8) -> Vec<SocketAddr> {
    let of = |last: u8| SocketAddr::from(([192, 0, 2, last], 53));
    if number.is_multiple_of(2) { vec![of(1 + number)] } else { vec![of(1), of(number.max(2))] }
}

/// One of each kind, or two.
fn data(number: u8) -> RecordData {
    let other = number / 5 % 2;
    match number % 5 {
        0 => RecordData::A { address: [192, 0, 2, 40 + other].into() },
        1 => {
            RecordData::Aaaa { address: std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, other.into()) }
        }
        2 => RecordData::Cname { target: domain(other) },
        3 => RecordData::Txt { text: format!("v={other} {}", "x".repeat(usize::from(other) * 300)) },
        _ => RecordData::Srv { priority: 1, weight: other.into(), port: 389, target: domain(other) },
    }
}

impl World {
    pub(super) fn domain(&self, Numbers { a, b, c }: Numbers) -> Command {
        let domain = if c.is_multiple_of(4) { Edit::Clear } else { Edit::Set(domain(b)) };
        self.network_edit(a, NetworkEdit { domain, ..NetworkEdit::default() })
    }

    pub(super) fn rename(&self, Numbers { a, b, c }: Numbers) -> Option<Command> {
        let name: HostName = LABELS[usize::from(c) % LABELS.len()].parse().ok()?;
        if let Some(client) = pick(&self.client_ids(None), a).filter(|_| b.is_multiple_of(3)) {
            let edit = ClientEdit { name: Some(name), ..ClientEdit::default() };
            return Some(Command::UpdateClient { client, edit });
        }
        let hosts: Vec<_> = self.server.intent.hosts(None).map(|host| host.id).collect();
        Some(Command::UpdateHost {
            host: pick(&hosts, a)?,
            name: Some(name),
            mtu: Edit::Keep,
            static_endpoint: Edit::Keep,
            default: None,
            ephemeral: None,
        })
    }

    pub(super) fn record(&self, Numbers { a, b, c }: Numbers) -> Option<Command> {
        let network = self.networks[usize::from(a) % NETWORKS];
        let records = self.server.intent.dns_records_in_network(network);
        let records: Vec<DnsRecordId> = records.map(|record| record.id).collect();
        let ttl = 10 * u32::from(b % 4);
        match (pick(&records, b), c % 5) {
            (Some(record), 0) => Some(Command::DeleteDnsRecord { record }),
            (Some(record), 1) => {
                Some(Command::UpdateDnsRecord { record, ttl: Some(ttl), data: Some(data(b / 4)) })
            }
            (_, _) => {
                let name = RECORDS.get(usize::from(c / 5) % (RECORDS.len() + 1));
                let name = name.map(|name| name.parse().expect("a name"));
                Some(Command::CreateDnsRecord { network, name, ttl, data: data(b / 4) })
            }
        }
    }

    pub(super) fn upstream(&self, Numbers { a, b, c }: Numbers) -> Command {
        let network = self.networks[usize::from(a) % NETWORKS];
        let upstreams = self.server.intent.upstreams_in_network(network);
        let upstreams: Vec<UpstreamId> = upstreams.map(|upstream| upstream.id).collect();
        match (pick(&upstreams, b), c % 4) {
            (Some(upstream), 0) => Command::DeleteUpstream { upstream },
            (Some(upstream), 1) => Command::UpdateUpstream { upstream, servers: servers(c / 4) },
            (_, _) => Command::CreateUpstream { network, domain: domain(b), servers: servers(c / 4) },
        }
    }
}
