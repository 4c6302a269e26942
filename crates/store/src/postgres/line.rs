//! The connection that commits, and the one statement that a commit is.
//!
//! Not for what to do when an answer is lost (`crate::commit`). It keeps true that the statement does all of a group or
//! nothing: its first part locks the fence and checks the number, and without it the other parts have nothing to do.

use std::sync::Arc;

use tokio::time::timeout;
use tokio_postgres::Statement;

use super::connect::{Patience, Session};
use super::failure::{Failure, failure, is_taken, no_answer};
use super::target::Target;
use crate::StoreError;
use crate::commit::{Attempt, Line, Seen};
use crate::rows::{JournalRow, Written, epoch_text, number};

/// `$1` fence, `$2` first number, `$3` and `$4` what goes, `$5` to `$7` what is put, `$8` to `$12` the journal, `$13` mark,
/// `$14` epoch. Commits queue up at the fence's row, and then the journal's key has the last word. Who says something in an
/// epoch holds its row: a later one is taken before, and nothing is done, or after all is done. Whoever listens is told in
/// the same transaction.
const COMMIT: &str = "
    WITH led AS MATERIALIZED (
        SELECT 1 FROM meta WHERE key = 'epoch' AND value = $14 FOR SHARE
    ), guard AS MATERIALIZED (
        SELECT 1 FROM meta
        WHERE key = 'fence' AND value = $1 AND (SELECT coalesce(max(seq), 0) FROM journal) + 1 = $2
            AND ($14::text IS NULL OR EXISTS (SELECT FROM led))
        FOR NO KEY UPDATE
    ), gone AS (
        DELETE FROM records USING unnest($3::text[], $4::text[]) AS old (kind, id)
        WHERE records.kind = old.kind AND records.id = old.id AND EXISTS (SELECT FROM guard)
    ), put AS (
        INSERT INTO records (kind, id, json)
        SELECT kind, id, json FROM unnest($5::text[], $6::text[], $7::text[]) AS new (kind, id, json)
        WHERE EXISTS (SELECT FROM guard)
        ON CONFLICT (kind, id) DO UPDATE SET json = excluded.json
    ), noted AS (
        INSERT INTO journal (seq, time, actor, command, records, mark)
        SELECT seq, time, actor, command, records, $13
        FROM unnest($8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::text[])
            AS new (seq, time, actor, command, records)
        WHERE EXISTS (SELECT FROM guard)
        RETURNING seq
    )
    SELECT count(*),
        CASE WHEN count(*) > 0 THEN pg_notify('netloom', current_schema() || ' ' || max(seq))::text END
    FROM noted";
const LOOK: &str = "
    SELECT (SELECT coalesce(max(seq), 0) FROM journal), (SELECT value FROM meta WHERE key = 'fence'),
        (SELECT mark FROM journal WHERE seq = $1), EXISTS (SELECT FROM journal WHERE seq = $1),
        (SELECT value::bigint FROM meta WHERE key = 'epoch')";
/// Only in place of the fence that we know: were this carried out late, it would change nothing.
const FENCE: &str = "UPDATE meta SET value = $1 WHERE key = 'fence' AND value = $2";

struct Open {
    session: Session,
    commit: Statement,
    fence: String,
}

/// The connection for commits; made when it is needed, and made anew when it was lost.
pub(super) struct CommitLine {
    target: Arc<Target>,
    open: Option<Open>,
}

