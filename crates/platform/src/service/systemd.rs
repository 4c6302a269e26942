//! systemd: the unit's text, and calls of `systemctl`.
//!
//! Not for finding out whether systemd is there (`Supervisor::find`). It keeps true that the unit lets a device in user
//! space live on when the agent is restarted, and that only a unit with our mark is written over or removed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, bail};

use super::{Service, ServiceOptions, Status};

/// The first line of every unit of ours.
const MARK: &str = "# Installed by Netloom; `uninstall` removes it.";
/// The longest unit that is read.
const LONGEST: u64 = 64 << 10;

/// The service under systemd.
#[derive(Debug, Clone)]
pub struct Systemd {
    service: Service,
    options: ServiceOptions,
}

impl Systemd {
    pub(super) fn new(service: Service, options: ServiceOptions) -> Self {
        Self { service, options }
    }

    /// Where the unit is.
    pub fn unit_path(&self) -> PathBuf {
        self.path_of(&self.unit_name())
    }

    fn path_of(&self, unit: &str) -> PathBuf {
        self.options.root.join("etc/systemd/system").join(unit)
    }

    /// The unit of what is done before the network is there.
    fn early_name(&self) -> String {
        format!("{}-early.service", self.service.name)
    }

    fn unit_name(&self) -> String {
        format!("{}.service", self.service.name)
    }

    /// Writes the units, and lets them start with the machine. Says whether anything had to be written.
    pub fn install(&self) -> anyhow::Result<bool> {
        let units = [(self.unit_name(), self.unit()), (self.early_name(), self.early_unit())];
        let mut outdated = Vec::new();
        for (name, text) in &units {
            if self.present(name)?.as_ref() != Some(text) {
                outdated.push((self.path_of(name), text));
            }
        }
        for (path, text) in &outdated {
            write(path, text)?;
        }
        if !outdated.is_empty() {
            self.systemctl(&["daemon-reload"])?;
        }
        let [(unit, _), (early, _)] = &units;
        self.systemctl(&["enable", unit, early])?;
        Ok(!outdated.is_empty())
    }

    /// Stops the service and removes the units. Says whether there were any.
    pub fn uninstall(&self) -> anyhow::Result<bool> {
        let mut there = Vec::new();
        for name in [self.unit_name(), self.early_name()] {
            if self.present(&name)?.is_some() {
                there.push(name);
            }
        }
        if there.is_empty() {
            return Ok(false);
        }
        for name in &there {
            self.systemctl(&["disable", "--now", name])?;
            remove(&self.path_of(name))?;
        }
        self.systemctl(&["daemon-reload"])?;
        // Says no where the service never failed, which is as good.
        for name in &there {
            let _ = self.run(&["reset-failed", name]);
        }
        Ok(true)
    }

    /// Starts the service, or starts it again with the program as it is now.
    pub fn start(&self) -> anyhow::Result<()> {
        self.systemctl(&["restart", &self.unit_name()])
    }

