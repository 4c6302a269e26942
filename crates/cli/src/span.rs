//! Spans of time, as people type them and read them: `7d`, `12h30m`, `3 hours ago`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use model::Timestamp;

const UNITS: [(char, u64, &str); 5] = [
    ('w', 604_800, "week"),
    ('d', 86_400, "day"),
    ('h', 3_600, "hour"),
    ('m', 60, "minute"),
    ('s', 1, "second"),
];

/// The text is no span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a span of time up to ten years; write 90s, 30m, 12h, 7d or 2w, or several of them: 1d12h"
)]
pub struct SpanError(String);

/// A span of whole seconds, at least one, at most what the API takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(u64);

impl Span {
    /// In seconds.
    pub(crate) fn seconds(self) -> u64 {
        self.0
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let refuse = || SpanError(text.chars().take(32).collect());
        let (mut total, mut rest) = (0u64, text);
        while !rest.is_empty() {
            let at = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
            let number: u64 = rest[..at].parse().map_err(|_| refuse())?;
            let mut tail = rest[at..].chars();
            let unit = tail.next().and_then(|c| UNITS.iter().find(|unit| unit.0 == c)).ok_or_else(refuse)?;
            let part = number.checked_mul(unit.1).ok_or_else(refuse)?;
            total = total.checked_add(part).ok_or_else(refuse)?;
            rest = tail.as_str();
        }
        if !(1..=api::MOST_SECONDS).contains(&total) {
            return Err(refuse());
        }
        Ok(Self(total))
    }
}

/// A span in words, in its largest unit: `3 hours`.
pub(crate) struct Words(pub(crate) Duration);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let unit = UNITS[1..].iter().find(|unit| seconds >= unit.1);
        let Some((_, size, name)) = unit else {
            return f.write_str("0 seconds");
        };
        let number = seconds / size;
        write!(f, "{number} {name}{}", if number == 1 { "" } else { "s" })
    }
}

/// A moment as seen from `now`: `3 hours ago`, `in 6 days`, `just now`.
pub(crate) fn relative(moment: Timestamp, now: Timestamp) -> String {
    let distance = moment.distance(now);
    if distance < Duration::from_secs(5) {
        return "just now".to_owned();
    }
    if moment < now {
        return format!("{} ago", Words(distance));
    }
    // What was `7d` a moment ago is not `6 days` yet.
    let slack = if distance > Duration::from_secs(60) { Duration::from_secs(30) } else { Duration::ZERO };
    format!("in {}", Words(distance + slack))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_units() {
        assert_eq!("90s".parse(), Ok(Span(90)));
        assert_eq!("1d12h".parse(), Ok(Span(129_600)));
        assert_eq!("2w".parse(), Ok(Span(1_209_600)));
        for text in ["", "0s", "7", "d", "7x", "-1d", "99999999999999999999d", "11000w", "1d "] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_told_from_now() {
        let now = Timestamp::from_millis(1_000_000_000);
        let at = |seconds: i64| relative(Timestamp::from_millis(1_000_000_000 + seconds * 1_000), now);
        assert_eq!(at(-2), "just now");
        assert_eq!(at(-60), "1 minute ago");
        assert_eq!(at(-3 * 86_400 - 5), "3 days ago");
        assert_eq!(at(7_200 - 3), "in 2 hours");
        assert_eq!(at(59), "in 59 seconds");
    }
}
