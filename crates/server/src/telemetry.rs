//! Logs and metrics: where what happens becomes visible.
//!
//! Metrics are kept in the process and rendered for Prometheus on request; nothing is sent anywhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::settings::LogFormat;

/// The metrics of this process.
#[derive(Clone)]
pub struct Telemetry {
    handle: PrometheusHandle,
}

impl Telemetry {
    /// Installs the recorder of this process; to be called once, inside the runtime.
    pub fn install() -> Result<Self> {
        let handle = PrometheusBuilder::new().install_recorder().context("metrics are recorded already")?;
        describe();
        let upkeep = handle.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self { handle })
    }

    /// Metrics that are recorded nowhere but here: for tests that start several servers in one process.
    pub fn detached() -> Self {
        Self { handle: PrometheusBuilder::new().build_recorder().handle() }
    }

    /// In Prometheus' text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }
}

fn describe() {
    metrics::describe_counter!("netloom_commits_total", "Changes committed");
    metrics::describe_counter!(
        "netloom_commit_failures_total",
        "Groups of changes the database did not take"
    );
    metrics::describe_histogram!("netloom_commit_seconds", "Time of one commit, in seconds");
    metrics::describe_counter!("netloom_registrations_total", "Registrations by outcome");
    metrics::describe_counter!("netloom_maps_total", "Host maps fetched, by kind");
    metrics::describe_counter!("netloom_pushed_total", "Messages to agents, by what became of them");
    metrics::describe_counter!("netloom_pushed_bytes_total", "Bytes of sealed messages to agents");
    metrics::describe_counter!(
        "netloom_broker_overflows_total",
        "Times that what waited for a host was dropped and the host told to fetch its map"
    );
    metrics::describe_gauge!("netloom_leads", "Whether this server leads: 1 or 0");
    metrics::describe_gauge!(
        "netloom_servers_unreached",
        "Other servers that this one has not reached for ten seconds"
    );
    metrics::describe_gauge!(
        "netloom_stands_back",
        "Whether this server leaves the lead to a better placed one: 1 or 0"
    );
    metrics::describe_gauge!("netloom_commands_waiting", "Commands that wait for the writer");
    metrics::describe_gauge!("netloom_notices_waiting", "Notices that wait for the hub");
    metrics::describe_gauge!("netloom_inventory_waiting", "Hosts whose inventory is to be written");
    metrics::describe_counter!(
        "netloom_commit_conflicts_total",
        "Groups that were decided again because another server was faster"
    );
    metrics::describe_counter!("netloom_followed_total", "Changes of other servers that were taken over");
    metrics::describe_histogram!(
        "netloom_follow_lag_seconds",
        "From a commit at another server until it is shown here, in seconds"
    );
    metrics::describe_counter!(
        "netloom_forwarded_total",
        "Agents' requests that were handed on to the server that leads, by whether it answered"
    );
    metrics::describe_gauge!("netloom_hosts", "Hosts that are known");
    metrics::describe_gauge!("netloom_hosts_online", "Hosts connected to the broker");
    metrics::describe_gauge!("netloom_broker_waiting", "Messages that wait to leave for hosts");
}

/// Sends the log to standard error, filtered and formatted as the settings say.
pub fn start_log(filter: &str, format: LogFormat) -> Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| {
        format!("`{filter}` is not a log filter; write error, warn, info, debug or trace")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let installed = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}