    /// Stops the service. A device in user space lives on.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.systemctl(&["stop", &self.unit_name()])
    }

    /// How the service is.
    pub fn status(&self) -> anyhow::Result<Status> {
        let installed = self.present(&self.unit_name())?.is_some();
        let word = |verb: &str| -> anyhow::Result<String> {
            let output = self.run(&[verb, &self.unit_name()])?;
            Ok(String::from_utf8_lossy(&output.stdout).trim().chars().take(40).collect())
        };
        Ok(Status { installed, enabled: word("is-enabled")? == "enabled", state: word("is-active")? })
    }

    /// The text of our unit, if one is there. A unit that is not ours is an error.
    fn present(&self, unit: &str) -> anyhow::Result<Option<String>> {
        let path = self.path_of(unit);
        let length = match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.with_context(|| format!("could not look at {}", path.display()))?.len(),
        };
        let text = if length <= LONGEST { std::fs::read_to_string(&path) } else { Ok(String::new()) };
        let text = text.with_context(|| format!("could not read {}", path.display()))?;
        if !text.starts_with(MARK) {
            bail!("{} is not ours: move it away first, or choose another name", path.display());
        }
        Ok(Some(text))
    }

    fn systemctl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = self.run(arguments)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said: String = said.trim().chars().take(400).collect();
            bail!("`systemctl {}` failed: {said}", arguments.join(" "));
        }
        Ok(())
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let output = Command::new(&self.options.systemctl)
            .args(["--no-pager", "--no-ask-password"])
            .args(arguments)
            .output();
        output.with_context(|| format!("could not run {}", self.options.systemctl.display()))
    }

    /// The unit. What each line of the hardening leaves out is left out because the agent needs it: devices (the TUN),
    /// addresses of the netlink family, and the capability to change the network.
    fn unit(&self) -> String {
        let Service { description, arguments, writable, .. } = &self.service;
        let writable: Vec<String> = writable
            .iter()
            .map(|path| format!("ReadWritePaths={}\n", quoted(&format!("-{}", path.display()))))
            .collect();
        format!(
            "{MARK}\n\
             [Unit]\n\
             Description={}\n\
             Wants=network-online.target\n\
             After=network-online.target nss-lookup.target\n\
             StartLimitIntervalSec=0\n\
             \n\
             [Service]\n\
             Type=notify\n\
             NotifyAccess=main\n\
             ExecStart={}\n\
             Restart=always\n\
             RestartSec=2\n\
             # The userspace WireGuard device is a process of its own and carries on.\n\
             KillMode=process\n\
             \n\
             CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE\n\
             NoNewPrivileges=yes\n\
             # Not `full`, and tunables not protected: a resolv.conf may have to be written, and gateways forward packets.\n\
             ProtectSystem=yes\n\
             {}\
             ProtectHome=yes\n\
             PrivateTmp=yes\n\
             DevicePolicy=closed\n\
             DeviceAllow=/dev/net/tun rw\n\
             ProtectControlGroups=yes\n\
             ProtectKernelLogs=yes\n\
             ProtectKernelModules=yes\n\
             ProtectHostname=yes\n\
             RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n\
             RestrictNamespaces=yes\n\
             RestrictRealtime=yes\n\
             RestrictSUIDSGID=yes\n\
             LockPersonality=yes\n\
             MemoryDenyWriteExecute=yes\n\
             SystemCallArchitectures=native\n\
             \n\
             [Install]\n\
             WantedBy=multi-user.target\n",
            description.replace(['\n', '%'], " "),
            self.command(arguments),
            writable.concat(),
        )
    }

    /// The unit of what is done before the network is there: behind those who set up other firewalls, which may sweep all
    /// rules away that they did not make.
    fn early_unit(&self) -> String {
        let Service { description, early, .. } = &self.service;
        format!(
            "{MARK}\n\
             [Unit]\n\
             Description={}, before the network\n\
             DefaultDependencies=no\n\
             RequiresMountsFor=/var/lib\n\
             After=local-fs.target nftables.service iptables.service ip6tables.service ufw.service\n\
             Before=network-pre.target shutdown.target\n\
             Wants=network-pre.target\n\
             Conflicts=shutdown.target\n\
             \n\
             [Service]\n\
             Type=oneshot\n\
             ExecStart={}\n\
             CapabilityBoundingSet=CAP_NET_ADMIN\n\
             NoNewPrivileges=yes\n\
             ProtectSystem=strict\n\
             ProtectHome=yes\n\
             RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n\
             \n\
             [Install]\n\
             WantedBy=sysinit.target\n",
            description.replace(['\n', '%'], " "),
            self.command(early),
        )
    }

    fn command(&self, arguments: &[String]) -> String {
        let program = self.service.program.display().to_string();
        let words = std::iter::once(program).chain(arguments.iter().cloned());
        words.map(|word| quoted(&word)).collect::<Vec<String>>().join(" ")
    }
}

