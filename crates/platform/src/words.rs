//! What went wrong, in words that say what to do.
//!
//! Not for deciding what to do about it. It keeps true that the system's own word for an error is never lost.

use std::io;

use anyhow::{Error, anyhow};
use rustix::io::Errno;

/// The sentence for an attempt that the system refused.
pub(crate) fn could_not(doing: &str, error: io::Error) -> Error {
    if is(&error, &[Errno::PERM, Errno::ACCESS]) {
        return Error::new(error)
            .context(format!("no permission to {doing}: run as root (with CAP_NET_ADMIN)"));
    }
    Error::new(error).context(format!("could not {doing}"))
}

/// The sentence for what a WireGuard device refused.
pub(crate) fn of_device(error: &io::Error) -> Error {
    if is(error, &[Errno::ADDRINUSE]) {
        return anyhow!(
            "its UDP port is taken by another program; choose another port, or 0 for any ({error})"
        );
    }
    anyhow!("the device refused: {error}")
}

/// Whether the error is one of these.
pub(crate) fn is(error: &io::Error, any: &[Errno]) -> bool {
    error.raw_os_error().is_some_and(|code| any.iter().any(|errno| errno.raw_os_error() == code))
}

/// Success if the error is one of these.
pub(crate) fn unless(result: io::Result<()>, fine: &[Errno]) -> io::Result<()> {
    match result {
        Err(error) if is(&error, fine) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_says_run_as_root_and_other_errors_keep_their_words() {
        let denied =
            could_not("make the interface x", io::Error::from_raw_os_error(Errno::PERM.raw_os_error()));
        assert!(denied.to_string().contains("run as root"), "{denied:#}");
        let full = could_not("write the log", io::Error::from_raw_os_error(Errno::NOSPC.raw_os_error()));
        assert!(format!("{full:#}").contains("No space left"), "{full:#}");
    }

    #[test]
    fn only_the_named_errors_are_fine() {
        let exists = || Err(io::Error::from_raw_os_error(Errno::EXIST.raw_os_error()));
        assert!(unless(exists(), &[Errno::EXIST]).is_ok());
        assert!(unless(exists(), &[Errno::NOENT]).is_err());
    }
}
