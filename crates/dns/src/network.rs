//! The names of one private network: its domain, the reverse zones of its ranges, and what a member has in them.
//!
//! Not for who its members are: the agent knows that from its map, the server from its intent, and both name them alike
//! through this. It keeps true that every record it makes lies in one of its zones.

use std::net::IpAddr;

use ipnet::IpNet;
use model::{DnsName, RecordData};

use crate::name::{Name, NameError};
use crate::record::{Data, Record, Service, Text};
use crate::snapshot::Zone;

/// Seconds for which a member's records may be remembered: addresses stay, but people rename machines and look at once.
pub const MEMBER_TTL: u32 = 30;

/// A network as the DNS sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    domain: Name,
    ranges: Vec<IpNet>,
}

impl Network {
    /// The network with this domain and these ranges.
    pub fn new(domain: Name, ranges: impl IntoIterator<Item = IpNet>) -> Self {
        Self { domain, ranges: ranges.into_iter().collect() }
    }

    /// Its domain.
    pub const fn domain(&self) -> &Name {
        &self.domain
    }

    /// The origins of its zones: its domain, then those of its ranges.
    pub fn origins(&self) -> impl Iterator<Item = Name> {
        let reverse = self.ranges.iter().flat_map(|range| Name::reverse_zones(*range));
        std::iter::once(self.domain.clone()).chain(reverse)
    }

    /// Its zones. `serial` is their lowest serial number: seconds since 1970 are one that grows over restarts.
    pub fn zones(&self, serial: u32) -> Result<Vec<Zone>, NameError> {
        let server: Name = format!("ns.{}", self.domain).parse()?;
        let mailbox: Name = format!("hostmaster.{}", self.domain).parse()?;
        let zone = |origin| Zone {
            origin,
            server: server.clone(),
            mailbox: mailbox.clone(),
            ttl: MEMBER_TTL,
            serial,
        };
        Ok(self.origins().map(zone).collect())
    }

    /// The whole name of what is called this below the domain; none is the domain itself.
    pub fn name(&self, label: Option<&str>) -> Result<Name, NameError> {
        match label {
            None => Ok(self.domain.clone()),
            Some(label) => format!("{label}.{}", self.domain).parse(),
        }
    }

    /// What a member of this name with these addresses has: an address record and a reverse one for each.
    pub fn member(
        &self,
        label: &str,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Vec<Record>, NameError> {
        let name = self.name(Some(label))?;
        let mut records = Vec::new();
        for address in addresses {
            let data = match address {
                IpAddr::V4(v4) => Data::A(v4),
                IpAddr::V6(v6) => Data::Aaaa(v6),
            };
            records.push(Record { name: name.clone(), ttl: MEMBER_TTL, data });
            if self.ranges.iter().any(|range| range.contains(&address)) {
                let data = Data::Ptr(name.clone());
                records.push(Record { name: Name::reverse(address), ttl: MEMBER_TTL, data });
            }
        }
        Ok(records)
    }

    /// What a record that people made is; none where its text does not fit into a record.
    pub fn made(&self, label: Option<&DnsName>, ttl: u32, data: &RecordData) -> Option<Record> {
        let name = |name: &DnsName| name.as_str().parse::<Name>().ok();
        let data = match data {
            RecordData::A { address } => Data::A(*address),
            RecordData::Aaaa { address } => Data::Aaaa(*address),
            RecordData::Cname { target } => Data::Cname(name(target)?),
            RecordData::Txt { text } => Data::Txt(Text::of_value(text).ok()?),
            RecordData::Srv { priority, weight, port, target } => Data::Srv(Service {
                priority: *priority,
                weight: *weight,
                port: *port,
                target: name(target)?,
            }),
        };
        Some(Record { name: self.name(label.map(DnsName::as_str)).ok()?, ttl, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Names;

    fn network(ranges: &[&str]) -> Network {
        let ranges = ranges.iter().map(|range| range.parse().unwrap());
        Network::new("office.netloom.internal".parse().unwrap(), ranges)
    }

    #[test]
    fn a_member_has_addresses_and_they_have_its_name() {
        let network = network(&["10.7.0.0/16", "fd00:7::/64"]);
        let addresses: [IpAddr; 2] = ["10.7.0.9".parse().unwrap(), "fd00:7::9".parse().unwrap()];
        let records = network.member("web", addresses).unwrap();
        assert_eq!(records.len(), 4);
        let names = Names::new();
        let refused = names.edit(|edit| edit.replace(network.zones(1).unwrap(), records.clone()));
        assert_eq!(refused, []);
        let back = Record {
            name: "9.0.7.10.in-addr.arpa".parse().unwrap(),
            ttl: MEMBER_TTL,
            data: Data::Ptr("web.office.netloom.internal".parse().unwrap()),
        };
        assert!(records.contains(&back));
    }

    #[test]
    fn ranges_of_every_size_have_reverse_zones_for_all_their_addresses() {
        for range in
            ["10.0.0.0/8", "10.16.0.0/12", "10.7.4.0/22", "10.7.4.128/25", "10.7.4.8/30", "fd00::/48"]
        {
            let network = network(&[range]);
            let address = range.parse::<IpNet>().unwrap().hosts().nth(1).unwrap();
            let records = network.member("web", [address]).unwrap();
            let names = Names::new();
            assert_eq!(names.edit(|edit| edit.replace(network.zones(1).unwrap(), records)), [], "{range}");
        }
    }

    #[test]
    fn an_address_outside_of_the_ranges_has_no_reverse_record() {
        let records = network(&["10.7.0.0/16"]).member("web", ["192.0.2.1".parse().unwrap()]).unwrap();
        assert_eq!(records.len(), 1);
    }
}
