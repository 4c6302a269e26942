//! The probe's own process: reads orders, carries them out, answers.
//!
//! Keeps true that each attempt has a port of its own that was not used before, so that no firewall takes it for a part
//! of an older flow; and that the process ends when its input does.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::echo::echo;
use super::{Answer, Order, Target, Transport, listen};

/// Ports for attempts are taken from here upwards, and from here again after the last.
const FIRST_PORT: u16 = 10_000;
const LAST_PORT: u16 = 64_999;
const AGAIN: Duration = Duration::from_millis(200);

static NEXT_PORT: AtomicU16 = AtomicU16::new(FIRST_PORT);

/// The probe as a program.
pub fn main() -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    match runtime.block_on(serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

async fn serve() -> std::io::Result<()> {
    let (sender, mut lines) = mpsc::channel(8);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = lines.recv().await {
        let answer = match serde_json::from_str(&line) {
            Ok(order) => carry_out(order).await,
            Err(error) => Answer::Failed { error: error.to_string() },
        };
        let mut stdout = std::io::stdout().lock();
        serde_json::to_writer(&mut stdout, &answer)?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
    }
    Ok(())
}

async fn carry_out(order: Order) -> Answer {
    match order {
        Order::Listen { at } => {
            for address in at {
                if let Err(error) = listen::listen(address).await {
                    return Answer::Failed { error: format!("{address}: {error}") };
                }
            }
            Answer::Done
        }
        Order::Try { targets, expected, at_least, at_most } => {
            let targets = attempt(&targets, expected, at_least, at_most).await;
            Answer::Reached { targets }
        }
    }
}

async fn attempt(
    targets: &[Target],
    mut missing: BTreeSet<usize>,
    at_least: u64,
    at_most: u64,
) -> BTreeSet<usize> {
    let start = Instant::now();
    let (settled, limit) = (start + Duration::from_millis(at_least), start + Duration::from_millis(at_most));
    let (sender, mut answers) = mpsc::channel(targets.len().max(1));
    let mut attempts = JoinSet::new();
    for (place, target) in targets.iter().copied().enumerate() {
        let sender = sender.clone();
        attempts.spawn(async move {
            answered(target).await;
            let _ = sender.send(place).await;
        });
    }
    let mut reached = BTreeSet::new();
    while !missing.is_empty() {
        let Ok(Some(place)) = timeout_at(limit, answers.recv()).await else { break };
        missing.remove(&place);
        reached.insert(place);
    }
    sleep_until(settled).await;
    while let Ok(place) = answers.try_recv() {
        reached.insert(place);
    }
    reached
}

/// Returns when the target has answered.
async fn answered(target: Target) {
    loop {
        let done = match target.transport {
            Transport::Tcp => tcp(target.to).await.is_ok(),
            Transport::Udp => udp(target.to).await.is_ok(),
            Transport::Icmp => echo(target.to.ip(), next_port(), AGAIN).await.is_ok(),
        };
        if done {
            return;
        }
        // Refused, or no route yet: that may change within the round.
        sleep(AGAIN).await;
    }
}

async fn tcp(to: SocketAddr) -> std::io::Result<()> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // A port that somebody has is an error here; the next attempt takes the next one.
    socket.bind(fresh(to))?;
    let mut stream = socket.connect(to).await?;
    let mut byte = [0; 1];
    stream.read_exact(&mut byte).await.map(drop)
}

async fn udp(to: SocketAddr) -> std::io::Result<()> {
    let socket = UdpSocket::bind(fresh(to)).await?;
    socket.connect(to).await?;
    let mut buffer = [0; 64];
    loop {
        socket.send(b"?").await?;
        if let Ok(heard) = timeout(AGAIN, socket.recv(&mut buffer)).await {
            return heard.map(drop);
        }
    }
}

/// Any address of the target's family, with a port that was not used yet.
fn fresh(to: SocketAddr) -> SocketAddr {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(any, next_port())
}

fn next_port() -> u16 {
    let next = |port: u16| Some(if port >= LAST_PORT { FIRST_PORT } else { port + 1 });
    NEXT_PORT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(FIRST_PORT)
}
