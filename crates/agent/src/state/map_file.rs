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
//! only when it has grown past the base.
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
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
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
mod tests {
    use std::fs;

    use model::{HostId, HostName, Mtu};
    use tempfile::TempDir;
    use wire::{NatMapping, OwnHost, Peer, ServerLinks};

    use super::*;

    fn map(generation: u64) -> HostMap {
        HostMap {
            generation: Generation::from_number(generation),
            host: OwnHost {
                id: HostId::from_bytes([9; 16]),
                name: HostName::nearest("own"),
                mtu: Mtu::DEFAULT,
                seen: Vec::new(),
                nat: NatMapping::Unknown,
            },
            server: ServerLinks::default(),
            networks: [].into(),
            peers: [].into(),
        }
    }

    fn join(base: u64) -> Delta {
        let number = u8::try_from(base % 251).unwrap();
        let peer = Peer {
            name: HostName::nearest("peer"),
            key: model::WgPublicKey::from_bytes([number; 32]),
            nodes: Vec::new(),
            seen: Vec::new(),
            local: Vec::new(),
            fixed: None,
            nat: NatMapping::Unknown,
        };
        Delta {
            base: Generation::from_number(base),
            generation: Generation::from_number(base + 1),
            peers: [(HostId::from_bytes([number; 16]), peer)].into(),
            ..Delta::default()
        }
    }

    /// A map of generation 1 on disk with this many deltas behind it, and all that it was meanwhile.
    fn stored(deltas: u64) -> (TempDir, MapFile, Vec<HostMap>) {
        let folder = tempfile::tempdir().unwrap();
        let mut file = MapFile::new(folder.path().join("one.map"));
        let mut maps = vec![map(1)];
        assert_eq!(file.save(&maps[0], &[]).unwrap(), Saved::Whole);
        for base in 1..=deltas {
            let mut next = maps.last().unwrap().clone();
            patch(&mut next, join(base)).unwrap();
            assert_eq!(file.save(&next, &[join(base)]).unwrap(), Saved::Added);
            maps.push(next);
        }
        (folder, file, maps)
    }

    fn reopened(file: &MapFile) -> (MapFile, Option<HostMap>) {
        let mut file = MapFile::new(file.base.clone());
        let map = file.open().unwrap();
        (file, map)
    }

    #[test]
    fn a_delta_adds_what_it_says_and_the_map_is_what_it_was() {
        let (_folder, file, maps) = stored(3);
        let base = fs::read(&file.base).unwrap();
        assert_eq!(wire::decode::<HostMap>(&base).unwrap(), maps[0]);
        let log = fs::metadata(&file.log).unwrap();
        assert_eq!(log.permissions().mode() & 0o777, 0o600);
        assert!(log.len() < 600, "{} bytes", log.len());
        let (mut file, map) = reopened(&file);
        assert_eq!(map.as_ref(), maps.last());
        let mut next = map.unwrap();
        patch(&mut next, join(4)).unwrap();
        assert_eq!(file.save(&next, &[join(4)]).unwrap(), Saved::Added);
        assert_eq!(file.read().unwrap(), Some(next));
    }

    #[test]
    fn a_log_torn_anywhere_gives_a_map_there_once_was_and_can_be_added_to() {
        let (_folder, file, maps) = stored(3);
        let whole = fs::read(&file.log).unwrap();
        let mut found = Vec::new();
        for length in 0..=whole.len() {
            fs::write(&file.log, &whole[..length]).unwrap();
            let (mut file, map) = reopened(&file);
            let map = map.unwrap();
            let at = maps.iter().position(|once| *once == map).unwrap();
            found.push(at);
            let (delta, mut next) = (join(map.generation.number()), map);
            patch(&mut next, delta.clone()).unwrap();
            file.save(&next, &[delta]).unwrap();
            assert_eq!(reopened(&file).1, Some(next), "after {length} bytes");
            // Where the head itself was torn, the base was written anew.
            fs::write(&file.base, wire::encode(&maps[0])).unwrap();
        }
        assert!(found.is_sorted() && found.first() == Some(&0) && found.last() == Some(&3), "{found:?}");
    }

