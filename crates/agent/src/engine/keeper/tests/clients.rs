//! Where clients of several gateways are sent to.

use super::*;

#[tokio::test]
async fn a_client_of_two_gateways_is_sent_to_where_it_is() {
    let mut map = map(3);
    let own = map.host.id;
    let other = host_id(1);
    let led = |via: [model::HostId; 2]| {
        let mut node = PeerNode::new(NETWORK, address(2));
        node.via = via.to_vec();
        Peer { nodes: vec![node], seen: Vec::new(), ..peer(2) }
    };
    map.peers.insert(host(2), led([other, own]));
    let folder = tempfile::tempdir().unwrap();
    let kept = KeptFile::open(folder.path().join("sysctls.json")).unwrap();
    let mut keeper = settled(&map, Pretended::default(), kept).await;
    keeper.clients.handle_map(&map, keeper.now());
    let sent_to = |keeper: &Keeper<Pretended>| {
        let peers = keeper.hands.0.lock().unwrap().0.device().unwrap().peers.clone();
        let net = "10.88.0.2/32".parse().unwrap();
        peers
            .into_iter()
            .filter(|(_, peer)| peer.allowed.contains(&net))
            .map(|(key, _)| key)
            .collect::<Vec<_>>()
    };
    assert_eq!(sent_to(&keeper), [key(1)], "the map says so");
    assert!(keeper.look().await && keeper.clients_seen(&map).is_none() && !keeper.place_clients(&map).await);

    {
        let mut inner = keeper.hands.0.lock().unwrap();
        let device = inner.0.link.as_mut().and_then(|link| link.device.as_mut()).unwrap();
        device.peers.get_mut(&key(2)).unwrap().last_handshake =
            Some(Timestamp::from_millis(1_800_000_000_000));
    }
    assert!(keeper.look().await && keeper.clients_seen(&map).is_some() && keeper.place_clients(&map).await);
    assert_eq!(sent_to(&keeper), [key(2)], "it has shaken hands here");

    // An agent that starts with this map and this machine takes nothing away.
    let machine = std::mem::take(&mut keeper.hands);
    let actual = machine.observe().await.unwrap();
    let (local, secret) = (keeper.local.clone(), keeper.secret.clone());
    let kept = KeptFile::open(folder.path().join("sysctls.json")).unwrap();
    let mut keeper = Keeper::new(machine, local, secret, kept, actual, Instant::now());
    keeper.paths.handle_map(&map, ["192.0.2.77/24".parse().unwrap()].into(), keeper.now());
    keeper.clients.handle_map(&map, keeper.now());
    done(&keeper);
    keeper.settle(&map).await;
    assert_eq!((sent_to(&keeper), done(&keeper).ops), (vec![key(2)], Vec::new()));

    // The map says that it went, and later that it is here.
    let members = BTreeSet::from([host(2)]);
    for (via, there) in [([host_id(3), own], key(3)), ([own, other], key(2))] {
        map.peers.insert(host(2), led(via));
        keeper.clients.handle_members(&map, &members, keeper.now());
        keeper.settle_peers(&map, &members).await;
        assert_eq!(sent_to(&keeper), [there]);
    }
}

fn host_id(number: u16) -> model::HostId {
    model::HostId::from_bytes(*host(number).as_bytes())
}
