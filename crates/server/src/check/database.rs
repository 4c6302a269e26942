//! The database: whether it answers, fits, and is this server's.

use super::Finding;
use crate::identity::Identity;
use crate::rekey::Next;
use crate::settings::Settings;

pub(super) async fn check(settings: &Settings) -> Vec<Finding> {
    let inspected = match store::inspect(&settings.database).await {
        Ok(inspected) => inspected,
        Err(error) => return vec![Finding::wrong("database", error.to_string())],
    };
    let Some(found) = inspected else {
        return vec![Finding::good(
            "database",
            "it answers and is empty; the first start makes what is needed",
        )];
    };
    let store::Inspected { schema, known, seq, identity, read_only } = found;
    let mut findings = Vec::new();
    let words = format!("it answers; {seq} changes, schema {schema} of {known}");
    findings.push(match schema < known {
        true => Finding::doubtful(
            "database",
            format!("{words}: the next start brings it to {known}; make a backup first"),
        ),
        false => Finding::good("database", words),
    });
    if read_only {
        let detail = "it takes no writes: it is a standby, read-only, or this user may not write there";
        findings.push(Finding::wrong("database", detail));
    }
    findings.extend(identity.and_then(|theirs| keys(settings, &theirs)));
    findings
}

/// Whether it is the database of servers with our keys.
fn keys(settings: &Settings, theirs: &str) -> Option<Finding> {
    let ours = Identity::load(&settings.data).ok()?.sealing.public().to_string();
    if theirs == ours {
        return None;
    }
    // What is wrong with them is told where keys are looked at.
    let next = Next::load(&settings.data).ok().flatten().map(|next| next.sealing.public().to_string());
    let detail = match next.is_some_and(|next| next == theirs) {
        true => "a change to the next keys was not finished here; say `netloom-server rekey finish`",
        false => {
            "the database belongs to servers with other keys; copy the folder `keys` of one of them here, or name another database"
        }
    };
    Some(Finding::wrong("keys", detail))
}
