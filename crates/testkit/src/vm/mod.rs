//! A small virtual machine with Debian's kernel, to run lab tests on the kernel's own WireGuard.
//!
//! Not for speed: the processor is emulated, because hardware acceleration is not there everywhere. Keeps true that the
//! host's files are seen in the machine and never changed by it: it can write below `/tmp`, `/var/tmp` and `/run` only, and
//! what it writes stays in its memory and ends with it.
//!
//! ```text
//!   host: run() ── qemu ── guest: init.sh ─ guest.sh ─ command.sh ─ the command
//!                   │  └── serial port: kernel messages, exit code
//!          virtiofsd┘      virtio port: the command's output, streamed
//! ```

mod inside;
mod kernel;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::lab::{Missing, PATH, eventually, find_tool, require};
use kernel::Kernel;

pub use inside::{expected_wireguard, is_inside, run_inside};

const GUEST: &str = include_str!("guest.sh");
const QEMU: &str = "qemu-system-x86_64";
/// Where Debian 12 (in qemu-system-common) and later ones (in virtiofsd) have the daemon that serves the host's files.
const VIRTIOFSD: [&str; 2] = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];
/// The commands that preparing and running need, each with its Debian package.
const TOOLS: [(&str, &str); 9] = [
    ("apt-cache", "apt"),
    ("apt-get", "apt"),
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("dpkg", "dpkg"),
    ("modprobe", "kmod"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    (QEMU, "qemu-system-x86"),
];
/// The kernel's settings. All but the first line are there because the processor is emulated: translated code is kept by its
/// address, which must be the same each time (this alone makes starting a program five times faster); the clock must be read
/// without leaving the machine; and what guards a real processor guards nothing here.
const SETTINGS: [&str; 4] = [
    "console=ttyS0 quiet panic=-1 random.trust_cpu=on",
    "norandmaps nokaslr",
    "tsc=reliable",
    "mitigations=off nosmap nosmep no5lvl init_on_alloc=0 apparmor=0 audit=0",
];
const OUTPUT_LIMIT: usize = 64 * 1024 * 1024;

/// A virtual machine that is ready to be started, any number of times and also several at once.
#[derive(Debug, Clone)]
pub struct Vm {
    kernel: Kernel,
    virtiofsd: PathBuf,
    memory_mib: u32,
}

/// What to run in the machine, as root, with the host's files at their usual places.
#[derive(Debug, Clone)]
pub struct VmCommand {
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: PathBuf,
    limit: Duration,
}

/// How a command in the machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmOutput {
    /// Its exit code; above 128 the number of the signal that ended it, plus 128.
    pub status: i32,
    /// What it wrote to its standard output and error, bytes that are not UTF-8 replaced.
    pub output: String,
}

impl VmOutput {
    /// Itself if the command succeeded, else an error that shows what it said.
    pub fn success(self) -> Result<Self> {
        ensure!(
            self.status == 0,
            "the command in the virtual machine ended with {}:\n{}",
            self.status,
            self.output
        );
        Ok(self)
    }
}

