//! What is done once before the network is there, each time the machine starts: a full tunnel that was on is shut.
//!
//! Not for the tunnel itself: the daemon makes its link. It keeps true that nothing is asked of anybody: what is on disk says
//! whether there is a tunnel.

use anyhow::bail;
use reconcile::{Circumstances, LinkKind, LocalSettings, desired, shut_early};

use super::Context;
use crate::hands;
use crate::options::OptionFlags;

/// `netclient early`. A machine that has joined nothing needs nothing.
pub(super) async fn early(context: &Context) -> anyhow::Result<()> {
    hands::check_rights("early")?;
    let (Some(identity), Some(record)) = (context.state.identity()?, context.state.active()?) else {
        return Ok(());
    };
    let Some(map) = context.state.map_file(&record.name).read()? else { return Ok(()) };
    let options = context.options(&OptionFlags::default())?;
    let machine = hands::machine(&context.places, &options.interface)?;
    let settings = LocalSettings {
        link: options.interface,
        kind: LinkKind::Userspace,
        key: identity.wireguard.public(),
        former: None,
        port: LocalSettings::DEFAULT_PORT,
        mtu: options.mtu,
    };
    let local = machine.local_addresses().await?;
    let wanted = desired(&map, &settings, &Circumstances { local, ..Circumstances::default() });
    let ops = shut_early(&wanted, &machine.look_at_link().await?.surroundings);
    let outcomes = machine.execute_all(&ops, &identity.wireguard).await;
    let failed: Vec<String> =
        outcomes.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    if !failed.is_empty() {
        bail!("the full tunnel could not be shut before the network starts: {}", failed.join("; "));
    }
    Ok(())
}
