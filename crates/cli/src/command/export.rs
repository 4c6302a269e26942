//! `netloom export` and `netloom import`: all that people want, as a document.

use std::path::PathBuf;

use anyhow::Context as _;
use api::{Export as Document, ImportChange, Imported, ImportedRecord, path};
use clap::Args;
use serde_json::json;

use crate::console::Console;
use crate::failure::Failure;
use crate::private_file::PrivateFile;
use crate::render::{View, counted, table};

/// Write all that is set up as JSON: to read, to compare, to import. It holds no secrets; a backup does.
#[derive(Debug, Args)]
pub struct Export {
    /// The file; it must not exist yet. Without one the document is printed
    file: Option<PathBuf>,
}

/// Bring everything to what a document of `netloom export` says, in one step or not at all.
#[derive(Debug, Args)]
pub struct Import {
    /// The file
    file: PathBuf,
    /// Remove what is not in the document, too: machines, accounts, policies, all of it
    #[arg(long)]
    prune: bool,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
}

impl Export {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let document = console.client()?.get(path::EXPORT, &[]).await?;
        let Some(file) = self.file else {
            return console.show_json(&document);
        };
        let mut private = PrivateFile::new(&file)?;
        let text = serde_json::to_string_pretty(&document).map_err(anyhow::Error::from)?;
        private.write(text.as_bytes())?;
        private.write(b"\n")?;
        private.publish()?;
        let document: Document = crate::console::meaning(&document)?;
        let count: usize = document.records.values().map(Vec::len).sum();
        let words = format!("Wrote {} into {}.", counted(count as u64, "record"), file.display());
        console.done(&json!({ "file": file, "records": count }), &words)
    }
}

impl Import {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let file = self.file.display();
        let text = std::fs::read(&self.file).with_context(|| format!("the file {file} cannot be read"))?;
        let document: Document = serde_json::from_slice(&text)
            .map_err(|error| Failure::Usage(format!("{file} is no document of `netloom export`: {error}")))?;
        let client = console.client()?;
        let ask = async |dry_run: bool| {
            let query = [("prune", self.prune.to_string()), ("dry_run", dry_run.to_string())];
            client.post_query(path::IMPORT, &query, &document).await
        };
        let tried = ask(true).await?;
        if self.dry_run {
            return console.show(&tried, shown);
        }
        let found: Imported = crate::console::meaning(&tried)?;
        let count = |change| found.records.iter().filter(|record| record.change == change).count() as u64;
        if found.records.iter().all(|record| record.change == ImportChange::LeftOut) {
            return console.show(&tried, shown);
        }
        console.confirm(&format!(
            "make {} new, change {} and remove {}",
            counted(count(ImportChange::Made), "record"),
            count(ImportChange::Changed),
            count(ImportChange::Removed)
        ))?;
        let done = ask(false).await?;
        console.show(&done, shown)
    }
}

fn shown(imported: &Imported, view: &View) -> String {
    let Imported { dry_run, seq: _, records, time: _ } = imported;
    let nothing = "Everything is as the document says.";
    let list = table(view, ["what", "kind", "name"], records, |record| row(*dry_run, record), nothing);
    let left_out = records.iter().any(|record| record.change == ImportChange::LeftOut);
    match left_out {
        true => format!("{list}\nWhat was left out has a secret that no document holds: make it anew."),
        false => list,
    }
}

fn row(dry_run: bool, record: &ImportedRecord) -> [String; 3] {
    let what = match (record.change, dry_run) {
        (ImportChange::Made, true) => "would be made",
        (ImportChange::Made, false) => "made",
        (ImportChange::Changed, true) => "would be changed",
        (ImportChange::Changed, false) => "changed",
        (ImportChange::Removed, true) => "would be removed",
        (ImportChange::Removed, false) => "removed",
        (ImportChange::LeftOut, _) => "left out",
    };
    let name = record.name.clone().unwrap_or_else(|| record.id.clone());
    [what.to_owned(), record.kind.replace('_', " "), name]
}
