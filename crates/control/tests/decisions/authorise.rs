//! Who may give which command: a table of all of them.

use std::collections::BTreeSet;

use control::{
    Actor, ClientEdit, Command, Edit, EgressEdit, NetworkEdit, NodeEdit, PolicyEdit, Rejection,
    authorise_administration, authorise_reading,
};
use model::{
    Access, ApiTokenId, ClientId, DnsRecordId, EgressId, EnrollmentKeyId, HostId, NetworkId, NodeId,
    PolicyId, PolicyTestId, RecordData, Role, SealingPublicKey, Subject, TokenPurpose, UpstreamId, UserId,
    Uses, WgPublicKey,
};
use wire::{HostSettings, Leave, NodeSwitch};

use crate::office::Office;
use crate::server::{Server, digest, hash, machine};

/// One command of each kind. What they name is not there, unless it is `user`.
fn commands(user: UserId) -> Vec<Command> {
    [about_people(user), about_networks(), about_hosts(), about_members(), about_policies_and_names()]
        .concat()
}

fn about_people(user: UserId) -> Vec<Command> {
    let name = || "zoe".parse().unwrap();
    let (title, purpose) = ("one".parse().unwrap(), TokenPurpose::Program);
    vec![
        Command::SetUpFirstAdministrator { name: name(), password: hash("x") },
        Command::CreateUser { name: name(), password: hash("x"), role: Role::Auditor },
        Command::ChangePassword { user, password: hash("x"), keep: None },
        Command::SetRole { user, role: Role::Administrator },
        Command::DeleteUser { user },
        Command::SetGroups { user, groups: Default::default() },
        Command::CreateToken { user, title, purpose, digest: digest(1), expires: None },
        Command::DeleteToken { token: ApiTokenId::from_bytes([9; 16]) },
    ]
}

fn about_networks() -> Vec<Command> {
    let (network, key) = (NetworkId::from_bytes([9; 16]), EnrollmentKeyId::from_bytes([9; 16]));
    let title = || "one".parse().unwrap();
    let (uses, networks) = (Uses::Unlimited, Vec::new());
    vec![
        Command::CreateNetwork {
            name: "office".parse().unwrap(),
            ranges: None,
            keepalive: None,
            access: None,
            approval: false,
            domain: None,
        },
        Command::UpdateNetwork { network, edit: NetworkEdit::default() },
        Command::DeleteNetwork { network, force: true },
        Command::CreateEnrollmentKey {
            title: title(),
            digest: digest(1),
            networks,
            uses,
            expires: None,
            tags: Default::default(),
            ephemeral: false,
        },
        Command::UpdateEnrollmentKey { key, title: title() },
        Command::DeleteEnrollmentKey { key },
    ]
}

fn about_hosts() -> Vec<Command> {
    let (network, host) = (NetworkId::from_bytes([9; 16]), HostId::from_bytes([9; 16]));
    let node = NodeId::from_bytes([9; 16]);
    let name = || "office".parse().unwrap();
    vec![
        Command::Register(machine(5, None)),
        Command::UpdateHost {
            host,
            name: None,
            mtu: Edit::Keep,
            static_endpoint: Edit::Keep,
            default: None,
            ephemeral: None,
        },
        Command::RemoveHost { host },
        Command::AddNode { host, network, addresses: None, tags: Default::default() },
        Command::UpdateNode { node, edit: NodeEdit::default() },
        Command::RemoveNode { node },
        Command::OwnSettings(HostSettings::default()),
        Command::OwnSwitch(NodeSwitch { network: name(), connected: true }),
        Command::OwnLeave(Leave::Network(name())),
        Command::OwnKey(WgPublicKey::from_bytes([77; 32])),
        Command::OwnChannel { server: sealing(1), encapsulated: sealing(2) },
        Command::RotateKeys { host: Some(host) },
        Command::Sweep { away: BTreeSet::new() },
    ]
}

fn sealing(number: u8) -> SealingPublicKey {
    SealingPublicKey::from_bytes([number; 32])
}

