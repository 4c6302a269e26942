//! Streams: several questions on one connection, answered as the answers are there.
//!
//! Not for what the answers say. It keeps true that connections are bounded, all together and for one client, that one
//! that says nothing or does not read is closed, and that nobody has more than a few questions under way.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use crate::answer::{Answer, Transport, answer};
use crate::crowd::Place;
use crate::serve::Shared;
use crate::stats::Counts;

/// How long a connection may say nothing, and how long a reply may take to be read.
const IDLE: Duration = Duration::from_secs(10);
/// The longest request that is read.
const LONGEST_REQUEST: u16 = 4096;
/// Replies of one connection that wait to be sent, those that upstreams are asked for included: more are not read.
const PIPELINE: usize = 32;
/// How long to wait when no connection can be taken, such as when there are too many files.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Takes connections until it is dropped; they end with it.
pub(crate) async fn serve(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            // Those that are too many are closed at once.
            Ok((stream, peer)) => {
                if let Some(place) = shared.connections.take(peer.ip()) {
                    connections.spawn(connection(stream, peer.ip(), Arc::clone(&shared), place));
                }
            }
            Err(error) => {
                debug!(%address, %error, "a connection cannot be taken");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, peer: IpAddr, shared: Arc<Shared>, _place: Place) {
    // Without it, only latency is worse.
    let _delayed = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let (replies, queue) = mpsc::channel(PIPELINE);
    // When reading ends, what is under way is still sent.
    tokio::join!(read(reader, peer, &shared, replies), write(writer, queue));
}

async fn read(
    stream: impl AsyncRead + Unpin,
    peer: IpAddr,
    shared: &Arc<Shared>,
    replies: mpsc::Sender<Vec<u8>>,
) {
    let mut stream = BufReader::new(stream);
    let mut request = Vec::new();
    while let Ok(Some(())) = timeout(IDLE, read_request(&mut stream, &mut request)).await {
        // A place among the replies comes first: then whoever sends without reading is held up.
        let Ok(Ok(place)) = timeout(IDLE, replies.clone().reserve_owned()).await else { return };
        let mut reply = Vec::new();
        let mut counts = Counts { queries: 1, ..Counts::default() };
        let outcome = answer(&shared.names.load(), &request, shared.terms(peer, Transport::Tcp), &mut reply);
        match outcome {
            Answer::Reply => {
                counts.count_reply(&reply);
                let _given_back = place.send(reply);
            }
            Answer::Forward(foreign) => shared.forward(peer, *foreign, Transport::Tcp, move |reply| {
                let _given_back = place.send(reply);
            }),
            Answer::Drop => {
                counts.failed += 1;
                shared.stats.add(counts);
                return;
            }
        }
        shared.stats.add(counts);
    }
}

/// The next request; none where the connection is at its end or says what is no request.
async fn read_request(stream: &mut (impl AsyncRead + Unpin), request: &mut Vec<u8>) -> Option<()> {
    let length = stream.read_u16().await.ok().filter(|length| *length <= LONGEST_REQUEST)?;
    request.resize(usize::from(length), 0);
    stream.read_exact(request).await.ok()?;
    Some(())
}

async fn write(mut stream: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Vec<u8>>) {
    let mut framed = Vec::new();
    while let Some(reply) = queue.recv().await {
        framed.clear();
        frame(&reply, &mut framed);
        // Replies that are there already leave together.
        while let Ok(reply) = queue.try_recv() {
            frame(&reply, &mut framed);
        }
        let Ok(Ok(())) = timeout(IDLE, stream.write_all(&framed)).await else { return };
    }
}

fn frame(reply: &[u8], framed: &mut Vec<u8>) {
    // Longer ones are not made.
    let Ok(length) = u16::try_from(reply.len()) else { return };
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(reply);
}
