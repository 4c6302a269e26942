//! The stage of a scenario: the brain, its clock and its randomness, the machines with their keys, and for each host the map
//! that it has from what it heard.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use control::plan::{Deltas, Picture, Roster, Touched, default_domain, deltas, host_map};
use control::{Actor, Change, Command, Effect, Env, Intent, Inventory, Record, Rejection, apply, decide};
use model::{Digest, DnsName, Epoch, Generation, HostId, SigningPublicKey, Subject, Timestamp, WgPublicKey};
use wire::{Class, HostMap, ServerLinks};

/// The 32 bytes that stand for a text, and for no other of up to 31 bytes.
pub(super) fn bytes(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (byte, from) in bytes[1..].iter_mut().zip(text.bytes()) {
        *byte = from;
    }
    bytes
}

/// The text that was made into these bytes.
pub(super) fn text_of(bytes: &[u8; 32]) -> String {
    String::from_utf8_lossy(&bytes[1..]).trim_end_matches('\0').to_owned()
}

/// A digest that stands for the secret of this name.
pub(super) fn digest(name: &str) -> Digest {
    Digest::from_bytes(bytes(name))
}

/// What a host hears.
pub(super) struct Heard {
    /// The host.
    pub(super) host: HostId,
    /// Its map before; none when it had none.
    pub(super) before: Option<HostMap>,
    /// Its map now; none when it was removed.
    pub(super) after: Option<HostMap>,
}

/// The brain and what is around it.
pub(super) struct Stage {
    /// What people want.
    pub(super) intent: Intent,
    /// What was seen.
    pub(super) inventory: Inventory,
    /// The time; moves by `wait` alone.
    pub(super) now: Timestamp,
    /// How often each machine has made itself a WireGuard key.
    pub(super) wireguard_keys: BTreeMap<String, u32>,
    /// What ids are called in what is shown.
    pub(super) names: BTreeMap<String, String>,
    /// What classes were made of.
    pub(super) classes: BTreeMap<Class, String>,
    domain: DnsName,
    links: ServerLinks,
    maps: BTreeMap<HostId, HostMap>,
    random: u8,
}

