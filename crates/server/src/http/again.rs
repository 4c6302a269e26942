//! A refusal at a server that lags behind the others is not the last word: what was not found here may have been made at another
//! one a moment ago, and so may the log-in of whoever asks.
//!
//! Not for what is committed (that is decided again in `brain`). It keeps true that a request is carried out twice only where the
//! first time it came to nothing, and that no more of a body is kept than its handler has read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::stream::{self, StreamExt as _};

use super::Shared;

/// Answers, and once more if it was refused and others have committed what is not known here.
pub(super) async fn once_more(State(admin): State<Shared>, request: Request, next: Next) -> Response {
    let brain = &admin.parts.brain;
    if !admin.parts.database.is_shared() {
        return next.run(request).await;
    }
    let seq = brain.intent().seq();
    let (parts, body) = request.into_parts();
    let kept = Kept::of(body);
    let answer = next.clone().run(Request::from_parts(parts.clone(), kept.body())).await;
    if !may_not_know(answer.status()) || !brain.learns_more_than(seq).await {
        return answer;
    }
    next.run(Request::from_parts(parts, kept.body())).await
}

/// Whether it was refused for something that is looked up. Nothing was changed then.
fn may_not_know(status: StatusCode) -> bool {
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].contains(&status)
}

/// A request's body that can be read from its beginning again.
#[derive(Clone)]
struct Kept(Arc<Mutex<Pieces>>);

struct Pieces {
    read: Vec<Bytes>,
    rest: BodyDataStream,
}

impl Kept {
    fn of(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Pieces { read: Vec::new(), rest: body.into_data_stream() })))
    }

    /// From its beginning. One is read at a time.
    fn body(&self) -> Body {
        let (kept, mut at) = (self.clone(), 0);
        Body::from_stream(stream::poll_fn(move |context| kept.piece(&mut at, context)))
    }

    fn piece(&self, at: &mut usize, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, axum::Error>>> {
        let mut pieces = self.lock();
        let known = pieces.read.get(*at).cloned();
        let piece = match known {
            Some(piece) => Some(Ok(piece)),
            None => std::task::ready!(pieces.rest.poll_next_unpin(context)),
        };
        if let Some(Ok(piece)) = &piece {
            if *at == pieces.read.len() {
                pieces.read.push(piece.clone());
            }
            *at += 1;
        }
        Poll::Ready(piece)
    }

    fn lock(&self) -> MutexGuard<'_, Pieces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn a_body_is_read_again_from_its_beginning_however_far_it_was_read() {
        let whole = ["a", "bc", "", "def"];
        for read in 0..=5 {
            let pieces = whole.map(|piece| Ok::<_, axum::Error>(Bytes::from_static(piece.as_bytes())));
            let kept = Kept::of(Body::from_stream(stream::iter(pieces)));
            let mut first = kept.body().into_data_stream();
            for piece in 0..read {
                assert_eq!(first.next().await.is_some(), piece < 4);
            }
            assert_eq!(kept.lock().read.len(), read.min(4), "no more is kept than was read");
            drop(first);
            for _ in 0..2 {
                assert_eq!(to_bytes(kept.body(), 100).await.unwrap(), "abcdef");
            }
        }
    }
}
