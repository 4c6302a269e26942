//! Keeps the files from which a broker reads its accounts: written whole, and only where they changed.
//!
//! Not for what is in them. It keeps true that nobody reads half a file, that no password stands in one, and that many changes
//! in a short time are one.

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use data_encoding::HEXLOWER;
use model::HostId;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::sync::{Notify, watch};

use super::{Guests, UNCERTAIN, fingerprint, mosquitto, nats};
use crate::broker::settings::{AccountSettings, ExternalSettings, FileSettings, Secret};
use crate::identity::random;

/// Changes are gathered for so long.
const GATHER: Duration = Duration::from_millis(200);
/// What could not be written is tried again after this.
const AGAIN: Duration = Duration::from_secs(10);

/// For Mosquitto's listener for servers, where client ids are bound to nobody: no host may log in there.
const SERVER_ONLY: &str = "mosquitto-server-password";
/// The file with the salt of the server's own password.
const SALT: &str = "netloom-salt";

/// Whose files they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
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

    /// The file in which accounts stand.
    const fn file(self) -> &'static str {
        match self {
            Self::Mosquitto => "mosquitto-passwords",
            Self::Nats => "nats-users.conf",
        }
    }
}

/// The keeper of the files.
#[derive(Clone)]
pub(in super::super) struct Files {
    kind: Kind,
    settings: FileSettings,
    user: String,
    password: Secret,
}

/// What was done before.
#[derive(Default)]
struct Made {
    /// The fingerprint of each host's password, and the line that was made of it: costly, so it is kept.
    lines: HashMap<HostId, (String, String)>,
    /// The server's own.
    own: Option<String>,
    /// The broker was not told yet that there is something new.
    unread: bool,
}

impl Files {
    /// Of these settings, where they want files.
    pub(in super::super) fn of(settings: &ExternalSettings) -> Option<Self> {
        let ExternalSettings { user, password, accounts, .. } = settings;
        let (kind, files) = match accounts {
            AccountSettings::MosquittoFiles(files) => (Kind::Mosquitto, files),
            AccountSettings::NatsFile(files) => (Kind::Nats, files),
            AccountSettings::Dynsec | AccountSettings::Http(_) | AccountSettings::None => return None,
        };
        Some(Self { kind, settings: files.clone(), user: user.clone(), password: password.clone() })
    }

    /// The file in which accounts stand.
    pub(in super::super) fn path(&self) -> PathBuf {
        self.settings.folder.join(self.kind.file())
    }

    /// Whether the account of the server itself stands there, with the password that it has now.
    pub(in super::super) fn knows_us(&self) -> bool {
        let there = fs::read_to_string(self.path());
        let knows = |text: String| self.own().is_ok_and(|own| text.contains(&own));
        self.settings.folder.join(SALT).exists() && there.is_ok_and(knows)
    }

    /// Whether there is a process that would be told to read them again; also where nobody is to be told.
    pub(in super::super) fn have_a_reader(&self) -> Result<bool> {
        self.tell(test_kill_process)
    }