impl Stage {
    /// An empty server on the first of January.
    pub(super) fn new() -> Self {
        Self {
            intent: Intent::default(),
            inventory: Inventory::default(),
            now: Timestamp::from_millis(1_767_225_600_000),
            wireguard_keys: BTreeMap::new(),
            names: BTreeMap::new(),
            links: ServerLinks::default(),
            classes: BTreeMap::new(),
            domain: default_domain(),
            maps: BTreeMap::new(),
            random: 0,
        }
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    /// The WireGuard key that a machine has now.
    pub(super) fn wireguard_key(&self, machine: &str) -> WgPublicKey {
        let number = self.wireguard_keys.get(machine).copied().unwrap_or(1);
        WgPublicKey::from_bytes(bytes(&format!("{machine}.{number}")))
    }

    /// The host that a machine is. For a machine that is none, an id that no host has.
    pub(super) fn host(&mut self, machine: &str) -> HostId {
        let key = SigningPublicKey::from_bytes(bytes(machine));
        match self.intent.host_by_signing_key(&key) {
            Some(host) => host.id,
            None => self.absent(machine, HostId::from_bytes),
        }
    }

    /// An id that nothing has, for a name that nothing has.
    pub(super) fn absent<I: ToString>(&mut self, name: &str, id: impl Fn([u8; 16]) -> I) -> I {
        let id = id(std::array::from_fn(|at| bytes(name)[at + 1] | 0x80));
        self.names.insert(id.to_string(), name.to_owned());
        id
    }

    /// The map that a host has from what it heard.
    pub(super) fn map(&self, host: HostId) -> Option<&HostMap> {
        self.maps.get(&host)
    }

    /// Gives a command, and tells everybody what they must know.
    pub(super) fn give(
        &mut self,
        actor: &Actor,
        command: Command,
    ) -> Result<Result<(Change, Vec<Heard>), Rejection>> {
        let mut random = |bytes: &mut [u8]| {
            self.random = self.random.wrapping_add(1);
            bytes.fill(self.random);
        };
        let env = &mut Env { now: self.now, domain: &self.domain, random: &mut random };
        let change = match decide(&self.intent, actor, command, env) {
            Ok(change) => change,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let before = self.intent.clone();
        apply(&mut self.intent, &change);
        if let Some(violation) = self.intent.check().first() {
            bail!("intent does not hold together: {violation}");
        }
        for record in &change.records {
            self.learn_names(record.after.as_ref());
        }
        self.learn_classes();
        let touched = Touched::by_change(&before, &self.intent, &change);
        let inventory = self.inventory.clone();
        let heard = self.send(&before, &inventory, &touched)?;
        Ok(Ok((change, heard)))
    }

    /// Observes something about a host, and tells everybody what they must know.
    pub(super) fn observe(
        &mut self,
        host: HostId,
        observe: impl FnOnce(&mut Inventory, Timestamp) -> Effect,
    ) -> Result<Vec<Heard>> {
        ensure!(self.intent.host(host).is_some(), "there is no such host to be observed");
        let before = self.inventory.clone();
        let touched = match observe(&mut self.inventory, self.now) {
            Effect::None => Touched::default(),
            Effect::Maps => Touched::by_inventory(&self.intent, host),
        };
        let intent = self.intent.clone();
        self.send(&intent, &before, &touched)
    }

    fn learn_names(&mut self, record: Option<&Record>) {
        let (id, name) = match record {
            None => return,
            Some(Record::Network(network)) => (network.id.to_string(), network.name.to_string()),
            Some(Record::Host(host)) => (host.id.to_string(), text_of(host.signing_key.as_bytes())),
            Some(Record::EnrollmentKey(key)) => (key.id.to_string(), key.title.to_string()),
            Some(Record::User(user)) => (user.id.to_string(), user.name.to_string()),
            Some(Record::ApiToken(token)) => (token.id.to_string(), token.title.to_string()),
            Some(Record::Node(node)) => {
                let name = |id: String| self.names.get(&id).cloned().unwrap_or(id);
                let name = format!("{}/{}", name(node.host.to_string()), name(node.network.to_string()));
                (node.id.to_string(), name)
            }
            Some(Record::Client(client)) => (client.id.to_string(), client.name.to_string()),
            Some(Record::Egress(egress)) => (egress.id.to_string(), egress.name.to_string()),
            Some(Record::Policy(policy)) => (policy.id.to_string(), policy.name.to_string()),
            Some(Record::Upstream(upstream)) => (upstream.id.to_string(), upstream.domain.to_string()),
            Some(Record::PolicyTest(test)) => {
                let (from, to) = (self.subject(&test.from), self.subject(&test.to));
                (test.id.to_string(), format!("{from}→{to} by {}", test.service))
            }
            Some(Record::DnsRecord(record)) => {
                let name = record.name.as_ref().map_or_else(|| "@".to_owned(), ToString::to_string);
                (record.id.to_string(), name)
            }
        };
        self.names.insert(id, name);
    }

    fn learn_classes(&mut self) {
        let intent = &self.intent;
        let tags = intent.nodes(None).flat_map(|node| &node.tags);
        let tags: BTreeSet<_> = tags.chain(intent.clients().flat_map(|client| &client.tags)).collect();
        let subjects = intent.networks(None).flat_map(|network| intent.policies_in_network(network.id));
        let subjects = subjects.flat_map(|policy| policy.from.iter().chain(&policy.to));
        let mut things: Vec<(&str, String, Vec<u8>)> = Vec::new();
        things.extend(tags.into_iter().map(|tag| ("tag", tag.to_string(), tag.as_str().into())));
        for subject in subjects {
            match subject {
                Subject::Tag(tag) => things.push(("tag", tag.to_string(), tag.as_str().into())),
                Subject::Group(group) => things.push(("group", group.to_string(), group.as_str().into())),
                Subject::Everything
                | Subject::Node(_)
                | Subject::Client(_)
                | Subject::Egress(_)
                | Subject::User(_) => {}
            }
        }
        for user in intent.users(None) {
            things.push(("user", user.name.to_string(), user.id.as_bytes().to_vec()));
            let groups = user.groups.iter();
            things.extend(groups.map(|group| ("group", group.to_string(), group.as_str().into())));
        }
        for host in intent.hosts(None) {
            let name = text_of(host.signing_key.as_bytes());
            things.push(("internet", name, host.id.as_bytes().to_vec()));
        }
        for network in intent.networks(None) {
            for (kind, name, bytes) in &things {
                self.classes.insert(Class::new(network.id, kind, bytes), format!("{kind}:{name}"));
            }
        }
    }

    /// Patches the maps of those who hear something, and checks everybody's against the definition.
    fn send(&mut self, intent: &Intent, inventory: &Inventory, touched: &Touched) -> Result<Vec<Heard>> {
        let before = Picture { intent, inventory, links: &self.links, domain: &self.domain };
        let after = Picture {
            intent: &self.intent,
            inventory: &self.inventory,
            links: &self.links,
            domain: &self.domain,
        };
        let old = Roster::of(&before);
        let mut roster = old.clone();
        roster.update(&after, touched);
        ensure!(roster == Roster::of(&after), "the roster is not what it is from scratch");
        let Deltas { changed, new, removed } = deltas(&before, &after, &old, &roster, touched);
        let mut heard = Vec::new();
        for host in removed {
            heard.push(Heard { host, before: self.maps.remove(&host), after: None });
        }
        for (host, delta) in changed {
            let Some(map) = self.maps.get_mut(&host) else {
                bail!("{host} hears of a change before it has a map")
            };
            let old = map.clone();
            wire::patch(map, delta.to_wire(old.generation, old.generation.next()))?;
            heard.push(Heard { host, before: Some(old), after: Some(map.clone()) });
        }
        for host in new {
            let Some(map) = self.definition(host, Generation::first_of(Epoch::new(1))) else { continue };
            self.maps.insert(host, map.clone());
            heard.push(Heard { host, before: None, after: Some(map) });
        }
        self.check_maps()?;
        Ok(heard)
    }

    fn definition(&self, host: HostId, generation: Generation) -> Option<HostMap> {
        let Self { intent, inventory, links, domain, .. } = self;
        host_map(&Picture { intent, inventory, links, domain }, host, generation)
    }

    fn check_maps(&self) -> Result<()> {
        ensure!(self.maps.len() == self.intent.host_count(), "there are as many maps as hosts");
        for (host, map) in &self.maps {
            let told = Some(map) == self.definition(*host, map.generation).as_ref();
            ensure!(told, "the map of {host} is not what the definition says");
        }
        Ok(())
    }
}
