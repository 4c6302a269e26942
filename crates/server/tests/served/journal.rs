//! The journal: it has everything but secrets.

use api::{CreateToken, CreateUser, CreatedToken, JournalEntry, Page, Role, User, path};
use testkit::fleet::{Agent, Method, PASSWORD};

use crate::running::start;

#[tokio::test]
async fn the_journal_tells_who_did_what_and_holds_no_secret() {
    let ready = start().await;
    let admin = &ready.admin;
    let token = ready.network("home", "10.1.0.0/16").await;
    let create = CreateUser {
        name: "anna".parse().unwrap(),
        role: Role::Auditor,
        password: "an auditor's password".parse().unwrap(),
    };
    let _anna: User = admin.post(path::USERS, &create).await.unwrap();
    let create = CreateToken { title: "script".parse().unwrap(), expires: None, expires_in: None };
    let script: CreatedToken = admin.post(path::TOKENS, &create).await.unwrap();
    Agent::join(&token, "web").await.unwrap();

    let entries: Vec<JournalEntry> = admin.list(path::JOURNAL, 3).await.unwrap();
    let seqs: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
    let newest_first: Vec<u64> = (1..=seqs[0]).rev().collect();
    assert_eq!(seqs, newest_first, "every change, once, newest first");
    let find = |command: &str| entries.iter().find(|entry| entry.command == command);
    let made = find("create-network").unwrap();
    assert!(made.actor.contains("root"), "{made:?}");
    assert_eq!(made.changes[0].after.as_ref().unwrap()["name"], "home");
    assert!(find("register").unwrap().changes.iter().any(|change| change.kind == "host"));

    let text = format!("{path}?limit=1000", path = path::JOURNAL);
    let text = admin.send(Method::GET, &text, "text/plain", Vec::new()).await.unwrap();
    let text = String::from_utf8(text.body).unwrap();
    let intent = ready.running.server.handle.intent();
    let mut secrets = vec![PASSWORD.to_owned(), "$argon2".to_owned(), script.secret, token.to_string()];
    secrets.push(admin.token.clone().unwrap());
    secrets.extend(intent.users(None).map(|user| user.password.as_phc().to_owned()));
    secrets.extend(intent.enrollment_keys(None).map(|key| key.digest.to_string()));
    for user in intent.users(None) {
        secrets.extend(intent.api_tokens_of_user(user.id).map(|token| token.digest.to_string()));
    }
    assert!(secrets.len() >= 10, "there is something to look for");
    for secret in secrets {
        assert!(!text.contains(&secret), "the journal holds {secret}");
    }
}

#[tokio::test]
async fn the_next_page_of_one_list_is_none_of_another() {
    let ready = start().await;
    let admin = &ready.admin;
    ready.network("home", "10.1.0.0/16").await;
    let page: Page<JournalEntry> = admin.get(&format!("{}?limit=1", path::JOURNAL)).await.unwrap();
    let next = page.next.expect("set-up and log-in are in the journal too");
    let nodes = path::fill(path::NODES, &["home"]);
    for list in [path::NETWORKS, path::HOSTS, path::KEYS, path::USERS, path::TOKENS, &nodes] {
        let asked = admin.get::<Page<serde_json::Value>>(&format!("{list}?after={}", next.as_str())).await;
        let refused = asked.unwrap_err();
        assert_eq!(refused.status(), 422, "{list}");
        assert!(refused.to_string().contains("`after`"), "{refused}");
    }
}
