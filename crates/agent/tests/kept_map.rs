//! The law of the map on disk, over random maps: what is read back is what was kept last, however it came there.

#![expect(clippy::unwrap_used, reason = "a test may end where its own making fails")]

#[path = "../../wire/tests/maps/mod.rs"]
mod maps;

use agent::state::State;
use model::{Generation, HostName};
use proptest::prelude::*;
use wire::{HostMap, delta};

/// A history: the map of each generation, whether the agent kept it before the next one came, and whether it was started
/// anew after that.
fn history() -> impl Strategy<Value = Vec<(HostMap, bool, bool)>> {
    prop::collection::vec((maps::map(), any::<bool>(), any::<bool>()), 1..12).prop_map(|mut history| {
        for (number, (map, _, _)) in history.iter_mut().enumerate() {
            map.generation = Generation::from_number(1 + u64::try_from(number).unwrap());
        }
        history
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_read_is_what_was_kept_last(history in history()) {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path());
        state.create().unwrap();
        let name = HostName::nearest("server");
        let mut file = state.map_file(&name);
        let (mut kept, mut before, mut unsaved) = (None, None, Vec::new());
        for (map, keep, restart) in history {
            unsaved.extend(before.iter().map(|before| delta(before, &map)));
            if keep {
                file.save(&map, &unsaved).unwrap();
                unsaved.clear();
                kept = Some(map.clone());
            }
            before = Some(map);
            if restart {
                // What was not kept is forgotten.
                file = state.map_file(&name);
                before = file.open().unwrap();
                unsaved.clear();
                prop_assert_eq!(&before, &kept);
            }
            prop_assert_eq!(&state.map(&name).unwrap(), &kept);
        }
    }
}
