//! Questions: who asks whom for what, and what came of it.
//!
//! Not for who should be answered (`model`). It keeps true that each question has a number of its own, and a port of its own
//! where nobody chooses one, so that no firewall takes it for an older one.

use std::net::IpAddr;
use std::time::Duration;

use super::packet::{Flow, Service, Word};
use super::{OUTSIDE, World};

/// Somebody who can ask and be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A machine with an agent.
    Host(usize),
    /// A plain WireGuard client.
    Client(usize),
    /// The machine of an annex.
    Annex(usize),
    /// Somebody in the internet.
    Outside,
}

/// A question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) from: End,
    pub(super) to: IpAddr,
    pub(super) service: Service,
    /// Who else heard it.
    pub(super) heard: Option<End>,
    pub(super) answered: bool,
    pub(super) at: Duration,
}

impl World {
    /// Asks; the number of the question. From a port of its own.
    pub fn ask(&mut self, from: End, to: IpAddr, service: Service) -> u64 {
        let port = 1_024 + u16::try_from(self.questions % 28_000).expect("it is less");
        self.ask_on(from, to, service, port)
    }

    /// Asks on a connection from this port.
    pub fn ask_on(&mut self, from: End, to: IpAddr, service: Service, port: u16) -> u64 {
        self.questions += 1;
        let number = self.questions;
        self.asked.insert(number, Asked { from, to, service, heard: None, answered: false, at: self.now });
        let now = self.now;
        let kernel = match from {
            End::Annex(_) if to.is_ipv6() => return number,
            End::Host(host) => &mut self.hosts[host].kernel,
            End::Client(client) => &mut self.clients[client].kernel,
            End::Annex(annex) => {
                self.ask_from_annex(annex, to, service, port, number);
                return number;
            }
            End::Outside => return number,
        };
        if let Some(source) = kernel.source_for(to) {
            kernel.ask(Flow::new(source, to, service, port), number, now);
        }
        match from {
            End::Host(host) => self.transmit(host),
            End::Client(client) => self.transmit_client(client),
            End::Annex(_) | End::Outside => {}
        }
        number
    }

    /// Whether a question was answered.
    pub fn is_answered(&self, number: u64) -> bool {
        self.asked.get(&number).is_some_and(|asked| asked.answered)
    }

    /// Forgets all questions.
    pub fn forget_questions(&mut self) {
        self.asked.clear();
    }

    /// A host's address in a network, of IPv4 where there is one.
    pub fn address(&self, host: usize, network: usize) -> Option<IpAddr> {
        let node = self.server.intent.node_of(self.hosts[host].id, self.networks[network])?;
        node.addresses.iter().next()
    }

    /// A client's address, of IPv4 where there is one.
    pub fn client_address(&self, client: usize) -> Option<IpAddr> {
        self.server.intent.client(self.clients[client].id)?.addresses.iter().next()
    }

    /// The address of an annex's machine, there.
    pub fn annex_address(&self, annex: usize) -> IpAddr {
        self.annexes[annex].machine()
    }

    /// Somebody in the internet.
    pub const fn outside(&self) -> IpAddr {
        IpAddr::V4(OUTSIDE)
    }

    /// How a host sees its path to another, in words.
    pub fn path(&self, host: usize, other: usize) -> String {
        let key = self.server.intent.host(self.hosts[other].id).map(|host| host.wireguard_key);
        key.map_or_else(|| "unknown".to_owned(), |key| self.hosts[host].path(&key))
    }

    /// Whether a question was answered, by this one.
    pub(super) fn is_answered_by(&self, number: u64, end: End) -> bool {
        self.asked.get(&number).is_some_and(|asked| asked.answered && asked.heard == Some(end))
    }

    /// A packet came to somebody's program.
    pub(super) fn note(&mut self, end: End, word: Word, number: u64) {
        let Some(asked) = self.asked.get_mut(&number) else { return };
        match word {
            Word::Question => asked.heard = Some(end).filter(|_| end != asked.from).or(asked.heard),
            Word::Answer => asked.answered |= asked.from == end && asked.heard.is_some(),
        }
    }
}
