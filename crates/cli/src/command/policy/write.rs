//! What `netloom policy create` and `update` send.

use std::collections::BTreeSet;
use std::str::FromStr;

use api::{CreatePolicy, PatchPolicy, Subject, path};
use clap::{ArgGroup, Args};
use model::{Service, ServiceError, Title};

use super::{Place, show};
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;
use crate::value::{OnOff, switched};

/// A service, or `everything`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnyService(Option<Service>);

impl FromStr for AnyService {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        if text == "everything" {
            return Ok(Self(None));
        }
        text.parse().map(|service| Self(Some(service)))
    }
}

/// The services that were named; none are everything.
fn services(given: Vec<AnyService>) -> Result<BTreeSet<Service>, Failure> {
    let everything = given.iter().any(|one| one.0.is_none());
    if everything && given.len() > 1 {
        return Err(Failure::Usage("`everything` is every service; give it alone".to_owned()));
    }
    Ok(given.into_iter().filter_map(|one| one.0).collect())
}

/// What is made.
#[derive(Debug, Args)]
pub struct Create {
    /// The network's name or id
    network: String,
    /// Its name
    name: Title,
    /// Who may open connections; may be given several times
    #[arg(long, value_name = "SUBJECT", required = true, value_delimiter = ',')]
    from: Vec<Subject>,
    /// To whom; may be given several times
    #[arg(long, value_name = "SUBJECT", required = true, value_delimiter = ',')]
    to: Vec<Subject>,
    /// By what, such as tcp/443; may be given several times; without it: by everything
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<AnyService>,
    /// Also the other way round
    #[arg(long)]
    both: bool,
    /// Do not let it count yet
    #[arg(long)]
    disabled: bool,
    /// Change nothing; say who would gain access
    #[arg(long)]
    dry_run: bool,
}

impl Create {
    pub(super) async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        let Self { network, name, from, to, services: given, both, disabled, dry_run } = self;
        let body = CreatePolicy { name, enabled: !disabled, from, to, services: services(given)?, both };
        let path = path::fill(path::POLICIES, &[&network]);
        let answer = client.post_or_try(&path, &body, dry_run).await?;
        console.show_written(&answer, dry_run, show::one)
    }
}

/// What is changed.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
pub struct Update {
    #[command(flatten)]
    place: Place,
    /// Its new name
    #[arg(long, group = "change")]
    name: Option<Title>,
    /// All who may open connections, in place of those until now; may be given several times
    #[arg(long, value_name = "SUBJECT", group = "change", value_delimiter = ',')]
    from: Vec<Subject>,
    /// Who may open connections as well; may be given several times
    #[arg(long, value_name = "SUBJECT", group = "change", value_delimiter = ',')]
    add_from: Vec<Subject>,
    /// Who no longer may; may be given several times
    #[arg(long, value_name = "SUBJECT", group = "change", value_delimiter = ',')]
    remove_from: Vec<Subject>,
    /// All to whom, in place of those until now; may be given several times
    #[arg(long, value_name = "SUBJECT", group = "change", value_delimiter = ',')]
    to: Vec<Subject>,
    /// To whom as well; may be given several times
    #[arg(long, value_name = "SUBJECT", group = "change", value_delimiter = ',')]
    add_to: Vec<Subject>,
    /// To whom no longer; may be given several times
    #[arg(long, value_name = "SUBJECT", group = "change", value_delimiter = ',')]
    remove_to: Vec<Subject>,
    /// All services, in place of those until now, or everything; may be given several times
    #[arg(long = "service", value_name = "SERVICE", group = "change")]
    services: Vec<AnyService>,
    /// Whether the other way round too
    #[arg(long, value_enum, value_name = "ON|OFF", group = "change")]
    both: Option<OnOff>,
    /// Change nothing; say who would gain and who would lose access
    #[arg(long)]
    dry_run: bool,
}

impl Update {
    pub(super) async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        let Self { place, name, services: given, both, dry_run, .. } = self;
        let all = |subjects: Vec<Subject>| (!subjects.is_empty()).then_some(subjects);
        let body = PatchPolicy {
            name,
            enabled: None,
            from: all(self.from),
            add_from: self.add_from,
            remove_from: self.remove_from,
            to: all(self.to),
            add_to: self.add_to,
            remove_to: self.remove_to,
            services: if given.is_empty() { None } else { Some(services(given)?) },
            both: switched(both),
        };
        let answer = client.patch_or_try(&place.path(), &body, dry_run).await?;
        console.show_written(&answer, dry_run, show::one)
    }
}

/// Only lets it count, or not.
pub(super) fn enabled(enabled: bool) -> PatchPolicy {
    PatchPolicy { enabled: Some(enabled), ..PatchPolicy::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_no_service_among_others() {
        let given = |texts: &[&str]| services(texts.iter().map(|text| text.parse().unwrap()).collect());
        assert_eq!(given(&["everything"]).unwrap(), BTreeSet::new());
        assert_eq!(given(&["tcp/443", "udp/53,54"]).unwrap().len(), 2);
        assert!(given(&["tcp/443", "everything"]).is_err());
    }
}
