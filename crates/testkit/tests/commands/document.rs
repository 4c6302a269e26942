//! Everything as a document: written, changed by hand, looked at, and brought back.

use serde_json::{Value, json};

use crate::seat::Seat;

fn changes(imported: &Value) -> Vec<(String, String)> {
    let text = |record: &Value, field: &str| record[field].as_str().unwrap().to_owned();
    let records = imported["records"].as_array().unwrap();
    records.iter().map(|record| (text(record, "change"), text(record, "kind"))).collect()
}

#[test]
fn what_was_exported_is_changed_by_hand_and_imported_in_one_step() {
    let seat = Seat::new();
    seat.run("network create lab --v4 10.9.0.0/24").well();
    seat.run("policy create lab web --from tag:web --to everything --service tcp/443").well();
    let _machine = seat.joins("one", "lab");
    let file = seat.file("net.json");
    let file = file.to_str().unwrap();
    assert!(seat.run(&format!("export {file}")).well().contains("records"));
    let text = std::fs::read_to_string(file).unwrap();
    assert!(!text.contains("argon2") && !text.contains("digest"), "no secret is in it");
    assert_eq!(
        seat.json("export"),
        serde_json::from_str::<Value>(&text).unwrap(),
        "and it is the same each time"
    );
    assert!(
        changes(&seat.json(&format!("import {file}"))).is_empty(),
        "nothing to do, and nobody to be asked"
    );

    // Somebody edits it: the policy gets another service, and a network has another name.
    let mut document: Value = serde_json::from_str(&text).unwrap();
    document["records"]["policy"][0]["name"] = json!("https");
    document["records"]["network"][0]["name"] = json!("office");
    std::fs::write(file, document.to_string()).unwrap();
    seat.run("policy create lab other --from tag:db --to everything --service tcp/5432").well();
    let tried = seat.json(&format!("import {file} --prune --dry-run"));
    let mut wanted = changes(&tried);
    wanted.sort();
    let pairs = [("changed", "network"), ("changed", "policy"), ("removed", "policy")];
    assert_eq!(wanted, pairs.map(|(change, kind)| (change.to_owned(), kind.to_owned())));
    assert!(seat.json("network list")[0]["name"] == "lab", "it was only looked");
    assert_eq!(seat.run(&format!("import {file} --prune")).code, 2, "nobody can be asked");
    seat.run(&format!("import {file} --prune --yes")).well();
    assert_eq!(seat.json("network list")[0]["name"], "office");
    assert_eq!(seat.json("policy list office").as_array().unwrap().len(), 1);
    assert_eq!(seat.json("host list")[0]["name"], "one", "machines stay");
    assert_eq!(seat.json("journal --limit 1")[0]["command"], "import");
}

#[test]
fn a_document_that_cannot_be_taken_changes_nothing_and_says_why() {
    let seat = Seat::new();
    seat.run("network create lab --v4 10.9.0.0/24").well();
    let file = seat.file("net.json");
    let file = file.to_str().unwrap();
    seat.run(&format!("export {file}")).well();
    let good: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let refused = |change: &dyn Fn(&mut Value), words: &str| {
        let mut document = good.clone();
        change(&mut document);
        std::fs::write(file, document.to_string()).unwrap();
        let went = seat.run(&format!("import {file} --prune --yes"));
        assert!(went.code != 0 && went.err.contains(words), "{words}: {went}");
    };
    refused(&|document| document["format"] = json!(7), "format 7");
    refused(&|document| document["records"]["network"][0]["name"] = json!("no name"), "records.network[0]");
    refused(&|document| document["records"]["gadget"] = json!([{}]), "records.gadget[0]");
    refused(&|document| document["records"]["user"] = json!([]), "your own account");
    refused(
        &|document| {
            let twin = document["records"]["network"][0].clone();
            document["records"]["network"].as_array_mut().unwrap().push(twin);
        },
        "twice",
    );
    std::fs::write(file, "{").unwrap();
    assert!(seat.run(&format!("import {file} --yes")).err.contains("no document"));
    assert_eq!(seat.json("network list").as_array().unwrap().len(), 1);
}
