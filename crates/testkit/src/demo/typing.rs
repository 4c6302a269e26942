//! What a visitor can type next: ways into the machines, with the programs and the log-in ready to use.
//!
//! Not for doing any of it. What is written lies in the lab's folder and goes away with it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::street::Street;
use crate::house::Administrator;
use crate::lab::Machine;

/// Writes the script that leads into machines; returns the text that says what to type.
pub(super) fn write_guide(street: &Street) -> Result<String> {
    let script = street.house.lab().folder().join("in");
    std::fs::write(&script, enter_script(street)?)
        .with_context(|| format!("cannot write {}", script.display()))?;
    let enter = format!("sh {}", script.display());
    let first = street.hosts.first().context("the demo has no machine")?.name();
    let last = street.hosts.last().context("the demo has no machine")?;
    let (name, other) = (last.name(), street.hosts[0].v4()?);
    Ok(format!(
        "Now, in another terminal:\n\
         \x20 {enter} {name}                               a shell in {name}; `netclient` and `wg show` work there\n\
         \x20 {enter} {name} netclient status              what works, and over which path\n\
         \x20 {enter} {name} ping {other}\n\
         \x20 {enter} server netloom host list             the administrator's view; you are logged in\n\
         \x20 {enter} server netloom node disconnect home {first}    and watch the table\n\
         \x20 {enter} server netloom network create lab    and so on: `netloom help`\n\
         The API is at {url}, its description at {url}/api/openapi.json.\n\
         More machines join with\n\
         \x20 netclient join -t {token}\n\
         Ctrl-C here ends all of it and leaves nothing behind.\n",
        url = street.house.server().url(),
        token = street.token,
    ))
}

fn enter_script(street: &Street) -> Result<String> {
    let server = street.house.server().machine();
    let machines = std::iter::once(server).chain(street.hosts.iter().map(crate::house::Host::machine));
    let mut cases = String::new();
    let mut names = Vec::new();
    for machine in machines {
        writeln!(cases, "  {}) set -- {} -- \"$@\" ;;", machine.name(), entry(machine)?)?;
        names.push(machine.name());
    }
    let program = Administrator::program()?;
    let programs = program.parent().unwrap_or(Path::new("/")).display();
    let names = names.join(", ");
    Ok(format!(
        "# Enters a machine of the demo: in MACHINE [COMMAND ...]\n\
         machine=$1\n[ $# -eq 0 ] || shift\n[ $# -gt 0 ] || set -- bash\n\
         case $machine in\n{cases}\
         \x20 *) echo \"there is no machine '$machine'; there are {names}\" >&2; exit 2 ;;\n\
         esac\n\
         cd /\n\
         exec env -i TERM=\"${{TERM:-dumb}}\" LANG=C.UTF-8 HOME=/var/lib/root USER=root LOGNAME=root \\\n\
         \x20 PATH='{programs}':/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \"$@\"\n"
    ))
}

/// What the lab itself types in front of a program, to get into the machine.
fn entry(machine: &Machine) -> Result<String> {
    let command = machine.command("true")?;
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(std::ffi::OsStr::to_string_lossy).take_while(|word| word != "--").collect();
    Ok(words.join(" "))
}
