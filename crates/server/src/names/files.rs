//! Files for CoreDNS: one zone file for each zone (its `file` or `auto` plugin), and `hosts` (its `hosts` plugin). It reads
//! them again by itself when they change.
//!
//! It keeps true that a file is replaced whole or not at all, that one that would be the same is left alone, and that only files
//! of names that we write are ever removed.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dns::{Snapshot, coredns};

/// The beginning of the names of our zone files, as CoreDNS's `auto` plugin expects them by default.
const ZONE: &str = "db.";
const HOSTS: &str = "hosts";
/// Where names of zones are noted that have a file of ours.
const NOTE: &str = ".netloom-zones";

/// The folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Writes what there is now, and removes the files of zones that are gone.
    pub(super) fn write(&mut self, names: &Snapshot) -> Result<()> {
        fs::create_dir_all(&self.path)
            .with_context(|| format!("cannot make the folder {} for CoreDNS", self.path.display()))?;
        let zones: BTreeSet<String> = names.zones().map(|(zone, _)| zone.origin.to_string()).collect();
        let noted = fs::read_to_string(self.path.join(NOTE)).unwrap_or_default();
        let before: BTreeSet<&str> = noted.lines().filter(|line| !line.contains('/')).collect();
        // First, so that none is forgotten.
        let all: Vec<&str> = before.iter().copied().chain(zones.iter().map(String::as_str)).collect();
        self.replace(NOTE, &all.join("\n"))?;
        self.replace(HOSTS, &coredns::hosts(names))?;
        for (zone, _) in names.zones() {
            if let Some(text) = coredns::zone_file(names, &zone.origin) {
                self.replace(&file_of(&zone.origin.to_string()), &text)?;
            }
        }
        for gone in before.iter().filter(|origin| !zones.contains(**origin)) {
            remove(&self.path.join(file_of(gone)))?;
        }
        self.replace(NOTE, &zones.into_iter().collect::<Vec<_>>().join("\n"))
    }

    fn replace(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(());
        }
        let new = self.path.join(format!(".{name}.new"));
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
        written.with_context(|| format!("cannot write {} for CoreDNS", path.display()))
    }
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
        ours.write(&names(&["b.example"]).snapshot()).unwrap();
        assert_eq!(files(folder.path()), [NOTE, "db.b.example", "db.theirs", "hosts"]);
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
