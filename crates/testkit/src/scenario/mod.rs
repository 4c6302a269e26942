//! Scenarios: stories about the server's brain as text. Commands go in, one a line; under each stands what came of it: the
//! records that change, what each host hears, or the refusal.
//!
//! ```text
//! # A comment. An empty line parts paragraphs. What is indented is what came out.
//! network create office v4=10.7.0.0/24
//!   + network office ranges=10.7.0.0/24 keepalive=20
//! key create k networks=office uses=1
//! register web key=k
//! ```
//!
//! Not for machines, sockets or time that passes. Besides the text, each line checks that intent holds together, and that
//! every host's map, patched with what it hears, is the map that the definition says.

mod act;
mod line;
mod members;
mod records;
mod rules;
mod show;
mod stage;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use line::Line;
use stage::Stage;

/// Tells a story again: the same commands, with what comes of them now. What stood under them is dropped.
pub fn tell(script: &str) -> Result<String> {
    let mut stage = Stage::new();
    let mut told = String::new();
    for (index, text) in script.lines().enumerate().filter(|(_, text)| !text.starts_with(' ')) {
        told.push_str(text.trim_end());
        told.push('\n');
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let came = Line::parse(text).and_then(|line| act::act(&mut stage, line));
        for line in came.with_context(|| format!("line {}: `{text}`", index + 1))? {
            told.push_str(&format!("  {line}\n"));
        }
    }
    Ok(told)
}

/// Fails unless the file's story comes out as it stands there. With `UPDATE_EXPECT=1` in the environment (`update`) the
/// file is written anew instead.
pub fn check(path: &Path, update: bool) -> Result<()> {
    let expected = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let told = tell(&expected).with_context(|| path.display().to_string())?;
    if told == expected {
        return Ok(());
    }
    if update {
        return fs::write(path, told).with_context(|| format!("{} cannot be written", path.display()));
    }
    bail!("{}\n{}", path.display(), difference(&expected, &told));
}

/// Where two texts part, with a few lines of each.
fn difference(expected: &str, told: &str) -> String {
    let same = expected.lines().zip(told.lines()).take_while(|(a, b)| a == b).count();
    let around = |text: &str| {
        let lines = text.lines().skip(same.saturating_sub(3)).take(12);
        lines.map(|line| format!("    {line}\n")).collect::<String>()
    };
    format!(
        "differs from line {} on; the file says\n{}and now it is\n{}UPDATE_EXPECT=1 writes it anew",
        same + 1,
        around(expected),
        around(told)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_that_was_told_is_told_again_alike() {
        let script = "# Two.\nnetwork create office v4=10.7.0.0/24\n\nkey create k networks=office\nregister a key=k\n";
        let told = tell(script).expect("the script reads");
        assert!(told.contains("  + node a/office addresses=10.7.0.1"), "{told}");
        assert_eq!(tell(&told).expect("what was told reads"), told);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        let error = tell("network create office v4=10.7.0.0/24\n\nnetwork paint office\n")
            .expect_err("nobody paints");
        assert!(format!("{error:#}").starts_with("line 3: `network paint office`"), "{error:#}");
        let error = tell("wait 5 colour=red\n").expect_err("waiting has no colour");
        assert!(format!("{error:#}").contains("colour"), "{error:#}");
    }
}
