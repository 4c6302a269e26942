//! What is settled before the engine runs: whose WireGuard, which port, and that nothing is left under a former name.
//!
//! Not for changing anything else. It keeps true that an interface of ours that is there stays as it is, unless people set
//! it otherwise.

use platform::{Choice, Machine, choose_udp_port, udp_port_is_free};
use reconcile::{Actual, LinkKind, LocalSettings};

use super::Session;
use crate::hands;
use crate::options::Options;
use crate::places::Places;
use crate::state::State;

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
    if hands::take_down(&machine, &former.link, &session.identity.wireguard).await? {
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
    let secret = &session.identity.wireguard;
    let device =
        actual.link.as_ref().and_then(|link| link.device.as_ref()).filter(|_| hands::is_ours(actual, secret));
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
    let (link, key) = (options.interface.clone(), secret.public());
    Ok(LocalSettings { link, kind, key, former: None, port, mtu: options.mtu })
}
