//! What this machine is: shown to people, decides nothing.
//!
//! Not for what the agent is: its version and whose WireGuard it uses are for the caller to fill in. It keeps true that a
//! machine that does not say something leaves that field empty.

use wire::Facts;

/// More than any release file has.
const LONGEST: usize = 64 << 10;

/// The machine's facts.
pub fn facts() -> Facts {
    let system = rustix::system::uname();
    Facts {
        os: std::env::consts::OS.to_owned(),
        release: release(),
        arch: std::env::consts::ARCH.to_owned(),
        kernel: system.release().to_string_lossy().into_owned(),
        agent: String::new(),
        wireguard: String::new(),
    }
}

fn release() -> String {
    let read = |path| std::fs::read_to_string(path).ok().filter(|text| text.len() <= LONGEST);
    let text = read("/etc/os-release").or_else(|| read("/usr/lib/os-release")).unwrap_or_default();
    pretty_name(&text)
}

/// The name in an `os-release` file (freedesktop.org's os-release(5)).
fn pretty_name(text: &str) -> String {
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
        lines.next_back().map(|value| value.trim_matches(['"', '\'']).to_owned())
    };
    let name = value("PRETTY_NAME").or_else(|| value("NAME")).unwrap_or_default();
    name.chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_has_its_pretty_name() {
        let text = "NAME=\"Debian GNU/Linux\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n";
        assert_eq!(pretty_name(text), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(pretty_name("NAME=Alpine\n"), "Alpine");
        assert_eq!(pretty_name("junk"), "");
    }

    #[test]
    fn a_machine_says_what_it_is() {
        let facts = facts();
        assert_eq!(facts.os, "linux");
        assert!(!facts.arch.is_empty() && !facts.kernel.is_empty(), "{facts:?}");
    }
}
