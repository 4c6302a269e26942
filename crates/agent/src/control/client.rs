//! A command's end of the control socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use super::{MOST_ANSWER, Reply, Request};
use crate::view::View;

const POLL_EVERY: Duration = Duration::from_millis(25);

/// No daemon runs.
#[derive(Debug, thiserror::Error)]
#[error(
    "the netclient daemon does not run; start it with `netclient install`, or `netclient daemon` in the foreground"
)]
pub struct NotRunning;

/// The way to a daemon.
#[derive(Debug, Clone)]
pub struct Daemon {
    socket: PathBuf,
}

impl Daemon {
    /// The daemon with this socket, whether it runs or not.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Whether it answers at its socket.
    pub async fn runs(&self) -> bool {
        UnixStream::connect(&self.socket).await.is_ok()
    }

    /// Asks something. A daemon that does not run is `NotRunning`.
    pub async fn ask(&self, request: &Request, patience: Duration) -> anyhow::Result<Reply> {
        let stream = connect(&self.socket).await?;
        let asked = timeout(patience, converse(stream, request)).await;
        match asked {
            Ok(answer) => answer,
            Err(_) => {
                bail!("the daemon gave no answer within {} seconds; its log says more", patience.as_secs())
            }
        }
    }

    /// Asks for something to be done.
    pub async fn done(&self, request: &Request, patience: Duration) -> anyhow::Result<()> {
        match self.ask(request, patience).await? {
            Reply::Done | Reply::Status(_) => Ok(()),
            Reply::Failed(reason) => bail!(reason),
        }
    }

    /// What is going on.
    pub async fn view(&self) -> anyhow::Result<View> {
        match self.ask(&Request::Status, Duration::from_secs(20)).await? {
            Reply::Status(view) => Ok(*view),
            Reply::Done => {
                bail!("the daemon gave another answer than asked for; is it of another version? restart it")
            }
            Reply::Failed(reason) => bail!(reason),
        }
    }

    /// Waits until it answers, or does not any more.
    pub async fn wait_until(&self, runs: bool, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.runs().await != runs {
            if Instant::now() > deadline {
                return false;
            }
            sleep(POLL_EVERY).await;
        }
        true
    }
}

async fn connect(socket: &Path) -> anyhow::Result<UnixStream> {
    match UnixStream::connect(socket).await {
        Ok(stream) => Ok(stream),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            Err(NotRunning.into())
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            bail!("no permission to speak with the daemon: run this as root, such as with `sudo`")
        }
        Err(error) => {
            Err(error).with_context(|| format!("could not reach the daemon at {}", socket.display()))
        }
    }
}

async fn converse(stream: UnixStream, request: &Request) -> anyhow::Result<Reply> {
    let (reading, mut writing) = stream.into_split();
    let mut line = serde_json::to_vec(request).context("the request cannot be encoded")?;
    line.push(b'\n');
    writing.write_all(&line).await.context("the daemon hung up")?;
    let mut answer = String::new();
    let mut reading = BufReader::new(reading.take(MOST_ANSWER));
    reading.read_line(&mut answer).await.context("the daemon's answer could not be read")?;
    if answer.is_empty() {
        bail!("the daemon hung up without an answer: it was restarted, or this user may not speak with it");
    }
    serde_json::from_str(&answer)
        .context("the daemon's answer makes no sense; is it of another version? restart it")
}
