//! The machine that figures were taken on: without it they say little.

use std::fmt;

use serde::Serialize;

/// What matters of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Computer {
    processor: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
    optimised: bool,
}

impl Computer {
    /// This machine.
    pub(crate) fn this() -> Self {
        let memory = field("/proc/meminfo", "MemTotal");
        let kibibytes = memory.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
        Self {
            processor: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: kibibytes.unwrap_or(0) / 1024 / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            optimised: !cfg!(debug_assertions),
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn field(path: &str, name: &str) -> String {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

impl fmt::Display for Computer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, memory_gib, kernel, optimised } = self;
        write!(f, "{processor}, {cores} cores, {memory_gib} GiB, Linux {kernel}")?;
        if !optimised {
            write!(f, "\nNOT OPTIMISED: these figures say nothing; run `cargo xtask bench`")?;
        }
        Ok(())
    }
}
