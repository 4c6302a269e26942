//! Laws of the plan over histories of commands: the fast ways are the slow way, and the same input gives the same bytes.
//! Who learns of whom is in `sight`.

use control::Intent;
use model::Generation;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::history::{Brain, history, long_history};
use crate::shell::{Counts, Habits, Shell, habits, maps};

const BASE: Generation = Generation::from_number(7);

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_ways_are_the_slow_way_over_thousands_of_steps(steps in long_history(), habits in habits(40)) {
        Shell::new(Brain::wide(), habits).run(&steps)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_fast_ways_are_the_slow_way_and_the_rest_is_untouched(steps in history(80), habits in habits(1)) {
        Shell::new(Brain::new(), habits).run(&steps)?;
    }

    #[test]
    fn changes_that_go_out_together_are_one_delta(steps in history(80), habits in habits(20)) {
        Shell::new(Brain::new(), habits).run(&steps)?;
    }

    #[test]
    fn the_same_input_gives_the_same_bytes(steps in history(80)) {
        let mut brain = Brain::new();
        for step in &steps {
            brain.step(step);
        }
        let loaded = Intent::from_records(brain.intent.seq(), brain.intent.records()).unwrap();
        let mut again = brain.clone();
        again.intent = loaded;
        let bytes = |brain: &Brain| maps(brain, |_| BASE).values().map(wire::encode).collect::<Vec<_>>();
        prop_assert_eq!(bytes(&again), bytes(&brain));
    }
}

#[test]
fn long_histories_tell_catch_up_and_fetch() {
    let mut runner = TestRunner::deterministic();
    let steps = long_history().new_tree(&mut runner).unwrap().current();
    let habits = Habits { most: 3, windows: vec![1, 9, 30], at_once: true, roomy: false };
    let mut shell = Shell::new(Brain::wide(), habits);
    shell.run(&steps).unwrap();
    // Laws over histories in which nobody is told anything would say nothing.
    let Counts { told, fetch, caught_up, refused, parts, kept } = shell.counts;
    assert!(told > 1_000 && fetch > 500 && caught_up > 1_000, "{told} {fetch} {caught_up}");
    assert!(refused > 1_000 && parts > 1_000 && kept > 100, "{refused} {parts} {kept}");
    let maps = maps(&shell.brain, |_| BASE);
    assert!(maps.values().filter(|map| map.peers.len() > 10).count() > 10);
    assert!(maps.values().filter(|map| map.networks.len() > 1).count() > 5);
}
