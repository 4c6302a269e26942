//! What can befall a cluster beside its death: a disk that is full, writes that are forbidden, locks of others, and a machine
//! that does nothing more.
//!
//! Not for what is asked of it meanwhile. It keeps true that a lock ends with whoever holds its value.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Cluster, Manner, PATIENCE, as_nobody, give_away};

/// A disk of its own for the tables, before it becomes somebody without rights again.
const SMALL: &str = r#"
mount -t tmpfs -o "size=$1m,mode=700" tmpfs "$2" && shift 2 && exec unshare --user --map-user=65534 --map-group=65534 "$@"
"#;

/// The server, with a small disk before it where it is to have one.
pub(super) fn on_disk(megabytes: Option<u32>, folder: &Path, program: &Path) -> Command {
    let Some(megabytes) = megabytes else {
        return as_nobody(program);
    };
    let mut command = as_nobody(Path::new("unshare"));
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", SMALL, "sh", &megabytes.to_string()]);
    command.arg(folder.join("small")).arg(program);
    command
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Lock(Child);

impl Drop for Lock {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Cluster {
    /// Makes a cluster and starts it; its tables are on a disk of their own with so many megabytes. Needs user namespaces.
    pub fn start_with_room(megabytes: u32) -> io::Result<Self> {
        let manner = Manner { is_encrypted: false, megabytes: Some(megabytes) };
        let cluster = Self::start_so(None, manner)?;
        let small = cluster.folder.join("small");
        cluster.psql(&format!("CREATE TABLESPACE small LOCATION '{}'", small.display()))?;
        cluster.set("default_tablespace", "small")?;
        Ok(cluster)
    }

    /// The folder that a small disk is put on.
    pub(super) fn make_room_for_disk(folder: &Path) -> io::Result<()> {
        std::fs::create_dir(folder.join("small"))?;
        give_away(&folder.join("small"))
    }

    /// Fills its small disk to the last page.
    pub fn fill_disk(&self) -> io::Result<()> {
        let table = "
            CREATE TABLE ballast (x text) WITH (autovacuum_enabled = off);
            ALTER TABLE ballast ALTER x SET STORAGE PLAIN";
        self.psql(table)?;
        // Pages stay where they are when what fills them is undone.
        match self.psql("INSERT INTO ballast SELECT repeat('x', 8000) FROM generate_series(1, 1000000)") {
            Ok(_) => Err(io::Error::other("the disk is larger than was thought")),
            Err(error) if error.to_string().contains("No space left") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes room on its small disk again.
    pub fn make_room(&self) -> io::Result<()> {
        self.psql("DROP TABLE ballast").map(drop)
    }

    /// From now on every transaction may only read, as on a standby; or write again.
    pub fn read_only(&self, read_only: bool) -> io::Result<()> {
        self.set("default_transaction_read_only", if read_only { "on" } else { "off" })
    }

    /// Sets it for all connections, also those that are there, and waits until it holds.
    pub fn set(&self, name: &str, value: &str) -> io::Result<()> {
        self.psql(&format!("ALTER SYSTEM SET {name} = '{value}'"))?;
        self.psql("SELECT pg_reload_conf()")?;
        let end = Instant::now() + PATIENCE;
        while self.psql(&format!("SHOW {name}"))? != value {
            if Instant::now() > end {
                return Err(io::Error::other(format!("{name} does not become {value}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Keeps others from writing to these tables (`schema.table, …`); they may read.
    pub fn hold_lock(&self, tables: &str) -> io::Result<Lock> {
        let mut psql = self.program("psql");
        psql.args(["-v", "ON_ERROR_STOP=1", "-XqAt"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut lock = Lock(psql.stderr(Stdio::null()).spawn()?);
        let sql = format!("BEGIN;\nLOCK TABLE {tables} IN EXCLUSIVE MODE;\n\\echo held\n");
        // Its input stays open, and with it the transaction.
        lock.0.stdin.as_mut().expect("it was asked for").write_all(sql.as_bytes())?;
        let mut said = String::new();
        BufReader::new(lock.0.stdout.take().expect("it was asked for")).read_line(&mut said)?;
        if said.trim() == "held" { Ok(lock) } else { Err(io::Error::other("the lock was not given")) }
    }

    /// Has all its processes do nothing more: connections stand, and nobody answers.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Has them go on.
    pub fn thaw(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Ends it in good order; `start_again` starts it.
    pub fn stop(&mut self) -> io::Result<()> {
        let first = Pid::from_raw(self.postmaster()?).ok_or_else(|| io::Error::other("no process"))?;
        kill_process(first, Signal::INT)?;
        self.server.wait().map(drop)
    }
}
