//! systemd-resolved, over D-Bus: our name servers and domains on our link.
//!
//! Not for choosing it (`mod.rs`). It keeps true that nothing but our own link is ever set, that the service is not started
//! by asking for it, and that a call that hangs ends.
//!
//! resolved forgets all of a link with the link, so nothing of ours can stay behind.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use reconcile::{LinkName, Resolver};
use tokio::time::{Instant, sleep, timeout};
use zbus::as_variant::Deserialize as Inner;
use zbus::connection::Builder;
use zbus::{Connection, DynamicType, Message, OwnedObjectPath};

use super::{ResolverApplied, ResolverLook, index};

const SERVICE: &str = "org.freedesktop.resolve1";
const PATH: &str = "/org/freedesktop/resolve1";
const MANAGER: &str = "org.freedesktop.resolve1.Manager";
const LINK: &str = "org.freedesktop.resolve1.Link";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const BUS: &str = "org.freedesktop.DBus";
/// How long one call may take. The service answers all of ours from memory.
const LONGEST: Duration = Duration::from_secs(5);
/// How long resolved may not know a link that the kernel has.
const HEARING: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// What the kernel and D-Bus call the two families of addresses.
const IPV4: i32 = 2;
const IPV6: i32 = 10;
const DNS_PORT: u16 = 53;
/// Every name there is.
const ROOT: &str = ".";

/// An address: its family, its bytes.
type Address = (i32, Vec<u8>);
/// A name server of any link: the link's number, family, bytes, port (0 for the usual), name.
type Server = (i32, i32, Vec<u8>, u16, String);

/// The most domains that it takes for one link; of more it takes none.
const MOST_DOMAINS: usize = 256;

/// A connection to the machine's systemd-resolved.
#[derive(Debug)]
pub(super) struct Resolved {
    bus: Connection,
}

/// What is set on our link, in resolved's words.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    servers: Vec<Address>,
    /// `true`: a name goes to the link if it is of this domain, and that is all.
    domains: Vec<(String, bool)>,
    default_route: bool,
}

impl Setting {
    fn of(wanted: &Resolver) -> Self {
        let mut domains: Vec<(String, bool)> = wanted
            .domains()
            .into_iter()
            .map(|(domain, is_searched)| (domain.as_str().to_owned(), !is_searched))
            .collect();
        keep(&mut domains, MOST_DOMAINS - usize::from(wanted.all));
        if wanted.all {
            domains.push((ROOT.to_owned(), true));
        }
        Self { servers: wanted.servers.iter().map(address).collect(), domains, default_route: wanted.all }
    }

    fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.domains.is_empty()
    }
}

/// Leaves out what is too much: reverse names first, which are missed least.
fn keep(domains: &mut Vec<(String, bool)>, most: usize) {
    let is_reverse = |domain: &str| domain.ends_with(".in-addr.arpa") || domain.ends_with(".ip6.arpa");
    let mut room = most.saturating_sub(domains.iter().filter(|(domain, _)| !is_reverse(domain)).count());
    domains.retain(|(domain, _)| {
        let kept = !is_reverse(domain) || room > 0;
        room -= usize::from(kept && is_reverse(domain));
        kept
    });
    domains.truncate(most);
}

