//! What the kernel refused, in words that say what to do.
//!
//! Not for trying again. It keeps true that it is said which part was refused and what the kernel itself said.

use std::fmt;
use std::io;

use anyhow::{Error, anyhow};
use rustix::io::Errno;

use crate::words;

/// The modules that only translations need.
const CHAINS_OF_TRANSLATIONS: &str = "nft_chain_nat";
const TRANSLATING: [&str; 2] = ["nft_nat", "nft_masq"];
/// Tables of both families translate since 5.2, what leaves knows over which link it came since 5.7, and prefixes are
/// mapped one to one since 5.8.
const LEAST_KERNEL: &str =
    "translations need Linux 5.8 or later: masquerading for gateways, ranges under other addresses";

/// A part of the firewall that one message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Transaction,
    /// The table.
    Table,
    /// A chain, with the kernel's module that it needs.
    Chain(String, &'static str),
    /// A set.
    Set(String),
    /// Members of a set.
    Members(String),
    /// A rule of a chain, with the kernel's modules that it needs.
    Rule(String, Vec<&'static str>),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transaction => f.write_str("the firewall"),
            Self::Table => f.write_str("the table"),
            Self::Chain(name, _) => write!(f, "the chain {name}"),
            Self::Set(name) => write!(f, "the set {name}"),
            Self::Members(name) => write!(f, "members of the set {name}"),
            Self::Rule(chain, _) => write!(f, "a rule in the chain {chain}"),
        }
    }
}

/// A refusal of the kernel.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What it is about.
    pub(super) part: Part,
    /// The kernel's number.
    pub(super) error: io::Error,
    /// What the kernel said besides.
    pub(super) word: Option<String>,
}

impl Refusal {
    /// Of the transaction as a whole.
    pub(super) const fn of_all(error: io::Error) -> Self {
        Self { part: Part::Transaction, error, word: None }
    }

    pub(super) fn is(&self, errno: Errno) -> bool {
        words::is(&self.error, &[errno])
    }

    /// The sentence.
    pub(super) fn sentence(self, doing: &str, table: &str) -> Error {
        let since = self.since().map(|since| format!("; {since}")).unwrap_or_default();
        if let Some(missing) = self.missing() {
            return anyhow!("could not {doing}: {missing}{since} ({})", self.error);
        }
        if self.is(Errno::PERM) {
            return words::could_not(doing, self.error);
        }
        let word = self.word.map(|word| format!("; it says: {word}")).unwrap_or_default();
        Error::new(self.error).context(format!(
            "could not {doing}: the kernel refused {} of table {table}{word}{since}",
            self.part
        ))
    }

    /// Since when the kernel can translate, if this one may be older.
    fn since(&self) -> Option<&'static str> {
        let old = words::is(&self.error, &[Errno::NOENT, Errno::OPNOTSUPP, Errno::AFNOSUPPORT, Errno::INVAL]);
        match &self.part {
            Part::Chain(_, module) if old && *module == CHAINS_OF_TRANSLATIONS => Some(LEAST_KERNEL),
            Part::Rule(_, modules) if old && modules.iter().any(|module| TRANSLATING.contains(module)) => {
                Some(LEAST_KERNEL)
            }
            Part::Transaction
            | Part::Table
            | Part::Chain(..)
            | Part::Set(_)
            | Part::Members(_)
            | Part::Rule(..) => None,
        }
    }

    /// What the kernel lacks, if that is it.
    fn missing(&self) -> Option<String> {
        let unknown = [Errno::NOENT, Errno::OPNOTSUPP, Errno::AFNOSUPPORT];
        let modules = match &self.part {
            Part::Transaction | Part::Table if words::is(&self.error, &unknown[1..]) => {
                "nf_tables".to_owned()
            }
            Part::Chain(_, module) if words::is(&self.error, &unknown) => (*module).to_owned(),
            Part::Rule(_, modules) if self.is(Errno::NOENT) && !modules.is_empty() => modules.join(" "),
            Part::Transaction
            | Part::Table
            | Part::Chain(..)
            | Part::Set(_)
            | Part::Members(_)
            | Part::Rule(..) => return None,
        };
        Some(format!("this kernel lacks what {} needs: load it with `modprobe -a {modules}`", self.part))
    }
}

