//! Reads a network's picture from what the API says, as JSON: no type of ours is used, so none can hide a mistake.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Kind, Member, Party, Picture, Ports, Rule};

/// What the API answers with when it is asked for a network, and for lists of what is in it.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// The network.
    pub network: Value,
    /// Its nodes.
    pub nodes: Value,
    /// Its clients.
    pub clients: Value,
    /// Its egress ranges.
    pub egress: Value,
    /// Its policies.
    pub policies: Value,
    /// All users.
    pub users: Value,
}

impl Answers {
    /// The picture.
    pub fn picture(&self) -> Result<Picture> {
        let mut members = BTreeMap::new();
        for node in list(&self.nodes)? {
            let active = is(node, "connected")? && !is(node, "pending")?;
            members.insert(text(node, "host_name")?, member(node, Kind::Node, active)?);
        }
        for client in list(&self.clients)? {
            members.insert(text(client, "name")?, member(client, Kind::Client, is(client, "enabled")?)?);
        }
        for egress in list(&self.egress)? {
            members.insert(text(egress, "name")?, member(egress, Kind::Egress, is(egress, "enabled")?)?);
        }
        let rules = list(&self.policies)?.iter().map(|policy| Ok((text(policy, "name")?, rule(policy)?)));
        let groups = list(&self.users)?.iter().map(|user| Ok((text(user, "name")?, texts(&user["groups"])?)));
        Ok(Picture {
            guarded: text(&self.network, "access")? == "deny",
            rules: rules.collect::<Result<_>>()?,
            groups: groups.collect::<Result<_>>()?,
            members,
        })
    }
}

fn member(value: &Value, kind: Kind, active: bool) -> Result<Member> {
    let addresses = ["v4", "v6"].iter().filter_map(|family| value[family].as_str());
    Ok(Member {
        kind,
        addresses: addresses.map(str::parse).collect::<Result<_, _>>().context("an address")?,
        tags: if value["tags"].is_null() { BTreeSet::new() } else { texts(&value["tags"])? },
        owner: value["owner"]["name"].as_str().map(str::to_owned),
        active,
    })
}

fn rule(policy: &Value) -> Result<Rule> {
    let parties = |side: &str| texts(&policy[side])?.iter().map(|text| party(text)).collect::<Result<_>>();
    let services = texts(&policy["services"])?;
    let services = services.iter().map(|text| Ports::parse(text).with_context(|| format!("service {text}")));
    Ok(Rule {
        enabled: is(policy, "enabled")?,
        from: parties("from")?,
        to: parties("to")?,
        services: services.collect::<Result<_>>()?,
        both: is(policy, "both")?,
    })
}

fn party(text: &str) -> Result<Party> {
    if text == "everything" {
        return Ok(Party::Everything);
    }
    let (kind, name) = text.split_once(':').with_context(|| format!("`{text}` names nobody"))?;
    let name = name.to_owned();
    match kind {
        "node" => Ok(Party::Member(Kind::Node, name)),
        "client" => Ok(Party::Member(Kind::Client, name)),
        "egress" => Ok(Party::Member(Kind::Egress, name)),
        "tag" => Ok(Party::Tag(name)),
        "user" => Ok(Party::User(name)),
        "group" => Ok(Party::Group(name)),
        other => anyhow::bail!("`{other}` is no kind of party"),
    }
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().with_context(|| format!("this is no list: {value}"))
}

fn text(value: &Value, field: &str) -> Result<String> {
    let found = value[field].as_str();
    found.map(str::to_owned).with_context(|| format!("`{field}` is missing in {value}"))
}

fn texts(value: &Value) -> Result<BTreeSet<String>> {
    let text = |item: &Value| item.as_str().map(str::to_owned).with_context(|| format!("{item} is no text"));
    list(value)?.iter().map(text).collect()
}

fn is(value: &Value, field: &str) -> Result<bool> {
    value[field].as_bool().with_context(|| format!("`{field}` is missing in {value}"))
}
