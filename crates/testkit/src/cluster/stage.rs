//! Setting the stage, and what is played on it: networks and agents, lanes at each server, the storm, and the judgement.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use api::path;
use indicatif::ProgressBar;
use serde_json::json;
use store::{Access, Address};
use tokio::task::{JoinSet, block_in_place};
use wire::Token;

use super::conduct::Conduct;
use super::contest::contests;
use super::dice::Dice;
use super::joins::joins;
use super::lane::{Lane, Place, Tenant};
use super::plant::Plant;
use super::show::{Measured, Report, say};
use super::storm::{Calm, Storm, Times};
use super::tunnels::Tunnels;
use super::{Options, broker, judge};
use crate::fleet::Administrator;
use crate::lab::PingReport;
use crate::swarm::{Group, Swarm, allow_files};

/// The network of the machines in the lab.
const TUNNELS: &str = "tunnels";
/// Machines that register, and agents that connect, at the same time.
const AT_ONCE: usize = 50;
/// Lanes at each server: so many that those which wait for an answer do not hold up the rest.
const LANES: usize = 16;
/// How long the beginning may take.
const BEGINNING: Duration = Duration::from_secs(180);
/// How long after a change an agent reports it.
const PATIENCE: Duration = Duration::from_millis(300);

/// A storm that has not begun, and the token of the lab's machines.
pub(super) async fn set(program: &Path, options: &Options, seed: u64) -> Result<(Storm, Token)> {
    allow_files();
    let post = block_in_place(|| broker(options.broker))?;
    let plant = block_in_place(|| Plant::start(program, usize::from(options.servers), post))?;
    let sites = plant.sites()?;
    let first = Administrator::set_up(&sites[0], &plant.setup_code()?).await?;
    let administrators =
        sites.iter().map(|site| Administrator { site: site.clone(), token: first.token.clone() });
    let conduct = Arc::new(Conduct::new(administrators.collect()));
    let mut groups = Vec::new();
    for number in 0..usize::from(options.networks) {
        let name = format!("fleet-{number}");
        first.network(&name, &format!("10.{number}.0.0/16")).await?;
        let (_, token) = first.key(&name, &[&name], None).await?;
        groups.push(Group { token, networks: vec![number], share: 1 });
    }
    first.network(TUNNELS, "10.200.0.0/16").await?;
    let (_, token) = first.key(TUNNELS, &[TUNNELS], None).await?;
    let mut swarm = Swarm::among(&sites, groups, options.agents, PATIENCE)?;
    let progress = ProgressBar::hidden();
    let enrolled = swarm.enrol(options.agents, AT_ONCE, &progress).await.context("enrolling")?;
    let machines = enrolled.into_iter().map(|(machine, _)| machine).collect();
    let connected = tokio::time::timeout(BEGINNING, swarm.connect(machines, AT_ONCE, &progress)).await;
    connected
        .with_context(|| format!("agents do not connect: {}\n{}", swarm.trouble(), plant.logs()))
        .flatten()?;
    let address = Address::parse(&plant.database(), Access::default()).map_err(anyhow::Error::msg)?;
    let database = store::open(&address).await.context("the judge cannot open the database")?;
    let storm = Storm {
        plant,
        swarm,
        conduct,
        database,
        dice: Dice::new(seed, 0),
        limit: options.limit(),
        well: Duration::from_secs_f64(options.well.clamp(0.3, 60.0)),
        times: Times::new(),
        calm: Calm::default(),
        conflicts: 0.0,
    };
    Ok((storm, token))
}

/// The networks and their gateways, and the hosts that lanes act upon.
async fn places(storm: &Storm, stir: bool) -> Result<(Vec<Place>, Vec<Tenant>)> {
    let administrator = &storm.conduct.administrators[0];
    let networks: Vec<api::Network> = administrator.list(path::NETWORKS, 1_000).await?;
    let (mut places, mut tenants) = (Vec::new(), Vec::new());
    for network in &networks {
        let id = network.id.to_string();
        let mut nodes: Vec<api::Node> = administrator.list(&path::fill(path::NODES, &[&id]), 1_000).await?;
        if network.name.as_str() == TUNNELS {
            if !stir {
                continue;
            }
            // Everything around its machines changes, and they themselves stay.
            nodes.truncate(1);
        } else {
            ensure!(nodes.len() > 1, "the network {} has too few hosts", network.name);
        }
        if nodes.is_empty() {
            continue;
        }
        let gateway = nodes.swap_remove(0);
        let node = path::fill(path::NODE, &[&id, &gateway.host.to_string()]);
        let _node: api::Node = administrator.patch(&node, &json!({"remote_access": true})).await?;
        let tenant =
            |node: api::Node| Tenant { id: node.host, name: node.host_name.to_string(), home: places.len() };
        tenants.extend(nodes.into_iter().map(tenant));
        places.push(Place { id: network.id, gateway: gateway.host_name.to_string() });
    }
    Ok((places, tenants))
}

