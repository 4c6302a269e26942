//! How often a file is taken back from somebody who keeps rewriting it.
//!
//! Not for knowing the time. It keeps true that two programs that disagree do not keep the machine busy: the first time is
//! at once, then each wait is twice as long as the one before, and a long peace starts over.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
const PEACE: Duration = Duration::from_secs(600);

/// When the file may be taken back next.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<(Instant, Duration)>,
}

impl Pace {
    /// Takes a turn, or says how long to wait for it.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let Some((at, wait)) = self.last else {
            self.last = Some((now, FIRST));
            return Ok(());
        };
        let since = now.saturating_duration_since(at);
        if since < wait {
            return Err(wait - since);
        }
        let next = if since > wait + PEACE { FIRST } else { (wait * 2).min(LONGEST) };
        self.last = Some((now, next));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarrel_slows_down_and_peace_is_remembered() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        assert_eq!(pace.take(now), Ok(()), "the first time is at once");
        let mut waits = Vec::new();
        for _ in 0..12 {
            let wait = pace.take(now).expect_err("not at once again");
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(pace.take(now), Ok(()));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        now += Duration::from_secs(1000);
        assert_eq!(pace.take(now), Ok(()));
        assert_eq!(pace.take(now), Err(FIRST));
    }
}
