//! What becomes of everybody where the firewall cannot be set.

use super::*;

fn allowed(keeper: &Keeper<Pretended>) -> usize {
    let inner = keeper.hands.0.lock().unwrap();
    inner.0.device().unwrap().peers.values().map(|peer| peer.allowed.len()).sum()
}

/// A map that policy guards.
fn guarded(peers: u16) -> HostMap {
    let mut map = map(peers);
    let everything = || vec![wire::Party::Everything];
    let grant = wire::Grant { from: everything(), to: everything(), services: Vec::new() };
    let told = map.networks.get_mut(&NETWORK).unwrap();
    (told.guarded, told.grants) = (true, vec![grant]);
    map
}

#[tokio::test]
async fn without_the_firewall_that_policy_needs_everybody_is_shut_out_and_comes_back_with_it() {
    let mut map = guarded(5);
    let mut keeper = at_rest(&map).await;
    assert_eq!(allowed(&keeper), 5);
    keeper.hands.2.store(true, Ordering::Relaxed);

    // Somebody removes it, and it cannot be made again.
    keeper.hands.0.lock().unwrap().0.apply(&Around::RemoveFirewall.into());
    assert!(keeper.look().await);
    assert_eq!(allowed(&keeper), 0);
    let told: Vec<&str> = keeper.failures().iter().map(|failure| failure.op.as_str()).collect();
    assert_eq!(told, ["set the firewall", "let anything in or out over netloom0"]);
    assert_eq!(keeper.hands.0.lock().unwrap().0.device().unwrap().peers.len(), 5, "sessions stay");

    // Whoever comes meanwhile comes to shut doors.
    follow(&mut keeper, &mut map, 6, Some(peer(6))).await;
    assert_eq!(allowed(&keeper), 0);

    // One that comes behind a firewall that can be set again brings all others back.
    keeper.hands.2.store(false, Ordering::Relaxed);
    follow(&mut keeper, &mut map, 7, Some(peer(7))).await;
    assert_eq!(allowed(&keeper), 7);
    assert!(keeper.look().await);
    assert_eq!(keeper.failures(), []);
    is_as_derived_anew(&keeper, &map);
}

#[tokio::test]
async fn a_change_of_the_firewall_that_is_another_one_by_now_makes_it_anew_and_shuts_nobody_out() {
    let mut map = guarded(5);
    let mut keeper = at_rest(&map).await;
    keeper.hands.0.lock().unwrap().0.surroundings.firewall = Some(FirewallLook::Changed);
    follow(&mut keeper, &mut map, 6, Some(peer(6))).await;
    assert_eq!((allowed(&keeper), keeper.failures()), (6, &[][..]));
    assert_eq!(done(&keeper).ops[0], "set the firewall");
    is_as_derived_anew(&keeper, &map);
}

#[tokio::test]
async fn without_its_firewall_a_gateway_passes_nothing_on_and_keeps_its_peers() {
    let folder = tempfile::tempdir().unwrap();
    let mut map = gateway(3);
    let mut keeper =
        settled(&map, closed(), KeptFile::open(folder.path().join("sysctls.json")).unwrap()).await;
    assert_eq!(forwards(&keeper), "1");
    keeper.hands.2.store(true, Ordering::Relaxed);
    keeper.hands.0.lock().unwrap().0.apply(&Around::RemoveFirewall.into());
    assert!(keeper.look().await);
    assert_eq!((forwards(&keeper).as_str(), allowed(&keeper)), ("0", 3));
    assert!(keeper.failures().iter().any(|failure| failure.op == "pass on packets of others"));
    follow(&mut keeper, &mut map, 4, Some(peer(4))).await;
    assert_eq!((forwards(&keeper).as_str(), allowed(&keeper)), ("0", 4));

    keeper.hands.2.store(false, Ordering::Relaxed);
    assert!(keeper.look().await);
    assert_eq!((forwards(&keeper).as_str(), keeper.failures()), ("1", &[][..]));
}