impl Resolved {
    /// Connects, if there is a bus and the service runs.
    pub(super) async fn find() -> anyhow::Result<Option<Self>> {
        let build = async { Builder::system().method_timeout(LONGEST).build().await };
        // No bus, or one that does not answer: a machine without systemd.
        let Ok(Ok(bus)) = timeout(LONGEST, build).await else { return Ok(None) };
        let reply =
            bus.call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), "NameHasOwner", &SERVICE).await;
        let runs: bool = reply
            .and_then(|reply| reply.body().deserialize())
            .context("could not ask D-Bus for systemd-resolved")?;
        Ok(runs.then_some(Self { bus }))
    }

    /// Sets our servers and domains on our link, if they are not set.
    pub(super) async fn apply(&self, link: &LinkName, wanted: &Resolver) -> anyhow::Result<ResolverApplied> {
        let number = index(link)?.with_context(|| format!("the interface {link} is gone"))?;
        let setting = Setting::of(wanted);
        if self.setting_of_a_new_link(number).await? == setting {
            return Ok(ResolverApplied::Already);
        }
        // Servers last: without them nothing else counts, and by them the next run knows that all the rest is done.
        self.set("SetLinkDomains", &(number, &setting.domains)).await?;
        if let Err(error) = self.set("SetLinkDefaultRoute", &(number, setting.default_route)).await {
            // systemd before 240 goes by the domains alone.
            unless_unknown(error)?;
        }
        self.keep_to_plain_dns(number, &setting).await?;
        self.set("SetLinkDNS", &(number, &setting.servers)).await?;
        Ok(ResolverApplied::Changed)
    }

    /// Our server speaks plain DNS inside the tunnel, and nobody signs our domains: what the machine asks of servers of the
    /// world must not be asked of it. A systemd that is too old for one of these does not ask it either.
    async fn keep_to_plain_dns(&self, number: i32, setting: &Setting) -> anyhow::Result<()> {
        let unsigned: Vec<&str> = setting
            .domains
            .iter()
            .map(|(domain, _)| domain.as_str())
            .filter(|domain| *domain != ROOT)
            .collect();
        let calls = [
            self.set("SetLinkDNSOverTLS", &(number, "no")).await,
            self.set("SetLinkDNSSECNegativeTrustAnchors", &(number, unsigned)).await,
            self.set("SetLinkLLMNR", &(number, "no")).await,
            self.set("SetLinkMulticastDNS", &(number, "no")).await,
        ];
        calls.into_iter().filter_map(Result::err).try_for_each(unless_unknown)
    }

    /// Whether our servers and domains are set on our link.
    pub(super) async fn look(&self, link: &LinkName, wanted: &Resolver) -> anyhow::Result<ResolverLook> {
        let Some(number) = index(link)? else { return Ok(ResolverLook::Unset) };
        let setting = match self.setting(number).await {
            Err(error) if is_no_such_link(&error) => return Ok(ResolverLook::Unset),
            setting => setting?,
        };
        Ok(if setting == Setting::of(wanted) {
            ResolverLook::Set
        } else if setting.is_empty() {
            ResolverLook::Unset
        } else {
            ResolverLook::Different
        })
    }

    /// Takes everything off our link. A link that is gone has taken it along.
    pub(super) async fn restore(&self, link: &LinkName) -> anyhow::Result<()> {
        let Some(number) = index(link)? else { return Ok(()) };
        match self.set("RevertLink", &number).await {
            Err(error) if is_no_such_link(&error) => Ok(()),
            reverted => reverted,
        }
    }

    /// The name servers that the machine asks without us: those of links that may be asked any name, and global ones.
    pub(super) async fn upstreams(&self, link: &LinkName, own: &[IpAddr]) -> anyhow::Result<Vec<SocketAddr>> {
        let ours = index(link)?.unwrap_or(-1);
        let servers: Vec<Server> = self.servers("DNSEx", "DNS").await?;
        let others: Vec<Server> = servers.into_iter().filter(|server| server.0 != ours).collect();
        let mut open = Vec::new();
        for server in &others {
            if self.is_asked_anything(server.0).await? {
                open.push(server.clone());
            }
        }
        let mut found = if open.is_empty() { others } else { open };
        if found.is_empty() {
            found = self.servers("FallbackDNSEx", "FallbackDNS").await?;
        }
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found.iter().filter_map(socket_address) {
            if !own.contains(&address.ip()) && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    /// A list of servers, by the property that names ports or, with systemd before 246, by the one that does not.
    async fn servers(&self, property: &str, older: &str) -> anyhow::Result<Vec<Server>> {
        match self.get::<Vec<Server>>(PATH, MANAGER, property).await {
            Ok(servers) => Ok(servers),
            Err(_) => {
                let servers: Vec<(i32, i32, Vec<u8>)> = self.get(PATH, MANAGER, older).await?;
                Ok(servers
                    .into_iter()
                    .map(|(link, family, bytes)| (link, family, bytes, 0, String::new()))
                    .collect())
            }
        }
    }

    /// Whether names of no special domain go to this link; 0 is none, for servers that belong to all.
    async fn is_asked_anything(&self, number: i32) -> anyhow::Result<bool> {
        if number == 0 {
            return Ok(true);
        }
        let path = self.link(number).await?;
        // Links of systemd before 240 do not say it.
        Ok(self.get(path.as_str(), LINK, "DefaultRoute").await.unwrap_or(true))
    }

    /// resolved hears of a new link a moment after we do.
    async fn setting_of_a_new_link(&self, number: i32) -> anyhow::Result<Setting> {
        let deadline = Instant::now() + HEARING;
        loop {
            match self.setting(number).await {
                Err(error) if is_no_such_link(&error) && Instant::now() < deadline => sleep(ASK_AGAIN).await,
                setting => return setting,
            }
        }
    }

    async fn setting(&self, number: i32) -> anyhow::Result<Setting> {
        let path = self.link(number).await?;
        let servers: Vec<Address> = self.get(path.as_str(), LINK, "DNS").await?;
        let domains: Vec<(String, bool)> = self.get(path.as_str(), LINK, "Domains").await?;
        let everything = domains.iter().any(|(domain, _)| domain == ROOT);
        let default_route: bool = self.get(path.as_str(), LINK, "DefaultRoute").await.unwrap_or(everything);
        Ok(Setting { servers, domains, default_route })
    }

    async fn link(&self, number: i32) -> anyhow::Result<OwnedObjectPath> {
        let reply = self.call(PATH, MANAGER, "GetLink", &number).await?;
        reply.body().deserialize().context("systemd-resolved named no object for the link")
    }

    async fn get<T>(&self, path: &str, interface: &str, property: &str) -> anyhow::Result<T>
    where
        T: for<'a> serde::Deserialize<'a> + zbus::Type,
    {
        let reply = self.call(path, PROPERTIES, "Get", &(interface, property)).await?;
        let body = reply.body();
        let value: Inner<'_, T> = body.deserialize().with_context(|| {
            format!("systemd-resolved's property {property} is not what it is known to be")
        })?;
        Ok(value.0)
    }

    async fn set<B: serde::Serialize + DynamicType>(&self, method: &str, body: &B) -> anyhow::Result<()> {
        self.call(PATH, MANAGER, method, body).await.map(drop)
    }

    async fn call<B: serde::Serialize + DynamicType>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> anyhow::Result<Message> {
        let called = self.bus.call_method(Some(SERVICE), path, Some(interface), method, body).await;
        called.map_err(|error| anyhow!(error).context(format!("systemd-resolved refused {method}")))
    }
}

