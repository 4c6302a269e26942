//! `netloom backup`: the server's database as a file.
//!
//! The file is its owner's alone (0600), never replaces another, and has its name only when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use api::path;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// Save the server's database into a file.
#[derive(Debug, Args)]
pub struct Backup {
    /// The file; it must not exist yet
    file: PathBuf,
}

impl Backup {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let client = console.client()?;
        if self.file.symlink_metadata().is_ok() {
            return Err(taken(&self.file));
        }
        let mut partial = Partial::new(&self.file)?;
        let bytes = fetch(&client, &mut partial, console.terminal.width().is_some()).await?;
        partial.publish(&self.file)?;
        let words = format!("Saved {bytes} bytes into {}.", self.file.display());
        console.done(&json!({ "file": self.file, "bytes": bytes }), &words)
    }
}

fn taken(path: &Path) -> Failure {
    Failure::Local(anyhow::anyhow!("the file {} exists already; give another name", path.display()))
}

async fn fetch(client: &Client, partial: &mut Partial, on_screen: bool) -> Result<u64, Failure> {
    let mut response = client.download(path::BACKUP).await?;
    let progress = progress(response.content_length(), on_screen);
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await.map_err(|error| client.broken(&error))? {
        partial
            .file
            .write_all(&chunk)
            .with_context(|| format!("{} cannot be written", partial.path.display()))?;
        bytes += chunk.len() as u64;
        progress.set_position(bytes);
    }
    progress.finish_and_clear();
    Ok(bytes)
}

fn progress(length: Option<u64>, on_screen: bool) -> ProgressBar {
    if !on_screen {
        return ProgressBar::hidden();
    }
    let Some(length) = length else {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(200));
        return bar;
    };
    let style = ProgressStyle::with_template("{bytes} of {total_bytes} {wide_bar}");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A file that is not whole yet. It is gone unless it was published.
struct Partial {
    file: File,
    path: PathBuf,
}

impl Partial {
    fn new(target: &Path) -> Result<Self, Failure> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let path = target.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(Self { file, path })
    }

    /// Gives the file its name, unless another has it.
    fn publish(&self, target: &Path) -> Result<(), Failure> {
        let about = || format!("{} cannot be written", target.display());
        self.file.sync_all().with_context(about)?;
        // A link never replaces anything, other than a rename.
        match fs::hard_link(&self.path, target) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(taken(target)),
            Err(_) if target.symlink_metadata().is_ok() => Err(taken(target)),
            // Some file systems have no links.
            Err(_) => Ok(fs::rename(&self.path, target).with_context(about)?),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
