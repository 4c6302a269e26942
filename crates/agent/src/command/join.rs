//! `netclient join`: reads the token, proves to the server who this machine is, and leaves a daemon at work.
//!
//! ```text
//!   token ─► rights ─► server, clock ─► machine, disk ─► register ─► write ─► daemon ─► first map
//!            nothing has changed anywhere until here ──────┘ └── undone from here on if it fails
//! ```
//!
//! Not for keeping the machine up to date. It keeps true that a join that failed has changed nothing on this machine.

use std::io::Read as _;
use std::net::IpAddr;

use anyhow::{Context as _, bail};
use model::{HostName, Timestamp};
use reconcile::{Desired, LinkKind, conflict};
use wire::{
    Agreement, ClockSkew, Hello, HostSettings, Leave, MOST_SKEW, RegisterReply, RegisterRequest,
    Registration, Token,
};

use super::output::{Progress, count};
use super::service::Running;
use super::{Context, PATIENCE, service, undo, update};
use crate::control::Request;
use crate::hands;
use crate::options::{OptionFlags, Options};
use crate::state::{Identity, MachineMark, ServerRecord, State, file};
use crate::talk::{HostClient, ServerClient, now};
use crate::view::View;

const MOST_TOKEN: u64 = 16 * 1024;
/// What identity, server and options take on disk, and a first map.
const ROOM: usize = 64 * 1024;

/// What `join` was asked for besides options.
pub(super) struct Wish {
    pub(super) token: Option<String>,
    /// Addresses in the networks that are joined.
    pub(super) addresses: Vec<IpAddr>,
    /// Whether a daemon goes on.
    pub(super) daemon: bool,
}

/// What is known before the server is told anything.
struct Plan {
    token: Token,
    addresses: Vec<IpAddr>,
    options: Options,
    server: ServerClient,
    hello: Hello,
    identity: Identity,
    /// Whether there was state of ours before.
    fresh: Fresh,
}

/// How much of this machine's state is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fresh {
    /// Nothing was there.
    Machine,
    /// State was there, copied from another machine; it is replaced.
    Copy,
    /// This machine has an identity already.
    No,
}

/// Joins.
pub(super) async fn join(context: &Context, wish: Wish, flags: &OptionFlags) -> anyhow::Result<()> {
    let options = context.options(flags)?;
    let token = read_token(wish.token.or_else(|| options.token.clone()))?;
    hands::check_rights("join -t TOKEN")?;
    let progress = context.output.progress("asking the server");
    let plan = prepare(context, token, wish.addresses, options).await?;
    if plan.fresh == Fresh::Copy {
        context.output.note(
            "The state found here was copied from another machine; this one gets an identity of its own.",
        );
    }
    progress.say("registering");
    let made = context.state.create()?;
    let registered = match register(context, &plan).await {
        Ok(registered) => registered,
        Err(error) => {
            State::discard(&made);
            return Err(error);
        }
    };
    let joined = settle(context, &plan, &registered, wish.daemon, &progress).await;
    drop(progress);
    match joined {
        Ok((view, running)) => summary(context, &registered, &view, running.as_ref()),
        Err(error) => {
            back_out(context, &plan, &registered).await;
            Err(error)
        }
    }
}

fn read_token(given: Option<String>) -> anyhow::Result<Token> {
    let text = match given.as_deref() {
        None => bail!(
            "a token is needed: `netclient join -t TOKEN`; `netloom key create` on the server makes one"
        ),
        Some("-") => {
            let mut text = String::new();
            let read = std::io::stdin().take(MOST_TOKEN).read_to_string(&mut text);
            read.context("the token cannot be read from standard input")?;
            text
        }
        Some(text) => text.to_owned(),
    };
    Ok(text.parse()?)
}

/// Everything that can be found out without changing anything.
async fn prepare(
    context: &Context,
    token: Token,
    addresses: Vec<IpAddr>,
    options: Options,
) -> anyhow::Result<Plan> {
    let (identity, fresh) = match context.state.identity()? {
        None => (Identity::generate(MachineMark::here())?, Fresh::Machine),
        Some(there) if there.is_of_another(MachineMark::here().as_ref()) => {
            (Identity::generate(MachineMark::here())?, Fresh::Copy)
        }
        Some(there) => (there, Fresh::No),
    };
    let server = ServerClient::new(&token.servers, token.pin)?;
    let hello = server.hello().await?;
    check_clock(&hello, now())?;
    check_machine(context, &options, &identity).await?;
    Ok(Plan { token, addresses, options, server, hello, identity, fresh })
}

