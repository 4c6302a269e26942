//! What the agent keeps on disk, under `/var/lib/netclient`:
//!
//! ```text
//!   identity.json         private keys, the machine's mark
//!   servers/NAME.json     servers joined        servers/NAME.map, NAME.deltas   the newest map of each
//!   active                the server in use     options.json       what `join` was given
//!   interface.json        what was made on this machine: the link's name and port
//!   resolver/             what the machine's resolver had before it was told of us
//!   sysctls.json          what settings of the kernel were before they were changed
//! ```
//!
//! Not for deciding anything. It keeps true that each file is written whole or not at all (but for the deltas, which are
//! added one by one), and is its owner's alone.

mod channels;
pub mod file;
mod identity;
mod kept;
mod map_file;
mod secret;
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use model::HostName;
use reconcile::LinkName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wire::HostMap;

pub use channels::{Channels, Which};
pub use identity::{Identity, MachineMark, random};
pub use kept::KeptFile;
pub use map_file::{MapFile, Saved, sync_log};
pub use server::ServerRecord;

use identity::IdentityFile;

const MOST_JSON: usize = 256 * 1024;

/// Options that `join` and `push` were given, by their names.
pub type KeptOptions = BTreeMap<String, String>;

/// What was made on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceRecord {
    /// The link's name.
    pub link: LinkName,
    /// Its UDP port.
    pub port: u16,
}

/// The state folder.
#[derive(Debug, Clone)]
pub struct State {
    folder: PathBuf,
}

impl State {
    /// The state in this folder, which need not exist yet.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Where the machine's resolver has its original kept.
    pub fn resolver(&self) -> PathBuf {
        self.folder.join("resolver")
    }

    /// What settings of the kernel were.
    pub fn kept(&self) -> anyhow::Result<KeptFile> {
        KeptFile::open(self.folder.join("sysctls.json"))
    }

