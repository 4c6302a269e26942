//! The machine's resolver: telling it of us in the way this machine uses, taking that back, and saying whom it asked before.
//!
//! Not for what it is told (`reconcile::Resolver`), nor for answering questions. It keeps true that leaving puts everything
//! back, after a crash too: which way was used is noted before it is used, and a way that was used before and no longer is
//! is taken back first.

mod entry;
mod file;
mod note;
mod pace;
mod resolvconf;
mod resolved;
mod text;
mod watch;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use reconcile::{LinkName, Resolver, ResolverChoice, ResolverWay};
use rustix::net::{AddressFamily, SocketType, netdevice, socket};

use file::ResolvConf;
use note::{Note, Noted};
use resolvconf::Resolvconf;
use resolved::Resolved;
use text::Conf;
pub use watch::ResolverWatch;

use crate::{ResolverApplied, ResolverOptions, words};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where systemd-resolved names the servers it asks, ours among them.
const UPLINKS: &str = "/run/systemd/resolve/resolv.conf";

/// What the resolver knows of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolverLook {
    /// What is wanted.
    Set,
    /// Something else, or its file changed beneath it.
    Different,
    /// Nothing.
    Unset,
}

/// The hands.
#[derive(Debug)]
pub struct ResolverHands {
    link: LinkName,
    choice: ResolverChoice,
    way: Way,
    file: ResolvConf,
    note: Note,
}

#[derive(Debug)]
enum Way {
    Resolved,
    Resolvconf(Resolvconf),
    File,
}

impl ResolverHands {
    /// Finds out which way this machine's resolver is told, and changes nothing.
    pub async fn detect(options: ResolverOptions) -> anyhow::Result<Self> {
        let ResolverOptions { link, state, choice } = options;
        let file = ResolvConf::new(Path::new(RESOLV_CONF), &state);
        let way = find(choice, &link, &file).await?;
        Ok(Self { link, choice, way, file, note: Note::new(&state) })
    }

    /// Finds out again, since a machine may change its ways while we run. Says whether it has; the next `apply` moves over.
    pub async fn detect_again(&mut self) -> anyhow::Result<bool> {
        let way = find(self.choice, &self.link, &self.file).await?;
        let is_same = match (&self.way, &way) {
            (Way::Resolvconf(known), Way::Resolvconf(found)) => known.record() == found.record(),
            (Way::Resolved, Way::Resolved) | (Way::File, Way::File) => true,
            (Way::Resolved | Way::Resolvconf(_) | Way::File, _) => false,
        };
        // What stays the same keeps its pace.
        if !is_same {
            self.way = way;
        }
        Ok(!is_same)
    }

    /// The way; none if the resolver is to be left alone.
    pub fn way(&self) -> Option<ResolverWay> {
        match (self.choice, &self.way) {
            (ResolverChoice::Off, _) => None,
            (_, Way::Resolved) => Some(ResolverWay::Resolved),
            (_, Way::Resolvconf(_)) => Some(ResolverWay::Resolvconf),
            (_, Way::File) => Some(ResolverWay::File),
        }
    }

    /// Tells the resolver, if it has not been told. Nothing to tell takes back what it was told.
    pub async fn apply(&mut self, wanted: &Resolver) -> anyhow::Result<ResolverApplied> {
        if wanted.is_empty() || self.choice == ResolverChoice::Off {
            let had = self.restore().await?;
            return Ok(if had { ResolverApplied::Changed } else { ResolverApplied::Already });
        }
        let noted = self.note.read()?;
        let now = self.noted(wanted);
        if let Some(before) = &noted
            && !before.is_same_way(&now)
        {
            self.take_back(before).await?;
        }
        // Before anything is changed, so that it is taken back whatever happens.
        self.note.write(&now.before_it_is_set(noted.as_ref()))?;
        let marked = noted.as_ref().and_then(Noted::mark);
        let applied = match &mut self.way {
            Way::Resolved => resolved().await?.apply(&self.link, wanted).await?,
            Way::Resolvconf(resolvconf) => resolvconf.apply(wanted, marked, &self.file).await?,
            Way::File => self.file.apply(wanted, Instant::now())?,
        };
        self.note.write(&now)?;
        Ok(applied)
    }

    /// What the resolver knows of us now.
    pub async fn look(&self, wanted: &Resolver) -> anyhow::Result<ResolverLook> {
        match &self.way {
            Way::Resolved => resolved().await?.look(&self.link, wanted).await,
            Way::Resolvconf(resolvconf) => {
                let noted = self.note.read()?;
                resolvconf.look(wanted, noted.as_ref().and_then(Noted::mark), &self.file).await
            }
            Way::File => self.file.look(wanted),
        }
    }

    /// Takes back all that was told, in whatever way. Says whether there was anything.
    pub async fn restore(&mut self) -> anyhow::Result<bool> {
        let noted = self.note.read()?;
        if let Some(noted) = &noted {
            self.take_back(noted).await?;
        }
        // Also where the note is lost.
        let restored = self.file.restore()?;
        self.note.remove()?;
        Ok(restored || noted.is_some())
    }

