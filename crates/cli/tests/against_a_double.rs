//! The commands against a double of the server: what is sent, what is shown, what is told when it goes wrong.

mod administering;
mod double;

use std::os::unix::fs::PermissionsExt as _;

use double::{CODE, Double, PASSWORD, Seat, TOKEN};
use serde_json::{Value, json};

async fn logged_in() -> (Double, Seat) {
    let (server, seat) = (Double::plain().await, Seat::new());
    let went = seat.run(&format!("login alice --password-file - --server {}", server.url), PASSWORD).await;
    assert_eq!(went.code, 0, "{went:?}");
    server.lists("/api/v1/networks/net-03/nodes", json!([]));
    (server, seat)
}

#[tokio::test]
async fn a_log_in_is_kept_and_its_token_is_never_shown() {
    let (server, seat) = logged_in().await;
    let went = seat.run("network show net-03", "").await;
    assert_eq!(went.code, 0, "{went:?}");
    assert_eq!(server.seen().last().unwrap().token.as_deref(), Some(TOKEN));
    let shown = seat.run("context list --json", "").await;
    let contexts: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!((&contexts[0]["name"], &contexts[0]["user"]), (&json!("127.0.0.1"), &json!("alice")));
    assert!(!shown.out.contains(TOKEN));
}

#[tokio::test]
async fn a_wrong_password_is_told_and_nothing_is_kept() {
    let (server, seat) = (Double::plain().await, Seat::new());
    let went = seat.run(&format!("login alice --password-file - --server {}", server.url), "wrong").await;
    assert_eq!((went.code, went.err.as_str()), (1, "netloom: name or password is wrong\n"));
    assert!(!seat.file("contexts.toml").exists());
}

#[tokio::test]
async fn a_list_follows_all_pages_and_stops_at_the_limit() {
    let (server, seat) = logged_in().await;
    let went = seat.run("network list", "").await;
    assert_eq!(went.out.lines().count(), 26, "{}", went.out);
    assert!(went.out.starts_with(
        "NAME    RANGES        ACCESS  NODES  CREATED\nnet-00  10.0.0.0/16   allow   0      2027-01-15T08"
    ));
    let before = server.seen().len();
    let went = seat.run("network list --limit 12 --json", "").await;
    let items: Vec<Value> = serde_json::from_str(&went.out).unwrap();
    assert_eq!((items.len(), server.seen().len() - before), (12, 2));
    assert_eq!(items[11]["name"], "net-11");
}

#[tokio::test]
async fn a_screen_gets_a_frame() {
    let (_server, seat) = logged_in().await;
    let went = seat.ask("network list --limit 1", &[]).await;
    let expected = "\
┌────────┬─────────────┬────────┬───────┬──────────┐
│ NAME   ┆ RANGES      ┆ ACCESS ┆ NODES ┆ CREATED  │
╞════════╪═════════════╪════════╪═══════╪══════════╡
│ net-00 ┆ 10.0.0.0/16 ┆ allow  ┆ 0     ┆ just now │
└────────┴─────────────┴────────┴───────┴──────────┘
";
    assert_eq!(went.out, expected);
}

#[tokio::test]
async fn deleting_asks_and_without_an_answer_refuses() {
    let (server, seat) = logged_in().await;
    let before = server.seen().len();
    let nobody = seat.run("network delete net-03", "").await;
    assert_eq!((nobody.code, nobody.err.contains("--yes")), (2, true), "{nobody:?}");
    let no = seat.ask("network delete net-03", &["no"]).await;
    assert_eq!((no.code, server.seen().len()), (1, before));
    let yes = seat.ask("network delete net-03 --force", &["y"]).await;
    assert_eq!((yes.code, yes.out.as_str()), (0, "Network `net-03` is deleted.\n"));
    assert_eq!(server.seen().last().unwrap().target, "/api/v1/networks/net-03?force=true");
    assert_eq!(seat.run("network delete net-03 --yes --json", "").await.out, "{}\n");
}

