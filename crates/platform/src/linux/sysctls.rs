//! Settings of the kernel below /proc/sys.
//!
//! Not for which of them are changed. It keeps true that only settings of the network are ever read or written.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use reconcile::Sysctl;

const ROOT: &str = "/proc/sys";
const SINGLE: [&str; 3] =
    ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/accept_redirects"];
/// Settings that each link has: the folder of the links, and the setting.
const OF_LINKS: [(&str, &str); 4] = [
    ("net/ipv6/conf", "accept_ra"),
    ("net/ipv4/conf", "rp_filter"),
    ("net/ipv4/conf", "forwarding"),
    ("net/ipv6/conf", "forwarding"),
];
/// Another name of `net/ipv4/ip_forward`, and no link's.
const FORWARD_V4: &str = "net/ipv4/conf/all/forwarding";
/// Machines with more links than this are hosts of containers, whose links are none of our business.
const MOST_LINKS: usize = 512;

/// Those that there are, of the ones that gateways may need.
pub(super) fn read() -> BTreeMap<String, String> {
    let single = SINGLE.into_iter().map(str::to_owned);
    let of_links = OF_LINKS.into_iter().flat_map(|(folder, setting)| {
        links(folder).into_iter().map(move |link| format!("{folder}/{link}/{setting}"))
    });
    let all = single.chain(of_links.filter(|name| name != FORWARD_V4));
    all.filter_map(|name| Some((name.clone(), value(&path(&name).ok()?).ok()?))).collect()
}

/// Gives a setting its value.
pub(super) fn write(sysctl: &Sysctl) -> io::Result<()> {
    let path = path(&sysctl.name)?;
    match value(&path) {
        Ok(now) if now == sysctl.value => return Ok(()),
        // A link that is gone took its settings along.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Ok(_) | Err(_) => {}
    }
    std::fs::write(path, &sysctl.value)
}

fn links(folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(Path::new(ROOT).join(folder)) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.take(MOST_LINKS).collect()
}

fn value(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned())
}

fn path(name: &str) -> io::Result<PathBuf> {
    let of_the_network = name.starts_with("net/ipv4/") || name.starts_with("net/ipv6/");
    if !of_the_network || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no setting of the network"));
    }
    Ok(Path::new(ROOT).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_settings_of_the_network_is_touched() {
        for name in ["kernel/panic", "net/core/somaxconn", "net/ipv4/../../kernel/panic", "/etc/passwd", ""] {
            assert!(write(&Sysctl::new(name, "1")).is_err(), "{name}");
        }
    }

    #[test]
    fn what_a_link_had_is_no_loss_when_it_is_gone() {
        assert!(write(&Sysctl::new("net/ipv4/conf/no-such-link/rp_filter", "2")).is_ok());
    }
}
