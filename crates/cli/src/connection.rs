//! Which server a command talks to, how that server is recognised, and with which token.
//!
//! It keeps true that a token goes to no other server than the one it is of, and those that share its database.

use std::net::IpAddr;

use api::Secret;
use model::Digest;
use reqwest::Url;
use tls::Trust;

use crate::arguments::Global;
use crate::contexts::{Context, Contexts};
use crate::environment::Environment;
use crate::failure::Failure;

/// Where a token comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenSource {
    /// `NETLOOM_TOKEN`.
    Environment,
    /// The contexts file.
    Context,
}

/// What a command talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    /// The server's address, without a slash at its end.
    pub(crate) server: String,
    /// Other servers of the same database, asked when that one cannot be reached.
    pub(crate) others: Vec<String>,
    /// How it is recognised; none: nobody has said anything about this server yet.
    pub(crate) trust: Option<Trust>,
    /// The token, and where it is from.
    pub(crate) token: Option<(Secret, TokenSource)>,
    /// The context it is of.
    pub(crate) context: Option<String>,
}

impl Connection {
    /// What arguments, environment and contexts file say, in this order of weight.
    pub(crate) fn choose(
        global: &Global,
        environment: &Environment,
        contexts: &Contexts,
    ) -> Result<Self, Failure> {
        let named = global.context.as_deref().or(environment.context.as_deref());
        let name = named.or(contexts.current());
        let given =
            global.server.as_deref().or(environment.server.as_deref()).map(server_address).transpose()?;
        let context = match (name, &given) {
            // A new name together with an address is one that is about to be added.
            (Some(name), Some(_)) => contexts.get(name).ok().map(|context| (name, context)),
            (Some(name), None) => Some((name, contexts.get(name)?)),
            (None, _) => None,
        };
        let context =
            context.filter(|(_, context)| given.as_ref().is_none_or(|server| context.is_at(server)));
        let server =
            given.or_else(|| context.map(|(_, context)| context.server.clone())).ok_or(Failure::NoContext)?;
        let token = environment.token.clone().map(|token| (token, TokenSource::Environment));
        let kept =
            context.and_then(|(_, context)| context.token.clone()).map(|token| (token, TokenSource::Context));
        // How a server is recognised holds for everybody who logs in to it; a log-in is one person's.
        let same = || contexts.iter().map(|(_, context)| context).find(|context| context.is_at(&server));
        let trust = context.map(|(_, context)| context).or_else(same).map(Context::trust);
        let all =
            context.iter().flat_map(|(_, context)| std::iter::once(&context.server).chain(&context.others));
        Ok(Self {
            trust: environment_trust(environment)?.or(trust),
            others: all.filter(|other| **other != server).cloned().collect(),
            server,
            token: token.or(kept),
            context: context.map(|(name, _)| name.to_owned()),
        })
    }
}

fn environment_trust(environment: &Environment) -> Result<Option<Trust>, Failure> {
    let pin = environment.pin.as_deref().map(str::parse::<Digest>).transpose();
    let pin = pin.map_err(|error| Failure::Usage(format!("NETLOOM_PIN is not a pin: {error}")))?;
    let authorities = environment.authorities.clone().map(Trust::AuthorityFile);
    Ok(pin.map(Trust::Pin).or(authorities))
}

