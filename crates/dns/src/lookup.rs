//! Asking one DNS server for the addresses of a name, over a socket that the caller has made and connected to it.
//!
//! Not for choosing whom to ask, nor for how long: it asks again until the caller wants no more. It keeps true that an answer
//! is believed only when it repeats the number and the question that were sent.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{Message, MessageBuilder};
use domain::rdata::{A, Aaaa};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::name::Name;
use crate::upstream::random_id;

/// After this time the question or its answer is taken for lost.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest answer that is read: more than fits without the option that we do not send.
const LONGEST: usize = 1500;
/// More addresses than this are not taken.
const MOST: usize = 16;

/// Which addresses of a name are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
}

impl AddressKind {
    const fn rtype(self) -> Rtype {
        match self {
            Self::A => Rtype::A,
            Self::Aaaa => Rtype::AAAA,
        }
    }
}

/// The addresses of a name: none where the server says so. Ends when it answered; the caller ends it earlier.
pub async fn lookup(socket: &UdpSocket, name: &Name, kind: AddressKind) -> io::Result<Vec<IpAddr>> {
    let mut buffer = [0; LONGEST];
    loop {
        let id = random_id()?;
        socket.send(&request(id, name, kind)).await?;
        let answer = async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                if let Some(answer) = read(&buffer[..length], id, name, kind) {
                    return answer;
                }
            }
        };
        if let Ok(answer) = timeout(AGAIN, answer).await {
            return answer;
        }
    }
}

fn request(id: u16, name: &Name, kind: AddressKind) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec().question();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    builder.push((name.as_base(), kind.rtype(), Class::IN)).expect("one question fits any message");
    builder.finish()
}

/// None if this is no answer to what was asked.
fn read(octets: &[u8], id: u16, name: &Name, kind: AddressKind) -> Option<io::Result<Vec<IpAddr>>> {
    let message = Message::from_slice(octets).ok()?;
    let (header, question) = (message.header(), message.sole_question().ok()?);
    let asked = question.qname() == name.as_base()
        && question.qtype() == kind.rtype()
        && question.qclass() == Class::IN;
    if !header.qr() || header.id() != id || !asked {
        return None;
    }
    match header.rcode() {
        Rcode::NOERROR | Rcode::NXDOMAIN => Some(Ok(addresses(message, kind))),
        other => Some(Err(io::Error::other(format!("the DNS server answers {other}")))),
    }
}

/// Whatever name they are of: between it and the one that was asked are aliases.
fn addresses(message: &Message<[u8]>, kind: AddressKind) -> Vec<IpAddr> {
    let Ok(answer) = message.answer() else { return Vec::new() };
    match kind {
        AddressKind::A => {
            let records = answer.limit_to_in::<A>().map_while(Result::ok);
            records.take(MOST).map(|record| IpAddr::V4(record.data().addr())).collect()
        }
        AddressKind::Aaaa => {
            let records = answer.limit_to_in::<Aaaa>().map_while(Result::ok);
            records.take(MOST).map(|record| IpAddr::V6(record.data().addr())).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use domain::base::name::Name as BaseName;
    use domain::rdata::Cname;

    use super::*;

    fn name() -> Name {
        "vpn.example".parse().unwrap()
    }

    fn reply(request: &[u8], rcode: Rcode, aliased: bool) -> Vec<u8> {
        let request = Message::from_slice(request).unwrap();
        let kind = request.sole_question().unwrap().qtype();
        let mut reply = MessageBuilder::new_vec().start_answer(request, rcode).unwrap();
        let alias: BaseName<Vec<u8>> = "www.example".parse().unwrap();
        let owner = name();
        if aliased {
            reply.push((owner.as_base(), 60, Cname::new(alias.clone()))).unwrap();
        }
        if kind == Rtype::A && rcode == Rcode::NOERROR {
            reply.push((alias, 60, A::from_octets(192, 0, 2, 7))).unwrap();
        }
        reply.finish()
    }

    async fn pair() -> (UdpSocket, UdpSocket) {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (server, client) = (UdpSocket::bind(any).await.unwrap(), UdpSocket::bind(any).await.unwrap());
        client.connect(server.local_addr().unwrap()).await.unwrap();
        (server, client)
    }

    /// Answers each of these questions so; None: not at all.
    async fn serve(server: UdpSocket, answers: Vec<Option<Rcode>>) {
        let mut buffer = [0; 512];
        for rcode in answers {
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            if let Some(rcode) = rcode {
                let answer = reply(&buffer[..length], rcode, true);
                let mut other = answer.clone();
                other[0] ^= 1;
                server.send_to(&other, from).await.unwrap();
                server.send_to(&answer, from).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn addresses_behind_an_alias_are_found_and_another_number_is_not_believed() {
        let (server, client) = pair().await;
        let serving = serve(server, vec![Some(Rcode::NOERROR), Some(Rcode::NOERROR), Some(Rcode::NXDOMAIN)]);
        let asking = async {
            let found = lookup(&client, &name(), AddressKind::A).await.unwrap();
            assert_eq!(found, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
            assert!(lookup(&client, &name(), AddressKind::Aaaa).await.unwrap().is_empty());
            assert!(lookup(&client, &name(), AddressKind::A).await.unwrap().is_empty());
        };
        tokio::join!(serving, asking);
    }

    #[tokio::test]
    async fn a_lost_question_is_asked_again_and_a_server_that_cannot_is_told_apart() {
        let (server, client) = pair().await;
        let serving = serve(server, vec![None, Some(Rcode::NOERROR), Some(Rcode::SERVFAIL)]);
        let asking = async {
            assert_eq!(lookup(&client, &name(), AddressKind::A).await.unwrap().len(), 1);
            assert!(lookup(&client, &name(), AddressKind::A).await.is_err());
        };
        tokio::join!(serving, asking);
    }
}
