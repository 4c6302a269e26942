//! What this machine's own settings say about its interface.
//!
//! They choose how things are done, never who may be talked to: that is the host map's alone.

use model::{Mtu, WgPublicKey};

use crate::{LinkKind, LinkName};

/// The machine's own choices, complete: defaults are filled in by the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSettings {
    /// The interface's name.
    pub link: LinkName,
    /// Whose WireGuard: what the machine can do and the settings allow. An existing link of the other kind is replaced.
    pub kind: LinkKind,
    /// The public key of this host; the private one stays with the shell and the platform.
    pub key: WgPublicKey,
    /// The key that this host had a moment ago, or may have again, while it changes its key: a link with it is ours too.
    pub former: Option<WgPublicKey>,
    /// The UDP port to listen on: already chosen, free or ours. The shell picks another when it is taken.
    pub port: u16,
    /// The MTU, when it is not to be what the map says.
    pub mtu: Option<Mtu>,
}

impl LocalSettings {
    /// The port that is tried first.
    pub const DEFAULT_PORT: u16 = 51_820;
}
