//! The message broker: whether an external one answers, takes our password, lets us hear hosts and keep their accounts, and what
//! agents are told of it.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{Finding, urls};
use crate::broker::settings::{AccountSettings, BrokerAddress, BrokerSettings, ExternalSettings};
use crate::broker::{Usable, examine, told};
use crate::settings::Settings;

pub(super) async fn check(settings: &Settings, is_up: bool) -> Vec<Finding> {
    let BrokerSettings::External(external) = &settings.broker else {
        return vec![Finding::good("broker", "the one inside the server")];
    };
    let mut findings = accounts(external, settings.database.is_shared());
    findings.extend(told(&settings.broker).err().map(|error| Finding::wrong("broker", format!("{error:#}"))));
    let address = &external.address.text;
    findings.push(match examine(external.clone(), is_up).await {
        Ok(Usable::Now) => Finding::good("broker", format!("{address} answers, and lets us hear hosts")),
        Ok(Usable::Later(why)) => Finding::doubtful("broker", format!("{address} answers; {why}")),
        Err(error) => Finding::wrong("broker", format!("{error:#}")),
    });
    for text in external.told.iter().filter(|told| *told != address) {
        if let Ok(BrokerAddress { host, .. }) = BrokerAddress::parse(text) {
            findings.push(urls::name("broker", text, &host, Some("broker_urls")).await);
        }
    }
    findings
}

/// Of accounts that are kept in files: whether they can be written, and reach the broker.
fn accounts(external: &ExternalSettings, is_shared: bool) -> Vec<Finding> {
    let files = match &external.accounts {
        AccountSettings::MosquittoFiles(files) | AccountSettings::NatsFile(files) => files,
        AccountSettings::Dynsec | AccountSettings::Http(_) | AccountSettings::None => return Vec::new(),
    };
    let mut findings = vec![folder(&files.folder)];
    if is_shared {
        let detail = "the server that leads writes the files of accounts into a folder of its own machine, and the broker reads \
                      one: when another server leads on another machine, changes do not reach it. Use `dynsec` or `http`, or \
                      have all servers share the folder";
        findings.push(Finding::doubtful("accounts", detail));
    }
    findings
}

fn folder(folder: &Path) -> Finding {
    let name = folder.display();
    if !folder.is_dir() {
        let detail = format!("the folder {name} is not there; make it, as docs/guide/brokers.md says");
        return Finding::wrong("accounts", detail);
    }
    match accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Finding::good("accounts", format!("{name}")),
        Err(_) => Finding::wrong("accounts", format!("{name} cannot be written by this user")),
    }
}