fn about_members() -> Vec<Command> {
    let office = Office::new();
    let (client, egress) = (ClientId::from_bytes([9; 16]), EgressId::from_bytes([9; 16]));
    vec![
        Command::CreateClient(office.new_client("pad", &["ada"])),
        Command::UpdateClient { client, edit: ClientEdit::default() },
        Command::DeleteClient { client },
        Command::CreateEgress(office.new_egress("shop", "192.168.1.0/24", &["ada"])),
        Command::UpdateEgress { egress, edit: EgressEdit::default() },
        Command::DeleteEgress { egress },
    ]
}

fn about_policies_and_names() -> Vec<Command> {
    let network = NetworkId::from_bytes([9; 16]);
    let policy = PolicyId::from_bytes([9; 16]);
    let (from, to) = (Subject::Everything, Subject::Everything);
    let (record, upstream) = (DnsRecordId::from_bytes([9; 16]), UpstreamId::from_bytes([9; 16]));
    let (service, expect) = ("tcp".parse().unwrap(), Access::Allow);
    let data = RecordData::A { address: [192, 0, 2, 1].into() };
    vec![
        Command::CreatePolicy(Office::new().new_policy(
            "web",
            &[Subject::Everything],
            &[Subject::Everything],
        )),
        Command::UpdatePolicy { policy, edit: PolicyEdit::default() },
        Command::DeletePolicy { policy },
        Command::CreatePolicyTest { network, from, to, service, expect },
        Command::DeletePolicyTest { test: PolicyTestId::from_bytes([9; 16]) },
        Command::CreateDnsRecord { network, name: None, ttl: 60, data },
        Command::UpdateDnsRecord { record, ttl: None, data: None },
        Command::DeleteDnsRecord { record },
        Command::CreateUpstream { network, domain: "corp".parse().unwrap(), servers: Vec::new() },
        Command::UpdateUpstream { upstream, servers: Vec::new() },
        Command::DeleteUpstream { upstream },
        Command::Import { records: Vec::new(), prune: false, seen: None },
    ]
}

/// The names of the commands that the actor may give, of those that concern `user`.
fn allowed(actor: Actor, user: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    let (template, _) = server();
    for command in commands(template.intent.user_by_name(&user.parse().unwrap()).unwrap().id) {
        let (mut server, _) = self::server();
        let name = command.name();
        match server.give(actor, command) {
            Err(Rejection::NotAllowed { command }) => assert_eq!(command, name),
            Err(Rejection::NotLoggedIn) => {}
            Ok(_) | Err(_) => names.push(name),
        }
    }
    names
}

/// A server with an administrator, two auditors and a host: the same each time.
fn server() -> (Server, [Actor; 3]) {
    let mut server = Server::new();
    let anna = server.user("anna", Role::Administrator);
    let ben = server.user("ben", Role::Auditor);
    server.user("cleo", Role::Auditor);
    server.key(7, &[], Uses::Unlimited, None);
    let host = server.register(machine(1, Some(7))).unwrap().id;
    (server, [Actor::User(anna), Actor::User(ben), Actor::Host(host)])
}

#[test]
fn each_actor_may_do_what_the_table_says_and_no_more() {
    let (_, [anna, ben, host]) = server();
    assert_eq!(allowed(Actor::Setup, "ben"), ["set-up-first-administrator"]);
    assert_eq!(allowed(Actor::Registrant, "ben"), ["register"]);
    assert_eq!(allowed(host, "ben"), ["own-settings", "own-switch", "own-leave", "own-key", "own-channel"]);
    assert_eq!(allowed(ben, "ben"), ["change-password", "create-token"]);
    assert_eq!(allowed(ben, "cleo"), [""; 0]);
    let not_administrators = [
        "set-up-first-administrator",
        "create-token",
        "register",
        "own-settings",
        "own-switch",
        "own-leave",
        "own-key",
        "own-channel",
        "sweep",
    ];
    let all: Vec<_> = commands(UserId::from_bytes([0; 16])).iter().map(Command::name).collect();
    let administrators: Vec<_> = all.into_iter().filter(|name| !not_administrators.contains(name)).collect();
    assert_eq!(allowed(anna, "ben"), administrators);
    let not_systems = [
        "set-up-first-administrator",
        "register",
        "own-settings",
        "own-switch",
        "own-leave",
        "own-key",
        "own-channel",
    ];
    let all = commands(UserId::from_bytes([0; 16]));
    assert_eq!(all.len(), 45);
    let systems: Vec<_> = all.iter().map(Command::name).filter(|name| !not_systems.contains(name)).collect();
    assert_eq!(allowed(Actor::System, "ben"), systems);
}

