//! What a change of one peer costs an agent that has many: the way of a delta, step by step, and beside it the way of a
//! whole map, in the same run. The files are real; so are interface, device and netlink where they may be made.
//!
//! It is for reading, not for judging: nothing fails here because something was slow. Run it where it may make an interface:
//! `unshare --user --map-root-user --net target/release/examples/one_peer [PEERS]...`

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use agent::engine::Keeper;
use agent::state::{MapFile, Saved};
use anyhow::{Context as _, bail, ensure};
use dataplane::device::{self, DeviceOptions};
use model::{
    Addresses, Endpoint, Generation, HostId, HostName, MemberId, Mtu, NetworkId, Ranges, WgPublicKey,
};
use platform::{DeviceProgram, Machine, MachineOptions};
use reconcile::{
    Actual, Agent, AgentAction, AgentEvent, Changed, Circumstances, Derived, LinkKind, LinkName,
    LocalSettings, Own, Paths, desired, reconcile, reconcile_followed,
};
use wire::{Delta, Down, HostMap, Membership, NatMapping, OwnHost, Peer, PeerNode, ServerLinks, WgSecret};

/// How often each kind of change is made.
const TIMES: u16 = 1_000;
const NETWORK: NetworkId = NetworkId::from_bytes([7; 16]);
const LINK: &str = "onepeer0";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if let [command, name] = &arguments[..]
        && command == "device"
    {
        return runtime.block_on(device::run(
            DeviceOptions { socket_dir: sockets(), ..DeviceOptions::new(name) },
            || (),
        ));
    }
    let counts = arguments.iter().map(|count| count.parse()).collect::<Result<Vec<u16>, _>>();
    let mut counts = counts.context("each argument must be a number of peers, at most 60000")?;
    if counts.is_empty() {
        counts = vec![100, 1_000, 10_000];
    }
    for count in counts {
        ensure!(count <= 60_000, "there are not so many addresses in the network");
        say(&format!("{count} peers, two addresses each"))?;
        without_a_machine(count)?;
        runtime.block_on(with_a_machine(count))?;
    }
    Ok(())
}

/// The changes that are made: peers that come, get other names and other addresses, and go again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Join,
    Rename,
    Address,
    Leave,
}

const KINDS: [Kind; 4] = [Kind::Join, Kind::Rename, Kind::Address, Kind::Leave];

impl Kind {
    /// The `n`th change of this kind, in a map that had `count` peers at first.
    fn delta(self, count: u16, n: u16, base: Generation) -> Delta {
        let number = count + n;
        let host = host(number);
        let mut delta = Delta { base, generation: base.next(), ..Delta::default() };
        let peer = match self {
            Self::Join => peer(number),
            Self::Rename => Peer { name: HostName::nearest("renamed"), ..peer(number) },
            Self::Address => {
                Peer { nodes: vec![PeerNode::new(NETWORK, addresses(number + TIMES))], ..peer(number) }
            }
            Self::Leave => {
                delta.peers_gone.push(host);
                return delta;
            }
        };
        delta.peers.insert(host, peer);
        delta
    }
}

