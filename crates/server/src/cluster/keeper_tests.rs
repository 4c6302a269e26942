//! The laws of who leads, against a model of the database's lease: servers whose questions and answers are delayed, lost
//! and overtake each other, and that die. Where they speak to each other, that is delayed, lost and repeated as well.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::keeper::{Answer, Claim, EVERY, Keeper, LIFETIME};

type Server = usize;
const SERVERS: usize = 3;
const STEP: Duration = Duration::from_millis(50);
/// Questions that are not lost take this long at most, there and back each.
const SLOWEST: u32 = 12;

/// The database: its lease, its epochs, and who was granted which grant.
#[derive(Debug, Default)]
struct Database {
    lease: Option<(Server, u32)>,
    epoch: u32,
}

impl Database {
    fn holder(&self, tick: u32) -> Option<Server> {
        self.lease.filter(|(_, end)| tick < *end).map(|(holder, _)| holder)
    }

    fn ask(&mut self, server: Server, tick: u32) -> Result<(), Option<Server>> {
        match self.holder(tick) {
            Some(other) if other != server => Err(Some(other)),
            Some(_) | None => {
                self.lease = Some((server, tick + steps(LIFETIME)));
                Ok(())
            }
        }
    }
}

fn steps(span: Duration) -> u32 {
    u32::try_from(span.as_millis() / STEP.as_millis()).unwrap()
}

#[derive(Debug, Clone, Copy)]
enum Question {
    Lease,
    Epoch { term: u64 },
}

#[derive(Debug, Clone, Copy)]
enum Said {
    Lease(Result<(), Option<Server>>),
    Epoch { term: u64, epoch: u32 },
}

/// What is on its way.
#[derive(Debug)]
enum Parcel {
    Question {
        from: Server,
        asked: u32,
        question: Question,
    },
    Answer {
        to: Server,
        asked: u32,
        said: Said,
    },
    /// One server tells another that it leads in this epoch.
    Word {
        from: Server,
        to: Server,
        epoch: u32,
    },
}

/// One server: its keeper, and the epoch with which it leads.
struct Node {
    keeper: Keeper<Server>,
    alive: bool,
    leads: Option<(u64, u32)>,
    /// The term for which an epoch was asked.
    begins: Option<u64>,
    /// When what it heard last was asked.
    heard: Option<u32>,
}

/// What happens to one question or answer.
#[derive(Debug, Clone, Copy)]
struct Fate {
    delay: u32,
    lost: bool,
}

struct World {
    start: Instant,
    tick: u32,
    database: Database,
    nodes: Vec<Node>,
    way: BTreeMap<(u32, u32), Parcel>,
    sent: u32,
    /// Every word that was ever said.
    words: Vec<(Server, Server, u32)>,
}

impl World {
    fn new() -> Self {
        let node = || Node { keeper: Keeper::new(), alive: true, leads: None, begins: None, heard: None };
        let nodes = (0..SERVERS).map(|_| node()).collect();
        Self {
            start: Instant::now(),
            tick: 0,
            database: Database::default(),
            nodes,
            way: BTreeMap::new(),
            sent: 0,
            words: Vec::new(),
        }
    }

    fn instant(&self, tick: u32) -> Instant {
        self.start + STEP * tick
    }

    fn send(&mut self, fate: Fate, parcel: Parcel) {
        self.sent += 1;
        if !fate.lost {
            self.way.insert((self.tick + fate.delay, self.sent), parcel);
        }
    }

    /// One step of time; each parcel that is sent in it meets a fate.
    fn step(&mut self, mut fate: impl FnMut(Server) -> Fate) {
        self.tick += 1;
        for server in 0..SERVERS {
            if !self.nodes[server].alive {
                continue;
            }
            // Not all at the same moment.
            if (self.tick + u32::try_from(server).unwrap() * 7).is_multiple_of(steps(EVERY)) {
                let question = Parcel::Question { from: server, asked: self.tick, question: Question::Lease };
                self.send(fate(server), question);
            }
        }
        while let Some(entry) = self.way.first_entry()
            && entry.key().0 <= self.tick
        {
            match entry.remove() {
                Parcel::Question { from, asked, question } => {
                    let said = match question {
                        Question::Lease => Said::Lease(self.database.ask(from, self.tick)),
                        Question::Epoch { term } => {
                            self.database.epoch += 1;
                            Said::Epoch { term, epoch: self.database.epoch }
                        }
                    };
                    self.send(fate(from), Parcel::Answer { to: from, asked, said });
                }
                Parcel::Answer { to, asked, said } => self.hear(to, asked, said, &mut fate),
                Parcel::Word { from, to, epoch } => self.hear_word(from, to, epoch),
            }
        }
    }

