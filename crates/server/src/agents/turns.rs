//! Turns for large answers: some are made at a time, the rest wait in order, and who finds the waiting room full is told
//! when to come again.
//!
//! Knows nothing of what is in them. Bodies are made piece by piece, as the connection takes them, so that an answer is never
//! in memory whole. Invariants: turns are given in the order of asking · whoever does not read in time loses the turn, and
//! goes on without one, so that nobody waits for the slowest · there are no more bodies than turns and `Bounds::slow` · a host
//! that asks again gives up what it asked for before, so that none takes all the turns.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Frame;
use model::HostId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

/// How much there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Answers that are made at a time.
    pub(super) turns: usize,
    /// Askers that wait for a turn; beyond, they are told to come again.
    pub(super) waiting: usize,
    /// How long one waits at most.
    pub(super) wait: Duration,
    /// How long a turn lasts; most answers are read in far less.
    pub(super) turn: Duration,
    /// Answers that outlasted their turn.
    pub(super) slow: usize,
    /// How long reading may take in all.
    pub(super) patience: Duration,
}

/// Come again after so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy {
    pub(super) retry_after: u32,
}

/// Who may go on now.
#[derive(Debug)]
pub(super) struct Turns {
    bounds: Bounds,
    free: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    waiting: AtomicUsize,
    claims: Claims,
    /// Microseconds that a turn took of late: a moving average.
    takes: Arc<AtomicU64>,
}

/// One's turn.
#[derive(Debug)]
pub(super) struct Turn {
    bounds: Bounds,
    _permit: OwnedSemaphorePermit,
    slow: Arc<Semaphore>,
    takes: Arc<AtomicU64>,
    began: Instant,
    claim: Arc<Claim>,
}

/// What each host asked for last.
type Claims = Arc<Mutex<HashMap<HostId, Arc<Notify>>>>;

/// One host's wish. It lasts until the answer was read, or the host asks again.
#[derive(Debug)]
struct Claim {
    host: HostId,
    given_up: Arc<Notify>,
    claims: Claims,
}

