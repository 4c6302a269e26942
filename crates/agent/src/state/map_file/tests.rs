//! The files of a map: whole, torn, foreign, damaged, too large, full.

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
            rotate: false,
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
        key: Some(model::WgPublicKey::from_bytes([number; 32])),
        nodes: Vec::new(),
        seen: Vec::new(),
        local: Vec::new(),
        fixed: None,
        nat: NatMapping::Unknown,
    };
    Delta {
        base: Generation::from_number(base),
        generation: Generation::from_number(base + 1),
        peers: [(HostId::from_bytes([number; 16]).into(), peer)].into(),
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
    let end = file.end.as_mut().unwrap();
    (end.file, end.length) = (full, 0);
    let mut next = maps.last().unwrap().clone();
    patch(&mut next, join(2)).unwrap();
    let text = file.save(&next, &[join(2)]).unwrap_err().to_string();
    assert!(text.contains("the disk is full") && text.contains("one.deltas"), "{text}");
    assert_eq!(file.save(&next, &[]).unwrap(), Saved::Whole);
    assert_eq!(reopened(&file).1, Some(next));
}

#[test]
fn a_log_that_somebody_removed_or_changed_is_not_added_to() {
    let remove = |file: &MapFile| fs::remove_file(&file.log).unwrap();
    let cut = |file: &MapFile| OpenOptions::new().write(true).open(&file.log).unwrap().set_len(30).unwrap();
    for harm in [&remove as &dyn Fn(&MapFile), &cut] {
        let (_folder, mut file, maps) = stored(1);
        harm(&file);
        let mut next = maps.last().unwrap().clone();
        patch(&mut next, join(2)).unwrap();
        assert_eq!(file.save(&next, &[join(2)]).unwrap(), Saved::Whole);
        assert_eq!(reopened(&file).1, Some(next));
    }
}

#[test]
fn a_sync_that_fails_is_an_error_unless_the_log_was_replaced() {
    // What is no regular file cannot be synced.
    assert!(sync_log(&File::open("/dev/null").unwrap()).is_err());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let fifo = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    assert!(sync_log(&fifo).is_err());
    fs::remove_file(&path).unwrap();
    sync_log(&fifo).unwrap();
}

#[test]
fn a_map_that_is_forgotten_leaves_no_file() {
    let (folder, mut file, _) = stored(1);
    file.remove().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(reopened(&file).1, None);
}

#[test]
fn what_was_taken_away_is_in_no_file_once_the_log_is_folded() {
    let (folder, mut file, maps) = stored(3);
    let mut next = maps.last().unwrap().clone();
    let gone = HostId::from_bytes([2; 16]).into();
    let away = Delta {
        base: next.generation,
        generation: Generation::from_number(5),
        peers_gone: vec![gone],
        ..Delta::default()
    };
    patch(&mut next, away.clone()).unwrap();
    assert_eq!(file.save(&next, &[away]).unwrap(), Saved::Added);
    let holds = |key: u8| {
        let all = fs::read_dir(folder.path()).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
        all.flatten().collect::<Vec<u8>>().windows(32).any(|part| part == [key; 32])
    };
    assert!(holds(2) && holds(3) && !file.is_folded());
    file.fold(&next).unwrap();
    assert!(!holds(2) && holds(3) && file.is_folded());
    let (mut file, map) = reopened(&file);
    assert_eq!((map.as_ref(), file.is_folded()), (Some(&next), true));
    patch(&mut next, join(5)).unwrap();
    assert_eq!(file.save(&next, &[join(5)]).unwrap(), Saved::Added);
    assert_eq!(reopened(&file).1, Some(next));
}
