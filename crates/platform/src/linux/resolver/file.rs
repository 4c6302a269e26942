//! /etc/resolv.conf itself: ours in its place, the original beside our state.
//!
//! Not for what our text says. It keeps true that
//!
//! - the original is saved, for good, before anything is changed, and never is our own text taken for an original;
//! - a run that ends anywhere in between is taken up by the next one, be it to apply or to restore;
//! - what somebody else writes meanwhile is the new original, and on restoring it stays;
//! - a link is replaced and comes back as the link it was; what it leads to is never written.
//!
//! ```text
//!              /etc/resolv.conf   saved original
//! before       theirs             -
//! apply 1      theirs             theirs          a second run saves once more
//! apply 2      ours               theirs
//! rewritten    theirs'            theirs          apply 1 once more, at a bounded rate
//! restore 1    theirs             theirs          a second restore leaves the file and forgets
//! restore 2    theirs             -
//! ```
//!
//! Where the file cannot be renamed over (a container's mount), it is written in place; what was meant to be written is
//! noted before, so that a torn file is known as ours.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fs, io};

use anyhow::{Context as _, bail};
use reconcile::Resolver;
use rustix::io::Errno;

use super::ResolverLook;
use super::entry::{self, Contents, Entry};
use super::pace::Pace;
use super::text::{self, Conf};
use crate::ResolverApplied;
use crate::words;

/// What is being saved, in our folder.
const STATE_DRAFT: &str = "resolv.conf.draft";

/// The machine's resolv.conf.
#[derive(Debug)]
pub(super) struct ResolvConf {
    path: PathBuf,
    /// Our folder, which has the three below.
    state: PathBuf,
    /// The original as it was: a file or a link.
    original: PathBuf,
    /// Here instead if there was no original.
    absent: PathBuf,
    /// What is being written in place.
    writing: PathBuf,
    pace: Pace,
}

impl ResolvConf {
    /// The file at `path`, with its original in the folder `state`.
    pub(super) fn new(path: &Path, state: &Path) -> Self {
        Self {
            path: path.to_owned(),
            state: state.to_owned(),
            original: state.join("resolv.conf.original"),
            absent: state.join("resolv.conf.absent"),
            writing: state.join("resolv.conf.writing"),
            pace: Pace::default(),
        }
    }

    /// Puts our text in place, if it is not there.
    pub(super) fn apply(&mut self, wanted: &Resolver, now: Instant) -> anyhow::Result<ResolverApplied> {
        let current = self.current()?;
        if !self.is_ours(&current)? {
            if self.saved()?.is_some()
                && let Err(wait) = self.pace.take(now)
            {
                return Ok(ResolverApplied::Postponed(wait));
            }
            self.save(&current)?;
        }
        let text = self.text(wanted)?;
        if matches!(&current, Entry::File(contents) if contents.bytes == text) {
            return Ok(ResolverApplied::Already);
        }
        let like = match (&current, self.saved()?) {
            (Entry::File(contents), _) => contents.clone(),
            (_, Some(Entry::File(contents))) => contents,
            (_, Some(Entry::Link(_) | Entry::Absent) | None) => Contents::ordinary(Vec::new()),
        };
        self.put(&Entry::File(Contents { bytes: text, ..like }), &current)?;
        Ok(ResolverApplied::Changed)
    }

    /// Whether our text is in place.
    pub(super) fn look(&self, wanted: &Resolver) -> anyhow::Result<ResolverLook> {
        let current = self.current()?;
        let text = self.text(wanted)?;
        Ok(match current {
            Entry::File(contents) if contents.bytes == text => ResolverLook::Set,
            current if self.is_ours(&current)? => ResolverLook::Different,
            Entry::Absent | Entry::Link(_) | Entry::File(_) => ResolverLook::Unset,
        })
    }

    /// Puts the original back if the file is still ours, and forgets it. Says whether there was anything to do.
    pub(super) fn restore(&mut self) -> anyhow::Result<bool> {
        self.sweep();
        let current = self.current()?;
        let is_ours = self.is_ours(&current)?;
        let Some(original) = self.saved()? else {
            if is_ours {
                bail!(
                    "{} is still ours but its original is no longer in {}: write the file anew, or restart what makes it \
                     (a DHCP client, NetworkManager)",
                    self.path.display(),
                    self.state.display()
                );
            }
            return Ok(false);
        };
        if is_ours {
            self.put(&original, &current)?;
        }
        self.forget().with_context(|| format!("could not clear {}", self.state.display()))?;
        Ok(true)
    }

    /// What the machine would read without us: the saved original, or what a saved link leads to now.
    pub(super) fn without_us(&self) -> anyhow::Result<Vec<u8>> {
        let current = self.current()?;
        let original = if self.is_ours(&current)? { self.saved()? } else { Some(current) };
        let text = original.map(|original| self.read(&original)).transpose()?.unwrap_or_default();
        // Never our own text, not even by a link that was led to it later.
        Ok(if text::is_ours(&text) { Vec::new() } else { text })
    }

    /// Where the file leads without us, if it is a link.
    pub(super) fn link_without_us(&self) -> anyhow::Result<Option<PathBuf>> {
        let current = self.current()?;
        let original = if self.is_ours(&current)? { self.saved()? } else { Some(current) };
        Ok(match original {
            Some(Entry::Link(target)) => Some(self.beside(&target)),
            Some(Entry::Absent | Entry::File(_)) | None => None,
        })
    }

