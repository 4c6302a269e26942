//! The nearest of some words, for "did you mean": at most two edits away.

/// The word nearest to `wrong`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(wrong: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = words.into_iter().map(|word| (edits(wrong, word), word));
    scored.filter(|(edits, word)| *edits <= 2 && *edits < word.len()).min().map(|(_, word)| word)
}

/// Levenshtein's distance; a row at a time.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_not() {
        assert_eq!(nearest("lisen", ["listen", "log"]), Some("listen"));
        assert_eq!(nearest("colour", ["listen", "log"]), None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
