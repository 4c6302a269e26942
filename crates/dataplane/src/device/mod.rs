//! WireGuard in user space: a process that is a network interface.
//!
//! [`run`] makes the interface, serves its control socket, carries its packets and ends when it is told to or when
//! the interface is deleted. It is meant to be a whole process, so that whoever configured it may restart without
//! losing a packet; it therefore takes nothing from its parent and ignores a hang-up.
//!
//! The protocol is gotatun's. What is ours: the interface with offloading ([`tun`]), the control socket and its
//! protocol ([`control_socket`], [`uapi`]), what gotatun does otherwise than every WireGuard device ([`engine`]),
//! and what every peer has ([`table`]). It is not for deciding what the configuration is.
//!
//! Invariant: when [`run`] returns, whatever the reason, interface and socket are gone.

mod allowed;
mod change;
mod control_socket;
mod engine;
mod table;
mod tun;
mod uapi;
mod udp;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use control_socket::{Call, ControlSocket};
use engine::Engine;
use tun::Tun;
use udp::Sockets;

/// Where WireGuard's tools look for control sockets.
pub const SOCKET_DIR: &str = "/var/run/wireguard";

/// How often the engine looks after what no packet and no command makes it look after.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// The longest name that Linux gives an interface.
const LONGEST_NAME: usize = 15;

/// What a device needs to know before it exists.
#[derive(Debug, Clone)]
pub struct DeviceOptions {
    /// The name of the interface.
    pub name: String,
    /// Where the control socket goes.
    pub socket_dir: PathBuf,
}

impl DeviceOptions {
    /// A device with this interface name and the usual place for its control socket.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), socket_dir: SOCKET_DIR.into() }
    }
}

/// What the device reacts to. gotatun's own word that it cannot go on is not among it: it is said by mistake when
/// the port is opened again, and what would be right to say it ([`tun`], [`udp`]) is noticed or mended by us.
enum Event {
    Called(Call),
    Upkeep,
    InterfaceGone,
    Told,
}

/// Makes the device, calls `ready` once interface and control socket exist, and runs until the process is told to
/// end (SIGTERM, SIGINT) or the interface is deleted.
///
/// # Errors
/// A sentence on why there is no such device, or why it cannot go on.
pub async fn run(options: DeviceOptions, ready: impl FnOnce()) -> anyhow::Result<()> {
    let name = options.name;
    check_name(&name)?;
    let mut ending = Ending::new().context("cannot listen for signals")?;
    let socket = ControlSocket::claim(&options.socket_dir, &name)?;
    let mut tun = Tun::create(&name)?;
    let mut engine = Engine::start(Sockets::new(), tun.ends())
        .await
        .with_context(|| format!("cannot start the device {name}"))?;
    let mut calls = socket.serve().with_context(|| format!("cannot open the control socket of {name}"))?;
    tracing::info!(interface = %name, "the userspace WireGuard device is ready");
    ready();

    let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
    upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            call = calls.next() => Event::Called(call),
            _ = upkeep.tick() => Event::Upkeep,
            () = tun.gone() => Event::InterfaceGone,
            () = ending.told() => Event::Told,
        };
        match event {
            Event::Called(call) => {
                let answer = engine.answer(call.request()).await;
                call.answer(answer);
            }
            Event::Upkeep => engine.upkeep().await,
            Event::InterfaceGone | Event::Told => break,
        }
    }
    drop(calls);
    engine.stop().await;
    tracing::info!(interface = %name, "the userspace WireGuard device has ended");
    Ok(())
}

fn check_name(name: &str) -> anyhow::Result<()> {
    ensure!(
        (1..=LONGEST_NAME).contains(&name.len()),
        "the interface name {name:?} must have 1 to {LONGEST_NAME} characters"
    );
    if name == "." || name == ".." || !name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b'%') {
        bail!("the interface name {name:?} may only have letters, digits and signs other than / and %");
    }
    Ok(())
}

/// The signals that tell a process to end. A hang-up is heard and not heeded.
struct Ending {
    terminate: Signal,
    interrupt: Signal,
    _hang_up: Signal,
}

impl Ending {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_paths_or_too_long_are_refused() {
        for bad in ["", "a/b", "..", "0123456789abcdef", "a b", "a%d"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        check_name("netloom0").unwrap();
    }
}
