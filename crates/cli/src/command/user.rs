//! `netloom user`: accounts.

use api::{ChangePassword, CreateUser, Password, PatchUser, Role, SetGroups, SetPassword, path};
use clap::{Subcommand, ValueEnum};
use model::{GroupName, UserName};

use crate::arguments::AtMost;
use crate::command::removal::remove;
use crate::console::Console;
use crate::failure::Failure;
use crate::render::{View, details, joined, or_dash, table};
use crate::value::Names;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// Everything
    Administrator,
    /// Look at everything, change only the own password and tokens
    Auditor,
}

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Administrator => Self::Administrator,
            RoleName::Auditor => Self::Auditor,
        }
    }
}

/// Accounts.
#[derive(Debug, Subcommand)]
pub enum User {
    /// List them
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        most: AtMost,
    },
    /// Make one
    Create {
        /// The log-in name
        name: UserName,
        /// What this person may do
        #[arg(long, value_enum, default_value = "administrator")]
        role: RoleName,
        /// A file with the password; - for standard input
        #[arg(long, value_name = "FILE")]
        password_file: Option<String>,
    },
    /// Show one
    Show {
        /// The name or id
        user: String,
    },
    /// Change what one may do
    Role {
        /// The name or id
        user: String,
        /// What this person may do from now on
        #[arg(value_enum)]
        role: RoleName,
    },
    /// Say which groups one is in; policies may speak of the clients of those in a group
    Groups {
        /// The name or id
        user: String,
        /// All groups, with commas between them, in place of those until now, or none
        groups: Names<GroupName>,
        /// Change nothing; say who would gain and who would lose access
        #[arg(long)]
        dry_run: bool,
    },
    /// Change the own password, or set somebody else's
    Password {
        /// Whose; without it the own one
        user: Option<String>,
        /// A file with the new password; - for standard input
        #[arg(long, value_name = "FILE")]
        password_file: Option<String>,
        /// A file with the own password until now; - for standard input
        #[arg(long, value_name = "FILE", conflicts_with = "user")]
        current_password_file: Option<String>,
    },
    /// Delete one, with its tokens
    #[command(visible_alias = "rm")]
    Delete {
        /// The name or id
        user: String,
    },
}

impl User {
    pub(crate) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let client = console.client()?;
        match self {
            Self::List { most } => {
                let answer = client.list(path::USERS, &[], most.limit).await?;
                console.show(&answer, |users: &Vec<api::User>, view| all(users, view))
            }
            Self::Create { name, role, password_file } => {
                let password = console.new_password(password_file.as_deref(), &question(name.as_str()))?;
                let body = CreateUser { name, role: role.into(), password };
                let answer = client.post(path::USERS, &body).await?;
                console.show(&answer, one)
            }
            Self::Show { user } => {
                let answer = client.get(&path::fill(path::USER, &[&user]), &[]).await?;
                console.show(&answer, one)
            }
            Self::Role { user, role } => {
                let body = PatchUser { role: role.into() };
                let answer = client.patch(&path::fill(path::USER, &[&user]), &body).await?;
                console.show(&answer, one)
            }
            Self::Groups { user, groups, dry_run } => {
                let body = SetGroups { groups: groups.set() };
                let path = path::fill(path::USER_GROUPS, &[&user]);
                let answer = client.put_or_try(&path, &body, dry_run).await?;
                console.show_written(&answer, dry_run, one)
            }
            Self::Password { user: Some(user), password_file, current_password_file: _ } => {
                let password = console.new_password(password_file.as_deref(), &question(&user))?;
                let answer =
                    client.put(&path::fill(path::USER_PASSWORD, &[&user]), &SetPassword { password }).await?;
                console.done(&answer, &format!("`{user}` has a new password and is logged out everywhere."))
            }
            Self::Password { user: None, password_file, current_password_file } => {
                let current = console.password(current_password_file.as_deref(), "Password until now")?;
                let new = console.new_password(password_file.as_deref(), "New password")?;
                let answer = client.put(path::MY_PASSWORD, &ChangePassword { current, new }).await?;
                console.done(&answer, "Your password is changed; your other log-ins have ended.")
            }
            Self::Delete { user } => {
                let (order, done) = (format!("delete user `{user}`"), format!("User `{user}` is deleted."));
                remove(&client, console, &path::fill(path::USER, &[&user]), &order, &done).await
            }
        }
    }
}

fn question(name: &str) -> String {
    format!("Password for {name} ({} characters or more)", Password::LEAST)
}

/// A role's name.
pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::Administrator => "administrator",
        Role::Auditor => "auditor",
    }
}

fn all(users: &[api::User], view: &View) -> String {
    let row = |user: &api::User| {
        let groups = or_dash(joined(&user.groups));
        [user.name.to_string(), role(user.role).to_owned(), groups, view.moment(user.created)]
    };
    table(view, ["name", "role", "groups", "created"], users, row, "No users.")
}

fn one(user: &api::User, view: &View) -> String {
    details(
        view,
        &[
            ("Name", user.name.to_string()),
            ("Id", user.id.to_string()),
            ("Role", role(user.role).to_owned()),
            ("Groups", joined(&user.groups)),
            ("Created", view.moment(user.created)),
        ],
    )
}
