//! One machine of the lab: namespaces of its own, folders of its own, and ways to run programs in it.
//!
//! Not for the network between machines. Keeps true that a machine keeps `/etc`, `/var/lib` and its cables across a
//! reboot and nothing else, and that no program in it can change the machine the lab runs on.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::base::{Base, feed};
use super::holder::Holder;
use super::link::{Link, Switch};
use super::ping::Pinger;
use super::process::{self, Daemon, Output};
use super::requirements::Privilege;
use super::state::MachineState;

const SCRIPT: &str = include_str!("machine.sh");
const SNAPSHOT: &str = include_str!("snapshot.sh");
const RUN_LIMIT: Duration = Duration::from_secs(60);
const ALL_SPACES: [&str; 5] = ["--mount", "--uts", "--ipc", "--net", "--pid"];
/// Folders of the host's `/etc` that programs need and that are shown read-only in every machine.
const SHOWN: [&str; 6] = ["alternatives", "ca-certificates", "iproute2", "ld.so.conf.d", "pki", "ssl"];
/// Files of the host's `/etc` that every machine gets a copy of.
const COPIED: [&str; 6] = ["gai.conf", "ld.so.cache", "ld.so.conf", "os-release", "protocols", "services"];
/// What each machine has for itself; the script covers the host's folders with these.
const OWN: [&str; 9] =
    ["etc", "run", "tmp", "var/lib", "var/log", "var/tmp", "usr/local/bin", "usr/local/sbin", "opt"];
const HOME: &str = "/var/lib/root";

/// A machine of the lab. Clones mean the same machine.
#[derive(Debug, Clone)]
pub struct Machine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    name: String,
    base: Arc<Base>,
    folder: PathBuf,
    /// Folders of the host that are shown although they lie in what the machine has for itself.
    shown: Vec<PathBuf>,
    /// `None` while the machine is switched off.
    holder: Mutex<Option<Holder>>,
    links: Mutex<Vec<Link>>,
}

impl Inner {
    fn holder(&self) -> MutexGuard<'_, Option<Holder>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn links(&self) -> MutexGuard<'_, Vec<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, spaces: &[&str]) -> Result<Command> {
        let holder = self.holder();
        let holder = holder.as_ref().with_context(|| format!("the machine {} is switched off", self.name))?;
        Ok(holder.enter(spaces))
    }

    /// Runs lines of `ip` on this machine's network.
    pub(crate) fn ip(&self, batch: &str) -> Result<()> {
        feed(self.enter(&["--net"])?.args(["ip", "-batch", "-"]), batch)
            .with_context(|| format!("cannot set up the network of {}", self.name))
    }

    fn boot(&self) -> Result<()> {
        let mut command = self.base.enter(&["--pid"])?;
        command.args([
            "unshare",
            "--net",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child",
            "--",
        ]);
        command.args(["bash", "-c", SCRIPT, "machine"]).arg(&self.folder);
        command.args([&self.name, self.base.privilege.word()]);
        command.arg("etc").args(SHOWN.iter().filter(|name| Path::new("/etc").join(name).is_dir()));
        command.arg("bind").args(&self.shown).current_dir("/");
        let holder = Holder::start(command, self.base.privilege)
            .with_context(|| format!("cannot start the machine {}", self.name))?;
        let pid = holder.pid();
        *self.holder() = Some(holder);
        self.links().iter().try_for_each(|link| link.plug(pid, &|batch| self.ip(batch)))
    }

    fn power_off(&self) -> Result<()> {
        let Some(mut holder) = self.holder().take() else {
            return Ok(());
        };
        let unplugged = self.links().iter().try_for_each(Link::unplug);
        holder.stop();
        unplugged
    }
}

impl Machine {
    pub(crate) fn create(base: &Arc<Base>, name: &str, shown: Vec<PathBuf>) -> Result<Self> {
        let plain = !name.is_empty() && name.len() <= 32;
        ensure!(
            plain
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
            "`{name}` cannot name a machine: use up to 32 lower-case letters, digits and hyphens"
        );
        let folder = base.machine_folder(name);
        if folder.exists() {
            bail!("the lab already has a machine named {name}");
        }
        furnish(&folder, name).with_context(|| format!("cannot make the files of the machine {name}"))?;
        let inner = Inner {
            name: name.to_owned(),
            base: Arc::clone(base),
            folder,
            shown,
            holder: Mutex::new(None),
            links: Mutex::new(Vec::new()),
        };
        inner.boot()?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The machine's name, which is also its host name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.inner)
    }