/// Fine if the service does not know the method.
fn unless_unknown(error: anyhow::Error) -> anyhow::Result<()> {
    let is_unknown = error.downcast_ref::<zbus::Error>().is_some_and(|error| match error {
        zbus::Error::FDO(error) => matches!(**error, zbus::fdo::Error::UnknownMethod(_)),
        _ => false,
    });
    if is_unknown { Ok(()) } else { Err(error) }
}

fn is_no_such_link(error: &anyhow::Error) -> bool {
    error.downcast_ref::<zbus::Error>().is_some_and(|error| match error {
        zbus::Error::MethodError(name, _, _) => name.as_str() == "org.freedesktop.resolve1.NoSuchLink",
        _ => false,
    })
}

fn address(address: &IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => (IPV4, address.octets().to_vec()),
        IpAddr::V6(address) => (IPV6, address.octets().to_vec()),
    }
}

fn socket_address(server: &Server) -> Option<SocketAddr> {
    let (link, family, bytes, port, _) = server;
    let port = if *port == 0 { DNS_PORT } else { *port };
    match *family {
        IPV4 => {
            let bytes: [u8; 4] = bytes.as_slice().try_into().ok()?;
            Some(SocketAddr::new(bytes.into(), port))
        }
        IPV6 => {
            let bytes: [u8; 16] = bytes.as_slice().try_into().ok()?;
            let address = std::net::Ipv6Addr::from(bytes);
            let scope = if address.is_unicast_link_local() { u32::try_from(*link).ok()? } else { 0 };
            Some(std::net::SocketAddrV6::new(address, port, 0, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_tunnel_is_asked_everything_and_a_split_one_its_domains() {
        let mut wanted = Resolver {
            servers: vec!["10.20.0.5".parse().unwrap()],
            search: vec!["office.netloom".parse().unwrap()],
            route: vec!["netloom".parse().unwrap()],
            all: false,
        };
        let split = Setting::of(&wanted);
        assert_eq!(split.servers, [(IPV4, vec![10, 20, 0, 5])]);
        assert_eq!(split.domains, [("office.netloom".to_owned(), false), ("netloom".to_owned(), true)]);
        assert!(!split.default_route);
        wanted.all = true;
        let all = Setting::of(&wanted);
        assert_eq!(all.domains.last(), Some(&(ROOT.to_owned(), true)));
        assert!(all.default_route);
    }

    #[test]
    fn of_too_many_domains_reverse_ones_are_left_out_first() {
        let domain = |text: String| text.parse().unwrap();
        let wanted = Resolver {
            servers: vec!["10.20.0.5".parse().unwrap()],
            search: (0..100).map(|number| domain(format!("n{number}.netloom"))).collect(),
            route: (0..200)
                .map(|number| domain(format!("{number}.10.in-addr.arpa")))
                .chain((0..100).map(|number| domain(format!("corp{number}.example"))))
                .collect(),
            all: true,
        };
        let set = Setting::of(&wanted).domains;
        assert_eq!(set.len(), MOST_DOMAINS);
        assert_eq!(set.iter().filter(|(domain, _)| domain.ends_with(".arpa")).count(), 55);
        assert_eq!(set.last().map(|(domain, _)| domain.as_str()), Some(ROOT));
    }

    #[test]
    fn servers_are_read_with_their_port_and_their_link() {
        let link_local: std::net::Ipv6Addr = "fe80::1".parse().unwrap();
        let servers = [
            (2, IPV4, vec![192, 0, 2, 1], 0, String::new()),
            (3, IPV4, vec![192, 0, 2, 2], 5353, "dns.example".to_owned()),
            (4, IPV6, link_local.octets().to_vec(), 0, String::new()),
        ];
        let read: Vec<String> =
            servers.iter().filter_map(socket_address).map(|address| address.to_string()).collect();
        assert_eq!(read, ["192.0.2.1:53", "192.0.2.2:5353", "[fe80::1%4]:53"]);
        for odd in [(2, IPV4, vec![1, 2], 0, String::new()), (2, 77, vec![], 0, String::new())] {
            assert_eq!(socket_address(&odd), None);
        }
    }
}
