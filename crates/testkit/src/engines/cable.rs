//! A TCP connection's cable that is cut after so many bytes, in either direction, or unplugged for a while.
//!
//! Not for delays. It keeps true that a cut happens once: whoever connects again gets through, unless the cable is unplugged.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// How much passes until the cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    way: Way,
    bytes: usize,
}

/// What is to happen, and to whom.
#[derive(Debug, Default)]
struct Plan {
    cut: Option<Cut>,
    is_unplugged: bool,
    /// Both ends of every connection; ended ones among them.
    ends: Vec<TcpStream>,
}

/// A listener that hands every connection on to one server.
#[derive(Debug)]
pub struct Cable {
    address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
}

fn lock(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().expect("nobody panics with it")
}

impl Cable {
    /// Lays a cable to this server.
    pub fn lay(to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, plan) = (listener.local_addr()?, Arc::new(Mutex::new(Plan::default())));
        let theirs = Arc::clone(&plan);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A server that is away: the client sees its connection end.
                let Ok(server) = TcpStream::connect(to) else { continue };
                // Cannot fail while there are threads; a test would see it as a connection that hangs.
                drop(join(client, server, &theirs));
            }
        });
        Ok(Self { address, plan })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the connection over which this many bytes pass next.
    pub fn cut_after(&self, way: Way, bytes: usize) {
        lock(&self.plan).cut = Some(Cut { way, bytes });
    }

    /// Takes the cut back; whether it had not happened yet.
    pub fn spare(&self) -> bool {
        lock(&self.plan).cut.take().is_some()
    }

    /// Ends every connection, and every new one at once.
    pub fn unplug(&self) {
        let mut plan = lock(&self.plan);
        plan.is_unplugged = true;
        // Closed already is as good.
        plan.ends.drain(..).for_each(|end| drop(end.shutdown(Shutdown::Both)));
    }

    /// Lets new connections through again.
    pub fn plug(&self) {
        lock(&self.plan).is_unplugged = false;
    }
}

fn join(client: TcpStream, server: TcpStream, plan: &Arc<Mutex<Plan>>) -> io::Result<()> {
    let mut shared = lock(plan);
    if shared.is_unplugged {
        return Ok(());
    }
    for (from, to, way) in [(&client, &server, Way::Up), (&server, &client, Way::Down)] {
        let (from, to, plan) = (from.try_clone()?, to.try_clone()?, Arc::clone(plan));
        thread::spawn(move || carry(from, to, way, &plan));
    }
    shared.ends.retain(|end| end.peer_addr().is_ok());
    shared.ends.extend([client, server]);
    Ok(())
}

fn carry(mut from: TcpStream, mut to: TcpStream, way: Way, plan: &Mutex<Plan>) {
    let mut buffer = [0; 4096];
    loop {
        let count = from.read(&mut buffer).unwrap_or(0);
        let passes = passes(plan, way, count);
        let written = to.write_all(&buffer[..passes]);
        if count == 0 || passes < count || written.is_err() {
            // Closed already is as good.
            [&from, &to].into_iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
            return;
        }
    }
}

fn passes(plan: &Mutex<Plan>, way: Way, count: usize) -> usize {
    let mut plan = lock(plan);
    let Some(cut) = plan.cut.as_mut().filter(|cut| cut.way == way && count > 0) else {
        return count;
    };
    if cut.bytes >= count {
        cut.bytes -= count;
        return count;
    }
    let passes = cut.bytes;
    plan.cut = None;
    passes
}
