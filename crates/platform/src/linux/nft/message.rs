//! The bytes of netlink messages: attributes within attributes, and batches of messages that are one transaction.
//!
//! Not for what they say. It keeps true that lengths and padding are right, and that of each message of a batch it is
//! known what it is about, so that a refusal can be told.

use super::number::{self, flag};
use super::trouble::Part;

/// Says that an attribute holds attributes.
const NESTED: u16 = 0x8000;
const HEADER: usize = 16;
/// Where in a batch the generation is written that it is for.
const GENERATION_AT: usize = HEADER + 4 + 4;
/// Elements in one message: 28 bytes each at most, below the 64 KiB that an attribute can hold.
const ELEMENTS_AT_ONCE: usize = 2000;

/// Bytes of attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// An attribute that holds bytes.
    pub(super) fn bytes(&mut self, kind: u16, bytes: &[u8]) -> &mut Self {
        self.head(kind, bytes.len());
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// An attribute that holds a name.
    pub(super) fn text(&mut self, kind: u16, text: &str) -> &mut Self {
        self.head(kind, text.len() + 1);
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// An attribute that holds a number.
    pub(super) fn number(&mut self, kind: u16, number: u32) -> &mut Self {
        self.bytes(kind, &number.to_be_bytes())
    }

    /// An attribute that holds attributes.
    pub(super) fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.0.len();
        self.head(kind | NESTED, 0);
        inner(self);
        let length = length(self.0.len() - start);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Attributes that were written before.
    pub(super) fn append(&mut self, attributes: &[u8]) {
        self.0.extend_from_slice(attributes);
    }

    fn head(&mut self, kind: u16, payload: usize) {
        self.0.extend_from_slice(&length(payload + 4).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
    }
}

fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("elements are sent in pieces, and everything else is far below 64 KiB")
}

/// The attributes in some bytes. Ends where a length does not fit.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, _) = bytes.split_at_checked(4)?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        let payload = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    })
}

/// The number that an attribute holds.
pub(super) fn number(payload: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(payload.try_into().ok()?))
}

/// The name that an attribute holds.
pub(super) fn text(payload: &[u8]) -> Option<&str> {
    std::str::from_utf8(payload.strip_suffix(&[0]).unwrap_or(payload)).ok()
}

/// The header of a message, and what nfnetlink has behind it.
fn head(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, family: u8, resource: u16) -> usize {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&(flags | flag::REQUEST).to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&[family, 0]);
    bytes.extend_from_slice(&resource.to_be_bytes());
    start
}

fn close(bytes: &mut [u8], start: usize) {
    let length = u32::try_from(bytes.len() - start).expect("a message has attributes, each below 64 KiB");
    bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

const fn kind(message: u8) -> u16 {
    (number::SUBSYSTEM as u16) << 8 | message as u16
}

/// One question.
pub(super) fn question(message: u8, flags: u16, sequence: u32, attributes: &Attributes) -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = head(&mut bytes, kind(message), flags, sequence, number::INET, 0);
    bytes.extend_from_slice(attributes.as_bytes());
    close(&mut bytes, start);
    bytes
}

/// Messages that the kernel carries out all or not at all. Message `n` has the sequence number `n`.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    parts: Vec<Part>,
    /// Where the last message begins, and its flags.
    last_at: usize,
    last_flags: u16,
}

impl Batch {
    /// Begins one.
    pub(super) fn new() -> Self {
        let mut bytes = Vec::new();
        let start = head(&mut bytes, number::BATCH_BEGIN, 0, 0, 0, number::SUBSYSTEM.into());
        let mut generation = Attributes::default();
        generation.number(number::BATCH_GENERATION, 0);
        bytes.extend_from_slice(generation.as_bytes());
        close(&mut bytes, start);
        Self { bytes, parts: vec![Part::Transaction], last_at: start, last_flags: 0 }
    }

    /// Adds a message about a part of the firewall.
    pub(super) fn add(&mut self, message: u8, flags: u16, part: Part, body: impl FnOnce(&mut Attributes)) {
        let sequence = self.next();
        let start = head(&mut self.bytes, kind(message), flags, sequence, number::INET, 0);
        let mut attributes = Attributes(std::mem::take(&mut self.bytes));
        body(&mut attributes);
        self.bytes = attributes.0;
        close(&mut self.bytes, start);
        self.parts.push(part);
        (self.last_at, self.last_flags) = (start, flags);
    }

