//! The conformance suite: what every backend must keep true. A backend says how to make an empty database and calls
//! `conformance!`; nothing here knows which one it is.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "tests: each binary uses the part it needs"
)]

pub mod decided;
pub mod history;
pub mod laws;

use std::path::Path;
use std::sync::Arc;

use store::Database;

/// A place where one database lives.
pub trait Place: Sized {
    /// A new place without anything in it.
    fn empty() -> Self;
    /// The database there, made when it is missing. The one opened before must be gone.
    fn open(&self) -> Arc<dyn Database>;
    /// A new place with what the backup holds.
    fn restored(backup: &Path) -> Self;
}

/// Waits for an answer on a small runtime of its own.
pub fn wait<T>(answer: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(answer)
}

/// Makes a test of each law, for this kind of place.
#[macro_export]
macro_rules! conformance {
    ($place:ty: $($law:ident)*) => {
        $(
            #[test]
            fn $law() {
                $crate::conformance::laws::$law::<$place>();
            }
        )*
    };
    ($place:ty) => {
        $crate::conformance! { $place:
            loading_gives_what_the_commits_made
            intent_that_was_decided_comes_back_as_it_was_applied
            following_from_anywhere_leads_to_the_same_records
            a_number_that_is_not_the_next_is_a_conflict_and_changes_nothing
            of_many_who_want_the_same_number_one_gets_it
            a_reader_never_sees_half_a_commit
            the_journal_is_paged_newest_first_and_holds_no_secret
            pruning_takes_the_oldest_and_leaves_the_order
            who_follows_from_before_the_journal_is_told_to_load
            inventory_comes_back_as_it_was_put
            epochs_only_grow
            a_backup_is_one_instant_of_a_running_database
            a_backup_overwrites_nothing
            a_restored_database_goes_on_in_a_later_epoch
        }
    };
}
