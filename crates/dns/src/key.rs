//! Under what a name is looked up: its labels from the root down, lower case, each with its length before it.
//!
//! Why turned around: then all names below a name lie side by side in an ordered set, and a zone is a prefix. Not for
//! showing to anybody. It keeps true that two names have the same key just when DNS says that they are the same name.

use domain::base::name::Label;

use crate::name::{LONGEST, Name};

/// The key of one name, made without asking for memory.
pub(crate) struct Key {
    octets: [u8; LONGEST],
    start: usize,
}

impl Key {
    /// The key of a name given by its labels from the left; the root's label adds nothing.
    pub(crate) fn of_labels<'a>(labels: impl Iterator<Item = &'a Label>) -> Self {
        let mut key = Self { octets: [0; LONGEST], start: LONGEST };
        labels.for_each(|label| key.prepend(label.as_slice()));
        key
    }

    pub(crate) fn of(name: &Name) -> Self {
        Self::of_labels(name.labels())
    }

    /// Labels come from the left, so each one goes before those that came before it. The labels of a name that was
    /// parsed fit: with the root they have 255 octets at most.
    fn prepend(&mut self, label: &[u8]) {
        let Ok(length @ 1..) = u8::try_from(label.len()) else { return };
        let Some(start) = self.start.checked_sub(label.len() + 1) else { return };
        let place = &mut self.octets[start..self.start];
        place[0] = length;
        place[1..].copy_from_slice(label);
        place[1..].make_ascii_lowercase();
        self.start = start;
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.octets[self.start..]
    }
}

/// The keys of the names above, shortest first, and then the key itself; the root is left out.
pub(crate) fn with_parents(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut end = 0;
    std::iter::from_fn(move || {
        let length = *key.get(end)?;
        end += usize::from(length) + 1;
        key.get(..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Vec<u8> {
        Key::of(&text.parse().unwrap()).as_slice().to_vec()
    }

    #[test]
    fn keys_go_from_the_root_down() {
        assert_eq!(key("Web.office"), b"\x06office\x03web");
        assert_eq!(key("."), b"");
    }

    #[test]
    fn the_parents_of_a_key_are_its_beginnings() {
        let whole = key("a.bc.def");
        let parents: Vec<&[u8]> = with_parents(&whole).collect();
        assert_eq!(parents, [key("def"), key("bc.def"), key("a.bc.def")]);
        assert_eq!(with_parents(&[]).count(), 0);
    }
}
