//! Scenario transcripts: `scenarios/*.txt`. `UPDATE_EXPECT=1 cargo test -p testkit --test scenarios` writes them anew.

use std::path::Path;

#[test]
fn every_scenario_comes_out_as_it_stands() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let update = std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1");
    let entries = std::fs::read_dir(&folder).expect("the folder of scenarios is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(files.len() > 8, "the scenarios are there");
    let failures: Vec<String> = files
        .iter()
        .filter_map(|path| testkit::scenario::check(path, update).err())
        .map(|error| format!("{error:#}"))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
