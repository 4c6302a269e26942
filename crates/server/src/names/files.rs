//! Files for CoreDNS: one zone file for each zone (its `file` or `auto` plugin), and `hosts` (its `hosts` plugin). It reads
//! them again by itself when they change.
//!
//! It keeps true that a file is replaced whole or not at all, that one that would be the same is left alone, and that only files
//! that we wrote, as a note beside them says, are ever replaced or removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use dns::{Snapshot, coredns};

/// The beginning of the names of our zone files, as CoreDNS's `auto` plugin expects them by default.
const ZONE: &str = "db.";
const HOSTS: &str = "hosts";
/// Where the names of our files are noted.
const NOTE: &str = ".netloom-files";
/// What is being written: CoreDNS's `auto` takes whatever has `db.` in its name.
const DRAFT: &str = ".netloom-draft";

/// The folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Writes what there is now, and removes the files of zones that are gone. Others' files are left alone and told.
    pub(super) fn write(&mut self, names: &Snapshot) -> Result<()> {
        fs::create_dir_all(&self.path)
            .with_context(|| format!("cannot make the folder {} for CoreDNS", self.path.display()))?;
        let before = self.noted()?;
        let (foreign, files): (BTreeMap<_, _>, BTreeMap<_, _>) =
            wanted(names).into_iter().partition(|(name, _)| !before.contains(name) && self.is_there(name));
        // First, so that none is forgotten.
        self.note(before.iter().chain(files.keys()))?;
        for (name, text) in &files {
            self.replace(name, text)?;
        }
        for gone in before.iter().filter(|name| !files.contains_key(*name)) {
            remove(&self.path.join(gone))?;
        }
        self.note(files.keys())?;
        if foreign.is_empty() {
            return Ok(());
        }
        let foreign: Vec<String> =
            foreign.keys().map(|name| self.path.join(name).display().to_string()).collect();
        bail!(
            "for CoreDNS, {} would be overwritten, not written by this server: move that away, or name another folder \
             (`coredns_folder`)",
            foreign.join(", ")
        )
    }

    /// The names of the files that are ours.
    fn noted(&self) -> Result<BTreeSet<String>> {
        let path = self.path.join(NOTE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let could_be = |name: &&str| (*name == HOSTS || name.starts_with(ZONE)) && !name.contains('/');
        Ok(text.lines().filter(could_be).map(str::to_owned).collect())
    }

    fn note<'a>(&self, names: impl Iterator<Item = &'a String>) -> Result<()> {
        let names: BTreeSet<&str> = names.map(String::as_str).collect();
        self.replace(NOTE, &names.into_iter().collect::<Vec<_>>().join("\n"))
    }

    fn is_there(&self, name: &str) -> bool {
        fs::symlink_metadata(self.path.join(name)).is_ok()
    }

    fn replace(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(());
        }
        let new = self.path.join(DRAFT);
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
        written.with_context(|| format!("cannot write {} for CoreDNS", path.display()))
    }
}

/// The files that there should be, by name.
fn wanted(names: &Snapshot) -> BTreeMap<String, String> {
    let zone = |origin| Some((file_of(&format!("{origin}")), coredns::zone_file(names, origin)?));
    let zones = names.zones().filter_map(|(one, _)| zone(&one.origin));
    zones.chain([(HOSTS.to_owned(), coredns::hosts(names))]).collect()
}

/// The name of a zone's file. Names of zones hold no character that a path would misread but the slash of RFC 2317.
fn file_of(origin: &str) -> String {
    format!("{ZONE}{}", origin.trim_end_matches('.').replace('/', "-"))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use dns::{Names, Network};

    use super::*;

    fn names(domains: &[&str]) -> Names {
        let names = Names::new();
        let networks: Vec<Network> =
            domains.iter().map(|domain| Network::new(domain.parse().unwrap(), [])).collect();
        let zones = networks.iter().flat_map(|network| network.zones(1).unwrap());
        let records =
            networks.iter().flat_map(|network| network.member("web", ["10.7.0.1".parse().unwrap()]).unwrap());
        assert_eq!(names.edit(|edit| edit.replace(zones, records)), []);
        names
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn each_zone_has_a_file_as_long_as_it_is_there_and_others_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("db.theirs"), "x").unwrap();
        let mut ours = Folder::new(folder.path().to_owned());
        ours.write(&names(&["a.example", "b.example"]).snapshot()).unwrap();
        assert_eq!(files(folder.path()), [NOTE, "db.a.example", "db.b.example", "db.theirs", "hosts"]);
        let hosts = fs::read_to_string(folder.path().join("hosts")).unwrap();
        assert!(hosts.contains("10.7.0.1 web.a.example"), "{hosts}");
        assert!(!DRAFT.contains(ZONE) && !NOTE.contains(ZONE), "CoreDNS would take it for a zone's file");
        ours.write(&names(&["b.example"]).snapshot()).unwrap();
        assert_eq!(files(folder.path()), [NOTE, "db.b.example", "db.theirs", "hosts"]);
    }

    #[test]
    fn others_files_are_never_overwritten_and_ours_come_when_those_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["hosts", "db.a.example"] {
            fs::write(folder.path().join(name), "theirs").unwrap();
        }
        let mut ours = Folder::new(folder.path().to_owned());
        let names = names(&["a.example", "b.example"]);
        for _ in 0..2 {
            let text = ours.write(&names.snapshot()).unwrap_err().to_string();
            assert!(text.contains("/hosts") && text.contains("/db.a.example"), "{text}");
            assert!(!text.contains("db.b.example"), "{text}");
        }
        assert_eq!(files(folder.path()), [NOTE, "db.a.example", "db.b.example", "hosts"]);
        for name in ["hosts", "db.a.example"] {
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), "theirs");
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        ours.write(&names.snapshot()).unwrap();
        assert!(fs::read_to_string(folder.path().join("hosts")).unwrap().contains("web.a.example"));
        let mut again = Folder::new(folder.path().to_owned());
        again.write(&self::names(&["c.example"]).snapshot()).unwrap();
        assert_eq!(files(folder.path()), [NOTE, "db.c.example", "hosts"]);
    }

    #[test]
    fn what_is_the_same_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut ours = Folder::new(folder.path().to_owned());
        let names = names(&["a.example"]);
        ours.write(&names.snapshot()).unwrap();
        let inode = || {
            use std::os::unix::fs::MetadataExt as _;
            fs::metadata(folder.path().join("db.a.example")).unwrap().ino()
        };
        let before = inode();
        ours.write(&names.snapshot()).unwrap();
        assert_eq!(inode(), before);
    }
}
