//! Machines that try each other, and what of it must come about.
//!
//! Not for the evaluator (`testkit::oracle`). It keeps true that every address of every machine is tried from every other
//! machine, in all networks, whoever may reach it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::house::{Desk, Foreign, patience};
use testkit::lab::Machine;
use testkit::oracle::{Change, Party, Picture, Rule};
use testkit::probe::{Part, Probe, Target, Transport, Waiting, round};

/// What machines answer on; rules name these.
pub(super) const PORTS: [u16; 3] = [7000, 7001, 7002];
/// How long what must not answer is given, in each round.
const SETTLE: Duration = Duration::from_millis(150);
/// How long what must answer is given before the round is judged; a change may still be on its way.
const ROUND: Duration = Duration::from_millis(700);

/// An address, and whose it is in which network.
pub(crate) struct Spot {
    pub(super) network: &'static str,
    pub(super) member: String,
    pub(super) address: IpAddr,
}

/// A machine, and which member of which network each of its addresses belongs to.
pub(crate) struct Place {
    name: String,
    _machine: Machine,
    spots: Vec<Spot>,
    pub(super) probe: Probe,
    /// A machine that is reached without any tunnel, whatever policies say: that is nobody's to judge.
    pub(super) beside: Option<String>,
}

impl Place {
    pub(crate) fn new(machine: &Machine, spots: Vec<Spot>) -> Self {
        let mut probe = Probe::start(machine).unwrap();
        let addresses: Vec<IpAddr> = spots.iter().map(|spot| spot.address).collect();
        probe.listen(&addresses, &PORTS).unwrap();
        Self { name: machine.name().to_owned(), _machine: machine.clone(), spots, probe, beside: None }
    }

    /// Who a packet to there comes from; nobody where this machine is not in the network.
    fn source(&self, to: &Spot) -> Option<&str> {
        let same = |own: &&Spot| own.network == to.network && own.address.is_ipv4() == to.address.is_ipv4();
        self.spots.iter().find(same).map(|own| own.member.as_str())
    }
}

/// All that is tried at an address, and what rules call it.
fn tries(address: IpAddr) -> impl Iterator<Item = (Target, &'static str)> {
    let target = move |transport, port| Target { transport, to: SocketAddr::new(address, port) };
    let ports = PORTS.into_iter();
    let both = ports
        .flat_map(move |port| [(target(Transport::Tcp, port), "tcp"), (target(Transport::Udp, port), "udp")]);
    both.chain([(target(Transport::Icmp, 0), "icmp")])
}

/// What each place tries, and what of it must answer.
fn questions(
    places: &[Place],
    pictures: &BTreeMap<&'static str, Picture>,
) -> Vec<(Vec<Target>, BTreeSet<Target>)> {
    let of = |from: &Place| {
        let (mut targets, mut expected) = (Vec::new(), BTreeSet::new());
        for to in places.iter().filter(|to| to.name != from.name) {
            let beside = from.beside.as_ref() == Some(&to.name);
            for spot in &to.spots {
                let allowed = |protocol: &str, port| {
                    let source = from.source(spot);
                    let picture = &pictures[spot.network];
                    beside || source.is_some_and(|from| picture.allows(from, &spot.member, protocol, port))
                };
                for (target, protocol) in tries(spot.address) {
                    targets.push(target);
                    if allowed(protocol, target.to.port()) {
                        expected.insert(target);
                    }
                }
            }
        }
        (targets, expected)
    };
    places.iter().map(of).collect()
}

/// Waits until every probe agrees with the evaluator; how many there were.
pub(crate) fn agrees(
    places: &mut [Place],
    pictures: &BTreeMap<&'static str, Picture>,
    limit: Duration,
) -> Result<usize, String> {
    let questions = questions(places, pictures);
    let asked = questions.iter().map(|(targets, _)| targets.len()).sum();
    let deadline = Instant::now() + limit;
    loop {
        let mut parts: Vec<Part<'_>> = places
            .iter_mut()
            .zip(&questions)
            .map(|(place, (targets, expected))| Part {
                probe: &mut place.probe,
                targets: targets.clone(),
                expected: expected.clone(),
            })
            .collect();
        let wrong =
            round(&mut parts, Waiting { at_least: patience(SETTLE), at_most: patience(ROUND) }).unwrap();
        if wrong.is_empty() {
            return Ok(asked);
        }
        if Instant::now() > deadline {
            return Err(format!("{} of {asked} probes disagree:\n{}", wrong.len(), wrong.join("\n")));
        }
    }
}

fn body(rule: &Rule) -> Value {
    let texts = |parties: &BTreeSet<Party>| parties.iter().map(ToString::to_string).collect::<Vec<_>>();
    let services: Vec<String> = rule.services.iter().map(ToString::to_string).collect();
    json!({
        "enabled": rule.enabled, "from": texts(&rule.from), "to": texts(&rule.to), "services": services, "both": rule.both,
    })
}

/// Does on the server what the change says.
pub(super) fn carry_out(desk: &Desk<'_>, change: &Change, phones: &BTreeMap<String, Foreign>) {
    match change {
        Change::Add(name, rule) => {
            let mut body = body(rule);
            body["name"] = json!(name);
            desk.post("policies", &body).unwrap();
        }
        Change::Replace(name, rule) => drop(desk.patch(&format!("policies/{name}"), &body(rule)).unwrap()),
        Change::Remove(name) => drop(desk.delete(&format!("policies/{name}")).unwrap()),
        Change::Enable(name, enabled) => {
            desk.patch(&format!("policies/{name}"), &json!({"enabled": enabled})).unwrap();
        }
        Change::Tags(name, tags) => {
            let kind = if phones.contains_key(name) { "clients" } else { "nodes" };
            desk.patch(&format!("{kind}/{name}"), &json!({"tags": tags})).unwrap();
        }
        Change::Groups(user, groups) => {
            let path = format!("/api/v1/users/{user}/groups");
            desk.request("PUT", &path, &json!({"groups": groups})).unwrap();
        }
        Change::Client(name, enabled) => {
            desk.patch(&format!("clients/{name}"), &json!({"enabled": enabled})).unwrap();
            if *enabled {
                phones[name].renew().unwrap();
            }
        }
    }
}
