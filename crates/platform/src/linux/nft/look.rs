//! What the kernel has under our table's name, read as a whole.
//!
//! Not for what it should have. It keeps true that what is told is of one moment: if something changed while it was read,
//! it is read again.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use reconcile::{FirewallDigest, FirewallLook, element_digest};
use rustix::io::Errno;

use super::kernel::Kernel;
use super::message::{Attributes, Received, attributes, number, text};
use super::number::attribute as is;
use super::number::{flag, message};
use super::seal::{self, Seal};
use super::set::{Owner, SetName};
use super::transaction::DIGEST;
use crate::words;

/// How often a listing that changes while it is read is begun again.
const READINGS: usize = 5;
/// Waits before what looks changed is read once more. The kernel makes room in a set that has grown a moment after it has
/// grown, and a listing of that moment names some members twice and others never. That all sums are right by chance does
/// not happen.
const DOUBTS: [Duration; 4] = [
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(80),
];

/// What was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    /// Of which generation it is.
    pub(super) generation: u32,
    /// What is there.
    pub(super) look: FirewallLook,
    /// The seal of all that is there.
    pub(super) seal: Seal,
}

/// Reads what is there. What looks changed is believed when it has been read again.
pub(super) fn look(kernel: &mut Kernel, table: &str) -> io::Result<Read> {
    let mut doubts = DOUBTS.iter();
    loop {
        let (read, certain) = of_one_moment(kernel, table)?;
        let Some(wait) = doubts.next().filter(|_| !certain) else { return Ok(read) };
        std::thread::sleep(*wait);
    }
}

/// Reads what is there, and says whether there can be no doubt about it.
fn of_one_moment(kernel: &mut Kernel, table: &str) -> io::Result<(Read, bool)> {
    for _ in 0..READINGS {
        let generation = kernel.generation()?;
        let Some((look, seal, certain)) = Reading::new(kernel, table).whole()? else { continue };
        if kernel.generation()? == generation {
            return Ok((Read { generation, look, seal }, certain));
        }
    }
    Err(io::Error::other("other programs change the machine's firewalls all the time: it could not be read"))
}

/// What is counted while the table is read.
struct Reading<'a> {
    kernel: &'a mut Kernel,
    table: &'a str,
    seal: Seal,
    members: u64,
    /// Nothing changed so far.
    same: bool,
}

impl<'a> Reading<'a> {
    const fn new(kernel: &'a mut Kernel, table: &'a str) -> Self {
        Self { kernel, table, seal: Seal(0), members: 0, same: true }
    }

    /// All of it, and whether there can be no doubt about it; none if it changed meanwhile.
    fn whole(mut self) -> io::Result<Option<(FirewallLook, Seal, bool)>> {
        if !self.table()? {
            return Ok(Some((FirewallLook::Absent, Seal(0), true)));
        }
        self.chains()?;
        let inscribed = self.rules()?;
        for name in self.sets()? {
            self.elements(&name)?;
        }
        if !self.same {
            return Ok(None);
        }
        let Self { seal, members, .. } = self;
        Ok(Some(match inscribed {
            Some((digest, sealed)) if sealed == seal && digest.members == members => {
                (FirewallLook::Intact(digest), seal, true)
            }
            Some(_) => (FirewallLook::Changed, seal, false),
            None => (FirewallLook::Changed, seal, true),
        }))
    }

    /// Whether there is a table.
    fn table(&mut self) -> io::Result<bool> {
        let mut question = Attributes::default();
        question.text(is::TABLE_NAME, self.table);
        let mut flags = 0;
        let asked = self.kernel.ask(message::GET_TABLE, 0, &question, |answer| {
            flags = find(answer, is::TABLE_FLAGS).and_then(number).unwrap_or(0);
        });
        match asked {
            Err(error) if words::is(&error, &[Errno::NOENT]) => return Ok(false),
            asked => self.same &= asked?,
        }
        // Put to sleep, or owned by another program.
        if flags != 0 {
            self.seal.stranger();
        }
        Ok(true)
    }

