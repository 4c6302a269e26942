//! The newest map of a server on disk: a base that is written whole, and beside it a log of the deltas since.
//!
//! ```text
//!   NAME.map      the base: an encoded host map
//!   NAME.deltas   head     "NLDELTAS" · generation of the base (8) · digest of the base (8)
//!                 record*  length of the delta (4) · digest (8) · encoded delta
//! ```
//!
//! Numbers are big-endian. Each digest covers all that was before it, back to the base, so that a record counts only on the
//! very history it was made for. A change costs what it says and not what the map holds: the log is folded into a new base
//! only when it has grown past the base, or when the map no longer has what is still written there (`fold`).
//!
//! A delta is written before it is acted on, so the end of this process loses nothing. It reaches the disk itself a moment
//! later (`Engine` syncs what has gathered, off its loop: a sync takes milliseconds on an SD card and wears it). A power cut
//! may therefore lose the newest deltas: what is left is an older generation, and the server catches up from there. It keeps
//! true that what is read is always a map that this host once had, never a mix: a log of another base is passed over, and
//! one that is torn ends where it is torn.
//!
//! Not for deciding what the newest map is.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use model::Generation;
use sha2::{Digest as _, Sha256};
use wire::{Delta, HostMap, patch};

use super::file;

const MAGIC: [u8; 8] = *b"NLDELTAS";
const HEAD: usize = 8 + 8 + 8;
/// A log is not folded before it has this many bytes, however small its base is.
const LEAST_LOG: usize = 64 << 10;

type Link = [u8; 8];

/// How a map came to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The whole map was written, and is on the disk.
    Whole,
    /// Deltas were added. They outlive this process; `log_to_sync` makes them outlive a power cut.
    Added,
}

/// A map on disk. See the module.
#[derive(Debug)]
pub struct MapFile {
    base: PathBuf,
    log: PathBuf,
    /// The end of the log, once this is known to fit the base.
    end: Option<End>,
}

/// Where the next record goes.
#[derive(Debug)]
struct End {
    file: File,
    length: usize,
    /// The log may grow to this.
    most: usize,
    link: Link,
    generation: Generation,
}

/// What was read.
struct Stored {
    map: HostMap,
    base_length: usize,
    /// The part of the log that counts, and the digest at its end; none where the log is not of this base.
    log: Option<(usize, Link)>,
}

impl MapFile {
    /// The map at this path, which need not exist yet. The log is beside it.
    pub fn new(base: PathBuf) -> Self {
        let log = base.with_extension("deltas");
        Self { base, log, end: None }
    }

    /// The map as it is, for those that only read: another process may be adding to it. One that cannot be read counts as
    /// none: the server has it.
    pub fn read(&self) -> anyhow::Result<Option<HostMap>> {
        Ok(self.load()?.map(|stored| stored.map))
    }

    /// The map, to be added to from now on. What is torn at its end is cut off.
    pub fn open(&mut self) -> anyhow::Result<Option<HostMap>> {
        let Some(stored) = self.load()? else { return Ok(None) };
        if let Some((length, link)) = stored.log {
            let generation = stored.map.generation;
            // One that cannot be opened is written anew with the next map.
            self.end = self.open_log(length).ok().map(|file| {
                let most = most_log(stored.base_length);
                End { file, length, most, link, generation }
            });
        }
        Ok(Some(stored.map))
    }

    /// Keeps the newest map. `deltas` are those that came since the last one was kept, in their order; where they lead to
    /// `map` only they are written. Those that do not fit were not taken by the agent either.
    pub fn save(&mut self, map: &HostMap, deltas: &[Delta]) -> anyhow::Result<Saved> {
        if self.add(map.generation, deltas)? {
            return Ok(Saved::Added);
        }
        self.save_whole(map)?;
        Ok(Saved::Whole)
    }

