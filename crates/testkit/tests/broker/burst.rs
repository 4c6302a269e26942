//! Many hosts at the same instant, as after a restart of the server.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::link::{Link, LinkEvent};
use bytes::Bytes;
use model::HostId;
use server::broker::{Broker as _, BrokerEvent, Delivery};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::link::options;
use crate::server::start;

/// `NETLOOM_BURST=3000` asks for more than a test on a small machine should take.
fn hosts() -> usize {
    std::env::var("NETLOOM_BURST").ok().and_then(|count| count.parse().ok()).unwrap_or(300)
}

fn host(number: usize) -> HostId {
    HostId::from_bytes((number as u128).to_be_bytes())
}

/// Each host takes two file descriptors, because both ends are here.
fn allow_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_hosts_connect_at_once_and_each_gets_its_map() {
    allow_open_files();
    let hosts = hosts();
    let patience = Duration::from_secs(60);
    let mut server = start().await;
    let since = Instant::now();
    let mut links = JoinSet::new();
    for number in 0..hosts {
        let host = host(number);
        let mut options = options(server.url(), server.trust(), host);
        options.connect_timeout = patience;
        let expected = format!("map of {host}").into_bytes();
        links.spawn(async move {
            let (handle, mut events) = Link::connect(options).unwrap();
            loop {
                match events.recv().await.expect("the link lives") {
                    LinkEvent::Connected => {}
                    LinkEvent::Map(map) => {
                        assert_eq!(map, expected);
                        return handle;
                    }
                    LinkEvent::Disconnected { reason, .. } => panic!("a connection was refused: {reason}"),
                }
            }
        });
    }
    let mut there = HashSet::new();
    while there.len() < hosts {
        match timeout(patience, server.events.recv()).await.expect("not all came in time") {
            Some(BrokerEvent::Online { host }) => there.insert(host),
            other => panic!("only arrivals were expected: {other:?}"),
        };
    }
    println!("{hosts} hosts were online after {:?}", since.elapsed());
    let since = Instant::now();
    for host in &there {
        let map = Bytes::from(format!("map of {host}"));
        assert_eq!(server.broker.publish(*host, map), Delivery::Queued);
    }
    println!("{hosts} messages were queued in {:?}", since.elapsed());
    let handles = timeout(patience, links.join_all()).await.expect("not all got their map in time");
    println!("{hosts} maps had arrived after {:?}", since.elapsed());
    assert_eq!(server.broker.connected(), hosts);
    drop(Arc::new(handles));
}
