//! `netclient daemon`: runs the engine with what is on disk, again whenever that changes, until it is told to end.
//!
//! Not for what the engine does. It keeps true that the control socket is answered all the time, also when there is
//! nothing to do, and that ending leaves every tunnel as it is.

use std::pin::Pin;
use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::command::Context;
use crate::control::{Call, Control, Reply, Request};
use crate::engine::{End, Engine, Mode, Session};
use crate::hands;
use crate::options::{OptionFlags, Options};
use crate::state::MachineMark;
use crate::view::{Idle, View};

/// When what is wrong with the machine is tried again.
const AGAIN: Duration = Duration::from_secs(15);

type Told<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;

/// Runs until SIGTERM, SIGINT or `Request::Stop`.
pub async fn run(context: &Context) -> anyhow::Result<()> {
    hands::check_rights("daemon")?;
    let (control, mut calls) = Control::open(&context.places)?;
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be received")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be received")?;
    let told = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let mut told = std::pin::pin!(told);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the daemon is up");
    loop {
        let end = match load(context) {
            Ok((session, options)) => work(context, session, options, &mut calls, told.as_mut()).await,
            Err(idle) => rest(&idle, &mut calls, told.as_mut()).await,
        };
        match end {
            End::Reload | End::Removed | End::Finished => {}
            End::Told => break,
        }
    }
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    tracing::info!("the daemon ends; tunnels stay as they are");
    drop(control);
    Ok(())
}

fn load(context: &Context) -> Result<(Session, Options), Idle> {
    let broken = |error: anyhow::Error| Idle::Broken(format!("{error:#}"));
    let Some(identity) = context.state.identity().map_err(broken)? else { return Err(Idle::NotJoined) };
    if identity.is_of_another(MachineMark::here().as_ref()) {
        return Err(Idle::Copied);
    }
    let Some(record) = context.state.active().map_err(broken)? else { return Err(Idle::NotJoined) };
    if record.removed {
        return Err(Idle::Removed(record.name));
    }
    let options = context.options(&OptionFlags::default()).map_err(broken)?;
    let session = Session::new(record, identity).map_err(broken)?;
    Ok((session, options))
}

async fn work(
    context: &Context,
    session: Session,
    options: Options,
    calls: &mut mpsc::Receiver<Call>,
    told: Told<'_>,
) -> End {
    let engine = Engine::new(Mode::Daemon, &context.places, context.state.clone(), options, session).await;
    let mut engine = match engine {
        Ok(engine) => engine,
        Err(error) => return rest(&Idle::Broken(format!("{error:#}")), calls, told).await,
    };
    let end = engine.run(calls, told, ready).await;
    engine.close().await;
    end
}

fn ready() {
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        tracing::warn!(%error, "the service manager could not be told that the daemon is ready");
    }
}

/// Answers while there is nothing to do.
async fn rest(idle: &Idle, calls: &mut mpsc::Receiver<Call>, mut told: Told<'_>) -> End {
    tracing::warn!("idle: {idle}");
    ready();
    loop {
        let call = tokio::select! {
            Some(call) = calls.recv() => call,
            () = told.as_mut() => return End::Told,
            () = sleep(AGAIN), if matches!(idle, Idle::Broken(_)) => return End::Reload,
        };
        let (reply, end) = match call.request {
            Request::Status => (Reply::Status(Box::new(View::idle(idle.clone()))), None),
            Request::Pull => (Reply::Failed(idle.to_string()), None),
            Request::Reload => (Reply::Done, Some(End::Reload)),
            Request::Stop => (Reply::Done, Some(End::Told)),
        };
        // Whoever asked may be gone.
        let _ = call.reply.send(reply);
        if let Some(end) = end {
            return end;
        }
    }
}