/// Checks a server's address: `https://host[:port]`, or plain HTTP to this machine itself.
pub(crate) fn server_address(text: &str) -> Result<String, Failure> {
    let refuse = |why: &str| Failure::Usage(format!("`{text}` is not a server's address: {why}"));
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url: Url = with_scheme.parse().map_err(|_| refuse("write it as https://host:port"))?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("it ends after the port"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("it must not hold a name or password; use `netloom login`"));
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => return Err(refuse("over plain HTTP everybody on the way could read passwords; use https")),
        _ => return Err(refuse("it starts with https://")),
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Whether the address is this machine itself.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts() -> Contexts {
        let mut contexts = Contexts::load(Some(std::path::Path::new("/nonexistent/c.toml"))).unwrap();
        let mut lab = Context::new("https://lab.example".to_owned(), &Trust::System);
        lab.token = Some("lab-token".to_owned().into());
        contexts.put("lab", lab);
        let mut home =
            Context::new("https://home.example".to_owned(), &Trust::Pin(Digest::from_bytes([1; 32])));
        home.token = Some("home-token".to_owned().into());
        contexts.put("home", home);
        contexts
    }

    fn token(connection: &Connection) -> Option<&str> {
        connection.token.as_ref().map(|(token, _)| token.expose())
    }

    #[test]
    fn flag_beats_environment_beats_file() {
        let (mut global, mut environment) = (Global::default(), Environment::default());
        let server = |global: &Global, environment: &Environment| {
            Connection::choose(global, environment, &contexts()).unwrap().server
        };
        assert_eq!(server(&global, &environment), "https://home.example");
        environment.context = Some("lab".to_owned());
        assert_eq!(server(&global, &environment), "https://lab.example");
        environment.server = Some("https://env.example:1".to_owned());
        assert_eq!(server(&global, &environment), "https://env.example:1");
        global.server = Some("flag.example".to_owned());
        assert_eq!(server(&global, &environment), "https://flag.example");
    }

    #[test]
    fn a_token_goes_to_its_own_server_only() {
        let mut global = Global { server: Some("https://evil.example".to_owned()), ..Global::default() };
        let other = Connection::choose(&global, &Environment::default(), &contexts()).unwrap();
        assert_eq!((token(&other), &other.trust, &other.context), (None, &None, &None));
        global = Global {
            context: Some("new".to_owned()),
            server: Some("https://home.example".to_owned()),
            ..global
        };
        let new = Connection::choose(&global, &Environment::default(), &contexts()).unwrap();
        assert_eq!((token(&new), &new.context), (None, &None));
        assert_eq!(new.trust, Some(Trust::Pin(Digest::from_bytes([1; 32]))));
        global = Global { server: Some("https://home.example/".to_owned()), ..Global::default() };
        let same = Connection::choose(&global, &Environment::default(), &contexts()).unwrap();
        assert_eq!((token(&same), same.context.as_deref()), (Some("home-token"), Some("home")));
    }

    #[test]
    fn a_token_is_found_by_the_address_of_each_server_of_its_database() {
        let mut contexts = contexts();
        let home = contexts.get_mut("home").unwrap();
        home.others = vec!["https://two.example".to_owned(), "https://three.example".to_owned()];
        let mut global = Global::default();
        let first = Connection::choose(&global, &Environment::default(), &contexts).unwrap();
        assert_eq!((first.server.as_str(), first.others.len()), ("https://home.example", 2));
        global.server = Some("two.example".to_owned());
        let second = Connection::choose(&global, &Environment::default(), &contexts).unwrap();
        assert_eq!((second.server.as_str(), token(&second)), ("https://two.example", Some("home-token")));
        assert_eq!(second.others, ["https://home.example", "https://three.example"]);
        assert_eq!(second.trust, first.trust);
    }

    #[test]
    fn a_context_that_is_not_there_is_named_with_those_that_are() {
        let global = Global { context: Some("work".to_owned()), ..Global::default() };
        let failure = Connection::choose(&global, &Environment::default(), &contexts()).unwrap_err();
        assert_eq!(failure.to_string(), "there is no context `work`; there are: home, lab");
    }

    #[test]
    fn addresses_are_https_or_this_machine() {
        assert_eq!(server_address("a.example:8443").unwrap(), "https://a.example:8443");
        assert_eq!(server_address("http://127.0.0.1:80/").unwrap(), "http://127.0.0.1");
        assert_eq!(server_address("http://[::1]:8080").unwrap(), "http://[::1]:8080");
        for (text, why) in [
            ("http://a.example", "use https"),
            ("https://a.example/x", "ends after the port"),
            ("https://bob:pw@a.example", "netloom login"),
            ("ftp://a.example", "https://"),
            ("", "https://host:port"),
        ] {
            assert!(server_address(text).unwrap_err().to_string().contains(why), "{text}");
        }
    }
}