impl VmCommand {
    /// A command with a limit of five minutes, the start of the machine included.
    pub fn new(program: impl Into<OsString>) -> Self {
        let limit = Duration::from_secs(300);
        Self { words: vec![program.into()], environment: Vec::new(), folder: PathBuf::from("/"), limit }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.words.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Sets the working folder.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Sets the limit.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The shell script that the guest runs.
    fn script(&self) -> Vec<u8> {
        let mut script = b"cd ".to_vec();
        quote(&mut script, self.folder.as_os_str());
        script.extend_from_slice(b" || exit 126\n");
        for (name, value) in &self.environment {
            script.extend_from_slice(b"export ");
            script.extend_from_slice(name.as_encoded_bytes());
            script.push(b'=');
            quote(&mut script, value);
            script.push(b'\n');
        }
        script.extend_from_slice(b"exec");
        for word in &self.words {
            script.push(b' ');
            quote(&mut script, word);
        }
        script.push(b'\n');
        script
    }
}

fn quote(script: &mut Vec<u8>, word: &OsStr) {
    script.push(b'\'');
    for byte in word.as_encoded_bytes() {
        match byte {
            b'\'' => script.extend_from_slice(br"'\''"),
            plain => script.push(*plain),
        }
    }
    script.push(b'\'');
}

/// Whether tests are to do without the virtual machine (`NETLOOM_TEST_VM=off`, set by `cargo xtask test --no-vm`). If so,
/// says what is left out where the test runner cannot keep it to itself.
pub fn is_left_out(what: &str) -> bool {
    let left_out = std::env::var("NETLOOM_TEST_VM").is_ok_and(|value| value == "off");
    if left_out {
        let words = format!("\nLEFT OUT: {what}, because NETLOOM_TEST_VM=off\n");
        // Nowhere is left to say that this failed.
        let _ = std::io::stderr().write_all(words.as_bytes());
    }
    left_out
}

impl Vm {
    /// What this machine lacks for the virtual one.
    pub fn requirements() -> Vec<Missing> {
        let mut missing: Vec<Missing> = TOOLS
            .iter()
            .filter(|(tool, _)| find_tool(tool).is_none())
            .map(|(tool, package)| Missing::tool(tool, package))
            .collect();
        if virtiofsd().is_none() {
            missing.push(Missing {
                what: "the daemon virtiofsd".to_owned(),
                package: Some("virtiofsd"),
                remedy: "The daemon virtiofsd is missing: install the Debian package virtiofsd, on Debian 12 qemu-system-common."
                    .to_owned(),
            });
        }
        missing
    }

    /// Fetches the kernel unless that was done before; `progress` is told before anything that takes long.
    pub fn prepare(mut progress: impl FnMut(&str)) -> Result<Self> {
        require(&Self::requirements())?;
        let kernel = kernel::prepare(&mut progress).context("cannot prepare the virtual machine")?;
        let virtiofsd = virtiofsd().context("the daemon virtiofsd is gone")?;
        Ok(Self { kernel, virtiofsd, memory_mib: 3072 })
    }

    /// Sets how much memory the machine has; what is written in it takes from that.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// Starts the machine, runs the command, and ends the machine. The output also goes to `stream` as it comes.
    pub fn run(&self, command: &VmCommand, stream: &mut dyn Write) -> Result<VmOutput> {
        let deadline = Instant::now() + command.limit;
        let folder =
            tempfile::Builder::new().prefix("netloom-vm-").tempdir().context("cannot make a folder")?;
        let folder = folder.path();
        std::fs::write(folder.join("command.sh"), command.script()).context("cannot write the command")?;
        std::fs::write(folder.join("guest.sh"), GUEST).context("cannot write the guest's script")?;
        let _files = self.serve_files(folder)?;
        let mut qemu = self.start(folder)?;
        let output = stream_output(&mut qemu, deadline, stream)
            .with_context(|| format!("the virtual machine's console says:\n{}", console(folder)))?;
        drop(qemu);
        let console = console(folder);
        let status = console.lines().find_map(|line| line.split_once("netloom-exit ")?.1.trim().parse().ok());
        let status = status.with_context(|| {
            format!(
                "the virtual machine ended before the command did\n{output}\nits console says:\n{console}"
            )
        })?;
        Ok(VmOutput { status, output })
    }

