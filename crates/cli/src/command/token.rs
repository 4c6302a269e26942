//! `netloom token`: API tokens of the own account, for programs.

use api::{ApiToken, CreateToken, CreatedToken, Purpose, path};
use clap::{ArgGroup, Subcommand};
use model::{ApiTokenId, Timestamp, Title};

use crate::arguments::AtMost;
use crate::console::Console;
use crate::failure::Failure;
use crate::render::{View, details, printable, table};
use crate::span::Span;

/// API tokens.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// List them
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        most: AtMost,
    },
    /// Make one, and print its secret (shown this once)
    #[command(group = ArgGroup::new("end"))]
    Create {
        /// Its title
        title: Title,
        /// After what time it is refused, such as 90d
        #[arg(long, value_name = "SPAN", group = "end")]
        expires_in: Option<Span>,
        /// From when on it is refused, such as 2026-12-31T00:00:00Z
        #[arg(long, value_name = "TIME", group = "end")]
        expires: Option<Timestamp>,
    },
    /// Delete one
    #[command(visible_alias = "rm")]
    Delete {
        /// Its id
        token: ApiTokenId,
    },
}

impl Token {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let client = console.client()?;
        match self {
            Self::List { most } => {
                let answer = client.list(path::TOKENS, &[], most.limit).await?;
                console.show(&answer, |tokens: &Vec<ApiToken>, view| all(tokens, view))
            }
            Self::Create { title, expires_in, expires } => {
                let body = CreateToken { title, expires, expires_in: expires_in.map(Span::seconds) };
                let answer = client.post(path::TOKENS, &body).await?;
                console.show(&answer, created)
            }
            Self::Delete { token } => {
                console.confirm(&format!("delete token {token}"))?;
                let answer = client.delete(&path::fill(path::TOKEN, &[&token.to_string()]), &[]).await?;
                console.done(&answer, &format!("Token {token} is deleted."))
            }
        }
    }
}

fn purpose(token: &ApiToken) -> String {
    match token.purpose {
        Purpose::Login => "log-in",
        Purpose::Program => "program",
    }
    .to_owned()
}

fn all(tokens: &[ApiToken], view: &View) -> String {
    table(
        view,
        ["id", "title", "for", "expires", "created"],
        tokens,
        |token| {
            let (expires, created) = (view.moment_or(token.expires, "never"), view.moment(token.created));
            [token.id.to_string(), token.title.to_string(), purpose(token), expires, created]
        },
        "No tokens.",
    )
}

fn created(created: &CreatedToken, view: &View) -> String {
    let token = &created.token;
    let about = details(
        view,
        &[
            ("Title", token.title.to_string()),
            ("Id", token.id.to_string()),
            ("Expires", view.moment_or(token.expires, "never")),
        ],
    );
    format!(
        "{about}\n\nThe secret, shown this once; give it to a program as NETLOOM_TOKEN:\n\n{}\n",
        printable(&created.secret)
    )
}
