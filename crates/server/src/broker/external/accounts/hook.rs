//! The questions of a broker that asks over HTTP who may come and what each may do, as EMQX does.
//!
//! Not for telling a broker anything. It keeps true that only who shows the token is answered, that a host comes under its own
//! name only, and that what is not known is denied.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use model::HostId;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::{Action, Guests, heard, may, spoken};
use crate::broker::settings::Secret;

/// Where a broker asks whether somebody may come.
pub const AUTHENTICATE: &str = "/broker/v1/authenticate";
/// Where it asks what somebody may do.
pub const AUTHORIZE: &str = "/broker/v1/authorize";
/// The largest question.
const MOST_BODY: usize = 8 * 1024;

/// Answers a broker.
pub struct Hook {
    guests: Arc<dyn Guests>,
    token: Secret,
    user: String,
    password: Secret,
}

#[derive(Debug, Deserialize)]
struct Comer {
    #[serde(default)]
    clientid: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

#[derive(Debug, Deserialize)]
struct Wish {
    #[serde(default)]
    username: String,
    topic: String,
    action: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Allow,
    Deny,
    /// Nobody of ours: whoever is asked next decides.
    Ignore,
}

impl Hook {
    /// Answers who shows `token`. The server itself comes as `user`.
    pub fn new(guests: Arc<dyn Guests>, token: Secret, user: String, password: Secret) -> Self {
        Self { guests, token, user, password }
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route(AUTHENTICATE, post(authenticate))
            .route(AUTHORIZE, post(authorize))
            .layer(DefaultBodyLimit::max(MOST_BODY))
            .with_state(Arc::new(self))
    }

    fn is_asked_by(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        shown.is_some_and(|shown| is_same(shown, self.token.expose()))
    }

    fn admits(&self, comer: &Comer) -> Answer {
        if comer.username == self.user {
            return allow(is_same(comer.password.as_bytes(), self.password.expose()));
        }
        let Some(host) = host_of(&comer.username) else {
            return Answer::Ignore;
        };
        let password = self.guests.password(host);
        // A host under another's client id would end the other's connection.
        let own_name = comer.clientid == comer.username;
        allow(own_name && password.is_some_and(|known| is_same(comer.password.as_bytes(), &known)))
    }

