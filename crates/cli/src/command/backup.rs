//! `netloom backup`: the server's database as a file.

use std::path::PathBuf;
use std::time::Duration;

use api::path;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;
use crate::private_file::PrivateFile;

/// Save the server's database into a file.
#[derive(Debug, Args)]
pub struct Backup {
    /// The file; it must not exist yet
    file: PathBuf,
}

impl Backup {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let client = console.client()?;
        let mut file = PrivateFile::new(&self.file)?;
        let bytes = fetch(&client, &mut file, console.terminal.width().is_some()).await?;
        file.publish()?;
        let words = format!("Saved {bytes} bytes into {}.", self.file.display());
        console.done(&json!({ "file": self.file, "bytes": bytes }), &words)
    }
}

async fn fetch(client: &Client, file: &mut PrivateFile, on_screen: bool) -> Result<u64, Failure> {
    let mut response = client.download(path::BACKUP).await?;
    let progress = progress(response.content_length(), on_screen);
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await.map_err(|error| client.broken(&error))? {
        file.write(&chunk)?;
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
