//! `netloom dns record`: A, AAAA, CNAME, TXT and SRV records.

use std::fmt;
use std::str::FromStr;

use api::{CreateDnsRecord, DnsRecord, PatchDnsRecord, RecordData, path};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use model::{DnsName, DnsRecordId};

use crate::arguments::AtMost;
use crate::client::Client;
use crate::console::{Console, meaning};
use crate::failure::Failure;
use crate::render::{View, details, table};

/// Records of a network.
#[derive(Debug, Subcommand)]
pub enum Record {
    /// List a network's
    #[command(visible_alias = "ls")]
    List {
        /// The network's name or id
        network: String,
        #[command(flatten)]
        most: AtMost,
    },
    /// Add one
    ///
    /// A takes an IPv4 address, AAAA an IPv6 address, CNAME the whole name that is meant, TXT a text, and SRV a priority, a
    /// weight, a port and the whole name of the machine.
    Add(Add),
    /// Change what one says; its name and type are fixed
    Update(Update),
    /// Delete one
    #[command(visible_alias = "rm")]
    Delete(Place),
}

/// What is added.
#[derive(Debug, Args)]
pub struct Add {
    /// The network's name or id
    network: String,
    /// Its name below the network's domain; @ is the domain itself
    name: Below,
    /// Its type
    #[arg(value_enum, ignore_case = true, value_name = "TYPE")]
    kind: Kind,
    /// What it says
    #[arg(required = true, value_name = "VALUE")]
    values: Vec<String>,
    /// How many seconds it may be kept; without it 60
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u32>,
}

/// Which record.
#[derive(Debug, Args)]
pub struct Place {
    /// The network's name or id
    network: String,
    /// Its id, or its name where no other has it; @ is the domain itself
    record: String,
    /// Its type, where records of several types have the name
    #[arg(long = "type", value_enum, ignore_case = true, value_name = "TYPE")]
    kind: Option<Kind>,
}

/// What is changed.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
pub struct Update {
    #[command(flatten)]
    place: Place,
    /// What it says from now on
    #[arg(value_name = "VALUE", group = "change")]
    values: Vec<String>,
    /// How many seconds it may be kept
    #[arg(long, value_name = "SECONDS", group = "change")]
    ttl: Option<u32>,
}

/// A name below a network's domain; none is the domain itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Below(Option<DnsName>);

impl FromStr for Below {
    type Err = model::DnsNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "@" {
            return Ok(Self(None));
        }
        text.parse().map(|name| Self(Some(name)))
    }
}

/// A type of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// An IPv4 address
    A,
    /// An IPv6 address
    Aaaa,
    /// Another name
    Cname,
    /// Text
    Txt,
    /// Where a service is
    Srv,
}

impl Kind {
    const fn of(data: &RecordData) -> Self {
        match data {
            RecordData::A { .. } => Self::A,
            RecordData::Aaaa { .. } => Self::Aaaa,
            RecordData::Cname { .. } => Self::Cname,
            RecordData::Txt { .. } => Self::Txt,
            RecordData::Srv { .. } => Self::Srv,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Txt => "TXT",
            Self::Srv => "SRV",
        }
    }

    const fn takes(self) -> &'static str {
        match self {
            Self::A => "one IPv4 address",
            Self::Aaaa => "one IPv6 address",
            Self::Cname => "one whole name",
            Self::Txt => "one text; put it in quotes",
            Self::Srv => "a priority, a weight, a port and the whole name of the machine",
        }
    }

    /// What a record of this type says.
    fn data(self, values: &[String]) -> Result<RecordData, Failure> {
        match (self, values) {
            (Self::A, [address]) => Ok(RecordData::A { address: read(self, address)? }),
            (Self::Aaaa, [address]) => Ok(RecordData::Aaaa { address: read(self, address)? }),
            (Self::Cname, [target]) => Ok(RecordData::Cname { target: read(self, target)? }),
            (Self::Txt, [text]) => Ok(RecordData::Txt { text: text.clone() }),
            (Self::Srv, [priority, weight, port, target]) => Ok(RecordData::Srv {
                priority: read(self, priority)?,
                weight: read(self, weight)?,
                port: read(self, port)?,
                target: read(self, target)?,
            }),
            (Self::A | Self::Aaaa | Self::Cname | Self::Txt | Self::Srv, _) => {
                Err(Failure::Usage(format!("a {} record takes {}", self.name(), self.takes())))
            }
        }
    }
}

fn read<T: FromStr<Err: fmt::Display>>(kind: Kind, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error| {
        Failure::Usage(format!("`{text}`: {error}; a {} record takes {}", kind.name(), kind.takes()))
    })
}

