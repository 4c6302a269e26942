//! `netloom-server restore`, and what commands leave in the data folder when root says them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use server::identity::Identity;
use store::Database as _;
use testkit::engines::rqlite::StandIn;
use testkit::fleet::{ServerProcess, command};

use crate::{folder, program, refused};

/// A backup of an empty database.
fn backup(place: &Path) -> PathBuf {
    let (database, file) = (place.join("other.db"), place.join("backup.db"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(store::Sqlite::open(&database).unwrap().backup(&file)).unwrap();
    file
}

fn done(data: &Path, words: &[&str]) -> String {
    let Output { status, stdout, stderr } = command(program(), data).args(words).output().unwrap();
    assert!(status.success(), "{words:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

#[test]
fn a_restore_says_what_it_did_and_puts_aside_what_was_there_as_often_as_it_is_said() {
    let (data, place) = (folder(), folder());
    let file = backup(place.path());
    let restore = ["restore", file.to_str().unwrap()];
    let said = done(data.path(), &restore);
    assert!(said.contains("backup.db") && said.contains("netloom.db") && !said.contains(".old"), "{said}");
    let mut again = command(program(), data.path());
    again.args(restore);
    assert!(refused(again).contains("--replace"));
    for aside in ["netloom.db.old", "netloom.db.old-2", "netloom.db.old-3"] {
        let said = done(data.path(), &[restore[0], restore[1], "--replace"]);
        assert!(said.trim_end().ends_with(&format!("{aside}.")), "{said}");
        assert!(data.path().join(aside).exists());
    }
}

#[test]
fn no_server_sees_its_database_replaced() {
    let (data, place) = (folder(), folder());
    let file = backup(place.path());
    let cluster = StandIn::start(1).unwrap();
    let with_database = |words: &[&str]| {
        let mut command = command(program(), data.path());
        command.env("NETLOOM_DATABASE", format!("rqlite://{}", cluster.nodes()[0])).args(words);
        command
    };
    let server = ServerProcess::run(with_database(&[]), data.path()).unwrap();
    let restore = ["restore", file.to_str().unwrap(), "--replace"];
    let text = refused(with_database(&restore));
    assert!(text.contains("1 of this database's servers run; stop all of them"), "{text}");
    assert!(server.setup_code().is_ok());
    server.stop(Duration::from_secs(20)).unwrap();
    let Output { status, stdout, .. } = with_database(&restore).output().unwrap();
    assert!(status.success() && String::from_utf8_lossy(&stdout).contains("rqlite://"));
}

/// Everything in a folder.
fn all(folder: &Path) -> Vec<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let below: Vec<PathBuf> =
        entries.iter().filter(|path| path.is_dir()).flat_map(|path| all(path)).collect();
    [entries, below].concat()
}

#[test]
fn what_root_has_made_belongs_to_the_owner_of_the_data_folder() {
    let (data, place) = (folder(), folder());
    let file = backup(place.path());
    Identity::load_or_create(data.path()).unwrap();
    let is_root = fs::metadata(data.path()).unwrap().uid() == 0;
    let owner = if is_root { 54_321 } else { fs::metadata(data.path()).unwrap().uid() };
    for path in all(data.path()).iter().map(PathBuf::as_path).chain([data.path()]) {
        chown(path, Some(owner), None).unwrap();
    }
    let restore = ["restore", file.to_str().unwrap(), "--replace"];
    let [begin, abandon, finish, adopt] = ["begin", "abandon", "finish", "adopt"].map(|step| ["rekey", step]);
    let all_of_them = [&restore[..2], &begin, &abandon, &begin, &finish, &restore, &adopt];
    for words in all_of_them {
        done(data.path(), words);
        for path in all(data.path()) {
            assert_eq!(fs::metadata(&path).unwrap().uid(), owner, "{} after {words:?}", path.display());
        }
    }
    if is_root {
        chown(data.path().join("keys/sealing.key"), Some(0), None).unwrap();
        let Output { status, stdout, .. } = command(program(), data.path()).arg("check").output().unwrap();
        let said = String::from_utf8(stdout).unwrap();
        assert!(!status.success() && said.contains("sealing.key belongs to user 0"), "{said}");
        assert!(said.contains("chown -R --reference"), "{said}");
    }
}
