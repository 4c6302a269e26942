//! What the tests of the resolver's hands share: a machine with an /etc of its own, and the hands on it.

use std::net::SocketAddr;
use std::path::PathBuf;

use platform::{ResolverApplied, ResolverHands, ResolverLook, ResolverOptions, ResolverWatch};
use reconcile::{Resolver, ResolverChoice};

use crate::common::LINK;

/// Shell that gives a test's machine an /etc of its own, and a folder for our state.
pub(crate) const ETC: &str = "mkdir /run/etc /run/state; \
    cp -a /etc/ld.so.cache /etc/passwd /etc/group /etc/nsswitch.conf /etc/alternatives /run/etc/; \
    mount --bind /run/etc /etc; ";
/// The file.
pub(crate) const CONF: &str = "/etc/resolv.conf";
/// Where the original is kept.
pub(crate) const STATE: &str = "/run/state/resolver";

/// The hands, as a run of the agent would have them.
pub(crate) async fn hands(choice: &str) -> ResolverHands {
    let choice: ResolverChoice = choice.parse().unwrap();
    let options = ResolverOptions { link: LINK.parse().unwrap(), state: STATE.into(), choice };
    ResolverHands::detect(options).await.unwrap()
}

/// A name server of ours on two addresses, one domain that is searched and one whose names come to us.
pub(crate) fn wanted() -> Resolver {
    Resolver {
        servers: vec!["10.20.0.5".parse().unwrap(), "fd20::5".parse().unwrap()],
        search: vec!["office.netloom".parse().unwrap()],
        route: vec!["netloom".parse().unwrap()],
        all: false,
    }
}

/// Tells the resolver, and that it has been told.
pub(crate) async fn tell(hands: &mut ResolverHands) {
    assert_eq!(hands.apply(&wanted()).await.unwrap(), ResolverApplied::Changed);
    assert_eq!(hands.look(&wanted()).await.unwrap(), ResolverLook::Set);
    assert_eq!(hands.apply(&wanted()).await.unwrap(), ResolverApplied::Already);
}

/// The servers that are asked without us.
pub(crate) async fn upstreams(hands: &ResolverHands) -> Vec<String> {
    let servers = hands.upstreams(&wanted().servers).await.unwrap();
    servers.iter().map(SocketAddr::to_string).collect()
}

/// A file's text.
pub(crate) fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The lines of a file that are no comments.
pub(crate) fn lines(path: &str) -> Vec<String> {
    text(path).lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// Everything about files below /etc and our state that can be seen.
pub(crate) fn files() -> String {
    crate::common::output(
        "cd /; find /etc /run/state -name alternatives -prune -o -printf '%M %U:%G %p %l\\n' | sort; \
         cat /etc/resolv.conf; find /run/state -type f -exec cat {} +",
    )
}

/// A Debian package's files, unpacked beside what cargo builds.
pub(crate) fn unpacked(package: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let mut folders = program.ancestors().map(|folder| folder.join("unpacked").join(package));
    let found = folders.find(|folder| folder.is_dir());
    found.unwrap_or_else(|| panic!("the package {package} is not unpacked: run `cargo xtask test`"))
}

/// Waits for a notice of what just happened.
pub(crate) async fn noticed(watch: &mut ResolverWatch, what: &str) {
    let limit = std::time::Duration::from_secs(15);
    tokio::time::timeout(limit, watch.changed())
        .await
        .unwrap_or_else(|_| panic!("not noticed: {what}"))
        .unwrap();
}
