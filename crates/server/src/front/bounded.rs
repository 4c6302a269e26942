//! What one connection may cost: how much more is read from it, and how long it may leave lying what is written to it.
//!
//! Knows no protocol. Invariants: nothing beyond the allowance is read · a write that makes no progress at all for the
//! given time ends the connection.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How many more bytes are read from a connection; without a bound until one is set. Handlers find the one of their
/// connection among the request's extensions: who upgrades it reads little until the other end proved itself.
#[derive(Clone, Debug)]
pub struct Allowance(Arc<AtomicUsize>);

impl Default for Allowance {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(usize::MAX)))
    }
}

impl Allowance {
    /// From now on this many bytes are read, then the connection ends.
    pub fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Release);
    }

    /// There is no bound any more.
    pub fn lift(&self) {
        self.set(usize::MAX);
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    fn spend(&self, bytes: usize) {
        let spend = |left: usize| (left != usize::MAX).then(|| left.saturating_sub(bytes));
        // Without a bound there is nothing to spend.
        let _unbounded = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, spend);
    }
}

/// A stream within its bounds.
pub(super) struct Bounded<S> {
    stream: S,
    allowance: Allowance,
    write_timeout: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Bounded<S> {
    pub(super) fn new(stream: S, allowance: Allowance, write_timeout: Duration) -> Self {
        Self { stream, allowance, write_timeout, stalled: None }
    }

    /// Passes on what a write came to; one that waits for too long fails.
    fn patient<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let limit = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other end does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = this.allowance.left();
        if left >= buf.remaining() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            this.allowance.spend(buf.filled().len() - before);
            return Poll::Ready(Ok(()));
        }
        if left == 0 {
            let text = "more was sent than is read from who did not prove himself";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::PermissionDenied, text)));
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(left));
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buf.advance(read);
        this.allowance.spend(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.patient(cx, poll)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_flush(cx);
        this.patient(cx, poll)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.patient(cx, poll)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn no_more_is_read_than_the_allowance_until_it_is_lifted() {
        let (mut far, near) = duplex(1000);
        far.write_all(&[7; 100]).await.unwrap();
        let allowance = Allowance::default();
        let mut near = Bounded::new(near, allowance.clone(), LONG);
        let mut room = [0; 40];
        near.read_exact(&mut room).await.unwrap();
        allowance.set(25);
        assert_eq!(near.read(&mut room).await.unwrap(), 25);
        assert_eq!(near.read(&mut room).await.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        allowance.lift();
        assert_eq!(near.read(&mut room).await.unwrap(), 35);
    }

    #[tokio::test]
    async fn a_write_that_nobody_takes_fails_in_time() {
        let (mut far, near) = duplex(10);
        let mut near = Bounded::new(near, Allowance::default(), Duration::from_millis(50));
        let mut taken = [0; 30];
        let (written, read) = tokio::join!(near.write_all(&[1; 30]), far.read_exact(&mut taken));
        assert!(written.is_ok() && read.is_ok());
        assert_eq!(near.write_all(&[1; 50]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
