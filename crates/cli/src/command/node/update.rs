//! What `netloom node update` changes.

use std::net::{Ipv4Addr, Ipv6Addr};

use api::{Edit, HostSelector, PatchNode, UseInternet};
use clap::{ArgGroup, Args};
use serde_json::Value;

use super::Place;
use crate::client::Client;
use crate::failure::Failure;
use crate::value::{EndingEdit, OnOff, OrNone, TagEdit, switched};

/// Which node, and what becomes of it.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
pub struct Update {
    #[command(flatten)]
    place: Place,
    /// Its new IPv4 address
    #[arg(long, value_name = "ADDRESS", group = "change")]
    v4: Option<Ipv4Addr>,
    /// Its new IPv6 address
    #[arg(long, value_name = "ADDRESS", group = "change")]
    v6: Option<Ipv6Addr>,
    #[command(flatten)]
    tags: TagEdit,
    /// Whether it lets remote access clients in
    #[arg(long, value_enum, value_name = "ON|OFF", group = "change")]
    remote_access: Option<OnOff>,
    /// Whether it is a way to everything, for those who choose it
    #[arg(long, value_enum, value_name = "ON|OFF", group = "change")]
    internet_gateway: Option<OnOff>,
    /// The host through which others reach it, or none
    #[arg(long, value_name = "HOST", group = "change")]
    relay: Option<OrNone<HostSelector>>,
    /// The internet gateway through which it reaches everything outside of its networks, or none
    #[arg(long, value_name = "HOST", group = "change")]
    internet: Option<OrNone<HostSelector>>,
    /// Behind an internet gateway: whether the machine's own networks stay reachable directly [default: on]
    #[arg(long, value_enum, value_name = "ON|OFF", group = "change")]
    lan: Option<OnOff>,
    #[command(flatten)]
    ending: EndingEdit,
}

impl Update {
    /// Sends it, and gives the answer.
    pub(super) async fn send(self, client: &Client) -> Result<Value, Failure> {
        client.patch(&self.place.path(), &self.body()?).await
    }

    fn body(self) -> Result<PatchNode, Failure> {
        let tags = self.tags.fields();
        let (expires, expires_in) = self.ending.fields();
        let lan = switched(self.lan);
        let internet = match OrNone::edit(self.internet) {
            Edit::Keep if lan.is_some() => Edit::Set(UseInternet { gateway: None, lan }),
            Edit::Keep => Edit::Keep,
            Edit::Clear if lan.is_some() => {
                return Err(Failure::Usage(
                    "--lan goes with an internet gateway, not with `none`".to_owned(),
                ));
            }
            Edit::Clear => Edit::Clear,
            Edit::Set(gateway) => Edit::Set(UseInternet { gateway: Some(gateway), lan }),
        };
        Ok(PatchNode {
            connected: None,
            v4: self.v4,
            v6: self.v6,
            tags: tags.all,
            add_tags: tags.add,
            remove_tags: tags.remove,
            remote_access: switched(self.remote_access),
            internet_gateway: switched(self.internet_gateway),
            relay: OrNone::edit(self.relay),
            internet,
            expires,
            expires_in,
        })
    }
}
