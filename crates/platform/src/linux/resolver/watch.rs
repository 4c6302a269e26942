//! Notice of changes to the files that show whom the machine's resolver asks: resolv.conf, what it leads to, the folders
//! of systemd-resolved and resolvconf.
//!
//! Not for what changed: whoever is told looks again. It keeps true that a change after `changed` was called last is never
//! missed, and that many at once are told as one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What happens to a file that gets new contents, or to a folder in which one is replaced.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO);

/// The watch.
#[derive(Debug)]
pub struct ResolverWatch {
    inotify: AsyncFd<OwnedFd>,
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
    /// Names that count in a watched folder; all do if there are none. By the number of the watch.
    names: BTreeMap<i32, Vec<OsString>>,
}

impl ResolverWatch {
    /// Watches all that happens in `folders`, and `files` wherever they are replaced from.
    pub(super) fn new(folders: Vec<PathBuf>, files: Vec<PathBuf>) -> anyhow::Result<Self> {
        let inotify = open().context("could not watch for changes of the resolver's files")?;
        let mut watch = Self { inotify, folders, files, names: BTreeMap::new() };
        watch.add_all()?;
        Ok(watch)
    }

    /// Waits for a change.
    pub async fn changed(&mut self) -> anyhow::Result<()> {
        let waiting = "could not watch for changes of the resolver's files";
        loop {
            // What was replaced or made since has no watch yet.
            self.add_all()?;
            let mut ready = self.inotify.readable().await.context(waiting)?;
            let told = drain(self.inotify.get_ref(), &self.names).context(waiting)?;
            ready.clear_ready();
            if told {
                // Replaced files and folders want a new watch before anybody looks at them.
                self.add_all()?;
                return Ok(());
            }
        }
    }

    fn add_all(&mut self) -> anyhow::Result<()> {
        let mut names = BTreeMap::new();
        for folder in &self.folders {
            if let Some(watch) = self.add(folder)? {
                names.insert(watch, Vec::new());
            }
        }
        for file in &self.files {
            // Where the file is a mount of its own, writes to it show in no folder of ours.
            if let Some(watch) = self.add(file)? {
                names.entry(watch).or_insert_with(Vec::new);
            }
            let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else { continue };
            let Some(watch) = self.add(folder)? else { continue };
            match names.get_mut(&watch) {
                // All names count there.
                Some(counting) if counting.is_empty() => {}
                Some(counting) => counting.push(name.to_owned()),
                None => drop(names.insert(watch, vec![name.to_owned()])),
            }
        }
        self.names = names;
        Ok(())
    }

    /// Watches a path, if something is there.
    fn add(&self, path: &Path) -> anyhow::Result<Option<i32>> {
        match inotify::add_watch(self.inotify.get_ref(), path, CHANGES) {
            Ok(watch) => Ok(Some(watch)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => Ok(None),
            Err(error) => {
                Err(io::Error::from(error)).with_context(|| format!("could not watch {}", path.display()))
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "an OwnedFd keeps what the newer way asks its caller to keep, which is unsafe for that"
)]
fn open() -> io::Result<AsyncFd<OwnedFd>> {
    let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    AsyncFd::with_interest(inotify, Interest::READABLE)
}

/// Reads all that waits, and says whether any of it counts.
fn drain(inotify: &OwnedFd, names: &BTreeMap<i32, Vec<OsString>>) -> io::Result<bool> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(inotify, &mut buffer);
    let mut told = false;
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(Errno::AGAIN) => return Ok(told),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        // A watch that is no longer known was of what has been replaced, and that counts; so does an overflow.
        told |= match (names.get(&event.wd()), event.file_name()) {
            (Some(counting), Some(name)) if !counting.is_empty() => {
                counting.iter().any(|known| known.as_bytes() == name.to_bytes())
            }
            (_, _) => true,
        };
    }
}
