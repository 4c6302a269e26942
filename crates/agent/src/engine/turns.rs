//! Whose turn it is among several addresses that lead to the same.
//!
//! Not for connecting. It keeps true that each is tried once before anybody waits, and that what was lost is looked for at the
//! next one first.

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns {
    next: usize,
    failed: usize,
}

impl Turns {
    /// Whose turn it is.
    pub(super) fn of<'a, T>(&self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.next.checked_rem(all.len())?)
    }

    /// There was nothing to be had: it is the next one's turn. Whether that one was not tried yet.
    pub(super) fn failed(&mut self, count: usize) -> bool {
        self.next = self.next.wrapping_add(1);
        self.failed += 1;
        if self.failed < count {
            return true;
        }
        self.failed = 0;
        false
    }

    /// It was had.
    pub(super) fn had(&mut self) {
        self.failed = 0;
    }

    /// It was had, and lost.
    pub(super) fn lost(&mut self) {
        self.next = self.next.wrapping_add(1);
        self.failed = 0;
    }

    /// All are to be tried from the first.
    pub(super) fn begin(&mut self) {
        self.begin_at(0);
    }

    /// All are to be tried, this one first.
    pub(super) fn begin_at(&mut self, next: usize) {
        *self = Self { next, failed: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 3] = ["a", "b", "c"];

    #[test]
    fn each_is_tried_once_before_anybody_waits() {
        let mut turns = Turns::default();
        let mut tried = Vec::new();
        for _ in 0..7 {
            let one = *turns.of(&ALL).unwrap();
            tried.push((one, turns.failed(ALL.len())));
        }
        let round = [("a", true), ("b", true), ("c", false)];
        assert_eq!(tried[..3], round);
        assert_eq!(tried[3..6], round);
        assert_eq!(tried[6], round[0]);
    }

    #[test]
    fn one_alone_is_waited_for_and_none_is_nobodys_turn() {
        let mut turns = Turns::default();
        assert!(!turns.failed(1) && !turns.failed(0));
        assert_eq!(turns.of(&["a"]), Some(&"a"));
        assert_eq!(turns.of::<&str>(&[]), None);
    }

    #[test]
    fn what_was_lost_is_looked_for_at_the_next_one_first() {
        let mut turns = Turns::default();
        assert!(turns.failed(3));
        turns.had();
        assert_eq!(turns.of(&ALL), Some(&"b"));
        turns.lost();
        assert_eq!(turns.of(&ALL), Some(&"c"));
        assert!(turns.failed(3) && turns.failed(3) && !turns.failed(3), "all three once more");
        turns.begin();
        assert_eq!(turns.of(&ALL), Some(&"a"));
        turns.begin_at(2);
        assert_eq!(turns.of(&ALL), Some(&"c"));
    }
}
