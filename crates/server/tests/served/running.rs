//! A server of one's own, set up, in a folder that goes with it.

use std::time::{Duration, Instant};

use server::serve::Server;
use server::settings::Settings;
use server::telemetry::Telemetry;
use settings::Layers;
use tempfile::TempDir;
use testkit::fleet::{Administrator, Agent, Connected, Habits, Site};
use wire::Token;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A running server.
pub(crate) struct Running {
    pub(crate) server: Server,
    pub(crate) site: Site,
    pub(crate) folder: TempDir,
}

/// A server with its first administrator.
pub(crate) struct Ready {
    pub(crate) running: Running,
    pub(crate) admin: Administrator,
}

/// Starts a server with these lines in its settings.
pub(crate) async fn run(folder: TempDir, listen: &str, lines: &str) -> Running {
    let data = folder.path().display();
    let dns = if lines.contains("dns_listen") { "" } else { "dns_listen = \"off\"" };
    let file = format!(
        "data = \"{data}\"\nlisten = \"{listen}\"\nrendezvous = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n{dns}\n{lines}\n"
    );
    let settings = Settings::check(Layers::new("NETLOOM_", [], Some(("test.toml", &file)))).unwrap();
    server::front::install_crypto_provider();
    let server = Server::start(settings, Telemetry::detached()).await.unwrap();
    let scheme = if server.pin.is_some() { "https" } else { "http" };
    let site = Site::new(&format!("{scheme}://{}", server.address()), server.pin).unwrap();
    Running { server, site, folder }
}

pub(crate) async fn fresh(lines: &str) -> Running {
    run(tempfile::tempdir().unwrap(), "127.0.0.1:0", lines).await
}

/// A server that is set up.
pub(crate) async fn start() -> Ready {
    start_with("").await
}

pub(crate) async fn start_with(lines: &str) -> Ready {
    let running = fresh(lines).await;
    let code = running.setup_code();
    let admin = Administrator::set_up(&running.site, &code).await.unwrap();
    Ready { running, admin }
}

impl Running {
    pub(crate) fn setup_code(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("setup-code")).unwrap()
    }
}

impl Ready {
    /// A network with a key that never runs out.
    pub(crate) async fn network(&self, name: &str, range: &str) -> Token {
        self.admin.network(name, range).await.unwrap();
        self.admin.key(name, &[name], None).await.unwrap().1
    }

    /// A machine that joined and follows its map.
    pub(crate) async fn connected(&self, token: &Token, name: &str) -> Connected {
        let agent = Agent::join(token, name).await.unwrap();
        Connected::start(agent, Habits::default()).await.unwrap()
    }

    /// Waits until the API shows the host as online or not, and says how long that took.
    pub(crate) async fn until_online(&self, host: &str, online: bool) -> Duration {
        let start = Instant::now();
        while self.admin.host(host).await.unwrap().inventory.online != online {
            assert!(start.elapsed() < DEADLINE, "{host} is still not shown as online={online}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        start.elapsed()
    }
}
