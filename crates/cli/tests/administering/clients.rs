//! Remote access clients: whose eyes see their private keys, and where they go.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::double::{Double, NOW};
use crate::logged_in;

const CLIENTS: &str = "/api/v1/networks/home/clients";
const PHONE: &str = "/api/v1/networks/home/clients/phone";
const ID: &str = "01010101-0101-0101-0101-010101010101";
/// A pair (RFC 7748, 6.1).
const PRIVATE: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
const PUBLIC: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const MISSING: &str = "# PrivateKey = <put the private key here>";

fn phone(public_key: &str) -> Value {
    json!({
        "id": ID, "network": ID, "network_name": "home", "name": "phone", "v4": "10.1.0.9",
        "public_key": public_key, "gateways": [{ "id": ID, "host": ID, "host_name": "gw" }], "owner": null,
        "enabled": true, "tags": ["old"], "expires": null, "ranges": [], "full_tunnel": false, "dns": null,
        "mtu": null, "keepalive": null, "created": NOW, "session": { "online": false },
    })
}

fn config(key_line: &str) -> String {
    format!("# phone in network home, by gateway gw\n[Interface]\n{key_line}\nAddress = 10.1.0.9/32\n")
}

/// The server answers as if the key that was sent were the client's.
fn answers_creation(server: &Double) {
    let answer =
        json!({ "client": phone("$public_key"), "config": config(MISSING), "note": "the key is missing" });
    server.answers(&format!("POST {CLIENTS}"), 201, answer);
}

fn sent(server: &Double) -> Value {
    server.seen().pop().expect("something was sent").body
}

#[tokio::test]
async fn a_private_key_is_made_here_and_the_server_never_sees_it() {
    let (server, seat) = logged_in().await;
    answers_creation(&server);
    let file = seat.file("phone.conf");
    let line = format!("client create home phone --tag mobile --output {}", file.display());
    let went = seat.run(&line, "").await;
    assert_eq!(went.code, 0, "{went:?}");
    assert!(went.out.contains("Saved into") && !went.out.contains("PrivateKey"), "{}", went.out);

    let text = std::fs::read_to_string(&file).unwrap();
    let key = text.lines().find_map(|line| line.strip_prefix("PrivateKey = ")).unwrap();
    assert_eq!(text, config(&format!("PrivateKey = {key}")));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!server.heard(key), "the server was told the private key");
    let body = sent(&server);
    assert_eq!((&body["name"], &body["tags"]), (&json!("phone"), &json!(["mobile"])));
    assert_eq!(body["public_key"].as_str().map(str::len), Some(44));
}

#[tokio::test]
async fn nothing_is_made_when_a_file_cannot_be() {
    let (server, seat) = logged_in().await;
    answers_creation(&server);
    let before = server.seen().len();
    let there = seat.file("contexts.toml");
    let kept = std::fs::read_to_string(&there).unwrap();
    for (option, file, expected) in [
        ("output", there.clone(), "exists already"),
        ("png", there.clone(), "exists already"),
        ("svg", seat.file("nowhere").join("x.svg"), "cannot be written"),
    ] {
        let went = seat.run(&format!("client create home phone --{option} {}", file.display()), "").await;
        assert!(went.code == 1 && went.err.contains(expected), "{went:?}");
    }
    let json = seat.run("client create home phone --qr --json", "").await;
    assert!(json.code == 2 && json.err.contains("--svg"), "{json:?}");
    assert_eq!(server.seen().len(), before, "something was sent");
    assert_eq!(std::fs::read_to_string(&there).unwrap(), kept);
}

#[tokio::test]
async fn without_a_place_the_configuration_is_shown_once_and_json_has_it_whole() {
    let (server, seat) = logged_in().await;
    answers_creation(&server);
    let shown = seat.run("client create home phone", "").await;
    assert!(shown.code == 0 && shown.out.contains("shown this once"), "{shown:?}");
    assert!(
        shown.out.contains("\nPrivateKey = ") && !shown.out.contains("the key is missing"),
        "{}",
        shown.out
    );

    let went = seat.run("client create home phone --json", "").await;
    let answer: Value = serde_json::from_str(&went.out).unwrap();
    let key = answer["private_key"].as_str().unwrap();
    assert_eq!(answer["config"], json!(config(&format!("PrivateKey = {key}"))));

    let code = seat.ask("client create home phone --qr", &[]).await;
    assert!(code.code == 0 && code.out.contains("█▀") && !code.out.contains("PrivateKey"), "{code:?}");
}

