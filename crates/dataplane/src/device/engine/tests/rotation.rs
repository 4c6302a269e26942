//! New private keys while packets go both ways: none is lost (ADR 19), whoever is told first, and whoever changes at once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use gotatun::packet::{Packet, PacketBufPool};
use gotatun::udp::channel::{UdpChannelRx, UdpChannelTx};
use gotatun::udp::{UdpRecv as _, UdpSend as _, UdpTransportFactoryParams};

use super::*;

const PORT: u16 = 7;
const PAUSE: Duration = Duration::from_millis(2);

/// Numbered datagrams from one machine to another, all the time.
struct Stream {
    sent: Arc<AtomicU32>,
    heard: Arc<Mutex<BTreeSet<u32>>>,
    speaker: JoinSet<()>,
    _listener: JoinSet<()>,
}

impl Stream {
    fn start(speaker: UdpChannelTx, to: Ipv4Addr, listener: UdpChannelRx) -> Self {
        let (sent, heard) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(BTreeSet::new())));
        let (mut speaks, mut listens) = (JoinSet::new(), JoinSet::new());
        speaks.spawn(speak(speaker, (to, PORT).into(), Arc::clone(&sent)));
        listens.spawn(listen(listener, Arc::clone(&heard)));
        Self { sent, heard, speaker: speaks, _listener: listens }
    }

    fn sent(&self) -> u32 {
        self.sent.load(Ordering::SeqCst)
    }

    fn heard(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    async fn say_more(&self) {
        let until = self.sent() + 20;
        eventually("more packets", async || self.sent() >= until).await;
    }

    /// All that was said until now comes.
    async fn is_heard(&self) {
        let until = self.sent();
        let missing = || {
            let heard = self.heard.lock().unwrap();
            (0..until).filter(|number| !heard.contains(number)).collect::<Vec<_>>()
        };
        let began = Instant::now();
        while !missing().is_empty() {
            assert!(began.elapsed() < DEADLINE, "of {until} packets are lost: {:?}", missing());
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn speak(speaker: UdpChannelTx, to: SocketAddr, sent: Arc<AtomicU32>) {
    for number in 0_u32.. {
        speaker.send_to(Packet::copy_from(&number.to_be_bytes()[..]), to).await.unwrap();
        sent.store(number + 1, Ordering::SeqCst);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn listen(mut listener: UdpChannelRx, heard: Arc<Mutex<BTreeSet<u32>>>) {
    let mut pool = PacketBufPool::new(1);
    loop {
        let (packet, _) = listener.recv_from(&mut pool).await.unwrap();
        let number = u32::from_be_bytes(packet[..].try_into().unwrap());
        assert!(heard.lock().unwrap().insert(number), "packet {number} came twice");
    }
}

/// Two machines that talk, and the stream from each of them.
struct Talk {
    machines: [Machine; 2],
    streams: [Stream; 2],
}

fn address(machine: usize) -> Ipv4Addr {
    [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)][machine]
}

impl Talk {
    async fn start() -> Self {
        let (mut a, mut b) = two_machines().await;
        let port = UdpTransportFactoryParams { addr: None, port: PORT, fwmark: None };
        let (a_says, a_hears) = a.interface.bind(&port).await.unwrap();
        let (b_says, b_hears) = b.interface.bind(&port).await.unwrap();
        let streams =
            [Stream::start(a_says, address(1), b_hears), Stream::start(b_says, address(0), a_hears)];
        let talk = Self { machines: [a, b], streams };
        talk.goes_well().await;
        talk
    }

    async fn goes_well(&self) {
        for stream in &self.streams {
            stream.say_more().await;
            stream.is_heard().await;
        }
    }

    /// One of them learns that the other one has another key than before.
    async fn tell(&mut self, who: usize, former: &str) {
        let other = &self.machines[1 - who];
        let successor = format!(
            "public_key={former}\nremove=true\npublic_key={}\nallowed_ip={}/32\nendpoint={}\n\
             persistent_keepalive_interval=25\n",
            other.key,
            address(1 - who),
            other.addr().await
        );
        self.machines[who].set(&successor).await;
    }

    async fn end(mut self) {
        for stream in &mut self.streams {
            stream.speaker.shutdown().await;
            stream.is_heard().await;
        }
    }
}

#[tokio::test]
async fn a_new_key_loses_no_packet_and_what_still_comes_under_the_old_one_is_received() {
    let mut talk = Talk::start().await;
    for number in 3..6 {
        let former = talk.machines[0].key.clone();
        let addr = talk.machines[0].addr().await;
        talk.machines[0].set_key(number).await;
        assert_eq!(talk.machines[0].addr().await, addr);
        let came = talk.streams[0].heard();
        // Nobody else knows yet.
        talk.streams[1].say_more().await;
        talk.streams[1].is_heard().await;
        let held_back = talk.streams[0].sent() as usize - came;
        assert!(held_back > 10, "the test does not test much");
        talk.tell(1, &former).await;
        talk.goes_well().await;
    }
    talk.end().await;
}

#[tokio::test]
async fn a_key_that_is_taken_back_loses_no_packet() {
    let mut talk = Talk::start().await;
    for number in 3..6 {
        talk.machines[0].set_key(number).await;
        talk.streams[0].say_more().await;
        talk.machines[0].set_key(1).await;
        talk.goes_well().await;
    }
    talk.end().await;
}

#[tokio::test]
async fn both_may_change_their_keys_at_once() {
    for first_told in [0, 1] {
        let mut talk = Talk::start().await;
        let former = [0, 1].map(|who: usize| talk.machines[who].key.clone());
        talk.machines[0].set_key(3).await;
        talk.streams[0].say_more().await;
        talk.machines[1].set_key(4).await;
        talk.streams[1].say_more().await;
        talk.tell(first_told, &former[1 - first_told]).await;
        talk.streams[0].say_more().await;
        talk.tell(1 - first_told, &former[first_told]).await;
        talk.goes_well().await;
        talk.end().await;
    }
}

#[test]
fn a_removal_comes_last_unless_more_is_said_of_the_peer() {
    let said = |number: u8, remove: bool| PeerSettings {
        public_key: [number; 32],
        remove,
        ..PeerSettings::default()
    };
    let all = [said(1, true), said(2, true), said(3, false), said(2, false), said(4, false), said(4, true)];
    let order: Vec<_> = removals_last(&all).iter().map(|peer| (peer.public_key[0], peer.remove)).collect();
    assert_eq!(order, [(2, true), (3, false), (2, false), (4, false), (1, true), (4, true)]);
}
