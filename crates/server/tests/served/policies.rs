//! Policies: made, tried, explained and tested.

use api::{
    Access, AccessChange, AddNode, CreatePolicyTest, DecidedBy, Explanation, Network, Node, PatchNetwork,
    PatchPolicy, Policy, PolicyTest, PolicyTestRun, Written, path,
};
use serde_json::{Value, json};
use testkit::fleet::{Agent, Method};

use crate::running::{Ready, start};

/// The network `home`, which denies, with the nodes `web` (tag `web`), `db` and `pc`.
async fn denying() -> Ready {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    for name in ["web", "db", "pc"] {
        Agent::join(&token, name).await.unwrap();
    }
    let tags = json!({"tags": ["web"]});
    let web: Node = ready.admin.patch(&path::fill(path::NODE, &["home", "web"]), &tags).await.unwrap();
    assert_eq!(web.tags.len(), 1);
    let deny = PatchNetwork { access: Some(Access::Deny), ..PatchNetwork::default() };
    let denied: Network = ready.admin.patch(&path::fill(path::NETWORK, &["home"]), &deny).await.unwrap();
    assert_eq!(denied.access, Access::Deny);
    ready
}

fn policies() -> String {
    path::fill(path::POLICIES, &["home"])
}

fn database() -> Value {
    json!({"name": "database", "from": ["tag:web"], "to": ["node:db"], "services": ["tcp/5432"]})
}

async fn tried(ready: &Ready, method: Method, path: &str, body: &Value) -> AccessChange {
    let before = ready.running.server.handle.intent().seq();
    let reply = ready.admin.json(method, &format!("{path}?dry_run=true"), body).await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(ready.running.server.handle.intent().seq(), before, "nothing is committed");
    serde_json::from_slice(&reply.body).unwrap()
}

async fn explain(ready: &Ready, from: &str, to: &str, service: &str) -> Explanation {
    let at = path::fill(path::POLICY_EXPLAIN, &["home"]);
    let query = [from, to, service].map(path::encode);
    let at = format!("{at}?from={}&to={}&service={}", query[0], query[1], query[2]);
    ready.admin.get(&at).await.unwrap()
}