    #[test]
    fn one_wrong_byte_anywhere_ends_the_log_before_it() {
        let (_folder, file, maps) = stored(2);
        let whole = fs::read(&file.log).unwrap();
        for at in 0..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] ^= 0x10;
            fs::write(&file.log, wrong).unwrap();
            let map = file.read().unwrap().unwrap();
            assert!(maps[..2].contains(&map), "byte {at} counts for nothing");
        }
    }

    #[test]
    fn a_log_of_another_base_or_too_large_a_one_is_passed_over() {
        let (_folder, file, maps) = stored(2);
        // The power went between the two files of a whole map: a newer base with the older one's log.
        let newer = HostMap { peers: maps[1].peers.clone(), ..map(3) };
        fs::write(&file.base, wire::encode(&newer)).unwrap();
        assert_eq!(file.read().unwrap(), Some(newer));
        // The same generation told by another server is another base, too.
        let foreign = HostMap { host: OwnHost { name: HostName::nearest("other"), ..map(1).host }, ..map(1) };
        fs::write(&file.base, wire::encode(&foreign)).unwrap();
        assert_eq!(file.read().unwrap(), Some(foreign));
        fs::write(&file.base, wire::encode(&maps[0])).unwrap();
        assert_eq!(file.read().unwrap().as_ref(), maps.last());
        OpenOptions::new().write(true).open(&file.log).unwrap().set_len(wire::MOST_BYTES as u64 + 1).unwrap();
        assert_eq!(file.read().unwrap(), Some(maps[0].clone()));
        fs::write(&file.base, b"no map").unwrap();
        assert_eq!(file.read().unwrap(), None);
    }

    #[test]
    fn what_the_deltas_do_not_lead_to_is_written_whole() {
        let (_folder, mut file, maps) = stored(1);
        let later = HostMap { peers: maps[1].peers.clone(), ..map(9) };
        assert_eq!(file.save(&later, &[join(2)]).unwrap(), Saved::Whole);
        assert_eq!(file.read().unwrap(), Some(later.clone()));
        // An older one and one that does not fit are no hindrance: the agent did not take them either.
        let mut next = later;
        patch(&mut next, join(9)).unwrap();
        assert_eq!(file.save(&next, &[join(4), join(9), join(9)]).unwrap(), Saved::Added);
        assert_eq!(reopened(&file).1, Some(next));
    }

    #[test]
    fn a_log_that_has_outgrown_its_base_becomes_a_new_base() {
        let (_folder, mut file, mut maps) = stored(0);
        let mut next = maps.pop().unwrap();
        let mut wholes = 0;
        for base in 1..=2_000 {
            patch(&mut next, join(base)).unwrap();
            wholes += usize::from(file.save(&next, &[join(base)]).unwrap() == Saved::Whole);
            assert!(fs::metadata(&file.log).unwrap().len() <= LEAST_LOG as u64);
        }
        assert!((1..10).contains(&wholes), "{wholes} times");
        assert_eq!(reopened(&file).1, Some(next));
    }

    #[test]
    fn a_log_that_cannot_be_written_is_told_and_then_left_behind() {
        let (_folder, mut file, maps) = stored(1);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        file.end.as_mut().unwrap().file = full;
        let mut next = maps.last().unwrap().clone();
        patch(&mut next, join(2)).unwrap();
        let text = file.save(&next, &[join(2)]).unwrap_err().to_string();
        assert!(text.contains("the disk is full") && text.contains("one.deltas"), "{text}");
        assert_eq!(file.save(&next, &[]).unwrap(), Saved::Whole);
        assert_eq!(reopened(&file).1, Some(next));
    }

    #[test]
    fn a_map_that_is_forgotten_leaves_no_file() {
        let (folder, mut file, _) = stored(1);
        file.remove().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(reopened(&file).1, None);
    }
}
