//! All that is set up as a document: taken only as it says, and only where it is what somebody looked at.

use api::{Client, ImportChange, Imported, Member, Policy, Problem, path};
use serde_json::{Value, json};
use testkit::fleet::{Agent, ApiError, Method};

use crate::running::{Ready, start};

async fn exported(ready: &Ready) -> Value {
    ready.admin.get(path::EXPORT).await.unwrap()
}

async fn import(ready: &Ready, query: &str, document: &Value) -> Result<Imported, ApiError> {
    ready.admin.post(&format!("{}?{query}", path::IMPORT), document).await
}

fn problem(error: ApiError) -> Problem {
    match error {
        ApiError::Problem(problem) => *problem,
        ApiError::Broken(error) => panic!("{error:#}"),
    }
}

#[tokio::test]
async fn a_document_means_all_that_it_says() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    Agent::join(&token, "web").await.unwrap();
    let document = exported(&ready).await;
    assert!(import(&ready, "dry_run=true", &document).await.unwrap().records.is_empty());
    for (at, value, field) in [
        ("/records/network/0/keepaliv", json!(25), "records.network[0].keepaliv"),
        ("/records/node/0/addresses/v5", json!("10.1.0.9"), "records.node[0].addresses.v5"),
        ("/records/user/0/password", json!("$argon2id$"), "records.user[0].password"),
        ("/recods", json!({}), "recods"),
    ] {
        let mut wrong = document.clone();
        let (parent, name) = at.rsplit_once('/').unwrap();
        wrong.pointer_mut(parent).unwrap()[name] = value;
        let told = problem(import(&ready, "dry_run=true", &wrong).await.unwrap_err());
        assert!(told.status == 422 && told.detail.contains(field), "{told:?}");
    }
    let told = problem(import(&ready, "dryrun=true", &document).await.unwrap_err());
    assert_eq!(told.status, 422, "what looks like a dry run is not done for real");
    let mut nothing = document.clone();
    nothing["records"]["network"][0]["hub"] = Value::Null;
    assert!(import(&ready, "", &nothing).await.unwrap().records.is_empty());
}

#[tokio::test]
async fn only_what_was_looked_at_is_done_and_secrets_are_nobodys() {
    let ready = start().await;
    ready.network("home", "10.1.0.0/16").await;
    let mut document = exported(&ready).await;
    document["records"]["network"][0]["keepalive"] = json!(30);
    let looked = import(&ready, "dry_run=true", &document).await.unwrap();
    assert_eq!(looked.records.len(), 1);
    let groups = path::fill(path::USER_GROUPS, &["root"]);
    ready.admin.json(Method::PUT, &groups, &json!({ "groups": ["staff"] })).await.unwrap();
    let told = problem(import(&ready, &format!("seq={}", looked.seq), &document).await.unwrap_err());
    assert_eq!((told.status, told.code.as_ref()), (409, "import-stale"));
    let again = import(&ready, "dry_run=true", &document).await.unwrap();
    assert_eq!(again.records.len(), 2, "the groups as well: {:?}", again.records);
    import(&ready, &format!("seq={}", again.seq), &document).await.unwrap();
    assert!(import(&ready, "", &document).await.unwrap().records.is_empty());

    let keys: api::Page<api::Key> = ready.admin.get(path::KEYS).await.unwrap();
    ready.admin.delete(&path::fill(path::KEY, &[&keys.items[0].id.to_string()])).await.unwrap();
    let left = import(&ready, "", &document).await.unwrap().records;
    assert_eq!(left.iter().map(|record| record.change).collect::<Vec<_>>(), [ImportChange::LeftOut]);
    let keys: api::Page<api::Key> = ready.admin.get(path::KEYS).await.unwrap();
    assert_eq!(keys.items, [], "a key does not come back without its secret");
}

#[tokio::test]
async fn a_dry_run_of_an_import_says_who_gains_and_loses_access_where() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    for name in ["web", "db"] {
        Agent::join(&token, name).await.unwrap();
    }
    let policies = path::fill(path::POLICIES, &["home"]);
    let all = json!({ "name": "all", "from": ["node:web"], "to": ["node:db"] });
    let _policy: Policy = ready.admin.post(&policies, &all).await.unwrap();
    let deny = json!({ "access": "deny" });
    let _home: api::Network = ready.admin.patch(&path::fill(path::NETWORK, &["home"]), &deny).await.unwrap();
    let mut document = exported(&ready).await;
    document["records"]["policy"][0]["services"] = json!(["tcp/443"]);
    let looked = import(&ready, "dry_run=true", &document).await.unwrap();
    let access = looked.access.unwrap();
    assert_eq!((access.changing, access.gaining, access.losing), (1, 0, 1));
    let pair = &access.pairs[0];
    assert_eq!((pair.network.as_str(), pair.from.clone()), ("home", "node:web".parse::<Member>().unwrap()));
    assert_eq!(
        (pair.before.clone(), pair.after.clone()),
        (vec!["everything".to_owned()], vec!["tcp/443".to_owned()])
    );
    assert!(import(&ready, "", &document).await.unwrap().access.is_none());
}

#[tokio::test]
async fn a_document_goes_into_a_new_server_whose_first_account_has_the_same_name() {
    let old = start().await;
    let token = old.network("home", "10.1.0.0/16").await;
    Agent::join(&token, "gw").await.unwrap();
    let gateway = json!({ "remote_access": true });
    let _gw: api::Node = old.admin.patch(&path::fill(path::NODE, &["home", "gw"]), &gateway).await.unwrap();
    let phone = json!({
        "name": "phone", "owner": "root", "public_key": "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=",
    });
    let clients = path::fill(path::CLIENTS, &["home"]);
    let _created: Value = old.admin.post(&clients, &phone).await.unwrap();
    let document = exported(&old).await;
    for prune in ["", "prune=true"] {
        let new = start().await;
        let done = import(&new, prune, &document).await.unwrap();
        let left = done.records.iter().filter(|record| record.change == ImportChange::LeftOut);
        assert_eq!(left.count(), 1, "the enrollment key");
        let phone: Client = new.admin.get(&path::fill(path::CLIENT, &["home", "phone"])).await.unwrap();
        assert_eq!(phone.owner.unwrap().name.as_str(), "root");
        let users: api::Page<api::User> = new.admin.get(path::USERS).await.unwrap();
        assert_eq!(users.items.len(), 1, "who imports is whom the document means, and still logged in");
        let again = import(&new, prune, &document).await.unwrap();
        assert!(again.records.iter().all(|record| record.change == ImportChange::LeftOut));
    }
}
