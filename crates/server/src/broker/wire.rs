//! A connection as the session sees it: bytes in, bytes out, whatever carries them.
//!
//! Knows neither MQTT nor who is at the other end. Invariant: `fill` loses nothing when it is dropped while it waits.

use std::future::Future;
use std::io;

use axum::extract::ws::{Message, WebSocket};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::front::Allowance;

const READ_STEP: usize = 4 * 1024;

/// What carries the bytes of one MQTT connection.
pub(super) trait Wire: Send {
    /// Waits for more bytes and appends them; 0 means that the other end closed.
    fn fill(&mut self, input: &mut BytesMut) -> impl Future<Output = io::Result<usize>> + Send;
    /// Sends all of it, and does not return before the operating system took it.
    fn send(&mut self, bytes: Bytes) -> impl Future<Output = io::Result<()>> + Send;
    /// The other end proved itself: from now on it may send as much as it likes.
    fn trust(&mut self);
    /// Says goodbye at this level, as far as that is possible.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}

/// MQTT straight on a byte stream (TCP or TLS).
pub(super) struct StreamWire<S>(pub(super) S);

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for StreamWire<S> {
    async fn fill(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        input.reserve(READ_STEP);
        self.0.read_buf(input).await
    }

    async fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        self.0.write_all(&bytes).await?;
        self.0.flush().await
    }

    // The codec holds no more than one packet, and none that is too large.
    fn trust(&mut self) {}

    async fn close(&mut self) {
        // A peer that is gone already cannot be told.
        let _ = self.0.shutdown().await;
    }
}

/// MQTT in the binary messages of a WebSocket; packets need not align with messages.
pub(super) struct WebSocketWire {
    pub(super) socket: WebSocket,
    pub(super) allowance: Allowance,
}

impl Wire for WebSocketWire {
    async fn fill(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        loop {
            match self.socket.recv().await {
                Some(Ok(Message::Binary(bytes))) if bytes.is_empty() => {}
                Some(Ok(Message::Binary(bytes))) => {
                    input.extend_from_slice(&bytes);
                    return Ok(bytes.len());
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "MQTT travels in binary messages",
                    ));
                }
                Some(Ok(Message::Close(_))) | None => return Ok(0),
                Some(Err(error)) => return Err(io::Error::other(error)),
            }
        }
    }

    async fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        self.socket.send(Message::Binary(bytes)).await.map_err(io::Error::other)
    }

    fn trust(&mut self) {
        self.allowance.lift();
    }

    async fn close(&mut self) {
        // A peer that is gone already cannot be told.
        let _ = self.socket.send(Message::Close(None)).await;
    }
}