    /// The name servers that this machine asks without us; never one of `own`.
    pub async fn upstreams(&self, own: &[IpAddr]) -> anyhow::Result<Vec<SocketAddr>> {
        let mut servers = match &self.way {
            Way::Resolved => return resolved().await?.upstreams(&self.link, own).await,
            Way::Resolvconf(resolvconf) => in_text(&resolvconf.others().await?)?,
            Way::File => Vec::new(),
        };
        if servers.is_empty() {
            servers = self.in_file()?;
        }
        servers.retain(|server| !own.contains(&server.ip()));
        if servers.iter().any(|server| !server.ip().is_loopback()) {
            // A name server of this machine may ask us in turn.
            servers.retain(|server| !server.ip().is_loopback());
        }
        Ok(servers)
    }

    /// A watch for all that may change what `look` and `upstreams` say.
    pub fn watch(&self) -> anyhow::Result<ResolverWatch> {
        let mut folders = vec![Path::new("/run/systemd/resolve").to_owned()];
        folders.extend(resolvconf::RECORDS.map(PathBuf::from));
        let mut files = vec![self.file.path().to_owned()];
        files.extend(self.file.link_without_us()?);
        ResolverWatch::new(folders, files)
    }

    fn in_file(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let without_us = self.file.without_us()?;
        let without_us = String::from_utf8_lossy(&without_us);
        if !Conf::read(&without_us).is_stub() {
            return in_text(&without_us);
        }
        // The stub would ask whoever our file names: us.
        let uplinks =
            entry::read_if_there(Path::new(UPLINKS)).with_context(|| format!("could not read {UPLINKS}"))?;
        in_text(&String::from_utf8_lossy(&uplinks.unwrap_or_default()))
    }

    fn noted(&self, wanted: &Resolver) -> Noted {
        match &self.way {
            Way::Resolved => Noted::Resolved,
            Way::Resolvconf(resolvconf) => Noted::Resolvconf {
                record: resolvconf.record().to_owned(),
                mark: resolvconf.mark(wanted).word().to_owned(),
            },
            Way::File => Noted::File,
        }
    }

    /// Takes back what was told in the way that was noted. A program that is gone has taken it along.
    async fn take_back(&mut self, noted: &Noted) -> anyhow::Result<()> {
        match noted {
            Noted::Resolved => match Resolved::find().await? {
                Some(resolved) => resolved.restore(&self.link).await,
                None => Ok(()),
            },
            Noted::Resolvconf { record, mark: _ } => match Resolvconf::find(&self.link).await? {
                Some(resolvconf) => resolvconf.remove(record).await,
                None => Ok(()),
            },
            Noted::File => self.file.restore().map(drop),
        }
    }
}

async fn find(choice: ResolverChoice, link: &LinkName, file: &ResolvConf) -> anyhow::Result<Way> {
    match choice {
        ResolverChoice::Only(way) => chosen(way, link).await,
        ResolverChoice::Auto | ResolverChoice::Off => usual(link, file).await,
    }
}

/// The way that was chosen, if this machine has it.
async fn chosen(way: ResolverWay, link: &LinkName) -> anyhow::Result<Way> {
    match way {
        ResolverWay::Resolved => resolved().await.map(|_| Way::Resolved),
        ResolverWay::Resolvconf => match Resolvconf::find(link).await? {
            Some(resolvconf) => Ok(Way::Resolvconf(resolvconf)),
            None => bail!(
                "this machine has no `resolvconf` (openresolv's or Debian's): install it, or choose auto, resolved or file"
            ),
        },
        ResolverWay::File => Ok(Way::File),
    }
}

/// The first way that this machine uses, going by what its file is without us.
async fn usual(link: &LinkName, file: &ResolvConf) -> anyhow::Result<Way> {
    let text = file.without_us()?;
    // A bus or a program that does not work is no reason to have no names.
    if Conf::read(&String::from_utf8_lossy(&text)).is_stub() && matches!(Resolved::find().await, Ok(Some(_)))
    {
        return Ok(Way::Resolved);
    }
    match Resolvconf::find(link).await {
        Ok(Some(resolvconf)) if resolvconf.makes(file)? => Ok(Way::Resolvconf(resolvconf)),
        Ok(_) | Err(_) => Ok(Way::File),
    }
}

async fn resolved() -> anyhow::Result<Resolved> {
    let found = Resolved::find().await?;
    found.context(
        "systemd-resolved does not run: start it with `systemctl start systemd-resolved`, or choose auto",
    )
}

fn in_text(text: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let index = |name: &str| {
        name.parse().ok().and_then(|name| index(&name).ok()?).and_then(|number| u32::try_from(number).ok())
    };
    Ok(Conf::read(text).servers(index))
}

/// The number of a link, as D-Bus has it.
fn index(link: &LinkName) -> anyhow::Result<Option<i32>> {
    let find = || {
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        netdevice::name_to_index(socket, link.as_str())
    };
    match find() {
        Ok(number) => Ok(i32::try_from(number).ok()),
        Err(rustix::io::Errno::NODEV) => Ok(None),
        Err(error) => {
            Err(words::could_not(&format!("look for the interface {link}"), io::Error::from(error)))
        }
    }
}
