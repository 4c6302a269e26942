//! Laws about tables that other versions made: older ones move forward and lose nothing, newer ones are used only where they
//! say that they may be.

use std::path::Path;
use std::sync::Arc;

use store::{Database, Held, StoreError};
use tokio::task::JoinSet;

use super::history::one;
use super::leading::host;
use super::{Place, wait};

/// Every released version of this engine's tables, with a little in them, and its name.
pub fn released(engine: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(engine);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> =
        files.map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap())).collect();
    all.sort();
    assert!(!all.is_empty());
    all
}

fn refusal<P: Place>(place: &P) -> StoreError {
    wait(store::open(&place.address())).err().unwrap()
}

pub fn every_released_version_opens_and_moves_forward<P: Place>() {
    for (name, sql) in released(P::engine()) {
        let place = P::made_by(&sql);
        let database = place.open();
        let loaded = wait(database.load()).unwrap();
        assert_eq!((loaded.seq, loaded.records.len()), (1, 1), "{name}");
        assert_eq!(wait(database.next_epoch()).unwrap().number(), 8, "{name}");
        let (version, hosts) = wait(database.inventory_since(0)).unwrap();
        assert_eq!((hosts.len(), hosts[0].json.as_deref()), (1, Some("{}")), "{name}");
        wait(database.put_inventory(vec![host(5, "[]")])).unwrap();
        assert_eq!(wait(database.inventory_since(version)).unwrap().1, [host(5, "[]")], "{name}");
        assert_eq!(
            wait(database.held("", std::time::Duration::from_secs(60))),
            Ok(Vec::<Held>::new()),
            "{name}: what it holds has ended"
        );
        assert_eq!(wait(database.identity("ours")).as_deref(), Ok("ours"), "{name}");
        wait(database.commit(one(2))).unwrap();
        drop(database);
        assert_eq!(wait(place.open().load()).unwrap().server, loaded.server, "{name}");
    }
}

pub fn looking_at_a_database_changes_nothing<P: Place>() {
    let place = P::empty();
    let look = |place: &P| wait(store::inspect(&place.address())).unwrap();
    assert_eq!((look(&place), look(&place)), (None, None));
    let database = place.open();
    wait(database.commit(one(1))).unwrap();
    wait(database.identity("ours")).unwrap();
    let found = look(&place).unwrap();
    assert_eq!((found.schema, found.seq, found.read_only), (found.known, 1, false));
    assert_eq!(found.identity.as_deref(), Some("ours"));
    wait(database.commit(one(2))).unwrap();
    drop(database);
    drop(place);
    for (name, sql) in released(P::engine()) {
        let older = P::made_by(&sql);
        let found = look(&older).unwrap();
        assert_eq!(look(&older).as_ref(), Some(&found), "{name}");
        assert_eq!(wait(older.open().load()).unwrap().seq, found.seq, "{name}");
    }
}

pub fn many_servers_that_start_at_once_move_older_tables_forward_once<P: Place>() {
    if !P::is_for_several() {
        return;
    }
    for (name, sql) in released(P::engine()) {
        let place = P::made_by(&sql);
        let counts = wait(async {
            let mut tasks = JoinSet::new();
            for id in 0..6 {
                let address = place.address();
                tasks.spawn(async move {
                    let database: Arc<dyn Database> = store::open(&address).await.unwrap();
                    database.put_inventory(vec![host(10 + id, "[]")]).await.unwrap();
                    database.inventory_since(0).await.unwrap().0
                });
            }
            tasks.join_all().await
        });
        // Version 1 is what was there, and each of the six has counted up once.
        assert_eq!(counts.iter().max(), Some(&7), "{name}: {counts:?}");
        assert_eq!(wait(place.open().inventory()).unwrap().len(), 7, "{name}");
    }
}

pub fn newer_tables_are_used_only_where_they_say_so<P: Place>() {
    let (_, newest) = released(P::engine()).pop().unwrap();
    let told = |compatible: &str| {
        let sql = format!(
            "{newest}; UPDATE meta SET value = '999' WHERE key = 'schema';
            DELETE FROM meta WHERE key = 'compatible'; INSERT INTO meta (key, value) VALUES {compatible};"
        );
        P::made_by(&sql)
    };
    for refused in ["('compatible', '999')", "('nothing', 'said')"] {
        let error = refusal(&told(refused));
        assert!(matches!(error, StoreError::Newer { found: 999, .. }), "{error}");
        assert!(error.to_string().contains("install that version again"), "{error}");
    }
    let place = told("('compatible', '2')");
    let database = place.open();
    wait(database.commit(one(2))).unwrap();
    drop(database);
    // It was left as the newer server made it.
    assert_eq!(wait(place.open().check()), Ok(2));
}

pub fn tables_of_something_else_are_left_alone<P: Place>() {
    let place = P::made_by("CREATE TABLE songs (title TEXT);");
    assert!(matches!(refusal(&place), StoreError::Foreign(_)));
    assert!(matches!(refusal(&place), StoreError::Foreign(_)), "also the second time");
}
