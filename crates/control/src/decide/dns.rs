//! DNS records that people make beside the names that members have by themselves.

use model::{DnsName, DnsRecord, DnsRecordId, HostName, Network, NetworkId, RecordData};

use super::{Decision, bounds, changed, names, network};
use crate::{Env, Intent, RecordChange, RecordName, Rejection};

/// A record to make.
pub(super) struct New {
    pub(super) network: NetworkId,
    pub(super) name: Option<DnsName>,
    pub(super) ttl: u32,
    pub(super) data: RecordData,
}

pub(super) fn create(intent: &Intent, new: New, env: &mut Env<'_>) -> Decision {
    let found = network::find(intent, new.network)?;
    let records = intent.dns_records_in_network(found.id).take(bounds::MOST_DNS_RECORDS).count();
    bounds::at_most(bounds::DNS_RECORDS, records + 1, bounds::MOST_DNS_RECORDS)?;
    let New { network, name, ttl, data } = new;
    let id = DnsRecordId::new(env.now, env.bytes());
    let record = DnsRecord { id, network, name, ttl, data, created: env.now };
    check(intent, found, None, &record, env.domain)?;
    let bytes = bytes(intent, found.id) + bytes_of(&record);
    bounds::at_most(bounds::DNS_RECORD_BYTES, bytes, bounds::MOST_DNS_RECORD_BYTES)?;
    Ok(vec![RecordChange::made(record)])
}

fn find(intent: &Intent, record: DnsRecordId) -> Result<&DnsRecord, Rejection> {
    intent.dns_record(record).ok_or(Rejection::NoSuchDnsRecord { record })
}

pub(super) fn update(
    intent: &Intent,
    record: DnsRecordId,
    ttl: Option<u32>,
    data: Option<RecordData>,
    server: &DnsName,
) -> Decision {
    let before = find(intent, record)?;
    let mut after = before.clone();
    after.ttl = ttl.unwrap_or(after.ttl);
    after.data = data.unwrap_or(after.data);
    check(intent, network::find(intent, after.network)?, Some(before), &after, server)?;
    if bytes_of(&after) > bytes_of(before) {
        let bytes = bytes(intent, after.network) - bytes_of(before) + bytes_of(&after);
        bounds::at_most(bounds::DNS_RECORD_BYTES, bytes, bounds::MOST_DNS_RECORD_BYTES)?;
    }
    Ok(changed(before, after))
}

pub(super) fn delete(intent: &Intent, record: DnsRecordId) -> Decision {
    Ok(vec![RecordChange::removed(find(intent, record)?.clone())])
}

/// At least the bytes that a network's records have where they travel.
pub(super) fn bytes(intent: &Intent, network: NetworkId) -> usize {
    intent.dns_records_in_network(network).map(bytes_of).sum()
}

fn bytes_of(record: &DnsRecord) -> usize {
    let data = match &record.data {
        RecordData::A { .. } => 12,
        RecordData::Aaaa { .. } => 24,
        RecordData::Cname { target } => 8 + target.as_str().len(),
        RecordData::Txt { text } => 8 + text.len(),
        RecordData::Srv { target, .. } => 20 + target.as_str().len(),
    };
    16 + record.name.as_ref().map_or(0, |name| name.as_str().len()) + data
}

/// Whether the record can be so, where it is other than before, beside all others.
pub(super) fn check(
    intent: &Intent,
    network: &Network,
    before: Option<&DnsRecord>,
    record: &DnsRecord,
    server: &DnsName,
) -> Result<(), Rejection> {
    if before.is_none_or(|before| before.name != record.name) {
        let label = record.name.as_ref().and_then(|name| name.as_str().parse::<HostName>().ok());
        label.iter().try_for_each(names::check_reserved)?;
    }
    if record.ttl > bounds::LONGEST_TTL {
        return Err(Rejection::TtlTooLong { ttl: record.ttl, most: bounds::LONGEST_TTL });
    }
    check_data(network, record)?;
    if before.is_none_or(|before| before.data != record.data) {
        check_target(network, record, server)?;
    }
    if let Some(name) = &record.name {
        check_name(intent, network, name)?;
    }
    check_neighbours(intent, network, record)
}

fn check_data(network: &Network, record: &DnsRecord) -> Result<(), Rejection> {
    match &record.data {
        RecordData::Txt { text } if text.len() > RecordData::MOST_TEXT => {
            Err(Rejection::TextTooLong { bytes: text.len(), most: RecordData::MOST_TEXT })
        }
        RecordData::Cname { .. } if record.name.is_none() => {
            Err(Rejection::CnameAtDomain { network: network.name.clone() })
        }
        RecordData::A { .. }
        | RecordData::Aaaa { .. }
        | RecordData::Cname { .. }
        | RecordData::Txt { .. }
        | RecordData::Srv { .. } => Ok(()),
    }
}

/// Refuses a target that people mean otherwise: names of records are short, targets are whole.
fn check_target(network: &Network, record: &DnsRecord, server: &DnsName) -> Result<(), Rejection> {
    let (RecordData::Cname { target } | RecordData::Srv { target, .. }) = &record.data else { return Ok(()) };
    let domain = network.domain_below(server);
    if !target.as_str().contains('.') {
        let example = domain.and_then(|domain| target.below(&domain)).unwrap_or_else(|| target.clone());
        return Err(Rejection::TargetNotWhole { target: target.clone(), example });
    }
    let own = record.name.as_ref().zip(domain).and_then(|(name, domain)| name.below(&domain));
    if matches!(record.data, RecordData::Cname { .. }) && own.as_ref() == Some(target) {
        return Err(Rejection::CnameToItself { target: target.clone() });
    }
    Ok(())
}

fn check_name(intent: &Intent, network: &Network, name: &DnsName) -> Result<(), Rejection> {
    check_length(network, name)?;
    // Names with a dot or an underscore are no member's.
    let Ok(label) = name.as_str().parse::<HostName>() else {
        return Ok(());
    };
    let holder = match names::host_named(intent, network.id, &label) {
        Some(_) => "a host",
        None if intent.client_by_name(network.id, &label).is_some() => "a client",
        None => return Ok(()),
    };
    let (name, network) = (RecordName(Some(name.clone())), network.name.clone());
    Err(Rejection::RecordAtMember { name, network, holder })
}

/// Refuses a name that is too long below the network's domain.
pub(super) fn check_length(network: &Network, name: &DnsName) -> Result<(), Rejection> {
    match &network.domain {
        Some(domain) if name.below(domain).is_none() => {
            Err(Rejection::RecordNameTooLong { name: name.clone(), domain: domain.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

/// What stands at the same name: no record twice, and none beside a CNAME (RFC 1034, 3.6.2).
fn check_neighbours(intent: &Intent, network: &Network, record: &DnsRecord) -> Result<(), Rejection> {
    let is_cname = |data: &RecordData| matches!(data, RecordData::Cname { .. });
    let at = || (RecordName(record.name.clone()), network.name.clone());
    let beside = intent.dns_records_at(network.id, record.name.as_ref());
    for other in beside.filter(|other| other.id != record.id) {
        if other.data == record.data {
            let (name, network) = at();
            return Err(Rejection::DnsRecordExists { name, network });
        }
        if is_cname(&other.data) || is_cname(&record.data) {
            let (name, network) = at();
            return Err(Rejection::NotBesideCname { name, network });
        }
    }
    Ok(())
}
