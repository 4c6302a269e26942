//! Keeps the files from which a broker reads its accounts: written whole, and only where they changed.
//!
//! Not for what is in them. It keeps true that nobody reads half a file, that no password stands in one, and that many changes
//! in a short time are one.

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use model::HostId;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{Notify, watch};

use super::{Guests, fingerprint, mosquitto, nats};
use crate::broker::settings::{FileSettings, Secret};

/// Changes are gathered for so long.
const GATHER: Duration = Duration::from_millis(200);
/// What could not be written is tried again after this.
const AGAIN: Duration = Duration::from_secs(10);

/// Whose files they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Mosquitto,
    Nats,
}

impl Kind {
    /// What its process is called.
    const fn program(self) -> &'static str {
        match self {
            Self::Mosquitto => "mosquitto",
            Self::Nats => "nats-server",
        }
    }
}

/// The keeper of the files.
pub(in super::super) struct Files {
    pub(in super::super) kind: Kind,
    pub(in super::super) settings: FileSettings,
    pub(in super::super) user: String,
    pub(in super::super) password: Secret,
}

/// What was done before.
#[derive(Default)]
struct Made {
    /// The fingerprint of each host's password, and the line that was made of it: costly, so it is kept.
    lines: HashMap<HostId, (String, String)>,
    /// The broker was not told yet that there is something new.
    unread: bool,
}

impl Files {
    /// Writes them at once and whenever hosts changed, for as long as this server leads.
    pub(in super::super) async fn keep(
        self,
        guests: Arc<dyn Guests>,
        changed: Arc<Notify>,
        mut leads: watch::Receiver<bool>,
    ) {
        let mut made = Made::default();
        let files = Arc::new(self);
        while leads.wait_for(|leads| *leads).await.is_ok() {
            let (this, hosts) = (Arc::clone(&files), Arc::clone(&guests));
            let work = tokio::task::spawn_blocking(move || {
                let written = this.write(&mut made, &*hosts);
                (made, written)
            });
            let Ok((kept, written)) = work.await else {
                tracing::error!("writing the broker's accounts broke; they are not kept any longer");
                return;
            };
            made = kept;
            match written {
                Ok(()) => {
                    tokio::select! {
                        () = changed.notified() => tokio::time::sleep(GATHER).await,
                        // Not leading any more, or leading again, when somebody else may have written.
                        Ok(()) = leads.changed() => {}
                    }
                }
                Err(error) => {
                    tracing::error!(
                        "the broker's accounts were not written, which is tried again: {error:#}"
                    );
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    fn write(&self, made: &mut Made, guests: &dyn Guests) -> Result<()> {
        let mut hosts = guests.hosts();
        hosts.sort_unstable();
        let mut lines = Vec::with_capacity(hosts.len());
        let mut kept = HashMap::with_capacity(hosts.len());
        for host in hosts {
            let Some(password) = guests.password(host) else { continue };
            let print = fingerprint(&password);
            let line = match made.lines.remove(&host) {
                Some((of, line)) if of == print => line,
                Some(_) | None => self.line(host, &password)?,
            };
            lines.push(line.clone());
            kept.insert(host, (print, line));
        }
        made.lines = kept;
        made.unread |= match self.kind {
            Kind::Mosquitto => {
                let own = format!("{}\n", mosquitto::password_line(&self.user, self.password.expose()));
                let passwords = self.put("mosquitto-passwords", &(own + &lines.concat()))?;
                self.put("mosquitto-rights", &mosquitto::rights(&self.user))? || passwords
            }
            Kind::Nats => {
                let own = nats::server(&self.user, self.password.expose())?;
                let users = std::iter::once(own.as_str()).chain(lines.iter().map(String::as_str));
                self.put("nats-users.conf", &nats::file(users))?
            }
        };
        if made.unread {
            self.have_read()?;
        }
        made.unread = false;
        Ok(())
    }

    fn line(&self, host: HostId, password: &str) -> Result<String> {
        match self.kind {
            Kind::Mosquitto => Ok(format!("{}\n", mosquitto::password_line(&host.to_string(), password))),
            Kind::Nats => nats::host(host, password),
        }
    }

    /// Whether it had to be written.
    fn put(&self, name: &str, text: &str) -> Result<bool> {
        let path = self.settings.folder.join(name);
        if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(false);
        }
        let write = || -> std::io::Result<()> {
            let draft = self.settings.folder.join(format!(".{name}.new"));
            // The broker is another user; it reads by its group, which the folder hands down.
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &path)
        };
        write().with_context(|| format!("cannot write {}; see `broker_accounts_folder`", path.display()))?;
        Ok(true)
    }

    fn have_read(&self) -> Result<()> {
        let Some(file) = &self.settings.reload else {
            return Ok(());
        };
        let Some(process) = process_of(file)? else {
            return Ok(());
        };
        let name = fs::read_to_string(format!("/proc/{}/comm", process.as_raw_nonzero())).unwrap_or_default();
        match kill_process_of(process, name.trim(), self.kind.program()) {
            // It reads them when it starts.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| {
                format!(
                    "the process `{}` that {} names was not told to read them again; see `broker_reload`",
                    name.trim(),
                    file.display()
                )
            }),
        }
    }
}