impl Record {
    pub(super) async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        match self {
            Self::List { network, most } => {
                let answer =
                    client.list(&path::fill(path::DNS_RECORDS, &[&network]), &[], most.limit).await?;
                console.show(&answer, |records: &Vec<DnsRecord>, view| all(records, view))
            }
            Self::Add(Add { network, name: Below(name), kind, values, ttl }) => {
                let body = CreateDnsRecord { name, ttl, data: kind.data(&values)? };
                let answer = client.post(&path::fill(path::DNS_RECORDS, &[&network]), &body).await?;
                console.show(&answer, one)
            }
            Self::Update(Update { place, values, ttl }) => {
                let record = place.find(client).await?;
                let data = (!values.is_empty()).then(|| Kind::of(&record.data).data(&values)).transpose()?;
                let body = PatchDnsRecord { ttl, data };
                let answer = client.patch(&place.path(record.id), &body).await?;
                console.show(&answer, one)
            }
            Self::Delete(place) => {
                let record = place.find(client).await?;
                let what = format!("the {} record `{}`", Kind::of(&record.data).name(), name(&record));
                console.confirm(&format!(
                    "delete {what} ({}) of network `{}`",
                    told(&record.data),
                    place.network
                ))?;
                let answer = client.delete(&place.path(record.id), &[]).await?;
                console.done(&answer, &format!("Deleted {what} from network `{}`.", place.network))
            }
        }
    }
}

impl Place {
    fn path(&self, record: DnsRecordId) -> String {
        path::fill(path::DNS_RECORD, &[&self.network, &record.to_string()])
    }

    /// The record: the API knows it by its id only.
    async fn find(&self, client: &Client) -> Result<DnsRecord, Failure> {
        if let Ok(id) = self.record.parse::<DnsRecordId>() {
            return meaning(&client.get(&self.path(id), &[]).await?);
        }
        let Below(wanted) =
            self.record.parse().map_err(|error: model::DnsNameError| Failure::Usage(error.to_string()))?;
        let records = client.list(&path::fill(path::DNS_RECORDS, &[&self.network]), &[], None).await?;
        let records: Vec<DnsRecord> = meaning(&records)?;
        let fits = |record: &DnsRecord| {
            record.name == wanted && self.kind.is_none_or(|kind| kind == Kind::of(&record.data))
        };
        let mut found: Vec<DnsRecord> = records.into_iter().filter(fits).collect();
        match (found.pop(), found.is_empty()) {
            (Some(record), true) => Ok(record),
            (Some(_), false) => Err(Failure::Usage(format!(
                "several records are called `{}`: say which one with --type, or by its id from `netloom dns record list`",
                self.record
            ))),
            (None, _) => Err(Failure::Local(anyhow::anyhow!(
                "there is no such record `{}` in network `{}`; see `netloom dns record list {}`",
                self.record,
                self.network,
                self.network
            ))),
        }
    }
}

fn name(record: &DnsRecord) -> String {
    record.name.as_ref().map_or_else(|| "@".to_owned(), ToString::to_string)
}

/// What a record says, as it is typed.
fn told(data: &RecordData) -> String {
    match data {
        RecordData::A { address } => address.to_string(),
        RecordData::Aaaa { address } => address.to_string(),
        RecordData::Cname { target } => target.to_string(),
        RecordData::Txt { text } => text.clone(),
        RecordData::Srv { priority, weight, port, target } => format!("{priority} {weight} {port} {target}"),
    }
}

fn all(records: &[DnsRecord], view: &View) -> String {
    table(
        view,
        ["name", "type", "value", "ttl", "id"],
        records,
        |record| {
            let kind = Kind::of(&record.data).name().to_owned();
            [name(record), kind, told(&record.data), record.ttl.to_string(), record.id.to_string()]
        },
        "No records yet; members have their names by themselves. Add one: `netloom dns record add NETWORK NAME TYPE VALUE`.",
    )
}

fn one(record: &DnsRecord, view: &View) -> String {
    details(
        view,
        &[
            ("Name", name(record)),
            ("Type", Kind::of(&record.data).name().to_owned()),
            ("Value", told(&record.data)),
            ("TTL", format!("{} seconds", record.ttl)),
            ("Id", record.id.to_string()),
            ("Created", view.moment(record.created)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_takes_its_values_and_shows_them_as_they_are_typed() {
        for (kind, values) in [
            (Kind::A, &["10.0.0.7"][..]),
            (Kind::Aaaa, &["fd00::7"]),
            (Kind::Cname, &["web.example.org"]),
            (Kind::Txt, &["v=spf1 -all"]),
            (Kind::Srv, &["0", "5", "5060", "sip.example.org"]),
        ] {
            let given: Vec<String> = values.iter().map(ToString::to_string).collect();
            let data = kind.data(&given).unwrap();
            assert_eq!((Kind::of(&data), told(&data)), (kind, values.join(" ")));
        }
    }

    #[test]
    fn what_a_type_does_not_take_is_told() {
        for (kind, values, expected) in [
            (Kind::A, &["fd00::7"][..], "takes one IPv4 address"),
            (Kind::Srv, &["0", "5", "sip"], "a priority, a weight, a port"),
            (Kind::Srv, &["0", "5", "x", "sip"], "`x`"),
            (Kind::Txt, &["two", "words"], "in quotes"),
        ] {
            let given: Vec<String> = values.iter().map(ToString::to_string).collect();
            let error = kind.data(&given).unwrap_err();
            assert!(error.to_string().contains(expected) && error.exit_code() == 2, "{error}");
        }
    }
}