#[tokio::test]
async fn a_policy_is_tried_made_explained_changed_and_removed() {
    let ready = denying().await;
    let looked = tried(&ready, Method::POST, &policies(), &database()).await;
    assert_eq!((looked.changing, looked.gaining, looked.losing), (1, 1, 0));
    let pair = &looked.pairs[0];
    assert_eq!((pair.from.to_string(), pair.to.to_string()), ("node:web".to_owned(), "node:db".to_owned()));
    assert_eq!((pair.gained.clone(), pair.lost.is_empty()), (vec!["tcp/5432".to_owned()], true));
    assert_eq!((pair.network.as_str(), pair.before.is_empty(), &pair.after), ("home", true, &pair.gained));
    let tag = json!({"tags": ["other"]});
    let at_web = path::fill(path::NODE, &["home", "web"]);
    let looked = tried(&ready, Method::PATCH, &at_web, &tag).await;
    assert_eq!(looked, AccessChange::default(), "there is no policy yet that speaks of its tags");
    let none = explain(&ready, "web", "db", "tcp/5432").await;
    assert_eq!((none.allowed, none.decided_by), (false, DecidedBy::Default));
    assert!(none.reason.contains("network `home` denies"), "{}", none.reason);

    let made: Policy = ready.admin.post(&policies(), &database()).await.unwrap();
    assert_eq!(made.from[0].to_string(), "tag:web");
    let yes = explain(&ready, "node:web", "db", "tcp/5432").await;
    assert_eq!((yes.allowed, yes.reverse_allowed, yes.decided_by), (true, false, DecidedBy::Policies));
    assert_eq!(yes.policies[0].id, made.id);
    assert!(!explain(&ready, "web", "db", "tcp/22").await.allowed);
    assert_eq!(explain(&ready, "web", "db", "tcp").await.decided_by, DecidedBy::Partly);

    let looked = tried(&ready, Method::PATCH, &at_web, &tag).await;
    assert_eq!((looked.losing, looked.pairs[0].lost.clone()), (1, vec!["tcp/5432".to_owned()]));
    let at = path::fill(path::POLICY, &["home", "database"]);
    let looked = tried(&ready, Method::PATCH, &at, &json!({"both": true})).await;
    assert_eq!((looked.gaining, looked.pairs[0].from.to_string()), (1, "node:db".to_owned()));
    let more: Written<Policy> =
        ready.admin.patch(&at, &json!({"add_from": ["node:pc"], "remove_to": ["tag:gone"]})).await.unwrap();
    assert!(matches!(more, Written::Done(policy) if policy.from.len() == 2 && policy.to.len() == 1));
    let disabled = PatchPolicy { enabled: Some(false), ..PatchPolicy::default() };
    let disabled: Written<Policy> = ready.admin.patch(&at, &disabled).await.unwrap();
    assert!(matches!(disabled, Written::Done(policy) if !policy.enabled));
    let no = explain(&ready, "web", "db", "tcp/5432").await;
    assert!(no.reason.contains("`database` would let it through, but is disabled"), "{}", no.reason);
    let enabled = json!({"enabled": true, "name": "db", "services": []});
    let _policy: Policy = ready.admin.patch(&at, &enabled).await.unwrap();

    let at = path::fill(path::POLICY, &["home", "db"]);
    let narrowed = tried(&ready, Method::PATCH, &at, &json!({"services": ["tcp/443"]})).await;
    assert_eq!((narrowed.losing, narrowed.pairs[0].after.clone()), (2, vec!["tcp/443".to_owned()]));
    let looked = tried(&ready, Method::DELETE, &at, &Value::Null).await;
    assert_eq!((looked.losing, looked.pairs[0].lost.clone()), (2, vec!["everything".to_owned()]));
    ready.admin.delete(&at).await.unwrap();
    assert_eq!(ready.admin.list::<Policy>(&policies(), 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_networks_default_is_tried_before_it_is_changed() {
    let ready = denying().await;
    let home = path::fill(path::NETWORK, &["home"]);
    let looked = tried(&ready, Method::PATCH, &home, &json!({"access": "allow"})).await;
    assert_eq!((looked.changing, looked.gaining, looked.pairs.len()), (6, 6, 6));
    assert_eq!(ready.admin.get::<Network>(&home).await.unwrap().access, Access::Deny);
}

#[tokio::test]
async fn a_test_holds_policies_to_its_word() {
    let ready = denying().await;
    let tests = path::fill(path::POLICY_TESTS, &["home"]);
    let test = |expect| CreatePolicyTest {
        from: "tag:web".parse().unwrap(),
        to: "node:db".parse().unwrap(),
        service: "tcp/5432".parse().unwrap(),
        expect,
    };
    let wrong = ready.admin.post::<PolicyTest>(&tests, &test(Access::Allow)).await.unwrap_err();
    assert_eq!((wrong.status(), wrong.code()), (409, "policy-tests-fail"));
    let _policy: Policy = ready.admin.post(&policies(), &database()).await.unwrap();
    let made: PolicyTest = ready.admin.post(&tests, &test(Access::Allow)).await.unwrap();
    assert_eq!(ready.admin.list::<PolicyTest>(&tests, 10).await.unwrap(), std::slice::from_ref(&made));

    let at = path::fill(path::POLICY, &["home", "database"]);
    let refused = ready.admin.delete(&at).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (409, "policy-tests-fail"));
    let looked = tried(&ready, Method::DELETE, &at, &Value::Null).await;
    assert_eq!(looked.refused.unwrap().code.as_ref(), "policy-tests-fail", "a dry run says so too");
    assert_eq!(
        (looked.losing, looked.pairs[0].from.to_string()),
        (1, "node:web".to_owned()),
        "and what it would do"
    );
    assert_eq!(made.pairs, 1);
    let misspelt = CreatePolicyTest { from: "tag:wbe".parse().unwrap(), ..test(Access::Deny) };
    let idle: PolicyTest = ready.admin.post(&tests, &misspelt).await.unwrap();
    assert_eq!(idle.pairs, 0, "it is of nobody");
    ready.admin.delete(&path::fill(path::POLICY_TEST, &["home", &idle.id.to_string()])).await.unwrap();

    let run = path::fill(path::POLICY_TESTS_RUN, &["home"]);
    let run = ready.admin.send(Method::POST, &run, "text/plain", Vec::new()).await.unwrap();
    let run: PolicyTestRun = serde_json::from_slice(&run.body).unwrap();
    assert!(run.passed && run.results.len() == 1 && run.results[0].detail.is_none());
    let at_test = path::fill(path::POLICY_TEST, &["home", &made.id.to_string()]);
    ready.admin.delete(&at_test).await.unwrap();
    ready.admin.delete(&at).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_or_is_not_there_is_told() {
    let ready = denying().await;
    for (body, part) in [
        (json!({"name": "x", "from": ["web"], "to": ["everything"]}), "`web` is no subject"),
        (
            json!({"name": "x", "from": ["tag:web"], "to": ["everything"], "services": ["http"]}),
            "is no service",
        ),
        (json!({"name": "x", "from": [], "to": ["everything"]}), "at least one"),
        (json!({"name": "x", "from": ["node:gone"], "to": ["everything"]}), "has no node `gone`"),
        (json!({"name": "x", "from": ["client:gone"], "to": ["everything"]}), "has no client `gone`"),
        (json!({"name": "x", "from": ["user:gone"], "to": ["everything"]}), "no user `gone`"),
    ] {
        let refused = ready.admin.post::<Policy>(&policies(), &body).await.unwrap_err();
        assert!(refused.to_string().contains(part), "{refused}");
        assert!([404, 422].contains(&refused.status()), "{refused}");
    }
    let at = path::fill(path::POLICY_EXPLAIN, &["home"]);
    let refused = ready.admin.get::<Value>(&format!("{at}?from=tag:web&to=db&service=tcp/1")).await;
    let refused = refused.unwrap_err();
    assert!(refused.to_string().contains("`tag:web` is no member"), "{refused}");
    let refused = ready.admin.get::<Value>(&format!("{at}?from=gone&to=db&service=tcp/1")).await.unwrap_err();
    assert_eq!(refused.status(), 404);
    let refused =
        ready.admin.get::<Value>(&format!("{at}?from=web&to=db&service=tcp/1-100")).await.unwrap_err();
    assert!(refused.status() == 422 && refused.to_string().contains("`service`"), "{refused}");
    let add = AddNode::of("gone".parse().unwrap());
    let refused = ready.admin.post::<Node>(&path::fill(path::NODES, &["home"]), &add).await.unwrap_err();
    assert_eq!(refused.status(), 404);
}

#[tokio::test]
async fn groups_are_tried_before_they_are_changed() {
    let ready = denying().await;
    let gateway = json!({"remote_access": true});
    let _db: Node = ready.admin.patch(&path::fill(path::NODE, &["home", "db"]), &gateway).await.unwrap();
    let phone = json!({
        "name": "phone", "owner": "root", "public_key": "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=",
    });
    let _phone: Value = ready.admin.post(&path::fill(path::CLIENTS, &["home"]), &phone).await.unwrap();
    let staff =
        json!({"name": "staff", "from": ["group:staff"], "to": ["node:web"], "services": ["tcp/443"]});
    let _policy: Policy = ready.admin.post(&policies(), &staff).await.unwrap();
    let at = path::fill(path::USER_GROUPS, &["root"]);
    let looked = tried(&ready, Method::PUT, &at, &json!({"groups": ["staff"]})).await;
    assert_eq!((looked.changing, looked.gaining), (1, 1));
    let pair = &looked.pairs[0];
    assert_eq!((pair.network.as_str(), pair.from.to_string()), ("home", "client:phone".to_owned()));
    let me: api::User = ready.admin.get(&path::fill(path::USER, &["root"])).await.unwrap();
    assert!(me.groups.is_empty());
}

#[tokio::test]
async fn a_networks_access_decides_before_its_policies() {
    let ready = denying().await;
    let _policy: Policy = ready.admin.post(&policies(), &database()).await.unwrap();
    let allow = json!({"access": "allow"});
    let _home: Network = ready.admin.patch(&path::fill(path::NETWORK, &["home"]), &allow).await.unwrap();
    let why = explain(&ready, "web", "db", "tcp/5432").await;
    assert_eq!((why.decided_by, why.policies.len()), (DecidedBy::Default, 0));
    assert!(why.reason.contains("`home` allows everything"), "{}", why.reason);
    let itself = explain(&ready, "web", "web", "tcp/22").await;
    assert_eq!((itself.allowed, itself.decided_by), (true, DecidedBy::Unjudged));
}