    /// Whether whoever reads the file comes to one of these.
    pub(super) fn asks(&self, servers: &[IpAddr]) -> anyhow::Result<bool> {
        let text = self.read(&self.current()?)?;
        Ok(Conf::read(&String::from_utf8_lossy(&text)).asks(servers))
    }

    /// The file itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn text(&self, wanted: &Resolver) -> anyhow::Result<Vec<u8>> {
        let before = self.without_us()?;
        let undo = match self.saved()? {
            Some(Entry::Absent) => format!("rm {}", self.path.display()),
            Some(Entry::Link(_) | Entry::File(_)) | None => {
                format!("mv {} {}", self.original.display(), self.path.display())
            }
        };
        Ok(text::ours(wanted, &String::from_utf8_lossy(&before), &undo).into_bytes())
    }

    fn current(&self) -> anyhow::Result<Entry> {
        Entry::at(&self.path).with_context(|| format!("could not read {}", self.path.display()))
    }

    fn read(&self, entry: &Entry) -> anyhow::Result<Vec<u8>> {
        let target = match entry {
            Entry::Absent => return Ok(Vec::new()),
            Entry::File(contents) => return Ok(contents.bytes.clone()),
            Entry::Link(target) => self.beside(target),
        };
        let read = entry::read_if_there(&target);
        Ok(read.with_context(|| format!("could not read {}", target.display()))?.unwrap_or_default())
    }

    /// A link's target, as it is meant where the link stands.
    fn beside(&self, target: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("/")).join(target)
    }

    fn is_ours(&self, entry: &Entry) -> anyhow::Result<bool> {
        let contents = match entry {
            Entry::Absent => return Ok(false),
            // Somebody moved our text and left a link to it: it is no original.
            Entry::Link(_) => return Ok(text::is_ours(&self.read(entry)?)),
            Entry::File(contents) if text::is_ours(&contents.bytes) => return Ok(true),
            Entry::File(contents) => contents,
        };
        let meant = entry::read_if_there(&self.writing);
        let meant = meant.with_context(|| format!("could not read {}", self.writing.display()))?;
        Ok(meant.is_some_and(|meant| meant.starts_with(&contents.bytes)))
    }

    /// The original that was saved.
    fn saved(&self) -> anyhow::Result<Option<Entry>> {
        let reading = || format!("could not read {}", self.original.display());
        match Entry::at(&self.original).with_context(reading)? {
            Entry::Absent => Ok(self.absent.exists().then_some(Entry::Absent)),
            entry @ (Entry::Link(_) | Entry::File(_)) => Ok(Some(entry)),
        }
    }

    fn save(&self, original: &Entry) -> anyhow::Result<()> {
        let draft = self.state.join(STATE_DRAFT);
        let save = || {
            fs::create_dir_all(&self.state)?;
            if *original == Entry::Absent {
                // First, so that at no time both are missing.
                Entry::File(Contents::ordinary(Vec::new())).put(&self.absent, &draft)?;
                return Entry::Absent.put(&self.original, &draft);
            }
            original.put(&self.original, &draft)?;
            Entry::Absent.put(&self.absent, &draft)
        };
        save().map_err(|error| {
            let doing = format!("save the original of {} in {}", self.path.display(), self.state.display());
            words::could_not(&doing, error)
        })
    }

    /// Removes drafts that a run left which ended in between. They are overwritten anyway; this is for leaving.
    fn sweep(&self) {
        for draft in [self.draft(), self.state.join(STATE_DRAFT)] {
            // A folder that is closed has none.
            let _ = entry::remove(&draft);
        }
    }

    fn draft(&self) -> PathBuf {
        self.path.with_file_name(".resolv.conf.netloom")
    }

    fn forget(&self) -> io::Result<()> {
        let draft = self.state.join(STATE_DRAFT);
        for path in [&self.writing, &self.original, &self.absent] {
            Entry::Absent.put(path, &draft)?;
        }
        Ok(())
    }

    /// Puts an entry in the file's place, whatever kind of file that is.
    fn put(&self, entry: &Entry, current: &Entry) -> anyhow::Result<()> {
        let put = match entry.put(&self.path, &self.draft()) {
            Err(error) if entry::may_be_written_in_place(&error) => self.put_in_place(entry, current, error),
            put => put,
        };
        put.map_err(|error| self.cannot_write(error))
    }

    /// Writes into the file that is there; `refused` is why it cannot be replaced.
    fn put_in_place(&self, entry: &Entry, current: &Entry, refused: io::Error) -> io::Result<()> {
        let (Entry::File(contents), Entry::File(_)) = (entry, current) else {
            return Err(refused);
        };
        let draft = self.state.join(STATE_DRAFT);
        Entry::File(contents.clone()).put(&self.writing, &draft)?;
        contents.write_in_place(&self.path)?;
        Entry::Absent.put(&self.writing, &draft)
    }

    fn cannot_write(&self, error: io::Error) -> anyhow::Error {
        let path = self.path.display();
        let instead = "tell the resolver in another way (resolved, resolvconf), or set it to off";
        if words::is(&error, &[Errno::ROFS]) {
            return anyhow::Error::new(error)
                .context(format!("{path} lies on a read-only file system: make it writable, {instead}"));
        }
        if words::is(&error, &[Errno::PERM]) {
            return anyhow::Error::new(error).context(format!(
                "{path} may not be changed: take away its attribute `immutable` with `chattr -i {path}`, run as root, {instead}"
            ));
        }
        words::could_not(&format!("write {path}"), error)
    }
}
