//! From a request's octets to a reply's: the pure middle of the server.
//!
//! Not for sockets, nor for asking others: what is not ours is handed back as [`Answer::Forward`]. It keeps true that any
//! octets get an answer or silence, never a panic, and that nothing is said about names outside our zones.

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::message_builder::PushError;
use domain::base::name::{FlattenInto as _, ToName};
use domain::base::{self, Message, Serial, Ttl};
use domain::rdata::{Ns, Soa};

use crate::foreign::{Alias, Foreign};
use crate::key::Key;
use crate::name::Name;
use crate::question::{Asked, Reply};
use crate::record::Data;
use crate::snapshot::{Authority, Owner, Set, Snapshot};

/// The most CNAMEs that are followed for one question.
const MOST_ALIASES: usize = 8;

/// Times of an SOA record, in seconds: for secondary servers, of which we have none.
const REFRESH: Ttl = Ttl::from_secs(3600);
const RETRY: Ttl = Ttl::from_secs(600);
const EXPIRE: Ttl = Ttl::from_secs(604_800);

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One datagram, which bounds the reply.
    Udp,
    /// A stream.
    Tcp,
}

/// What holds for the one that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How the request came.
    pub transport: Transport,
    /// Whether it is answered at all; else it is refused.
    pub welcome: bool,
    /// Whether names that are not ours are forwarded for it.
    pub recursion: bool,
}

/// What to do about a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Send the reply that was written.
    Reply,
    /// Ask somebody else: the name is in none of our zones.
    Forward(Box<Foreign>),
    /// Be silent: it is too short to be a request, or it is an answer itself.
    Drop,
}

/// Answers a request from what we know; a reply is put in the place of what `reply` held.
pub fn answer(names: &Snapshot, request: &[u8], terms: Terms, reply: &mut Vec<u8>) -> Answer {
    let Ok(message) = Message::from_slice(request) else { return Answer::Drop };
    if message.header().qr() {
        return Answer::Drop;
    }
    let written = match Asked::read(message) {
        Ok(asked) => reply_to(names, &asked, terms, reply),
        Err(bad) => bad.reply(reply).map(|()| Answer::Reply),
    };
    written.unwrap_or(Answer::Drop)
}

/// How the search for an answer ended.
enum End<'a> {
    Complete,
    /// The zone says that there is nothing.
    Missing(&'a Authority, Rcode),
    /// No zone of ours.
    Outside,
    /// CNAMEs of ours that lead to no zone of ours.
    Away(Vec<Alias>),
    /// Too many CNAMEs.
    Endless,
}

fn reply_to(
    names: &Snapshot,
    asked: &Asked<'_>,
    terms: Terms,
    out: &mut Vec<u8>,
) -> Result<Answer, PushError> {
    let is_transfer = matches!(asked.rtype, Rtype::AXFR | Rtype::IXFR);
    if asked.class != Class::IN || is_transfer || !terms.welcome {
        return asked.refuse(Rcode::REFUSED, out).map(|()| Answer::Reply);
    }
    let is_for_others = asked.header.rd() && terms.recursion;
    let mut reply = asked.reply(terms, out)?;
    reply.header_mut().set_aa(true);
    let end = follow(names, asked, &mut reply);
    match end {
        Ok(End::Complete) => asked.finish(reply.additional())?,
        Ok(End::Missing(authority, rcode)) => missing(asked, reply, authority, rcode)?,
        Ok(End::Outside) if is_for_others => {
            return Ok(Answer::Forward(Box::new(Foreign::new(asked, Vec::new()))));
        }
        Ok(End::Outside) => asked.refuse(Rcode::REFUSED, out)?,
        // Those who want addresses mostly cannot follow a CNAME themselves.
        Ok(End::Away(aliases)) if is_for_others && matches!(asked.rtype, Rtype::A | Rtype::AAAA) => {
            return Ok(Answer::Forward(Box::new(Foreign::new(asked, aliases))));
        }
        Ok(End::Away(_)) => asked.finish(reply.additional())?,
        Ok(End::Endless) => asked.refuse(Rcode::SERVFAIL, out)?,
        Err(_too_long) => asked.finish(cut(reply).additional())?,
    }
    Ok(Answer::Reply)
}

