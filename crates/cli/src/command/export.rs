//! `netloom export` and `netloom import`: all that people want, as a document.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use api::{Export as Document, ImportChange, Imported, ImportedRecord, path};
use clap::Args;
use serde_json::{Value, json};

use super::policy::changes;
use crate::client::Client;
use crate::console::{Console, meaning, refuse};
use crate::failure::Failure;
use crate::private_file::PrivateFile;
use crate::render::{View, counted, table};

/// The code of the refusal to import after other changes than were seen.
const STALE: &str = "import-stale";
/// How often it is looked again while others go on changing things.
const MOST_LOOKS: usize = 5;

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
        let document: Document = meaning(&document)?;
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
        let asker = Asker { client: console.client()?, prune: self.prune, document };
        let tried = asker.ask(&[("dry_run", true.to_string())]).await?;
        if self.dry_run {
            console.show(&tried, shown)?;
            return meaning::<Imported>(&tried)?.access.map_or(Ok(()), refuse);
        }
        let found: Imported = meaning(&tried)?;
        if found.records.iter().all(|record| record.change == ImportChange::LeftOut) {
            return console.show(&tried, shown);
        }
        console.confirm(&question(&found))?;
        let done = if console.global.yes { asker.ask(&[]).await? } else { asker.as_found(found).await? };
        console.show(&done, shown)
    }
}

/// A document on its way to a server.
struct Asker {
    client: Client,
    prune: bool,
    document: Document,
}

impl Asker {
    async fn ask(&self, query: &[(&str, String)]) -> Result<Value, Failure> {
        let query = [query, &[("prune", self.prune.to_string())]].concat();
        self.client.post_query(path::IMPORT, &query, &self.document).await
    }

    /// Does what was found that it would do, and nothing else: where other changes come between, it is looked again, and done
    /// only if it is the same still.
    async fn as_found(&self, found: Imported) -> Result<Value, Failure> {
        let mut seq = found.seq;
        for _ in 0..MOST_LOOKS {
            match self.ask(&[("seq", seq.to_string())]).await {
                Err(Failure::Refused(problem)) if problem.code.as_ref() == STALE => {}
                answer => return answer,
            }
            let again: Imported = meaning(&self.ask(&[("dry_run", true.to_string())]).await?)?;
            if (&again.records, &again.access) != (&found.records, &found.access) {
                break;
            }
            seq = again.seq;
        }
        Err(Failure::Local(anyhow!(
            "other changes were made meanwhile, and with them the document would do something else than you were asked about; \
             nothing was changed, import it again"
        )))
    }
}

/// What is asked before it is done.
fn question(found: &Imported) -> String {
    let count = |change| found.records.iter().filter(|record| record.change == change).count() as u64;
    let access = found.access.as_ref().filter(|access| access.changing > 0);
    let access = access.map(|access| {
        format!(
            " ({} gain access, {} lose it; --dry-run names them)",
            counted(access.gaining, "pair"),
            access.losing
        )
    });
    format!(
        "make {} new, change {} and remove {}{}",
        counted(count(ImportChange::Made), "record"),
        count(ImportChange::Changed),
        count(ImportChange::Removed),
        access.unwrap_or_default()
    )
}

fn shown(imported: &Imported, view: &View) -> String {
    let Imported { dry_run, seq: _, records, access, time: _ } = imported;
    let nothing = "Everything is as the document says.";
    let list = table(view, ["what", "kind", "name"], records, |record| row(*dry_run, record), nothing);
    let left_out = records.iter().any(|record| record.change == ImportChange::LeftOut);
    let secret = "What was left out has a secret that no document holds: make it anew.";
    let access = access.as_ref().filter(|access| access.changing > 0);
    let parts = [
        Some(list),
        left_out.then(|| secret.to_owned()),
        access.map(|access| format!("\n{}", changes(access, view))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
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
