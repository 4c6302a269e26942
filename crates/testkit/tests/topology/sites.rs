//! Egress: sites whose machines know nothing of Netloom, reached through routers.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::house::{Host, House, INTERFACE, Site, patience};
use testkit::lab::{Load, Machine, eventually};
use testkit::probe::{Probe, Transport};

use crate::{PORT, SOON, all_leave, ears, ip, join_all, public_hosts, reaches};

/// The promise: another router takes over within five seconds.
const TAKEN_OVER: Duration = Duration::from_secs(5);
/// How long new connections are tried after the active router's end.
const WATCHED: Duration = Duration::from_secs(9);

/// Two machines of a site, behind the router with number 1.
fn pair(house: &House, site: &Site, names: [&str; 2]) -> [Machine; 2] {
    let mut number = 10;
    names.map(|name| {
        number += 1;
        site.machine(house.lab(), name, number, 1).unwrap()
    })
}

fn egress(house: &House, name: &str, range: &str, mapped: Option<&str>, routers: &[&str], nat: bool) {
    let routers: Vec<_> = routers.iter().map(|node| json!({"node": node})).collect();
    let mut body = json!({"name": name, "range": range, "routers": routers, "nat": nat});
    if let Some(mapped) = mapped {
        body["mapped"] = json!(mapped);
    }
    house.desk().unwrap().post("egress", &body).unwrap();
}

#[test]
fn two_sites_that_know_nothing_of_netloom_reach_one_another() {
    let (house, token) = House::with_network("sites").unwrap();
    let routers = ["r1", "r2"].map(|name| house.public_machine(name).unwrap());
    let sites = [("192.168.7.0/24", "fd07::/64"), ("192.168.8.0/24", "fd08::/64")];
    let sites = sites.map(|(v4, v6)| house.site(v4, v6).unwrap());
    for (site, router) in sites.iter().zip(&routers) {
        site.router(router, 1).unwrap();
    }
    let before = routers.each_ref().map(|router| router.machine().snapshot().unwrap());
    join_all(&[&routers[0], &routers[1]], &token);
    let near = pair(&house, &sites[0], ["near-1", "near-2"]);
    let far = pair(&house, &sites[1], ["far-1", "far-2"]);
    let states = near.each_ref().map(|machine| machine.snapshot().unwrap());
    for (site, name, router) in [(&sites[0], "near", "r1"), (&sites[1], "far", "r2")] {
        let [v4, v6] = site.ranges();
        egress(&house, &format!("{name}4"), &v4.to_string(), None, &[router], false);
        egress(&house, &format!("{name}6"), &v6.to_string(), None, &[router], false);
    }
    for (from, there, to) in [(&near, &sites[1], &far), (&far, &sites[0], &near)] {
        for machine in from {
            for number in [11, 12] {
                for address in there.addresses(number).unwrap() {
                    eventually(patience(SOON), || machine.ping(address)).unwrap();
                }
            }
        }
        let _ears = ears(&to[0], &there.addresses(11).unwrap());
        let mut caller = Probe::start(&from[1]).unwrap();
        reaches(&mut caller, &there.addresses(11).unwrap());
    }
    let load = Load::start(&near[0], &far[0], sites[1].addresses(11).unwrap()[0], 5201, 2).unwrap();
    let report = load.finish(patience(SOON)).unwrap();
    assert!(report.completed && report.bytes() > 1_000_000, "{report:?}");
    let unchanged = near.each_ref().map(|machine| machine.snapshot().unwrap());
    assert_eq!(states, unchanged, "nothing is done on the sites' machines");
    let [first, second] = before;
    all_leave(&[(&routers[0], first), (&routers[1], second)]);
}

#[test]
fn two_sites_with_the_same_range_reach_one_another_by_mapped_ranges() {
    let (house, _token, routers) = public_hosts("mapped", &["r1", "r2", "plain"]);
    let [near, far, plain] = &routers[..] else { unreachable!("three were made") };
    let sites = twin_sites(&house, [near, far]);
    twins_reach_one_another(&house, &sites, [near, far], plain);
}

/// Two sites with the same range, each behind one of these.
pub(crate) fn twin_sites(house: &House, routers: [&Host; 2]) -> [Site; 2] {
    routers.map(|router| {
        let site = house.site("192.168.7.0/24", "fd07::/64").unwrap();
        site.router(router, 1).unwrap();
        site
    })
}

/// They are reached by ranges of their own, by one another and by a third host.
pub(crate) fn twins_reach_one_another(house: &House, sites: &[Site; 2], routers: [&Host; 2], third: &Host) {
    let near = pair(house, &sites[0], ["near-1", "near-2"]);
    let far = pair(house, &sites[1], ["far-1", "far-2"]);
    let mapped = [("near", "10.77.1.0/24", "fd77:1::/64"), ("far", "10.77.2.0/24", "fd77:2::/64")];
    for ((name, v4, v6), router) in mapped.into_iter().zip(routers) {
        egress(house, &format!("{name}4"), "192.168.7.0/24", Some(v4), &[router.name()], true);
        egress(house, &format!("{name}6"), "fd07::/64", Some(v6), &[router.name()], true);
    }
    let _ears = [&near, &far].map(|machines| ears(&machines[0], &sites[0].addresses(11).unwrap()));
    let reach = |machine: &Machine, addresses: [&str; 2]| {
        let addresses = addresses.map(ip);
        for address in addresses {
            eventually(patience(SOON), || machine.ping(address)).unwrap();
        }
        let mut probe = Probe::start(machine).unwrap();
        reaches(&mut probe, &addresses);
    };
    reach(third.machine(), ["10.77.1.11", "fd77:1::b"]);
    reach(third.machine(), ["10.77.2.11", "fd77:2::b"]);
    reach(&near[1], ["10.77.2.11", "fd77:2::b"]);
    reach(&far[1], ["10.77.1.11", "fd77:1::b"]);
    // Each site still reaches its own.
    near[1].ping(ip("192.168.7.11")).unwrap();
}