    /// Whether nothing is on disk but this one map: no delta, and nothing that a delta has taken away.
    pub fn is_folded(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.length == HEAD)
    }

    /// Makes the newest map all that is on disk.
    pub fn fold(&mut self, map: &HostMap) -> anyhow::Result<()> {
        let is_folded =
            self.is_folded() && self.end.as_ref().is_some_and(|end| end.generation == map.generation);
        if is_folded { Ok(()) } else { self.save_whole(map) }
    }

    /// The log, to be synced to the disk by somebody who may wait.
    pub fn log_to_sync(&self) -> Option<File> {
        self.end.as_ref()?.file.try_clone().ok()
    }

    /// The log may not be on the disk as it was written: the next map is written whole.
    pub fn distrust_log(&mut self) {
        self.end = None;
    }

    /// Forgets the map.
    pub fn remove(&mut self) -> anyhow::Result<()> {
        self.end = None;
        file::remove(&self.base)?;
        file::remove(&self.log)
    }

    fn load(&self) -> anyhow::Result<Option<Stored>> {
        let Some(base) = file::read(&self.base, wire::MOST_BYTES)? else { return Ok(None) };
        let Ok(map) = wire::decode::<HostMap>(&base) else { return Ok(None) };
        // A log of more than a map may have is not ours.
        let log = file::read(&self.log, wire::MOST_BYTES).ok().flatten().unwrap_or_default();
        Ok(Some(replay(map, &base, &log)))
    }

    fn open_log(&self, length: usize) -> std::io::Result<File> {
        let file = OpenOptions::new().append(true).open(&self.log)?;
        let length = length as u64;
        if file.metadata()?.len() != length {
            file.set_len(length)?;
        }
        Ok(file)
    }

    /// Adds the deltas that lead to this generation; whether there are such and room for them.
    fn add(&mut self, generation: Generation, deltas: &[Delta]) -> anyhow::Result<bool> {
        let Some(end) = self.end.as_mut() else { return Ok(false) };
        let (mut tip, mut link, mut records) = (end.generation, end.link, Vec::new());
        for delta in deltas {
            // As the agent judges it: what does not fit changed nothing.
            if delta.base == tip && delta.generation > tip {
                link = put_record(&mut records, &link, &wire::encode(delta));
                tip = delta.generation;
            }
        }
        if tip != generation || end.length + records.len() > end.most {
            return Ok(false);
        }
        // A log that somebody removed or changed is not added to.
        if !end.file.metadata().is_ok_and(|log| log.nlink() > 0 && log.len() == end.length as u64) {
            return Ok(false);
        }
        if let Err(error) = end.file.write_all(&records) {
            // Part of it may be there; nothing may follow on that.
            self.end = None;
            return Err(file::trouble("write", &self.log, error));
        }
        (end.length, end.link, end.generation) = (end.length + records.len(), link, tip);
        Ok(true)
    }

    fn save_whole(&mut self, map: &HostMap) -> anyhow::Result<()> {
        self.end = None;
        let base = wire::encode(map);
        file::write(&self.base, &base)?;
        // From here on the old log is of another base. Should the new one be lost, the base is all there is.
        let link = link_of_base(&base);
        let file = start_log(&self.log, &head(map.generation, &link))
            .map_err(|error| file::trouble("write", &self.log, error))
            .context("the map is on disk, but what follows cannot be added to it")?;
        let (most, generation) = (most_log(base.len()), map.generation);
        self.end = Some(End { file, length: HEAD, most, link, generation });
        Ok(())
    }
}

/// Makes what was added to this log outlive a power cut. One that has been replaced meanwhile need not.
pub fn sync_log(log: &File) -> std::io::Result<()> {
    let replaced = || log.metadata().is_ok_and(|log| log.nlink() == 0);
    log.sync_data().or_else(|error| if replaced() { Ok(()) } else { Err(error) })
}

fn most_log(base: usize) -> usize {
    base.clamp(LEAST_LOG, wire::MOST_BYTES)
}

fn start_log(path: &Path, head: &[u8]) -> std::io::Result<File> {
    // A file of its own: who reads the old one at this moment is not disturbed.
    let _ = std::fs::remove_file(path);
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.set_len(0)?;
    file.write_all(head)?;
    Ok(file)
}

fn digest(parts: &[&[u8]]) -> Link {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    *hash.finalize().first_chunk().expect("a digest has 32 bytes")
}

fn link_of_base(base: &[u8]) -> Link {
    digest(&[base])
}

fn head(generation: Generation, base: &Link) -> Vec<u8> {
    [MAGIC, generation.number().to_be_bytes(), *base].concat()
}

/// Adds a record and returns the digest at its end.
fn put_record(records: &mut Vec<u8>, before: &Link, delta: &[u8]) -> Link {
    let length = u32::try_from(delta.len()).expect("a delta was decoded, so it is no longer than MOST_BYTES");
    let length = length.to_be_bytes();
    let link = digest(&[before, &length, delta]);
    for part in [&length[..], &link, delta] {
        records.extend_from_slice(part);
    }
    link
}

/// The first record: its delta, its digest, and what follows. None where there is no whole and right one.
fn take_record<'a>(bytes: &'a [u8], before: &Link) -> Option<(Delta, Link, &'a [u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (link, rest) = rest.split_first_chunk::<8>()?;
    let (delta, rest) = rest.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
    if digest(&[before, length, delta]) != *link {
        return None;
    }
    Some((wire::decode(delta).ok()?, *link, rest))
}

/// The base with all deltas of the log that count.
fn replay(mut map: HostMap, base: &[u8], log: &[u8]) -> Stored {
    let base_length = base.len();
    let mut link = link_of_base(base);
    let Some(mut rest) = log.strip_prefix(head(map.generation, &link).as_slice()) else {
        return Stored { map, base_length, log: None };
    };
    while let Some((delta, next, more)) = take_record(rest, &link) {
        if patch(&mut map, delta).is_err() {
            break;
        }
        (link, rest) = (next, more);
    }
    Stored { map, base_length, log: Some((log.len() - rest.len(), link)) }
}

#[cfg(test)]
mod tests;
