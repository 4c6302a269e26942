//! Which clients a gateway let in, and when, by our clock.
//!
//! Not for choosing among gateways (`Inventory::client_at`). It keeps true that hosts' clocks do not matter: of what a host
//! tells only how long ago it was counts, and what it says again stays when it was.

use std::time::Duration;

use model::{ClientId, Endpoint, MemberId, Timestamp};
use serde::{Deserialize, Serialize};
use wire::{ClientSeen, Report};

/// What a report takes to get here makes all that it tells of seem later than it was, by less than this. A gateway that a client
/// has just left must not seem to have heard it after the one where it is.
const WAY: Duration = Duration::from_secs(1);

/// A client at a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSession {
    /// As the gateway told it, by its own clock.
    told: ClientSeen,
    /// When its session began.
    pub handshake: Timestamp,
    /// It was last heard there at this moment, or later.
    pub heard: Timestamp,
}

impl ClientSession {
    fn new(told: ClientSeen, said: Option<Timestamp>, now: Timestamp) -> Self {
        let ours = |theirs: Timestamp| match said {
            Some(said) => before(now, said.since(theirs)),
            // A host that does not say when it is has a clock like ours, as far as it can be believed.
            None => theirs.min(now),
        };
        let handshake = ours(told.handshake);
        let heard = told.heard.map_or(handshake, |heard| before(ours(heard), WAY).max(handshake));
        Self { told, handshake, heard }
    }

    /// The client.
    pub const fn client(&self) -> MemberId {
        self.told.id
    }

    /// Where it came from.
    pub const fn endpoint(&self) -> Option<Endpoint> {
        self.told.endpoint
    }
}

fn before(moment: Timestamp, ago: Duration) -> Timestamp {
    let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(moment.as_millis().saturating_sub(ago))
}

/// The sessions of which a host's report speaks, by client; `known` are those of the report before.
pub(super) fn told(report: &Report, known: &[ClientSession], now: Timestamp) -> Vec<ClientSession> {
    let mut clients: Vec<&ClientSeen> = report.clients.iter().take(Report::MOST_CLIENTS).collect();
    clients.sort_by_key(|seen| (seen.id, std::cmp::Reverse((seen.handshake, seen.heard))));
    clients.dedup_by_key(|seen| seen.id);
    let session = |seen: &ClientSeen| match of(known, seen.id) {
        Some(before) if before.told == *seen => before.clone(),
        Some(_) | None => ClientSession::new(seen.clone(), report.at, now),
    };
    clients.into_iter().map(session).collect()
}

/// A client's among these, which are ordered by client.
pub(super) fn of(sessions: &[ClientSession], client: MemberId) -> Option<&ClientSession> {
    let at = sessions.binary_search_by_key(&client, ClientSession::client).ok()?;
    sessions.get(at)
}

/// The same by its id in intent.
pub(super) fn of_client(sessions: &[ClientSession], client: ClientId) -> Option<&ClientSession> {
    of(sessions, client.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: MemberId = MemberId::from_bytes([7; 16]);

    fn second(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    fn report(handshake: i64, heard: Option<i64>, at: Option<i64>) -> Report {
        let heard = heard.map(second);
        let seen = ClientSeen { id: PHONE, endpoint: None, handshake: second(handshake), heard };
        Report { clients: vec![seen], at: at.map(second), ..Report::default() }
    }

    fn heard(report: &Report, known: &[ClientSession], now: i64) -> i64 {
        told(report, known, second(now))[0].heard.as_millis() / 1000
    }

    #[test]
    fn how_long_ago_a_host_heard_a_client_counts_whatever_its_clock_says() {
        for ahead in [-1_000_000, -7, 0, 7, 1_000_000] {
            assert_eq!(heard(&report(ahead + 70, None, Some(ahead + 100)), &[], 100), 70);
            assert_eq!(heard(&report(ahead + 70, Some(ahead + 95), Some(ahead + 100)), &[], 100), 94);
            assert_eq!(heard(&report(ahead + 70, Some(ahead + 60), Some(ahead + 100)), &[], 100), 70);
        }
        assert_eq!(heard(&report(200, None, Some(100)), &[], 50), 50, "nothing was in the future");
        assert_eq!(heard(&report(200, None, None), &[], 50), 50, "nor for a host that says no time");
        assert_eq!(heard(&report(40, None, None), &[], 50), 40);
    }

    #[test]
    fn what_is_said_again_stays_when_it_was() {
        let known = told(&report(70, None, Some(100)), &[], second(100));
        assert_eq!(heard(&report(70, None, Some(60)), &known, 300), 70, "the host's clock was set");
        assert_eq!(heard(&report(71, None, Some(100)), &known, 300), 271, "and that is another session");
    }
}