/// A word as systemd reads it (systemd.syntax(7), systemd.service(5)): in quotes where it must be, with `%` and `$`
/// meaning themselves.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let escaped: String = word
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            '%' | '$' => format!("{c}{c}"),
            '\n' => "\\n".to_owned(),
            other => other.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a file whole or not at all.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let writing = || format!("could not write {} (run as root)", path.display());
    let dir = path.parent().expect("a unit's path has a folder");
    std::fs::create_dir_all(dir).with_context(writing)?;
    let draft = path.with_extension("service.new");
    let written = std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    written.with_context(writing)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::service::Supervisor;

    /// A root with systemd running, and a `systemctl` that notes what it was asked.
    fn machine() -> (tempfile::TempDir, Systemd) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("run/systemd/system")).unwrap();
        let systemctl = root.path().join("systemctl");
        let script = "#!/bin/sh\nshift 2\necho \"$@\" >> \"$(dirname \"$0\")/asked\"\n\
                      case \"$1\" in is-enabled) echo enabled;; is-active) echo active;; esac\n";
        std::fs::write(&systemctl, script).unwrap();
        std::fs::set_permissions(&systemctl, std::fs::Permissions::from_mode(0o755)).unwrap();
        let service = Service {
            name: "netclient".into(),
            description: "Netloom agent".into(),
            program: "/opt/my tools/netclient".into(),
            arguments: vec!["daemon".into()],
            early: vec!["early".into()],
            writable: vec!["/etc/netclient".into()],
        };
        let options = ServiceOptions { root: root.path().into(), systemctl };
        let Supervisor::Systemd(systemd) = Supervisor::find(service, options) else {
            panic!("systemd is there")
        };
        (root, systemd)
    }

    fn asked(root: &Path) -> String {
        std::fs::read_to_string(root.join("asked")).unwrap_or_default()
    }

    #[test]
    fn installing_twice_installs_once_and_uninstalling_leaves_nothing() {
        let (root, systemd) = machine();
        assert!(systemd.install().unwrap());
        assert!(!systemd.install().unwrap());
        let enabled = "enable netclient.service netclient-early.service\n";
        assert_eq!(asked(root.path()), format!("daemon-reload\n{enabled}{enabled}"));
        let status = systemd.status().unwrap();
        assert_eq!(status, Status { installed: true, enabled: true, state: "active".into() });
        assert!(systemd.uninstall().unwrap());
        assert!(!systemd.uninstall().unwrap());
        assert!(!systemd.unit_path().exists());
        let disabled =
            "disable --now netclient.service\ndisable --now netclient-early.service\ndaemon-reload\n";
        assert!(asked(root.path()).contains(disabled));
        assert_eq!(std::fs::read_dir(systemd.unit_path().parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn the_unit_keeps_the_device_alive_and_takes_away_what_is_not_needed() {
        let unit = machine().1.unit();
        for line in [
            "KillMode=process",
            "Restart=always",
            "Type=notify",
            "NoNewPrivileges=yes",
            "ProtectHome=yes",
            "ExecStart=\"/opt/my tools/netclient\" daemon",
            "ReadWritePaths=-/etc/netclient",
        ] {
            assert!(unit.lines().any(|found| found == line), "{line} is missing in\n{unit}");
        }
    }

    #[test]
    fn what_shuts_a_tunnel_is_done_before_any_network_is_there() {
        let unit = machine().1.early_unit();
        for line in [
            "DefaultDependencies=no",
            "Before=network-pre.target shutdown.target",
            "Wants=network-pre.target",
            "WantedBy=sysinit.target",
            "ExecStart=\"/opt/my tools/netclient\" early",
        ] {
            assert!(unit.lines().any(|found| found == line), "{line} is missing in\n{unit}");
        }
    }

    #[test]
    fn somebody_elses_unit_is_left_alone() {
        let (root, systemd) = machine();
        std::fs::create_dir_all(systemd.unit_path().parent().unwrap()).unwrap();
        std::fs::write(systemd.unit_path(), "[Unit]\nDescription=another\n").unwrap();
        assert!(systemd.install().unwrap_err().to_string().contains("not ours"));
        assert!(systemd.uninstall().unwrap_err().to_string().contains("not ours"));
        assert_eq!(asked(root.path()), "");
        assert!(systemd.unit_path().exists());
    }

    #[test]
    fn a_refusal_of_systemctl_is_told_with_its_words() {
        let (root, systemd) = machine();
        std::fs::write(root.path().join("systemctl"), "#!/bin/sh\necho Access denied >&2\nexit 4\n").unwrap();
        let text = systemd.start().unwrap_err().to_string();
        assert!(text.contains("restart netclient.service") && text.contains("Access denied"), "{text}");
    }

    #[test]
    fn words_that_systemd_would_misread_are_quoted() {
        assert_eq!(quoted("/usr/bin/netclient"), "/usr/bin/netclient");
        assert_eq!(quoted("a \"b\" %h $x"), "\"a \\\"b\\\" %%h $$x\"");
        assert_eq!(quoted(""), "\"\"");
    }
}
