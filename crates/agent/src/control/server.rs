//! The daemon's end of the control socket.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Uid, geteuid};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{MOST_REQUEST, Reply, Request};
use crate::places::Places;
use crate::state::file;

/// Requests that wait for the daemon. When it is full, callers wait.
const WAITING: usize = 16;
/// Callers that are connected at once. Further ones wait in the kernel until one of these is gone.
const CALLERS: usize = 16;
/// How long a caller may take to say what it wants, and to read the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request, and where its answer goes.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Takes the answer.
    pub reply: oneshot::Sender<Reply>,
}

/// The open socket. Dropping it closes and removes it.
#[derive(Debug)]
pub struct Control {
    socket: PathBuf,
    accepting: JoinHandle<()>,
    _lock: File,
}

impl Control {
    /// Opens the socket; fails where another daemon holds it.
    pub fn open(places: &Places) -> anyhow::Result<(Self, mpsc::Receiver<Call>)> {
        file::create_folder(&places.run)?;
        let path = places.lock();
        let lock = File::create(&path).with_context(|| format!("could not write {}", path.display()))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("a netclient daemon runs already; `netclient status` shows what it does");
        }
        let socket = places.socket();
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("could not replace {}", socket.display()));
            }
            Ok(()) | Err(_) => {}
        }
        // The folder is the owner's alone, so nobody can come before the mode is right.
        let listener =
            UnixListener::bind(&socket).with_context(|| format!("could not open {}", socket.display()))?;
        fs::set_permissions(&socket, Permissions::from_mode(0o600))
            .with_context(|| format!("could not protect {}", socket.display()))?;
        let (sender, calls) = mpsc::channel(WAITING);
        let accepting = tokio::spawn(accept(listener, sender));
        Ok((Self { socket, accepting, _lock: lock }, calls))
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = fs::remove_file(&self.socket);
    }
}

async fn accept(listener: UnixListener, calls: mpsc::Sender<Call>) {
    let places = Arc::new(Semaphore::new(CALLERS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("this semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) if is_allowed(&stream) => {
                let serving = serve(stream, calls.clone());
                tokio::spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Ok(_) => tracing::warn!("somebody who is neither root nor this user tried the control socket"),
            // Out of file descriptors, most likely.
            Err(error) => {
                tracing::warn!(%error, "a caller of the control socket was lost");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn is_allowed(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream).is_ok_and(|peer| may_speak(peer.uid, geteuid()))
}

/// Root and the daemon's own user may.
pub(super) fn may_speak(peer: Uid, own: Uid) -> bool {
    peer.is_root() || peer == own
}

async fn serve(stream: UnixStream, calls: mpsc::Sender<Call>) {
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading.take(MOST_REQUEST));
    let mut line = String::new();
    while let Ok(Ok(1..)) = timeout(PATIENCE, reading.read_line(&mut line)).await {
        let reply = match serde_json::from_str(&line) {
            Ok(request) => call(request, &calls).await,
            Err(error) => Reply::Failed(format!("the request cannot be read: {error}")),
        };
        let Ok(mut answer) = serde_json::to_vec(&reply) else { return };
        answer.push(b'\n');
        if !matches!(timeout(PATIENCE, writing.write_all(&answer)).await, Ok(Ok(()))) {
            return;
        }
        line.clear();
    }
}

async fn call(request: Request, calls: &mpsc::Sender<Call>) -> Reply {
    let (reply, answer) = oneshot::channel();
    if calls.send(Call { request, reply }).await.is_err() {
        return Reply::Failed("the daemon is ending".to_owned());
    }
    answer.await.unwrap_or_else(|_| Reply::Failed("the daemon was interrupted; try again".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Daemon;

    fn places(folder: &tempfile::TempDir) -> Places {
        let run = folder.path().join("run");
        Places::from_environment(|name| (name == "NETCLIENT_RUN_DIR").then(|| run.clone().into()))
    }

    #[test]
    fn other_users_are_not_heard() {
        let [root, own, other] = [0, 1000, 1001].map(Uid::from_raw);
        assert!(may_speak(root, own) && may_speak(own, own) && may_speak(root, root));
        assert!(!may_speak(other, own) && !may_speak(other, root));
    }

    #[tokio::test]
    async fn callers_that_say_nothing_take_no_more_than_their_places() {
        let folder = tempfile::tempdir().unwrap();
        let (_control, mut calls) = Control::open(&places(&folder)).unwrap();
        let socket = places(&folder).socket();
        let mut silent = Vec::new();
        for _ in 0..CALLERS {
            silent.push(UnixStream::connect(&socket).await.unwrap());
        }
        let mut late = UnixStream::connect(&socket).await.unwrap();
        late.write_all(b"{\"do\":\"status\"}\n").await.unwrap();
        let unheard = timeout(Duration::from_millis(100), calls.recv()).await;
        assert!(unheard.is_err(), "all places are taken: {unheard:?}");
        silent.pop();
        assert!(calls.recv().await.is_some(), "a place is free again");
    }

    #[tokio::test]
    async fn a_request_is_answered_and_junk_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let (_control, mut calls) = Control::open(&places(&folder)).unwrap();
        let socket = places(&folder).socket();
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        let answering = tokio::spawn(async move {
            let Call { request, reply } = calls.recv().await.unwrap();
            reply.send(Reply::Done).unwrap();
            request
        });
        Daemon::new(socket.clone()).done(&Request::Pull, PATIENCE).await.unwrap();
        assert_eq!(answering.await.unwrap(), Request::Pull);

        let mut junk = UnixStream::connect(&socket).await.unwrap();
        junk.write_all(b"{\"do\":\"explode\"}\n").await.unwrap();
        let mut answer = String::new();
        BufReader::new(junk).read_line(&mut answer).await.unwrap();
        assert!(answer.contains("cannot be read"), "{answer}");
    }

    #[tokio::test]
    async fn there_is_one_daemon_and_its_socket_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let (control, _calls) = Control::open(&places(&folder)).unwrap();
        assert!(Control::open(&places(&folder)).unwrap_err().to_string().contains("runs already"));
        drop(control);
        let daemon = Daemon::new(places(&folder).socket());
        let error = daemon.view().await.unwrap_err();
        assert!(error.is::<crate::control::NotRunning>(), "{error}");
        assert!(Control::open(&places(&folder)).is_ok());
    }
}