/// Brain, file and derivation, without touching any network.
fn without_a_machine(count: u16) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(".")?;
    let mut file = MapFile::new(folder.path().join("bench.map"));
    let map = map(count);
    let mut agent = started(map.clone());
    let mut paths = Paths::new();
    paths.handle_map(&map, own_addresses(), Duration::ZERO);
    let settings = settings(&secret());
    let circumstances = Circumstances { endpoints: paths.endpoints(), ..Circumstances::default() };
    let mut derived = Derived::new(&map, &settings, &circumstances);
    let mut actual = Actual::default();
    reconcile(derived.desired(), &Actual::default()).iter().for_each(|op| actual.apply_alone(op));
    file.save(&map, &[])?;

    let mut steps = Steps::default();
    for n in 0..TIMES {
        for kind in KINDS {
            let base = agent.map().context("there is a map")?.generation;
            let bytes = wire::encode(&Down::Delta(kind.delta(count, n, base)));
            let began = Instant::now();
            let down: Down = wire::decode(&bytes)?;
            let Down::Delta(delta) = &down else { bail!("it was a delta") };
            let unsaved = [delta.clone()];
            let (hosts, keys) = push(&mut agent, down)?;
            let map = agent.map().context("there is a map")?;
            steps.add("decode, patch", began);
            let began = Instant::now();
            let saved = file.save(map, &unsaved)?;
            steps.add(if saved == Saved::Added { "add to the file" } else { "fold the file" }, began);
            let began = Instant::now();
            paths.handle_map_peers(map, &hosts, &keys, Duration::ZERO);
            steps.add("tell the paths", began);
            let began = Instant::now();
            let followed = derived.follow(map, &hosts, |key| paths.endpoint(key));
            let ops = reconcile_followed(derived.desired(), &actual, &followed);
            ops.iter().for_each(|op| actual.apply_alone(op));
            steps.add("derive, reconcile", began);
        }
    }
    steps.report("one delta")?;
    sync(&file)?;
    whole(&mut file, agent.map().context("there is a map")?, &settings, &paths, &actual)
}

fn sync(file: &MapFile) -> anyhow::Result<()> {
    let log = file.log_to_sync().context("there is a log")?;
    let began = Instant::now();
    log.sync_data()?;
    report("sync of what was added, off the loop", began.elapsed(), 1)
}

/// The same by the way of a whole map.
fn whole(
    file: &mut MapFile,
    map: &HostMap,
    settings: &LocalSettings,
    paths: &Paths,
    actual: &Actual,
) -> anyhow::Result<()> {
    let mut steps = Steps::default();
    for _ in 0..10 {
        let bytes = wire::encode(map);
        let began = Instant::now();
        let map: HostMap = wire::decode(&bytes)?;
        steps.add("decode", began);
        let began = Instant::now();
        file.distrust_log();
        ensure!(file.save(&map, &[])? == Saved::Whole, "nothing leads from the map on disk to this one");
        steps.add("write the file", began);
        let began = Instant::now();
        let anew = desired(
            &map,
            settings,
            &reconcile::Circumstances { endpoints: paths.endpoints(), ..reconcile::Circumstances::default() },
        );
        let ops = reconcile(&anew, actual);
        ensure!(ops.is_empty(), "the short way and the long way must lead to the same: {ops:?}");
        steps.add("derive, reconcile", began);
    }
    steps.report("the whole map instead")
}

/// The way to the device and back, with our own userspace device.
async fn with_a_machine(count: u16) -> anyhow::Result<()> {
    if std::fs::read_to_string("/proc/self/uid_map")?.split_whitespace().nth(2) != Some("1") {
        return say("  (no interface is made outside of a user namespace: see the head of this example)");
    }
    let link: LinkName = LINK.parse()?;
    let machine = Machine::open(MachineOptions {
        link: link.clone(),
        program: DeviceProgram {
            program: "/proc/self/exe".into(),
            arguments: vec!["device".into()],
            log: std::env::temp_dir().join("one_peer-device.log"),
            withheld: Vec::new(),
        },
        socket_dir: sockets(),
    })?;
    let measured = on_a_machine(count, machine).await;
    let machine = Machine::open(MachineOptions {
        link,
        program: DeviceProgram {
            program: "/bin/false".into(),
            arguments: Vec::new(),
            log: "/dev/null".into(),
            withheld: Vec::new(),
        },
        socket_dir: sockets(),
    })?;
    machine.execute(&reconcile::Op::DeleteLink, &secret()).await?;
    measured
}

