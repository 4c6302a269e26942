//! `netclient server list` and `switch`.

use anyhow::{Context as _, bail};

use super::{Context, PATIENCE, update};
use crate::control::Request;
use crate::hands;
use crate::state::ServerRecord;

/// The server of this name.
pub(super) fn find(servers: &[ServerRecord], name: &str) -> anyhow::Result<ServerRecord> {
    if let Some(found) = servers.iter().find(|server| server.name.as_str() == name) {
        return Ok(found.clone());
    }
    let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    let list = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    bail!("this machine has joined no server `{name}`; it has joined: {list}")
}

/// Lists them.
pub(super) fn list(context: &Context) -> anyhow::Result<()> {
    let active = context.state.active()?.map(|active| active.name);
    let servers = context.state.servers()?;
    let state = |server: &ServerRecord| match (server.removed, Some(&server.name) == active.as_ref()) {
        (true, _) => "removed this host",
        (false, true) => "in use",
        (false, false) => "",
    };
    let value: Vec<_> = servers
        .iter()
        .map(|server| {
            serde_json::json!({
                "name": server.name, "urls": server.all_urls(), "host": server.host, "host_name": server.host_name,
                "in_use": Some(&server.name) == active.as_ref(), "removed": server.removed,
            })
        })
        .collect();
    let table = || {
        if servers.is_empty() {
            return "This machine has joined no server; join with `netclient join -t TOKEN`.".to_owned();
        }
        let rows = servers.iter().map(|server| {
            [
                server.name.to_string(),
                server.all_urls().join(", "),
                server.host_name.to_string(),
                state(server).to_owned(),
            ]
        });
        context.output.table(["server", "address", "this machine", "state"], rows)
    };
    context.output.result(table, &value)
}

/// Uses another one. Its stored map is carried out at once, and then the newest.
pub(super) async fn switch(context: &Context, name: &str) -> anyhow::Result<()> {
    hands::check_rights("server switch")?;
    let server = find(&context.state.servers()?, name)?;
    if server.removed {
        bail!("the server {name} has removed this host; join it again with a token");
    }
    context.state.set_active(&server.name)?;
    let daemon = context.daemon();
    if daemon.runs().await {
        daemon.done(&Request::Reload, PATIENCE).await?;
    }
    update::up_to_date(context)
        .await
        .with_context(|| format!("the server {name} is in use, but its newest map is missing"))?;
    context
        .output
        .result(|| format!("The server {name} is in use now."), &serde_json::json!({ "in_use": server.name }))
}
