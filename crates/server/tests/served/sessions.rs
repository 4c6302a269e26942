//! Set-up, log-in, roles, tokens.

use api::{
    ChangePassword, CreateToken, CreateUser, CreatedToken, Me, Page, Role, Setup, SetupState, User, path,
};
use testkit::fleet::{Administrator, Method, PASSWORD};

use crate::running::{fresh, start};

#[tokio::test]
async fn the_first_administrator_is_made_once_and_only_with_the_code() {
    let running = fresh("").await;
    let stranger = Administrator::stranger(&running.site);
    let state: SetupState = stranger.get(path::SETUP).await.unwrap();
    assert!(!state.done);
    let code = running.setup_code();

    let wrong = Administrator::set_up(&running.site, "wrong-code").await.unwrap_err();
    assert_eq!((wrong.status(), wrong.code()), (403, api::WRONG_CODE));
    assert!(wrong.to_string().contains("setup-code"), "it says where the code is: {wrong}");

    let admin = Administrator::set_up(&running.site, &code).await.unwrap();
    let me: Me = admin.get(path::ME).await.unwrap();
    assert_eq!((me.user.name.to_string(), me.user.role), ("root".to_owned(), Role::Administrator));
    assert!(!running.folder.path().join("setup-code").exists());

    let again = Administrator::set_up(&running.site, &code).await.unwrap_err();
    assert_eq!((again.status(), again.code()), (409, "already-set-up"));
    let state: SetupState = stranger.get(path::SETUP).await.unwrap();
    assert!(state.done);
}

#[tokio::test]
async fn two_that_set_up_at_the_same_instant_make_one_administrator() {
    let running = fresh("").await;
    let code = running.setup_code();
    let set_up = |name: &str| {
        let name = name.parse().unwrap();
        let setup = Setup { code: code.trim().to_owned().into(), name, password: PASSWORD.parse().unwrap() };
        let site = running.site.apart().unwrap();
        async move { Administrator::stranger(&site).json(Method::POST, path::SETUP, &setup).await }
    };
    let (one, other) = tokio::join!(set_up("one"), set_up("other"));
    assert_ne!(one.is_ok(), other.is_ok(), "{one:?} {other:?}");
    assert_eq!(running.server.handle.intent().users(None).count(), 1);
}

#[tokio::test]
async fn a_wrong_password_is_refused_alike_for_all_names_and_guessing_is_slowed() {
    let ready = start().await;
    let site = &ready.running.site;
    Administrator::log_in(site, "root", PASSWORD).await.unwrap();
    let known = Administrator::log_in(site, "root", "wrong password").await.unwrap_err();
    let unknown = Administrator::log_in(site, "nobody", "wrong password").await.unwrap_err();
    assert_eq!((known.status(), known.code()), (401, api::WRONG_PASSWORD));
    assert_eq!(known.to_string(), unknown.to_string());

    let mut last = known;
    for _ in 0..30 {
        last = Administrator::log_in(site, "nobody", "wrong password").await.unwrap_err();
        if last.status() == 429 {
            break;
        }
    }
    assert_eq!((last.status(), last.code()), (429, "rate-limited"));
    let body = br#"{"name":"root","password":"wrong password"}"#.to_vec();
    let headers = [("content-type", "application/json")];
    let refused = site.send(Method::POST, path::LOGIN, &headers, body).await.unwrap();
    assert!(refused.headers.contains_key("retry-after"));
    let me: Me = ready.admin.get(path::ME).await.unwrap();
    assert_eq!(me.user.name.to_string(), "root", "who is logged in is not slowed");
}

async fn auditor(admin: &Administrator) -> Administrator {
    let create = CreateUser {
        name: "anna".parse().unwrap(),
        role: Role::Auditor,
        password: "an auditor's password".parse().unwrap(),
    };
    let user: User = admin.post(path::USERS, &create).await.unwrap();
    assert_eq!(user.role, Role::Auditor);
    Administrator::log_in(&admin.site, "anna", "an auditor's password").await.unwrap()
}

