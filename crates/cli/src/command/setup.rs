//! `netloom setup`: from a fresh server to a logged-in administrator.

use api::{Password, Secret, SetupState, path};
use clap::Args;
use model::UserName;

use crate::command::session;
use crate::console::Console;
use crate::failure::Failure;
use crate::trust::Acceptance;

/// Make the first administrator of a new server, and log in.
#[derive(Debug, Args)]
pub struct Setup {
    /// The set-up code, as the server keeps it in its file `setup-code`
    #[arg(long, conflicts_with = "code_file")]
    code: Option<String>,
    /// The file with the set-up code: `setup-code` in the data folder of the server
    #[arg(long, value_name = "FILE")]
    code_file: Option<String>,
    /// The administrator's log-in name
    #[arg(long)]
    name: Option<UserName>,
    /// A file with the administrator's password; - for standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<String>,
    /// Trust the certificate that the server shows, without asking
    #[arg(long)]
    accept_pin: bool,
}

impl Setup {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let met = console.meet(acceptance(self.accept_pin)).await?;
        let state = met.client.get(path::SETUP, &[]).await?;
        let state: SetupState = serde_json::from_value(state).map_err(|e| Failure::Answer(e.to_string()))?;
        if state.done {
            let server = met.client.server();
            return Err(Failure::Local(anyhow::anyhow!(
                "{server} has an administrator already; log in with `netloom login --server {server}`"
            )));
        }
        let code = self.code(console)?;
        let name = match self.name {
            Some(name) => name,
            None => ask_name(console, "Name of the administrator: ")?,
        };
        let question = format!("Password for {name} ({} characters or more)", Password::LEAST);
        let password = console.new_password(self.password_file.as_deref(), &question)?;
        let answer = met.client.post(path::SETUP, &api::Setup { code, name, password }).await?;
        session::keep(console, met, answer).await
    }

    fn code(&self, console: &mut Console) -> Result<Secret, Failure> {
        if let Some(code) = &self.code {
            return Ok(code.trim().to_owned().into());
        }
        if let Some(file) = &self.code_file {
            return console.secret_file(file);
        }
        if !console.terminal.interactive() {
            return Err(Failure::Usage("give the set-up code with --code or --code-file".to_owned()));
        }
        let code = console
            .terminal
            .question("Set-up code (in the file `setup-code` of the server's data folder): ")?;
        Ok(code.trim().to_owned().into())
    }
}

/// How a new certificate is accepted.
pub(crate) fn acceptance(accept_pin: bool) -> Acceptance {
    if accept_pin { Acceptance::Given } else { Acceptance::Ask }
}

/// Asks for a log-in name.
pub(crate) fn ask_name(console: &mut Console, question: &str) -> Result<UserName, Failure> {
    if !console.terminal.interactive() {
        return Err(Failure::Usage("give the log-in name: nobody can be asked for it".to_owned()));
    }
    let name = console.terminal.question(question)?;
    name.trim().parse().map_err(|error: model::NameError| Failure::Usage(error.to_string()))
}
