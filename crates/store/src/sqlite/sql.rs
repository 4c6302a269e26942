//! Statements that SQLite and rqlite, which is SQLite on several machines, have in common.
//!
//! Not for what each says in its own way: in rqlite a statement that writes holds no clock and answers no rows. It keeps true
//! that both mean the same by the same tables.

/// The last commit's number.
pub(crate) const LAST_SEQ: &str = "SELECT coalesce(max(seq), 0) FROM journal";
/// `?1` before this number, `?2` so many.
pub(crate) const JOURNAL: &str = "
    SELECT seq, time, actor, command, records FROM journal WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2";
/// `?1` older than this, `?2` at most so many; the newest entry stays.
pub(crate) const PRUNE: &str = "
    DELETE FROM journal WHERE seq < min(
        coalesce((SELECT min(seq) FROM journal WHERE time >= ?1), (SELECT max(seq) FROM journal)),
        (SELECT min(seq) FROM journal) + ?2
    )";
/// Counts up the version under which inventory is written, if `?1` is the epoch that was taken last, or null.
pub(crate) const NEXT_INVENTORY: &str = "
    UPDATE meta SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) WHERE key = 'inventory'
        AND (?1 IS NULL OR EXISTS (SELECT 1 FROM meta WHERE key = 'epoch' AND value = ?1))";
/// `?1` after this version. One statement, so that rows and version are of one instant. One row has no host: the newest
/// version.
pub(crate) const INVENTORY: &str = "
    SELECT '', value FROM meta WHERE key = 'inventory'
    UNION ALL SELECT host, json FROM inventory WHERE version > ?1";
/// `?1` how the names begin, `?2` how long such leases last, in milliseconds. By the clock of whoever answers, as when leases
/// are taken.
pub(crate) const HELD: &str = "
    SELECT name, holder
    FROM leases, (SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) AS now) AS clock
    WHERE until > now AND until <= now + 2 * ?2 AND substr(name, 1, length(?1)) = ?1";
/// Who the servers are.
pub(crate) const IDENTITY: &str = "SELECT value FROM meta WHERE key = 'identity'";
/// Nothing happens where somebody was faster.
pub(crate) const KEEP_IDENTITY: &str =
    "INSERT INTO meta (key, value) VALUES ('identity', ?1) ON CONFLICT (key) DO NOTHING";
/// `?1` from now on.
pub(crate) const REPLACE_IDENTITY: &str = "
    INSERT INTO meta (key, value) VALUES ('identity', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
/// `?1` this name, `?2` this holder's.
pub(crate) const RELEASE: &str = "DELETE FROM leases WHERE name = ?1 AND holder = ?2";
