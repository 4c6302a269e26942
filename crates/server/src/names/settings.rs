//! What people set about the server's DNS.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use settings::Layers;

use crate::settings::{folder, network};

/// Where names are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// Port 53 of each of the machine's own addresses (`own`), as far as this process may and nobody else has it.
    Usual,
    /// Here and nowhere else.
    At(Vec<SocketAddr>),
}

/// The server's DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// Where names are answered.
    pub listen: Listen,
    /// Who is answered: this machine, and whom `dns_allow` names.
    pub allow: Vec<IpNet>,
    /// Whom to ask about foreign names; none: they are refused.
    pub upstreams: Vec<SocketAddr>,
    /// The folder for CoreDNS's files.
    pub coredns: Option<PathBuf>,
}

/// Always answered: this machine itself. Everybody else is named: names of networks are nobody else's business.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// Reads the settings.
pub(crate) fn read(layers: &mut Layers) -> DnsSettings {
    let parsed = |text: &str| text.parse().expect("a prefix of this file");
    let named = layers.list("dns_allow", network).unwrap_or_default();
    DnsSettings {
        listen: layers.one("dns_listen", listen).unwrap_or(Listen::Usual),
        allow: LOOPBACK.map(parsed).into_iter().chain(named).collect(),
        upstreams: layers.list("dns_upstreams", upstream).unwrap_or_default(),
        coredns: layers.one("coredns_folder", folder),
    }
}

fn listen(value: &str) -> Result<Listen, String> {
    if value == "off" {
        return Ok(Listen::Off);
    }
    let address = |text: &str| text.trim().parse::<SocketAddr>().ok();
    let addresses: Option<Vec<SocketAddr>> = value.split(',').map(address).collect();
    addresses.map(Listen::At).ok_or_else(|| {
        format!("`{value}` is neither `off` nor addresses with ports such as 0.0.0.0:53 or [::1]:5353")
    })
}

fn upstream(value: &str) -> Result<SocketAddr, String> {
    let with_port = |_| value.parse::<std::net::IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    value
        .parse::<SocketAddr>()
        .or_else(with_port)
        .map_err(|_| format!("`{value}` is not an address, such as 192.0.2.53 or 192.0.2.53:5353"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &str) -> Result<DnsSettings, String> {
        let mut layers = Layers::new("NETLOOM_", [], Some(("server.toml", file)));
        let settings = read(&mut layers);
        layers.finish().map(|()| settings).map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn with_nothing_set_this_machine_alone_is_answered_at_port_53_and_nothing_is_forwarded() {
        let settings = of("").unwrap();
        assert_eq!(settings.listen, Listen::Usual);
        assert!(settings.upstreams.is_empty() && settings.coredns.is_none());
        let answered = |settings: &DnsSettings, ip: [u8; 4]| {
            settings.allow.iter().any(|net| net.contains(&std::net::IpAddr::from(ip)))
        };
        assert!(answered(&settings, [127, 0, 0, 1]));
        assert!(
            ![[203, 0, 113, 1], [10, 7, 0, 1], [192, 168, 0, 1]].iter().any(|ip| answered(&settings, *ip))
        );
        let named = of("dns_allow = [\"10.7.0.0/24\"]").unwrap();
        assert!(answered(&named, [10, 7, 0, 1]) && answered(&named, [127, 0, 0, 1]));
        assert!(!answered(&named, [10, 8, 0, 1]));
    }

    #[test]
    fn addresses_are_read_and_mistakes_told() {
        let settings =
            of("dns_listen = \"127.0.0.1:5353,[::1]:5353\"\ndns_upstreams = [\"192.0.2.53\"]").unwrap();
        assert!(matches!(settings.listen, Listen::At(addresses) if addresses.len() == 2));
        assert_eq!(settings.upstreams, ["192.0.2.53:53".parse().unwrap()]);
        assert_eq!(of("dns_listen = \"off\"").unwrap().listen, Listen::Off);
        let text = of("dns_listen = \"53\"\ndns_allow = [\"here\"]").unwrap_err();
        assert!(text.contains("`53`") && text.contains("`here`"), "{text}");
    }
}
