//! Deltas made of what was encoded before: what is said of peers and of records is written once for all hosts to which it is
//! the same, and spliced into the message of each.
//!
//! Law: what comes out is exactly what [`Down::Delta`](crate::Down::Delta) and [`MapReply::Delta`](crate::MapReply::Delta)
//! encode to.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Generation, MemberId, NetworkId};

use crate::entry::Entry;
use crate::{Encode, Membership, OwnHost, RecordsChange, ServerLinks, append};

/// The part of a delta that is about the host itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnPart {
    /// The host itself, when that changed.
    pub host: Option<OwnHost>,
    /// The server's doors, when they changed.
    pub server: Option<ServerLinks>,
    /// Networks that are new or changed.
    pub networks: BTreeMap<NetworkId, Membership>,
    /// Networks that are gone.
    pub networks_gone: Vec<NetworkId>,
}

impl OwnPart {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        let Self { host, server, networks, networks_gone } = self;
        host.is_none() && server.is_none() && networks.is_empty() && networks_gone.is_empty()
    }
}

/// The part of a delta that is about peers, encoded. Clones share it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeersPart {
    fields: u64,
    bytes: Arc<[u8]>,
}

impl PeersPart {
    /// Encodes it. Both must be ordered by host, each host once.
    pub fn new<'a>(changed: impl ExactSizeIterator<Item = &'a Entry>, gone: &[MemberId]) -> Self {
        let (mut fields, mut bytes) = (0, Vec::new());
        if changed.len() > 0 {
            fields += 1;
            append(&mut bytes, |encoder| encoder.u8(6)?.map(changed.len() as u64)?.ok());
            changed.for_each(|entry| entry.append_to(&mut bytes));
        }
        if !gone.is_empty() {
            fields += 1;
            append(&mut bytes, |encoder| encoder.u8(7)?.encode(gone)?.ok());
        }
        Self { fields, bytes: bytes.into() }
    }

    /// Whether nothing changes.
    pub const fn is_empty(&self) -> bool {
        self.fields == 0
    }

    /// Bytes it adds to each message.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// What changes of one network's records, encoded. Clones share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordsPart(Arc<[u8]>);

impl RecordsPart {
    /// Encodes it.
    pub fn new(change: &RecordsChange) -> Self {
        Self(crate::encode(change).into())
    }

    /// Bytes it adds to each message.
    pub fn size(&self) -> usize {
        self.0.len()
    }
}

/// The encoded `Down::Delta` that leads from one generation to another.
pub fn encode_delta(
    base: Generation,
    generation: Generation,
    own: &OwnPart,
    peers: &PeersPart,
    records: &[(NetworkId, RecordsPart)],
) -> Vec<u8> {
    encode_variant(0, (base, generation), own, peers, records)
}

/// The encoded `MapReply::Delta` that leads from one generation to another.
pub fn encode_delta_reply(
    base: Generation,
    generation: Generation,
    own: &OwnPart,
    peers: &PeersPart,
    records: &[(NetworkId, RecordsPart)],
) -> Vec<u8> {
    encode_variant(2, (base, generation), own, peers, records)
}

/// A delta as the one field of an enum's variant. The records must be ordered by network.
fn encode_variant(
    variant: u8,
    (base, generation): (Generation, Generation),
    own: &OwnPart,
    peers: &PeersPart,
    records: &[(NetworkId, RecordsPart)],
) -> Vec<u8> {
    let OwnPart { host, server, networks, networks_gone } = own;
    let mut fields = Fields::default();
    fields.put(0, Some(&base));
    fields.put(1, Some(&generation));
    fields.put(2, host.as_ref());
    fields.put(3, server.as_ref());
    fields.put(4, Some(networks).filter(|networks| !networks.is_empty()));
    fields.put(5, Some(networks_gone).filter(|gone| !gone.is_empty()));
    let mut message = Vec::with_capacity(4 + fields.bytes.len() + peers.len());
    append(&mut message, |encoder| {
        let count = fields.count + peers.fields + u64::from(!records.is_empty());
        encoder.array(2)?.u8(variant)?.array(1)?.map(count)?.ok()
    });
    message.extend_from_slice(&fields.bytes);
    message.extend_from_slice(&peers.bytes);
    if !records.is_empty() {
        append(&mut message, |encoder| encoder.u8(8)?.map(records.len() as u64)?.ok());
    }
    for (network, part) in records {
        append(&mut message, |encoder| encoder.encode(network)?.ok());
        message.extend_from_slice(&part.0);
    }
    message
}

#[derive(Default)]
struct Fields {
    count: u64,
    bytes: Vec<u8>,
}

impl Fields {
    fn put<T: Encode>(&mut self, number: u8, value: Option<&T>) {
        let Some(value) = value else { return };
        self.count += 1;
        append(&mut self.bytes, |encoder| encoder.u8(number)?.encode(value)?.ok());
    }
}