    /// Plugs a new interface into a switch: `eth0` for the first, `eth1` for the next.
    pub fn attach(&self, switch: &Switch, addresses: &[&str], gateways: &[&str]) -> Result<Link> {
        let interface = format!("eth{}", self.inner.links().len());
        self.attach_as(&interface, switch, addresses, gateways)
    }

    /// Plugs a new interface of this name into a switch.
    pub fn attach_as(
        &self,
        interface: &str,
        switch: &Switch,
        addresses: &[&str],
        gateways: &[&str],
    ) -> Result<Link> {
        let link = Link::new(&self.inner.base, self, interface, switch, addresses, gateways)?;
        let pid = self.inner.holder().as_ref().map(Holder::pid);
        if let Some(pid) = pid {
            link.plug(pid, &|batch| self.inner.ip(batch))?;
        }
        self.inner.links().push(link.clone());
        Ok(link)
    }

    /// A program of this machine, run as its root in an empty environment; add arguments and run it as you like.
    /// Signals for the child that `spawn` gives hit the `nsenter` in front of the program: see [`Machine::spawn`].
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let mut command = self.inner.enter(&ALL_SPACES)?;
        command.env("HOME", HOME).env("USER", "root").env("LOGNAME", "root").current_dir("/");
        if let Some(backtrace) = std::env::var_os("RUST_BACKTRACE") {
            command.env("RUST_BACKTRACE", backtrace);
        }
        command.stdin(Stdio::null()).arg(program);
        Ok(command)
    }

    /// The same for a user without any rights: not root, no capabilities.
    pub fn command_as_nobody(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let mut command = match self.inner.base.privilege {
            Privilege::Root => {
                let mut command = self.command("setpriv")?;
                command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"]);
                command
            }
            Privilege::User => {
                let mut command = self.command("unshare")?;
                command.args(["--user", "--map-user=65534", "--map-group=65534"]);
                command
            }
        };
        command.env("HOME", "/nonexistent").env("USER", "nobody").env("LOGNAME", "nobody");
        command.arg("--").arg(program);
        Ok(command)
    }

    /// Runs a program to its end, for at most a minute; its failure is an error that shows all it said.
    pub fn run<A: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Output> {
        self.attempt(program, arguments)?.success().with_context(|| format!("on {}", self.name()))
    }

    /// Runs a program to its end, for at most a minute, however it ends.
    pub fn attempt<A: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Output> {
        self.finish(self.command(program)?.args(arguments), RUN_LIMIT)
    }

    /// Runs a command made by [`Machine::command`] to its end, for at most `limit`.
    pub fn finish(&self, command: &mut Command, limit: Duration) -> Result<Output> {
        process::run(command, limit).with_context(|| format!("on {}", self.name()))
    }

    /// Starts a command made by [`Machine::command`] that runs on; what it says goes to the log of this name.
    pub fn spawn(&self, log: &str, command: &mut Command) -> Result<Daemon> {
        let folder = self.inner.folder.join("logs");
        std::fs::create_dir_all(&folder).context("cannot make the folder for logs")?;
        Daemon::start(command, folder.join(format!("{}-{log}.log", self.name())))
            .with_context(|| format!("on {}", self.name()))
    }

    /// The content of a file of this machine.
    pub fn read(&self, path: &str) -> Result<String> {
        Ok(self.run("cat", ["--", path])?.stdout)
    }

    /// Writes a file of this machine, and the folders above it.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        let script = r#"mkdir -p -- "$(dirname -- "$1")" && cat > "$1""#;
        feed(self.command("sh")?.args(["-c", script, "write", path]), content)
            .with_context(|| format!("cannot write {path} on {}", self.name()))
    }

    /// Whether this machine has such a file or folder.
    pub fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.attempt("test", ["-e", path])?.status.success())
    }

    /// The index of a network interface, or `None` if there is no such interface.
    pub fn interface_index(&self, interface: &str) -> Result<Option<u32>> {
        let output = self.attempt("ip", ["-json", "link", "show", "dev", interface])?;
        if !output.status.success() {
            return Ok(None);
        }
        let links: Vec<serde_json::Value> =
            serde_json::from_str(&output.stdout).context("ip gave no JSON")?;
        let index = links.first().and_then(|link| link["ifindex"].as_u64()).context("ip told no index")?;
        Ok(Some(u32::try_from(index).context("the index is out of range")?))
    }

    /// Sends pings to an address until one is answered, for at most five seconds.
    pub fn ping(&self, address: IpAddr) -> Result<()> {
        self.run("ping", ["-n", "-c", "1", "-i", "0.2", "-w", "5", &address.to_string()]).map(drop)
    }

    /// Fails if a ping is answered within a second.
    pub fn cannot_ping(&self, address: IpAddr) -> Result<()> {
        let output = self.attempt("ping", ["-n", "-c", "3", "-i", "0.2", "-w", "1", &address.to_string()])?;
        ensure!(!output.status.success(), "{} reaches {address}, which it must not", self.name());
        Ok(())
    }

    /// Pings an address 100 times a second until told to stop.
    pub fn pinger(&self, address: IpAddr) -> Result<Pinger> {
        Pinger::start(self, address)
    }

    /// The same, one ping in this time.
    pub fn slow_pinger(&self, address: IpAddr, pause: Duration) -> Result<Pinger> {
        Pinger::start_slow(self, address, pause)
    }

    /// What programs could have changed on this machine, to be compared with a later look.
    pub fn snapshot(&self) -> Result<MachineState> {
        let output = self.run("bash", ["-c", SNAPSHOT, "snapshot"].iter().chain(&SHOWN))?;
        MachineState::parse(&output.stdout)
            .with_context(|| format!("cannot understand the state of {}", self.name()))
    }

    /// Switches the machine off as pulling the plug does: every program is killed, interfaces and `/run` are gone.
    pub fn power_off(&self) -> Result<()> {
        self.inner.power_off()
    }

    /// Switches the machine on again: with its files, its cables and their addresses, and nothing running.
    pub fn power_on(&self) -> Result<()> {
        ensure!(self.inner.holder().is_none(), "the machine {} is already running", self.name());
        self.inner.boot()
    }

    /// Off and on again.
    pub fn reboot(&self) -> Result<()> {
        self.power_off()?;
        self.power_on()
    }

    /// Makes the file system below a folder full, with what the folder holds still there.
    pub fn fill_disk(&self, folder: &str) -> Result<()> {
        let script = r#"set -e; mkdir -p "$1"; full=$(mktemp -d /run/full.XXXXXX)
            mount -t tmpfs -o mode=755,size=8m full "$full"; cp -a "$1/." "$full/"
            cat /dev/zero > "$full/ballast" 2> /dev/null || true
            mount --move "$full" "$1"; rmdir "$full""#;
        self.run("sh", ["-c", script, "fill", folder]).map(drop)
    }

    /// Undoes [`Machine::fill_disk`]; what was written meanwhile is lost.
    pub fn free_disk(&self, folder: &str) -> Result<()> {
        self.run("umount", [folder]).map(drop)
    }
}

/// Makes the files that a machine starts with.
fn furnish(folder: &Path, name: &str) -> Result<()> {
    let root = folder.join("root");
    for own in OWN {
        std::fs::create_dir_all(root.join(own))?;
    }
    std::fs::create_dir_all(root.join(HOME.trim_start_matches('/')))?;
    let etc = root.join("etc");
    for copied in COPIED {
        let from = Path::new("/etc").join(copied);
        if from.is_file() {
            std::fs::copy(&from, etc.join(copied))
                .with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot get a random number")?;
    let files = [
        ("hostname", format!("{name}\n")),
        ("hosts", format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {name}\n")),
        ("machine-id", id.replace('-', "")),
        ("resolv.conf", "# This machine of the lab has no name server.\n".to_owned()),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
        (
            "passwd",
            format!(
                "root:x:0:0:root:{HOME}:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
            ),
        ),
        ("group", "root:x:0:\nnogroup:x:65534:\n".to_owned()),
    ];
    for (file, content) in files {
        std::fs::write(etc.join(file), content).with_context(|| format!("cannot write /etc/{file}"))?;
    }
    Ok(())
}
