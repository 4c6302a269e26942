//! The machine as the agent uses it: which link, how its userspace device is started, and whether this process may.
//!
//! Not for touching anything itself: `platform` does.

use anyhow::bail;
use platform::{DeviceProgram, Machine, MachineOptions};
use reconcile::{Actual, Desired, Kept, LinkName, Look, Op, conflict, reconcile};
use rustix::thread::{CapabilitySet, capabilities};
use wire::WgSecret;

use crate::places::Places;
use crate::state::{Identity, KeptFile};

/// What it takes to keep an interface: the machine's hands, or a value in tests.
pub trait Hands: Send + Sync {
    /// What exists under our link's name. It costs what all peers cost together.
    fn observe(&self) -> impl Future<Output = anyhow::Result<Actual>> + Send;

    /// The link as it is seen from outside, and what is around it.
    fn look_at_link(&self) -> impl Future<Output = anyhow::Result<Look>> + Send;

    /// Carries out ops in their order and says how each went.
    fn execute_all(
        &self,
        ops: &[Op],
        secret: &WgSecret,
    ) -> impl Future<Output = Vec<anyhow::Result<()>>> + Send;
}

impl Hands for Machine {
    async fn observe(&self) -> anyhow::Result<Actual> {
        Self::observe(self).await
    }

    async fn look_at_link(&self) -> anyhow::Result<Look> {
        Self::look_at_link(self).await
    }

    async fn execute_all(&self, ops: &[Op], secret: &WgSecret) -> Vec<anyhow::Result<()>> {
        Self::execute_all(self, ops, secret).await
    }
}

/// The machine's hands for this link.
pub fn machine(places: &Places, link: &LinkName) -> anyhow::Result<Machine> {
    Machine::open(MachineOptions {
        link: link.clone(),
        // The very program that runs, also after an upgrade has put another in its place.
        program: DeviceProgram {
            program: "/proc/self/exe".into(),
            arguments: vec!["device".into()],
            log: places.device_log(),
            withheld: vec!["NETCLIENT_TOKEN".into()],
        },
        socket_dir: places.wireguard.clone(),
    })
}

/// Fails with what to do unless this process may change the network.
pub fn check_rights(command: &str) -> anyhow::Result<()> {
    let may = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN));
    if may {
        return Ok(());
    }
    if rustix::process::geteuid().is_root() {
        bail!(
            "this changes the machine's network, which root may not do here (CAP_NET_ADMIN is missing); give it to the container: \
             `--cap-add NET_ADMIN --device /dev/net/tun`"
        );
    }
    bail!("this needs root, because it changes the machine's network: run `sudo netclient {command}`")
}

/// Removes our link, if it is there and ours, and all that is ours elsewhere; settings of the kernel get back what they were.
/// What was not possible is an error, and is done the next time. Says whether there was anything.
pub async fn take_down(
    machine: &impl Hands,
    link: &LinkName,
    identity: &Identity,
    kept: &mut KeptFile,
) -> anyhow::Result<bool> {
    let mut actual = machine.observe().await?;
    let absent = Desired {
        former: identity.next.as_ref().map(WgSecret::public),
        kept: kept.kept().clone(),
        ..Desired::absent(link.clone(), identity.wireguard.public())
    };
    if conflict(&absent, &actual).is_some() {
        // Somebody else's link stays, and what is around it is ours all the same.
        actual.link = None;
    }
    let ops: Vec<Op> = reconcile(&absent, &actual);
    kept.keep(kept.kept().before(link, &ops, &actual.surroundings))?;
    let done = machine.execute_all(&ops, &identity.wireguard).await;
    done.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
    kept.keep(Kept::default())?;
    Ok(!ops.is_empty())
}

/// Whether the link is there and has this machine's key.
pub fn is_ours(actual: &Actual, identity: &Identity) -> bool {
    actual.device().and_then(|device| device.key).is_some_and(|key| identity.has(&key))
}
