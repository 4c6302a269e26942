//! `netloom policy test`: sentences about policies that must stay true.

use api::{CreatePolicyTest, PolicyTest, PolicyTestResult, PolicyTestRun, Subject, path};
use clap::Subcommand;
use model::{PolicyTestId, Service};
use serde_json::json;

use crate::arguments::AtMost;
use crate::client::Client;
use crate::console::{Console, meaning};
use crate::failure::Failure;
use crate::render::{View, counted, details, table};
use crate::value::Access;

/// What is said of a test that holds because there is nobody for whom it could be otherwise.
const NOBODY: &str = "speaks of nobody now";

/// Sentences about policies that must stay true: a change that makes one wrong is refused.
#[derive(Debug, Subcommand)]
pub enum Test {
    /// List a network's
    #[command(visible_alias = "ls")]
    List {
        /// The network's name or id
        network: String,
        #[command(flatten)]
        most: AtMost,
    },
    /// Add one: everybody in FROM is allowed, or denied, to open connections to everybody in TO
    Add {
        /// The network's name or id
        network: String,
        /// Who opens connections
        from: Subject,
        /// To whom
        to: Subject,
        /// By what: a protocol and, for tcp and udp, one port, such as tcp/443
        service: Service,
        /// What must be so
        #[arg(value_enum)]
        expect: Access,
    },
    /// Delete one
    #[command(visible_alias = "rm")]
    Delete {
        /// The network's name or id
        network: String,
        /// Its id
        test: PolicyTestId,
    },
    /// Run all against the policies as they are; the exit code is 0 when all are true and 3 when one is not
    Run {
        /// The network's name or id
        network: String,
    },
}

impl Test {
    pub(super) async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        match self {
            Self::List { network, most } => {
                let path = path::fill(path::POLICY_TESTS, &[&network]);
                let answer = client.list(&path, &[], most.limit).await?;
                console.show(&answer, |tests: &Vec<PolicyTest>, view| all(tests, view))
            }
            Self::Add { network, from, to, service, expect } => {
                let body = CreatePolicyTest { from, to, service, expect: expect.into() };
                let answer = client.post(&path::fill(path::POLICY_TESTS, &[&network]), &body).await?;
                console.show(&answer, one)
            }
            Self::Delete { network, test } => {
                console.confirm(&format!("delete policy test {test}"))?;
                let path = path::fill(path::POLICY_TEST, &[&network, &test.to_string()]);
                let answer = client.delete(&path, &[]).await?;
                console.done(&answer, &format!("Policy test {test} is deleted."))
            }
            Self::Run { network } => {
                let answer =
                    client.post(&path::fill(path::POLICY_TESTS_RUN, &[&network]), &json!({})).await?;
                let went: PolicyTestRun = meaning(&answer)?;
                console.show(&answer, results)?;
                if went.passed { Ok(()) } else { Err(Failure::No) }
            }
        }
    }
}

const fn expected(test: &PolicyTest) -> &'static str {
    match test.expect {
        api::Access::Allow => "allow",
        api::Access::Deny => "deny",
    }
}

fn cells(test: &PolicyTest) -> [String; 4] {
    [test.from.to_string(), test.to.to_string(), test.service.to_string(), expected(test).to_owned()]
}

/// Of how many pairs it speaks.
fn pairs(test: &PolicyTest) -> String {
    if test.pairs == 0 { NOBODY.to_owned() } else { test.pairs.to_string() }
}

fn all(tests: &[PolicyTest], view: &View) -> String {
    table(
        view,
        ["id", "from", "to", "service", "expect", "pairs"],
        tests,
        |test| {
            let [from, to, service, expect] = cells(test);
            [test.id.to_string(), from, to, service, expect, pairs(test)]
        },
        "No tests yet. Add one: `netloom policy test add NETWORK FROM TO SERVICE allow`.",
    )
}

fn one(test: &PolicyTest, view: &View) -> String {
    let [from, to, service, expect] = cells(test);
    let (id, pairs) = (test.id.to_string(), pairs(test));
    let lines =
        [("Id", id), ("From", from), ("To", to), ("Service", service), ("Expect", expect), ("Pairs", pairs)];
    let text = details(view, &lines);
    match test.pairs {
        0 => format!(
            "{text}\n\nIt {NOBODY}, so it says nothing yet: look whether its tags and groups are spelt right."
        ),
        _ => text,
    }
}

fn results(went: &PolicyTestRun, view: &View) -> String {
    let row = |result: &PolicyTestResult| {
        let [from, to, service, expect] = cells(&result.test);
        let how = match (result.passed, result.test.pairs) {
            (true, 0) => format!("true, but {NOBODY}"),
            (true, _) => "true".to_owned(),
            (false, _) => result.detail.clone().unwrap_or_default(),
        };
        [from, to, service, expect, result.test.pairs.to_string(), how]
    };
    let titles = ["from", "to", "service", "expect", "pairs", "result"];
    let rows = table(view, titles, &went.results, row, "No tests yet.");
    if went.results.is_empty() {
        return rows;
    }
    let wrong = went.results.iter().filter(|result| !result.passed).count() as u64;
    let right = went.results.len() as u64 - wrong;
    format!("{rows}\n\n{} right, {wrong} wrong.", counted(right, "test"))
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;

    #[test]
    fn a_run_tells_what_is_otherwise() {
        let result = |expect, pairs, detail: Option<&str>| PolicyTestResult {
            test: PolicyTest {
                id: PolicyTestId::from_bytes([1; 16]),
                network: model::NetworkId::from_bytes([2; 16]),
                from: "tag:web".parse().unwrap(),
                to: "node:db".parse().unwrap(),
                service: "tcp/5432".parse().unwrap(),
                expect,
                pairs,
                created: Timestamp::from_millis(0),
            },
            passed: detail.is_none(),
            detail: detail.map(str::to_owned),
        };
        let wrong = result(api::Access::Deny, 2, Some("node:web may reach node:db by tcp/5432"));
        let (right, idle) = (result(api::Access::Allow, 1, None), result(api::Access::Allow, 0, None));
        let view = View { now: Timestamp::from_millis(0), width: None };
        assert!(one(&idle.test, &view).contains("It speaks of nobody now"), "{}", one(&idle.test, &view));
        assert!(!one(&right.test, &view).contains("nobody"));
        let went = PolicyTestRun { passed: false, results: vec![right, idle, wrong] };
        let expected = "\
FROM     TO       SERVICE   EXPECT  PAIRS  RESULT
tag:web  node:db  tcp/5432  allow   1      true
tag:web  node:db  tcp/5432  allow   0      true, but speaks of nobody now
tag:web  node:db  tcp/5432  deny    2      node:web may reach node:db by tcp/5432

2 tests right, 1 wrong.";
        assert_eq!(results(&went, &view), expected);
    }
}
