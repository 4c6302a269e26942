//! A house: the real server in a machine of the lab, an administrator who uses the real `netloom`, and machines that the
//! real `netclient` joins to networks. What the mesh's tests and the demo are built from.
//!
//! Not for simulated agents (that is `fleet`), not for what the programs decide. It keeps true that one process has one
//! house at a time, because its tests measure time, and that a test which fails shows what server and agents said.
//!
//! ```text
//!             ┌ server 203.0.113.1 ─┐      ┌ public hosts 203.0.113.11 …
//!   internet ═╩═════════════════════╩══════╩═══════════╦═══════════════════ (203.0.113.0/24, 2001:db8::/64)
//!                                                     NAT 203.0.113.101 …
//!                                        home ═══╦══════╩═══╦═══ (192.168.1.0/24, fd00:1::/64)
//! ```

mod administrator;
mod desk;
mod foreign;
mod home;
mod host;
mod look;
mod server;
mod site;
mod time;
mod wire_guard;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::lab::{Lab, NatKind, Switch};

pub use administrator::{Administrator, KeyPlan};
pub use desk::Desk;
pub use foreign::{APP, Foreign, KeyPair, dig};
pub use home::Home;
pub use host::{Host, INTERFACE};
pub use look::{InterfaceLook, Look, NetworkLook, PeerLook, PeerNetworkLook};
pub use server::Server;
pub use site::Site;
pub use time::{SLOWNESS, patience};
pub use wire_guard::WgPeer;

/// The network that [`House::with_network`] makes.
pub const NETWORK: &str = "home";

static ALONE: Mutex<()> = Mutex::new(());

/// Waits until no test of this process measures time any more; none does while the answer lives.
pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Server, administrator and a place to put machines. Dropping it ends everything.
#[derive(Debug)]
pub struct House {
    server: Server,
    internet: Switch,
    numbers: AtomicU8,
    lab: Lab,
    _alone: MutexGuard<'static, ()>,
}

impl House {
    /// A house with a server that runs and has an administrator; no network yet.
    pub fn new(name: &str) -> Result<Self> {
        Self::with_settings(name, &[])
    }

    /// The same, with environment variables for the server.
    pub fn with_settings(name: &str, settings: &[(&'static str, &'static str)]) -> Result<Self> {
        Self::build(name, server::URL, settings)
    }

    /// The same, with a server that is known by this address: one of its own, or a name that its own machine knows.
    pub fn with_server_at(name: &str, url: &'static str) -> Result<Self> {
        Self::build(name, url, &[])
    }

    fn build(name: &str, url: &'static str, settings: &[(&'static str, &'static str)]) -> Result<Self> {
        let alone = alone();
        let lab = Lab::new(name)?;
        let internet = lab.switch()?;
        let server = Server::start(lab.machine("server")?, &internet, url, settings)
            .context("cannot start the server")?;
        let house = Self { server, internet, numbers: AtomicU8::new(1), lab, _alone: alone };
        house.administrator().set_up().context("cannot set up the server")?;
        Ok(house)
    }

    /// The same with one network ([`NETWORK`]) that has an IPv4 and an IPv6 range, and a token that lets in any number.
    pub fn with_network(name: &str) -> Result<(Self, String)> {
        let house = Self::new(name)?;
        let token = house.first_network()?;
        Ok((house, token))
    }

    /// Makes the network [`NETWORK`] and a token for it.
    pub fn first_network(&self) -> Result<String> {
        let administrator = self.administrator();
        administrator.create_network(NETWORK, "10.20.0.0/16", "fd20::/64")?;
        administrator.token(&KeyPlan::into_network(NETWORK))
    }

    /// The lab below.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Who administers it.
    pub fn administrator(&self) -> Administrator<'_> {
        Administrator::of(&self.server)
    }

    /// The administrators' API as any program speaks it, about the network [`NETWORK`].
    pub fn desk(&self) -> Result<Desk<'_>> {
        Desk::open(&self.administrator(), &self.server, NETWORK)
    }

    /// The switch that stands for the internet.
    pub fn internet(&self) -> &Switch {
        &self.internet
    }

    /// A LAN with a NAT box between it and the internet.
    pub fn home(&self, name: &str, kind: NatKind) -> Result<Home> {
        Home::create(&self.lab, name, kind, &self.internet, self.next())
    }

    /// A machine with a public address of each family; its agent runs and has joined nothing.
    pub fn public(&self, name: &str) -> Result<Host> {
        self.public_machine(name)?.with_agent()
    }

    /// The same without an agent.
    pub fn public_machine(&self, name: &str) -> Result<Host> {
        let number = 10 + self.next();
        let addresses = [format!("203.0.113.{number}/24"), format!("2001:db8::{number}/64")];
        let addresses = addresses.each_ref().map(String::as_str);
        Host::create(self.lab.machine(name)?, &self.internet, &addresses, &[])
    }

    /// A machine with a public address of IPv6 alone; its agent runs and has joined nothing.
    pub fn public_by_ipv6(&self, name: &str) -> Result<Host> {
        let address = format!("2001:db8::{}/64", 10 + self.next());
        Host::create(self.lab.machine(name)?, &self.internet, &[&address], &[])?.with_agent()
    }

    /// A machine behind a NAT; its agent runs and has joined nothing.
    pub fn behind(&self, home: &Home, name: &str) -> Result<Host> {
        self.machine_behind(home, name)?.with_agent()
    }

    /// The same without an agent.
    pub fn machine_behind(&self, home: &Home, name: &str) -> Result<Host> {
        home.machine(self.lab.machine(name)?)
    }

    /// A machine with a public address of each family that has plain WireGuard and nothing of ours.
    pub fn foreign(&self, name: &str) -> Result<Foreign> {
        let number = 10 + self.next();
        let addresses = [format!("203.0.113.{number}/24"), format!("2001:db8::{number}/64")];
        let addresses = addresses.each_ref().map(String::as_str);
        Foreign::create(self.lab.machine(name)?, &self.internet, &addresses, &[])
    }

    /// The same behind a NAT.
    pub fn foreign_behind(&self, home: &Home, name: &str) -> Result<Foreign> {
        let [addresses, gateways] = home.addressing();
        let [addresses, gateways] =
            [&addresses, &gateways].map(|list| list.iter().map(String::as_str).collect::<Vec<_>>());
        Foreign::create(self.lab.machine(name)?, home.lan(), &addresses, &gateways)
    }

    /// A LAN of machines that know nothing of Netloom.
    pub fn site(&self, v4: &str, v6: &str) -> Result<Site> {
        Site::create(&self.lab, v4, v6)
    }

    fn next(&self) -> u8 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for House {
    #[expect(clippy::print_stderr, reason = "a test that fails must show what the server knew")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hosts = self.administrator().run(["host", "list"]);
            eprintln!(
                "--- the server's hosts\n{}",
                hosts.map_or_else(|error| format!("{error:#}"), |o| o.stdout)
            );
        }
    }
}

/// Waits until every host reaches every other one at each of its addresses.
pub fn all_reach_all(hosts: &[&Host], limit: Duration) -> Result<()> {
    let deadline = std::time::Instant::now() + limit;
    std::thread::scope(|scope| {
        let reach = |from: &&Host| {
            let others = hosts.iter().filter(|to| to.name() != from.name());
            others.copied().try_for_each(|to| from.reaches(to, deadline))
        };
        let threads: Vec<_> = hosts.iter().map(|from| scope.spawn(move || reach(from))).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}
