//! Questions that somebody else must answer: the request for an upstream, and what of its answer the client gets.
//!
//! Not for choosing whom to ask. It keeps true that an answer is believed only when it repeats the number and the question,
//! and that the client gets its own number and question back, in a size that it takes.

use domain::base::iana::{Class, Opcode, OptRcode, Rcode, Rtype};
use domain::base::message_builder::PushError;
use domain::base::name::FlattenInto as _;
use domain::base::{Header, Message, MessageBuilder, Name, ParsedName};
use domain::rdata::{A, Aaaa, Cname};

use crate::answer::Transport;
use crate::question::{Asked, Edns, Reply, UDP_SIZE, UDP_SIZE_WITHOUT_EDNS, add_opt, begin, limit, room};

/// The AD bit, in the fourth octet of a message (RFC 4035, 3.2.3).
const AUTHENTIC: u8 = 0x20;

/// A question that somebody else must answer.
#[derive(Debug, Clone)]
pub struct Foreign {
    header: Header,
    /// As the client asked.
    asked: Name<Vec<u8>>,
    rtype: Rtype,
    class: Class,
    edns: Option<Edns>,
    /// The CNAMEs of ours that lead from the name that was asked to one that is not ours.
    aliases: Vec<Alias>,
}

/// A CNAME of ours.
#[derive(Debug, Clone)]
pub(crate) struct Alias {
    pub(crate) owner: Name<Vec<u8>>,
    pub(crate) ttl: u32,
    pub(crate) target: Name<Vec<u8>>,
}

impl Foreign {
    pub(crate) fn new(asked: &Asked<'_>, aliases: Vec<Alias>) -> Self {
        let (header, rtype, class, edns) = (asked.header, asked.rtype, asked.class, asked.edns);
        Self { header, asked: asked.name.flatten_into(), rtype, class, edns, aliases }
    }

