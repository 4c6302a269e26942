//! `netloom key`: what lets machines join.

use api::{CreateKey, CreatedKey, KeyState, NetworkSelector, PatchKey, path};
use clap::{ArgGroup, Subcommand};
use model::{Tag, Timestamp, Title};

use crate::arguments::AtMost;
use crate::console::Console;
use crate::failure::Failure;
use crate::render::{View, details, joined, or_dash, printable, table};
use crate::span::Span;

/// Enrollment keys.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// List them
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        most: AtMost,
    },
    /// Make one, and print the token for `netclient join` (shown this once)
    #[command(group = ArgGroup::new("end"))]
    Create {
        /// Its title
        title: Title,
        /// A network that hosts are put into; may be given several times
        #[arg(long = "network", short, value_name = "NETWORK")]
        networks: Vec<NetworkSelector>,
        /// How often it may be used; without it: as often as one likes
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
        uses: Option<u32>,
        /// After what time it is refused, such as 12h or 7d
        #[arg(long, value_name = "SPAN", group = "end")]
        expires_in: Option<Span>,
        /// From when on it is refused, such as 2026-12-31T00:00:00Z
        #[arg(long, value_name = "TIME", group = "end")]
        expires: Option<Timestamp>,
        /// A tag that nodes get who join with it; may be given several times
        #[arg(long = "tag", value_name = "TAG", value_delimiter = ',')]
        tags: Vec<Tag>,
        /// Remove hosts who joined with it when they have been offline for a while
        #[arg(long)]
        ephemeral: bool,
    },
    /// Show one
    Show {
        /// Its title or id
        key: String,
    },
    /// Give one another title
    Rename {
        /// Its title or id
        key: String,
        /// The new title
        title: Title,
    },
    /// Delete one; hosts that used it stay
    #[command(visible_alias = "rm")]
    Delete {
        /// Its title or id
        key: String,
    },
}

impl Key {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let client = console.client()?;
        match self {
            Self::List { most } => {
                let answer = client.list(path::KEYS, &[], most.limit).await?;
                console.show(&answer, |keys: &Vec<api::Key>, view| all(keys, view))
            }
            Self::Create { title, networks, uses, expires_in, expires, tags, ephemeral } => {
                let (expires_in, tags) = (expires_in.map(Span::seconds), tags.into_iter().collect());
                let body = CreateKey { title, networks, uses, expires, expires_in, tags, ephemeral };
                let answer = client.post(path::KEYS, &body).await?;
                console.show(&answer, created)
            }
            Self::Show { key } => {
                let answer = client.get(&path::fill(path::KEY, &[&key]), &[]).await?;
                console.show(&answer, one)
            }
            Self::Rename { key, title } => {
                let answer = client.patch(&path::fill(path::KEY, &[&key]), &PatchKey { title }).await?;
                console.show(&answer, one)
            }
            Self::Delete { key } => {
                console.confirm(&format!("delete key `{key}`"))?;
                let answer = client.delete(&path::fill(path::KEY, &[&key]), &[]).await?;
                console.done(&answer, &format!("Key `{key}` is deleted. Hosts that joined with it stay."))
            }
        }
    }
}

fn state(key: &api::Key) -> &'static str {
    match key.state {
        KeyState::Usable => "usable",
        KeyState::Spent => "spent",
        KeyState::Expired => "expired",
    }
}

fn uses(key: &api::Key) -> String {
    key.uses.map_or_else(|| "unlimited".to_owned(), |left| format!("{left} left"))
}

fn networks(key: &api::Key) -> String {
    joined(key.networks.iter().map(|network| &network.name))
}

fn all(keys: &[api::Key], view: &View) -> String {
    table(
        view,
        ["title", "state", "networks", "tags", "uses", "expires"],
        keys,
        |key| {
            let (tags, expires) = (or_dash(joined(&key.tags)), view.moment_or(key.expires, "never"));
            [key.title.to_string(), state(key).to_owned(), or_dash(networks(key)), tags, uses(key), expires]
        },
        "No keys yet. Make one with `netloom key create TITLE --network NETWORK`.",
    )
}

fn one(key: &api::Key, view: &View) -> String {
    details(
        view,
        &[
            ("Title", key.title.to_string()),
            ("Id", key.id.to_string()),
            ("State", state(key).to_owned()),
            ("Networks", or_dash(networks(key))),
            ("Tags", joined(&key.tags)),
            (
                "Hosts",
                if key.ephemeral { "removed when they have been offline for a while" } else { "" }.to_owned(),
            ),
            ("Uses", uses(key)),
            ("Expires", view.moment_or(key.expires, "never")),
            ("Created", view.moment(key.created)),
        ],
    )
}

fn created(created: &CreatedKey, view: &View) -> String {
    let (key, token) = (one(&created.key, view), printable(&created.token));
    format!(
        "{key}\n\nThe token, shown this once:\n\n{token}\n\nLet a machine join with it:\n\n  netclient join -t {token}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_shown_with_the_line_to_type() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let key = api::Key {
            id: model::EnrollmentKeyId::from_bytes([1; 16]),
            title: "office machines".parse().unwrap(),
            networks: Vec::new(),
            uses: Some(1),
            expires: Some(Timestamp::from_millis(now.as_millis() + 7 * 86_400_000)),
            tags: Default::default(),
            ephemeral: false,
            state: KeyState::Usable,
            created: now,
        };
        let view = View { now, width: Some(80) };
        let text = created(&CreatedKey { key, token: "o2EBWCA".to_owned() }, &view);
        assert_eq!(
            text,
            "Title     office machines\n\
             Id        01010101-0101-0101-0101-010101010101\n\
             State     usable\n\
             Networks  -\n\
             Uses      1 left\n\
             Expires   in 7 days\n\
             Created   just now\n\n\
             The token, shown this once:\n\n\
             o2EBWCA\n\n\
             Let a machine join with it:\n\n  \
             netclient join -t o2EBWCA\n"
        );
    }
}
