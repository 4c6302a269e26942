//! Keys that let one machine in, shown by two at the same instant, one at each server. One gets in, or none; never both.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use control::Intent;
use model::WgPublicKey;

use super::conduct::Conduct;
use super::dice::Dice;
use super::speak::UNSURE;
use crate::swarm::{Gate, Machine};

/// Between two keys.
const PAUSE: Duration = Duration::from_millis(1_500);
/// How machines are numbered that are not of the swarm.
const FIRST: u32 = 1_000_000;
/// How long a registration may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a machine was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    In,
    Out,
    Nothing,
}

/// Everybody who tried.
#[derive(Debug, Default)]
pub(super) struct Joins(Mutex<Vec<[(WgPublicKey, Told); 2]>>);

fn told(outcome: &Result<Arc<Machine>>) -> Told {
    let Err(error) = outcome else {
        return Told::In;
    };
    let text = format!("{error:#}");
    if text.contains("was refused with") && !text.contains(UNSURE) { Told::Out } else { Told::Nothing }
}

/// Makes one key after the other, until it is told to end.
pub(super) async fn joins(conduct: Arc<Conduct>, gate: Gate, mut dice: Dice, networks: Vec<String>) {
    for number in (FIRST..).step_by(2) {
        tokio::time::sleep(PAUSE).await;
        if conduct.is_over() {
            return;
        }
        // Who cannot even ask for a key, or for the server's own, has not tried.
        let _untried = attempt(&conduct, &gate, &mut dice, &networks, number).await;
    }
}

async fn attempt(
    conduct: &Conduct,
    gate: &Gate,
    dice: &mut Dice,
    networks: &[String],
    number: u32,
) -> Result<()> {
    let servers = conduct.administrators.len();
    let network = dice.pick(networks).map_or("", String::as_str);
    let maker = &conduct.administrators[dice.below(servers)];
    let (_, token) = maker.key(&format!("once {number}"), &[network], Some(1)).await?;
    let (one, two) =
        tokio::try_join!(gate.applicant(0, &token, number), gate.applicant(1, &token, number + 1))?;
    let keys = [one.key(), two.key()];
    let limited = |applicant| async {
        let registered = tokio::time::timeout(PATIENCE, gate.register(applicant)).await;
        registered.unwrap_or_else(|late| Err(late.into()))
    };
    let (one, two) = tokio::join!(limited(one), limited(two));
    let pair = [(keys[0], told(&one)), (keys[1], told(&two))];
    conduct.joins.0.lock().unwrap_or_else(PoisonError::into_inner).push(pair);
    Ok(())
}

impl Joins {
    /// How many keys were tried, and how many let nobody in.
    pub(super) fn count(&self) -> (usize, usize) {
        let pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let nobody = pairs.iter().filter(|pair| pair.iter().all(|(_, told)| *told != Told::In));
        (pairs.len(), nobody.count())
    }

    /// Everything that is not as those who tried were told.
    pub(super) fn judge(&self, intent: &Intent) -> Vec<String> {
        let is_in = |key: &WgPublicKey| intent.hosts(None).any(|host| host.wireguard_key == *key);
        let pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.iter().flat_map(|pair| wrong(&pair.map(|(key, told)| (is_in(&key), told)))).collect()
    }
}

/// What is wrong about two who showed the same key: whether each is in, and what it was told.
fn wrong(pair: &[(bool, Told); 2]) -> Option<String> {
    let fits = |(is_in, told): &(bool, Told)| match told {
        Told::In => *is_in,
        Told::Out => !is_in,
        Told::Nothing => true,
    };
    let both = pair.iter().all(|(is_in, _)| *is_in);
    (both || !pair.iter().all(fits)).then(|| format!("a key for one machine, and who is in by it: {pair:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gets_in_and_is_told_so() {
        assert_eq!(wrong(&[(true, Told::In), (false, Told::Out)]), None);
        assert_eq!(wrong(&[(false, Told::Nothing), (true, Told::Nothing)]), None);
        assert!(wrong(&[(true, Told::In), (true, Told::Nothing)]).is_some());
        assert!(wrong(&[(false, Told::In), (false, Told::Out)]).is_some());
        assert!(wrong(&[(true, Told::Out), (false, Told::Out)]).is_some());
    }
}