/// The sentence for a kernel that answers nothing about nf_tables.
pub(super) fn unsupported(error: io::Error) -> Error {
    let absent = [Errno::INVAL, Errno::OPNOTSUPP, Errno::PROTONOSUPPORT, Errno::AFNOSUPPORT];
    if words::is(&error, &absent) {
        return anyhow!(
            "this kernel has no nf_tables, which the firewall needs: load it with `modprobe nf_tables` ({error})"
        );
    }
    words::could_not("ask the kernel about its firewall", error)
}

/// The sentence for a transaction that is larger than the socket may send.
pub(super) fn too_large(bytes: usize, allowed: usize) -> Error {
    anyhow!(
        "the firewall takes {bytes} bytes, and this process may send the kernel {allowed} at once: \
         raise it with `sysctl net.core.wmem_max={bytes}` on the machine itself, not in a container"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(part: Part, errno: Errno, word: Option<&str>) -> String {
        let error = io::Error::from_raw_os_error(errno.raw_os_error());
        let refusal = Refusal { part, error, word: word.map(str::to_owned) };
        format!("{:#}", refusal.sentence("set the firewall", "netloom"))
    }

    #[test]
    fn what_the_kernel_lacks_is_named_with_what_to_do() {
        let nat = refusal(Part::Chain("postrouting".to_owned(), "nft_chain_nat"), Errno::NOENT, None);
        assert!(
            nat.contains("the chain postrouting needs") && nat.contains("modprobe -a nft_chain_nat"),
            "{nat}"
        );
        let rule = Part::Rule("postrouting".to_owned(), vec!["nft_ct", "nft_masq"]);
        let masquerade = refusal(rule, Errno::NOENT, None);
        assert!(masquerade.contains("modprobe -a nft_ct nft_masq"), "{masquerade}");
        assert!(nat.contains("Linux 5.8 or later") && masquerade.contains("Linux 5.8 or later"), "{nat}");
        let all = refusal(Part::Transaction, Errno::OPNOTSUPP, None);
        assert!(all.contains("the firewall needs") && all.contains("modprobe -a nf_tables"), "{all}");
        for errno in [Errno::INVAL, Errno::PROTONOSUPPORT] {
            let none = unsupported(io::Error::from_raw_os_error(errno.raw_os_error())).to_string();
            assert!(none.contains("modprobe nf_tables"), "{none}");
        }
    }

    #[test]
    fn an_old_kernel_is_told_from_which_one_on_translations_work() {
        for errno in [Errno::OPNOTSUPP, Errno::INVAL] {
            let map = refusal(Part::Rule("prerouting".to_owned(), vec!["nft_nat"]), errno, None);
            assert!(map.contains("a rule in the chain prerouting") && map.contains("Linux 5.8"), "{map}");
            let grant = refusal(Part::Rule("input".to_owned(), vec!["nft_ct"]), errno, None);
            assert!(!grant.contains("Linux 5.8"), "{grant}");
        }
    }

    #[test]
    fn other_refusals_say_the_part_and_the_kernels_word() {
        let members = refusal(Part::Members("s1_v4_32".to_owned()), Errno::EXIST, Some("already there"));
        for part in ["members of the set s1_v4_32 of table netloom", "it says: already there", "File exists"]
        {
            assert!(members.contains(part), "{members}");
        }
        let denied = refusal(Part::Transaction, Errno::PERM, None);
        assert!(denied.contains("run as root"), "{denied}");
        let large = too_large(1_000_000, 425_984).to_string();
        assert!(large.contains("net.core.wmem_max=1000000"), "{large}");
    }
}