    /// The name to ask others for.
    pub(crate) fn name(&self) -> &Name<Vec<u8>> {
        self.aliases.last().map_or(&self.asked, |alias| &alias.target)
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
        let pushed = builder.push((self.name(), self.rtype, self.class));
        let mut additional = builder.additional();
        let pushed = pushed.and_then(|()| match self.edns {
            None => Ok(()),
            Some(Edns { size, dnssec_ok }) => additional.opt(|opt| {
                opt.set_udp_payload_size(size.clamp(UDP_SIZE_WITHOUT_EDNS, UDP_SIZE));
                opt.set_dnssec_ok(dnssec_ok && self.aliases.is_empty());
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
        fits && question.qname() == self.name()
            && question.qtype() == self.rtype
            && question.qclass() == self.class
    }

    /// An upstream's answer for the client: its own number, and cut where it does not fit.
    pub(crate) fn pass_on(&self, mut answer: Vec<u8>, transport: Transport) -> Vec<u8> {
        if !self.aliases.is_empty() {
            return self.joined(&answer, transport);
        }
        if answer.len() > room(self.edns, transport) {
            return self.cut();
        }
        answer[..2].copy_from_slice(&self.header.id().to_be_bytes());
        // That the upstream has checked signatures is its word, not ours: nobody has to believe us what we did not do.
        answer[3] &= !AUTHENTIC;
        answer
    }

    /// The reply where there is nobody to ask: what we know of it ourselves.
    pub(crate) fn unasked(&self, transport: Transport) -> Vec<u8> {
        if self.aliases.is_empty() {
            return self.reply_with(Rcode::REFUSED);
        }
        self.joined(&self.reply_with(Rcode::NOERROR), transport)
    }

    /// Our own reply: why there is no answer.
    pub(crate) fn reply_with(&self, rcode: Rcode) -> Vec<u8> {
        let mut out = Vec::new();
        let written = self.begin(rcode, &mut out).and_then(|reply| self.finish(reply));
        written.expect("one question and one option fit any message");
        out
    }

    fn cut(&self) -> Vec<u8> {
        let mut reply = self.reply_with(Rcode::NOERROR);
        Message::from_octets(&mut reply[..]).expect("a reply has a header").header_mut().set_tc(true);
        reply
    }

    /// Our CNAMEs, and then what the upstream says of the name that they lead to.
    fn joined(&self, answer: &[u8], transport: Transport) -> Vec<u8> {
        let mut out = Vec::new();
        // What does not fit, or is no message inside, is for the client to ask for again.
        match self.write_joined(answer, transport, &mut out) {
            Some(()) => out,
            None => self.cut(),
        }
    }

    fn write_joined(&self, answer: &[u8], transport: Transport, out: &mut Vec<u8>) -> Option<()> {
        let message = Message::from_slice(answer).ok()?;
        let mut reply = begin(self.header, out);
        limit(&mut reply, self.edns, transport);
        reply.header_mut().set_rcode(message.header().rcode());
        reply.header_mut().set_tc(message.header().tc());
        reply.header_mut().set_ra(true);
        reply.push((&self.asked, self.rtype, self.class)).ok()?;
        let mut reply = reply.answer();
        for Alias { owner, ttl, target } in &self.aliases {
            reply.push((owner, Class::IN, *ttl, Cname::new(target))).ok()?;
        }
        copy(message, &mut reply)?;
        self.finish(reply).ok()
    }

    fn begin<'a>(&self, rcode: Rcode, out: &'a mut Vec<u8>) -> Result<Reply<'a>, PushError> {
        let mut reply = begin(self.header, out);
        reply.header_mut().set_rcode(rcode);
        reply.header_mut().set_ra(true);
        reply.push((&self.asked, self.rtype, self.class))?;
        Ok(reply.answer())
    }

    fn finish(&self, reply: Reply<'_>) -> Result<(), PushError> {
        add_opt(reply.additional(), self.edns.map(|_| OptRcode::NOERROR))
    }
}

/// Addresses, and CNAMEs on the way to them: nothing else is asked for behind a CNAME of ours.
fn copy(message: &Message<[u8]>, reply: &mut Reply<'_>) -> Option<()> {
    for record in message.answer().ok()? {
        let record = record.ok()?;
        let (owner, ttl) = (record.owner(), record.ttl());
        let pushed = match record.rtype() {
            Rtype::A => reply.push((owner, Class::IN, ttl, record.to_record::<A>().ok()??.into_data())),
            Rtype::AAAA => reply.push((owner, Class::IN, ttl, record.to_record::<Aaaa>().ok()??.into_data())),
            Rtype::CNAME => {
                let target = record.to_record::<Cname<ParsedName<_>>>().ok()??.into_data();
                reply.push((owner, Class::IN, ttl, target))
            }
            _other => Ok(()),
        };
        pushed.ok()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use domain::base::message_builder::StaticCompressor;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn foreign(aliases: usize, size: Option<u16>) -> Foreign {
        let name = |text: String| text.parse::<Name<Vec<u8>>>().unwrap();
        let alias = |number: usize| Alias {
            owner: name(format!("a{number}.ours")),
            ttl: 60,
            target: name(format!("a{}.ours", number + 1)),
        };
        let mut header = Header::new();
        header.set_id(4711);
        Foreign {
            header,
            asked: name("a0.ours".to_owned()),
            rtype: Rtype::A,
            class: Class::IN,
            edns: size.map(|size| Edns { size, dnssec_ok: true }),
            aliases: (0..aliases).map(alias).collect(),
        }
    }

    /// A good answer with this many addresses.
    fn answer(foreign: &Foreign, count: u8) -> Vec<u8> {
        let request = Message::from_octets(foreign.request(1)).unwrap();
        let builder = MessageBuilder::from_target(StaticCompressor::new(Vec::new())).unwrap();
        let mut answer = builder.start_answer(&request, Rcode::NOERROR).unwrap();
        let alias: Name<Vec<u8>> = "elsewhere.example".parse().unwrap();
        answer.push((foreign.name(), 60, Cname::new(&alias))).unwrap();
        (0..count).for_each(|last| answer.push((&alias, 60, A::new([192, 0, 2, last].into()))).unwrap());
        answer.finish().into_target()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        #[test]
        fn whatever_an_upstream_says_the_client_gets_its_own_question_back(
            aliases in 0_usize..4,
            size in proptest::option::of(any::<u16>()),
            count in 0_u8..80,
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            end in proptest::option::of(any::<prop::sample::Index>()),
        ) {
            let foreign = foreign(aliases, size);
            let mut octets = answer(&foreign, count);
            for (place, octet) in changes {
                let place = place.index(octets.len());
                octets[place] = octet;
            }
            if let Some(end) = end {
                octets.truncate(end.index(octets.len()));
            }
            prop_assume!(foreign.is_answered_by(1, &octets));
            for transport in [Transport::Udp, Transport::Tcp] {
                let reply = foreign.pass_on(octets.clone(), transport);
                prop_assert!(reply.len() <= room(foreign.edns, transport));
                let message = Message::from_octets(reply).unwrap();
                prop_assert_eq!(message.header().id(), 4711);
                let question = message.sole_question().unwrap();
                prop_assert_eq!(question.qname(), &foreign.asked);
            }
        }
    }

    #[test]
    fn all_of_a_good_answer_follows_our_own_cnames() {
        let foreign = foreign(2, None);
        let reply = foreign.pass_on(answer(&foreign, 3), Transport::Udp);
        assert_eq!(Message::from_octets(reply).unwrap().header_counts().ancount(), 2 + 1 + 3);
    }

    #[test]
    fn an_answer_that_fits_no_more_with_our_cnames_is_cut() {
        let foreign = foreign(2, None);
        let octets = answer(&foreign, 27);
        assert!(octets.len() <= 512);
        let message = Message::from_octets(foreign.pass_on(octets, Transport::Udp)).unwrap();
        assert!(message.header().tc() && message.header_counts().ancount() == 0);
    }
}