/// Without answers, and with the word that there are more than fit.
fn cut(mut reply: Reply<'_>) -> Reply<'_> {
    reply.rewind();
    reply.header_mut().set_tc(true);
    reply
}

/// Adds what there is, from one CNAME to the next.
fn follow<'n>(names: &'n Snapshot, asked: &Asked<'_>, reply: &mut Reply<'_>) -> Result<End<'n>, PushError> {
    let mut key = Key::of_labels(asked.name.iter());
    // The CNAMEs so far: time to live and target of each.
    let mut way: Vec<(u32, &Name)> = Vec::new();
    while way.len() <= MOST_ALIASES {
        let last = way.last().map(|(_, target)| *target);
        let Some((set, next)) = names.owner(key.as_slice()).and_then(|owner| pick(owner, asked.rtype)) else {
            let end = match last {
                None => without(names, asked, &key, asked.name, reply)?,
                Some(name) => without(names, asked, &key, name.as_base(), reply)?,
            };
            let is_away = matches!(end, End::Outside) && !way.is_empty();
            return Ok(if is_away { End::Away(aliases(asked, &way)) } else { end });
        };
        match last {
            None => push(reply, asked.name, set)?,
            Some(name) => push(reply, name.as_base(), set)?,
        }
        let Some(next) = next else { return Ok(End::Complete) };
        key = Key::of(next);
        way.push((set.ttl, next));
    }
    Ok(End::Endless)
}

fn aliases(asked: &Asked<'_>, way: &[(u32, &Name)]) -> Vec<Alias> {
    let mut owner = asked.name.flatten_into();
    let alias = |(ttl, target): &(u32, &Name)| {
        let target: base::Name<Vec<u8>> = target.as_base().to_name();
        Alias { owner: std::mem::replace(&mut owner, target.clone()), ttl: *ttl, target }
    };
    way.iter().map(alias).collect()
}

/// The records that answer, and the name to go on with where they are a CNAME that was not asked for.
fn pick(owner: &Owner, rtype: Rtype) -> Option<(&Set, Option<&Name>)> {
    // RFC 8482: to a question for everything, one kind is answer enough.
    let asked = if rtype == Rtype::ANY { owner.sets.first() } else { owner.set(rtype) };
    if let Some(set) = asked {
        return Some((set, None));
    }
    let set = owner.set(Rtype::CNAME)?;
    match set.data.first() {
        Some(Data::Cname(target)) => Some((set, Some(target))),
        Some(Data::A(_) | Data::Aaaa(_) | Data::Txt(_) | Data::Srv(_) | Data::Ptr(_)) | None => None,
    }
}

fn push(reply: &mut Reply<'_>, name: impl ToName + Copy, set: &Set) -> Result<(), PushError> {
    set.data.iter().try_for_each(|data| reply.push((name, Class::IN, set.ttl, data)))
}

/// What is said of a name without fitting records: where a zone begins, the zone's own.
fn without<'n>(
    names: &'n Snapshot,
    asked: &Asked<'_>,
    key: &Key,
    name: impl ToName + Copy,
    reply: &mut Reply<'_>,
) -> Result<End<'n>, PushError> {
    let key = key.as_slice();
    let Some(authority) = names.authority(key) else { return Ok(End::Outside) };
    if names.zones.contains_key(key) {
        let ttl = Ttl::from_secs(authority.zone.ttl);
        match asked.rtype {
            Rtype::SOA | Rtype::ANY => {
                reply.push((name, Class::IN, ttl, soa(authority)))?;
                return Ok(End::Complete);
            }
            Rtype::NS => {
                reply.push((name, Class::IN, ttl, Ns::new(authority.zone.server.as_base())))?;
                return Ok(End::Complete);
            }
            _other => {}
        }
    }
    let exists = names.owner(key).is_some() || names.exists_empty(key);
    Ok(End::Missing(authority, if exists { Rcode::NOERROR } else { Rcode::NXDOMAIN }))
}

fn soa(authority: &Authority) -> Soa<&base::Name<[u8]>> {
    let zone = &authority.zone;
    let (server, mailbox) = (zone.server.as_base(), zone.mailbox.as_base());
    Soa::new(server, mailbox, Serial(authority.serial), REFRESH, RETRY, EXPIRE, Ttl::from_secs(zone.ttl))
}

/// There is nothing, and the zone's SOA says for how long that may be remembered.
fn missing(
    asked: &Asked<'_>,
    mut reply: Reply<'_>,
    authority: &Authority,
    rcode: Rcode,
) -> Result<(), PushError> {
    reply.header_mut().set_rcode(rcode);
    let zone = &authority.zone;
    let mut reply = reply.authority();
    let record = (zone.origin.as_base(), Class::IN, Ttl::from_secs(zone.ttl), soa(authority));
    if reply.push(record).is_err() {
        return asked.finish(cut(reply.answer()).additional());
    }
    asked.finish(reply.additional())
}
