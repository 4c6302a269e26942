//! Commands that root says work as the owner of the data folder: the server, which is somebody else under the packaged unit, has
//! to read what they make.
//!
//! Not a fence: root's rights stay, so that files which only root may read can be named. It keeps true that whatever is made
//! from then on, by whichever library, is the owner's from its first moment.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySets, Gid, Uid, capabilities, set_capabilities, set_thread_res_gid, set_thread_res_uid,
};

/// Goes on as the owner of this folder, if it is there and we are root. Only this thread and those it starts do: to be called
/// before any other thread is started.
pub fn work_as_owner_of(data: &Path) -> Result<()> {
    let owner = match fs::metadata(data) {
        Ok(folder) => (folder.uid(), folder.gid()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {}", data.display())),
    };
    if !geteuid().is_root() || owner.0 == 0 {
        return Ok(());
    }
    become_owner(owner).with_context(|| {
        format!("cannot work as user {}, to whom {} belongs; say this as that user", owner.0, data.display())
    })
}

fn become_owner((user, group): (u32, u32)) -> io::Result<()> {
    set_thread_res_gid(None, Gid::from_raw(group), None)?;
    set_thread_res_uid(None, Uid::from_raw(user), None)?;
    // They went with the user, and may be taken again: the real user is root still.
    let now = capabilities(None)?;
    set_capabilities(None, CapabilitySets { effective: now.permitted, ..now })?;
    Ok(())
}