    /// Adds messages about elements of a set, as many as they need.
    pub(super) fn elements<'a>(
        &mut self,
        message: u8,
        table: &str,
        set: &str,
        keys: impl IntoIterator<Item = &'a [u8]>,
    ) {
        use super::number::attribute as is;
        let mut keys = keys.into_iter().peekable();
        // What is added must not be there, and what is removed must: the digest of the members counts on it.
        let flags = if message == number::message::NEW_ELEMENTS { flag::CREATE | flag::EXCLUSIVE } else { 0 };
        while keys.peek().is_some() {
            self.add(message, flags, Part::Members(set.to_owned()), |attributes| {
                attributes.text(is::ELEMENTS_TABLE, table).text(is::ELEMENTS_SET, set);
                attributes.nest(is::ELEMENTS_LIST, |list| {
                    for key in keys.by_ref().take(ELEMENTS_AT_ONCE) {
                        list.nest(is::LIST_ELEMENT, |element| {
                            element.nest(is::ELEMENT_KEY, |data| {
                                data.bytes(is::DATA_VALUE, key);
                            });
                        });
                    }
                });
            });
        }
    }

    /// Ends it. The last message is the one that is acknowledged.
    pub(super) fn end(mut self) -> Transaction {
        // The flags of a header are its bytes 6 and 7.
        let flags = &mut self.bytes[self.last_at + 6..self.last_at + 8];
        flags.copy_from_slice(&(flag::REQUEST | flag::ACK | self.last_flags).to_ne_bytes());
        let sequence = self.next();
        let start = head(&mut self.bytes, number::BATCH_END, 0, sequence, 0, number::SUBSYSTEM.into());
        close(&mut self.bytes, start);
        Transaction { bytes: self.bytes, parts: self.parts }
    }

    fn next(&self) -> u32 {
        u32::try_from(self.parts.len()).expect("a batch has some thousands of messages")
    }
}

/// A whole batch.
#[derive(Debug)]
pub(super) struct Transaction {
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

impl Transaction {
    /// Makes it one that the kernel refuses unless this is the generation of all its tables; 0 is any.
    pub(super) fn for_generation(&mut self, generation: u32) {
        self.bytes[GENERATION_AT..GENERATION_AT + 4].copy_from_slice(&generation.to_be_bytes());
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The sequence number of the message that is acknowledged.
    pub(super) fn last(&self) -> u32 {
        u32::try_from(self.parts.len() - 1).expect("a batch has some thousands of messages")
    }

    /// What a message was about.
    pub(super) fn part(&self, sequence: u32) -> &Part {
        let index = usize::try_from(sequence).unwrap_or(usize::MAX);
        self.parts.get(index).unwrap_or(&Part::Transaction)
    }
}

/// A message of the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// What is behind the header.
    pub(super) payload: &'a [u8],
}

impl<'a> Received<'a> {
    /// The family of the table that it is about.
    pub(super) fn family(&self) -> Option<u8> {
        self.payload.first().copied()
    }

    /// The attributes, behind what nfnetlink has before them.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        attributes(self.payload.get(4..).unwrap_or_default())
    }
}

/// The messages of a datagram. Ends where a length does not fit.
pub(super) fn received(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        let field = |from: usize| {
            u32::from_ne_bytes([header[from], header[from + 1], header[from + 2], header[from + 3]])
        };
        let length = usize::try_from(field(0)).ok()?;
        let message = Received {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: field(8),
            payload: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let mut written = Attributes::default();
        written.text(1, "netloom").number(2, 7).nest(3, |inner| {
            inner.bytes(4, &[1, 2, 3]);
        });
        let read: Vec<_> = attributes(written.as_bytes()).collect();
        assert_eq!((read[0].0, text(read[0].1)), (1, Some("netloom")));
        assert_eq!((read[1].0, number(read[1].1)), (2, Some(7)));
        assert_eq!(attributes(read[2].1).collect::<Vec<_>>(), [(4, [1, 2, 3].as_slice())]);
        assert_eq!(read.len(), 3);
    }

    #[test]
    fn lengths_that_do_not_fit_end_the_reading() {
        for bytes in [&[3, 0, 1, 0][..], &[9, 0, 1, 0, 5], &[0, 0], &[255; 8]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
        let mut short = question(number::message::GET_TABLE, 0, 1, &Attributes::default());
        assert_eq!(received(&short).count(), 1);
        short[0] = 200;
        assert_eq!(received(&short).count(), 0);
        short[0] = 3;
        assert_eq!(received(&short).count(), 0);
    }

    #[test]
    fn many_elements_go_in_messages_that_fit_and_the_last_one_is_acknowledged() {
        let keys: Vec<[u8; 16]> = (0..5000u128).map(u128::to_be_bytes).collect();
        let mut batch = Batch::new();
        batch.elements(
            number::message::NEW_ELEMENTS,
            "netloom",
            "s1_v6_128",
            keys.iter().map(|key| &key[..]),
        );
        let mut transaction = batch.end();
        transaction.for_generation(77);
        let messages: Vec<_> = received(transaction.as_bytes()).collect();
        assert_eq!(messages.len(), 5, "begin, three with elements, end");
        assert_eq!(messages[0].attributes().next().map(|(_, payload)| number(payload)), Some(Some(77)));
        let acknowledged: Vec<u32> = messages
            .iter()
            .filter(|message| message.flags & flag::ACK != 0)
            .map(|message| message.sequence)
            .collect();
        assert_eq!(acknowledged, [transaction.last()]);
        let lists = messages[1..4].iter().flat_map(Received::attributes);
        let elements = lists
            .filter(|(kind, _)| *kind == number::attribute::ELEMENTS_LIST)
            .flat_map(|(_, list)| attributes(list));
        assert_eq!(elements.count(), 5000);
        assert_eq!(*transaction.part(1), Part::Members("s1_v6_128".to_owned()));
    }
}
