//! How much of what there may be, and the refusals of more.

use std::collections::BTreeSet;

use model::Tag;

use crate::Rejection;

pub(super) const MOST_GATEWAYS: usize = 16;
pub(super) const MOST_ROUTERS: usize = 16;
pub(super) const MOST_RANGES: usize = 64;
pub(super) const MOST_TAGS: usize = 64;
pub(super) const MOST_GROUPS: usize = 64;
pub(super) const MOST_NAME_SERVERS: usize = 4;
pub(super) const MOST_CLIENT_NAME_SERVERS: usize = 8;
pub(super) const MOST_SUBJECTS: usize = 64;
pub(super) const MOST_SERVICES: usize = 32;
pub(super) const MOST_POLICIES: usize = 10_000;
pub(super) const MOST_POLICY_TESTS: usize = 1_000;
pub(super) const MOST_DNS_RECORDS: usize = 10_000;
/// Of all records of a network, in bytes: each of its members holds them, and gets all of them in one piece.
pub(super) const MOST_DNS_RECORD_BYTES: usize = 512 * 1024;
/// Of all policies of a network: whom they name and which services, as often as they do. Some 20 bytes each, in the worst case
/// for one host all of them.
pub(super) const MOST_POLICY_WORDS: usize = 100_000;
pub(super) const MOST_UPSTREAMS: usize = 256;
pub(super) const MOST_ADDRESSES: usize = 128;
/// What `MOST_POLICIES` counts.
pub(super) const POLICIES: &str = "policies in one network";
/// What `MOST_POLICY_TESTS` counts.
pub(super) const POLICY_TESTS: &str = "tests of policies in one network";
/// What `MOST_DNS_RECORDS` counts.
pub(super) const DNS_RECORDS: &str = "DNS records in one network";
/// What `MOST_DNS_RECORD_BYTES` counts.
pub(super) const DNS_RECORD_BYTES: &str = "bytes of DNS records in one network";
/// What `MOST_POLICY_WORDS` counts.
pub(super) const POLICY_WORDS: &str = "subjects and services in all policies of one network";
/// What `MOST_UPSTREAMS` counts.
pub(super) const UPSTREAMS: &str = "domains with name servers of their own in one network";
pub(super) const LONGEST_TTL: u32 = 86_400 * 7;

pub(super) fn at_most(what: &'static str, given: usize, most: usize) -> Result<(), Rejection> {
    if given > most {
        return Err(Rejection::TooMany { what, given, most });
    }
    Ok(())
}

pub(super) fn at_least_one(what: &'static str, given: usize) -> Result<(), Rejection> {
    if given == 0 {
        return Err(Rejection::NoneGiven { what });
    }
    Ok(())
}

pub(super) fn tags(tags: &BTreeSet<Tag>) -> Result<(), Rejection> {
    at_most("tags", tags.len(), MOST_TAGS)
}
