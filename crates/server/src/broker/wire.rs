//! The bytes of one MQTT connection: straight on its stream, or in the binary messages of a WebSocket.
//!
//! Knows neither MQTT nor who is at the other end. Invariants: what was put in is written in as few pieces as possible
//! (one record of TLS for one flush of a small batch) · a connection at rest keeps no buffer here · `poll_fill` reads no
//! more than one step at a time, so that whoever calls it decides how much is held.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::frames::{self, HEAD, Reader};
use crate::front::Stream;

/// Read at a time. On the stack: thousands of connections that wait have no buffer each.
const READ_STEP: usize = 4 * 1024;
/// A change in one peer, or a few short answers, need no more room than this.
const USUAL: usize = 512;

/// One connection.
pub(super) struct Wire {
    stream: Stream,
    framing: Framing,
    /// What came with the upgrade.
    early: BytesMut,
    /// Packets to be sent, with room for the head of a message before them.
    packets: Vec<u8>,
    /// What is being written, and how much of it was.
    writing: Vec<u8>,
    written: usize,
    /// Something was written since the stream was flushed.
    unflushed: bool,
    /// Bytes that the stream took, in all.
    taken: u64,
}

enum Framing {
    Bare,
    WebSocket(Reader),
}

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// Something came, though not always for whom reads.
    Some,
    /// Nothing more will come.
    Closed,
}

impl Wire {
    /// MQTT straight on a stream.
    pub(super) fn bare(stream: Stream) -> Self {
        Self::new(stream, Framing::Bare, BytesMut::new())
    }

    /// MQTT in a WebSocket, whose upgrade was answered; `early` came right behind the request.
    pub(super) fn websocket(stream: Stream, early: BytesMut) -> Self {
        Self::new(stream, Framing::WebSocket(Reader::default()), early)
    }

    fn new(stream: Stream, framing: Framing, early: BytesMut) -> Self {
        let (packets, writing) = (Vec::new(), Vec::new());
        Self { stream, framing, early, packets, writing, written: 0, unflushed: false, taken: 0 }
    }

    /// Where packets are put that the next flush sends.
    pub(super) fn packets(&mut self) -> &mut Vec<u8> {
        if self.packets.is_empty() {
            self.packets.reserve(USUAL);
            self.packets.extend_from_slice(&[0; HEAD]);
        }
        &mut self.packets
    }

    /// How many bytes of packets wait for the next flush.
    pub(super) fn waiting(&self) -> usize {
        self.packets.len()
    }

    /// Bytes that the stream took since the connection stands: it moves as long as the other end reads.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Waits for more bytes and appends them.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut BytesMut,
    ) -> Poll<io::Result<Filled>> {
        if self.framing.is_closed() {
            return Poll::Ready(Ok(Filled::Closed));
        }
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            return Poll::Ready(self.framing.feed(&early, input));
        }
        let mut step = [MaybeUninit::uninit(); READ_STEP];
        let mut step = ReadBuf::uninit(&mut step);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut step))?;
        if step.filled().is_empty() {
            return Poll::Ready(Ok(Filled::Closed));
        }
        Poll::Ready(self.framing.feed(step.filled(), input))
    }

    /// Sends all that was put in; ready when the operating system took it.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while self.written < self.writing.len() {
                let rest = &self.writing[self.written..];
                let count = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.written += count;
                self.taken += count as u64;
                self.unflushed = true;
            }
            if !self.take_next() {
                break;
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what is to be written next; false if there is nothing.
    fn take_next(&mut self) -> bool {
        (self.writing, self.written) = (Vec::new(), 0);
        if let Framing::WebSocket(reader) = &mut self.framing
            && let Some(pong) = reader.take_pong()
        {
            self.writing = pong;
            return true;
        }
        if self.packets.is_empty() {
            return false;
        }
        self.writing = std::mem::take(&mut self.packets);
        self.written = match self.framing {
            Framing::Bare => HEAD,
            Framing::WebSocket(_) => frames::write_head(&mut self.writing),
        };
        true
    }

    /// Sends all that was put in.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Waits for more bytes and appends them.
    pub(super) async fn fill(&mut self, input: &mut BytesMut) -> io::Result<Filled> {
        poll_fn(|cx| self.poll_fill(cx, input)).await
    }

    /// Sends what was put in, then says goodbye as far as that is possible.
    pub(super) async fn close(&mut self) {
        // A peer that is gone already cannot be told.
        if self.flush().await.is_err() {
            return;
        }
        if let Framing::WebSocket(_) = self.framing {
            self.writing = frames::FAREWELL.to_vec();
            let _gone = self.flush().await;
        }
        let _gone = poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await;
    }
}

impl Framing {
    fn is_closed(&self) -> bool {
        match self {
            Self::Bare => false,
            Self::WebSocket(reader) => reader.is_closed(),
        }
    }

    fn feed(&mut self, bytes: &[u8], input: &mut BytesMut) -> io::Result<Filled> {
        match self {
            Self::Bare => input.extend_from_slice(bytes),
            Self::WebSocket(reader) => {
                let fed = reader.feed(bytes, input);
                fed.map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad))?;
            }
        }
        Ok(Filled::Some)
    }
}
