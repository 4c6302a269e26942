//! Looking whether all is right while changes go on: every agent must be seen once with the map that the database's intent
//! makes at that moment, and the servers must be heard once to say the same of each thing.
//!
//! Not for how long that may take (`storm`). It keeps true that what was not seen right since the look began is waited for.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use api::path;
use model::HostId;
use serde_json::Value;
use store::Database;
use tokio::task::block_in_place;

use crate::fleet::Administrator;
use crate::swarm::{Swarm, Truth};

/// Things in a page of a list.
const PAGE: usize = 1_000;
/// Fields of answers that are of one server or of one moment.
const OF_A_MOMENT: [&str; 4] = ["last_seen", "wanted_generation", "applied_generation", "session"];

/// Things of one list, by their ids.
type Said = BTreeMap<String, Value>;

/// What has not been seen right yet.
#[derive(Debug)]
pub(super) struct Look {
    agents: BTreeSet<HostId>,
    /// The lists that servers are asked for, and of each the things of which they did not say the same; none: not asked yet.
    lists: BTreeMap<String, Option<BTreeSet<String>>>,
    /// The last thing that was wrong.
    wrong: String,
}

impl Look {
    /// A look at everything.
    pub(super) async fn new(swarm: &Swarm, administrator: &Administrator) -> Result<Self> {
        let networks: Vec<api::Network> = administrator.list(path::NETWORKS, PAGE).await?;
        // Networks without nodes come and go.
        let lasting = networks.iter().filter(|network| network.nodes > 0);
        let below = [path::NODES, path::CLIENTS, path::POLICIES, path::DNS_RECORDS];
        let of_networks =
            lasting.flat_map(|network| below.map(|list| path::fill(list, &[&network.id.to_string()])));
        let all = [path::NETWORKS, path::HOSTS, path::KEYS, path::USERS].map(str::to_owned);
        Ok(Self {
            agents: swarm.members.iter().map(|member| member.machine.host).collect(),
            lists: all.into_iter().chain(of_networks).map(|list| (list, None)).collect(),
            wrong: String::new(),
        })
    }

    /// Looks once more at what was not right so far. Whether all of it was seen right by now.
    pub(super) async fn again(
        &mut self,
        swarm: &Swarm,
        database: &dyn Database,
        administrators: &[Administrator],
    ) -> Result<bool> {
        self.look_at_agents(swarm, database).await?;
        if let [first, second] = administrators {
            self.compare(first, second).await?;
        } else {
            self.lists.clear();
        }
        let (all, linked) = (swarm.members.len(), swarm.gauges().linked.count());
        if linked != all {
            self.wrong = format!("{linked} of {all} agents are connected");
            return Ok(false);
        }
        Ok(self.agents.is_empty() && self.lists.is_empty())
    }

    /// What is wrong still.
    pub(super) fn wrong(&self) -> String {
        let things: usize = self.lists.values().flatten().map(BTreeSet::len).sum();
        let (agents, lists) = (self.agents.len(), self.lists.len());
        format!(
            "{agents} agents' maps and {things} things in {lists} lists are wrong, such as: {}",
            self.wrong
        )
    }

    async fn look_at_agents(&mut self, swarm: &Swarm, database: &dyn Database) -> Result<()> {
        if self.agents.is_empty() {
            return Ok(());
        }
        let truth = Truth::read(database).await?;
        let wrong = block_in_place(|| truth.wrong(swarm, |host| self.agents.contains(&host)));
        self.wrong = wrong.values().next().map_or_else(String::new, ToString::to_string);
        self.agents = wrong.into_keys().collect();
        Ok(())
    }

    async fn compare(&mut self, first: &Administrator, second: &Administrator) -> Result<()> {
        let lists: Vec<String> = self.lists.keys().cloned().collect();
        for list in lists {
            let (one, two) = tokio::try_join!(said(first, &list), said(second, &list))
                .with_context(|| format!("a server does not say {list}"))?;
            let before = self.lists.get(&list).cloned().flatten();
            let ids = before.unwrap_or_else(|| one.keys().chain(two.keys()).cloned().collect());
            let odd: BTreeSet<String> = ids.into_iter().filter(|id| one.get(id) != two.get(id)).collect();
            match odd.first() {
                None => drop(self.lists.remove(&list)),
                Some(id) => {
                    self.wrong = format!("the servers say of {list} {}", contrast(one.get(id), two.get(id)));
                    self.lists.insert(list, Some(odd));
                }
            }
        }
        Ok(())
    }
}

/// What a server says of the things of a list.
async fn said(administrator: &Administrator, list: &str) -> Result<Said> {
    let items: Vec<Value> = administrator.list(list, PAGE).await?;
    let id = |item: &Value| item["id"].as_str().map_or_else(|| item.to_string(), str::to_owned);
    Ok(items.into_iter().map(|item| (id(&item), lasting(item))).collect())
}

/// What two servers say of one thing: of the fields only those in which they differ.
fn contrast(one: Option<&Value>, two: Option<&Value>) -> String {
    let (Some(Value::Object(first)), Some(Value::Object(second))) = (one, two) else {
        let said = [one, two].map(|said| said.map_or_else(|| "nothing".to_owned(), Value::to_string));
        return said.join(" and ");
    };
    let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let differ = names.into_iter().filter(|name| first.get(*name) != second.get(*name));
    differ
        .map(|name| format!("{name}: {}", contrast(first.get(name), second.get(name))))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Without what is of one moment.
fn lasting(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|name, _| !OF_A_MOMENT.contains(&name.as_str()));
            fields.values_mut().for_each(|field| *field = lasting(field.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = lasting(item.take())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_of_one_moment_is_no_difference_and_of_the_rest_only_what_differs_is_told() {
        let said = |seen: u8, online: bool| {
            lasting(json!({"id": "h", "inventory": {"last_seen": seen, "online": online}}))
        };
        assert_eq!(said(1, true), said(2, true));
        let (one, two) = (said(1, true), said(1, false));
        assert_eq!(contrast(Some(&one), Some(&two)), "inventory: online: true and false");
        assert_eq!(contrast(Some(&one["id"]), None), "\"h\" and nothing");
    }
}
