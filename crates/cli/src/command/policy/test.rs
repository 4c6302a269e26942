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

fn all(tests: &[PolicyTest], view: &View) -> String {
    table(
        view,
        ["id", "from", "to", "service", "expect"],
        tests,
        |test| {
            let [from, to, service, expect] = cells(test);
            [test.id.to_string(), from, to, service, expect]
        },
        "No tests yet. Add one: `netloom policy test add NETWORK FROM TO SERVICE allow`.",
    )
}

fn one(test: &PolicyTest, view: &View) -> String {
    let [from, to, service, expect] = cells(test);
    let id = test.id.to_string();
    let lines = [("Id", id), ("From", from), ("To", to), ("Service", service), ("Expect", expect)];
    details(view, &lines)
}

fn results(went: &PolicyTestRun, view: &View) -> String {
    let row = |result: &PolicyTestResult| {
        let [from, to, service, expect] = cells(&result.test);
        let how = if result.passed { "true".to_owned() } else { result.detail.clone().unwrap_or_default() };
        [from, to, service, expect, how]
    };
    let rows =
        table(view, ["from", "to", "service", "expect", "result"], &went.results, row, "No tests yet.");
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
        let result = |expect, detail: Option<&str>| PolicyTestResult {
            test: PolicyTest {
                id: PolicyTestId::from_bytes([1; 16]),
                network: model::NetworkId::from_bytes([2; 16]),
                from: "tag:web".parse().unwrap(),
                to: "node:db".parse().unwrap(),
                service: "tcp/5432".parse().unwrap(),
                expect,
                created: Timestamp::from_millis(0),
            },
            passed: detail.is_none(),
            detail: detail.map(str::to_owned),
        };
        let wrong = result(api::Access::Deny, Some("node:web may reach node:db by tcp/5432"));
        let went = PolicyTestRun { passed: false, results: vec![result(api::Access::Allow, None), wrong] };
        let expected = "\
FROM     TO       SERVICE   EXPECT  RESULT
tag:web  node:db  tcp/5432  allow   true
tag:web  node:db  tcp/5432  deny    node:web may reach node:db by tcp/5432

1 test right, 1 wrong.";
        assert_eq!(results(&went, &View { now: Timestamp::from_millis(0), width: None }), expected);
    }
}