async fn on_a_machine(count: u16, machine: Machine) -> anyhow::Result<()> {
    let map = map(count);
    let mut agent = started(map.clone());
    let secret = secret();
    let kept = agent::state::KeptFile::open("/nonexistent/sysctls.json".into()).expect("nothing to read");
    let mut keeper =
        Keeper::new(machine, settings(&secret), secret, kept, Actual::default(), tokio::time::Instant::now());
    keeper.paths.handle_map(&map, own_addresses(), Duration::ZERO);
    let began = Instant::now();
    keeper.settle(&map).await;
    ensure!(keeper.failures().is_empty(), "{:?}", keeper.failures());
    report("make all of it", began.elapsed(), 1)?;
    // What the device does about handshakes of peers that are not there is not what is measured.
    let device = device_process()?;
    for kind in KINDS {
        let cpu = [Cpu::of("self")?, Cpu::of(&device)?];
        let began = Instant::now();
        for n in 0..TIMES {
            let base = agent.map().context("there is a map")?.generation;
            let (hosts, keys) = push(&mut agent, Down::Delta(kind.delta(count, n, base)))?;
            let map = agent.map().context("there is a map")?;
            keeper.paths.handle_map_peers(map, &hosts, &keys, Duration::ZERO);
            keeper.settle_peers(map, &hosts).await;
        }
        let took = began.elapsed();
        ensure!(keeper.failures().is_empty(), "{:?}", keeper.failures());
        report(&format!("{kind:?}: brain and machine, until it is done"), took, TIMES.into())?;
        cpu[0].since("self", "of it, processor time of the agent")?;
        cpu[1].since(&device, "meanwhile, processor time of the device")?;
    }
    let cpu = [Cpu::of("self")?, Cpu::of(&device)?];
    let began = Instant::now();
    for _ in 0..100 {
        ensure!(keeper.look_at_link().await, "the link can be seen");
    }
    report("look at the link", began.elapsed(), 100)?;
    cpu[0].of_each("self", "of it, processor time of the agent", 100)?;
    let cpu = [Cpu::of("self")?, Cpu::of(&device)?];
    let began = Instant::now();
    for _ in 0..10 {
        ensure!(keeper.look().await, "the device can be read");
    }
    report("look at everything, mend", began.elapsed(), 10)?;
    cpu[0].of_each("self", "of it, processor time of the agent", 10)?;
    cpu[1].of_each(&device, "meanwhile, processor time of the device", 10)
}

/// What the agent's brain makes of a message: whom to look after.
fn push(agent: &mut Agent, down: Down) -> anyhow::Result<(BTreeSet<MemberId>, BTreeSet<WgPublicKey>)> {
    agent.handle(AgentEvent::Pushed(down), Duration::ZERO);
    let mut changed = None;
    while let Some(action) = agent.poll_action() {
        if let AgentAction::CarryOut(Changed::Peers { members, keys, records: _ }) = action {
            changed = Some((members, keys));
        }
    }
    changed.context("the delta is about peers alone, and fits")
}

fn started(map: HostMap) -> Agent {
    let mut agent = Agent::new(Some(map), 1, Duration::ZERO);
    while agent.poll_action().is_some() {}
    agent
}

fn secret() -> WgSecret {
    WgSecret::from_random([0x42; 32])
}

fn settings(secret: &WgSecret) -> LocalSettings {
    LocalSettings {
        link: LINK.parse().expect("it is a name"),
        kind: LinkKind::Userspace,
        key: secret.public(),
        former: None,
        port: 0,
        mtu: None,
    }
}

fn sockets() -> std::path::PathBuf {
    std::env::temp_dir().join("one_peer-sockets")
}

fn own_addresses() -> BTreeSet<ipnet::IpNet> {
    Own::default().local
}

fn host(number: u16) -> MemberId {
    let mut bytes = [1; 16];
    bytes[..2].copy_from_slice(&number.wrapping_mul(0x9e37).to_be_bytes());
    MemberId::from_bytes(bytes)
}

fn addresses(number: u16) -> Addresses {
    let [high, low] = number.to_be_bytes();
    Addresses { v4: Some([10, 88, high, low].into()), v6: Some([0xfd88, 0, 0, 0, 0, 0, 0, number].into()) }
}

