//! What a change of one peer costs as the number of peers grows: through the device's control socket, and in gotatun
//! alone, whose share is the least it can cost.
//!
//! It is for reading, not for judging: nothing fails here. Run it where it may make an interface:
//! `unshare --user --map-root-user --net target/release/examples/peers [PEERS]...`

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use dataplane::device::{self, DeviceOptions};
use gotatun::device::{Device, DeviceBuilder, DeviceTransports, Peer};
use gotatun::tun::MtuWatcher;
use gotatun::udp::channel::new_udp_tun_channel;
use gotatun::udp::socket::UdpSocketFactory;
use gotatun::x25519::{PublicKey, StaticSecret};

/// How often each kind of change is made.
const TIMES: u32 = 50;

fn main() -> anyhow::Result<()> {
    let mut counts = std::env::args()
        .skip(1)
        .map(|count| count.parse())
        .collect::<Result<Vec<u32>, _>>()
        .context("each argument must be a number of peers")?;
    if counts.is_empty() {
        counts = vec![100, 1_000, 10_000];
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for count in counts {
        ensure!(count > TIMES, "it takes more than {TIMES} peers");
        say(&format!("{count} peers, two prefixes each"))?;
        runtime.block_on(gotatun_alone(count))?;
        let directory = std::env::temp_dir().join(format!("dataplane-peers-{}", std::process::id()));
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let options = DeviceOptions { name: "peers0".to_owned(), socket_dir: directory.clone() };
        let device = runtime.spawn(device::run(options, move || {
            let _ = ready.send(());
        }));
        if is_ready.recv().is_err() {
            return runtime.block_on(device)?;
        }
        through_the_socket(count, &mut Caller::new(&directory.join("peers0.sock"))?)?;
        device.abort();
        let _ = runtime.block_on(device);
        std::fs::remove_dir_all(&directory)?;
    }
    Ok(())
}

/// What [`through_the_socket`] measures, without anything of ours.
async fn gotatun_alone(count: u32) -> anyhow::Result<()> {
    let (writer, reader, _) =
        new_udp_tun_channel(1, Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST, MtuWatcher::new(1420));
    let device = DeviceBuilder::new()
        .with_udp(UdpSocketFactory::default())
        .with_ip_pair(writer, reader)
        .with_private_key(StaticSecret::from([7; 32]))
        .suspended(true)
        .build()
        .await?;
    let began = Instant::now();
    let peers: Vec<Peer> = (0..count).map(peer).collect();
    device.add_peers(peers).await?;
    report("gotatun: add all", began.elapsed(), 1)?;
    let began = Instant::now();
    for _ in 0..TIMES {
        std::hint::black_box(device.peers().await);
    }
    report("gotatun: read all", began.elapsed(), TIMES)?;
    let began = Instant::now();
    for i in 0..TIMES {
        modify(&device, i).await?;
    }
    report("gotatun: modify one", began.elapsed(), TIMES)?;
    let began = Instant::now();
    for i in 0..TIMES {
        device.remove_peer(&peer(i).public_key).await?;
    }
    report("gotatun: remove one", began.elapsed(), TIMES)?;
    let began = Instant::now();
    for i in 0..TIMES {
        device.add_peer(peer(i)).await?;
    }
    report("gotatun: add one", began.elapsed(), TIMES)
}

async fn modify<T: DeviceTransports>(device: &Device<T>, i: u32) -> anyhow::Result<()> {
    let key = peer(i).public_key;
    device
        .write(async |device| {
            device.modify_peer(&key, |peer| peer.set_endpoint(Some(([192, 0, 2, 2], 9).into()))).await
        })
        .await?;
    Ok(())
}

fn through_the_socket(count: u32, caller: &mut Caller) -> anyhow::Result<()> {
    caller.call(&format!("set=1\nprivate_key={}\n\n", "07".repeat(32)))?;
    let all: String = (0..count).map(whole).collect();
    caller.time("add all", 1, |_| format!("set=1\n{all}\n"))?;
    caller.time("say all again", 1, |_| format!("set=1\n{all}\n"))?;
    caller.time("get", 10, |_| "get=1\n\n".to_owned())?;
    caller.time("new endpoint", TIMES, |i| set(i, "endpoint=192.0.2.2:9\n"))?;
    caller.time("same endpoint", TIMES, |i| set(i, "endpoint=192.0.2.2:9\n"))?;
    caller.time("keepalive off and on", TIMES, |i| {
        let [off, on] = [0, 25].map(|n| line(i, &format!("persistent_keepalive_interval={n}\n")));
        format!("set=1\n{off}{on}\n")
    })?;
    caller.time("same keepalive", TIMES, |i| set(i, "persistent_keepalive_interval=25\n"))?;
    caller.time("new endpoint, kept alive", TIMES, |i| set(i, "endpoint=192.0.2.3:9\n"))?;
    caller.time("one more prefix", TIMES, |i| {
        set(i, &format!("allowed_ip={}/32\n", Ipv4Addr::from(0x0b00_0000 + i)))
    })?;
    caller.time("another peer's prefix", TIMES, |i| {
        set(i + 1, &format!("allowed_ip={}/32\n", Ipv4Addr::from(0x0b00_0000 + i)))
    })?;
    caller.time("remove", TIMES, |i| set(i, "remove=true\n"))?;
    caller.time("add", TIMES, |i| format!("set=1\n{}\n", whole(i)))?;
    let before = resident_kib()?;
    caller.time("remove and add", 20 * TIMES, |i| {
        format!("set=1\n{}{}\n", line(i % 50, "remove=true\n"), whole(i % 50))
    })?;
    say(&format!("  memory before and after: {before} and {} KiB", resident_kib()?))?;
    caller.time("replace all by one", 1, |_| format!("set=1\nreplace_peers=true\n{}\n", whole(count)))
}

fn peer(i: u32) -> Peer {
    let mut key = [0x2b; 32];
    key[..4].copy_from_slice(&i.to_be_bytes());
    Peer::new(PublicKey::from(key))
        .with_endpoint(([192, 0, 2, 1], 9).into())
        .with_allowed_ips(prefixes(i).map(|prefix| prefix.parse().expect("it is a prefix")))
}

fn prefixes(i: u32) -> [String; 2] {
    [format!("{}/32", Ipv4Addr::from(0x0a58_0000 + i)), format!("fd88::{i:x}/128")]
}

fn line(i: u32, rest: &str) -> String {
    format!("public_key={i:08x}{}\n{rest}", "2b".repeat(28))
}

fn set(i: u32, rest: &str) -> String {
    format!("set=1\n{}\n", line(i, rest))
}

fn whole(i: u32) -> String {
    let [four, six] = prefixes(i);
    line(i, &format!("endpoint=192.0.2.1:9\nreplace_allowed_ips=true\nallowed_ip={four}\nallowed_ip={six}\n"))
}

/// Who speaks with the control socket.
struct Caller(BufReader<UnixStream>);

impl Caller {
    fn new(socket: &std::path::Path) -> anyhow::Result<Self> {
        Ok(Self(BufReader::new(UnixStream::connect(socket)?)))
    }

    fn time(&mut self, what: &str, times: u32, request: impl Fn(u32) -> String) -> anyhow::Result<()> {
        let began = Instant::now();
        for i in 0..times {
            self.call(&request(i))?;
        }
        report(what, began.elapsed(), times)
    }

    fn call(&mut self, request: &str) -> anyhow::Result<()> {
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(self.0.read_line(&mut line)? > 0, "the device hung up");
            if line == "\n" {
                return Ok(());
            }
            ensure!(!line.starts_with("errno=") || line == "errno=0\n", "refused: {line}");
        }
    }
}

fn resident_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).context("the kernel does not say how much memory this takes")
}

fn report(what: &str, took: Duration, times: u32) -> anyhow::Result<()> {
    say(&format!("  {what:<26}{:>12.3} ms", took.as_secs_f64() * 1000.0 / f64::from(times)))
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