/// Lanes at every server, and contests between them.
async fn lanes(storm: &mut Storm, options: &Options, seed: u64) -> Result<JoinSet<()>> {
    let (places, mut tenants) = places(storm, options.stir).await?;
    // The gateways were made at one server, and are to be known at the other.
    storm.right(Instant::now()).await.context("before anything was killed")?;
    let (places, servers) = (Arc::new(places), usize::from(options.servers));
    let mut tasks = JoinSet::new();
    let share = tenants.len() / (LANES * servers);
    for number in 0..LANES * servers {
        let own = tenants.split_off(tenants.len() - share.min(tenants.len()));
        let dice = Dice::new(seed, number as u64 + 1);
        let lane = Lane::new(Arc::clone(&storm.conduct), dice, number % servers, Arc::clone(&places), own);
        tasks.spawn(lane.run(Duration::from_secs_f64(LANES as f64 / options.rate.clamp(0.1, 10_000.0))));
    }
    if servers > 1 {
        let networks = places.iter().map(|place| place.id.to_string()).collect();
        let gate = storm.swarm.gate();
        tasks.spawn(joins(Arc::clone(&storm.conduct), gate, Dice::new(seed, 2_000), networks));
    }
    tasks.spawn(contests(Arc::clone(&storm.conduct), Dice::new(seed, 1_000), places));
    Ok(tasks)
}

/// Plays it all.
pub(super) async fn play((mut storm, token): (Storm, Token), options: &Options, seed: u64) -> Result<Report> {
    let begun = storm.right(Instant::now()).await;
    say(&format!("all is right after {:?}", begun.context("before anything was killed")?));
    let ports = storm.plant.ports()?;
    let mut tunnels = match options.tunnels {
        0 => None,
        count => Some(block_in_place(|| Tunnels::dig(count, &ports, &token.to_string()))?),
    };
    let lanes = lanes(&mut storm, options, seed).await?;
    let start = Instant::now();
    let mut raged = storm.rage(options.deaths, &options.kills).await;
    storm.conduct.end();
    let took = start.elapsed();
    lanes.join_all().await;
    if raged.is_ok() {
        raged = storm.right(Instant::now()).await.map(drop).context("after the storm");
    }
    let pings =
        tunnels.as_mut().map(|tunnels| block_in_place(|| tunnels.close())).transpose()?.unwrap_or_default();
    if let Err(error) = raged {
        storm.conduct.ledger.complain(format!("{error:#}"));
    }
    judged(&storm, options, took, &pings).await
}

/// Everything that was measured, and everything that is wrong.
async fn judged(storm: &Storm, options: &Options, took: Duration, pings: &[PingReport]) -> Result<Report> {
    let ledger = &storm.conduct.ledger;
    let (rate, wanted) = (storm.calm.rate(), options.enough * options.rate * f64::from(options.servers));
    if rate < wanted {
        ledger.complain(format!(
            "while all was right {rate:.0} changes a second were made, and not {wanted:.0}"
        ));
    }
    for lost in pings.iter().filter_map(|report| report.none_lost().err()) {
        ledger.complain(format!("the tunnels: {lost:#}"));
    }
    let seq = judge::judge(&*storm.database, &storm.conduct).await?;
    let measured = Measured {
        options,
        took,
        tally: ledger.tally(),
        commits: &storm.conduct.commits,
        conflicts: storm.all_conflicts().await,
        times: &storm.times,
        calm: &storm.calm,
        counts: storm.swarm.counts(),
        pings,
        seq,
        joins: storm.conduct.joins.count(),
    };
    Ok(Report { figures: measured.figures(), complaints: ledger.complaints() })
}