#[tokio::test]
async fn each_refusal_has_its_own_sentence_and_exit_code() {
    let (server, mut seat) = logged_in().await;
    let missing = seat.run("network show nowhere", "").await;
    assert_eq!((missing.code, missing.err.as_str()), (1, "netloom: there is no network `nowhere`\n"));
    let stranger = seat.run("network show html", "").await;
    assert!(stranger.err.contains("is not a Netloom server"), "{}", stranger.err);
    let refused = seat.run("context use work", "").await;
    assert!(refused.err.contains("there is no context `work`; there are: 127.0.0.1"), "{}", refused.err);

    seat.environment.token = Some("another".to_owned().into());
    let token = seat.run("network list", "").await;
    assert!(token.err.contains("NETLOOM_TOKEN") && !token.err.contains("another"), "{}", token.err);

    let text = std::fs::read_to_string(seat.file("contexts.toml")).unwrap();
    std::fs::write(seat.file("contexts.toml"), text.replace(TOKEN, "ended")).unwrap();
    seat.environment.token = None;
    let ended = seat.run("network list", "").await;
    assert!(ended.err.contains("has ended") && ended.err.contains("netloom login"), "{}", ended.err);
    assert!(
        !server.heard(PASSWORD)
            || server.seen().iter().filter(|seen| seen.target.contains("login")).count() == 1
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_with_what_to_check() {
    let mut seat = Seat::new();
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    seat.environment.server = Some(format!("http://{free}"));
    seat.environment.token = Some(TOKEN.to_owned().into());
    let went = seat.run("host list", "").await;
    assert_eq!(went.code, 1);
    assert!(went.err.contains("cannot be reached") && went.err.contains("firewall"), "{}", went.err);
    let nothing = Seat::new().run("host list", "").await;
    assert!(nothing.err.contains("no server is chosen"), "{}", nothing.err);
}

#[tokio::test]
async fn a_new_server_is_set_up_after_its_pin_was_accepted() {
    let (server, seat) = (Double::tls().await, Seat::new());
    let pin = server.pin.unwrap().to_string();
    let line = format!("setup --server {} --code {CODE} --name alice --password-file -", server.url);

    let refused = seat.run(&line, PASSWORD).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains(&pin) && refused.err.contains("--accept-pin"), "{}", refused.err);
    assert!(server.seen().is_empty(), "something was sent to a server that was not accepted");

    let no = seat.ask(&line, &["n"]).await;
    assert_eq!((no.code, server.seen().len()), (1, 0), "{no:?}");

    let accepted = seat.ask(&line, &["yes", PASSWORD]).await;
    assert_eq!(accepted.code, 0, "{accepted:?}");
    let kept = std::fs::read_to_string(seat.file("contexts.toml")).unwrap();
    assert!(kept.contains(&pin), "{kept}");
    server.lists("/api/v1/networks/net-03/nodes", json!([]));
    assert_eq!(seat.run("network show net-03", "").await.code, 0);
}

#[tokio::test]
async fn another_certificate_than_the_pinned_one_is_refused_before_anything_is_sent() {
    let (server, seat) = (Double::tls().await, Seat::new());
    let wrong = model::Digest::from_bytes([7; 32]);
    let added = seat.run(&format!("context add home --server {} --pin {wrong}", server.url), "").await;
    assert_eq!(added.code, 0, "{added:?}");
    let went = seat.run("login alice --password-file -", PASSWORD).await;
    assert_eq!(went.code, 1);
    assert!(
        went.err.contains("another certificate") && went.err.contains(&server.pin.unwrap().to_string()),
        "{}",
        went.err
    );
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_told_with_the_way_out() {
    let (server, mut seat) = (Double::tls().await, Seat::new());
    seat.environment.server = Some(server.url.clone());
    seat.environment.token = Some(TOKEN.to_owned().into());
    let went = seat.run("network list", "").await;
    assert_eq!(went.code, 1);
    assert!(
        went.err.contains("not signed by an authority") && went.err.contains("--accept-pin"),
        "{}",
        went.err
    );
    seat.environment.pin = Some(server.pin.unwrap().to_string());
    assert_eq!(seat.run("network list", "").await.code, 0);
    seat.environment.pin = Some("nonsense".to_owned());
    assert_eq!(seat.run("network list", "").await.code, 2);
}

#[tokio::test]
async fn a_backup_is_whole_its_owners_alone_and_replaces_nothing() {
    let (_server, seat) = logged_in().await;
    let file = seat.file("netloom.db");
    let line = format!("backup {}", file.display());
    let went = seat.run(&line, "").await;
    assert_eq!(went.code, 0, "{went:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"SQLite format 3\0 and so on");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = seat.run(&line, "").await;
    assert!(again.code == 1 && again.err.contains("exists already"), "{again:?}");
    let left = std::fs::read_dir(file.parent().unwrap()).unwrap().count();
    assert_eq!(left, 2, "only the backup and the contexts file are there");
}

#[tokio::test]
async fn logging_out_forgets_the_token_even_when_the_server_does_not_know_it() {
    let (_server, seat) = logged_in().await;
    let went = seat.run("logout", "").await;
    assert_eq!(went.code, 1, "the double knows no log-out: {went:?}");
    assert!(!std::fs::read_to_string(seat.file("contexts.toml")).unwrap().contains(TOKEN));
    let after = seat.run("network list", "").await;
    assert!(after.err.contains("not logged in"), "{}", after.err);
}

#[tokio::test]
async fn a_new_password_is_asked_for_twice_and_checked_first() {
    let (server, seat) = logged_in().await;
    let before = server.seen().len();
    let short = seat.ask("user create bob", &["short"]).await;
    assert!(short.code == 2 && short.err.contains("at least 10"), "{short:?}");
    let differ = seat.ask("user create bob", &["long enough pw", "long enough pW"]).await;
    assert!(differ.code == 2 && differ.err.contains("differ"), "{differ:?}");
    assert_eq!(server.seen().len(), before);
    seat.ask("user create bob --role auditor", &["long enough pw", "long enough pw"]).await;
    let sent = server.seen().last().unwrap().body.clone();
    assert_eq!(sent, json!({ "name": "bob", "role": "auditor", "password": "long enough pw" }));
}

#[tokio::test]
async fn completions_and_version_need_no_server() {
    let seat = Seat::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let went = seat.run(&format!("completion {shell}"), "").await;
        for word in [
            "network",
            "rotate-key",
            "approve",
            "gateway",
            "new-key",
            "egress",
            "dry-run",
            "explain",
            "upstream",
        ] {
            assert!(went.code == 0 && went.out.contains(word), "{shell}: {word}");
        }
    }
    let version: Value = serde_json::from_str(&seat.run("version --json", "").await.out).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}