#[tokio::test]
async fn codes_are_saved_as_images() {
    let (server, seat) = logged_in().await;
    answers_creation(&server);
    let (png, svg) = (seat.file("phone.png"), seat.file("phone.svg"));
    let line = format!("client create home phone --png {} --svg {} --json", png.display(), svg.display());
    let went = seat.run(&line, "").await;
    let answer: Value = serde_json::from_str(&went.out).unwrap_or_else(|_| panic!("{went:?}"));
    assert_eq!(answer["files"].as_array().map(Vec::len), Some(2));
    assert!(answer.get("private_key").is_none() && answer.get("config").is_none());
    assert!(std::fs::read(&png).unwrap().starts_with(b"\x89PNG"));
    assert!(std::fs::read_to_string(&svg).unwrap().contains("<svg"));
    assert_eq!(std::fs::metadata(&png).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_key_of_ones_own_stays_ones_own_and_the_servers_is_shown() {
    let (server, seat) = logged_in().await;
    answers_creation(&server);
    let own = seat.run(&format!("client create home phone --public-key {PUBLIC}"), "").await;
    assert!(own.code == 0 && own.out.contains(MISSING) && own.out.contains("only the client has"), "{own:?}");
    assert_eq!(sent(&server)["public_key"], PUBLIC);

    let with_key = config(&format!("PrivateKey = {PRIVATE}"));
    let answer = json!({ "client": phone(PUBLIC), "private_key": PRIVATE, "config": with_key });
    server.answers(&format!("POST {CLIENTS}"), 201, answer);
    let made = seat.run("client create home phone --server-key", "").await;
    assert!(made.code == 0 && made.out.contains(PRIVATE), "{made:?}");
    assert!(sent(&server).get("public_key").is_none());
    let stranger = seat.run("client create home phone", "").await;
    assert!(stranger.code == 1 && stranger.err.contains("another key than was sent"), "{stranger:?}");
}

#[tokio::test]
async fn a_key_is_not_lost_when_there_is_no_configuration_yet() {
    let (server, seat) = logged_in().await;
    let note = "nobody knows yet where the gateway can be reached";
    server.answers(&format!("POST {CLIENTS}"), 201, json!({ "client": phone("$public_key"), "note": note }));
    let file = seat.file("key");
    let went = seat.run(&format!("client create home phone --output {}", file.display()), "").await;
    assert!(went.code == 1 && went.err.contains(note), "{went:?}");
    assert!(went.err.contains("netloom client config home phone --private-key-file"), "{}", went.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim().len(), 44);
    let shown = seat.run("client create home phone", "").await;
    assert!(shown.code == 1 && shown.out.contains("Its private key, shown this once:"), "{shown:?}");
}

#[tokio::test]
async fn a_kept_private_key_is_put_into_the_configuration_if_it_is_the_clients() {
    let (server, seat) = logged_in().await;
    server.answers(&format!("GET {PHONE}"), 200, phone(PUBLIC));
    server.answers(&format!("GET {PHONE}/config"), 200, config(MISSING).into());
    let bare = seat.run("client config home phone --gateway gw", "").await;
    assert_eq!(bare.out, config(MISSING));
    assert_eq!(server.seen().last().unwrap().target, format!("{PHONE}/config?format=conf&gateway=gw"));

    let whole = seat.run("client config home phone --private-key-file -", PRIVATE).await;
    assert_eq!(whole.out, config(&format!("PrivateKey = {PRIVATE}")));
    let code = seat.run("client qr home phone --private-key-file -", &whole.out).await;
    assert!(code.code == 0 && code.out.starts_with("████"), "{code:?}");
    for wrong in ["BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", "no key"] {
        let refused = seat.run("client qr home phone --private-key-file -", wrong).await;
        assert!(refused.code == 2 && !refused.err.contains(wrong), "{refused:?}");
    }
    assert!(!server.heard(PRIVATE), "the server was told the private key");
}

#[tokio::test]
async fn a_new_key_is_confirmed_and_made_here() {
    let (server, seat) = logged_in().await;
    server.answers(&format!("PATCH {PHONE}"), 200, phone("$public_key"));
    server.answers(&format!("GET {PHONE}/config"), 200, config(MISSING).into());
    let before = server.seen().len();
    let refused = seat.run("client new-key home phone", "").await;
    assert!(refused.code == 2 && server.seen().len() == before, "{refused:?}");
    let went = seat.run("client new-key home phone --yes", "").await;
    assert!(went.code == 0 && went.out.contains("\nPrivateKey = "), "{went:?}");
    let patch = server.seen().into_iter().rev().find(|seen| seen.method == "PATCH").unwrap();
    assert_eq!(patch.body.as_object().map(serde_json::Map::len), Some(1));
}

#[tokio::test]
async fn a_change_sends_what_was_said_and_nothing_else() {
    let (server, seat) = logged_in().await;
    server.answers(&format!("GET {PHONE}"), 200, phone(PUBLIC));
    server.answers(&format!("PATCH {PHONE}"), 200, phone(PUBLIC));
    for (line, expected) in [
        (
            "client update home phone --tag new --untag old",
            json!({ "add_tags": ["new"], "remove_tags": ["old"] }),
        ),
        ("client update home phone --range none --dns gateway", json!({ "ranges": [], "dns": null })),
        (
            "client update home phone --dns 9.9.9.9 --full-tunnel on",
            json!({ "dns": ["9.9.9.9"], "full_tunnel": true }),
        ),
        ("client update home phone --owner none --mtu default", json!({ "owner": null, "mtu": null })),
        (
            "client update home phone --gateway gw,out --expires 1d",
            json!({ "gateways": ["gw", "out"], "expires_in": 86_400 }),
        ),
        ("client disable home phone", json!({ "enabled": false })),
    ] {
        let went = seat.run(line, "").await;
        assert_eq!((went.code, sent(&server)), (0, expected), "{line}: {went:?}");
    }
}