fn check_clock(hello: &Hello, here: Timestamp) -> Result<(), ClockSkew> {
    if hello.time.distance(here) > MOST_SKEW {
        return Err(ClockSkew { host: here, server: hello.time });
    }
    Ok(())
}

/// Whether the interface can be made here.
async fn check_machine(context: &Context, options: &Options, identity: &Identity) -> anyhow::Result<()> {
    let machine = hands::machine(&context.places, &options.interface)?;
    let actual = machine.observe().await?;
    if let Some(conflict) =
        conflict(&Desired::absent(options.interface.clone(), identity.wireguard.public()), &actual)
    {
        bail!(conflict);
    }
    if hands::is_ours(&actual, identity) {
        return Ok(());
    }
    let kind = machine.kind(options.wireguard).await?;
    if kind == LinkKind::Userspace && !std::path::Path::new("/dev/net/tun").exists() {
        bail!(
            "neither kernel WireGuard nor /dev/net/tun is there: load one with `modprobe wireguard` or `modprobe tun`, or let \
             the container have it (`--device /dev/net/tun`)"
        );
    }
    if let Some(port) = options.port.filter(|port| !platform::udp_port_is_free(*port)) {
        bail!(
            "the UDP port {port} is taken by another program; choose another one with --port, or 0 for any"
        );
    }
    Ok(())
}

/// What registering brought.
struct Registered {
    record: ServerRecord,
    client: HostClient,
    reply: RegisterReply,
    /// The server as it was known before.
    before: Option<ServerRecord>,
}

async fn register(context: &Context, plan: &Plan) -> anyhow::Result<Registered> {
    file::check_room(context.state.folder(), ROOM)?;
    let Plan { token, addresses, options, server, hello, identity, fresh } = plan;
    let servers = if *fresh == Fresh::No { context.state.servers()? } else { Vec::new() };
    let before = servers.iter().find(|known| known.key == hello.wireguard_key).cloned();
    let mut random = getrandom::rand_core::UnwrapErr(getrandom::SysRng);
    let agreement = Agreement::initiate(&identity.sealing, &hello.sealing_key, &mut random)
        .context("the server's sealing key cannot be used")?;
    let settings: HostSettings = options.for_server();
    let registration = Registration {
        addresses: addresses.clone(),
        enrollment: Some(*token.secret.expose()),
        hostname: HostName::nearest(&rustix::system::uname().nodename().to_string_lossy()),
        wireguard_key: identity.wireguard.public(),
        signing_key: identity.signing.public(),
        sealing_key: identity.sealing.public(),
        encapsulated: agreement.encapsulated,
        settings: settings.clone(),
        facts: wire::Facts { agent: env!("CARGO_PKG_VERSION").to_owned(), ..platform::facts() },
        time: now(),
    };
    let request =
        RegisterRequest::prove(&registration, &identity.signing, &identity.wireguard, &hello.wireguard_key);
    let reply = server.register(&request).await?;
    let channel = agreement.into_channel(reply.host);
    let name = before.as_ref().map_or_else(|| free_name(&hello.name, &servers), |before| before.name.clone());
    let mut record = ServerRecord::new(
        name,
        token.servers.clone(),
        token.pin,
        hello.wireguard_key,
        reply.name.clone(),
        settings,
        reply.host,
        &channel,
    );
    record.host_key = Some(identity.wireguard.public());
    record.sealing = Some(hello.sealing_key);
    let client = server.as_host(reply.host, identity.signing.clone());
    Ok(Registered { record, client, reply, before })
}

fn free_name(wanted: &str, servers: &[ServerRecord]) -> HostName {
    let wanted = HostName::nearest(wanted);
    let is_free = |name: &HostName| servers.iter().all(|server| server.name != *name);
    let numbered = (2..).map(|number| wanted.numbered(number));
    std::iter::once(wanted.clone()).chain(numbered).find(is_free).unwrap_or(wanted)
}

/// From the registration to the first map.
async fn settle(
    context: &Context,
    plan: &Plan,
    registered: &Registered,
    daemon: bool,
    progress: &Progress,
) -> anyhow::Result<(View, Option<Running>)> {
    write(context, plan, registered)?;
    if !daemon && !context.daemon().runs().await {
        progress.say("setting up the interface");
        let view = update::once(context).await?;
        check_interface(&view)?;
        return Ok((view, None));
    }
    progress.say("starting the daemon");
    let running = service::start(context).await?;
    progress.say("waiting for the first map");
    context.daemon().done(&Request::Pull, PATIENCE).await?;
    let view = context.daemon().view().await?;
    check_interface(&view)?;
    Ok((view, Some(running)))
}

