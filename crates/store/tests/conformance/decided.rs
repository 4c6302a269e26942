//! Histories as they come about: commands are decided by `control`, committed, and applied.

use control::{Actor, Command, Edit, Env, Intent, NetworkEdit, NodeEdit, Register, apply, decide};
use model::{
    Digest, HostName, Keepalive, PasswordHash, Role, SealingPublicKey, SigningPublicKey, Title, TokenPurpose,
    Uses, WgPublicKey,
};
use proptest::prelude::*;
use store::Commit;

use super::history::{SECRET, time_of};

/// What somebody wants: which command, and two small numbers that pick its subjects.
pub type Wish = (u8, u8, u8);

/// Wishes of all kinds. Many are refused, as in life.
pub fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    proptest::collection::vec((0u8..14, 0u8..6, 0u8..6), 1..60)
}

fn pick<T>(mut all: impl Iterator<Item = T>, index: u8) -> Option<T> {
    all.nth(usize::from(index))
}

fn title(number: u8) -> Title {
    format!("title {number}").parse().unwrap()
}

fn password(number: u8) -> PasswordHash {
    PasswordHash::from_phc(format!("{SECRET}{number}"))
}

fn register(host: u8, key: u8) -> Command {
    let bytes = [host + 1; 32];
    Command::Register(Register {
        enrollment: Some(Digest::from_bytes([key; 32])),
        hostname: HostName::nearest("web"),
        wireguard_key: WgPublicKey::from_bytes(bytes),
        signing_key: SigningPublicKey::from_bytes(bytes),
        sealing_key: SealingPublicKey::from_bytes(bytes),
        encapsulated: SealingPublicKey::from_bytes(bytes),
        server: None,
        settings: Default::default(),
        addresses: Vec::new(),
    })
}

/// The command that this wish is, where its subject exists.
fn command(intent: &Intent, (kind, a, b): Wish) -> Option<(Actor, Command)> {
    let name = || format!("name-{a}");
    let network = || pick(intent.networks(None), a).map(|network| network.id);
    let host = || pick(intent.hosts(None), a).map(|host| host.id);
    let node = || pick(intent.nodes(None), a).map(|node| node.id);
    let user = || pick(intent.users(None), a).map(|user| user.id);
    let command = match kind {
        0 | 1 => Command::CreateNetwork {
            name: name().parse().unwrap(),
            ranges: None,
            keepalive: None,
            access: None,
            approval: false,
            domain: None,
        },
        2 | 3 => return Some((Actor::Registrant, register(a, b))),
        4 => Command::CreateEnrollmentKey {
            title: title(a),
            digest: Digest::from_bytes([a; 32]),
            networks: network().into_iter().collect(),
            uses: if b < 3 { Uses::Left(u32::from(b) + 1) } else { Uses::Unlimited },
            expires: None,
            tags: Default::default(),
            ephemeral: false,
        },
        5 => {
            Command::CreateUser { name: name().parse().unwrap(), password: password(b), role: Role::Auditor }
        }
        6 => Command::CreateToken {
            user: user()?,
            title: title(b),
            purpose: TokenPurpose::Login,
            digest: Digest::from_bytes([16 * a + b; 32]),
            expires: None,
        },
        7 => Command::ChangePassword { user: user()?, password: password(b), keep: None },
        8 => Command::DeleteUser { user: user()? },
        9 => Command::UpdateNetwork {
            network: network()?,
            edit: NetworkEdit {
                name: Some(format!("name-{b}").parse().unwrap()),
                keepalive: Keepalive::new(u16::from(b) + 1).ok(),
                ..NetworkEdit::default()
            },
        },
        10 => Command::DeleteNetwork { network: network()?, force: b > 2 },
        11 => Command::UpdateHost {
            host: host()?,
            name: Some(name().parse().unwrap()),
            mtu: Edit::Keep,
            static_endpoint: if b > 2 {
                Edit::Set("203.0.113.7:51820".parse().unwrap())
            } else {
                Edit::Clear
            },
            default: None,
            ephemeral: None,
        },
        12 => Command::UpdateNode {
            node: node()?,
            edit: NodeEdit { connected: Some(b > 2), ..NodeEdit::default() },
        },
        _ => Command::RemoveHost { host: host()? },
    };
    Some((Actor::System, command))
}

/// The commits that come of these wishes, and intent after each; the first is empty.
pub fn decided(wishes: &[Wish]) -> (Vec<Commit>, Vec<Intent>) {
    let mut intents = vec![Intent::default()];
    let mut commits: Vec<Commit> = Vec::new();
    let mut count = 0u8;
    let mut random = |bytes: &mut [u8]| {
        for byte in bytes {
            count = count.wrapping_mul(5).wrapping_add(131);
            *byte = count;
        }
    };
    for (step, wish) in (1..).zip(wishes) {
        let mut intent = intents.last().unwrap().clone();
        let Some((actor, command)) = command(&intent, *wish) else {
            continue;
        };
        let mut env =
            Env { now: time_of(step), domain: &control::plan::default_domain(), random: &mut random };
        let Ok(change) = decide(&intent, &actor, command, &mut env) else {
            continue;
        };
        if change.is_empty() {
            continue;
        }
        apply(&mut intent, &change);
        commits.push(Commit { seq: intent.seq(), time: time_of(step), change });
        intents.push(intent);
    }
    (commits, intents)
}