    /// Those who lead say so to all others; what was said before may come again at any time.
    fn speak(&mut self, mut fate: impl FnMut() -> Fate, repeats: usize) {
        for (from, epoch) in self.leaders() {
            for to in (0..SERVERS).filter(|to| *to != from) {
                self.words.push((from, to, epoch));
                self.send(fate(), Parcel::Word { from, to, epoch });
            }
        }
        if let Some((from, to, epoch)) = self.words.get(repeats % self.words.len().max(1)).copied() {
            self.send(fate(), Parcel::Word { from, to, epoch });
        }
    }

    fn hear_word(&mut self, from: Server, to: Server, epoch: u32) {
        let now = self.instant(self.tick);
        let node = &mut self.nodes[to];
        let own = node.leads.map(|(_, own)| own);
        let before = node.keeper.claim().clone();
        node.keeper.told(epoch.into(), own.map(u64::from), from, now);
        if own.is_some_and(|own| epoch <= own) {
            assert_eq!(*node.keeper.claim(), before, "older words, and copies of them, change nothing");
        }
        if matches!(node.keeper.claim(), Claim::Follows { .. }) {
            node.leads = None;
        }
    }

    fn hear(&mut self, to: Server, asked: u32, said: Said, fate: &mut impl FnMut(Server) -> Fate) {
        let (now, asked_at) = (self.instant(self.tick), self.instant(asked));
        let node = &mut self.nodes[to];
        if !node.alive {
            return;
        }
        match said {
            Said::Lease(Ok(())) => {
                node.keeper.answered(asked_at, Answer::Granted { until: asked_at + LIFETIME }, now);
                node.heard = node.heard.max(Some(asked));
            }
            Said::Lease(Err(leader)) => {
                node.keeper.answered(asked_at, Answer::Refused { leader }, now);
                node.heard = node.heard.max(Some(asked));
            }
            Said::Epoch { term, epoch } => {
                node.begins = None;
                // Of several that were asked for one term the first counts, as in the hub, which waits for one at a time.
                let begun = node.leads.is_some_and(|(of, _)| of == term);
                if !begun && node.keeper.claim().is_certain(term, now) {
                    node.leads = Some((term, epoch));
                }
            }
        }
        match *node.keeper.claim() {
            Claim::Follows { .. } => node.leads = None,
            Claim::Leads { term, .. } => {
                if node.leads.is_none_or(|(of, _)| of != term) && node.begins != Some(term) {
                    node.begins = Some(term);
                    let question = Question::Epoch { term };
                    self.send(fate(to), Parcel::Question { from: to, asked: self.tick, question });
                }
            }
        }
        // A question whose answer was lost is asked again with the next answer.
        if fate(to).lost {
            self.nodes[to].begins = None;
        }
    }

    /// It knows that somebody may have led in between, and waits for its next epoch.
    fn begins_anew(&self, server: Server) -> bool {
        let node = &self.nodes[server];
        match (node.keeper.claim(), node.leads) {
            (Claim::Leads { term, .. }, Some((of, _))) => *term != of,
            (Claim::Leads { .. } | Claim::Follows { .. }, _) => false,
        }
    }

    fn leaders(&self) -> Vec<(Server, u32)> {
        let epoch =
            |(server, node): (Server, &Node)| node.leads.filter(|_| node.alive).map(|(_, e)| (server, e));
        self.nodes.iter().enumerate().filter_map(epoch).collect()
    }
}

/// So many in a hundred are lost, and so many take up to twice as long as the lease lasts.
fn fates(lost: u32, slow: u32) -> impl Strategy<Value = Vec<Fate>> {
    let slowest = 2 * steps(LIFETIME);
    let fate = (0..=SLOWEST, 0..=slowest, 0..100_u32, 0..100_u32);
    let fate = fate.prop_map(move |(usual, late, first, second)| Fate {
        delay: if second < slow { late } else { usual },
        lost: first < lost,
    });
    prop::collection::vec(fate, 256)
}