#[test]
fn a_role_that_was_taken_away_counts_at_once() {
    let (mut server, [anna, ben, _]) = server();
    let Actor::User(ben_id) = ben else { unreachable!() };
    let create = || Command::CreateNetwork {
        name: "lab".parse().unwrap(),
        ranges: None,
        keepalive: None,
        access: None,
        approval: false,
        domain: None,
    };
    assert!(server.give(ben, create()).is_err());
    server.give(anna, Command::SetRole { user: ben_id, role: Role::Administrator }).unwrap();
    server.give(ben, create()).unwrap();
    server.give(anna, Command::DeleteUser { user: ben_id }).unwrap();
    assert_eq!(server.give(ben, create()), Err(Rejection::NotLoggedIn));
    assert_eq!(authorise_reading(&server.intent, &ben), Err(Rejection::NotLoggedIn));
}

#[test]
fn only_accounts_look_at_everything() {
    let (server, [anna, ben, host]) = server();
    assert_eq!(authorise_reading(&server.intent, &anna), Ok(()));
    assert_eq!(authorise_reading(&server.intent, &ben), Ok(()));
    for actor in [host, Actor::Setup, Actor::Registrant] {
        assert!(authorise_reading(&server.intent, &actor).is_err());
    }
}

#[test]
fn others_tokens_are_ended_by_administrators_only() {
    let (mut server, [anna, ben, _]) = server();
    let token = |server: &mut Server, actor: Actor, number| {
        let Actor::User(user) = actor else { unreachable!() };
        let (title, purpose) = ("one".parse().unwrap(), TokenPurpose::Program);
        let command = Command::CreateToken { user, title, purpose, digest: digest(number), expires: None };
        server.give(actor, command).unwrap();
        server.intent.api_token_by_digest(&digest(number)).unwrap().id
    };
    let annas = token(&mut server, anna, 1);
    let bens = token(&mut server, ben, 2);
    assert_eq!(server.give(ben, Command::DeleteToken { token: annas }).unwrap_err().code(), "not-allowed");
    server.give(ben, Command::DeleteToken { token: bens }).unwrap();
    let bens = token(&mut server, ben, 3);
    server.give(anna, Command::DeleteToken { token: bens }).unwrap();
}

#[test]
fn a_host_that_was_removed_is_told_so() {
    let (mut server, [_, _, host]) = server();
    let Actor::Host(id) = host else { unreachable!() };
    server.give(host, Command::OwnLeave(Leave::Server)).unwrap();
    let refused = server.give(host, Command::OwnSettings(HostSettings::default()));
    assert_eq!(refused, Err(Rejection::NoSuchHost { host: id }));
}

#[test]
fn what_is_no_command_is_for_administrators_alone() {
    let (server, [anna, ben, host]) = server();
    let asks = |actor| authorise_administration(&server.intent, &actor, "backup");
    assert_eq!((asks(anna), asks(Actor::System)), (Ok(()), Ok(())));
    for actor in [ben, host, Actor::Setup, Actor::Registrant] {
        assert_eq!(asks(actor), Err(Rejection::NotAllowed { command: "backup" }));
    }
    assert_eq!(asks(Actor::User(UserId::from_bytes([9; 16]))), Err(Rejection::NotLoggedIn));
}
