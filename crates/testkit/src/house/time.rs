//! How long tests wait.
//!
//! Not for measuring. Keeps true that a limit means what the issue says wherever the processor is a real one, and is
//! stretched only where it is emulated, by a factor that is told.

use std::time::Duration;

/// How many times slower this machine is than a real one; set for tests inside of the virtual machine.
pub const SLOWNESS: &str = "NETLOOM_LAB_SLOWNESS";

/// This limit, stretched where the processor is emulated.
pub fn patience(limit: Duration) -> Duration {
    let factor = std::env::var(SLOWNESS).ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    limit * factor
}