/// Without an interface nothing was joined; lesser failures are told and mended later.
fn check_interface(view: &View) -> anyhow::Result<()> {
    match &view.interface {
        Some(interface) if interface.wireguard.is_some() => Ok(()),
        Some(_) | None => {
            update::check(view)?;
            bail!("the interface was not made; `netclient -v 3 daemon` says more")
        }
    }
}

fn write(context: &Context, plan: &Plan, registered: &Registered) -> anyhow::Result<()> {
    let state = &context.state;
    if plan.fresh == Fresh::Copy {
        for server in state.servers()? {
            state.remove_server(&server.name)?;
        }
    }
    if plan.fresh != Fresh::No {
        state.save_identity(&plan.identity)?;
    }
    // A map of the registration before would be newer than all that come now, if the server was set up anew.
    if registered.before.as_ref().is_some_and(|before| before.host != registered.record.host) {
        state.remove_map(&registered.record.name)?;
    }
    state.save_server(&registered.record)?;
    state.save_options(&plan.options.kept)?;
    state.set_active(&registered.record.name)
}

/// Undoes what a failed join has done.
async fn back_out(context: &Context, plan: &Plan, registered: &Registered) {
    if registered.before.is_none()
        && let Err(error) = registered.client.leave(&Leave::Server).await
    {
        context.output.note(&format!("The server could not be told to forget this machine: {error}"));
    }
    if plan.fresh != Fresh::No {
        for left in undo::everything(context).await.left {
            context.output.note(&left);
        }
        return;
    }
    if registered.before.is_none() {
        let _ = context.state.remove_server(&registered.record.name);
        if let Ok(Some(other)) =
            context.state.servers().map(|servers| servers.into_iter().find(|server| !server.removed))
        {
            let _ = context.state.set_active(&other.name);
        }
    }
    let _ = context.daemon().done(&Request::Reload, PATIENCE).await;
}

fn summary(
    context: &Context,
    registered: &Registered,
    view: &View,
    running: Option<&Running>,
) -> anyhow::Result<()> {
    let name = view.host.as_ref().map_or(&registered.reply.name, |host| &host.name);
    let value = serde_json::json!({
        "server": registered.record.name,
        "host": name,
        "networks": view.networks,
        "interface": view.interface.as_ref().map(|interface| &interface.name),
        "peers": view.peers.len(),
        "daemon": running.map_or("off", Running::word),
    });
    context.output.result(|| words(name, registered, view, running), &value)
}

fn words(name: &HostName, registered: &Registered, view: &View, running: Option<&Running>) -> String {
    let mut lines = vec![format!("This machine is {name} on the server {}.", registered.record.name)];
    for network in &view.networks {
        let addresses: Vec<String> = network.addresses.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "  {}: {}, {}",
            network.name,
            addresses.join(" and "),
            count(network.peers, "peer")
        ));
    }
    if view.networks.is_empty() {
        lines.push(
            "  It is in no network yet; an administrator can add it with `netloom node add`.".to_owned(),
        );
    }
    lines.extend(
        view.failures.iter().map(|failure| format!("Not done yet: {}: {}", failure.op, failure.error)),
    );
    lines.push(match running {
        None => "No daemon runs; `netclient pull` brings this machine up to date.".to_owned(),
        Some(Running::Already | Running::Service) => {
            "The daemon keeps it up to date; `netclient status` shows how it is.".to_owned()
        }
        Some(Running::Background(instructions)) => {
            format!(
                "A daemon was started in the background. To have it started with the machine:\n{instructions}"
            )
        }
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use model::{SealingPublicKey, WgPublicKey};

    use super::*;

    fn hello(time: i64) -> Hello {
        Hello {
            version: String::new(),
            name: "s".to_owned(),
            sealing_key: SealingPublicKey::from_bytes([1; 32]),
            wireguard_key: WgPublicKey::from_bytes([2; 32]),
            time: Timestamp::from_millis(time),
        }
    }

    #[test]
    fn a_clock_a_day_off_is_told_with_both_times_and_what_to_do() {
        let here = Timestamp::from_millis(1_800_000_000_000);
        assert!(check_clock(&hello(1_800_000_000_000 - 200_000), here).is_ok());
        let text = check_clock(&hello(1_800_086_400_000), here).unwrap_err().to_string();
        assert!(
            text.contains("2027-01-15") && text.contains("2027-01-16") && text.contains("set the clock"),
            "{text}"
        );
    }

    #[test]
    fn a_missing_token_says_where_to_get_one() {
        assert!(read_token(None).unwrap_err().to_string().contains("netloom key create"));
        assert!(read_token(Some("junk!".into())).unwrap_err().to_string().contains("damaged"));
    }
}
