//! The virtual machine's kernel and first file system, fetched and built once and kept in the target folder.
//!
//! Not for running anything. Keeps true that nothing is installed on the host, and that two processes that prepare at
//! the same time do not see each other's half-done work.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::lab::{PATH, run_command};

const INIT: &str = include_str!("init.sh");
/// Debian's name for its newest kernel made for virtual machines.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// What the kernel needs: to reach the host's files, and what the lab and the programs under test use.
const MODULES: [&str; 30] = [
    "virtio_pci",
    "virtiofs",
    "virtio_console",
    "virtio_rng",
    "overlay",
    "wireguard",
    "veth",
    "bridge",
    "tun",
    "dummy",
    "sch_netem",
    "nf_tables",
    "nft_chain_nat",
    "nft_masq",
    "nft_nat",
    "nft_redir",
    "nft_ct",
    "nft_numgen",
    "nft_hash",
    "nft_limit",
    "nft_log",
    "nft_quota",
    "nft_objref",
    "nft_connlimit",
    "nft_fib_inet",
    "nft_reject_inet",
    "nft_meta_bridge",
    "nft_reject_bridge",
    "nf_conntrack_bridge",
    "nft_compat",
];
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);
const LIMIT: Duration = Duration::from_secs(120);

/// What `qemu` boots.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    pub(super) image: PathBuf,
    pub(super) first_files: PathBuf,
}

/// The kernel and its first files, from the cache or made now; `progress` is told before anything that takes long.
pub(super) fn prepare(progress: &mut dyn FnMut(&str)) -> Result<Kernel> {
    let cache = cache_folder();
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let lock = File::create(cache.join("lock")).context("cannot make the cache's lock")?;
    lock.lock().context("cannot take the cache's lock")?;
    let package = cache.join("kernel");
    if !package.is_dir() {
        progress("downloading Debian's kernel for virtual machines (27 MB)");
        download(&cache, &package)?;
    }
    let image = only_entry(&package.join("boot"), "vmlinuz-")?;
    let first_files = cache.join("first-files.cpio");
    let recipe = format!("{INIT}\n{MODULES:?}\n{}", image.display());
    let stamp = cache.join("first-files.recipe");
    if !first_files.is_file() || fs::read_to_string(&stamp).ok().as_deref() != Some(&recipe) {
        progress("building the virtual machine's first files");
        build(&cache, &package, &first_files)?;
        fs::write(&stamp, recipe).context("cannot write the recipe")?;
    }
    Ok(Kernel { image, first_files })
}

fn cache_folder() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")).join("vm")
}

fn download(cache: &Path, package: &Path) -> Result<()> {
    let remedy = format!(
        "cannot find Debian's package {META_PACKAGE}: run `apt-get update` as root, on Debian 12 or newer for amd64"
    );
    let depends =
        tool("apt-cache", cache, &["depends", "--important", META_PACKAGE], LIMIT).context(remedy.clone())?;
    let name = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .context(remedy.clone())?;
    let fresh =
        tempfile::Builder::new().prefix("download-").tempdir_in(cache).context("cannot make a folder")?;
    tool("apt-get", fresh.path(), &["download", name], DOWNLOAD_LIMIT).context(remedy)?;
    let archive = only_entry(fresh.path(), "linux-image-")?;
    let unpacked = fresh.path().join("unpacked");
    tool("dpkg", cache, &["-x", path(&archive)?, path(&unpacked)?], LIMIT)?;
    fs::rename(&unpacked, package).context("cannot move the kernel into the cache")
}

/// Packs a static busybox, the script that runs first, and the modules in the order they must be loaded.
fn build(cache: &Path, package: &Path, to: &Path) -> Result<()> {
    if !package.join("lib").exists() && package.join("usr/lib").exists() {
        std::os::unix::fs::symlink("usr/lib", package.join("lib")).context("cannot link lib")?;
    }
    let version = only_entry(&package.join("lib/modules"), "")?;
    let version = version.file_name().and_then(|name| name.to_str()).context("the kernel has no version")?;
    let base = path(package)?;
    tool("depmod", cache, &["-b", base, version], LIMIT)?;
    let fresh =
        tempfile::Builder::new().prefix("files-").tempdir_in(cache).context("cannot make a folder")?;
    let root = fresh.path();
    for folder in ["bin", "modules"] {
        fs::create_dir(root.join(folder)).context("cannot make a folder")?;
    }
    let busybox = crate::lab::find_tool("busybox").context("the command busybox is missing")?;
    fs::copy(busybox, root.join("bin/busybox")).context("cannot copy busybox")?;
    fs::write(root.join("init"), INIT).context("cannot write init")?;
    fs::set_permissions(root.join("init"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut order: Vec<String> = Vec::new();
    for module in MODULES {
        let shown = tool("modprobe", cache, &["-d", base, "-S", version, "--show-depends", module], LIMIT)
            .with_context(|| format!("the kernel has no module {module}"))?;
        let files = shown.lines().filter_map(|line| line.strip_prefix("insmod ")).map(without_options);
        order.extend(files);
    }
    let mut packed: Vec<&String> = Vec::new();
    for file in &order {
        if packed.contains(&file) {
            continue;
        }
        let name =
            Path::new(file).file_name().and_then(|name| name.to_str()).context("a module has no name")?;
        let place = root.join("modules").join(format!("{:03}-{name}", packed.len()));
        fs::copy(file, &place).with_context(|| format!("cannot copy {file}"))?;
        if name.ends_with(".xz") {
            tool("busybox", cache, &["unxz", path(&place)?], LIMIT)?;
        }
        packed.push(file);
    }
    let pack = r#"cd "$1" && busybox find . | busybox cpio -o -H newc > "$2""#;
    tool("sh", cache, &["-c", pack, "pack", path(root)?, path(to)?], LIMIT).map(drop)
}

/// The file in a line of `modprobe --show-depends`, which may go on with the module's options.
fn without_options(line: &str) -> String {
    let end = line.rfind(".ko").and_then(|dot| Some(dot + line[dot..].find(' ')?));
    end.map_or(line, |end| &line[..end]).trim().to_owned()
}

fn tool(program: &str, folder: &Path, arguments: &[&str], limit: Duration) -> Result<String> {
    let mut command = Command::new(program);
    command.env("PATH", PATH).env("LC_ALL", "C").current_dir(folder).args(arguments);
    Ok(run_command(&mut command, limit)?.success()?.stdout)
}

fn only_entry(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    ensure!(
        found.len() <= 1,
        "{} holds more than one {prefix}*: remove the folder above it",
        folder.display()
    );
    let Some(only) = found.pop() else { bail!("{} holds no {prefix}*", folder.display()) };
    Ok(only)
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_modules_are_left_out() {
        assert_eq!(without_options("/a b/dummy.ko numdummies=0"), "/a b/dummy.ko");
        assert_eq!(without_options("/a b/tun.ko.xz "), "/a b/tun.ko.xz");
        assert_eq!(without_options("/a/tun.ko"), "/a/tun.ko");
    }
}
