//! Whether every agent has exactly the map that the definition (`control::plan::host_map`) makes of what the database holds:
//! with policies, tags, clients and whatever else there is, but for DNS records, which simulated agents pass over.
//!
//! Not for saying what the definition should be: `check` does that without the planner's code, for plain networks. It keeps
//! true that nothing of what servers have in memory is believed.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use control::plan::{Picture, default_domain, host_map};
use control::{Intent, Inventory};
use model::{Generation, HostId, MemberId, NetworkId};
use store::Database;
use wire::{HostMap, Membership, Peer, ServerLinks};

use super::Swarm;
use super::book::Pages;
use super::check::{Mismatch, mismatch};
use super::map::Map;

/// What the database holds.
#[derive(Debug)]
pub struct Truth {
    /// What people want.
    pub intent: Intent,
    /// What servers saw and wrote down.
    pub inventory: Inventory,
}

impl Truth {
    /// Reads it. Records that do not go together are an error.
    pub async fn read(database: &dyn Database) -> Result<Self> {
        let loaded = database.load().await.context("intent cannot be read")?;
        let intent = Intent::from_records(loaded.seq, loaded.records)?;
        let rows = database.inventory().await.context("inventory cannot be read")?;
        let known = rows.into_iter().filter(|row| intent.host(row.host).is_some());
        let read = known.filter_map(|row| Some((row.host, row.json?)));
        let inventory = read
            .map(|(host, json)| anyhow::Ok((host, serde_json::from_str(&json)?)))
            .collect::<Result<Inventory>>()
            .context("inventory cannot be understood")?;
        Ok(Self { intent, inventory })
    }

    /// Of these hosts, every agent whose map is not right, with the first thing that is not.
    pub fn wrong(&self, swarm: &Swarm, of: impl Fn(HostId) -> bool) -> BTreeMap<HostId, Mismatch> {
        let domain = default_domain();
        // The doors are the servers' settings, which no database knows: they are to be the same for all.
        let links: ServerLinks =
            swarm.members.first().map(|member| member.machine.map().server.clone()).unwrap_or_default();
        let picture =
            Picture { intent: &self.intent, inventory: &self.inventory, links: &links, domain: &domain };
        let members = swarm.members.iter().filter(|member| of(member.machine.host));
        members
            .filter_map(|member| {
                let host = member.machine.host;
                // The map first and then the book, as agents do: the other way round they would wait for each other.
                let map = member.machine.map();
                let pages = swarm.shared.book.open();
                Some((host, self.compared(&picture, host, &map, &pages).err()?))
            })
            .collect()
    }

    fn compared(
        &self,
        picture: &Picture<'_>,
        host: HostId,
        map: &Map,
        pages: &Pages,
    ) -> Result<(), Mismatch> {
        let name = self.intent.host(host).map_or("a host that is not there", |host| host.name.as_str());
        let agent = format!("{name} ({host})");
        match host_map(picture, host, Generation::NONE) {
            Some(wanted) => compare(&wanted, map, pages, &agent),
            None => Err(mismatch(&agent, "the host itself", &None::<()>, &map.own)),
        }
    }
}

/// Fails unless the map holds what is wanted and nothing else; generations aside.
pub(super) fn compare(wanted: &HostMap, map: &Map, pages: &Pages, agent: &str) -> Result<(), Mismatch> {
    if Some(&wanted.host) != map.own.as_ref() {
        return Err(mismatch(agent, "the host itself", &Some(&wanted.host), &map.own));
    }
    if wanted.server != map.server {
        return Err(mismatch(agent, "the servers' doors", &wanted.server, &map.server));
    }
    for network in wanted.networks.keys().chain(map.networks.keys()) {
        let (wanted, found) = (wanted.networks.get(network).cloned(), map.networks.get(network));
        let wanted = wanted.map(|membership| Membership { records: Vec::new(), ..membership });
        if wanted.as_ref() != found {
            return Err(mismatch(agent, &format!("the network {network}"), &wanted, &found));
        }
    }
    let mut parts: BTreeMap<NetworkId, BTreeMap<MemberId, Peer>> = BTreeMap::new();
    for (member, peer) in &wanted.peers {
        for node in &peer.nodes {
            let seen = Peer { nodes: vec![node.clone()], ..peer.clone() };
            parts.entry(node.network).or_default().insert(*member, seen);
        }
    }
    for held in &map.held {
        peers(held.network, &parts.remove(&held.network).unwrap_or_default(), map, pages, agent)?;
    }
    match parts.iter().next() {
        None => Ok(()),
        Some((network, peers)) => {
            let who = peers.keys().next();
            Err(mismatch(agent, &format!("peers in {network}"), &who, &None::<()>))
        }
    }
}

fn peers(
    network: NetworkId,
    wanted: &BTreeMap<MemberId, Peer>,
    map: &Map,
    pages: &Pages,
    agent: &str,
) -> Result<(), Mismatch> {
    let Some(of_network) = map.held(network) else {
        return Ok(());
    };
    let held = || of_network.numbers.iter().filter_map(|number| pages.known(*number));
    for (member, peer) in wanted {
        let number = pages.number_of(network, *member, peer);
        let place = number.and_then(|number| pages.known(number)).map(|known| known.place);
        if number.is_none() || number != place.map(|place| of_network.at(place)) {
            let found = held().find(|known| known.host == *member).map(|known| &known.peer);
            return Err(mismatch(agent, &format!("peer {member:?} in {network}"), &Some(peer), &found));
        }
    }
    match held().find(|known| !wanted.contains_key(&known.host)) {
        None => Ok(()),
        Some(known) => {
            let what = format!("peer {:?} in {network}", known.host);
            Err(mismatch(agent, &what, &None::<()>, &known.peer))
        }
    }
}
