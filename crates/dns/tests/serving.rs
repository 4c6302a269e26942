//! The server as those see it who ask it: over UDP and TCP, on addresses that come and go.

#![allow(clippy::unwrap_used, reason = "in tests, a panic is the message")]

mod support;

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket as StdUdpSocket};
use std::time::Duration;

use dns::{Options, Server};
use domain::base::iana::{Rcode, Rtype};
use support::{ORIGIN, Reply, names, read, request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Far longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

async fn start(listen: &[&str]) -> Server {
    let listen = listen.iter().map(|address| address.parse().unwrap()).collect();
    let (server, errors) = Server::start(Options { listen, names: names(), ..Options::default() }).await;
    assert!(errors.is_empty(), "{errors:?}");
    server
}

/// Asks from a socket that hears only the address that was asked.
async fn by_udp(server: SocketAddr, request: &[u8]) -> Reply {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(request).await.unwrap();
    let mut buffer = vec![0; 4096];
    let length = timeout(DEADLINE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    read(&buffer[..length])
}

async fn send_framed(stream: &mut TcpStream, requests: &[Vec<u8>]) {
    let framed: Vec<u8> = requests
        .iter()
        .flat_map(|request| [&u16::try_from(request.len()).unwrap().to_be_bytes()[..], request].concat())
        .collect();
    stream.write_all(&framed).await.unwrap();
}

async fn read_framed(stream: &mut TcpStream) -> Vec<u8> {
    let length = timeout(DEADLINE, stream.read_u16()).await.unwrap().unwrap();
    let mut reply = vec![0; usize::from(length)];
    stream.read_exact(&mut reply).await.unwrap();
    reply
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(timeout(DEADLINE, stream.read_u8()).await, Ok(Err(_)))
}

fn web() -> Vec<u8> {
    request(&format!("web.{ORIGIN}"), Rtype::A)
}

#[tokio::test]
async fn every_address_answers_by_udp_and_tcp() {
    let server = start(&["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"]).await;
    let listening = server.listening();
    assert_eq!(listening.len(), 3);
    for address in listening {
        assert_eq!(by_udp(address, &web()).await.answers.len(), 2);
        let mut stream = TcpStream::connect(address).await.unwrap();
        send_framed(&mut stream, &[web()]).await;
        assert_eq!(read(&read_framed(&mut stream).await).answers.len(), 2);
    }
    let counts = server.counts();
    assert_eq!((counts.queries, counts.answered, counts.failed), (6, 6, 0));
}

#[tokio::test]
async fn a_reply_comes_from_the_address_that_was_asked() {
    for any in ["0.0.0.0:0", "[::]:0"] {
        let server = start(&[any]).await;
        let port = server.listening()[0].port();
        let asked = if any.starts_with('0') { ["127.0.0.1", "127.9.8.7"] } else { ["[::1]", "[::1]"] };
        for address in asked {
            let address: SocketAddr = format!("{address}:{port}").parse().unwrap();
            assert_eq!(by_udp(address, &web()).await.answers.len(), 2, "{address}");
        }
    }
}

#[tokio::test]
async fn many_questions_at_once_are_all_answered() {
    let server = start(&["127.0.0.1:0"]).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server.listening()[0]).await.unwrap();
    let mut missing: BTreeSet<u16> = (0..100).collect();
    for id in &missing {
        let mut request = web();
        request[..2].copy_from_slice(&id.to_be_bytes());
        socket.send(&request).await.unwrap();
    }
    let mut buffer = vec![0; 4096];
    while !missing.is_empty() {
        let length = timeout(DEADLINE, socket.recv(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(read(&buffer[..length]).answers.len(), 2);
        assert!(missing.remove(&u16::from_be_bytes([buffer[0], buffer[1]])));
    }
}

#[tokio::test]
async fn addresses_come_and_go_while_it_runs() {
    let server = start(&["127.0.0.1:0"]).await;
    let first = server.listening()[0];
    let errors = server.set_listen(&[first, "127.0.0.3:0".parse().unwrap()]).await;
    // The first one was asked for with port 0, which is another address than the one with its port.
    assert!(errors.is_empty(), "{errors:?}");
    let second = *server.listening().iter().find(|address| **address != first).unwrap();
    assert_eq!(by_udp(second, &web()).await.answers.len(), 2);
    assert!(server.set_listen(&[first]).await.is_empty());
    assert_eq!(server.listening(), [first]);
    assert_eq!(by_udp(first, &web()).await.answers.len(), 2);
    // Given up means free: a socket that shares with nobody gets it.
    drop(StdUdpSocket::bind(second).unwrap());
    drop(std::net::TcpListener::bind(second).unwrap());
    server.shutdown().await;
    drop(StdUdpSocket::bind(first).unwrap());
}

#[tokio::test]
async fn what_cannot_be_had_is_told_and_tried_again() {
    let taken = StdUdpSocket::bind("127.0.0.1:0").unwrap();
    let busy = taken.local_addr().unwrap();
    let absent: SocketAddr = "192.0.2.1:5353".parse().unwrap();
    let server = start(&["127.0.0.1:0"]).await;
    let there = server.listening()[0];
    let errors = server.set_listen(&[there, busy, absent]).await;
    let told: BTreeSet<SocketAddr> = errors.iter().map(|error| error.address).collect();
    assert_eq!(told, BTreeSet::from([busy, absent]));
    assert!(errors[0].to_string().contains(&errors[0].address.to_string()));
    assert_eq!(by_udp(there, &web()).await.answers.len(), 2);
    drop(taken);
    let errors = server.set_listen(&[there, busy]).await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(by_udp(busy, &web()).await.answers.len(), 2);
}

#[tokio::test]
async fn an_address_of_another_server_of_ours_is_busy() {
    let server = start(&["127.0.0.1:0"]).await;
    let listen = server.listening();
    let (other, errors) = Server::start(Options { listen, ..Options::default() }).await;
    assert_eq!((errors.len(), other.listening().len()), (1, 0));
}

#[tokio::test]
async fn a_change_of_names_is_answered_at_once() {
    let server = start(&["127.0.0.1:0"]).await;
    let (address, asked) = (server.listening()[0], format!("new.{ORIGIN}"));
    assert_eq!(by_udp(address, &request(&asked, Rtype::A)).await.rcode, Rcode::NXDOMAIN);
    server.names().edit(|edit| edit.insert(support::address(&asked, "10.1.7.7"))).unwrap();
    let reply = by_udp(address, &request(&asked, Rtype::A)).await;
    assert_eq!(reply.answers, [format!("{asked} 60 A 10.1.7.7")]);
}

#[tokio::test]
async fn foreign_names_are_refused_where_nobody_may_ask_for_them() {
    let server = start(&["127.0.0.1:0"]).await;
    let reply = by_udp(server.listening()[0], &request("debian.org", Rtype::A)).await;
    assert_eq!((reply.rcode, server.counts().refused), (Rcode::REFUSED, 1));
}

#[tokio::test]
async fn a_connection_carries_many_questions() {
    let server = start(&["127.0.0.1:0"]).await;
    let mut stream = TcpStream::connect(server.listening()[0]).await.unwrap();
    let requests: Vec<Vec<u8>> = (0..500_u16)
        .map(|id| {
            let mut request = web();
            request[..2].copy_from_slice(&id.to_be_bytes());
            request
        })
        .collect();
    send_framed(&mut stream, &requests).await;
    for id in 0..500_u16 {
        let reply = read_framed(&mut stream).await;
        assert_eq!((&reply[..2], read(&reply).answers.len()), (&id.to_be_bytes()[..], 2));
    }
}

#[tokio::test]
async fn a_request_that_is_too_long_ends_the_connection() {
    let server = start(&["127.0.0.1:0"]).await;
    let mut stream = TcpStream::connect(server.listening()[0]).await.unwrap();
    stream.write_all(&5000_u16.to_be_bytes()).await.unwrap();
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let server = start(&["127.0.0.1:0"]).await;
    let mut silent = TcpStream::connect(server.listening()[0]).await.unwrap();
    let mut slow = TcpStream::connect(server.listening()[0]).await.unwrap();
    slow.write_all(&[0]).await.unwrap();
    assert!(is_closed(&mut silent).await && is_closed(&mut slow).await);
}

#[tokio::test]
async fn one_client_does_not_have_all_connections() {
    let server = start(&["127.0.0.1:0"]).await;
    let address = server.listening()[0];
    let mut streams = Vec::new();
    for _ in 0..32 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        send_framed(&mut stream, &[web()]).await;
        read_framed(&mut stream).await;
        streams.push(stream);
    }
    let mut one_more = TcpStream::connect(address).await.unwrap();
    assert!(is_closed(&mut one_more).await);
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.77:0".parse().unwrap()).unwrap();
    let mut other = other.connect(address).await.unwrap();
    send_framed(&mut other, &[web()]).await;
    read_framed(&mut other).await;
    // One that ends makes room for the next.
    drop(streams.pop());
    let again = async {
        loop {
            let mut stream = TcpStream::connect(address).await.unwrap();
            send_framed(&mut stream, &[web()]).await;
            if stream.read_u16().await.is_ok() {
                break;
            }
        }
    };
    timeout(DEADLINE, again).await.unwrap();
}

#[tokio::test]
async fn who_is_not_welcome_is_refused() {
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let allow = Some(vec!["127.0.0.2/32".parse().unwrap()]);
    let (server, errors) =
        Server::start(Options { listen, names: names(), allow, ..Options::default() }).await;
    assert!(errors.is_empty());
    let at = server.listening()[0];
    let ask = |from: &'static str| async move {
        let socket = tokio::net::UdpSocket::bind((from, 0)).await.unwrap();
        let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x06office\x07netloom\x08internal\x00\x00\x01\x00\x01";
        socket.send_to(query, at).await.unwrap();
        let mut reply = [0; 512];
        socket.recv_from(&mut reply).await.unwrap();
        reply[3] & 0x0f
    };
    assert_eq!(ask("127.0.0.1").await, 5, "REFUSED");
    assert_ne!(ask("127.0.0.2").await, 5);
}
