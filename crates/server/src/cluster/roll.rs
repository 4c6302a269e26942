//! The roll: what servers say of themselves and of each other, as leases beside the leader's. Each is somebody's word for as long
//! as it is renewed.
//!
//! ```text
//!   server/ID            this server runs
//!   unreached/ID/OTHER   it has not reached that one for a while
//!   broker-lost/ID       it led without reaching the message broker
//!   broker-found/ID      it looked, because another one lost it, and reaches it
//! ```
//!
//! Not for what follows from it (that is `standing`). It keeps true that whoever says nothing more is soon said to say nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use store::{Database, Held};

use super::outlook::Broker;
use super::standing::Facts;
use super::{Holder, Running};

/// Who has it leads.
pub(super) const LEAD: &str = "lead";
/// Begins the names of the leases that say which servers run.
pub(super) const SERVER: &str = "server/";
/// How long a server counts as running, and its word is believed, after it was heard of last.
pub(super) const SERVER_LIFETIME: Duration = Duration::from_secs(15);
const UNREACHED: &str = "unreached/";
const BROKER_LOST: &str = "broker-lost/";
const BROKER_FOUND: &str = "broker-found/";

/// What was said when it was called last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Roll {
    pub(super) running: Vec<Running>,
    pub(super) facts: Facts<String>,
}

/// The lease that says that this server runs.
pub(super) fn name_of(server: &Holder) -> String {
    format!("{SERVER}{}", server.id)
}

/// The leases that say the rest.
pub(super) fn words(me: &Holder, unreached: &BTreeSet<String>, broker: Broker) -> BTreeSet<String> {
    let id = &me.id;
    let mut words: BTreeSet<_> = unreached.iter().map(|other| format!("{UNREACHED}{id}/{other}")).collect();
    match broker {
        Broker::Lost => words.insert(format!("{BROKER_LOST}{id}")),
        Broker::Found => words.insert(format!("{BROKER_FOUND}{id}")),
        Broker::Unknown => false,
    };
    words
}

/// Says that this server runs, and these words; takes back what it said before; and hears the others.
pub(super) async fn call(
    database: &dyn Database,
    (me, text): (&Holder, &str),
    words: &BTreeSet<String>,
    taken_back: &[String],
) -> Result<Roll> {
    if database.lease(&name_of(me), text, SERVER_LIFETIME).await?.granted().is_none() {
        tracing::error!(id = me.id, "another server has this server's id: was its data folder copied?");
    }
    for word in words {
        database.lease(word, text, SERVER_LIFETIME).await?;
    }
    for word in taken_back {
        database.release(word, text).await?;
    }
    Ok(read(&database.held("", SERVER_LIFETIME).await?))
}

fn read(held: &[Held]) -> Roll {
    let of = |prefix: &'static str| {
        held.iter().filter_map(move |held| Some((held.name.strip_prefix(prefix)?, held)))
    };
    let ids = |prefix| of(prefix).map(|(id, _)| id.to_owned()).collect::<BTreeSet<_>>();
    let pair = |(name, _): (&str, &Held)| name.split_once('/').map(|(by, of)| (by.to_owned(), of.to_owned()));
    let holders: Vec<Holder> = of(SERVER).filter_map(|(_, held)| Holder::read(&held.holder)).collect();
    let facts = Facts {
        running: holders.iter().map(|holder| holder.id.clone()).collect(),
        unreached: of(UNREACHED).filter_map(pair).collect(),
        broker_lost: ids(BROKER_LOST),
        broker_found: ids(BROKER_FOUND),
    };
    let leader = held.iter().find(|held| held.name == LEAD).and_then(|held| Holder::read(&held.holder));
    let name = |id: &String| holders.iter().find(|holder| holder.id == *id).map(|holder| holder.name.clone());
    let running = |holder: &Holder| Running {
        leads: leader.as_ref() == Some(holder),
        unreached_by: facts.missed_by(&holder.id).filter_map(name).collect(),
        has_lost_broker: facts.broker_lost.contains(&holder.id),
        holder: holder.clone(),
    };
    Roll { running: holders.iter().map(running).collect(), facts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(id: &str) -> Holder {
        let text = |what: &str| format!("{what} {id}");
        let (url, version) = (format!("https://{id}"), "1".to_owned());
        Holder { id: id.to_owned(), run: text("run"), name: text("name"), url, pin: None, version }
    }

    #[test]
    fn what_servers_say_is_read_back_and_what_is_nobodys_passed_over() {
        let [one, two] = ["1", "2"].map(server);
        let mut held = vec![
            Held { name: LEAD.to_owned(), holder: one.text() },
            Held { name: name_of(&one), holder: one.text() },
            Held { name: name_of(&two), holder: two.text() },
            Held { name: "server/x".to_owned(), holder: "nobody".to_owned() },
            Held { name: "something".to_owned(), holder: two.text() },
        ];
        let unreached = BTreeSet::from(["1".to_owned(), "3".to_owned()]);
        let said = words(&one, &BTreeSet::new(), Broker::Lost).into_iter().map(|name| (name, &one));
        let said = said.chain(words(&two, &unreached, Broker::Found).into_iter().map(|name| (name, &two)));
        held.extend(said.map(|(name, by)| Held { name, holder: by.text() }));
        let Roll { running, facts } = read(&held);
        let set = |id: &str| BTreeSet::from([id.to_owned()]);
        assert_eq!(facts.unreached, ["1", "3"].map(|of| ("2".to_owned(), of.to_owned())).into());
        assert_eq!((&facts.broker_lost, &facts.broker_found), (&set("1"), &set("2")));
        let first = Running {
            holder: one,
            leads: true,
            unreached_by: vec!["name 2".to_owned()],
            has_lost_broker: true,
        };
        assert_eq!(running, [first, Running::of(two)]);
    }
}
