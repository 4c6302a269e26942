//! What people set about this machine: flags over `NETCLIENT_*` variables over what an earlier `join` was given over
//! `/etc/netclient/config.toml`.
//!
//! Not for places (`Places`). Every mistake is told at once.

use clap::Args;
use model::{Endpoint, HostName, Mtu};
use platform::Choice;
use reconcile::{LinkName, ResolverChoice};
use settings::{Layers, Mistakes};
use wire::HostSettings;

use crate::places::Places;
use crate::state::{KeptOptions, file};

const MOST_FILE: usize = 256 * 1024;

/// The options on the command line, as text. What is given is kept for later runs.
#[derive(Debug, Clone, Default, Args)]
pub struct OptionFlags {
    /// What this machine is called in its networks [default: its hostname]
    #[arg(long)]
    pub name: Option<String>,
    /// The UDP port of WireGuard; 0 for any [default: 51820, or the next that is free]
    #[arg(long)]
    pub port: Option<String>,
    /// The MTU of the interface [default: as the server says]
    #[arg(long)]
    pub mtu: Option<String>,
    /// An address and port at which this machine can always be reached, such as 203.0.113.7:51820
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub static_endpoint: Option<String>,
    /// The name of the interface [default: netloom0]
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Whose WireGuard: auto, kernel or userspace [default: auto]
    #[arg(long, value_name = "WHOSE")]
    pub wireguard: Option<String>,
    /// How this machine's resolver is told of our names: auto, resolved, resolvconf, file or off [default: auto]
    #[arg(long, value_name = "WAY")]
    pub dns: Option<String>,
}

impl OptionFlags {
    /// The names of all options.
    pub const KEYS: [&'static str; 7] =
        ["name", "port", "mtu", "static_endpoint", "interface", "wireguard", "dns"];

    fn pairs(&self) -> [(&'static str, &Option<String>); 7] {
        let Self { name, port, mtu, static_endpoint, interface, wireguard, dns } = self;
        [
            ("name", name),
            ("port", port),
            ("mtu", mtu),
            ("static_endpoint", static_endpoint),
            ("interface", interface),
            ("wireguard", wireguard),
            ("dns", dns),
        ]
    }
}

/// The options, checked.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What this machine is to be called.
    pub name: Option<HostName>,
    /// The UDP port, when it is to be this and no other.
    pub port: Option<u16>,
    /// The MTU.
    pub mtu: Option<Mtu>,
    /// Where this machine can always be reached.
    pub static_endpoint: Option<Endpoint>,
    /// The interface's name.
    pub interface: LinkName,
    /// Whose WireGuard.
    pub wireguard: Choice,
    /// How the machine's resolver is told of our names.
    pub dns: ResolverChoice,
    /// The token, where a variable or the file has it.
    pub token: Option<String>,
    /// What flags and variables gave, together with what was kept before.
    pub kept: KeptOptions,
}

impl Options {
    /// Reads the file, and checks everything.
    pub fn load(
        flags: &OptionFlags,
        kept: &KeptOptions,
        environment: impl IntoIterator<Item = (String, String)>,
        places: &Places,
    ) -> anyhow::Result<Self> {
        let text = file::read(&places.config, MOST_FILE)?;
        let text = text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let name = places.config.display().to_string();
        let file = text.as_deref().map(|text| (name.as_str(), text));
        Ok(Self::check(flags, kept, environment.into_iter().collect(), file)?)
    }

    fn check(
        flags: &OptionFlags,
        kept: &KeptOptions,
        environment: Vec<(String, String)>,
        file: Option<(&str, &str)>,
    ) -> Result<Self, Mistakes> {
        let variable = |key: &str| {
            let name = format!("NETCLIENT_{}", key.to_uppercase());
            environment.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone())
        };
        let mut known = kept.clone();
        let mut layers = Layers::new("NETCLIENT_", environment.iter().cloned(), file);
        for (key, flag) in flags.pairs() {
            let given = flag.clone().or_else(|| variable(key));
            if let Some(value) = &given {
                known.insert(key.to_owned(), value.clone());
            }
            layers.flag(key, flag.clone());
            if given.is_none() {
                layers.flag(key, kept.get(key).cloned());
            }
        }
        // Read elsewhere, and no mistakes.
        for key in ["state_dir", "run_dir", "config", "log_dir", "wireguard_dir", "verbosity"] {
            layers.one(key, text);
        }
        let options = Self {
            name: layers.one("name", str::parse),
            port: layers.one("port", port).filter(|port| *port != 0),
            mtu: layers.one("mtu", str::parse),
            static_endpoint: layers.one("static_endpoint", str::parse),
            interface: layers.one("interface", str::parse).unwrap_or_default(),
            wireguard: layers.one("wireguard", str::parse).unwrap_or_default(),
            dns: layers.one("dns", str::parse).unwrap_or_default(),
            token: layers.one("token", text),
            kept: known,
        };
        layers.finish()?;
        Ok(options)
    }

    /// What of it the server is to know.
    pub fn for_server(&self) -> HostSettings {
        HostSettings { name: self.name.clone(), mtu: self.mtu, static_endpoint: self.static_endpoint }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a parser among parsers")]
fn text(value: &str) -> Result<String, String> {
    Ok(value.to_owned())
}

fn port(value: &str) -> Result<u16, String> {
    value.parse().map_err(|_| format!("`{value}` is not a port; allowed are 1 to 65535, and 0 for any"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        flags: &OptionFlags,
        kept: &[(&str, &str)],
        env: &[(&str, &str)],
        file: &str,
    ) -> Result<Options, Mistakes> {
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        Options::check(flags, &own(kept).into_iter().collect(), own(env), Some(("config.toml", file)))
    }

    #[test]
    fn flags_win_over_variables_over_what_was_kept_over_the_file() {
        let flags = OptionFlags { port: Some("4".into()), ..OptionFlags::default() };
        let none = OptionFlags::default();
        let (kept, env) = ([("port", "2")], [("NETCLIENT_PORT", "3")]);
        assert_eq!(check(&flags, &kept, &env, "port = 1").unwrap().port, Some(4));
        assert_eq!(check(&none, &kept, &env, "port = 1").unwrap().port, Some(3));
        assert_eq!(check(&none, &kept, &[], "port = 1").unwrap().port, Some(2));
        assert_eq!(check(&none, &[], &[], "port = 1").unwrap().port, Some(1));
        assert_eq!(check(&none, &[], &[], "").unwrap().port, None);
    }

    #[test]
    fn what_flags_and_variables_gave_is_kept_and_the_file_is_not() {
        let flags = OptionFlags { name: Some("web".into()), ..OptionFlags::default() };
        let options =
            check(&flags, &[("mtu", "1400")], &[("NETCLIENT_PORT", "3")], "interface = \"wg9\"").unwrap();
        let kept: Vec<_> = options.kept.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(kept, ["mtu=1400", "name=web", "port=3"]);
        assert_eq!(options.interface.as_str(), "wg9");
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let flags =
            OptionFlags { mtu: Some("5".into()), interface: Some("a b".into()), ..OptionFlags::default() };
        let env = [("NETCLIENT_STATIC_ENDPOINT", "here"), ("NETCLIENT_STATE_DIR", "/tmp")];
        let text = check(&flags, &[], &env, "prot = 1").unwrap_err().to_string();
        for part in ["4 settings", "--mtu", "--interface", "NETCLIENT_STATIC_ENDPOINT", "did you mean `port`"]
        {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
