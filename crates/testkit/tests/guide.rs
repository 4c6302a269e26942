//! What README and guides tell people to type is understood: every `netloom …` and `netclient …` in them is read by the
//! definition of that very command line.
//!
//! Not for what the commands do, nor for the server's own program. Lines in code blocks are whole; what stands within a
//! sentence may lack arguments, but has nothing that does not exist.

#![expect(clippy::unwrap_used, reason = "in a test a panic with its line says enough")]

use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Something to type.
#[derive(Debug)]
struct Said {
    place: String,
    line: String,
    /// Whether nothing is missing in it.
    whole: bool,
}

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guide = std::fs::read_dir(root.join("docs/guide")).unwrap();
    let mut documents: Vec<PathBuf> = guide.map(|entry| entry.unwrap().path()).collect();
    documents.push(root.join("README.md"));
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents.sort();
    documents
}

fn is_command(text: &str) -> bool {
    text.starts_with("netloom ") || text.starts_with("netclient ")
}

fn said(document: &Path) -> Vec<Said> {
    let text = std::fs::read_to_string(document).unwrap();
    let name = document.file_name().unwrap().to_string_lossy().into_owned();
    let (mut block, mut said) = (false, Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let place = || format!("{name}:{number}");
        if line.trim_start().starts_with("```") {
            block = !block;
        } else if block {
            let line = line.trim().trim_start_matches("sudo ");
            let line = line.split(" #").next().unwrap_or_default().trim();
            if is_command(line) {
                said.push(Said { place: place(), line: line.to_owned(), whole: true });
            }
        } else {
            let spans = line.split('`').skip(1).step_by(2).filter(|span| is_command(span));
            said.extend(spans.map(|span| Said { place: place(), line: span.to_owned(), whole: false }));
        }
    }
    said
}

/// Something that may stand for what is to be put in: `FILE`, `ADDRESS:PORT`.
fn filled(word: &str) -> String {
    let stands_for =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    if !word.split(':').all(stands_for) {
        return word.to_owned();
    }
    let parts = word.split(':').map(|part| match part {
        "ADDRESS" => "192.0.2.1".to_owned(),
        "PORT" => "51820".to_owned(),
        other => other.to_ascii_lowercase(),
    });
    parts.collect::<Vec<_>>().join(":")
}

/// What can be meant: `a|b` is either.
fn meant(line: &str) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    for word in line.split_whitespace().filter(|word| *word != "…") {
        let either: Vec<String> = word.split('|').map(filled).collect();
        all = all
            .into_iter()
            .flat_map(|words: Vec<String>| {
                either.iter().map(move |one| [words.clone(), vec![one.clone()]].concat())
            })
            .collect();
    }
    all
}

fn mistake(said: &Said, words: &[String]) -> Option<String> {
    let definition = match words.first().map(String::as_str) {
        Some("netloom") => cli::Arguments::command(),
        _ => agent::command::definition(),
    };
    let error = definition.try_get_matches_from(words).err()?;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            if !said.whole =>
        {
            None
        }
        // An option that is named without its value.
        ErrorKind::InvalidValue
            if !said.whole
                && error.get(ContextKind::InvalidValue) == Some(&ContextValue::String(String::new())) =>
        {
            None
        }
        _ => Some(format!("{}: `{}`: {error}", said.place, said.line)),
    }
}

#[test]
fn every_command_that_a_guide_names_is_understood() {
    let said: Vec<Said> = documents().iter().flat_map(|document| said(document)).collect();
    let whole = said.iter().filter(|said| said.whole).count();
    assert!(whole > 20 && said.len() > 50, "{} commands are found, {whole} of them whole", said.len());
    let wrong =
        said.iter().flat_map(|one| meant(&one.line).into_iter().filter_map(|words| mistake(one, &words)));
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_does_not_exist_is_found() {
    let wrong = |line: &str, whole| {
        let said = Said { place: "here".to_owned(), line: line.to_owned(), whole };
        meant(line).iter().any(|words| mistake(&said, words).is_some())
    };
    assert!(wrong("netloom policy test add office --from tag:guest --expect deny", false));
    assert!(wrong("netloom network list|lits", false) && wrong("netclient jion", false));
    assert!(wrong("netloom policy explain A B", true) && !wrong("netloom policy explain A B", false));
    assert!(wrong("netloom client update --v4", true) && !wrong("netloom client update --v4", false));
    assert!(!wrong("netloom backup FILE", true) && !wrong("netclient join -t TOKEN", true));
}