/// The file may be an old one, and the number somebody else's by now: SIGHUP ends most programs.
fn kill_process_of(process: Pid, name: &str, wanted: &str) -> Result<(), Errno> {
    if !name.is_empty() && name != wanted {
        return Err(Errno::INVAL);
    }
    kill_process(process, Signal::HUP)
}

fn process_of(file: &Path) -> Result<Option<Pid>> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    match text.trim().parse().ok().filter(|number| *number > 0).and_then(Pid::from_raw) {
        Some(process) => Ok(Some(process)),
        None => bail!("{} holds no number of a process; see `broker_reload`", file.display()),
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    struct Two;

    impl Guests for Two {
        fn hosts(&self) -> Vec<HostId> {
            [2, 1].map(|number| HostId::from_bytes([number; 16])).to_vec()
        }

        fn is_known(&self, host: HostId) -> bool {
            self.hosts().contains(&host)
        }

        fn password(&self, host: HostId) -> Option<Zeroizing<String>> {
            Some(Zeroizing::new(format!("secret-of-{host}")))
        }
    }

    fn files(kind: Kind, folder: &Path) -> Files {
        let settings = FileSettings { folder: folder.to_owned(), reload: None };
        Files { kind, settings, user: "netloom".to_owned(), password: Secret::new("own-secret".to_owned()) }
    }

    #[test]
    fn files_hold_every_host_and_no_password_and_are_written_only_where_they_changed() {
        for (kind, name) in [(Kind::Mosquitto, "mosquitto-passwords"), (Kind::Nats, "nats-users.conf")] {
            let folder = tempfile::tempdir().unwrap();
            let files = files(kind, folder.path());
            let mut made = Made::default();
            files.write(&mut made, &Two).unwrap();
            let text = fs::read_to_string(folder.path().join(name)).unwrap();
            for host in Two.hosts() {
                assert!(text.contains(&host.to_string()), "{text}");
            }
            assert!(text.contains("netloom") && !text.contains("secret"), "{text}");
            assert_eq!(made.lines.len(), 2);
            assert!(!files.put(name, &text).unwrap(), "written again for nothing");
            assert!(fs::read_dir(folder.path()).unwrap().count() <= 2, "drafts are left");
        }
    }

    #[test]
    fn a_broker_that_does_not_run_reads_its_files_when_it_starts_and_a_wrong_pid_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        assert_eq!(process_of(&file).unwrap(), None);
        for text in ["", "x", "0", "-5"] {
            fs::write(&file, text).unwrap();
            assert!(process_of(&file).unwrap_err().to_string().contains("broker_reload"), "{text}");
        }
        fs::write(&file, "12\n").unwrap();
        assert_eq!(process_of(&file).unwrap(), Pid::from_raw(12));
        let ourselves = rustix::process::getpid();
        assert_eq!(kill_process_of(ourselves, "a-test", "mosquitto"), Err(Errno::INVAL), "it would end us");
    }
}