#[test]
fn a_range_that_would_swallow_another_is_refused_with_the_reason() {
    let (house, _token, _hosts) = public_hosts("swallow", &["r1"]);
    let desk = house.desk().unwrap();
    egress(&house, "office", "192.168.7.0/24", None, &["r1"], true);
    let body = |range: &str| json!({"name": "other", "range": range, "routers": [{"node": "r1"}]});
    for range in ["10.20.0.0/16", "10.0.0.0/8", "fd20::/64", "192.168.7.128/25", "192.168.0.0/16"] {
        let reason = desk.refused("POST", "egress", &body(range)).unwrap();
        assert!(reason.contains(range), "{reason}");
    }
    desk.post("egress", &body("192.168.9.0/24")).unwrap();
}

/// Ends every program of ours on a machine, as `kill -9` does, the device included.
fn kill_everything_of_ours(host: &Host) {
    let script = "for each in /proc/[0-9]*; do case $(readlink $each/exe) in */netclient) kill -9 ${each#/proc/};; esac; done";
    host.machine().run("sh", ["-c", script]).unwrap();
}

/// Opens new connections one after the other until the deadline; the longest time without one.
fn longest_gap(probe: &mut Probe, to: SocketAddr, deadline: Instant) -> Duration {
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    while Instant::now() < deadline {
        let reached = probe.reaches(Transport::Tcp, to, Duration::from_millis(300)).unwrap();
        longest = longest.max(last.elapsed());
        if reached {
            last = Instant::now();
        }
    }
    longest
}

/// A site with a printer behind two routers, the first of which is used, and a user of it elsewhere.
struct Plant {
    printer: Machine,
    user: Host,
    routers: [Host; 2],
    site: Site,
    _house: House,
}

fn plant(name: &str) -> Plant {
    let (house, token) = House::with_network(name).unwrap();
    let routers = ["r1", "r2"].map(|name| house.public(name).unwrap());
    let site = house.site("192.168.7.0/24", "fd07::/64").unwrap();
    site.router(&routers[0], 1).unwrap();
    site.router(&routers[1], 2).unwrap();
    let user = house.public("user").unwrap();
    join_all(&[&routers[0], &routers[1], &user], &token);
    let printer = site.machine(house.lab(), "printer", 11, 1).unwrap();
    egress(&house, "site4", "192.168.7.0/24", None, &["r1", "r2"], true);
    egress(&house, "site6", "fd07::/64", None, &["r1", "r2"], true);
    Plant { printer, user, routers, site, _house: house }
}

/// What happens to the first router; the longest time without a new connection while so much time passes, for each family.
fn longest_gaps(plant: &Plant, watched: Duration, happens: impl FnOnce(&Host)) -> Vec<Duration> {
    let addresses = plant.site.addresses(11).unwrap();
    let probe = |address: &IpAddr| (Probe::start(plant.user.machine()).unwrap(), *address);
    let mut probes: Vec<(Probe, IpAddr)> = addresses.iter().map(probe).collect();
    let deadline = Instant::now() + patience(watched);
    std::thread::scope(|scope| {
        let threads: Vec<_> = probes
            .iter_mut()
            .map(|(probe, address)| {
                let to = SocketAddr::new(*address, PORT);
                scope.spawn(move || longest_gap(probe, to, deadline))
            })
            .collect();
        happens(&plant.routers[0]);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn another_router_takes_over_within_five_seconds_when_the_active_one_is_killed_under_load() {
    let plant = plant("routers");
    let addresses = plant.site.addresses(11).unwrap();
    let _ears = ears(&plant.printer, &addresses);
    let mut probe = Probe::start(plant.user.machine()).unwrap();
    reaches(&mut probe, &addresses);

    let load = Load::start(plant.user.machine(), &plant.printer, addresses[0], 5201, 60).unwrap();
    load.wait_for(2_000_000, patience(SOON)).unwrap();
    let gaps = longest_gaps(&plant, WATCHED, kill_everything_of_ours);
    assert!(gaps.iter().all(|gap| *gap <= patience(TAKEN_OVER)), "no new connection for {gaps:?}");
    reaches(&mut probe, &addresses);
    println!("the longest time without a new connection, by family: {gaps:?}");
}

/// Its addresses in the range are told to all, and lead them there through the other router: WireGuard within WireGuard.
#[test]
fn a_router_whose_uplink_dies_while_its_lan_lives_is_left_once_and_for_all() {
    let plant = plant("half-dead");
    let addresses = plant.site.addresses(11).unwrap();
    let _ears = ears(&plant.printer, &addresses);
    let mut probe = Probe::start(plant.user.machine()).unwrap();
    reaches(&mut probe, &addresses);

    // Longer than it takes until a router that answers again is trusted.
    let gaps = longest_gaps(&plant, 4 * WATCHED, |router| router.link().down().unwrap());
    assert!(gaps.iter().all(|gap| *gap <= patience(TAKEN_OVER)), "no new connection for {gaps:?}");
    let sent = plant.user.machine().read(&format!("/sys/class/net/{INTERFACE}/statistics/tx_bytes")).unwrap();
    let sent: u64 = sent.trim().parse().unwrap();
    // The probes are some megabytes, more where the machine is fast; what goes in circles is hundreds within seconds.
    assert!(sent < 100_000_000, "{sent} bytes went into the tunnel, and some of them in circles");
}
