//! Agents' requests at a server that follows: handed on to the one that leads, as they are, and its answers handed back.
//!
//! Not for judging them: the leader does that, by their signatures. It keeps true that a request is handed on once at most, that
//! where it came from is believed of servers of this database only, and that an agent which cannot be answered hears so at once.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::stream;
use wire::RefusalCode;

use super::signed::target;
use super::{Agents, MOST_BODY, Refused};
use crate::brain::now;
use crate::cluster::{Purpose, Role};

/// A letter that says for whom another server asks.
pub(super) const FORWARDED: HeaderName = HeaderName::from_static("x-netloom-forwarded");

/// What of a request goes on, and of an answer comes back.
const REQUEST: [HeaderName; 2] = [AUTHORIZATION, CONTENT_TYPE];
const ANSWER: [HeaderName; 3] = [CONTENT_TYPE, CONTENT_LENGTH, RETRY_AFTER];

/// Answers where this server leads, and hands on where another one does.
pub(super) async fn to_leader(
    State(agents): State<Arc<Agents>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refused> {
    let letter = request.headers().get(&FORWARDED).cloned();
    match (agents.way.role(), letter) {
        (Role::Leads, None) => Ok(next.run(request).await),
        (Role::Leads, Some(letter)) => {
            let source = agents.source(&letter)?;
            request.extensions_mut().insert(ConnectInfo(SocketAddr::new(source, 0)));
            Ok(next.run(request).await)
        }
        (Role::Follows { leader: Some(_) }, None) => {
            let answer = hand_on(&agents, peer.ip(), request).await;
            let outcome = if answer.is_ok() { "answered" } else { "no_answer" };
            metrics::counter!("netloom_forwarded_total", "outcome" => outcome).increment(1);
            answer
        }
        // Whoever handed it on believes that this server leads: it will know better in a moment.
        (Role::Follows { .. }, Some(_)) | (Role::Follows { leader: None }, None) => Err(Refused::no_leader()),
    }
}

async fn hand_on(agents: &Agents, source: IpAddr, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MOST_BODY).await;
    let body = body.map_err(|error| Refused::new(RefusalCode::Invalid, error.to_string()))?;
    let mut headers = picked(&parts.headers, &REQUEST);
    headers.insert(FORWARDED, agents.letter(source)?);
    let target = target(&parts.extensions, &parts.uri);
    let answer = agents.way.send(parts.method, &target, headers, body).await;
    let answer = answer.map_err(|_| Refused::no_leader())?;
    let (status, headers) = (answer.status(), picked(answer.headers(), &ANSWER));
    let pieces = stream::try_unfold(answer, |mut answer| async move {
        let piece = answer.chunk().await?;
        Ok::<_, reqwest::Error>(piece.map(|piece| (piece, answer)))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    Ok(response)
}

fn picked(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let pick = |name: &HeaderName| Some((name.clone(), headers.get(name)?.clone()));
    names.iter().filter_map(pick).collect()
}

impl Agents {
    fn letter(&self, source: IpAddr) -> Result<HeaderValue, Refused> {
        let text = self.letters.seal_text(Purpose::Forwarded, source.to_string().as_bytes(), now());
        let value = text.and_then(|text| Ok(HeaderValue::from_str(&text)?));
        value.map_err(|error| Refused::new(RefusalCode::Internal, format!("{error:#}")))
    }

    fn source(&self, letter: &HeaderValue) -> Result<IpAddr, Refused> {
        let text = letter.to_str().ok();
        let source = text.and_then(|text| self.letters.open_text(Purpose::Forwarded, text, now()));
        let source = source.and_then(|source| String::from_utf8(source).ok()?.parse().ok());
        source.ok_or_else(|| {
            let sentence = "no server of this database handed this on, or its clock is wrong";
            Refused::guess(RefusalCode::NotProved, sentence)
        })
    }
}
