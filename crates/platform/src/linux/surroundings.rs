//! The machine's hands for what of ours is not on our link: firewall, rules, the routes to nowhere, settings of the kernel.
//!
//! Not for the link. It keeps true that each of these is looked at in the kernel each time, and that a machine which cannot
//! have a firewall is one without and no failure, as long as nobody wants one.

use anyhow::{Context as _, bail};
use reconcile::{Around, Family, Surroundings};
use rustix::io::Errno;

use super::machine::Machine;
use super::nft::FirewallTable;
use super::sysctls;
use crate::words;

impl Machine {
    /// What of ours is not on our link.
    pub(super) async fn look_around(&self) -> anyhow::Result<Surroundings> {
        let looking = |error| words::could_not("look at the policy rules and routes of a full tunnel", error);
        let firewall = match &self.firewall {
            // One that cannot be read is made anew where somebody relies on it, and that says why.
            Ok(table) => table.look().await.ok(),
            Err(_) => None,
        };
        Ok(Surroundings {
            firewall,
            rules: self.netlink.rules().await.map_err(looking)?,
            unreachable: self.netlink.unreachable().await.map_err(looking)?,
            sysctls: sysctls::read(),
        })
    }

    /// Carries out a step on them.
    pub(super) async fn execute_around(&self, step: &Around) -> anyhow::Result<()> {
        match step {
            Around::SetFirewall(firewall, _) => self.table()?.set(firewall).await,
            Around::ChangeFirewall(had, changes, _) => self.table()?.change(*had, changes).await,
            Around::RemoveFirewall => self.table()?.remove().await,
            Around::AddUnreachable(family) => self.add_unreachable(*family).await,
            Around::RemoveUnreachable(family) => {
                let removed = self.netlink.remove_unreachable(*family).await;
                removed.map_err(|error| words::could_not("remove the route to nowhere", error))
            }
            Around::AddRule(rule) => {
                let added = self.netlink.add_rule(rule).await;
                if let Err(error) = &added
                    && words::is(error, &[Errno::OPNOTSUPP, Errno::AFNOSUPPORT])
                {
                    // What the kernel does not speak cannot leak.
                    if rule.family == Family::V6 {
                        return Ok(());
                    }
                    bail!(
                        "this kernel has no policy rules (CONFIG_IP_MULTIPLE_TABLES): no full tunnel without them"
                    );
                }
                added.map_err(|error| words::could_not(&format!("add the {rule}"), error))
            }
            Around::RemoveRule(rule) => {
                let removed = self.netlink.remove_rule(rule).await;
                removed.map_err(|error| words::could_not(&format!("remove the {rule}"), error))
            }
            Around::SetSysctl(sysctl) => sysctls::write(sysctl).with_context(|| {
                format!(
                    "could not set {sysctl}; where /proc/sys is read-only (a container), set it outside: \
                     `sysctl -w {}={}`",
                    sysctl.name, sysctl.value
                )
            }),
        }
    }

    async fn add_unreachable(&self, family: Family) -> anyhow::Result<()> {
        match self.netlink.add_unreachable(family).await {
            Err(error)
                if family == Family::V6 && words::is(&error, &[Errno::OPNOTSUPP, Errno::AFNOSUPPORT]) =>
            {
                Ok(())
            }
            added => added.map_err(|error| words::could_not("add the route to nowhere", error)),
        }
    }

    fn table(&self) -> anyhow::Result<&FirewallTable> {
        match &self.firewall {
            Ok(table) => Ok(table),
            Err(why) => bail!("{why}"),
        }
    }
}
