//! That a server which was only just started shows every metric that the guide names, with kind and text, and no other.

use std::collections::{BTreeMap, BTreeSet};

use testkit::fleet::Method;

use super::{folder, start_plain};

const GUIDE: &str = include_str!("../../../../docs/guide/metrics.md");

/// Name, kind and text of each metric that the guide names.
fn told() -> BTreeMap<String, (String, String)> {
    let rows = GUIDE.lines().filter(|line| line.starts_with("| `netloom_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, kind, _, help] = cells[..] else { panic!("{row}") };
        (name.trim_matches('`').to_owned(), (kind.to_owned(), help.to_owned()))
    })
    .collect()
}

/// The lines of this kind in what the server shows, by the metric's name.
fn lines(text: &str, kind: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(kind)?.split_once(' '));
    lines.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
}

#[tokio::test]
async fn a_fresh_server_shows_every_metric_of_the_guide_with_kind_and_text_and_no_other() {
    let data = folder();
    let server = start_plain(data.path());
    let reply = server.site.send(Method::GET, "/metrics", &[], Vec::new()).await.unwrap();
    let text = String::from_utf8(reply.body).unwrap();
    let (kinds, helps) = (lines(&text, "# TYPE "), lines(&text, "# HELP "));
    let shown: BTreeMap<_, _> = kinds
        .into_iter()
        .map(|(name, kind)| {
            let help = helps.get(&name).cloned().unwrap_or_else(|| "no text".to_owned());
            (name, (kind, help))
        })
        .collect();
    assert_eq!(shown, told());
    let values = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let with_value: BTreeSet<&str> =
        values.map(|line| line.split(['{', ' ']).next().unwrap_or_default()).collect();
    for name in shown.keys() {
        let is_it = |value: &&str| value.starts_with(name.as_str());
        assert!(with_value.iter().any(is_it), "{name} has no value: {text}");
    }
    assert!(text.contains("netloom_broker_up 1\n") && text.contains("netloom_leads 1\n"), "{text}");
}
