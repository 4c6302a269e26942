//! `netloom login`, `logout`, `whoami`.

use api::{Me, Secret, Session, path};
use clap::Args;
use model::UserName;
use serde_json::Value;
use tls::Trust;

use crate::client::Client;
use crate::command::setup::{acceptance, ask_name};
use crate::connection::{Connection, TokenSource, server_address};
use crate::console::{Console, Met};
use crate::contexts::Context;
use crate::failure::Failure;
use crate::render::details;

/// Servers of one database that are kept beside the one that was named.
const MOST_OTHERS: usize = 8;

/// Log in.
#[derive(Debug, Args)]
pub struct Login {
    /// The log-in name
    name: Option<UserName>,
    /// A file with the password; - for standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<String>,
    /// Trust the certificate that a new server shows, without asking
    #[arg(long)]
    accept_pin: bool,
}

impl Login {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let met = console.meet(acceptance(self.accept_pin)).await?;
        let name = match self.name {
            Some(name) => name,
            None => ask_name(console, "Name: ")?,
        };
        let password = console.password(self.password_file.as_deref(), &format!("Password for {name}"))?;
        let answer = met.client.post(path::LOGIN, &api::Login { name, password }).await?;
        keep(console, met, answer).await
    }
}

/// Keeps a log-in in the contexts file. The token itself is not shown.
pub(crate) async fn keep(console: &mut Console, met: Met, answer: Value) -> Result<(), Failure> {
    let session: Session =
        serde_json::from_value(answer).map_err(|error| Failure::Answer(error.to_string()))?;
    let Met { mut connection, trust, client: _ } = met;
    let token: Secret = session.token.into();
    connection.token = Some((token.clone(), TokenSource::Context));
    let others = others(&connection, &trust).await;
    let named = connection.context.or_else(|| console.global.context.clone());
    let name = named.unwrap_or_else(|| host_of(&connection.server));
    let mut contexts = console.contexts()?;
    let mut context = Context::new(connection.server.clone(), &trust);
    context.user = Some(session.user.name.to_string());
    context.others = others.unwrap_or(connection.others);
    context.token = Some(token);
    context.expires = Some(session.expires);
    contexts.put(&name, context);
    contexts.save()?;
    let view = console.view();
    let until = view.moment(session.expires);
    let words = format!(
        "{} is logged in to {} (context `{name}`); the log-in ends {until}.",
        session.user.name, connection.server
    );
    let user = serde_json::to_value(&session.user).map_err(|error| Failure::Answer(error.to_string()))?;
    let shown = serde_json::json!({
        "context": name, "server": connection.server, "user": user, "expires": session.expires,
    });
    console.done(&shown, &words)
}

/// Where the other servers of the database are, as the server says; none where it does not.
async fn others(connection: &Connection, trust: &Trust) -> Option<Vec<String>> {
    let answer = Client::new(connection, trust).ok()?.get(path::SERVERS, &[]).await.ok()?;
    let servers: Vec<api::Server> = serde_json::from_value(answer).ok()?;
    let others = servers.iter().filter_map(|server| server_address(&server.address).ok());
    Some(others.filter(|other| *other != connection.server).take(MOST_OTHERS).collect())
}

fn host_of(server: &str) -> String {
    let host = server.split("://").nth(1).unwrap_or(server);
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next(),
        None => host.split(':').next(),
    };
    host.unwrap_or(server).to_owned()
}

/// Log out: the token ends on the server, and is forgotten here in any case.
pub(crate) async fn logout(console: &mut Console) -> Result<(), Failure> {
    let connection = console.connection()?;
    let Some((_, source)) = &connection.token else {
        let (server, context) = (connection.server, connection.context);
        return Err(Failure::NotLoggedIn { server, context });
    };
    if *source == TokenSource::Environment {
        return Err(Failure::Usage(
            "the token in NETLOOM_TOKEN is not a log-in; end it with `netloom token delete`".to_owned(),
        ));
    }
    let trust = connection.trust.clone().unwrap_or(tls::Trust::System);
    let ended = match Client::new(&connection, &trust)?.post(path::LOGOUT, &serde_json::json!({})).await {
        Ok(_) | Err(Failure::LoggedOut { .. }) => Ok(()),
        Err(failure) => Err(failure),
    };
    let mut contexts = console.contexts()?;
    if let Some(context) = connection.context.as_ref().and_then(|name| contexts.get_mut(name)) {
        context.forget();
        contexts.save()?;
    }
    ended?;
    console.done(&serde_json::json!({}), &format!("Logged out of {}.", connection.server))
}

/// Who is logged in, and where.
pub(crate) async fn whoami(console: &mut Console) -> Result<(), Failure> {
    let connection = console.connection()?;
    let answer = console.client()?.get(path::ME, &[]).await?;
    console.show(&answer, |me: &Me, view| {
        details(
            view,
            &[
                ("User", me.user.name.to_string()),
                ("Role", super::user::role(me.user.role).to_owned()),
                ("Server", connection.server),
                ("Context", connection.context.unwrap_or_default()),
                ("Token", me.token.title.to_string()),
                ("Ends", view.moment_or(me.token.expires, "never")),
            ],
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_called_like_its_server_where_nothing_is_said() {
        assert_eq!(host_of("https://vpn.example.org:8443"), "vpn.example.org");
        assert_eq!(host_of("http://[::1]:8080"), "::1");
    }
}
