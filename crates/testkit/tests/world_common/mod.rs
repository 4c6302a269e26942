//! The agent's own names for machines of the World: what the real agent answers from its map, and tells its resolver.
//!
//! Not for what they should be: the World says so by a model of its own (`world::names`).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use agent::names::{Table, Wanted};
use dns::{Data, Record, Service};
use model::{MemberId, NetworkId};
use testkit::world::{Answered, Names};
use wire::HostMap;

/// An agent's table of names.
#[derive(Debug)]
pub(crate) struct AgentNames(pub(crate) Table);

/// For `World::name`.
pub(crate) fn names() -> Box<dyn Names> {
    Box::new(AgentNames(Table::new(1)))
}

impl Names for AgentNames {
    fn follow_all(&mut self, map: &HostMap) {
        self.0.follow_all(map);
    }

    fn follow(&mut self, map: &HostMap, members: &BTreeSet<MemberId>, records: &BTreeSet<NetworkId>) {
        self.0.follow(map, members, records);
    }

    fn answered(&self, map: &HostMap) -> Answered {
        let snapshot = self.0.names().snapshot();
        let Wanted { listen, resolver, forwarding, allowed: _ } = Wanted::of(map, &[]);
        assert_eq!(listen.iter().map(SocketAddr::ip).collect::<Vec<_>>(), resolver.servers);
        let upstreams = forwarding.domains.into_iter();
        Answered {
            records: snapshot.records().map(line).collect(),
            zones: snapshot.zones().map(|(zone, _)| zone.origin.to_string()).collect(),
            search: resolver.search.iter().map(ToString::to_string).collect(),
            route: resolver.route.iter().map(ToString::to_string).collect(),
            all: resolver.all,
            servers: resolver.servers.into_iter().collect(),
            upstreams: upstreams.map(|rule| (rule.domain.to_string(), rule.upstreams)).collect(),
        }
    }
}

fn line(record: Record) -> String {
    let Record { name, ttl, data } = record;
    let value = match data {
        Data::A(ip) => format!("A {ip}"),
        Data::Aaaa(ip) => format!("AAAA {ip}"),
        Data::Cname(target) => format!("CNAME {target}"),
        Data::Ptr(target) => format!("PTR {target}"),
        Data::Txt(text) => {
            let text = text.strings().collect::<Vec<_>>().concat();
            format!("TXT {}", String::from_utf8_lossy(&text))
        }
        Data::Srv(Service { priority, weight, port, target }) => {
            format!("SRV {priority} {weight} {port} {target}")
        }
    };
    format!("{name} {ttl} {value}")
}