    /// Starts the daemon that shows the host's files, and waits until it listens.
    fn serve_files(&self, folder: &Path) -> Result<Process> {
        // It keeps a file for each name it was asked for, and writes its process number below /run.
        let script =
            r#"ulimit -n "$(ulimit -Hn)"; mount -t tmpfs none /run && exec setpriv --pdeathsig KILL "$@""#;
        let socket = folder.join("files.sock");
        let log = File::create(folder.join("files.log")).context("cannot make a log")?;
        let mut command = Command::new("unshare");
        command.env("PATH", PATH);
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "--", "sh", "-c", script, "files"]).arg(&self.virtiofsd);
        let mut listen = OsString::from("--socket-path=");
        listen.push(&socket);
        command.arg(listen);
        command.args(["--rlimit-nofile=0", "-o", "source=/", "-o", "cache=always", "-o", "sandbox=chroot"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut process = Process(command.spawn().context("cannot start virtiofsd")?);
        let listens = eventually(Duration::from_secs(20), || {
            let ended = process.0.try_wait()?.is_some();
            ensure!(ended || socket.exists(), "virtiofsd does not listen");
            Ok(!ended)
        })?;
        let said = || std::fs::read_to_string(folder.join("files.log")).unwrap_or_default();
        ensure!(listens, "virtiofsd ended at once:\n{}", said());
        Ok(process)
    }

    fn start(&self, folder: &Path) -> Result<Process> {
        let text = folder.to_str().context("the temporary folder's name is not UTF-8")?;
        let memory = self.memory_mib;
        let mut command = Command::new("setpriv");
        command.env("PATH", PATH).args(["--pdeathsig", "KILL", QEMU]);
        command.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", &format!("{memory}M")]);
        command.args(["-object", &format!("memory-backend-memfd,id=memory,size={memory}M,share=on")]);
        command.args(["-numa", "node,memdev=memory"]);
        command.args(["-chardev", &format!("socket,id=files,path={text}/files.sock")]);
        command.args(["-device", "vhost-user-fs-pci,chardev=files,tag=host"]);
        command.args(["-chardev", "file,id=output,path=/dev/stdout", "-device", "virtio-serial-pci"]);
        command.args(["-device", "virtserialport,chardev=output,name=netloom.output"]);
        command.args(["-device", "virtio-rng-pci", "-serial", &format!("file:{text}/console.log")]);
        command.args(["-display", "none", "-vga", "none", "-monitor", "none", "-nic", "none", "-no-reboot"]);
        command.arg("-kernel").arg(&self.kernel.image).arg("-initrd").arg(&self.kernel.first_files);
        command.args(["-append", &format!("{} netloom={text}", SETTINGS.join(" "))]);
        let log = File::create(folder.join("qemu.log")).context("cannot make a log")?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        Ok(Process(command.spawn().context("cannot start qemu")?))
    }
}

fn virtiofsd() -> Option<PathBuf> {
    VIRTIOFSD.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// What the kernel, the scripts and qemu said.
fn console(folder: &Path) -> String {
    let read = |name| std::fs::read(folder.join(name)).unwrap_or_default();
    let said = [read("console.log"), read("qemu.log")].concat();
    String::from_utf8_lossy(&said).into_owned()
}

/// Passes on what the machine writes until it ends, and returns all of it.
fn stream_output(qemu: &mut Process, deadline: Instant, stream: &mut dyn Write) -> Result<String> {
    let mut pipe = qemu.0.stdout.take().context("the output was not captured")?;
    let (sender, pieces) = sync_channel(64);
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = pipe.read(&mut buffer) {
            if sender.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut all = Vec::new();
    loop {
        match pieces.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(piece) => {
                stream
                    .write_all(&piece)
                    .and_then(|()| stream.flush())
                    .context("cannot pass on the output")?;
                all.extend_from_slice(&piece);
                ensure!(all.len() <= OUTPUT_LIMIT, "the command wrote more than {OUTPUT_LIMIT} bytes");
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                bail!(
                    "the command had not ended in time and was ended; it had said:\n{}",
                    String::from_utf8_lossy(&all)
                )
            }
        }
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}

/// A process that ends with this value.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is just as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_guest_as_they_are() {
        let command = VmCommand::new("echo").args(["it's", "$HOME  *"]).env("A", "x y").folder("/tmp");
        let script = String::from_utf8(command.script()).unwrap();
        assert_eq!(script, "cd '/tmp' || exit 126\nexport A='x y'\nexec 'echo' 'it'\\''s' '$HOME  *'\n");
    }
}
