//! A steady stream of numbered datagrams to an echo on another machine, and which of them never came back.
//!
//! Not for measuring speed. It keeps true that no more are under way than any queue holds, so that one that is missing was
//! dropped on purpose and not because the machine is busy.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::firewall_stage::{At, at};

/// As many may be under way.
const WINDOW: u64 = 64;
/// Between two datagrams.
const PAUSE: Duration = Duration::from_micros(400);
/// How long the last ones may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an ear listens before it looks whether it is still wanted.
const EAR: Duration = Duration::from_millis(1);

/// The stream, until it is stopped.
pub(crate) struct Stream {
    stop: Arc<AtomicBool>,
    mouth: JoinHandle<Report>,
    echo: JoinHandle<()>,
}

/// What became of a stream.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) sent: u64,
    /// The numbers of those that did not come back.
    pub(crate) lost: Vec<u64>,
}

impl Stream {
    /// Between these machines and addresses.
    pub(crate) fn start(from: (At, IpAddr), to: (At, IpAddr), port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let destination = SocketAddr::new(to.1, port);
        let ear = at(to.0, || UdpSocket::bind(destination).unwrap());
        let mouth = at(from.0, || UdpSocket::bind((from.1, 0)).unwrap());
        for socket in [&ear, &mouth] {
            socket.set_read_timeout(Some(EAR)).unwrap();
        }
        mouth.connect(destination).unwrap();
        let ended = Arc::clone(&stop);
        let mouth = std::thread::spawn(move || speak(&mouth, &ended));
        let ended = Arc::clone(&stop);
        let echo = std::thread::spawn(move || answer(&ear, &ended));
        Self { stop, mouth, echo }
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Report {
        let Self { stop, mouth, echo } = self;
        stop.store(true, Ordering::Relaxed);
        let report = mouth.join().unwrap();
        // The echo goes when nobody speaks any more.
        drop(stop);
        echo.join().unwrap();
        report
    }
}

fn speak(mouth: &UdpSocket, stop: &Arc<AtomicBool>) -> Report {
    let mut came = Vec::new();
    let (mut sent, mut back, mut heard) = (0_u64, 0_u64, Instant::now());
    let mut due = Instant::now();
    loop {
        let ended = stop.load(Ordering::Relaxed);
        if (ended && back == sent) || heard.elapsed() > PATIENCE {
            break;
        }
        if !ended && sent - back < WINDOW && Instant::now() >= due {
            // What a firewall keeps in is told at once, and is lost all the same.
            let _ = mouth.send(&sent.to_be_bytes());
            came.push(false);
            (sent, due) = (sent + 1, (due + PAUSE).max(Instant::now()));
        }
        mouth.set_nonblocking(!ended && sent - back < WINDOW).unwrap();
        let mut bytes = [0; 8];
        if mouth.recv(&mut bytes).is_ok() {
            came[usize::try_from(u64::from_be_bytes(bytes)).unwrap()] = true;
            (back, heard) = (back + 1, Instant::now());
        } else if Instant::now() < due {
            std::thread::sleep(PAUSE / 4);
        }
    }
    let lost = (0..).zip(came).filter(|(_, came)| !came).map(|(number, _)| number).collect();
    Report { sent, lost }
}

fn answer(ear: &UdpSocket, stop: &Arc<AtomicBool>) {
    let mut bytes = [0; 8];
    // The one who speaks holds it too, until all is back.
    while Arc::strong_count(stop) > 1 {
        if let Ok((length, from)) = ear.recv_from(&mut bytes) {
            let _ = ear.send_to(&bytes[..length], from);
        }
    }
}
