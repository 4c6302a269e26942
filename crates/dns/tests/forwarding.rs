//! Names that are not ours: who is asked about them, and what of the answers is believed.

#![allow(clippy::unwrap_used, reason = "in tests, a panic is the message")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dns::{DomainRule, Forwarding, Options, Server};
use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder};
use domain::rdata::{A, Cname, Txt};
use support::{Reply, name, names, read, request, request_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);

/// An upstream that does to each datagram what it is told.
struct Upstream {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Upstream {
    async fn start(replies: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (socket.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                for reply in replies(&buffer[..length]) {
                    socket.send_to(&reply, from).await.unwrap();
                }
            }
        });
        Self { address, asked }
    }

    /// One that answers everything with this address.
    async fn answering(last: u8) -> Self {
        Self::start(move |request| vec![with_address(request, last)]).await
    }

    async fn silent() -> Self {
        Self::start(|_| vec![]).await
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn with_address(request: &[u8], last: u8) -> Vec<u8> {
    let request = Message::from_octets(request).unwrap();
    let mut answer = MessageBuilder::new_vec().start_answer(&request, Rcode::NOERROR).unwrap();
    let owner = request.sole_question().unwrap();
    answer.push((owner.qname(), 5, A::new([192, 0, 2, last].into()))).unwrap();
    answer.finish()
}

fn with_rcode(request: &[u8], rcode: Rcode) -> Vec<u8> {
    MessageBuilder::new_vec().start_answer(&Message::from_octets(request).unwrap(), rcode).unwrap().finish()
}

async fn start(forwarding: Forwarding) -> Server {
    let options = Options {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        names: names(),
        forwarding,
        allow_forward: vec!["127.0.0.1/32".parse().unwrap()],
        ..Options::default()
    };
    let (server, errors) = Server::start(options).await;
    assert!(errors.is_empty(), "{errors:?}");
    server
}

fn to(upstreams: &[&Upstream]) -> Forwarding {
    Forwarding { default: upstreams.iter().map(|upstream| upstream.address).collect(), domains: vec![] }
}

async fn ask_from(from: &str, server: &Server, request: &[u8]) -> Reply {
    let socket = UdpSocket::bind(from).await.unwrap();
    socket.connect(server.listening()[0]).await.unwrap();
    socket.send(request).await.unwrap();
    let mut buffer = vec![0; 4096];
    let length = timeout(DEADLINE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(buffer[..2], request[..2], "the reply has the request's number");
    read(&buffer[..length])
}

async fn ask(server: &Server, owner: &str) -> Reply {
    ask_from("127.0.0.1:0", server, &request(owner, Rtype::A)).await
}

async fn ask_by_tcp(server: &Server, request: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(server.listening()[0]).await.unwrap();
    stream.write_u16(u16::try_from(request.len()).unwrap()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let length = timeout(DEADLINE, stream.read_u16()).await.unwrap().unwrap();
    let mut reply = vec![0; usize::from(length)];
    stream.read_exact(&mut reply).await.unwrap();
    read(&reply)
}

/// The last number of the address in the answer.
fn last(reply: &Reply) -> &str {
    reply.answers[0].rsplit('.').next().unwrap()
}

#[tokio::test]
async fn each_domain_has_its_upstreams_and_they_can_change() {
    let (default, corp, lab) =
        (Upstream::answering(1).await, Upstream::answering(2).await, Upstream::answering(3).await);
    let rule = |domain: &str, upstream: &Upstream| DomainRule {
        domain: name(domain),
        upstreams: vec![upstream.address],
    };
    let domains = vec![rule("corp.example", &corp), rule("lab.corp.example", &lab)];
    let server = start(Forwarding { domains, ..to(&[&default]) }).await;
    for (owner, expected) in [
        ("debian.org", "1"),
        ("www.Corp.example", "2"),
        ("a.lab.corp.example", "3"),
        ("lab.corp.example", "3"),
    ] {
        let reply = ask(&server, owner).await;
        assert_eq!((last(&reply), reply.authoritative), (expected, false), "{owner}");
        assert!(reply.answers[0].starts_with(owner), "the question's case is kept: {:?}", reply.answers);
    }
    server.set_forwarding(to(&[&lab]));
    assert_eq!(last(&ask(&server, "debian.org").await), "3");
    assert_eq!(server.counts().forwarded, 5);
}

#[tokio::test]
async fn our_own_names_are_never_asked_of_others() {
    let upstream = Upstream::answering(1).await;
    let server = start(to(&[&upstream])).await;
    let none = format!("none.{}", support::ORIGIN);
    assert_eq!(ask(&server, &none).await.rcode, Rcode::NXDOMAIN);
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn only_those_who_may_have_names_forwarded() {
    let upstream = Upstream::answering(1).await;
    let server = start(to(&[&upstream])).await;
    let asked = request("debian.org", Rtype::A);
    assert_eq!(ask_from("127.0.0.2:0", &server, &asked).await.rcode, Rcode::REFUSED);
    assert_eq!(upstream.asked(), 0);
    server.set_allow_forward(vec!["127.0.0.0/8".parse().unwrap()]);
    assert_eq!(ask_from("127.0.0.2:0", &server, &asked).await.rcode, Rcode::NOERROR);
}

#[tokio::test]
async fn without_upstreams_foreign_names_are_refused() {
    let server = start(Forwarding::default()).await;
    assert_eq!(ask(&server, "debian.org").await.rcode, Rcode::REFUSED);
}

#[tokio::test]
async fn an_upstream_that_cannot_or_says_nothing_is_passed_over() {
    let failing = Upstream::start(|request| vec![with_rcode(request, Rcode::SERVFAIL)]).await;
    let (silent, good) = (Upstream::silent().await, Upstream::answering(7).await);
    // Nobody listens there: the kernel says so.
    let closed = Upstream { address: "127.0.0.1:1".parse().unwrap(), asked: Arc::default() };
    let server = start(to(&[&failing, &closed, &silent, &good])).await;
    assert_eq!(last(&ask(&server, "debian.org").await), "7");
    assert_eq!((failing.asked(), silent.asked(), good.asked()), (1, 1, 1));
    // The next question begins with the one that answered.
    assert_eq!(last(&ask(&server, "debian.net").await), "7");
    assert_eq!((failing.asked(), silent.asked(), good.asked()), (1, 1, 2));
}

#[tokio::test]
async fn when_nobody_can_the_reply_says_so() {
    let failing = Upstream::start(|request| vec![with_rcode(request, Rcode::SERVFAIL)]).await;
    let server = start(to(&[&failing])).await;
    assert_eq!(ask(&server, "debian.org").await.rcode, Rcode::SERVFAIL);
    let silent = Upstream::silent().await;
    server.set_forwarding(to(&[&silent]));
    assert_eq!(ask(&server, "debian.org").await.rcode, Rcode::SERVFAIL);
    assert_eq!(silent.asked(), 2, "a datagram may be lost, so it is asked twice");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_an_answer() {
    let upstream = Upstream::start(|request| vec![with_rcode(request, Rcode::NXDOMAIN)]).await;
    let server = start(to(&[&upstream])).await;
    assert_eq!(ask(&server, "none.debian.org").await.rcode, Rcode::NXDOMAIN);
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn what_is_not_the_answer_to_the_question_is_not_believed() {
    let liar = Upstream::start(|request| {
        let mut other_id = with_address(request, 66);
        other_id[0] ^= 0xFF;
        let mut other_question = with_address(request, 67);
        other_question[13] ^= 1;
        let mut other_kind = with_address(request, 68);
        let at = 12 + "debian.org".len() + 3;
        other_kind[at] ^= 1;
        let not_an_answer = request.to_vec();
        let scrap = request[..7].to_vec();
        vec![other_id, other_question, other_kind, not_an_answer, scrap, with_address(request, 1)]
    })
    .await;
    let server = start(to(&[&liar])).await;
    assert_eq!(last(&ask(&server, "debian.org").await), "1");
}

#[tokio::test]
async fn numbers_and_ports_are_drawn_anew_for_each_question() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    let upstream = Upstream::start(move |request| {
        keep.lock().unwrap().push([request[0], request[1]]);
        vec![with_address(request, 1)]
    })
    .await;
    let server = start(to(&[&upstream])).await;
    for _ in 0..8 {
        ask(&server, "debian.org").await;
    }
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_unstable();
    seen.dedup();
    // Eight draws of sixteen bits that are all alike would be no chance.
    assert!(seen.len() > 4, "{seen:?}");
}

#[tokio::test]
async fn a_long_answer_is_fetched_by_tcp_for_those_who_ask_by_tcp() {
    let cut = Upstream::start(|request| {
        let mut reply = with_rcode(request, Rcode::NOERROR);
        reply[2] |= 2;
        vec![reply]
    })
    .await;
    let listener = TcpListener::bind(cut.address).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut request = vec![0; usize::from(length)];
            stream.read_exact(&mut request).await.unwrap();
            let request = Message::from_octets(request).unwrap();
            let mut answer = MessageBuilder::new_vec().start_answer(&request, Rcode::NOERROR).unwrap();
            let owner = request.sole_question().unwrap();
            let text: Txt<Vec<u8>> = Txt::build_from_slice(&[b'x'; 3000]).unwrap();
            answer.push((owner.qname(), 5, text)).unwrap();
            let answer = answer.finish();
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    let server = start(to(&[&cut])).await;
    let by_udp = ask(&server, "debian.org").await;
    assert!(by_udp.cut && by_udp.answers.is_empty());
    let by_tcp = ask_by_tcp(&server, &request("debian.org", Rtype::TXT)).await;
    assert_eq!((by_tcp.cut, by_tcp.answers.len()), (false, 1));
    assert!(by_tcp.length > 3000);
}

#[tokio::test]
async fn an_answer_that_is_longer_than_the_client_takes_is_cut() {
    let upstream = Upstream::start(|request| {
        let request = Message::from_octets(request).unwrap();
        let mut answer = MessageBuilder::new_vec().start_answer(&request, Rcode::NOERROR).unwrap();
        let owner = request.sole_question().unwrap();
        for last in 0..100 {
            answer.push((owner.qname(), 5, A::new([192, 0, 2, last].into()))).unwrap();
        }
        vec![answer.finish()]
    })
    .await;
    let server = start(to(&[&upstream])).await;
    let reply = ask(&server, "debian.org").await;
    assert!(reply.cut && reply.length <= 512, "{reply:?}");
}

#[tokio::test]
async fn the_sizes_that_the_client_takes_are_passed_on() {
    let sizes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let keep = Arc::clone(&sizes);
    let upstream = Upstream::start(move |request| {
        let message = Message::from_octets(request).unwrap();
        keep.lock().unwrap().push(message.opt().map(|opt| opt.udp_payload_size()));
        vec![with_address(request, 1)]
    })
    .await;
    let server = start(to(&[&upstream])).await;
    for size in [None, Some(700), Some(9000)] {
        ask_from("127.0.0.1:0", &server, &request_with("debian.org", Rtype::A, size)).await;
    }
    assert_eq!(*sizes.lock().unwrap(), [None, Some(700), Some(1232)]);
}

#[tokio::test]
async fn questions_under_way_are_bounded() {
    let silent = Upstream::silent().await;
    let server = start(to(&[&silent])).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server.listening()[0]).await.unwrap();
    for _ in 0..300 {
        socket.send(&request("debian.org", Rtype::A)).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut buffer = vec![0; 4096];
    for _ in 0..40 {
        let length = timeout(DEADLINE, socket.recv(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(read(&buffer[..length]).rcode, Rcode::SERVFAIL);
    }
    // The first ones still wait, so what was answered was turned away.
    assert!(silent.asked() <= 256);
    let own = format!("web.{}", support::ORIGIN);
    assert_eq!(ask(&server, &own).await.answers.len(), 2, "our own names do not wait");
}

#[tokio::test]
async fn a_cname_of_ours_that_leads_away_is_followed_by_asking_others() {
    let upstream = Upstream::start(|request| {
        let request = Message::from_octets(request).unwrap();
        let mut answer = MessageBuilder::new_vec().start_answer(&request, Rcode::NOERROR).unwrap();
        let owner = *request.sole_question().unwrap().qname();
        let real: domain::base::Name<Vec<u8>> = "real.debian.org".parse().unwrap();
        answer.push((owner, 5, Cname::new(&real))).unwrap();
        answer.push((&real, 5, A::new([192, 0, 2, 1].into()))).unwrap();
        vec![answer.finish()]
    })
    .await;
    let server = start(to(&[&upstream])).await;
    let away = format!("Away.{}", support::ORIGIN);
    let expected = [
        format!("{away} 60 CNAME debian.org"),
        "debian.org 5 CNAME real.debian.org".to_owned(),
        "real.debian.org 5 A 192.0.2.1".to_owned(),
    ];
    assert_eq!(ask(&server, &away).await.answers, expected);
    assert_eq!(ask_by_tcp(&server, &request_with(&away, Rtype::A, Some(900))).await.answers, expected);
    // What is no address, and where nobody is asked, the CNAME is the answer.
    let text = ask_from("127.0.0.1:0", &server, &request(&away, Rtype::TXT)).await;
    assert_eq!(text.answers, expected[..1]);
    assert_eq!(ask_from("127.0.0.2:0", &server, &request(&away, Rtype::A)).await.answers, expected[..1]);
    assert_eq!(upstream.asked(), 2);
    server.set_forwarding(Forwarding::default());
    let alone = ask(&server, &away).await;
    assert_eq!((alone.rcode, alone.answers), (Rcode::NOERROR, expected[..1].to_vec()));
}

#[tokio::test]
async fn where_a_cname_leads_to_nothing_the_reply_says_so() {
    let upstream = Upstream::start(|request| vec![with_rcode(request, Rcode::NXDOMAIN)]).await;
    let server = start(to(&[&upstream])).await;
    let reply = ask(&server, &format!("away.{}", support::ORIGIN)).await;
    assert_eq!((reply.rcode, reply.answers.len()), (Rcode::NXDOMAIN, 1));
}

#[tokio::test]
async fn we_do_not_ask_ourselves() {
    let server = start(Forwarding::default()).await;
    let own = server.listening()[0];
    server.set_forwarding(Forwarding { default: vec![own], domains: vec![] });
    assert_eq!(ask(&server, "debian.org").await.rcode, Rcode::SERVFAIL);
    assert_eq!(server.counts().queries, 1);
    assert!(server.set_listen(&[SocketAddr::from(([0, 0, 0, 0], own.port()))]).await.is_empty());
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&request("debian.org", Rtype::A), own).await.unwrap();
    let mut buffer = vec![0; 4096];
    let length = timeout(DEADLINE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!((read(&buffer[..length]).rcode, server.counts().queries), (Rcode::SERVFAIL, 2));
}

#[tokio::test]
async fn a_slow_upstream_does_not_hold_up_the_rest_of_a_connection() {
    let silent = Upstream::silent().await;
    let server = start(to(&[&silent])).await;
    let mut stream = TcpStream::connect(server.listening()[0]).await.unwrap();
    let own = format!("web.{}", support::ORIGIN);
    for request in [request("debian.org", Rtype::A), request(&own, Rtype::A)] {
        stream.write_u16(u16::try_from(request.len()).unwrap()).await.unwrap();
        stream.write_all(&request).await.unwrap();
    }
    for expected in [Rcode::NOERROR, Rcode::SERVFAIL] {
        let length = timeout(DEADLINE, stream.read_u16()).await.unwrap().unwrap();
        let mut reply = vec![0; usize::from(length)];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(read(&reply).rcode, expected);
    }
}
