//! What is logged, and where: to standard error, which is the journal's or a log file's for a daemon.
//!
//! Not for results (`command::output`). No secrets, and host names and addresses of others at debug only.

use std::io;

use tracing_subscriber::EnvFilter;

/// How much is said, 0 to 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verbosity(pub u8);

impl Verbosity {
    fn filter(self) -> &'static str {
        match self.0 {
            0 => "error,gotatun=off,rumqttc=off",
            1 => "warn,gotatun=off,rumqttc=off",
            2 => "info,gotatun=off,rumqttc=off",
            3 => {
                "debug,gotatun=off,tungstenite=info,hyper=info,hyper_util=info,netlink_proto=info,rustls=info,h2=info"
            }
            _ => "trace,gotatun=off,hyper=debug,netlink_proto=debug",
        }
    }
}

/// Starts logging.
pub fn start(verbosity: Verbosity) {
    // systemd notes the time itself.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(verbosity.filter()))
        .with_writer(io::stderr)
        .with_target(verbosity.0 >= 3)
        .with_ansi(rustix::termios::isatty(io::stderr()));
    // Fails where a test has started it already.
    let _ = if journal { log.without_time().try_init() } else { log.try_init() };
}
