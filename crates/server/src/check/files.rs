//! The data folder, the keys and the certificate.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use model::Digest;
use rustix::fs::{Access, access, statvfs};

use super::Finding;
use crate::front::Certificates;
use crate::identity::{self, Identity};
use crate::settings::{Settings, Tls};

/// Less free space than this will soon be too little.
const LITTLE_SPACE: u64 = 256 * 1024 * 1024;

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    vec![folder(&settings.data), keys(&settings.data), certificate(settings)]
}

fn folder(data: &Path) -> Finding {
    let name = data.display();
    if !data.exists() {
        let parent = data.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        return match access(parent, Access::WRITE_OK) {
            Ok(()) => Finding::good("data", format!("{name} is not there yet; the first start makes it")),
            Err(_) => Finding::wrong(
                "data",
                format!("{name} is not there and cannot be made; make it, or choose another with `data`"),
            ),
        };
    }
    if access(data, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let detail = format!("{name} cannot be written by this user; change its owner, or run as its owner");
        return Finding::wrong("data", detail);
    }
    match statvfs(data).map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize)) {
        Ok(free) if free < LITTLE_SPACE => {
            Finding::doubtful("data", format!("{name} has {} MiB left; make room", free / 1024 / 1024))
        }
        Ok(_) | Err(_) => Finding::good("data", format!("{name}")),
    }
}

fn keys(data: &Path) -> Finding {
    let folder = identity::folder(data);
    if !folder.exists() {
        return Finding::good("keys", "there are none yet; the first start makes them");
    }
    Finding::of("keys", Identity::load(data).and_then(|_| alone(&folder)))
}

/// Whether nobody but their owner reads the files of a folder.
fn alone(folder: &Path) -> Result<String> {
    for entry in fs::read_dir(folder).context("the folder of keys cannot be read")? {
        let file = entry.context("the folder of keys cannot be read")?;
        let mode = file.metadata().context("a key cannot be looked at")?.permissions().mode();
        if mode & 0o077 != 0 {
            bail!("{} can be read by others than its owner; chmod 600 it", file.path().display());
        }
    }
    Ok(format!("{}", folder.display()))
}

fn certificate(settings: &Settings) -> Finding {
    match &settings.tls {
        Tls::Off => Finding::good("certificate", "none: TLS is off"),
        Tls::Files { certificate, key, .. } => {
            let read = Certificates::from_files(certificate.clone(), key.clone());
            Finding::of("certificate", read.map(|_| format!("{}", certificate.display())))
        }
        Tls::SelfSigned => {
            let (certificate, key) = Certificates::own_files(&crate::rekey::tls(&settings.data));
            if !key.exists() {
                return Finding::good("certificate", "none yet; the first start makes one");
            }
            let read = Certificates::from_files(certificate, key);
            Finding::of(
                "certificate",
                read.map(|own| format!("self-signed, pin {}", Digest::from_bytes(own.pin()))),
            )
        }
    }
}
