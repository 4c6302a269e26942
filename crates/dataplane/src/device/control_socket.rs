//! The control socket: who may call, how much they may say, and in what order they are answered.
//!
//! Only the owner can reach it (mode 0600 in a directory of mode 0700). A socket that a dead process left behind is
//! replaced; one that answers belongs to a living device, and is left alone. What the calls mean is [`super::uapi`]'s
//! business.
//!
//! Invariant: calls are answered one after the other by one task, so no caller sees half of another's change.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Enough for the whole configuration of a hundred thousand peers.
const LONGEST_CALL: usize = 64 << 20;
/// Callers that may be connected at once. Further ones wait in the kernel until one of these is gone.
const CALLERS: usize = 16;
/// How long a caller may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// The place of a control socket, checked to be nobody else's.
pub(super) struct ControlSocket {
    path: PathBuf,
}

/// One call, to be answered.
pub(super) struct Call {
    request: String,
    reply: oneshot::Sender<String>,
}

/// The calls of an open control socket. Dropping it removes the socket.
pub(super) struct Calls {
    path: PathBuf,
    calls: mpsc::Receiver<Call>,
    accepting: JoinHandle<()>,
}

impl ControlSocket {
    /// Checks that no living device has this name, and makes the directory.
    pub(super) fn claim(dir: &Path, name: &str) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("cannot make the directory {} for control sockets", dir.display()))?;
        let path = dir.join(format!("{name}.sock"));
        if BlockingStream::connect(&path).is_ok() {
            bail!("a WireGuard device {name} is running already: it answers at {}", path.display());
        }
        Ok(Self { path })
    }

    /// Opens the socket, in place of one that a dead process left.
    pub(super) fn serve(self) -> io::Result<Calls> {
        // Made under another name, so that nobody can connect before its mode is right.
        let draft = self.path.with_extension(format!("{}.new", std::process::id()));
        let listener = match UnixListener::bind(&draft) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                std::fs::remove_file(&draft)?;
                UnixListener::bind(&draft)?
            }
            bound => bound?,
        };
        std::fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
        std::fs::rename(&draft, &self.path)?;
        let (sender, calls) = mpsc::channel(CALLERS);
        let accepting = tokio::spawn(accept(listener, sender));
        Ok(Calls { path: self.path, calls, accepting })
    }
}

impl Calls {
    /// The next call.
    pub(super) async fn next(&mut self) -> Call {
        match self.calls.recv().await {
            Some(call) => call,
            // Only if the accepting task panicked. There is nothing left to wait for.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Call {
    /// What was said, without the empty line that ends it.
    pub(super) fn request(&self) -> &str {
        &self.request
    }

    /// Answers; a caller that has gone away is none of our worry.
    pub(super) fn answer(self, answer: String) {
        let _ = self.reply.send(answer);
    }
}

async fn accept(listener: UnixListener, calls: mpsc::Sender<Call>) {
    let places = Arc::new(Semaphore::new(CALLERS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let calls = calls.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, calls).await {
                        tracing::debug!(%error, "a caller of the control socket went away");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket could not accept a caller");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Calls of one caller: lines up to an empty one, then the answer, and again.
async fn converse(stream: UnixStream, calls: mpsc::Sender<Call>) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    loop {
        let mut request = Vec::new();
        loop {
            let room = LONGEST_CALL.saturating_sub(request.len()) as u64;
            let mut limited = (&mut reading).take(room);
            if timeout(PATIENCE, limited.read_until(b'\n', &mut request)).await?? == 0 {
                // The caller has said all, or too much.
                return Ok(());
            }
            if request == b"\n" || request.ends_with(b"\n\n") {
                break;
            }
        }
        let answer = match String::from_utf8(request) {
            Ok(request) => {
                let (reply, answer) = oneshot::channel();
                if calls.send(Call { request, reply }).await.is_err() {
                    return Ok(());
                }
                let Ok(answer) = answer.await else { return Ok(()) };
                answer
            }
            Err(_) => super::uapi::refusal(rustix::io::Errno::INVAL),
        };
        timeout(PATIENCE, writing.write_all(answer.as_bytes())).await??;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn only_the_owner_may_call_and_a_dead_socket_is_replaced_but_a_live_one_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("wireguard");
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("wg9.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        std::fs::remove_dir_all(&dir).unwrap();

        let calls = ControlSocket::claim(&dir, "wg9").unwrap().serve().unwrap();
        assert_eq!((mode(&dir), mode(&path)), (0o700, 0o600));
        let refused = ControlSocket::claim(&dir, "wg9").err().unwrap().to_string();
        assert!(refused.contains("running already"), "{refused}");
        drop(calls);
        assert!(!path.exists());

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind by a dead process");
        let mut calls = ControlSocket::claim(&dir, "wg9").unwrap().serve().unwrap();
        let mut caller = UnixStream::connect(&path).await.unwrap();
        caller.write_all(b"get=1\n\n").await.unwrap();
        let call = calls.next().await;
        assert_eq!(call.request(), "get=1\n\n");
        call.answer("errno=0\n\n".into());
        let mut answer = [0; 9];
        caller.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"errno=0\n\n");
    }
}
