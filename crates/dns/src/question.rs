//! Requests: what they ask, and the replies that say no.
//!
//! Not for looking up names. It keeps true that a request is either understood whole or refused with the code that says
//! why, and that a reply repeats the question octet for octet.

use domain::base::iana::{Class, Opcode, OptRcode, Rcode, Rtype};
use domain::base::message_builder::{
    AdditionalBuilder, AnswerBuilder, PushError, QuestionBuilder, StaticCompressor,
};
use domain::base::{Header, Message, MessageBuilder, ParsedName};

use crate::answer::{Terms, Transport};

/// The largest datagram that we send and ask for: it fits every usual path without being cut.
pub(crate) const UDP_SIZE: u16 = 1232;
/// The largest datagram for those that say nothing about it.
pub(crate) const UDP_SIZE_WITHOUT_EDNS: u16 = 512;
/// The octets of our OPT record.
const OPT_SIZE: usize = 11;

/// A message under construction: first its question.
pub(crate) type Question<'a> = QuestionBuilder<StaticCompressor<&'a mut Vec<u8>>>;
/// Then its answers.
pub(crate) type Reply<'a> = AnswerBuilder<StaticCompressor<&'a mut Vec<u8>>>;
/// One whose answers are complete.
pub(crate) type Ending<'a> = AdditionalBuilder<StaticCompressor<&'a mut Vec<u8>>>;

/// What the OPT record of a request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edns {
    pub(crate) size: u16,
    pub(crate) dnssec_ok: bool,
}

/// A request that was understood.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) header: Header,
    pub(crate) name: ParsedName<&'a [u8]>,
    pub(crate) rtype: Rtype,
    pub(crate) class: Class,
    pub(crate) edns: Option<Edns>,
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
        limit(&mut builder, self.edns, terms.transport);
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
}

/// Leaves room for the OPT record.
pub(crate) fn limit(builder: &mut Question<'_>, edns: Option<Edns>, transport: Transport) {
    let most = room(edns, transport);
    builder.set_push_limit(if edns.is_some() { most - OPT_SIZE } else { most });
}

/// The most octets of a reply.
pub(crate) fn room(edns: Option<Edns>, transport: Transport) -> usize {
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

/// A reply to the request with this header.
pub(crate) fn begin(asked: Header, out: &mut Vec<u8>) -> Question<'_> {
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
pub(crate) fn add_opt(mut reply: Ending<'_>, rcode: Option<OptRcode>) -> Result<(), PushError> {
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
