//! Large answers on their way out: their memory is counted until they were read, and taken back when they are not.
//!
//! Knows nothing of what is in them. Invariant: all that wait to be read have no more bytes than the shelf has room for,
//! give or take one chunk for each connection.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

/// What is handed to the connection at a time. Smaller answers are not counted: each connection may hold that much anyway.
const CHUNK: usize = 32 * 1024;
/// What is counted at a time.
const UNIT: usize = 1024;

/// Room for answers that were not read yet.
#[derive(Debug)]
pub(super) struct Shelf {
    room: Arc<Semaphore>,
    units: u32,
    patience: Duration,
}

impl Shelf {
    /// Room for this many bytes, each answer for at most this long.
    pub(super) fn new(bytes: usize, patience: Duration) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
        Self { room: Arc::new(Semaphore::new(units as usize)), units, patience }
    }

    /// The content as a body. Waits for room.
    pub(super) async fn place(&self, content: Vec<u8>) -> Body {
        if content.len() <= CHUNK {
            return Body::from(content);
        }
        // What is larger than the whole shelf takes all of it.
        let units = u32::try_from(content.len().div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units);
        let room = Arc::clone(&self.room).acquire_many_owned(units).await;
        let length = content.len();
        let content = Content { bytes: content, _room: room.expect("the shelf is never closed") };
        let content = Arc::new(Mutex::new(Some(content)));
        let (kept, patience) = (Arc::clone(&content), self.patience);
        let clearing = tokio::spawn(async move {
            tokio::time::sleep(patience).await;
            take_back(&kept);
        });
        Body::new(Parcel { content, sent: 0, length, clearing: clearing.abort_handle() })
    }
}

#[derive(Debug)]
struct Content {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

type Kept = Arc<Mutex<Option<Content>>>;

fn take_back(kept: &Kept) {
    kept.lock().unwrap_or_else(PoisonError::into_inner).take();
}

/// One answer. Its content goes when it was sent, when nobody wants it any more, or when the time is over.
#[derive(Debug)]
struct Parcel {
    content: Kept,
    sent: usize,
    length: usize,
    clearing: AbortHandle,
}

impl Drop for Parcel {
    fn drop(&mut self) {
        self.clearing.abort();
        take_back(&self.content);
    }
}

impl hyper::body::Body for Parcel {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let from = self.sent;
        if from == self.length {
            return Poll::Ready(None);
        }
        let end = self.length.min(from + CHUNK);
        let chunk = {
            let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
            // A copy: a slice would keep the whole in memory for as long as the connection holds a part.
            content.as_ref().map(|content| Bytes::copy_from_slice(&content.bytes[from..end]))
        };
        let Some(chunk) = chunk else {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the answer was not read in time");
            return Poll::Ready(Some(Err(error)));
        };
        self.sent = end;
        if end == self.length {
            take_back(&self.content);
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.length - self.sent) as u64)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use futures_util::FutureExt as _;

    use super::*;

    fn content() -> Vec<u8> {
        (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect()
    }

    #[tokio::test]
    async fn an_answer_arrives_whole_and_room_comes_back_when_it_was_read_or_dropped() {
        let shelf = Shelf::new(150_000, Duration::from_secs(3600));
        let first = shelf.place(content()).await;
        assert!(shelf.place(content()).now_or_never().is_none(), "there is room for one");
        assert!(shelf.place(vec![1; 100]).now_or_never().is_some(), "small answers are not counted");
        assert_eq!(to_bytes(first, usize::MAX).await.unwrap(), content());
        let second = shelf.place(content()).now_or_never().expect("the first was read");
        drop(second);
        assert!(shelf.place(content()).now_or_never().is_some());
    }

    #[tokio::test]
    async fn an_answer_that_is_not_read_in_time_is_taken_back() {
        let shelf = Shelf::new(150_000, Duration::from_millis(50));
        let unread = shelf.place(content()).await;
        let next = shelf.place(content()).await;
        assert!(to_bytes(unread, usize::MAX).await.is_err());
        assert_eq!(to_bytes(next, usize::MAX).await.unwrap(), content());
    }
}
