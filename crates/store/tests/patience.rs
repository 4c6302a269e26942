//! PostgreSQL under a `statement_timeout` of somebody else's, and with much to do: what grows with what is kept has the time it
//! takes, whatever the role and the database are limited to, and what is asked all the time is still given up soon.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod conformance;
#[path = "../../testkit/src/engines/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "taken in as it is; this test uses the part it needs")]
mod engines;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use conformance::history::{expected, one, plain};
use conformance::laws::records_of;
use conformance::leading::host;
use conformance::versions::released;
use conformance::wait;
use engines::postgres::Cluster;
use store::{Access, Address, CommitError, Database, Existing, Followed, StoreError};

/// Its role and its database give up after half a second, as a managed one may.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = Cluster::start(None).unwrap();
    let hasty = "
        CREATE ROLE hasty LOGIN; GRANT CREATE ON DATABASE postgres TO hasty;
        ALTER ROLE hasty SET statement_timeout = '400ms'; ALTER DATABASE postgres SET statement_timeout = '500ms'";
    cluster.psql(&in_time(hasty)).unwrap();
    cluster
});

/// The same in the time it takes, as what only prepares a test has it.
fn in_time(sql: &str) -> String {
    format!("SET statement_timeout = 0; {sql}")
}

/// Longer than anything that is asked all the time may take: at the server, and until we no longer wait.
const NAP: &str = "pg_sleep(6.5)";

/// A schema of the hasty role's.
struct Schema(&'static str);

impl Schema {
    fn new(name: &'static str) -> Self {
        CLUSTER.psql(&in_time(&format!("CREATE SCHEMA {name} AUTHORIZATION hasty"))).unwrap();
        Self(name)
    }

    /// In the time it takes: whoever listens may read what is changed.
    fn sql(&self, sql: &str) {
        let so = format!("SET ROLE hasty; SET search_path = {}", self.0);
        CLUSTER.psql(&in_time(&format!("{so}; {sql}"))).unwrap();
    }

    fn address(&self) -> Address {
        let url =
            format!("postgres://hasty@{}/postgres?options=-c%20search_path%3D{}", CLUSTER.address(), self.0);
        Address::parse(&url, Access::default()).unwrap()
    }

    fn open(&self) -> Arc<dyn Database> {
        wait(store::open(&self.address())).unwrap()
    }

    /// From now on whoever reads these tables waits.
    fn slow(&self, tables: &[&str]) {
        for table in tables {
            self.sql(&format!(
                "ALTER TABLE {table} RENAME TO kept_{table};
                CREATE VIEW {table} AS SELECT kept_{table}.* FROM {NAP} AS nap, kept_{table}"
            ));
        }
    }

    /// No longer.
    fn fast(&self, tables: &[&str]) {
        for table in tables {
            self.sql(&format!("DROP VIEW {table}; ALTER TABLE kept_{table} RENAME TO {table}"));
        }
    }

    /// From now on these statements take long.
    fn nap_after(&self, statements: &[&str]) {
        self.sql(&format!(
            "CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM {NAP}; RETURN NULL; END'"
        ));
        for (at, statement) in statements.iter().enumerate() {
            self.sql(&format!(
                "CREATE TRIGGER nap_{at} AFTER {statement} FOR EACH STATEMENT EXECUTE FUNCTION nap()"
            ));
        }
    }
}

#[test]
fn the_limits_of_the_role_are_those_that_we_find() {
    // Whoever only takes a role has none of its settings: it logs in.
    for (role, limit) in [("hasty", "400ms"), ("netloom", "500ms")] {
        let shown =
            CLUSTER.program("psql").args(["-U", role, "-XqAt", "-c", "SHOW statement_timeout"]).output();
        assert_eq!(String::from_utf8_lossy(&shown.unwrap().stdout).trim(), limit, "{role}");
    }
}

/// Whether it was not waited for to its end: the server gave up, or, where that was busy, we did.
fn is_given_up(error: &StoreError) -> bool {
    matches!(error, StoreError::Timeout(_) | StoreError::NoAnswer(_))
}

#[test]
fn what_grows_with_what_is_kept_is_read_to_its_end_and_a_commit_is_still_given_up_soon() {
    let place = Schema::new("reads");
    let all: [Arc<dyn Database>; 3] = std::array::from_fn(|_| place.open());
    wait(all[0].commit(plain(3))).unwrap();
    wait(all[0].put_inventory(vec![host(1, "{}")])).unwrap();
    let [loading, following, asking] = &all;
    place.slow(&["records", "inventory"]);
    let (loaded, followed, inventory) =
        wait(async { tokio::join!(loading.load(), following.follow(1), asking.inventory()) });
    let loaded = loaded.unwrap();
    assert_eq!((loaded.seq, records_of(loaded)), (3, expected(3)));
    assert!(matches!(followed.unwrap(), Followed::Changed { seq: 3, .. }));
    assert_eq!(inventory.unwrap(), [host(1, "{}")]);

    // On connections that have read much before.
    place.fast(&["records", "inventory"]);
    place.slow(&["journal"]);
    let (page, checked) = wait(async { tokio::join!(following.journal(None, 10), asking.check()) });
    assert_eq!(page.unwrap().len(), 3);
    assert!(checked.as_ref().is_err_and(is_given_up), "{checked:?}");
    place.fast(&["journal"]);
    place.nap_after(&["INSERT ON journal"]);
    let committed = wait(loading.commit(one(4)));
    assert!(matches!(&committed, Err(CommitError::Store(error)) if is_given_up(error)), "{committed:?}");
}

#[test]
fn tables_that_take_long_to_move_forward_do_so_and_who_starts_meanwhile_waits() {
    let place = Schema::new("steps");
    let (_, oldest) = released("postgres").swap_remove(0);
    place.sql(&oldest);
    CLUSTER
        .psql(&in_time(&format!(
            "CREATE FUNCTION nap() RETURNS event_trigger LANGUAGE plpgsql AS
                'BEGIN IF current_schema() = ''steps'' THEN PERFORM {NAP}; END IF; END';
            CREATE EVENT TRIGGER nap ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION nap()"
        )))
        .unwrap();
    let address = place.address();
    let (one, two) = wait(async { tokio::join!(store::open(&address), store::open(&address)) });
    CLUSTER.psql(&in_time("DROP EVENT TRIGGER nap")).unwrap();
    for database in [one.unwrap(), two.unwrap()] {
        assert_eq!(wait(database.inventory_since(0)).unwrap().0, 1);
    }
}

fn backup(folder: &Path) -> std::path::PathBuf {
    let to = folder.join("backup");
    let database = wait(store::open(&Address::file(&folder.join("netloom.db")))).unwrap();
    wait(database.commit(plain(3))).unwrap();
    wait(database.backup(&to)).unwrap();
    to
}

#[test]
fn a_restore_takes_the_time_it_needs_to_empty_and_to_fill() {
    let (place, folder) = (Schema::new("restored"), tempfile::tempdir().unwrap());
    let from = backup(folder.path());
    drop(place.open());
    place.nap_after(&["DELETE ON records", "INSERT ON journal"]);
    wait(store::restore(&from, &place.address(), Existing::Replace)).unwrap();
    let loaded = wait(place.open().load()).unwrap();
    assert_eq!((loaded.seq, records_of(loaded)), (3, expected(3)));
}
