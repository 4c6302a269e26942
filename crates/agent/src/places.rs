//! Where on the machine things are: state, sockets, settings, logs.
//!
//! Not for what is in them. Each place has an environment variable that moves it, for tests and for machines where `/var`
//! is elsewhere.

use std::ffi::OsString;
use std::path::PathBuf;

/// The folders and files of the agent.
#[derive(Debug, Clone)]
pub struct Places {
    /// Identity, servers and maps: `/var/lib/netclient`.
    pub state: PathBuf,
    /// The control socket: `/run/netclient`.
    pub run: PathBuf,
    /// The settings file, only ever read: `/etc/netclient/config.toml`.
    pub config: PathBuf,
    /// Where log files go where nobody else keeps logs: `/var/log`.
    pub log: PathBuf,
    /// The control sockets of userspace WireGuard devices: `/var/run/wireguard`.
    pub wireguard: PathBuf,
}

impl Places {
    /// The places of this machine, moved by variables where these are set.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let place =
            |name: &str, usual: &str| variable(name).map_or_else(|| PathBuf::from(usual), PathBuf::from);
        Self {
            state: place("NETCLIENT_STATE_DIR", "/var/lib/netclient"),
            run: place("NETCLIENT_RUN_DIR", "/run/netclient"),
            config: place("NETCLIENT_CONFIG", "/etc/netclient/config.toml"),
            log: place("NETCLIENT_LOG_DIR", "/var/log"),
            wireguard: place("NETCLIENT_WIREGUARD_DIR", platform::SOCKET_DIR),
        }
    }

    /// The daemon's control socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("netclient.sock")
    }

    /// What only one daemon can hold.
    pub fn lock(&self) -> PathBuf {
        self.run.join("netclient.lock")
    }

    /// The log of a daemon that no service manager started.
    pub fn daemon_log(&self) -> PathBuf {
        self.log.join("netclient.log")
    }

    /// The log of the userspace device.
    pub fn device_log(&self) -> PathBuf {
        self.log.join("netclient-device.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_moves_one_place_and_leaves_the_others() {
        let places = Places::from_environment(|name| (name == "NETCLIENT_RUN_DIR").then(|| "/tmp/x".into()));
        assert_eq!(places.socket(), PathBuf::from("/tmp/x/netclient.sock"));
        assert_eq!(places.state, PathBuf::from("/var/lib/netclient"));
    }
}