    fn permits(&self, wish: &Wish) -> Answer {
        let action = match wish.action.as_str() {
            "publish" => Action::Publish,
            "subscribe" => Action::Subscribe,
            _ => return Answer::Deny,
        };
        if wish.username == self.user {
            return allow(match action {
                Action::Subscribe => heard().contains(&wish.topic),
                Action::Publish => is_spoken(&wish.topic),
            });
        }
        let Some(host) = host_of(&wish.username) else {
            return Answer::Ignore;
        };
        allow(may(host, action, &wish.topic) && self.guests.password(host).is_some())
    }
}

fn allow(is_allowed: bool) -> Answer {
    if is_allowed { Answer::Allow } else { Answer::Deny }
}

/// The host of this name; each has one spelling.
fn host_of(name: &str) -> Option<HostId> {
    name.parse().ok().filter(|host: &HostId| host.to_string() == name)
}

/// Whether the server speaks under this topic.
fn is_spoken(topic: &str) -> bool {
    spoken().iter().filter_map(|pattern| pattern.split_once('+')).any(|(before, after)| {
        let middle = topic.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        middle.is_some_and(|host| host_of(host).is_some())
    })
}

/// Digests are compared, so that time tells nothing.
fn is_same(given: &[u8], known: &str) -> bool {
    digest(&SHA256, given).as_ref() == digest(&SHA256, known.as_bytes()).as_ref()
}

fn answer(answer: Answer) -> Response {
    Json(serde_json::json!({ "result": answer })).into_response()
}

async fn authenticate(
    State(hook): State<Arc<Hook>>,
    headers: HeaderMap,
    Json(comer): Json<Comer>,
) -> Response {
    if !hook.is_asked_by(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    answer(hook.admits(&comer))
}

async fn authorize(State(hook): State<Arc<Hook>>, headers: HeaderMap, Json(wish): Json<Wish>) -> Response {
    if !hook.is_asked_by(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    answer(hook.permits(&wish))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;
    use zeroize::Zeroizing;

    use super::*;

    const A: HostId = HostId::from_bytes([0xa; 16]);
    const B: HostId = HostId::from_bytes([0xb; 16]);

    struct OnlyA;

    impl Guests for OnlyA {
        fn hosts(&self) -> Vec<HostId> {
            vec![A]
        }

        fn is_known(&self, host: HostId) -> bool {
            self.hosts().contains(&host)
        }

        fn password(&self, host: HostId) -> Option<Zeroizing<String>> {
            (host == A).then(|| Zeroizing::new("secret-of-a".to_owned()))
        }
    }

    fn router() -> Router {
        let secret = |text: &str| Secret::new(text.to_owned());
        Hook::new(Arc::new(OnlyA), secret("token"), "netloom".to_owned(), secret("own")).router()
    }

    /// The status and the answer.
    async fn ask(path: &str, token: &str, question: serde_json::Value) -> (StatusCode, String) {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::from(question.to_string()))
            .unwrap();
        let response = router().oneshot(request).await.unwrap();
        let (status, body) = (response.status(), response.into_body());
        let body = to_bytes(body, 1024).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        (status, answer["result"].as_str().unwrap_or_default().to_owned())
    }

    async fn comes(client: &str, user: &str, password: &str) -> String {
        let question = serde_json::json!({ "clientid": client, "username": user, "password": password });
        ask(AUTHENTICATE, "token", question).await.1
    }

    async fn does(user: &str, action: &str, topic: &str) -> String {
        let question = serde_json::json!({ "username": user, "action": action, "topic": topic });
        ask(AUTHORIZE, "token", question).await.1
    }

    #[tokio::test]
    async fn who_shows_no_token_is_told_nothing() {
        let question = serde_json::json!({ "clientid": "a", "username": "a", "password": "a" });
        assert_eq!(ask(AUTHENTICATE, "other", question).await, (StatusCode::UNAUTHORIZED, String::new()));
        let question = serde_json::json!({ "username": "a", "action": "publish", "topic": "a" });
        assert_eq!(ask(AUTHORIZE, "", question).await.0, StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn a_host_comes_under_its_own_name_with_its_own_password() {
        let (a, b) = (A.to_string(), B.to_string());
        assert_eq!(comes(&a, &a, "secret-of-a").await, "allow");
        assert_eq!(comes("netloom-server-1", "netloom", "own").await, "allow");
        for (client, user, password) in [
            (a.as_str(), a.as_str(), "wrong"),
            (&b, &a, "secret-of-a"),
            (&b, &b, ""),
            (&a, &a, ""),
            ("x", "netloom", "wrong"),
        ] {
            assert_eq!(comes(client, user, password).await, "deny", "{client} {user}");
        }
        assert_eq!(comes("x", "someone", "else").await, "ignore");
        assert_eq!(comes(&a, &a.to_uppercase(), "secret-of-a").await, "ignore");
    }

    #[tokio::test]
    async fn a_host_reaches_its_own_topics_and_nothing_else() {
        let (a, b) = (A.to_string(), B.to_string());
        let topic = |host: &str, kind: &str| format!("netloom/v1/host/{host}/{kind}");
        assert_eq!(does(&a, "publish", &topic(&a, "report")).await, "allow");
        assert_eq!(does(&a, "publish", &topic(&a, "presence")).await, "allow");
        assert_eq!(does(&a, "subscribe", &topic(&a, "map")).await, "allow");
        for (user, action, topic) in [
            (&a, "publish", topic(&a, "map")),
            (&a, "subscribe", topic(&a, "report")),
            (&a, "subscribe", topic(&b, "map")),
            (&a, "subscribe", topic("+", "map")),
            (&a, "subscribe", "#".to_owned()),
            (&a, "publish", topic(&b, "report")),
            (&a, "all", topic(&a, "report")),
            (&b, "publish", topic(&b, "report")),
        ] {
            assert_eq!(does(user, action, &topic).await, "deny", "{user} {action} {topic}");
        }
        assert_eq!(does("netloom", "subscribe", &topic("+", "report")).await, "allow");
        assert_eq!(does("netloom", "publish", &topic(&a, "map")).await, "allow");
        assert_eq!(does("netloom", "publish", &topic("+", "map")).await, "deny");
        assert_eq!(does("netloom", "subscribe", "#").await, "deny");
        assert_eq!(does("someone", "publish", "else").await, "ignore");
    }
}