fn peer(number: u16) -> Peer {
    let mut key = [0x2b; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    Peer {
        name: HostName::nearest(&format!("host-{number}")),
        key: Some(WgPublicKey::from_bytes(key)),
        nodes: vec![PeerNode::new(NETWORK, addresses(number))],
        seen: vec![Endpoint::new(([192, 0, 2, 1], 9).into()).expect("it is an endpoint")],
        local: Vec::new(),
        fixed: None,
        nat: NatMapping::Endpoint,
    }
}

fn map(peers: u16) -> HostMap {
    let ranges = ["10.88.0.0/16", "fd88::/64"].map(|range| range.parse().expect("it is a range"));
    let [ipnet::IpNet::V4(v4), ipnet::IpNet::V6(v6)] = ranges else { unreachable!("one of each family") };
    let ranges = Ranges::new(Some(v4), Some(v6)).expect("they are ranges");
    let membership = Membership {
        addresses: addresses(u16::MAX - 1),
        ..Membership::plain("bench".parse().expect("it is a name"), ranges)
    };
    HostMap {
        generation: Generation::from_number(1),
        host: OwnHost {
            id: HostId::from_bytes([0; 16]),
            name: HostName::nearest("bench"),
            mtu: Mtu::DEFAULT,
            seen: Vec::new(),
            nat: NatMapping::Endpoint,
            rotate: false,
        },
        server: ServerLinks::default(),
        networks: BTreeMap::from([(NETWORK, membership)]),
        peers: (0..peers).map(|number| (host(number), peer(number))).collect(),
    }
}

/// Times by step.
#[derive(Default)]
struct Steps(BTreeMap<&'static str, (Duration, u32)>);

impl Steps {
    fn add(&mut self, step: &'static str, began: Instant) {
        let took = began.elapsed();
        let (sum, count) = self.0.entry(step).or_default();
        (*sum, *count) = (*sum + took, *count + 1);
    }

    fn report(&self, what: &str) -> anyhow::Result<()> {
        let times = self.0.values().map(|(_, count)| *count).max().unwrap_or(1);
        let all: Duration = self.0.values().map(|(sum, _)| *sum).sum();
        report(what, all, times)?;
        for (step, (sum, count)) in &self.0 {
            let often = if *count == times { String::new() } else { format!(" ({count} times)") };
            report(&format!("  {step}{often}"), *sum, *count)?;
        }
        Ok(())
    }
}

/// Processor time of a process, in the clock ticks of `/proc` (100 a second).
struct Cpu {
    user: u32,
    kernel: u32,
}

impl Cpu {
    fn of(process: &str) -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string(Path::new("/proc").join(process).join("stat"))?;
        let (_, fields) = stat.rsplit_once(')').context("/proc/…/stat names the program")?;
        let field = |at: usize| fields.split_whitespace().nth(at).and_then(|ticks| ticks.parse().ok());
        let (user, kernel) = field(11).zip(field(12)).context("/proc/…/stat tells processor times")?;
        Ok(Self { user, kernel })
    }

    fn since(&self, process: &str, what: &str) -> anyhow::Result<()> {
        self.of_each(process, what, TIMES.into())
    }

    fn of_each(&self, process: &str, what: &str, times: u32) -> anyhow::Result<()> {
        let now = Self::of(process)?;
        let ticks = |now: u32, then: u32| f64::from(now - then) * 10.0 / f64::from(times);
        let (user, kernel) = (ticks(now.user, self.user), ticks(now.kernel, self.kernel));
        say(&format!("    {:<46}{user:>9.3} ms + {kernel:.3} ms in the kernel", what))
    }
}

/// The process behind the interface: the other one that runs this program.
fn device_process() -> anyhow::Result<String> {
    let own = std::fs::read_link("/proc/self/exe")?;
    let processes =
        std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut others = processes.filter(|name| *name != std::process::id().to_string()).filter(|name| {
        name.bytes().all(|byte| byte.is_ascii_digit())
            && std::fs::read_link(Path::new("/proc").join(name).join("exe")).is_ok_and(|exe| exe == own)
    });
    others.next().context("the device runs")
}

fn report(what: &str, took: Duration, times: u32) -> anyhow::Result<()> {
    say(&format!("  {what:<48}{:>9.4} ms", took.as_secs_f64() * 1000.0 / f64::from(times)))
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
