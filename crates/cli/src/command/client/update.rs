//! What `netloom client update` changes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use api::{Edit, HostSelector, PatchClient, UserSelector};
use clap::{ArgGroup, Args};
use ipnet::IpNet;
use model::{HostName, Keepalive, Mtu};
use serde_json::Value;

use super::Place;
use crate::client::Client;
use crate::failure::Failure;
use crate::value::{EndingEdit, OnOff, OrDefault, OrNone, TagEdit, replaced, switched};

/// Which client, and what becomes of it.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
pub struct Update {
    #[command(flatten)]
    place: Place,
    /// Its new name
    #[arg(long, group = "change")]
    name: Option<HostName>,
    /// Its new IPv4 address; its configuration changes with it
    #[arg(long, value_name = "ADDRESS", group = "change")]
    v4: Option<Ipv4Addr>,
    /// Its new IPv6 address; its configuration changes with it
    #[arg(long, value_name = "ADDRESS", group = "change")]
    v6: Option<Ipv6Addr>,
    /// All hosts that let it in, the best first, in place of those until now; may be given several times
    #[arg(long = "gateway", value_name = "HOST", group = "change", value_delimiter = ',')]
    gateways: Vec<HostSelector>,
    /// The user whose it is, or none
    #[arg(long, value_name = "USER", group = "change")]
    owner: Option<OrNone<UserSelector>>,
    #[command(flatten)]
    tags: TagEdit,
    #[command(flatten)]
    ending: EndingEdit,
    /// All ranges behind it, in place of those until now, or none; may be given several times
    #[arg(long = "range", value_name = "RANGE", group = "change", value_delimiter = ',')]
    ranges: Vec<OrNone<IpNet>>,
    /// Whether everything it sends goes through the gateway
    #[arg(long, value_enum, value_name = "ON|OFF", group = "change")]
    full_tunnel: Option<OnOff>,
    /// Whom it asks for names; gateway: its gateway; none: its own choice stays; may be given several times
    #[arg(long, value_name = "ADDRESS", group = "change", value_delimiter = ',')]
    dns: Vec<Resolver>,
    /// The MTU of its interface, or default: its app chooses
    #[arg(long, value_name = "BYTES", group = "change")]
    mtu: Option<OrDefault<Mtu>>,
    /// Seconds between its keepalives, or default: the network's
    #[arg(long, value_name = "SECONDS", group = "change")]
    keepalive: Option<OrDefault<Keepalive>>,
}

/// Whom a client asks for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolver {
    /// Its gateway.
    Gateway,
    /// Whom it asked before.
    Own,
    /// This one.
    At(IpAddr),
}

/// The text names no resolver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an address, nor `gateway`, nor `none`")]
pub(crate) struct ResolverError(String);

impl FromStr for Resolver {
    type Err = ResolverError;

    fn from_str(text: &str) -> Result<Self, ResolverError> {
        match text {
            "gateway" => Ok(Self::Gateway),
            "none" => Ok(Self::Own),
            address => {
                address.parse().map(Self::At).map_err(|_| ResolverError(text.chars().take(64).collect()))
            }
        }
    }
}

fn dns(given: &[Resolver]) -> Result<Edit<Vec<IpAddr>>, Failure> {
    match given {
        [] => return Ok(Edit::Keep),
        [Resolver::Gateway] => return Ok(Edit::Clear),
        [Resolver::Own] => return Ok(Edit::Set(Vec::new())),
        [Resolver::At(_), ..] | [Resolver::Gateway | Resolver::Own, ..] => {}
    }
    let address = |one: &Resolver| match one {
        Resolver::At(address) => Ok(*address),
        Resolver::Gateway | Resolver::Own => {
            Err(Failure::Usage("--dns takes addresses, or `gateway` or `none` alone".to_owned()))
        }
    };
    given.iter().map(address).collect::<Result<_, _>>().map(Edit::Set)
}

impl Update {
    /// Sends it, and gives the answer.
    pub(super) async fn send(self, client: &Client) -> Result<Value, Failure> {
        client.patch(&self.place.path(), &self.body()?).await
    }

    fn body(self) -> Result<PatchClient, Failure> {
        let tags = self.tags.fields();
        let (expires, expires_in) = self.ending.fields();
        Ok(PatchClient {
            name: self.name,
            public_key: None,
            v4: self.v4,
            v6: self.v6,
            gateways: (!self.gateways.is_empty()).then_some(self.gateways),
            owner: OrNone::edit(self.owner),
            enabled: None,
            tags: tags.all,
            add_tags: tags.add,
            remove_tags: tags.remove,
            expires,
            expires_in,
            ranges: replaced(self.ranges)?.map(|ranges| ranges.into_iter().collect()),
            full_tunnel: switched(self.full_tunnel),
            dns: dns(&self.dns)?,
            mtu: OrDefault::edit(self.mtu),
            keepalive: OrDefault::edit(self.keepalive),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_asks_its_gateway_itself_or_whom_it_is_told() {
        let given = |texts: &[&str]| dns(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>());
        assert_eq!(given(&[]).unwrap(), Edit::Keep);
        assert_eq!(given(&["gateway"]).unwrap(), Edit::Clear);
        assert_eq!(given(&["none"]).unwrap(), Edit::Set(Vec::new()));
        assert_eq!(given(&["9.9.9.9"]).unwrap(), Edit::Set(vec!["9.9.9.9".parse().unwrap()]));
        assert!(given(&["9.9.9.9", "none"]).is_err() && given(&["none", "none"]).is_err());
    }
}
