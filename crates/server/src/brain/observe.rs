//! What hosts show of themselves: put into inventory where this server leads, and handed on where another one does.
//!
//! Not for what that means for others (`control`). It keeps true that a host which is heard of in any way counts as seen, and
//! that hearing it costs neither a map nor a row each time.

use std::time::Duration;

use control::Effect;
use control::plan::Touched;
use model::{HostId, Timestamp};
use tokio::time::Instant;
use wire::Facts;

use super::hub::Hub;
use super::{Hearsay, Sighting, now};

/// How often the doors of the rendezvous are asked whom they hear; hosts speak there every 25 seconds.
const LISTEN: Duration = Duration::from_secs(15);
/// A host that asks for something, and is connected to no broker, is not noted again within this time.
pub(super) const ASKED: Duration = Duration::from_secs(1);
/// The same for one that is only heard at a door.
const HEARD: Duration = Duration::from_secs(40);

impl Hub {
    pub(super) fn registered(&mut self, host: HostId, facts: &Facts) {
        // It may be gone again: removed before it was said what it is.
        if self.intent.host(host).is_none() {
            return;
        }
        self.inventory.observe_facts(host, facts, now());
        self.keeper.changed(host);
        self.flush_soon();
    }

    pub(super) fn seen(&mut self, Sighting { key, door, endpoint }: Sighting) {
        let Some(host) = self.intent.host_by_wireguard_key(&key).map(|host| host.id) else {
            return;
        };
        let effect = self.inventory.observe_seen(host, door, endpoint, now());
        tracing::debug!(%host, ?door, %endpoint, ?effect, "host seen");
        self.observed(host, effect);
    }

    fn observed(&mut self, host: HostId, effect: Effect) {
        self.keeper.changed(host);
        match effect {
            Effect::None => {}
            Effect::Maps => self.touch(Touched::by_inventory(&self.intent, host)),
        }
    }

    pub(super) fn presence(&mut self, host: HostId, online: bool) {
        if self.intent.host(host).is_none() {
            return;
        }
        tracing::info!(%host, online, "presence changed");
        self.inventory.observe_presence(host, online, now());
        self.keeper.changed(host);
        // Shown to people only, but they read it from what was told.
        self.flush_soon();
    }

    pub(super) fn report(&mut self, host: HostId, sealed: &[u8]) {
        let report = self.intent.host(host).and_then(|known| self.reports.open(known, sealed));
        let Some(report) = report else {
            return;
        };
        let effect = self.inventory.observe_report(host, &report, now());
        self.observed(host, effect);
        self.flush_soon();
    }

    /// A host was heard of that may not be connected to the broker: people see when, and nobody takes it for gone.
    pub(super) fn heard(&mut self, host: HostId, at: Timestamp, rest: Duration) {
        if self.intent.host(host).is_none() || !self.is_news(host, at, rest) {
            return;
        }
        self.inventory.observe_heard(host, at);
        self.keeper.changed(host);
        self.flush_soon();
    }

    /// Of who is connected the broker tells.
    fn is_news(&self, host: HostId, at: Timestamp, rest: Duration) -> bool {
        self.inventory
            .host(host)
            .is_none_or(|known| !known.online && known.last_seen.is_none_or(|last| last + rest <= at))
    }