    fn chains(&mut self) -> io::Result<()> {
        let Self { kernel, table, seal, .. } = self;
        let same = kernel.ask(message::GET_CHAIN, flag::DUMP, &Attributes::default(), |answer| {
            let name = find(answer, is::CHAIN_NAME).and_then(text).unwrap_or_default();
            if name_of(answer, is::CHAIN_TABLE) != Some(*table) || name == DIGEST {
                return;
            }
            let hook = find(answer, is::CHAIN_HOOK).map(|place| {
                let field = |wanted| attributes(place).find(|(kind, _)| *kind == wanted);
                let of = |wanted| field(wanted).and_then(|(_, payload)| number(payload)).unwrap_or(u32::MAX);
                let policy = find(answer, is::CHAIN_POLICY).and_then(number).unwrap_or(u32::MAX);
                let kind = name_of(answer, is::CHAIN_TYPE).unwrap_or_default();
                (of(is::HOOK_NUMBER), of(is::HOOK_PRIORITY).cast_signed(), kind, policy)
            });
            seal.chain(name, hook);
        })?;
        self.same &= same;
        Ok(())
    }

    /// Counts the rules and finds the inscription.
    fn rules(&mut self) -> io::Result<Option<(FirewallDigest, Seal)>> {
        let mut question = Attributes::default();
        question.text(is::RULE_TABLE, self.table);
        let mut places: BTreeMap<String, u32> = BTreeMap::new();
        let mut inscriptions = Vec::new();
        let Self { kernel, table, seal, .. } = self;
        let same = kernel.ask(message::GET_RULE, flag::DUMP, &question, |answer| {
            if name_of(answer, is::RULE_TABLE) != Some(*table) {
                return;
            }
            let chain = name_of(answer, is::RULE_CHAIN).unwrap_or_default();
            let userdata = find(answer, is::RULE_USERDATA).unwrap_or_default();
            if chain == DIGEST {
                inscriptions.push(seal::inscribed(userdata));
                return;
            }
            if !places.contains_key(chain) {
                places.insert(chain.to_owned(), 0);
            }
            let place = places.get_mut(chain).expect("it was put there if it was not");
            seal.rule(chain, *place, seal::tag_in(userdata).unwrap_or(0));
            *place += 1;
        })?;
        self.same &= same;
        Ok(if let [one] = inscriptions.as_slice() { *one } else { None })
    }

    fn sets(&mut self) -> io::Result<Vec<String>> {
        let mut question = Attributes::default();
        question.text(is::SET_TABLE, self.table);
        let mut names = Vec::new();
        let Self { kernel, table, seal, .. } = self;
        let same = kernel.ask(message::GET_SET, flag::DUMP, &question, |answer| {
            if name_of(answer, is::SET_TABLE) != Some(*table) {
                return;
            }
            let name = name_of(answer, is::SET_NAME).unwrap_or_default();
            let of = |wanted| find(answer, wanted).and_then(number).unwrap_or(0);
            seal.set(name, of(is::SET_FLAGS), of(is::SET_KEY_LENGTH));
            names.push(name.to_owned());
        })?;
        self.same &= same;
        Ok(names)
    }

    fn elements(&mut self, name: &str) -> io::Result<()> {
        let mut question = Attributes::default();
        question.text(is::ELEMENTS_TABLE, self.table).text(is::ELEMENTS_SET, name);
        let ours: Option<SetName> = name.parse().ok();
        let Self { kernel, seal, members, .. } = self;
        let same = kernel.ask(message::GET_ELEMENTS, flag::DUMP, &question, |answer| {
            for key in find(answer, is::ELEMENTS_LIST).into_iter().flat_map(keys) {
                match ours {
                    Some(SetName { owner: Owner::Set(id), .. }) => {
                        let member = ours.and_then(|name| name.member(key));
                        let digest = member.map_or(1, |member| element_digest(id, member));
                        *members = members.wrapping_add(digest);
                    }
                    Some(SetName { owner: Owner::List(_), .. }) | None => seal.member(name, key),
                }
            }
        })?;
        self.same &= same;
        Ok(())
    }
}

/// The keys of a list of elements.
fn keys(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let within =
        |bytes, wanted| attributes(bytes).find(move |(kind, _)| *kind == wanted).map(|(_, inner)| inner);
    attributes(list).filter(|(kind, _)| *kind == is::LIST_ELEMENT).map(move |(_, element)| {
        within(element, is::ELEMENT_KEY).and_then(|key| within(key, is::DATA_VALUE)).unwrap_or_default()
    })
}

fn find<'a>(answer: &Received<'a>, wanted: u16) -> Option<&'a [u8]> {
    answer.attributes().find(|(kind, _)| *kind == wanted).map(|(_, payload)| payload)
}

fn name_of<'a>(answer: &Received<'a>, wanted: u16) -> Option<&'a str> {
    find(answer, wanted).and_then(text)
}
