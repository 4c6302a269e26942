//! Policies: explained, tried, tested.

use serde_json::{Value, json};

use crate::double::NOW;
use crate::logged_in;

const NETWORK: &str = "/api/v1/networks/home";
const ID: &str = "01010101-0101-0101-0101-010101010101";

fn policy() -> Value {
    json!({
        "id": ID, "network": ID, "name": "web", "enabled": true, "from": ["tag:web"], "to": ["node:db"],
        "services": ["tcp/443"], "both": false, "created": NOW,
    })
}

fn explanation(allowed: bool) -> Value {
    json!({
        "from": "node:web", "to": "node:db", "service": "tcp/443", "allowed": allowed, "decided_by": "default",
        "policies": [], "disabled": [], "reverse_allowed": false,
        "reason": if allowed { "allowed: x" } else { "not allowed: y" },
    })
}

#[tokio::test]
async fn the_exit_code_of_an_explanation_is_its_answer() {
    let (server, seat) = logged_in().await;
    for (allowed, code, out) in [
        (
            true,
            0,
            "node:web to node:db by tcp/443 is allowed: x.\nThe other way round it is not allowed; replies always pass.\n",
        ),
        (
            false,
            3,
            "node:web to node:db by tcp/443 is not allowed: y.\nThe other way round it is not allowed either; replies always pass.\n",
        ),
    ] {
        server.answers(&format!("GET {NETWORK}/policies/explain"), 200, explanation(allowed));
        let went = seat.run("policy explain web db tcp/443 --network home", "").await;
        assert_eq!((went.code, went.out.as_str(), went.err.as_str()), (code, out, ""));
    }
    let target = server.seen().pop().unwrap().target;
    assert_eq!(target, format!("{NETWORK}/policies/explain?from=web&to=db&service=tcp%2F443"));
    let several = seat.run("policy explain web db tcp/443", "").await;
    assert!(several.code == 2 && several.err.contains("--network"), "{several:?}");
}

#[tokio::test]
async fn every_change_can_be_tried_and_says_that_nothing_changed() {
    let (server, seat) = logged_in().await;
    let pair = json!({
        "network": "home", "from": "node:web", "to": "node:db", "before": [], "after": ["tcp/443"],
        "gained": ["tcp/443"], "lost": [],
    });
    let tried = json!({ "changing": 1, "gaining": 1, "losing": 0, "pairs": [pair] });
    let policies = format!("{NETWORK}/policies");
    for (line, request) in [
        (
            "policy create home web --from tag:web --to node:db --service tcp/443 --dry-run",
            format!("POST {policies}"),
        ),
        ("policy update home web --both on --dry-run", format!("PATCH {policies}/web")),
        ("policy enable home web --dry-run", format!("PATCH {policies}/web")),
        ("policy disable home web --dry-run", format!("PATCH {policies}/web")),
        ("policy delete home web --dry-run", format!("DELETE {policies}/web")),
        ("network update home --access deny --dry-run", format!("PATCH {NETWORK}")),
        ("user groups bob staff --dry-run", "PUT /api/v1/users/bob/groups".to_owned()),
    ] {
        server.answers(&request, 200, tried.clone());
        let went = seat.run(line, "").await;
        assert_eq!(went.code, 0, "{line}: {went:?}");
        assert!(went.out.contains("node:web  node:db  tcp/443  -"), "{line}: {}", went.out);
        assert!(went.out.ends_with("Nothing was changed.\n"), "{line}: {}", went.out);
        let seen = server.seen().pop().unwrap();
        assert_eq!(format!("{} {}", seen.method, seen.target), format!("{request}?dry_run=true"));
    }
    let mut refused = tried;
    refused["refused"] = json!({
        "type": "urn:netloom:problem:policy-tests-fail", "title": "In conflict with what is there", "status": 409,
        "detail": "tests of policies say otherwise", "code": "policy-tests-fail",
    });
    server.answers(&format!("PATCH {policies}/web"), 200, refused);
    let went = seat.run("policy disable home web --dry-run", "").await;
    assert_eq!((went.code, went.err.as_str()), (1, "netloom: tests of policies say otherwise\n"), "{went:?}");
    assert!(went.out.contains("node:web  node:db"), "{}", went.out);
}

#[tokio::test]
async fn a_policy_is_sent_as_it_was_said() {
    let (server, seat) = logged_in().await;
    server.answers(&format!("POST {NETWORK}/policies"), 201, policy());
    server.answers(&format!("PATCH {NETWORK}/policies/web"), 200, policy());
    let line = "policy create home web --from tag:web,user:anna --to node:db --service udp/53,54 --service icmp --both";
    assert_eq!(seat.run(line, "").await.code, 0);
    let sent = json!({
        "name": "web", "enabled": true, "from": ["tag:web", "user:anna"], "to": ["node:db"],
        "services": ["udp/53-54", "icmp"], "both": true,
    });
    assert_eq!(server.seen().pop().unwrap().body, sent);
    assert_eq!(server.seen().pop().unwrap().target, format!("{NETWORK}/policies"));
    let went = seat.run("policy update home web --service everything", "").await;
    assert_eq!((went.code, server.seen().pop().unwrap().body), (0, json!({ "services": [] })));
    let line = "policy update home web --add-from user:bert --remove-to node:db,tag:old";
    let sent = json!({ "add_from": ["user:bert"], "remove_to": ["node:db", "tag:old"] });
    let went = seat.run(line, "").await;
    assert_eq!((went.code, server.seen().pop().unwrap().body), (0, sent));
}

#[tokio::test]
async fn a_run_of_tests_answers_by_its_exit_code() {
    let (server, seat) = logged_in().await;
    let test = json!({
        "id": ID, "network": ID, "from": "tag:web", "to": "node:db", "service": "tcp/443", "expect": "deny",
        "pairs": 0, "created": NOW,
    });
    let run = |passed: bool| {
        let result = json!({ "test": test, "passed": passed, "detail": if passed { Value::Null } else { "it may".into() } });
        json!({ "passed": passed, "results": [result] })
    };
    for (passed, code, said) in [(true, 0, "1 test right, 0 wrong."), (false, 3, "0 tests right, 1 wrong.")] {
        server.answers(&format!("POST {NETWORK}/policy-tests/run"), 200, run(passed));
        let went = seat.run("policy test run home", "").await;
        assert!(went.code == code && went.out.contains(said), "{went:?}");
    }
    server.answers(&format!("POST {NETWORK}/policy-tests"), 201, test.clone());
    let added = seat.run("policy test add home tag:web node:db tcp/443 deny", "").await;
    assert!(added.code == 0 && added.out.contains("It speaks of nobody now"), "{added:?}");
    let sent = json!({ "from": "tag:web", "to": "node:db", "service": "tcp/443", "expect": "deny" });
    assert_eq!(server.seen().pop().unwrap().body, sent);
}