/// Hands out fates one after the other, round and round; while somebody is cut off, all that is theirs is lost.
fn dealer<'a>(fates: &'a [Fate], at: &'a mut usize, cut: Option<Server>) -> impl FnMut(Server) -> Fate + 'a {
    move |server| {
        *at = (*at + 1) % fates.len();
        Fate { lost: fates[*at].lost || cut == Some(server), ..fates[*at] }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn of_two_who_lead_one_has_not_heard_of_the_database_since_and_its_epoch_is_the_smaller(
        fates in fates(20, 25),
        cuts in prop::collection::vec(prop::option::of(0..SERVERS), 1..12),
    ) {
        let (mut world, mut at) = (World::new(), 0);
        // When each epoch began to be led with.
        let mut began: BTreeMap<u32, u32> = BTreeMap::new();
        for cut in cuts {
            for _ in 0..steps(Duration::from_secs(7)) {
                world.step(dealer(&fates, &mut at, cut));
                let leaders = world.leaders();
                for (_, epoch) in &leaders {
                    began.entry(*epoch).or_insert(world.tick);
                }
                for (older, epoch) in leaders.iter().filter(|(server, _)| !world.begins_anew(*server)) {
                    let Some((newer, later)) = leaders.iter().find(|(_, other)| other > epoch) else { continue };
                    // Whoever asked after the other had begun was told of it.
                    let heard = world.nodes[*older].heard.unwrap_or_default();
                    prop_assert!(
                        heard < began[later],
                        "{older} leads with {epoch}, asked at {heard}; {newer} leads with {later} since {}", began[later],
                    );
                }
                let epochs: Vec<u32> = began.keys().copied().collect();
                let in_order = epochs.windows(2).all(|pair| began[&pair[0]] <= began[&pair[1]]);
                prop_assert!(in_order, "a later leader has a greater epoch: {began:?}");
            }
        }
    }

    #[test]
    fn a_leader_that_is_cut_off_from_the_database_alone_is_told_by_the_next(
        fates in fates(0, 0), words in fates(30, 10), repeats in prop::collection::vec(any::<usize>(), 64),
    ) {
        let (mut world, mut at, mut at_word) = (World::new(), 0, 0);
        let mut step = |world: &mut World, cut| {
            world.step(dealer(&fates, &mut at, cut));
            if world.tick.is_multiple_of(steps(EVERY)) {
                at_word += 1;
                let mut words = dealer(&words, &mut at_word, None);
                world.speak(|| words(0), repeats[world.tick as usize % repeats.len()]);
            }
        };
        for _ in 0..4 {
            while world.leaders().len() != 1 {
                step(&mut world, None);
                prop_assert!(world.tick < 20_000, "nobody leads alone");
            }
            let (cut, before) = world.leaders()[0];
            while !world.leaders().iter().any(|(server, _)| *server != cut) {
                step(&mut world, Some(cut));
                prop_assert!(world.tick < 20_000, "nobody takes over");
            }
            // Words come every second, and not all are lost.
            for _ in 0..steps(Duration::from_secs(60)) {
                step(&mut world, Some(cut));
            }
            let leaders = world.leaders();
            prop_assert!(leaders.len() == 1 && leaders[0].0 != cut && leaders[0].1 > before, "{leaders:?}");
            // Nothing that is said again has it change any more.
            for _ in 0..steps(Duration::from_secs(60)) {
                step(&mut world, Some(cut));
                prop_assert_eq!(&world.leaders(), &leaders);
            }
        }
    }

    #[test]
    fn when_the_leader_dies_another_leads_in_time_and_only_one_does(fates in fates(0, 0)) {
        let (mut world, mut at) = (World::new(), 0);
        let takes = |lifetime: Duration| steps(lifetime + EVERY) + 5 * SLOWEST;
        for deaths in 0..SERVERS {
            let limit = takes(if deaths == 0 { Duration::ZERO } else { LIFETIME });
            let leads = (0..limit).any(|_| {
                world.step(dealer(&fates, &mut at, None));
                !world.leaders().is_empty()
            });
            prop_assert!(leads, "nobody leads {limit} steps after {deaths} died");
            for _ in 0..steps(Duration::from_secs(20)) {
                world.step(dealer(&fates, &mut at, None));
                prop_assert_eq!(world.leaders().len(), 1, "where nothing is lost, the lead stays");
            }
            let (leader, _) = world.leaders()[0];
            world.nodes[leader].alive = false;
        }
    }

    #[test]
    fn a_leader_whose_database_is_gone_goes_on(fates in fates(0, 0)) {
        let (mut world, mut at) = (World::new(), 0);
        for _ in 0..steps(Duration::from_secs(10)) {
            world.step(dealer(&fates, &mut at, None));
        }
        let leaders = world.leaders();
        prop_assert_eq!(leaders.len(), 1);
        for _ in 0..steps(Duration::from_secs(60)) {
            world.step(|_| Fate { delay: 1, lost: true });
            prop_assert_eq!(&world.leaders(), &leaders);
        }
        for _ in 0..steps(Duration::from_secs(20)) {
            world.step(dealer(&fates, &mut at, None));
        }
        prop_assert_eq!(world.leaders().len(), 1, "and it is settled again when the database is back");
        prop_assert!(world.leaders()[0].1 > leaders[0].1, "by a new epoch, whoever leads");
    }
}
