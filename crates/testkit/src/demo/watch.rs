//! Showing the table: until it is complete, or until somebody has seen enough.
//!
//! Not for what is in it.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::measure::{Way, measure};
use super::street::Street;
use super::table::{complaints, draw};
use super::{on_a_screen, print, say};

const EVERY: Duration = Duration::from_secs(1);

/// Shows the first complete table, or at the deadline what there is and what is wrong with it.
pub(super) fn once(street: &Street, deadline: Instant, end: &Receiver<()>) -> Result<ExitCode> {
    let start = Instant::now();
    let mut shown = usize::MAX;
    loop {
        let ways = measure(&street.hosts)?;
        let working = working(&ways);
        if working == ways.len() {
            print(&draw(&ways))?;
            say(&format!(
                "every pair works, {:.1} s after the last machine joined",
                start.elapsed().as_secs_f64()
            ));
            return Ok(ExitCode::SUCCESS);
        }
        if Instant::now() >= deadline {
            print(&draw(&ways))?;
            complaints(&ways).iter().for_each(|complaint| say(complaint));
            say("not every pair works; this is what server and agents said at last");
            say(&street.house.lab().log_tails());
            return Ok(ExitCode::FAILURE);
        }
        if working != std::mem::replace(&mut shown, working) {
            say(&format!("{working} of {} ways work", ways.len()));
        }
        if ended(end, Duration::from_millis(100)) {
            say("interrupted");
            return Ok(ExitCode::FAILURE);
        }
    }
}

/// Shows the table again and again until the input ends.
pub(super) fn live(street: &Street, guide: &str, end: &Receiver<()>) -> Result<ExitCode> {
    let screen = on_a_screen();
    if !screen {
        print(guide)?;
    }
    let mut height = 0;
    loop {
        let start = Instant::now();
        let table = draw(&measure(&street.hosts).context("the machines cannot be looked at")?);
        let text = if screen { format!("{table}\n{guide}") } else { table };
        // On a screen the new text is written over the old one.
        let over = if screen && height > 0 { format!("\x1b[{height}A\x1b[J") } else { String::new() };
        print(&format!("{over}{text}"))?;
        height = text.lines().count();
        if ended(end, EVERY.saturating_sub(start.elapsed())) {
            say("ending the machines");
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn working(ways: &[Way]) -> usize {
    ways.iter().filter(|way| way.works()).count()
}

fn ended(end: &Receiver<()>, wait: Duration) -> bool {
    match end.recv_timeout(wait) {
        Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
        Err(RecvTimeoutError::Timeout) => false,
    }
}
