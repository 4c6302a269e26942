//! Why a command did not do what it was asked, each as a sentence that says what to do.

use api::Problem;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Used wrongly.
    #[error("{0}")]
    Usage(String),
    /// The server said no.
    #[error("{}", refusal(.0))]
    Refused(Box<Problem>),
    /// No log-in is known for the server.
    #[error("not logged in to {server}; run `netloom login{}`", in_context(.context))]
    NotLoggedIn {
        /// The server.
        server: String,
        /// The context.
        context: Option<String>,
    },
    /// The log-in that is known has ended.
    #[error("the log-in to {server} has ended ({detail}); run `netloom login{}`", in_context(.context))]
    LoggedOut {
        /// The server.
        server: String,
        /// The context.
        context: Option<String>,
        /// What the server says.
        detail: String,
    },
    /// `NETLOOM_TOKEN` is not taken.
    #[error(
        "{server} does not take the token in NETLOOM_TOKEN ({detail}); make a new one with `netloom token create`"
    )]
    TokenRefused {
        /// The server.
        server: String,
        /// What the server says.
        detail: String,
    },
    /// No server is known.
    #[error(
        "no server is chosen; add one with `netloom context add NAME --server https://HOST:PORT`, or set up a new one \
         with `netloom setup --server https://HOST:PORT`"
    )]
    NoContext,
    /// The named context does not exist.
    #[error("there is no context `{name}`; {}", those(.known))]
    UnknownContext {
        /// What was named.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Nothing answers.
    #[error(
        "{server} cannot be reached: {reason}; check the address, and that the server runs and is not behind a firewall"
    )]
    Unreachable {
        /// The server.
        server: String,
        /// Why.
        reason: String,
    },
    /// Its certificate is not the pinned one.
    #[error(
        "{server}: {failure}. If the certificate was replaced on purpose, compare the shown pin with the one that the \
         server logs when it starts, and run `netloom context add NAME --server {server} --pin {}`", shown(.failure)
    )]
    WrongPin {
        /// The server.
        server: String,
        /// What was wrong.
        failure: tls::Failure,
    },
    /// Its certificate is not believed.
    #[error(
        "{server}: {failure}. If it is your own server, pin its certificate: \
         `netloom context add NAME --server {server} --accept-pin`, or give the authority's file with --ca"
    )]
    NotTrusted {
        /// The server.
        server: String,
        /// What was wrong.
        failure: tls::Failure,
    },
    /// Something else answers there.
    #[error("what answers at {server} is not a Netloom server ({found}); check the address and the port")]
    NotNetloom {
        /// The server.
        server: String,
        /// What came.
        found: String,
    },
    /// The answer is newer or older than this program.
    #[error(
        "the server's answer is not what this program expects ({0}); use the `netloom` of the server's version"
    )]
    Answer(String),
    /// Nothing went wrong: what was asked was answered with no, which is told already.
    #[error("the answer is no")]
    No,
    /// Standard output or a file.
    #[error("{0:#}")]
    Local(#[from] anyhow::Error),
}

fn refusal(problem: &Problem) -> String {
    let mut text = problem.detail.clone();
    for error in problem.errors.iter().filter(|error| !problem.detail.contains(&error.message)) {
        text.push_str(&format!("\n  {}: {}", error.field, error.message));
    }
    if text.is_empty() {
        text = format!("{} ({})", problem.title, problem.status);
    }
    text
}

fn in_context(context: &Option<String>) -> String {
    context.as_ref().map(|name| format!(" --context {name}")).unwrap_or_default()
}

fn those(known: &[String]) -> String {
    if known.is_empty() {
        return "there are none yet; add one with `netloom context add NAME --server URL`".to_owned();
    }
    format!("there are: {}", known.join(", "))
}

fn shown(failure: &tls::Failure) -> String {
    match failure {
        tls::Failure::WrongPin { found, .. } => found.to_string(),
        tls::Failure::UnknownAuthority
        | tls::Failure::WrongName
        | tls::Failure::WrongTime
        | tls::Failure::Other(_) => "PIN".to_owned(),
    }
}

impl Failure {
    /// 2 for wrong use, 3 for an answer that is no, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::No => 3,
            Self::Refused(_)
            | Self::NotLoggedIn { .. }
            | Self::LoggedOut { .. }
            | Self::TokenRefused { .. }
            | Self::NoContext
            | Self::UnknownContext { .. }
            | Self::Unreachable { .. }
            | Self::WrongPin { .. }
            | Self::NotTrusted { .. }
            | Self::NotNetloom { .. }
            | Self::Answer(_)
            | Self::Local(_) => 1,
        }
    }

    /// Whether there is nothing left to tell.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self, Self::No)
    }

    /// What is told: one sentence, and a line for each field that is wrong.
    pub(crate) fn text(&self) -> String {
        let text = self.to_string();
        let lines: Vec<String> = text.lines().map(crate::render::printable).collect();
        format!("netloom: {}", lines.join("\n"))
    }

    /// Whether the reader of our output went away, which is not worth a word.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        let Self::Local(error) = self else {
            return false;
        };
        let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
        io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// What a transport's error means.
    pub(crate) fn of_transport(server: &str, error: &reqwest::Error) -> Self {
        let server = server.to_owned();
        match tls::Failure::find(error) {
            Some(failure @ tls::Failure::WrongPin { .. }) => Self::WrongPin { server, failure },
            Some(
                failure
                @ (tls::Failure::UnknownAuthority | tls::Failure::WrongName | tls::Failure::WrongTime),
            ) => Self::NotTrusted { server, failure },
            Some(failure @ tls::Failure::Other(_)) => {
                Self::Unreachable { server, reason: failure.to_string() }
            }
            None => Self::Unreachable { server, reason: reason(error) },
        }
    }
}

fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use api::{FieldError, ProblemKind};

    use super::*;

    #[test]
    fn a_refusal_is_its_sentence_and_its_fields() {
        let problem = Problem::of_field("v4", "10.0.0.5/24 is an address");
        assert_eq!(Failure::Refused(problem.into()).text(), "netloom: `v4`: 10.0.0.5/24 is an address");
        let mut problem = Problem::new(ProblemKind::Invalid, "two things are wrong");
        let field = |field: &str| FieldError { field: field.to_owned(), message: "is wrong".to_owned() };
        problem.errors = vec![field("a"), field("b")];
        let text = Failure::Refused(problem.into()).text();
        assert_eq!(text, "netloom: two things are wrong\n  a: is wrong\n  b: is wrong");
    }

    #[test]
    fn what_a_server_says_cannot_steer_the_terminal() {
        let problem = Problem::new(ProblemKind::Conflict, "taken\u{1b}[2J by \u{7}x");
        assert_eq!(Failure::Refused(problem.into()).text(), "netloom: taken\u{fffd}[2J by \u{fffd}x");
    }

    #[test]
    fn each_failure_says_what_to_do() {
        let server = "https://a.example".to_owned();
        let context = Some("home".to_owned());
        for (failure, expected) in [
            (Failure::NoContext, "netloom context add NAME"),
            (Failure::NotLoggedIn { server: server.clone(), context }, "run `netloom login --context home`"),
            (
                Failure::UnknownContext { name: "x".to_owned(), known: vec!["home".to_owned()] },
                "there are: home",
            ),
            (Failure::NotTrusted { server, failure: tls::Failure::UnknownAuthority }, "--accept-pin"),
        ] {
            assert!(failure.text().contains(expected), "{}", failure.text());
        }
    }
}
