//! Numbers for tests that change bytes at random: always the same ones, so that a failure comes again.

/// A small generator (xorshift): mutations of valid bytes reach every branch, and more randomness finds no more.
pub(super) fn numbers() -> impl FnMut() -> usize {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).expect("31 bits fit")
    }
}
