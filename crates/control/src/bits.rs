//! Sets of small numbers, for what concerns all sections or members of a network at once.

/// A set of numbers below a bound.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// Nothing, of numbers below this.
    pub(crate) fn none(bound: usize) -> Self {
        Self(vec![0; bound.div_ceil(64)])
    }

    /// Nothing, of the numbers that this may hold.
    pub(crate) fn none_of(those: &Self) -> Self {
        Self(vec![0; those.0.len()])
    }

    /// All numbers below this.
    pub(crate) fn all(bound: usize) -> Self {
        let mut bits = Self(vec![u64::MAX; bound.div_ceil(64)]);
        if let (Some(last), rest @ 1..) = (bits.0.last_mut(), bound % 64) {
            *last = (1 << rest) - 1;
        }
        bits
    }

    pub(crate) fn insert(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    pub(crate) fn remove(&mut self, number: usize) {
        self.0[number / 64] &= !(1 << (number % 64));
    }

    pub(crate) fn contains(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// This, and those too.
    pub(crate) fn add(&mut self, those: &Self) {
        self.0.iter_mut().zip(&those.0).for_each(|(word, other)| *word |= other);
    }

    /// What is in both.
    pub(crate) fn and(&self, those: &Self) -> Self {
        Self(self.0.iter().zip(&those.0).map(|(word, other)| word & other).collect())
    }

    /// What is in this and not in those.
    pub(crate) fn but(&self, those: &Self) -> Self {
        Self(self.0.iter().zip(&those.0).map(|(word, other)| word & !other).collect())
    }

    /// Whether something is in both.
    pub(crate) fn meets(&self, those: &Self) -> bool {
        self.0.iter().zip(&those.0).any(|(word, other)| word & other != 0)
    }

    /// Whether all of those are in this.
    pub(crate) fn covers(&self, those: &Self) -> bool {
        those.0.iter().zip(&self.0).all(|(other, word)| other & !word == 0)
    }

    /// The numbers in it, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(at, word)| ones(*word).map(move |bit| at * 64 + bit))
    }

    /// The next 64 from this number on, as the bits of a word.
    pub(crate) fn word_at(&self, number: usize) -> u64 {
        let (at, shift) = (number / 64, number % 64);
        let low = self.0.get(at).copied().unwrap_or_default() >> shift;
        match shift {
            0 => low,
            shift => low | self.0.get(at + 1).copied().unwrap_or_default() << (64 - shift),
        }
    }
}

/// The numbers of the bits that are set in a word.
pub(crate) fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then_some(word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[usize]) -> Bits {
        let mut bits = Bits::none(200);
        numbers.iter().for_each(|number| bits.insert(*number));
        bits
    }

    #[test]
    fn sets_are_sets() {
        let (one, other) = (of(&[0, 63, 64, 199]), of(&[63, 65]));
        assert_eq!(one.iter().collect::<Vec<_>>(), [0, 63, 64, 199]);
        assert_eq!(one.and(&other), of(&[63]));
        assert_eq!(one.but(&other), of(&[0, 64, 199]));
        assert!(one.covers(&of(&[0, 199])) && !one.covers(&other) && one.covers(&of(&[])));
        assert!(one.meets(&other) && !one.but(&other).meets(&other));
        assert_eq!(Bits::all(130).iter().count(), 130);
        assert_eq!(Bits::all(128).iter().count(), 128);
        assert_eq!(Bits::all(0).iter().count(), 0);
    }

    #[test]
    fn a_word_begins_anywhere() {
        let bits = of(&[1, 63, 64, 199]);
        for from in 0..260 {
            let word = bits.word_at(from);
            assert!((0..64).all(|bit| (word >> bit & 1 == 1) == bits.contains(from + bit)), "{from}");
        }
    }
}
