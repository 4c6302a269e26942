//! The conformance suite: what every backend must keep true. A backend says how to make an empty database and calls
//! `conformance!`; nothing here knows which one it is.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    unused_imports,
    reason = "tests: each binary uses the part it needs"
)]

pub mod contents;
pub mod decided;
pub mod history;
pub mod laws;
pub mod leading;
pub mod several;
pub mod versions;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use store::{Address, Database, Existing};
use tokio::runtime::Runtime;

/// A place where one database lives. A law has one at a time, and lets it go before it makes another: for some engines there is
/// one in all.
pub trait Place: Sized {
    /// A new place without anything in it.
    fn empty() -> Self;
    /// Its address.
    fn address(&self) -> Address;
    /// The folder of the tables that released versions made, among the fixtures.
    fn engine() -> &'static str;
    /// A new place where this SQL was carried out.
    fn made_by(sql: &str) -> Self;
    /// Whether several servers can use it at once.
    fn is_for_several() -> bool;

    /// The database there, made when it is missing. Where only one server can use it, the one opened before must be gone.
    fn open(&self) -> Arc<dyn Database> {
        wait(store::open(&self.address())).unwrap()
    }

    /// A new place with what the backup holds.
    fn restored(backup: &Path) -> Self {
        let place = Self::empty();
        wait(store::restore(backup, &place.address(), Existing::Keep)).unwrap();
        place
    }
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// Waits for an answer. Connections live on from one to the next.
pub fn wait<T>(answer: impl Future<Output = T>) -> T {
    RUNTIME.block_on(answer)
}

/// Has this done meanwhile.
pub fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    RUNTIME.spawn(work)
}

/// Every law, whatever file it is in.
pub mod all {
    pub use super::contents::*;
    pub use super::laws::*;
    pub use super::leading::*;
    pub use super::several::*;
    pub use super::versions::*;
}

/// Makes a test of each law, for this kind of place.
#[macro_export]
macro_rules! conformance {
    ($place:ty: $($law:ident)*) => {
        $(
            #[test]
            fn $law() {
                $crate::conformance::all::$law::<$place>();
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
            who_waits_is_told_of_a_commit
            a_lease_is_held_by_one_renewed_given_back_and_ends_by_itself
            of_many_who_want_a_lease_one_gets_it
            servers_that_race_for_numbers_lose_nothing_and_use_none_twice
            another_server_follows_and_hears_of_every_commit
            many_servers_that_start_at_once_make_the_tables_once
            texts_of_every_kind_come_back_as_they_were
            a_character_that_cannot_be_kept_is_refused
            large_groups_and_none_are_committed
            a_database_that_holds_something_is_not_overwritten_by_a_backup_unasked
            who_holds_a_lease_is_seen_by_all_until_it_ends
            a_lease_from_a_clock_that_was_ahead_binds_nobody
            what_was_written_of_hosts_since_is_told
            following_inventory_misses_nothing_whoever_writes
            what_is_said_in_an_epoch_that_is_over_changes_nothing
            an_epoch_begins_after_all_that_is_said_in_the_one_before
            of_many_servers_that_say_who_they_are_one_is_believed
            a_backup_says_who_the_servers_are_and_lets_leases_go
            every_released_version_opens_and_moves_forward
            looking_at_a_database_changes_nothing
            many_servers_that_start_at_once_move_older_tables_forward_once
            newer_tables_are_used_only_where_they_say_so
            tables_of_something_else_are_left_alone
        }
    };
}
