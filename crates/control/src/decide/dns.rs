//! DNS records that people make.

use model::{DnsName, DnsRecord, DnsRecordId, NetworkId, RecordData};

use super::{Decision, changed, network};
use crate::{Env, Intent, RecordChange, Rejection};

/// A record to make.
pub(super) struct New {
    pub(super) network: NetworkId,
    pub(super) name: Option<DnsName>,
    pub(super) ttl: u32,
    pub(super) data: RecordData,
}

pub(super) fn create(intent: &Intent, new: New, env: &mut Env<'_>) -> Decision {
    network::find(intent, new.network)?;
    let New { network, name, ttl, data } = new;
    let id = DnsRecordId::new(env.now, env.bytes());
    Ok(vec![RecordChange::made(DnsRecord { id, network, name, ttl, data, created: env.now })])
}

fn find(intent: &Intent, record: DnsRecordId) -> Result<&DnsRecord, Rejection> {
    intent.dns_record(record).ok_or(Rejection::NoSuchDnsRecord { record })
}

pub(super) fn update(
    intent: &Intent,
    record: DnsRecordId,
    ttl: Option<u32>,
    data: Option<RecordData>,
) -> Decision {
    let before = find(intent, record)?;
    let mut after = before.clone();
    after.ttl = ttl.unwrap_or(after.ttl);
    after.data = data.unwrap_or(after.data);
    Ok(changed(before, after))
}

pub(super) fn delete(intent: &Intent, record: DnsRecordId) -> Decision {
    Ok(vec![RecordChange::removed(find(intent, record)?.clone())])
}