    /// Writes them at once and whenever hosts changed, for as long as this server leads and is certain which hosts there are.
    pub(in super::super) async fn keep(
        self,
        guests: Arc<dyn Guests>,
        changed: Arc<Notify>,
        mut leads: watch::Receiver<bool>,
    ) {
        let mut made = Made::default();
        let files = Arc::new(self);
        while leads.wait_for(|leads| *leads).await.is_ok() {
            if !guests.learn().await {
                tokio::time::sleep(UNCERTAIN).await;
                continue;
            }
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
        let own = match &made.own {
            Some(own) => own.clone(),
            None => made.own.insert(self.own()?).clone(),
        };
        made.unread |= match self.kind {
            Kind::Mosquitto => {
                let texts = [
                    (SERVER_ONLY, own.clone()),
                    (self.kind.file(), own + &lines.concat()),
                    ("mosquitto-rights", mosquitto::rights(&self.user)),
                ];
                let mut is_new = false;
                for (name, text) in texts {
                    is_new |= self.put(name, &text)?;
                }
                is_new
            }
            Kind::Nats => {
                let users = std::iter::once(own.as_str()).chain(lines.iter().map(String::as_str));
                self.put(self.kind.file(), &nats::file(users))?
            }
        };
        if made.unread {
            self.have_read()?;
        }
        made.unread = false;
        Ok(())
    }

    fn own(&self) -> Result<String> {
        let (password, salt) = (self.password.expose(), self.salt()?);
        match self.kind {
            Kind::Mosquitto => Ok(mosquitto::server(&self.user, password, &salt)),
            Kind::Nats => nats::server(&self.user, password, &salt),
        }
    }

    /// Of our own password, made once. A person may have chosen that: a salt that comes from the password itself would say by one
    /// quick hash whether a guess is right.
    fn salt(&self) -> Result<[u8; 16]> {
        let file = self.settings.folder.join(SALT);
        let kept =
            fs::read_to_string(&file).ok().and_then(|text| HEXLOWER.decode(text.trim().as_bytes()).ok());
        if let Some(salt) = kept.and_then(|salt| salt.try_into().ok()) {
            return Ok(salt);
        }
        let salt = random()?;
        self.put(SALT, &format!("{}\n", HEXLOWER.encode(&salt)))?;
        Ok(salt)
    }

    fn line(&self, host: HostId, password: &str) -> Result<String> {
        match self.kind {
            Kind::Mosquitto => Ok(mosquitto::host(&host.to_string(), password)),
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

    /// A broker that does not run reads them when it starts.
    fn have_read(&self) -> Result<()> {
        self.tell(|process| kill_process(process, Signal::HUP)).map(drop)
    }

    /// Does this to the process that reads them, and says whether there is one; also where nobody is to be told.
    fn tell(&self, act: impl Fn(Pid) -> Result<(), Errno>) -> Result<bool> {
        let Some(file) = &self.settings.reload else {
            return Ok(true);
        };
        let Some(process) = process_of(file)? else {
            return Ok(false);
        };
        let name = fs::read_to_string(format!("/proc/{}/comm", process.as_raw_nonzero())).unwrap_or_default();
        match is_called(name.trim(), self.kind.program()).and_then(|()| act(process)) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(error) => Err(error).with_context(|| {
                format!(
                    "the process `{}` that {} names cannot be told to read them again; see `broker_reload`",
                    name.trim(),
                    file.display()
                )
            }),
        }
    }
}

/// The file may be an old one, and the number somebody else's by now: SIGHUP ends most programs.
fn is_called(name: &str, wanted: &str) -> Result<(), Errno> {
    match name {
        "" => Err(Errno::SRCH),
        name if name == wanted => Ok(()),
        _ => Err(Errno::INVAL),
    }
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
            assert!(files.knows_us());
            let other = Files { password: Secret::new("another".to_owned()), ..files.clone() };
            assert!(!other.knows_us(), "its account has another password");
            assert_eq!(made.lines.len(), 2);
            assert!(!files.put(name, &text).unwrap(), "written again for nothing");
            assert!(fs::read_dir(folder.path()).unwrap().count() <= 4, "drafts are left");
            let for_servers = fs::read_to_string(folder.path().join(SERVER_ONLY)).unwrap_or_default();
            assert_eq!(for_servers.lines().count(), usize::from(kind == Kind::Mosquitto));
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
        let mut files = files(Kind::Mosquitto, folder.path());
        assert!(files.have_a_reader().unwrap(), "nobody is to be told");
        files.settings.reload = Some(folder.path().join("gone"));
        files.have_read().unwrap();
        assert!(!files.have_a_reader().unwrap());
        fs::write(&file, rustix::process::getpid().as_raw_nonzero().to_string()).unwrap();
        files.settings.reload = Some(file);
        for told in [files.have_read().map(|()| true), files.have_a_reader()] {
            assert!(told.unwrap_err().to_string().contains("broker_reload"), "it would end us");
        }
    }
}
