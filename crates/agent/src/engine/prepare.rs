//! What is settled before the engine runs: whose WireGuard, which port, and that nothing is left under a former name.
//!
//! Not for changing anything else. It keeps true that an interface of ours that is there stays as it is, unless people set
//! it otherwise.

use platform::{Choice, Machine, choose_udp_port, udp_port_is_free};
use reconcile::{Actual, LinkKind, LocalSettings};
use wire::WgSecret;

use super::Session;
use crate::hands;
use crate::options::Options;
use crate::places::Places;
use crate::state::{InterfaceRecord, State};

/// Under which name and port the interface is found again. Where that cannot be written the next start looks anew.
pub(super) fn keep_interface(state: &State, record: &InterfaceRecord) -> anyhow::Result<()> {
    if state.interface()?.as_ref() != Some(record)
        && let Err(error) = state.save_interface(record)
    {
        tracing::warn!("{error:#}");
    }
    Ok(())
}

/// The interface had another name before: that one goes.
pub(super) async fn remove_former(
    places: &Places,
    state: &State,
    options: &Options,
    session: &Session,
) -> anyhow::Result<()> {
    let Some(former) = state.interface()?.filter(|former| former.link != options.interface) else {
        return Ok(());
    };
    let machine = hands::machine(places, &former.link)?;
    if hands::take_down(&machine, &former.link, &session.identity, &mut state.kept()?).await? {
        tracing::info!(interface = %former.link, "removed the interface under its former name");
    }
    Ok(())
}

/// Fills in what the settings leave open: as it is if our interface is there, else as is best.
pub(super) async fn local_settings(
    machine: &Machine,
    actual: &Actual,
    state: &State,
    options: &Options,
    session: &Session,
) -> anyhow::Result<LocalSettings> {
    let identity = &session.identity;
    let device = actual.device().filter(|_| hands::is_ours(actual, identity));
    let kind: LinkKind = match (options.wireguard, device) {
        (Choice::Auto, Some(device)) => device.kind,
        (choice, _) => machine.kind(choice).await?,
    };
    let running = device.map(|device| device.port).filter(|port| *port != 0);
    let port = match options.port.or(running) {
        Some(port) => port,
        None => {
            let before = state.interface()?.map(|interface| interface.port);
            let wanted = before.filter(|port| udp_port_is_free(*port)).unwrap_or(LocalSettings::DEFAULT_PORT);
            choose_udp_port(wanted)?
        }
    };
    // Until it is known which of two keys the server has, a device with either is ours and keeps it.
    let (one, next) = (identity.wireguard.public(), identity.next.as_ref().map(WgSecret::public));
    let has_next = next.filter(|next| device.is_some_and(|device| device.key == Some(*next)));
    let (key, former) = has_next.map_or((one, next), |next| (next, Some(one)));
    Ok(LocalSettings { link: options.interface.clone(), kind, key, former, port, mtu: options.mtu })
}
