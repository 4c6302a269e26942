//! A way from machines of the lab to the servers and brokers on this machine: a lab machine's own loopback, port by port, leads
//! over sockets in a folder to the same port here.
//!
//! Namespaces have no network in common with this machine, but files. It keeps true that addresses mean the same at both ends:
//! what a token or a map names is reached in the lab as it is reached here.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

/// The end on this machine. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Bridge {
    folder: tempfile::TempDir,
    ports: Vec<u16>,
    _ends: JoinSet<()>,
}

fn socket(folder: &Path, port: u16) -> PathBuf {
    folder.join(port.to_string())
}

impl Bridge {
    /// A bridge to these ports.
    pub(super) fn build(ports: &[u16]) -> Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("netloom-bridge-").tempdir().context("a folder for sockets")?;
        let mut ends = JoinSet::new();
        for port in ports.iter().copied() {
            let listener = UnixListener::bind(socket(folder.path(), port)).context("a socket")?;
            ends.spawn(async move {
                let mut crossing = JoinSet::new();
                while let Ok((mut from, _)) = listener.accept().await {
                    crossing.spawn(async move {
                        let mut to = TcpStream::connect(("127.0.0.1", port)).await?;
                        copy_bidirectional(&mut from, &mut to).await.map(drop)
                    });
                    while crossing.try_join_next().is_some() {}
                }
            });
        }
        Ok(Self { folder, ports: ports.to_vec(), _ends: ends })
    }

    /// The folder that machines of the lab must see.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a machine of the lab is to run: [`cross`] with these arguments.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["bridge".to_owned(), self.folder.path().display().to_string()];
        arguments.extend(self.ports.iter().map(u16::to_string));
        arguments
    }
}

/// The end in a machine of the lab. Runs until it is killed.
pub(super) async fn cross(folder: &Path, ports: &[u16]) -> Result<()> {
    let mut ends = JoinSet::new();
    for port in ports.iter().copied() {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.context("a port is in use")?;
        ends.spawn(lead(listener, socket(folder, port)));
    }
    while let Some(ended) = ends.join_next().await {
        ended??;
    }
    Ok(())
}

async fn lead(listener: TcpListener, to: PathBuf) -> io::Result<()> {
    loop {
        let (mut from, _) = listener.accept().await?;
        let to = to.clone();
        tokio::spawn(async move {
            let mut to = UnixStream::connect(to).await?;
            copy_bidirectional(&mut from, &mut to).await.map(drop)
        });
    }
}
