//! HTTP/1.1 requests over one connection, as small as that can be: an agent asks the server a handful of things.
//!
//! Not a general client: no redirects, no trailers, no pipelining. It keeps true that an answer is read piece by piece, so that
//! a map is never in memory whole and packed, and that a head larger than the limit ends the connection.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::dial::Stream;

const MOST_HEAD: usize = 16 * 1024;
const STEP: usize = 16 * 1024;
/// Between two pieces of an answer, as with the real agent.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) authorization: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// The head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    length: Length,
    keep: bool,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    /// So much is left.
    Known(usize),
    /// So much is left of this chunk.
    Chunk(usize),
    /// A chunk's head comes next; whether a line's end comes before it.
    NextChunk(bool),
    Over,
}

/// A connection for requests.
pub(super) struct Http {
    stream: Stream,
    host: String,
    input: BytesMut,
    length: Length,
    keep: bool,
}

impl Http {
    pub(super) fn new(stream: Stream, host: &str) -> Self {
        Self { stream, host: host.to_owned(), input: BytesMut::new(), length: Length::Over, keep: true }
    }

    /// Whether another request can be made on it.
    pub(super) fn is_usable(&self) -> bool {
        self.keep && self.length == Length::Over
    }

    /// The bytes that came since this was asked last, below TLS.
    pub(super) fn take_received(&mut self) -> u64 {
        self.stream.get_mut().0.take_received()
    }

    /// Sends a request and reads the head of the answer.
    pub(super) async fn ask(&mut self, request: &Request<'_>) -> Result<u16> {
        self.keep = false;
        self.stream.write_all(&written(&self.host, request)).await.context("the request was not sent")?;
        self.stream.flush().await.context("the request was not sent")?;
        let head = loop {
            if let Some(head) = take_head(&mut self.input)? {
                break head;
            }
            ensure!(self.fill().await? > 0, "the server closed before it answered");
        };
        (self.length, self.keep) = (head.length, head.keep);
        Ok(head.status)
    }

    /// Appends the next piece of the body; 0 at its end.
    pub(super) async fn read(&mut self, out: &mut BytesMut) -> Result<usize> {
        loop {
            let taken = take_body(&mut self.input, &mut self.length, out)?;
            if taken > 0 || self.length == Length::Over {
                return Ok(taken);
            }
            ensure!(self.fill().await? > 0, "the answer is cut short");
        }
    }

    /// The whole body of a small answer.
    pub(super) async fn read_all(&mut self, limit: usize) -> Result<Vec<u8>> {
        let mut body = BytesMut::new();
        while self.read(&mut body).await? > 0 {
            ensure!(body.len() <= limit, "the answer has more than {limit} bytes");
        }
        Ok(body.into())
    }

    async fn fill(&mut self) -> Result<usize> {
        self.input.reserve(STEP);
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await;
        read.context("the server did not answer in time")?.context("the connection to the server broke")
    }
}

fn written(host: &str, request: &Request<'_>) -> Vec<u8> {
    let Request { method, target, authorization, body } = *request;
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    let mut bytes = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{authorization}Content-Type: application/cbor\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Takes the head of an answer, without the provisional ones; none if there is not enough yet.
pub(super) fn take_head(input: &mut BytesMut) -> Result<Option<Head>> {
    let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        ensure!(input.len() <= MOST_HEAD, "the head of the answer has more than {MOST_HEAD} bytes");
        return Ok(None);
    };
    let head = input.split_to(end + 4);
    let head = std::str::from_utf8(&head).context("the head of the answer is no text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|line| line.get(..3));
    let status: u16 = status.and_then(|text| text.parse().ok()).context("this is no HTTP/1.1 answer")?;
    let mut head = Head { status, length: Length::Over, keep: true };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            head.length = Length::Known(value.parse().context("a Content-Length that is no number")?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            head.length = Length::NextChunk(false);
        } else if name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close") {
            head.keep = false;
        }
    }
    if head.length == Length::Known(0) || status == 204 || status == 101 {
        head.length = Length::Over;
    }
    Ok(Some(head))
}

/// Moves what there is of the body; 0 if there is not enough, or the body is over.
fn take_body(input: &mut BytesMut, length: &mut Length, out: &mut BytesMut) -> Result<usize> {
    loop {
        match *length {
            Length::Over => return Ok(0),
            Length::Known(left) | Length::Chunk(left) => {
                let size = left.min(input.len());
                out.extend_from_slice(&input.split_to(size));
                *length = match (*length, left - size) {
                    (Length::Chunk(_), 0) => Length::NextChunk(true),
                    (Length::Chunk(_), left) => Length::Chunk(left),
                    (_, 0) => Length::Over,
                    (_, left) => Length::Known(left),
                };
                return Ok(size);
            }
            Length::NextChunk(ends_line) => {
                let Some(size) = take_chunk_head(input, ends_line)? else {
                    return Ok(0);
                };
                *length = if size == 0 { Length::Over } else { Length::Chunk(size) };
            }
        }
    }
}

/// The size of the next chunk; the last one's comes with the empty line that ends the body.
fn take_chunk_head(input: &mut BytesMut, ends_line: bool) -> Result<Option<usize>> {
    let skip = if ends_line { 2 } else { 0 };
    let line = input.get(skip..).and_then(|rest| rest.windows(2).position(|bytes| bytes == b"\r\n"));
    let Some(end) = line else {
        ensure!(input.len() <= MOST_HEAD, "a chunk without a size");
        return Ok(None);
    };
    if &input[..skip] != b"\r\n" && ends_line {
        bail!("a chunk is longer than it says");
    }
    let text = std::str::from_utf8(&input[skip..skip + end]).context("a chunk's size that is no text")?;
    let digits = text.split(';').next().unwrap_or_default().trim();
    let size = usize::from_str_radix(digits, 16).context("a chunk's size that is no number")?;
    let whole = skip + end + 2 + if size == 0 { 2 } else { 0 };
    if input.len() < whole {
        return Ok(None);
    }
    input.advance(whole);
    Ok(Some(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole answer, fed in pieces of this size.
    fn read(answer: &[u8], piece: usize) -> (u16, Vec<u8>, usize) {
        let (mut input, mut out, mut head) = (BytesMut::new(), BytesMut::new(), None::<Head>);
        for bytes in answer.chunks(piece) {
            input.extend_from_slice(bytes);
            if head.is_none() {
                head = take_head(&mut input).unwrap();
            }
            let Some(head) = &mut head else { continue };
            while take_body(&mut input, &mut head.length, &mut out).unwrap() > 0 {}
        }
        let head = head.expect("a head");
        assert_eq!(head.length, Length::Over);
        (head.status, out.to_vec(), input.len())
    }

    #[test]
    fn answers_are_read_in_whatever_pieces_they_come() {
        let known = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let chunked =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n";
        let empty = b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n";
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(read(known, piece), (200, b"hello".to_vec(), 0));
            assert_eq!(read(chunked, piece), (200, b"hello".to_vec(), 0));
            assert_eq!(read(empty, piece), (204, Vec::new(), 0));
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        assert!(take_head(&mut BytesMut::from("SSH-2.0\r\n\r\n")).is_err());
        assert!(take_head(&mut BytesMut::from(&vec![b'x'; MOST_HEAD + 1][..])).is_err());
        let mut damaged = BytesMut::from("zz\r\n");
        assert!(take_body(&mut damaged, &mut Length::NextChunk(false), &mut BytesMut::new()).is_err());
        let mut long = BytesMut::from("abcd5\r\n");
        assert!(take_body(&mut long, &mut Length::NextChunk(true), &mut BytesMut::new()).is_err());
    }
}
