//! How long the kernel takes to have a large firewall made, changed and looked at, beside the program `nft` that is handed
//! the same ruleset as text.
//!
//! It is measured in a network namespace of its own, in a second run of this program: the machine's own firewall is never
//! touched. With root's rights the namespace is the machine's user's, and a transaction may be of any size; without them
//! `net.core.wmem_max` has to allow for it.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use platform::FirewallTable;
use reconcile::{
    AddressSet, Filter, Firewall, FirewallLook, Grant, Ports, Service, Services, SetChange, SetChanges,
    SetId, Side,
};

use super::figure::{Figure, millis};

const BENCH: &str = "firewall";
/// Set for the run in the namespace.
const INSIDE: &str = "NETLOOM_BENCH_IS_INSIDE";
/// Peers, each with an IPv4 and an IPv6 address.
const PEERS: u32 = 10_000;
/// Sets that they are in, one each.
const SETS: u32 = 100;
/// Who may open what.
const GRANTS: u32 = 1_000;
/// How often the large things and the small ones are timed.
const LARGE: u32 = 20;
const SMALL: u32 = 200;

/// Measures all.
pub(super) fn measure() -> Result<Vec<Figure>> {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let arguments = if rustix::process::geteuid().is_root() { "--net" } else { "-Urn" };
    let output = Command::new("unshare")
        .arg(arguments)
        .arg(std::env::current_exe().context("cannot find this program")?)
        .args(["firewall", "--json"])
        .env(INSIDE, "1")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start `unshare`, of the package util-linux")?;
    ensure!(output.status.success(), "the run in a namespace of its own failed");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).context("it said no figures")?;
    let figures = report["figures"].as_array().context("it said no figures")?;
    let figure = |figure: &serde_json::Value| {
        let unit = if figure["unit"] == "ms" { "ms" } else { "×" };
        let value = figure["value"].as_f64().context("a figure without a value")?;
        Ok(Figure::new(BENCH, figure["what"].as_str().unwrap_or_default(), value, unit))
    };
    figures.iter().map(figure).collect()
}

fn inside() -> Result<Vec<Figure>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(all())
}

async fn all() -> Result<Vec<Figure>> {
    let table = FirewallTable::open(&"netloom0".parse()?)?;
    let firewall = firewall();
    let first = Instant::now();
    table.set(&firewall).await?;
    let mut figures = vec![Figure::new(BENCH, "made where there was none", millis(first.elapsed()), "ms")];

    let mut whole = Vec::new();
    for _ in 0..LARGE {
        let start = Instant::now();
        table.set(&firewall).await?;
        whole.push(start.elapsed());
    }
    figures.extend(Figure::latencies(BENCH, "made anew in one transaction", whole.clone()));
    figures.extend(looks(&table, &firewall).await?);
    figures.extend(Figure::latencies(BENCH, "one peer comes or goes", changes(&table, &firewall).await?));

    table.set(&firewall).await?;
    let theirs = by_nft()?;
    let ratio = middle(&theirs) / middle(&whole);
    figures.extend(Figure::latencies(BENCH, "the same by `nft -f`", theirs));
    figures.push(Figure::new(BENCH, "`nft -f` over ours, middle", ratio, "×"));
    table.remove().await?;
    Ok(figures)
}

/// What it costs to know that all is as it should be.
async fn looks(table: &FirewallTable, firewall: &Firewall) -> Result<Vec<Figure>> {
    let intact = FirewallLook::Intact(firewall.digest());
    let (mut read, mut known) = (Vec::new(), Vec::new());
    for number in 0..LARGE {
        nft(&[if number.is_multiple_of(2) { "add" } else { "delete" }, "table", "inet", "other"])?;
        for times in [&mut read, &mut known] {
            let start = Instant::now();
            let look = table.look().await?;
            times.push(start.elapsed());
            ensure!(look == intact, "the firewall is not what was made");
        }
    }
    let mut figures = Figure::latencies(BENCH, "read after somebody changed another table", read);
    figures.extend(Figure::latencies(BENCH, "looked at where nothing changed", known));
    Ok(figures)
}

async fn changes(table: &FirewallTable, firewall: &Firewall) -> Result<Vec<Duration>> {
    let mut had = firewall.digest();
    let mut times = Vec::new();
    for number in 0..SMALL {
        let own = addresses(PEERS + number / 2).to_vec();
        let (add, remove) = if number.is_multiple_of(2) { (own, Vec::new()) } else { (Vec::new(), own) };
        let changes = SetChanges(vec![SetChange { set: SetId(number / 2 % SETS), add, remove }]);
        let start = Instant::now();
        table.change(had, &changes).await?;
        times.push(start.elapsed());
        had = had.after(&changes);
    }
    ensure!(had == firewall.digest(), "whoever came has gone");
    Ok(times)
}

/// The same ruleset, as `nft` lists it, handed to `nft`.
fn by_nft() -> Result<Vec<Duration>> {
    let listed = nft(&["-nn", "list", "table", "inet", "netloom"])?;
    let text = format!("table inet netloom\ndelete table inet netloom\n{listed}");
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(text.as_bytes())?;
    let path = file.path().to_str().context("a path that is no text")?;
    let mut times = Vec::new();
    for _ in 0..LARGE {
        let start = Instant::now();
        nft(&["-f", path])?;
        times.push(start.elapsed());
    }
    Ok(times)
}

fn nft(arguments: &[&str]) -> Result<String> {
    let output = Command::new("nft")
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start `nft`, of the package nftables")?;
    ensure!(output.status.success(), "`nft {}` failed", arguments.join(" "));
    String::from_utf8(output.stdout).context("`nft` speaks no UTF-8")
}

fn middle(times: &[Duration]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied().map_or(f64::NAN, millis)
}

fn addresses(peer: u32) -> [ipnet::IpNet; 2] {
    let v4 = Ipv4Addr::from_bits(0x0a00_0000 + peer);
    let v6 = Ipv6Addr::from_bits((0xfd00 << 112) + u128::from(peer));
    [IpAddr::from(v4).into(), IpAddr::from(v6).into()]
}

/// A host that all peers may reach, each set at other ports.
fn firewall() -> Firewall {
    let members = |set: u32| (0..PEERS).filter(move |peer| peer % SETS == set).flat_map(addresses);
    let sets = (0..SETS).map(|set| (SetId(set), members(set).collect::<AddressSet>())).collect();
    let grant = |number: u32| {
        let port = u16::try_from(1000 + number / 10).unwrap_or(u16::MAX);
        let service = if number.is_multiple_of(3) {
            Service::Udp(Ports::one(port))
        } else {
            Service::Tcp(Ports::one(port))
        };
        let to = if number.is_multiple_of(4) { Side::Set(SetId((number + 7) % SETS)) } else { Side::Any };
        Grant {
            from: Side::Set(SetId(number % SETS)),
            to,
            services: Services::Only(vec![service, Service::Icmp]),
        }
    };
    Firewall { sets, input: Filter::Only((0..GRANTS).map(grant).collect()), ..Firewall::default() }
}