    /// Asks the doors of the rendezvous for hosts that are not connected to the broker.
    pub(super) fn listen(&mut self) {
        self.listen_at = Instant::now() + LISTEN;
        for (host, ago) in self.heard_at_doors() {
            let at = now().as_millis().saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX));
            let at = Timestamp::from_millis(at);
            match self.leads() {
                true => self.heard(host, at, HEARD),
                // What was heard before was said then. Who is not heard of now is in a moment.
                false if ago <= LISTEN && self.is_news(host, at, HEARD) => {
                    let _full = self.hearsay.try_send(Hearsay::Heard(host));
                }
                false => {}
            }
        }
    }

    /// Who is not connected and was heard at one of the doors, and how long ago.
    fn heard_at_doors(&self) -> Vec<(HostId, Duration)> {
        let connected = |host: HostId| self.inventory.host(host).is_some_and(|known| known.online);
        let away = self.intent.hosts(None).filter(|host| !connected(host.id));
        let heard = away.filter_map(|host| {
            let key = host.wireguard_key.as_bytes();
            let last = self.doors.iter().filter_map(|door| door.last_heard(key)).max()?;
            Some((host.id, last.elapsed()))
        });
        heard.collect()
    }

    /// Presence as the broker knows it now, in place of what somebody else wrote down.
    pub(super) fn ask_who_is_there(&mut self) {
        self.inventory.forget_presence();
        let hosts = self.intent.hosts(None).map(|host| host.id);
        let there: Vec<HostId> = hosts.filter(|host| self.outbox.is_online(*host)).collect();
        there.into_iter().for_each(|host| self.inventory.observe_presence(host, true, now()));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use control::{Intent, Record};
    use dataplane::rendezvous::Rendezvous;
    use gotatun::noise::index_table::IndexTable;
    use gotatun::noise::rate_limiter::RateLimiter;
    use gotatun::noise::{Tunn, TunnResult};
    use gotatun::packet::Packet;
    use gotatun::x25519::{PublicKey, StaticSecret};
    use model::{Epoch, Host, SealingIdentity, SealingPublicKey, SigningPublicKey, WgPublicKey};
    use store::Sqlite;
    use tokio::net::UdpSocket;
    use tokio::sync::{mpsc, watch};
    use wire::{SealingSecret, ServerLinks};

    use super::*;
    use crate::brain::Told;
    use crate::brain::hub::HubParts;
    use crate::broker::{Embedded, Limits};
    use crate::channels::Channels;
    use crate::cluster::{Claim, Role};

    const HOST: HostId = HostId::from_bytes([1; 16]);

    fn host(key: [u8; 32]) -> Host {
        let sealing = SealingPublicKey::from_bytes([3; 32]);
        Host {
            id: HOST,
            name: "web".parse().unwrap(),
            wireguard_key: WgPublicKey::from_bytes(key),
            signing_key: SigningPublicKey::from_bytes([5; 32]),
            sealing: SealingIdentity { key: sealing, encapsulated: sealing, server: None },
            mtu: None,
            static_endpoint: None,
            default: false,
            ephemeral: true,
            rotate: false,
            rotate_since: None,
            rekeyed: None,
            created: Timestamp::default(),
        }
    }

    /// A hub that leads or follows and knows this host, whom nobody has heard of for long.
    fn hub(
        folder: &std::path::Path,
        host: Host,
        doors: &[Rendezvous; 2],
        leads: bool,
    ) -> (Hub, mpsc::Receiver<Hearsay>) {
        let (broker, _) = Embedded::new(Limits::default(), Arc::new(|_, _| false));
        let (intent, domain) =
            (Intent::from_records(1, [Record::from(host)]).unwrap(), "x.test".parse().unwrap());
        let told = Told::followed(
            Arc::new(intent),
            control::Inventory::default(),
            ServerLinks::default(),
            domain,
            imbl::HashMap::new(),
        );
        let (hearsay, said) = mpsc::channel(8);
        let parts = HubParts {
            notices: mpsc::channel(1).1,
            told: watch::channel(Arc::new(told)).0,
            broker: Arc::new(broker),
            channels: Arc::new(Channels::new(SealingSecret::from_random([1; 32]), None)),
            doors: doors.each_ref().map(Rendezvous::peers),
            database: Arc::new(Sqlite::open(&folder.join("netloom.db")).unwrap()),
            coalesce: Duration::ZERO,
            claim: watch::channel(Claim::Follows { leader: None }).1,
            role: watch::channel(Role::Follows { leader: None }).0,
            hearsay,
        };
        (Hub::new(parts, leads.then_some(Epoch::new(1))), said)
    }

    /// Shakes hands with a door, and sends the keepalive that proves it.
    async fn meet(secret: &StaticSecret, door: &Rendezvous) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let limiter = Arc::new(RateLimiter::new(&PublicKey::from(secret), 1000));
        let door_key = PublicKey::from(door.public_key());
        let mut tunnel = Tunn::new(secret.clone(), door_key, None, None, IndexTable::from_os_rng(), limiter);
        let initiation = tunnel.format_handshake_initiation(true).expect("forced");
        socket
            .send_to(&Packet::from(gotatun::packet::WgKind::from(initiation)), door.local_addr())
            .await
            .unwrap();
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).await.unwrap();
        let packet = Packet::copy_from(&buffer[..length]).try_into_wg().expect("a WireGuard message");
        let TunnResult::WriteToNetwork(keepalive) = tunnel.handle_incoming_packet(packet) else {
            panic!("the answer was refused");
        };
        socket.send_to(&Packet::from(keepalive), door.local_addr()).await.unwrap();
    }

    #[tokio::test]
    async fn whom_only_a_door_hears_counts_as_seen_whichever_server_leads_and_is_not_noted_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let bind = |key| Rendezvous::bind((Ipv4Addr::LOCALHOST, 0).into(), [key; 32]).unwrap();
        let doors = [bind(8), bind(9)];
        let secret = StaticSecret::from([7; 32]);
        let host = host(PublicKey::from(&secret).to_bytes());
        let (mut leads, _) = hub(folder.path(), host.clone(), &doors, true);
        leads.listen();
        assert!(leads.inventory.host(HOST).is_none(), "nobody heard it yet");
        meet(&secret, &doors[1]).await;
        while doors[1].peers().last_heard(host.wireguard_key.as_bytes()).is_none() {
            tokio::task::yield_now().await;
        }
        let long_ago = Timestamp::from_millis(1);
        leads.inventory.observe_presence(HOST, false, long_ago);
        leads.listen();
        let seen = leads.inventory.host(HOST).unwrap().last_seen.unwrap();
        assert!(now().since(seen) < Duration::from_secs(60), "{seen}");
        assert_eq!(leads.keeper.waiting(), 1);
        leads.heard(HOST, seen + Duration::from_secs(20), HEARD);
        assert_eq!(leads.inventory.host(HOST).unwrap().last_seen, Some(seen), "it was noted a moment ago");
        leads.heard(HOST, seen + Duration::from_secs(20), ASKED);
        assert_eq!(leads.inventory.host(HOST).unwrap().last_seen, Some(seen + Duration::from_secs(20)));

        let other = tempfile::tempdir().unwrap();
        let (mut follows, mut said) = hub(other.path(), host, &doors, false);
        follows.inventory.observe_presence(HOST, false, long_ago);
        follows.listen();
        assert_eq!(said.try_recv(), Ok(Hearsay::Heard(HOST)));
        follows.inventory.observe_presence(HOST, true, long_ago);
        follows.listen();
        assert!(said.try_recv().is_err(), "of who is connected the broker tells");
    }
}
