//! A probe's ears: whoever comes by TCP gets one byte, whoever sends a datagram gets it back.
//!
//! Keeps true that an answer comes from the very address that was asked, because each socket is bound to one address.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, UdpSocket};

/// Answers at an address by TCP and UDP, for as long as the process lives.
pub(super) async fn listen(at: SocketAddr) -> std::io::Result<()> {
    let tcp = TcpListener::bind(at).await?;
    let udp = UdpSocket::bind(at).await?;
    tokio::spawn(answer(tcp));
    tokio::spawn(echo(udp));
    Ok(())
}

async fn answer(listener: TcpListener) {
    loop {
        // A connection that broke before it was accepted is nobody's.
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            let _ = stream.write_all(b"!").await;
            let _ = stream.shutdown().await;
        });
    }
}

async fn echo(socket: UdpSocket) {
    let mut buffer = [0; 64];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let _ = socket.send_to(&buffer[..length], from).await;
    }
}
