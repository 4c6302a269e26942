//! Requests: what they ask, and the replies that say no.
//!
//! Not for looking up names. It keeps true that a request is either understood whole or refused with the code that says
//! why, and that a reply repeats the question octet for octet.

use domain::base::iana::{Class, Opcode, OptRcode, Rcode, Rtype};
use domain::base::message_builder::{
    AdditionalBuilder, AnswerBuilder, PushError, QuestionBuilder, StaticCompressor,
};
use domain::base::name::FlattenInto as _;
use domain::base::{Header, Message, MessageBuilder, Name, ParsedName};

use crate::answer::{Terms, Transport};

/// The largest datagram that we send and ask for: it fits every usual path without being cut.
pub(crate) const UDP_SIZE: u16 = 1232;
/// The largest datagram for those that say nothing about it.
const UDP_SIZE_WITHOUT_EDNS: u16 = 512;
/// The octets of our OPT record.
const OPT_SIZE: usize = 11;

/// A message under construction.
pub(crate) type Reply<'a> = AnswerBuilder<StaticCompressor<&'a mut Vec<u8>>>;
/// One whose answers are complete.
pub(crate) type Ending<'a> = AdditionalBuilder<StaticCompressor<&'a mut Vec<u8>>>;

/// What the OPT record of a request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edns {
    size: u16,
    dnssec_ok: bool,
}

/// A request that was understood.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) header: Header,
    pub(crate) name: ParsedName<&'a [u8]>,
    pub(crate) rtype: Rtype,
    pub(crate) class: Class,
    edns: Option<Edns>,
}

/// A request that was not: what to reply.
#[derive(Debug)]
pub(crate) struct Bad<'a> {
    header: Header,
    question: Option<(ParsedName<&'a [u8]>, Rtype, Class)>,
    edns: Option<Edns>,
    rcode: OptRcode,
}

impl<'a> Asked<'a> {
    /// Understands a request that is none of an answer.
    pub(crate) fn read(message: &'a Message<[u8]>) -> Result<Self, Bad<'a>> {
        let header = message.header();
        let bad = |rcode: OptRcode| Bad { header, question: None, edns: None, rcode };
        if header.opcode() != Opcode::QUERY {
            return Err(bad(OptRcode::NOTIMP));
        }
        let Ok(question) = message.sole_question() else { return Err(bad(OptRcode::FORMERR)) };
        let (name, rtype, class) = (*question.qname(), question.qtype(), question.qclass());
        let bad = |edns, rcode| Bad { header, question: Some((name, rtype, class)), edns, rcode };
        match read_edns(message) {
            Ok(edns) if rtype == Rtype::OPT => Err(bad(edns, OptRcode::FORMERR)),
            Ok(edns) => Ok(Self { header, name, rtype, class, edns }),
            Err((edns, rcode)) => Err(bad(edns, rcode)),
        }
    }

    /// A reply with the question and room for answers.
    pub(crate) fn reply<'b>(&self, terms: Terms, out: &'b mut Vec<u8>) -> Result<Reply<'b>, PushError> {
        let mut builder = begin(self.header, out);
        builder.header_mut().set_ra(terms.recursion);
        let most = self.room(terms.transport);
        builder.set_push_limit(if self.edns.is_some() { most - OPT_SIZE } else { most });
        builder.push((&self.name, self.rtype, self.class))?;
        Ok(builder.answer())
    }

    /// Ends a reply.
    pub(crate) fn finish(&self, reply: Ending<'_>) -> Result<(), PushError> {
        add_opt(reply, self.edns.map(|_| OptRcode::NOERROR))
    }

    /// A reply that says no.
    pub(crate) fn refuse(&self, rcode: Rcode, out: &mut Vec<u8>) -> Result<(), PushError> {
        let question = Some((self.name, self.rtype, self.class));
        Bad { header: self.header, question, edns: self.edns, rcode: rcode.into() }.reply(out)
    }

    /// The request for somebody else to answer.
    pub(crate) fn foreign(&self) -> Foreign {
        Foreign {
            header: self.header,
            name: self.name.flatten_into(),
            rtype: self.rtype,
            class: self.class,
            edns: self.edns,
        }
    }

    fn room(&self, transport: Transport) -> usize {
        room(self.edns, transport)
    }
}

fn room(edns: Option<Edns>, transport: Transport) -> usize {
    let asked = edns.map_or(UDP_SIZE_WITHOUT_EDNS, |edns| edns.size.clamp(UDP_SIZE_WITHOUT_EDNS, UDP_SIZE));
    match transport {
        Transport::Udp => usize::from(asked),
        Transport::Tcp => usize::from(u16::MAX),
    }
}