impl Claim {
    fn of(host: HostId, claims: &Claims) -> Self {
        let given_up = Arc::new(Notify::new());
        let before = lock(claims).insert(host, Arc::clone(&given_up));
        if let Some(before) = before {
            before.notify_one();
        }
        Self { host, given_up, claims: Arc::clone(claims) }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = lock(&self.claims);
        if claims.get(&self.host).is_some_and(|last| Arc::ptr_eq(last, &self.given_up)) {
            claims.remove(&self.host);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing between lock and unlock leaves anything half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Leaves the waiting room, however the waiting ends.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Turns {
    pub(super) fn new(bounds: Bounds) -> Self {
        let free = Arc::new(Semaphore::new(bounds.turns));
        let slow = Arc::new(Semaphore::new(bounds.slow));
        Self {
            bounds,
            free,
            slow,
            waiting: AtomicUsize::new(0),
            claims: Claims::default(),
            takes: Arc::default(),
        }
    }

    /// Waits for a turn for this host.
    pub(super) async fn take(&self, host: HostId) -> Result<Turn, Busy> {
        let claim = Arc::new(Claim::of(host, &self.claims));
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        if before >= self.bounds.waiting {
            return Err(self.busy());
        }
        let permit = tokio::select! {
            permit = Arc::clone(&self.free).acquire_owned() => permit.expect("turns are never closed"),
            () = claim.given_up.notified() => return Err(self.busy()),
            () = tokio::time::sleep(self.bounds.wait) => return Err(self.busy()),
        };
        let (slow, takes) = (Arc::clone(&self.slow), Arc::clone(&self.takes));
        Ok(Turn { bounds: self.bounds, _permit: permit, slow, takes, began: Instant::now(), claim })
    }

    /// When all who wait now should have had their turn.
    fn busy(&self) -> Busy {
        let waiting = self.waiting.load(Ordering::Acquire) as u64;
        let micros = waiting * self.takes.load(Ordering::Relaxed) / self.bounds.turns as u64;
        let seconds = u32::try_from(micros.div_ceil(1_000_000)).unwrap_or(u32::MAX);
        Busy { retry_after: seconds.clamp(2, 30) }
    }
}

impl Turn {
    /// A body of these pieces, which are made as they are read.
    pub(super) fn body(self, pieces: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Body {
        let Bounds { turn, patience, .. } = self.bounds;
        let slow = Arc::clone(&self.slow);
        let (given_up, claim) = (Arc::clone(&self.claim.given_up), Arc::clone(&self.claim));
        let content = Content { pieces: Box::new(pieces), place: Place::Turn { _turn: self }, _claim: claim };
        let content: Kept = Arc::new(Mutex::new(Some(content)));
        let kept = Arc::clone(&content);
        let watch = tokio::spawn(async move {
            let over = async {
                tokio::time::sleep(turn).await;
                if outlast(&kept, slow) {
                    tokio::time::sleep(patience.saturating_sub(turn)).await;
                }
            };
            tokio::select! {
                () = over => {}
                () = given_up.notified() => {}
            }
            take_back(&kept);
        });
        Body::new(Parcel { content, watch: watch.abort_handle() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let took = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let average = |before: u64| Some(before - before / 8 + took / 8);
        let _always_some = self.takes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, average);
    }
}

/// What entitles a body to be there.
enum Place {
    Turn { _turn: Turn },
    Slow { _place: OwnedSemaphorePermit },
}

struct Content {
    pieces: Box<dyn Iterator<Item = Vec<u8>> + Send>,
    place: Place,
    _claim: Arc<Claim>,
}

type Kept = Arc<Mutex<Option<Content>>>;

fn take_back(kept: &Kept) {
    lock(kept).take();
}

/// The turn is over and the body is not: it goes on among the slow ones, if there is room.
fn outlast(kept: &Kept, slow: Arc<Semaphore>) -> bool {
    let mut content = lock(kept);
    match (content.as_mut(), slow.try_acquire_owned()) {
        (Some(content), Ok(place)) => {
            content.place = Place::Slow { _place: place };
            true
        }
        (Some(_) | None, Ok(_) | Err(_)) => false,
    }
}

/// One answer. Its content goes when it was sent, when nobody wants it any more, or when the time is over.
struct Parcel {
    content: Kept,
    watch: AbortHandle,
}

impl Drop for Parcel {
    fn drop(&mut self) {
        self.watch.abort();
        take_back(&self.content);
    }
}

impl hyper::body::Body for Parcel {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut kept = lock(&self.content);
        let Some(content) = kept.as_mut() else {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the answer was not read in time");
            return Poll::Ready(Some(Err(error)));
        };
        Poll::Ready(content.pieces.next().map(|piece| Ok(Frame::data(piece.into()))))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use futures_util::FutureExt as _;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        turns: 1,
        waiting: 2,
        wait: Duration::from_secs(3600),
        turn: Duration::from_secs(3600),
        slow: 1,
        patience: Duration::from_secs(7200),
    };

    const fn host(number: u8) -> HostId {
        HostId::from_bytes([number; 16])
    }

    fn pieces() -> impl Iterator<Item = Vec<u8>> + Send {
        (0..10_u8).map(|number| vec![number; 1000])
    }

    #[tokio::test]
    async fn an_answer_arrives_whole_and_its_turn_goes_on_when_it_was_read_or_dropped() {
        let turns = Turns::new(BOUNDS);
        let first = turns.take(host(1)).await.unwrap().body(pieces());
        assert!(turns.take(host(2)).now_or_never().is_none(), "there is one turn");
        assert_eq!(to_bytes(first, usize::MAX).await.unwrap(), pieces().flatten().collect::<Vec<u8>>());
        let second = turns.take(host(3)).now_or_never().expect("the first was read").unwrap().body(pieces());
        drop(second);
        assert!(turns.take(host(4)).now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_finds_the_waiting_room_full_is_told_when_to_come_again() {
        let turns = Turns::new(BOUNDS);
        let held = turns.take(host(5)).await.unwrap();
        let (mut one, mut two) = (Box::pin(turns.take(host(6))), Box::pin(turns.take(host(7))));
        assert!(one.as_mut().now_or_never().is_none() && two.as_mut().now_or_never().is_none());
        let busy = turns.take(host(8)).await.unwrap_err();
        assert!((2..=30).contains(&busy.retry_after));
        drop(held);
        let first = one.now_or_never().expect("who came first is first").unwrap();
        assert!(two.as_mut().now_or_never().is_none());
        drop(first);
        assert!(two.now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_does_not_read_loses_the_turn_and_in_the_end_the_answer() {
        let patience = Duration::from_millis(120);
        let turns = Turns::new(Bounds { turn: Duration::from_millis(20), patience, ..BOUNDS });
        let unread = turns.take(host(9)).await.unwrap().body(pieces());
        let next = turns.take(host(10)).await.unwrap().body(pieces());
        assert_eq!(turns.slow.available_permits(), 0, "the first goes on among the slow ones");
        // There is no room for a second slow one.
        let third = turns.take(host(11)).await.unwrap();
        assert!(to_bytes(next, usize::MAX).await.is_err());
        drop(third);
        let given_back = turns.slow.acquire().await;
        assert!(given_back.is_ok() && to_bytes(unread, usize::MAX).await.is_err());
    }

    #[tokio::test]
    async fn a_host_that_asks_again_gives_up_what_it_asked_for_before() {
        let turns = Turns::new(BOUNDS);
        let unread = turns.take(host(1)).await.unwrap().body(pieces());
        let mut waiting = Box::pin(turns.take(host(2)));
        assert!(waiting.as_mut().now_or_never().is_none());
        let again = turns.take(host(1));
        tokio::pin!(again);
        assert!(again.as_mut().now_or_never().is_none(), "it waits behind the other");
        let next = waiting.await.unwrap();
        assert!(to_bytes(unread, usize::MAX).await.is_err());
        assert!(turns.take(host(1)).now_or_never().is_none());
        assert!(again.await.is_err(), "asked a third time, it waits once");
        drop(next);
        assert!(lock(&turns.claims).is_empty());
    }

    #[tokio::test]
    async fn many_more_than_there_is_room_for_are_all_served_in_the_end() {
        let turns = Arc::new(Turns::new(Bounds { turns: 2, waiting: 5, ..BOUNDS }));
        let comers = (0..100_u8).map(|number| {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move {
                loop {
                    if let Ok(turn) = turns.take(host(number)).await {
                        return to_bytes(turn.body(pieces()), usize::MAX).await.unwrap().len();
                    }
                    tokio::task::yield_now().await;
                }
            })
        });
        for comer in comers.collect::<Vec<_>>() {
            assert_eq!(comer.await.unwrap(), 10_000);
        }
    }
}
