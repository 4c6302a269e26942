//! Waiting for something to become true without guessing how long it takes.
//!
//! Not for measuring. Keeps true that a wait which ends in vain says what the last attempt complained about.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::house::patience;

const PAUSE: Duration = Duration::from_millis(20);

/// Tries again and again until `attempt` succeeds; after `limit` fails with the last attempt's error.
pub fn eventually<T>(limit: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let mut attempts = 0_u32;
    loop {
        attempts += 1;
        let error = match attempt() {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if start.elapsed() >= limit {
            return Err(anyhow!(
                "still not so after {:.1} s and {attempts} attempts: {error:#}",
                limit.as_secs_f64()
            ));
        }
        std::thread::sleep(patience(PAUSE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;

    #[test]
    fn a_later_success_counts() {
        let mut calls = 0;
        let value = eventually(Duration::from_secs(5), || {
            calls += 1;
            ensure!(calls > 2, "not yet");
            Ok(calls)
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn a_vain_wait_tells_the_last_error() {
        let mut calls = 0;
        let error = eventually(Duration::from_millis(1), || -> Result<()> {
            calls += 1;
            Err(anyhow!("call {calls}"))
        })
        .unwrap_err()
        .to_string();
        assert!(error.ends_with(&format!("call {calls}")), "{error}");
    }
}
