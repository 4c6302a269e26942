//! Logs and metrics: where what happens becomes visible.
//!
//! Metrics are kept in the process and rendered for Prometheus on request; nothing is sent anywhere. Which there are stands in
//! `measures`.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::measures;
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
        measures::register();
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