/// The OPT record, where there is one; two, or a version that nobody made yet, are refused.
fn read_edns(message: &Message<[u8]>) -> Result<Option<Edns>, (Option<Edns>, OptRcode)> {
    let counts = message.header_counts();
    if counts.ancount() == 0 && counts.nscount() == 0 && counts.arcount() == 0 {
        return Ok(None);
    }
    let wrong = |_| (None, OptRcode::FORMERR);
    let mut edns = None;
    for record in message.additional().map_err(wrong)? {
        let record = record.map_err(wrong)?;
        if record.rtype() != Rtype::OPT {
            continue;
        }
        let [_, version, flags, _] = record.ttl().as_secs().to_be_bytes();
        let found = Edns { size: record.class().to_int(), dnssec_ok: flags & 0x80 != 0 };
        if edns.replace(found).is_some() || !record.owner().is_root() {
            return Err((Some(found), OptRcode::FORMERR));
        }
        if version != 0 {
            return Err((Some(found), OptRcode::BADVERS));
        }
    }
    Ok(edns)
}

fn begin(asked: Header, out: &mut Vec<u8>) -> QuestionBuilder<StaticCompressor<&mut Vec<u8>>> {
    out.clear();
    let mut builder = match MessageBuilder::from_target(StaticCompressor::new(out)) {
        Ok(builder) => builder.question(),
        Err(never) => match never {},
    };
    let header = builder.header_mut();
    header.set_id(asked.id());
    header.set_opcode(asked.opcode());
    header.set_rd(asked.rd());
    header.set_cd(asked.cd());
    header.set_qr(true);
    builder
}

/// An OPT record, for those that sent one. Codes that the header has no room for go there in part.
fn add_opt(mut reply: Ending<'_>, rcode: Option<OptRcode>) -> Result<(), PushError> {
    let Some(rcode) = rcode else { return Ok(()) };
    reply.clear_push_limit();
    reply.opt(|opt| {
        opt.set_udp_payload_size(UDP_SIZE);
        if rcode.is_ext() {
            opt.set_rcode(rcode);
        }
        Ok(())
    })
}

impl Bad<'_> {
    /// The reply that says what is wrong.
    pub(crate) fn reply(self, out: &mut Vec<u8>) -> Result<(), PushError> {
        let Self { header, question, edns, rcode } = self;
        let mut builder = begin(header, out);
        builder.header_mut().set_rcode(rcode.rcode());
        if let Some((name, rtype, class)) = question {
            builder.push((&name, rtype, class))?;
        }
        add_opt(builder.additional(), edns.map(|_| rcode))
    }
}

/// A question that somebody else must answer.
#[derive(Debug, Clone)]
pub struct Foreign {
    header: Header,
    name: Name<Vec<u8>>,
    rtype: Rtype,
    class: Class,
    edns: Option<Edns>,
}

impl Foreign {
    /// What is asked, as key: for choosing who is asked.
    pub(crate) fn name(&self) -> &Name<Vec<u8>> {
        &self.name
    }

    /// The request for an upstream, under a number of its own. Of what the client said beyond the question only flags are
    /// passed on: its options are between it and us.
    pub(crate) fn request(&self, id: u16) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec().question();
        let header = builder.header_mut();
        header.set_id(id);
        header.set_rd(true);
        header.set_cd(self.header.cd());
        header.set_ad(self.header.ad());
        let pushed = builder.push((&self.name, self.rtype, self.class));
        let mut additional = builder.additional();
        let pushed = pushed.and_then(|()| match self.edns {
            None => Ok(()),
            Some(Edns { size, dnssec_ok }) => additional.opt(|opt| {
                opt.set_udp_payload_size(size.clamp(UDP_SIZE_WITHOUT_EDNS, UDP_SIZE));
                opt.set_dnssec_ok(dnssec_ok);
                Ok(())
            }),
        });
        pushed.expect("one question and one option fit any message");
        additional.finish()
    }

    /// Whether these octets are an answer to the request of this number.
    pub(crate) fn is_answered_by(&self, id: u16, octets: &[u8]) -> bool {
        let Ok(message) = Message::from_slice(octets) else { return false };
        let header = message.header();
        let fits = header.qr() && header.id() == id && header.opcode() == Opcode::QUERY;
        let Ok(question) = message.sole_question() else { return false };
        fits && *question.qname() == self.name
            && question.qtype() == self.rtype
            && question.qclass() == self.class
    }

    /// An upstream's answer for the client: its own number, and cut where it does not fit.
    pub(crate) fn pass_on(&self, mut answer: Vec<u8>, transport: Transport) -> Vec<u8> {
        if answer.len() > room(self.edns, transport) {
            answer = self.reply(OptRcode::NOERROR);
            Message::from_octets(&mut answer[..]).expect("a reply has a header").header_mut().set_tc(true);
        }
        answer[..2].copy_from_slice(&self.header.id().to_be_bytes());
        answer
    }

    /// Our own reply: why there is no answer.
    pub(crate) fn reply_with(&self, rcode: Rcode) -> Vec<u8> {
        self.reply(rcode.into())
    }

    fn reply(&self, rcode: OptRcode) -> Vec<u8> {
        let mut out = Vec::new();
        let mut builder = begin(self.header, &mut out);
        builder.header_mut().set_rcode(rcode.rcode());
        builder.header_mut().set_ra(true);
        let pushed = builder.push((&self.name, self.rtype, self.class));
        pushed
            .and_then(|()| add_opt(builder.additional(), self.edns.map(|_| rcode)))
            .expect("one question and one option fit any message");
        out
    }
}
