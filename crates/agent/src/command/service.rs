//! The service: `install`, and how a daemon is started where one is wanted.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use platform::service::{Service, ServiceOptions, Supervisor, Systemd};

use super::{Context, PATIENCE};
use crate::control::Request;
use crate::hands;
use crate::options::OptionFlags;
use crate::places::Places;

/// How long a daemon may take until it answers.
const STARTING: Duration = Duration::from_secs(20);
/// Folders that a service cannot see (`ProtectHome`, `PrivateTmp`).
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// How the daemon runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Running {
    /// It ran already.
    Already,
    /// As a service.
    Service,
    /// In the background until the machine restarts; the text says how to make it start then.
    Background(String),
}

impl Running {
    /// In one word, for programs.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Already => "running",
            Self::Service => "service",
            Self::Background(_) => "background",
        }
    }
}

fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("the path of this program cannot be found")
}

fn service(places: &Places) -> anyhow::Result<Service> {
    Ok(Service {
        name: "netclient".to_owned(),
        description: "Netloom agent: private WireGuard networks".to_owned(),
        program: program()?,
        arguments: vec!["daemon".to_owned()],
        early: vec!["early".to_owned()],
        writable: vec![places.state.clone(), places.run.clone(), places.log.clone()],
    })
}

/// What manages services on this machine.
pub(super) fn supervisor(places: &Places) -> anyhow::Result<Supervisor> {
    Ok(Supervisor::find(service(places)?, ServiceOptions::default()))
}

/// Whether a service could run the program where it is.
fn check_visible(program: &Path) -> anyhow::Result<()> {
    if HIDDEN.iter().any(|folder| program.starts_with(folder)) {
        bail!(
            "a service cannot run {0} where it is; put it where programs belong and use that one: `install -m 755 {0} \
             /usr/local/bin/netclient && netclient install`",
            program.display()
        );
    }
    Ok(())
}

fn install_systemd(systemd: &Systemd) -> anyhow::Result<()> {
    systemd.install()?;
    systemd.start()
}

/// `netclient install`.
pub(super) async fn install(context: &Context) -> anyhow::Result<()> {
    hands::check_rights("install")?;
    match supervisor(&context.places)? {
        Supervisor::Systemd(systemd) => {
            check_visible(&program()?)?;
            // One that was started by hand would hold the socket.
            if !is_active(&systemd) {
                stop(context).await?;
            }
            install_systemd(&systemd)?;
            let unit = systemd.unit_path();
            context.output.result(
                || {
                    format!(
                        "The service netclient is installed ({}) and running; it starts with the machine.",
                        unit.display()
                    )
                },
                &serde_json::json!({ "installed": true, "unit": unit }),
            )
        }
        Supervisor::ByHand(instructions) => bail!(instructions),
    }
}

fn is_active(systemd: &Systemd) -> bool {
    systemd.status().is_ok_and(|status| status.installed && status.state == "active")
}

/// Ends the daemon, if one runs. Tunnels stay.
pub(super) async fn stop(context: &Context) -> anyhow::Result<()> {
    let daemon = context.daemon();
    if !daemon.runs().await {
        return Ok(());
    }
    let told = daemon.done(&Request::Stop, PATIENCE).await;
    // One that ends quickly may be gone before its answer is out: that it is gone is what counts.
    if !daemon.wait_until(false, STARTING).await {
        told?;
        bail!("the daemon was told to end and has not within {} seconds; end it by hand", STARTING.as_secs());
    }
    Ok(())
}

/// Lets the running daemon take up what is on disk, or starts one.
pub(super) async fn start(context: &Context) -> anyhow::Result<Running> {
    let daemon = context.daemon();
    if daemon.runs().await {
        daemon.done(&Request::Reload, PATIENCE).await?;
        return Ok(Running::Already);
    }
    let program = program()?;
    let running = match supervisor(&context.places)? {
        Supervisor::Systemd(systemd) => match check_visible(&program) {
            Ok(()) => {
                install_systemd(&systemd)?;
                Running::Service
            }
            Err(error) => background(context, &program, error.to_string())?,
        },
        Supervisor::ByHand(instructions) => background(context, &program, instructions)?,
    };
    if !daemon.wait_until(true, STARTING).await {
        bail!("the daemon did not start within {} seconds{}", STARTING.as_secs(), last_words(context));
    }
    Ok(running)
}

fn background(context: &Context, program: &Path, instructions: String) -> anyhow::Result<Running> {
    let path = context.places.daemon_log();
    let log = std::fs::File::create(&path)
        .with_context(|| format!("could not write the log {}", path.display()))?;
    let errors = log.try_clone().context("the log cannot be shared")?;
    let mut command = Command::new(program);
    // What variables gave to `join` is kept, and may be changed by `push`; the token is nobody's business any more.
    for key in OptionFlags::KEYS.iter().chain(&["token"]) {
        command.env_remove(format!("NETCLIENT_{}", key.to_uppercase()));
    }
    command
        .args(["daemon", "--detach"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("could not start {}", program.display()))?;
    Ok(Running::Background(instructions))
}

fn last_words(context: &Context) -> String {
    let log = std::fs::read_to_string(context.places.daemon_log()).unwrap_or_default();
    let last = log.lines().rev().find(|line| !line.trim().is_empty());
    last.map(|line| format!("; its last words: {}", line.trim())).unwrap_or_default()
}

/// Removes the service or ends the daemon; says whether there was any.
pub(super) async fn remove(context: &Context) -> anyhow::Result<bool> {
    let ran = context.daemon().runs().await;
    let removed = match supervisor(&context.places)? {
        Supervisor::Systemd(systemd) => systemd.uninstall()?,
        Supervisor::ByHand(_) => false,
    };
    stop(context).await?;
    Ok(ran || removed)
}

/// How the service is, for `status`.
pub(super) fn state(places: &Places) -> Option<platform::service::Status> {
    match supervisor(places).ok()? {
        Supervisor::Systemd(systemd) => systemd.status().ok(),
        Supervisor::ByHand(_) => None,
    }
}
