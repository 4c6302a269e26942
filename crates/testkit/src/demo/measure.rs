//! One look at all pairs: the path that the agent names, and real pings by both families.
//!
//! Not for showing it. Keeps true that a pair works only if both its addresses answered.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Result;
use reconcile::PathStatus;

use crate::house::{Host, Look};

/// Pings all addresses at once; prints those that answered, with the milliseconds.
const PING_ALL: &str = r#"for to; do
    (answer=$(ping -n -c 1 -W 1 "$to") && printf '%s %s\n' "$to" "$(printf %s "$answer" | sed -n 's/.*time=\([0-9.]*\).*/\1/p')") &
    done; wait"#;

/// One machine's way to another.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Way {
    pub(super) from: String,
    pub(super) to: String,
    /// What the agent says; none when it does not answer, or does not know the other.
    pub(super) path: Option<PathStatus>,
    /// Milliseconds there and back by IPv4; none when nothing came back.
    pub(super) v4: Option<f64>,
    /// The same by IPv6.
    pub(super) v6: Option<f64>,
}

impl Way {
    /// Whether everything got through, on a path that the agent knows.
    pub(super) fn works(&self) -> bool {
        let direct = matches!(self.path, Some(PathStatus::Direct { .. } | PathStatus::Checking { .. }));
        direct && self.v4.is_some() && self.v6.is_some()
    }
}

/// Looks at every pair, from all machines at the same time.
pub(super) fn measure(hosts: &[Host]) -> Result<Vec<Way>> {
    let every = std::thread::scope(|scope| {
        let threads: Vec<_> = hosts.iter().map(|host| scope.spawn(move || ways_from(host, hosts))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<Way>>>| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    Ok(every.into_iter().flatten().collect())
}

fn ways_from(from: &Host, hosts: &[Host]) -> Result<Vec<Way>> {
    let others: Vec<&Host> = hosts.iter().filter(|host| host.name() != from.name()).collect();
    let answered = ping_all(from, &others)?;
    // Somebody who tries things out may have stopped the agent: that is to be shown, not to end the demo.
    let look = from.look().ok();
    others.into_iter().map(|to| way(from, to, look.as_ref(), &answered)).collect()
}

fn way(from: &Host, to: &Host, look: Option<&Look>, answered: &BTreeMap<IpAddr, f64>) -> Result<Way> {
    let peer = look.and_then(|look| look.peer(to.name()));
    Ok(Way {
        from: from.name().to_owned(),
        to: to.name().to_owned(),
        path: peer.and_then(|peer| peer.path),
        v4: answered.get(&to.v4()?).copied(),
        v6: answered.get(&to.v6()?).copied(),
    })
}

fn ping_all(from: &Host, others: &[&Host]) -> Result<BTreeMap<IpAddr, f64>> {
    let mut words = vec!["-c".to_owned(), PING_ALL.to_owned(), "ping".to_owned()];
    for other in others {
        words.extend(other.addresses()?.iter().map(ToString::to_string));
    }
    Ok(answers(&from.machine().attempt("sh", words)?.stdout))
}

fn answers(said: &str) -> BTreeMap<IpAddr, f64> {
    let answer = |line: &str| {
        let (address, time) = line.split_once(' ')?;
        Some((address.parse().ok()?, time.parse().ok()?))
    };
    said.lines().filter_map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_silence_is_left_out() {
        let found = answers("10.20.0.2 0.512\nfd20::2 1.2\nfd20::3 \nnonsense\n");
        assert_eq!(found.len(), 2);
        assert_eq!(found.get(&"10.20.0.2".parse().unwrap()), Some(&0.512));
    }
}