#[tokio::test]
async fn an_auditor_reads_everything_and_changes_nothing() {
    let ready = start().await;
    let auditor = auditor(&ready.admin).await;
    ready.network("home", "10.1.0.0/16").await;
    let lists = [path::NETWORKS, path::HOSTS, path::KEYS, path::USERS, path::JOURNAL];
    for list in lists {
        let _page: Page<serde_json::Value> = auditor.get(list).await.unwrap();
    }
    let another = CreateUser {
        name: "carl".parse().unwrap(),
        role: Role::Administrator,
        password: "an auditor's friend".parse().unwrap(),
    };
    let set = api::SetPassword { password: "an auditor's choice".parse().unwrap() };
    let set = auditor.json(Method::PUT, &path::fill(path::USER_PASSWORD, &["root"]), &set).await;
    let writes = [
        auditor.post::<User>(path::USERS, &another).await.map(drop),
        set.map(drop),
        auditor.network("work", "10.2.0.0/16").await.map(drop),
        auditor.key("key", &["home"], None).await.map(drop),
        auditor.delete(&path::fill(path::NETWORK, &["home"])).await,
        auditor.get::<serde_json::Value>(path::BACKUP).await.map(drop),
    ];
    for write in writes {
        let refused = write.unwrap_err();
        assert_eq!((refused.status(), refused.code()), (403, "not-allowed"));
    }
    let own = CreateToken { title: "script".parse().unwrap(), expires: None, expires_in: None };
    let _own: CreatedToken = auditor.post(path::TOKENS, &own).await.unwrap();
}

#[tokio::test]
async fn nobody_gets_in_without_a_token_and_with_a_wrong_one() {
    let ready = start().await;
    let stranger = Administrator::stranger(&ready.running.site);
    for who in [stranger.clone(), stranger.with_token("nlt_wrong"), stranger.with_token("")] {
        let refused = who.get::<Me>(path::ME).await.unwrap_err();
        assert_eq!((refused.status(), refused.code()), (401, "not-logged-in"));
        let refused = who.network("home", "10.1.0.0/16").await.unwrap_err();
        assert_eq!(refused.status(), 401);
    }
}

#[tokio::test]
async fn a_token_works_until_it_is_ended_and_a_log_in_until_its_logout() {
    let ready = start().await;
    let create = CreateToken { title: "script".parse().unwrap(), expires: None, expires_in: Some(3600) };
    let created: CreatedToken = ready.admin.post(path::TOKENS, &create).await.unwrap();
    let program = ready.admin.with_token(&created.secret);
    let me: Me = program.get(path::ME).await.unwrap();
    assert_eq!(me.token.title, "script".parse().unwrap());
    let tokens: Vec<api::ApiToken> = ready.admin.list(path::TOKENS, 100).await.unwrap();
    assert_eq!(tokens.len(), 2, "the log-in and the token");
    ready.admin.delete(&path::fill(path::TOKEN, &[&created.token.id.to_string()])).await.unwrap();
    assert_eq!(program.get::<Me>(path::ME).await.unwrap_err().status(), 401);

    let second = Administrator::log_in(&ready.running.site, "root", PASSWORD).await.unwrap();
    second.send(Method::POST, path::LOGOUT, "text/plain", Vec::new()).await.unwrap();
    assert_eq!(second.get::<Me>(path::ME).await.unwrap_err().status(), 401);
    assert!(ready.admin.get::<Me>(path::ME).await.is_ok());

    let past = CreateToken { expires_in: Some(0), ..create };
    let refused = ready.admin.json(Method::POST, path::TOKENS, &past).await.unwrap_err();
    assert_eq!(refused.status(), 422);
    assert!(refused.to_string().contains("expires_in"), "{refused}");
}

#[tokio::test]
async fn a_new_password_ends_all_other_log_ins() {
    let ready = start().await;
    let other = Administrator::log_in(&ready.running.site, "root", PASSWORD).await.unwrap();
    let change = |current: &str| ChangePassword {
        current: current.to_owned().into(),
        new: "another password".parse().unwrap(),
    };
    let wrong = ready.admin.json(Method::PUT, path::MY_PASSWORD, &change("wrong")).await.unwrap_err();
    assert_eq!((wrong.status(), wrong.code()), (403, api::WRONG_PASSWORD));
    ready.admin.json(Method::PUT, path::MY_PASSWORD, &change(PASSWORD)).await.unwrap();
    assert_eq!(other.get::<Me>(path::ME).await.unwrap_err().status(), 401);
    assert!(ready.admin.get::<Me>(path::ME).await.is_ok());
    assert!(Administrator::log_in(&ready.running.site, "root", PASSWORD).await.is_err());
    Administrator::log_in(&ready.running.site, "root", "another password").await.unwrap();
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let ready = start().await;
    let root = path::fill(path::USER, &["root"]);
    let refused = ready.admin.delete(&root).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (409, "last-administrator"));
    let demote = api::PatchUser { role: Role::Auditor };
    let refused = ready.admin.patch::<User>(&root, &demote).await.unwrap_err();
    assert_eq!(refused.code(), "last-administrator");
    auditor(&ready.admin).await;
    ready.admin.delete(&path::fill(path::USER, &["anna"])).await.unwrap();
}