    /// Makes the folders. Says which had to be made.
    pub fn create(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut made = Vec::new();
        for folder in [self.folder.clone(), self.folder.join("servers")] {
            match file::create_folder(&folder) {
                Ok(true) => made.push(folder),
                Ok(false) => {}
                Err(error) => {
                    Self::discard(&made);
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    /// Removes folders that were made for nothing. Those with something in them stay.
    pub fn discard(made: &[PathBuf]) {
        for folder in made.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }

    /// Whether there is anything.
    pub fn exists(&self) -> bool {
        self.folder.exists()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn load<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let path = self.folder.join(name);
        let Some(bytes) = file::read(&path, MOST_JSON)? else { return Ok(None) };
        let value = serde_json::from_slice(&bytes);
        value.map(Some).with_context(|| format!("{} is damaged; remove it and join again", path.display()))
    }

    fn save<T: Serialize>(&self, name: &str, value: &T) -> anyhow::Result<()> {
        let mut text =
            zeroize::Zeroizing::new(serde_json::to_vec_pretty(value).context("the state cannot be encoded")?);
        text.push(b'\n');
        file::write(&self.folder.join(name), &text)
    }

    /// The machine's keys.
    pub fn identity(&self) -> anyhow::Result<Option<Identity>> {
        Ok(self.load::<IdentityFile>("identity.json")?.map(Identity::from))
    }

    /// Keeps the machine's keys.
    pub fn save_identity(&self, identity: &Identity) -> anyhow::Result<()> {
        self.save("identity.json", &IdentityFile::from(identity))
    }

    /// All servers, by name.
    pub fn servers(&self) -> anyhow::Result<Vec<ServerRecord>> {
        let folder = self.folder.join("servers");
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| {
                format!("no permission to read {}: run this as root, such as with `sudo`", folder.display())
            })?,
        };
        let mut servers = Vec::new();
        for entry in entries {
            let name = entry.with_context(|| format!("could not read {}", folder.display()))?.file_name();
            let Some(name) = name.to_str().filter(|name| name.ends_with(".json")) else { continue };
            servers.extend(self.load::<ServerRecord>(&format!("servers/{name}"))?);
        }
        servers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(servers)
    }

    /// The server in use.
    pub fn active(&self) -> anyhow::Result<Option<ServerRecord>> {
        let Some(bytes) = file::read(&self.folder.join("active"), 256)? else { return Ok(None) };
        let Some(name) =
            std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse::<HostName>().ok())
        else {
            return Ok(None);
        };
        self.load(&format!("servers/{name}.json"))
    }

    /// Makes a server the one in use.
    pub fn set_active(&self, name: &HostName) -> anyhow::Result<()> {
        file::write(&self.folder.join("active"), format!("{name}\n").as_bytes())
    }

    /// Keeps a server.
    pub fn save_server(&self, server: &ServerRecord) -> anyhow::Result<()> {
        self.save(&format!("servers/{}.json", server.name), server)
    }

    /// Forgets a server and its map.
    pub fn remove_server(&self, name: &HostName) -> anyhow::Result<()> {
        self.remove_map(name)?;
        file::remove(&self.folder.join(format!("servers/{name}.json")))?;
        if self.active()?.is_none() {
            file::remove(&self.folder.join("active"))?;
        }
        Ok(())
    }

    /// The newest map of a server, to be kept up to date.
    pub fn map_file(&self, name: &HostName) -> MapFile {
        MapFile::new(self.folder.join(format!("servers/{name}.map")))
    }

    /// The newest map of a server. One that cannot be read counts as none: the server has it.
    pub fn map(&self, name: &HostName) -> anyhow::Result<Option<HostMap>> {
        self.map_file(name).read()
    }

    /// Forgets the map of a server.
    pub fn remove_map(&self, name: &HostName) -> anyhow::Result<()> {
        self.map_file(name).remove()
    }

    /// What was made on this machine.
    pub fn interface(&self) -> anyhow::Result<Option<InterfaceRecord>> {
        self.load("interface.json")
    }

    /// Keeps what is made on this machine; before it is made.
    pub fn save_interface(&self, interface: &InterfaceRecord) -> anyhow::Result<()> {
        self.save("interface.json", interface)
    }

    /// The options that were kept.
    pub fn options(&self) -> anyhow::Result<KeptOptions> {
        Ok(self.load("options.json")?.unwrap_or_default())
    }

    /// Keeps options for later runs.
    pub fn save_options(&self, options: &KeptOptions) -> anyhow::Result<()> {
        self.save("options.json", options)
    }

    /// Removes everything.
    pub fn wipe(&self) -> anyhow::Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("could not remove {}", self.folder.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use model::HostId;
    use wire::{Channel, HostSettings};

    use super::*;

    fn record(name: &str) -> ServerRecord {
        let channel = Channel::restore(HostId::from_bytes([1; 16]), [2; 32], [3; 32]);
        let key = model::WgPublicKey::from_bytes([4; 32]);
        let urls = vec!["https://127.0.0.1:1".to_owned()];
        let host = HostId::from_bytes([1; 16]);
        ServerRecord::new(
            name.parse().unwrap(),
            urls,
            None,
            key,
            HostName::nearest("web"),
            HostSettings::default(),
            host,
            &channel,
        )
    }

    #[test]
    fn servers_are_kept_switched_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(&folder.path().join("netclient"));
        assert!(state.active().unwrap().is_none() && state.servers().unwrap().is_empty());
        assert_eq!(state.create().unwrap().len(), 2);
        assert_eq!(state.create().unwrap().len(), 0);
        state.save_server(&record("one")).unwrap();
        state.save_server(&record("two")).unwrap();
        state.set_active(&HostName::nearest("two")).unwrap();
        assert_eq!(state.active().unwrap().unwrap().name.as_str(), "two");
        assert_eq!(state.servers().unwrap().len(), 2);
        state.remove_server(&HostName::nearest("two")).unwrap();
        assert!(state.active().unwrap().is_none());
        assert_eq!(state.servers().unwrap()[0].channels().current.expose(), (&[2; 32], &[3; 32]));
        state.wipe().unwrap();
        assert!(!state.exists());
    }

    #[test]
    fn only_the_owner_can_read_the_keys() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(&folder.path().join("netclient"));
        state.create().unwrap();
        state.save_identity(&Identity::generate(None).unwrap()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(state.folder()), 0o700);
        assert_eq!(mode(&state.folder().join("identity.json")), 0o600);
        assert!(state.identity().unwrap().is_some());
    }

    #[test]
    fn a_damaged_file_is_told_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path());
        fs::write(folder.path().join("identity.json"), "{").unwrap();
        let text = state.identity().unwrap_err().to_string();
        assert!(text.contains("identity.json") && text.contains("join again"), "{text}");
    }
}
