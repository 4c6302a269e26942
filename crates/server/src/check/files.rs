//! The data folder, whose everything in it is, and the keys.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{Access, access, statvfs};

use super::Finding;
use crate::front::Certificates;
use crate::identity::{self, Identity};
use crate::rekey::{self, Course, Next};
use crate::settings::Settings;

/// Less free space than this will soon be too little.
const LITTLE_SPACE: u64 = 256 * 1024 * 1024;

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    let data = &settings.data;
    let mut findings = vec![folder("data", data, "data"), keys(data)];
    findings.extend(next(data));
    findings.extend(owners(data).err().map(|error| Finding::wrong("data", format!("{error:#}"))));
    findings
}

/// A folder that the server makes where it is missing, and writes into.
pub(super) fn folder(subject: &'static str, data: &Path, setting: &str) -> Finding {
    let name = data.display();
    if !data.exists() {
        let parent = data.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        return match access(parent, Access::WRITE_OK) {
            Ok(()) if parent.is_dir() => {
                Finding::good(subject, format!("{name} is not there yet; the first start makes it"))
            }
            Ok(()) | Err(_) => Finding::wrong(
                subject,
                format!(
                    "{name} is not there and cannot be made; make it, or choose another with `{setting}`"
                ),
            ),
        };
    }
    if !data.is_dir() {
        return Finding::wrong(subject, format!("{name} is no folder; choose another with `{setting}`"));
    }
    if access(data, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let detail = format!("{name} cannot be written by this user; change its owner, or run as its owner");
        return Finding::wrong(subject, detail);
    }
    match statvfs(data).map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize)) {
        Ok(free) if free < LITTLE_SPACE => {
            Finding::doubtful(subject, format!("{name} has {} MiB left; make room", free / 1024 / 1024))
        }
        Ok(_) | Err(_) => Finding::good(subject, format!("{name}")),
    }
}

fn keys(data: &Path) -> Finding {
    let folder = identity::folder(data);
    if !folder.exists() {
        return Finding::good("keys", "there are none yet; the first start makes them");
    }
    Finding::of(
        "keys",
        Identity::load(data).and_then(|_| alone(data)).map(|()| format!("{}", folder.display())),
    )
}

/// The keys of a change that is under way.
fn next(data: &Path) -> Option<Finding> {
    match Next::load(data) {
        Ok(None) => None,
        Ok(Some(next)) => Some(Finding::good(
            "keys",
            match next.course {
                Course::Forward => {
                    "a change to the next ones was begun; `rekey finish` ends it, or `rekey abandon`"
                }
                Course::Back => "a change to the next ones is taken back; `rekey abandon` ends that",
            },
        )),
        Err(error) => Some(Finding::wrong("keys", format!("of the change that was begun: {error:#}"))),
    }
}

/// Fails where others than their owner read keys.
fn alone(data: &Path) -> Result<()> {
    let (keys, tls) = (identity::folder(data), rekey::tls(data));
    let own = [keys.clone(), keys.join("next"), keys.join("making"), keys.join("abandoned")];
    let folders = own.iter().filter(|folder| folder.is_dir());
    let mut secret: Vec<PathBuf> =
        [tls.clone(), tls.join("next")].map(|tls| Certificates::own_files(&tls).1).into();
    for folder in folders {
        secret.push(folder.clone());
        for entry in fs::read_dir(folder).context("the folder of keys cannot be read")? {
            secret.push(entry.context("the folder of keys cannot be read")?.path());
        }
    }
    for path in secret.iter().filter(|path| path.exists()) {
        let mode = path.metadata().context("a key cannot be looked at")?.permissions().mode();
        let right = if path.is_dir() { 700 } else { 600 };
        ensure!(
            mode & 0o077 == 0,
            "{} can be read by others than its owner; chmod {right} it",
            path.display()
        );
    }
    Ok(())
}

/// Fails where something in the data folder is somebody else's than the folder: the server, who is its owner, cannot use it. Root
/// can use everything.
fn owners(data: &Path) -> Result<()> {
    let Some(owner) = data.metadata().ok().map(|folder| folder.uid()).filter(|owner| *owner != 0) else {
        return Ok(());
    };
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        // What cannot be read was told already.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(found) = entry.metadata() else { continue };
            ensure!(
                found.uid() == owner,
                "{} belongs to user {}, and the folder to user {owner}, as whom the server runs: it cannot use it; say \
                 `chown -R --reference={data} {data}/`",
                entry.path().display(),
                found.uid(),
                data = data.display()
            );
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}
