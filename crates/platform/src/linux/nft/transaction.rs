//! The transactions: a firewall made anew, members that come and go, everything gone.
//!
//! Not for sending them. It keeps true that each leaves the digest in the kernel that belongs to what it made.

use std::collections::BTreeMap;

use ipnet::IpNet;
use reconcile::{Firewall, FirewallDigest, LinkName, SetChanges};

use super::expression::{Rule, Target, octets};
use super::layout::{Chain, Layout};
use super::message::{Attributes, Batch, Transaction};
use super::number::attribute as is;
use super::number::{flag, message};
use super::seal::{self, Seal};
use super::set::{Owner, SetName};
use super::trouble::Part;

/// The chain whose one rule carries the digest. No packet ever comes there.
pub(super) const DIGEST: &str = "digest";
/// What the kernel's tools call the keys of a set: an IPv4 address, an IPv6 address.
const KEY_TYPES: [u32; 2] = [7, 8];

/// Makes a firewall, whatever was there.
pub(super) fn whole(table: &str, link: &LinkName, firewall: &Firewall) -> Transaction {
    let layout = Layout::new(firewall, link);
    let seal = Seal::of(&layout);
    let mut batch = Batch::new();
    // It is there after the first, so that the second can remove it: nothing fails where there was none.
    new_table(&mut batch, table);
    remove_table(&mut batch, table);
    new_table(&mut batch, table);
    for (number, (name, members)) in (1..).zip(&layout.sets) {
        new_set(&mut batch, table, name, number);
        let keys: Vec<Vec<u8>> = members.iter().map(|member| octets(member.network())).collect();
        let keys = keys.iter().map(Vec::as_slice);
        batch.elements(message::NEW_ELEMENTS, table, &name.to_string(), keys);
    }
    let digest = Chain { name: DIGEST.to_owned(), hook: None, rules: Vec::new() };
    for chain in layout.chains.iter().chain([&digest]) {
        new_chain(&mut batch, table, chain);
    }
    for chain in &layout.chains {
        for rule in &chain.rules {
            let tag = seal::tagged(seal::tag_of(rule.expressions()));
            new_rule(&mut batch, table, &chain.name, rule, &tag);
        }
    }
    inscribe(&mut batch, table, firewall.digest(), seal);
    batch.end()
}

/// Has members come and go, after which the firewall has this digest.
pub(super) fn change(table: &str, changes: &SetChanges, digest: FirewallDigest, seal: Seal) -> Transaction {
    let mut batch = Batch::new();
    batch.add(message::DELETE_RULE, 0, Part::Rule(DIGEST.to_owned(), Vec::new()), |rule| {
        rule.text(is::RULE_TABLE, table).text(is::RULE_CHAIN, DIGEST);
    });
    for change in &changes.0 {
        let owner = Owner::Set(change.set);
        for (message, members) in
            [(message::DELETE_ELEMENTS, &change.remove), (message::NEW_ELEMENTS, &change.add)]
        {
            for (name, keys) in by_set(owner, members) {
                batch.elements(message, table, &name.to_string(), keys.iter().map(Vec::as_slice));
            }
        }
    }
    inscribe(&mut batch, table, digest, seal);
    batch.end()
}

/// Removes everything.
pub(super) fn nothing(table: &str) -> Transaction {
    let mut batch = Batch::new();
    remove_table(&mut batch, table);
    batch.end()
}

fn by_set(owner: Owner, members: &[IpNet]) -> BTreeMap<SetName, Vec<Vec<u8>>> {
    let mut sets: BTreeMap<SetName, Vec<Vec<u8>>> = BTreeMap::new();
    for member in members {
        sets.entry(SetName::of(owner, *member)).or_default().push(octets(member.network()));
    }
    sets
}

fn new_table(batch: &mut Batch, table: &str) {
    batch.add(message::NEW_TABLE, flag::CREATE, Part::Table, |body| {
        body.text(is::TABLE_NAME, table);
    });
}

fn remove_table(batch: &mut Batch, table: &str) {
    batch.add(message::DELETE_TABLE, 0, Part::Table, |body| {
        body.text(is::TABLE_NAME, table);
    });
}

fn new_set(batch: &mut Batch, table: &str, name: &SetName, number: u32) {
    let part = Part::Set(name.to_string());
    batch.add(message::NEW_SET, flag::CREATE | flag::EXCLUSIVE, part, |set| {
        set.text(is::SET_TABLE, table).text(is::SET_NAME, &name.to_string()).number(is::SET_FLAGS, 0);
        let length = seal::key_length(name);
        set.number(is::SET_KEY_TYPE, KEY_TYPES[usize::from(length == 16)]);
        set.number(is::SET_KEY_LENGTH, length).number(is::SET_ID, number);
    });
}

fn new_chain(batch: &mut Batch, table: &str, chain: &Chain) {
    let part = Part::Chain(chain.name.clone(), chain.hook.map_or("nf_tables", |hook| hook.needs));
    batch.add(message::NEW_CHAIN, flag::CREATE | flag::EXCLUSIVE, part, |body| {
        body.text(is::CHAIN_TABLE, table).text(is::CHAIN_NAME, &chain.name);
        let Some(hook) = chain.hook else { return };
        body.nest(is::CHAIN_HOOK, |place| {
            place.number(is::HOOK_NUMBER, hook.number);
            place.bytes(is::HOOK_PRIORITY, &hook.priority.to_be_bytes());
        });
        body.number(is::CHAIN_POLICY, seal::POLICY).text(is::CHAIN_TYPE, hook.kind);
    });
}

fn new_rule(batch: &mut Batch, table: &str, chain: &str, rule: &Rule, userdata: &[u8]) {
    let part = Part::Rule(chain.to_owned(), rule.needs.clone());
    batch.add(message::NEW_RULE, flag::CREATE | flag::APPEND, part, |body: &mut Attributes| {
        body.text(is::RULE_TABLE, table).text(is::RULE_CHAIN, chain);
        body.nest(is::RULE_EXPRESSIONS, |list| list.append(rule.expressions()));
        body.bytes(is::RULE_USERDATA, userdata);
    });
}

fn inscribe(batch: &mut Batch, table: &str, digest: FirewallDigest, seal: Seal) {
    let rule = Rule::default().then(Target::Return);
    new_rule(batch, table, DIGEST, &rule, &seal::inscription(digest, seal));
}
