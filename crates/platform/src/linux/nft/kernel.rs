//! The connection to the kernel's nf_tables: questions, and transactions that are carried out all or not at all.
//!
//! Not for what is asked or done. It keeps true that a transaction goes out in one piece, as the kernel wants it, and that
//! all its answers are read. The kernel answers within the call that sends: nothing here waits.

use std::fmt;
use std::io::{self, ErrorKind};

use rtnetlink::sys::{Socket, SocketAddr};
use rustix::io::Errno;
use rustix::net::sockopt;

use super::message::{self, Attributes, Received, Transaction, question, received};
use super::number::{self, flag};
use super::trouble::Refusal;

/// The largest datagram that the kernel sends.
const LARGEST: usize = 64 << 10;
/// Sequence numbers of questions are above those of messages in transactions.
const QUESTIONS: u32 = 1 << 31;
/// What the kernel needs of the send buffer besides the message.
const ROOM: usize = 64;

/// A connection to the network namespace in which it was opened.
pub(super) struct Kernel {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}

/// Why a transaction was not carried out. Nothing of it was.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another transaction was carried out since the generation that it is for.
    Late,
    /// It is larger than this process may send.
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The most that may be sent.
        allowed: usize,
    },
    /// The kernel refused.
    Refused(Refusal),
}

impl Kernel {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(number::NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        // Answers without what was sent, and with words: it works without both.
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_ext_ack(true);
        Ok(Self { socket, sequence: QUESTIONS, buffer: Vec::with_capacity(LARGEST) })
    }

    /// The number of the last transaction that anybody had carried out in this namespace.
    pub(super) fn generation(&mut self) -> io::Result<u32> {
        let mut generation = None;
        self.ask(number::message::GET_GENERATION, 0, &Attributes::default(), |answer| {
            let id = answer.attributes().find(|(kind, _)| *kind == number::attribute::GENERATION_ID);
            generation = generation.or(id.and_then(|(_, payload)| message::number(payload)));
        })?;
        generation.ok_or_else(|| io::Error::other("the kernel did not say its generation"))
    }

    /// Asks, and hands over each answer. Says whether what was listed stayed the same meanwhile.
    pub(super) fn ask(
        &mut self,
        message: u8,
        flags: u16,
        attributes: &Attributes,
        mut each: impl FnMut(&Received<'_>),
    ) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1) | QUESTIONS;
        let question = question(message, flags, self.sequence, attributes);
        self.socket.send_to(&question, &SocketAddr::new(0, 0), 0)?;
        let mut same = true;
        while self.receive()? {
            for answer in received(&self.buffer).filter(|answer| answer.sequence == self.sequence) {
                same &= answer.flags & flag::INTERRUPTED == 0;
                match answer.kind {
                    number::DONE => return Ok(same),
                    number::ERROR => match errno(&answer) {
                        0 => return Ok(same),
                        errno => return Err(io::Error::from_raw_os_error(errno)),
                    },
                    _ => each(&answer),
                }
            }
        }
        Ok(same)
    }

    /// Has a transaction carried out.
    pub(super) fn carry_out(&mut self, transaction: &Transaction) -> Result<(), Failure> {
        let bytes = transaction.as_bytes();
        let allowed =
            self.make_room(bytes.len()).map_err(|error| Failure::Refused(Refusal::of_all(error)))?;
        if bytes.len() + ROOM > allowed {
            return Err(Failure::TooLarge { bytes: bytes.len(), allowed });
        }
        let sent = self.socket.send_to(bytes, &SocketAddr::new(0, 0), 0);
        sent.map_err(|error| Failure::Refused(Refusal::of_all(error)))?;
        self.outcome(transaction)
    }

    /// Reads all answers to a transaction.
    fn outcome(&mut self, transaction: &Transaction) -> Result<(), Failure> {
        let (mut acknowledged, mut refusal) = (false, None);
        loop {
            match self.receive() {
                Ok(true) => {}
                Ok(false) => break,
                // There were more refusals than the socket holds. The first ones are there.
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => continue,
                Err(error) => return Err(Failure::Refused(Refusal::of_all(error))),
            }
            for answer in received(&self.buffer).filter(|answer| answer.kind == number::ERROR) {
                match errno(&answer) {
                    _ if answer.sequence > transaction.last() + 1 => {}
                    0 => acknowledged |= answer.sequence == transaction.last(),
                    errno if refusal.is_none() => {
                        let part = transaction.part(answer.sequence).clone();
                        let error = io::Error::from_raw_os_error(errno);
                        refusal = Some(Refusal { part, error, word: word(&answer) });
                    }
                    _ => {}
                }
            }
        }
        match refusal {
            Some(refusal) if refusal.is(Errno::RESTART) => Err(Failure::Late),
            Some(refusal) => Err(Failure::Refused(refusal)),
            None if acknowledged => Ok(()),
            None => Err(Failure::Refused(Refusal::of_all(io::Error::other("the kernel gave no answer")))),
        }
    }

    /// Makes the send buffer as large as needed, and says how large it is.
    fn make_room(&self, bytes: usize) -> io::Result<usize> {
        let has = sockopt::socket_send_buffer_size(&self.socket)?;
        if has >= bytes + ROOM {
            return Ok(has);
        }
        if sockopt::set_socket_send_buffer_size_force(&self.socket, bytes + ROOM).is_err() {
            sockopt::set_socket_send_buffer_size(&self.socket, bytes + ROOM)?;
        }
        sockopt::socket_send_buffer_size(&self.socket).map_err(io::Error::from)
    }

    /// Receives a datagram into the buffer, if there is one.
    fn receive(&mut self) -> io::Result<bool> {
        loop {
            self.buffer.clear();
            match self.socket.recv_from(&mut self.buffer, 0) {
                // Only the kernel has the port 0.
                Ok((_, sender)) if sender.port_number() == 0 => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The number of an error, positive; 0 says that all went well.
fn errno(answer: &Received<'_>) -> i32 {
    answer.payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes).saturating_neg())
}

/// What the kernel says about an error besides its number.
fn word(answer: &Received<'_>) -> Option<String> {
    if answer.flags & flag::WITH_WORDS == 0 {
        return None;
    }
    // Behind the number is the header of what was refused, or all of it.
    let refused = answer.payload.get(4..)?;
    let length = if answer.flags & flag::CAPPED != 0 {
        16
    } else {
        usize::try_from(u32::from_ne_bytes(*refused.first_chunk()?)).ok()?.next_multiple_of(4)
    };
    let mut words = message::attributes(refused.get(length..)?);
    let (_, text) = words.find(|(kind, _)| *kind == number::ERROR_WORDS)?;
    message::text(text).map(str::to_owned)
}
