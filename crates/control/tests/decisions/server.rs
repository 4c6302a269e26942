//! A brain to give commands to, one random stream and one clock.

use std::time::Duration;

use control::{Actor, Change, Command, Env, Intent, Register, Rejection, apply, decide};
use model::{
    Digest, Host, HostId, Network, NetworkId, Node, PasswordHash, Ranges, Role, SealingPublicKey,
    SigningPublicKey, Timestamp, UserId, Uses, WgPublicKey,
};
use wire::HostSettings;

pub(crate) struct Server {
    pub(crate) intent: Intent,
    pub(crate) now: Timestamp,
    random: u8,
}

pub(crate) fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

pub(crate) fn hash(text: &str) -> PasswordHash {
    PasswordHash::from_phc(text.to_owned())
}

pub(crate) fn ranges(v4: &str) -> Ranges {
    Ranges::new(Some(v4.parse().unwrap()), None).unwrap()
}

/// Machine number so-and-so, that comes with the key of this number.
pub(crate) fn machine(number: u8, key: Option<u8>) -> Register {
    Register {
        enrollment: key.map(digest),
        hostname: "web".parse().unwrap(),
        wireguard_key: WgPublicKey::from_bytes([number; 32]),
        signing_key: SigningPublicKey::from_bytes([number; 32]),
        sealing_key: SealingPublicKey::from_bytes([number; 32]),
        encapsulated: SealingPublicKey::from_bytes([number; 32]),
        server: None,
        settings: HostSettings::default(),
        addresses: Vec::new(),
    }
}

impl Server {
    pub(crate) fn new() -> Self {
        Self { intent: Intent::default(), now: Timestamp::from_millis(1_800_000_000_000), random: 0 }
    }

    /// Gives a command and makes the change so.
    pub(crate) fn give(&mut self, actor: Actor, command: Command) -> Result<Change, Rejection> {
        let mut random = |bytes: &mut [u8]| {
            self.random = self.random.wrapping_add(1);
            bytes.fill(self.random);
        };
        let change = decide(
            &self.intent,
            &actor,
            command,
            &mut Env { now: self.now, domain: &control::plan::default_domain(), random: &mut random },
        )?;
        apply(&mut self.intent, &change);
        assert_eq!(self.intent.check(), []);
        Ok(change)
    }

    pub(crate) fn system(&mut self, command: Command) -> Result<Change, Rejection> {
        self.give(Actor::System, command)
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    pub(crate) fn user(&mut self, name: &str, role: Role) -> UserId {
        let name: model::UserName = name.parse().unwrap();
        let create = Command::CreateUser { name: name.clone(), password: hash("one"), role };
        self.system(create).unwrap();
        self.intent.user_by_name(&name).unwrap().id
    }

    pub(crate) fn network(&mut self, name: &str, v4: &str) -> NetworkId {
        let command = Command::CreateNetwork {
            name: name.parse().unwrap(),
            ranges: Some(ranges(v4)),
            keepalive: None,
            access: None,
            approval: false,
            domain: None,
        };
        let change = self.system(command).unwrap();
        change.made::<Network>().unwrap().id
    }

    pub(crate) fn key(&mut self, number: u8, networks: &[NetworkId], uses: Uses, expires: Option<Timestamp>) {
        let title = format!("key {number}").parse().unwrap();
        let networks = networks.to_vec();
        self.system(Command::CreateEnrollmentKey {
            title,
            digest: digest(number),
            networks,
            uses,
            expires,
            tags: Default::default(),
            ephemeral: false,
        })
        .unwrap();
    }

    pub(crate) fn uses(&self, number: u8) -> Uses {
        self.intent.enrollment_key_by_digest(&digest(number)).unwrap().uses
    }

    pub(crate) fn register(&mut self, machine: Register) -> Result<Host, Rejection> {
        let key = machine.signing_key;
        self.give(Actor::Registrant, Command::Register(machine))?;
        Ok(self.intent.host_by_signing_key(&key).unwrap().clone())
    }

    pub(crate) fn nodes(&self, host: HostId) -> Vec<Node> {
        self.intent.nodes_of_host(host).cloned().collect()
    }
}