/// The columns of a group's rows.
struct Columns<'a> {
    gone: [Vec<&'a str>; 2],
    put: [Vec<&'a str>; 3],
    numbers: [Vec<i64>; 2],
    texts: [Vec<&'a str>; 3],
}

impl<'a> Columns<'a> {
    fn of(group: &'a Written) -> Self {
        let mut columns = Self {
            gone: Default::default(),
            put: Default::default(),
            numbers: Default::default(),
            texts: Default::default(),
        };
        for row in &group.records {
            match &row.json {
                Some(json) => {
                    let values = [row.kind.as_str(), &row.id, json];
                    columns.put.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
                }
                None => {
                    let values = [row.kind.as_str(), &row.id];
                    columns.gone.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
                }
            }
        }
        for JournalRow { seq, time, actor, command, records } in &group.journal {
            columns.numbers.iter_mut().zip([*seq, *time]).for_each(|(column, value)| column.push(value));
            let values = [actor.as_str(), command, records];
            columns.texts.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
        }
        columns
    }
}

impl CommitLine {
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self { target, open: None }
    }

    async fn open(&mut self) -> Result<&mut Open, Failure> {
        if self.open.as_ref().is_none_or(|open| open.session.is_closed()) {
            self.open = None;
            let (target, session) = (&self.target, Session::connect(&self.target).await?);
            let prepared = timeout(Patience::Short.answer(), session.client.prepare(COMMIT)).await;
            let commit = prepared
                .map_err(|_| no_answer(&target.place))?
                .map_err(|error| failure(&target.place, &error))?;
            let (_, fence) = look(&session, target, 0).await?;
            self.open = Some(Open { session, commit, fence });
        }
        Ok(self.open.as_mut().expect("it was opened above"))
    }
}

async fn look(session: &Session, target: &Target, at: u64) -> Result<(Seen, String), Failure> {
    let rows = session.ask(target, LOOK, &[&number(at)], Patience::Short).await?;
    let damaged = |detail: &str| Failure {
        error: StoreError::Damaged { place: target.place.clone(), detail: detail.to_owned() },
        is_lost: false,
    };
    let row = rows.first().ok_or_else(|| damaged("it gives no row where there must be one"))?;
    let fence: Option<String> = row.get(1);
    let there: bool = row.get(3);
    // A commit without a mark is of an older version or from a backup, and in any case not ours.
    let mark = there.then(|| row.get::<_, Option<String>>(2).unwrap_or_default());
    let epoch = row.get::<_, Option<i64>>(4).and_then(|epoch| u32::try_from(epoch).ok());
    let epoch = epoch.ok_or_else(|| damaged("its epoch is missing"))?;
    let seen = Seen { last: row.get::<_, i64>(0).unsigned_abs(), mark, epoch };
    Ok((seen, fence.ok_or_else(|| damaged("its fence is missing"))?))
}

impl Line for CommitLine {
    async fn attempt(&mut self, group: &Written) -> Attempt {
        let place = self.target.place.clone();
        let open = match self.open().await {
            Ok(open) => open,
            Err(Failure { error, is_lost: true }) => return Attempt::Unsent(error),
            Err(Failure { error, is_lost: false }) => return Attempt::Failed(error),
        };
        let Columns { gone, put, numbers, texts } = Columns::of(group);
        let (first, epoch) = (number(group.first), epoch_text(group.epoch));
        let parameters: [super::connect::Parameter<'_>; 14] = [
            &open.fence,
            &first,
            &gone[0],
            &gone[1],
            &put[0],
            &put[1],
            &put[2],
            &numbers[0],
            &numbers[1],
            &texts[0],
            &texts[1],
            &texts[2],
            &group.mark,
            &epoch,
        ];
        let answer =
            timeout(Patience::Short.answer(), open.session.client.query_one(&open.commit, &parameters)).await;
        let failed = match answer {
            Ok(Ok(row)) if row.get::<_, i64>(0) > 0 => return Attempt::Done,
            Ok(Ok(_)) => return Attempt::Refused,
            Ok(Err(error)) if is_taken(&error) => return Attempt::Refused,
            Ok(Err(error)) => failure(&place, &error),
            Err(_) => no_answer(&place),
        };
        if failed.is_lost {
            self.open = None;
            return Attempt::Lost(failed.error);
        }
        Attempt::Failed(failed.error)
    }

    async fn look(&mut self, at: u64, new_fence: Option<&str>) -> Result<Seen, StoreError> {
        let target = Arc::clone(&self.target);
        let looked = async {
            let open = self.open().await?;
            if let Some(fence) = new_fence {
                // Waits for a commit that is still being carried out.
                open.session.change(&target, FENCE, &[&fence, &open.fence], Patience::Short).await?;
            }
            let (seen, fence) = look(&open.session, &target, at).await?;
            open.fence = fence;
            Ok(seen)
        };
        let looked: Result<Seen, Failure> = looked.await;
        looked.map_err(|failed| {
            if failed.is_lost {
                self.open = None;
            }
            failed.error
        })
    }
}
