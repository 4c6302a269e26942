//! What to do where there is no systemd: short recipes for the other service managers.
//!
//! Not for doing it: these managers differ too much between distributions to write into them unasked.

use std::path::Path;

use super::Service;

/// The instructions for this machine.
pub(super) fn by_hand(service: &Service, root: &Path) -> String {
    let command = command(service);
    let has = |path: &str| root.join(path).exists();
    let recipe = if has("sbin/procd") {
        procd(service)
    } else if has("sbin/openrc-run") || has("usr/sbin/openrc-run") {
        openrc(service)
    } else if has("etc/runit") || has("usr/bin/runsvdir") || has("sbin/runsvdir") {
        runit(service, &command)
    } else {
        String::new()
    };
    format!(
        "This machine does not run systemd, so {} cannot be installed as a service by itself.\n\
         Run it in the foreground, as root:\n\n    {command}\n\n{recipe}",
        service.name
    )
}

fn command(service: &Service) -> String {
    let words =
        std::iter::once(service.program.display().to_string()).chain(service.arguments.iter().cloned());
    words.map(|word| shell(&word)).collect::<Vec<_>>().join(" ")
}

/// A word as a shell reads it.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn arguments(service: &Service) -> String {
    service.arguments.iter().map(|word| shell(word)).collect::<Vec<_>>().join(" ")
}

fn openrc(service: &Service) -> String {
    let Service { name, program, .. } = service;
    format!(
        "With OpenRC, write /etc/init.d/{name}:\n\n\
         \x20   #!/sbin/openrc-run\n\
         \x20   supervisor=supervise-daemon\n\
         \x20   command={}\n\
         \x20   command_args=\"{}\"\n\
         \x20   depend() {{ need net; }}\n\n\
         and run: chmod +x /etc/init.d/{name} && rc-update add {name} && rc-service {name} start\n",
        shell(&program.display().to_string()),
        arguments(service),
    )
}

fn runit(service: &Service, command: &str) -> String {
    let name = &service.name;
    format!(
        "With runit, write /etc/sv/{name}/run:\n\n\
         \x20   #!/bin/sh\n\
         \x20   exec {command}\n\n\
         and run: chmod +x /etc/sv/{name}/run && ln -s /etc/sv/{name} /var/service/\n"
    )
}

fn procd(service: &Service) -> String {
    let name = &service.name;
    format!(
        "With procd (OpenWrt), write /etc/init.d/{name}:\n\n\
         \x20   #!/bin/sh /etc/rc.common\n\
         \x20   START=95\n\
         \x20   USE_PROCD=1\n\
         \x20   start_service() {{\n\
         \x20       procd_open_instance\n\
         \x20       procd_set_param command {}\n\
         \x20       procd_set_param respawn\n\
         \x20       procd_close_instance\n\
         \x20   }}\n\n\
         and run: chmod +x /etc/init.d/{name} && service {name} enable && service {name} start\n",
        command(service),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{ServiceOptions, Supervisor};

    fn told(paths: &[&str]) -> String {
        let root = tempfile::tempdir().unwrap();
        for path in paths {
            std::fs::create_dir_all(root.path().join(path)).unwrap();
        }
        let service = Service {
            name: "netclient".into(),
            description: "Netloom agent".into(),
            program: "/usr/local/bin/netclient".into(),
            arguments: vec!["daemon".into()],
            early: vec!["early".into()],
            writable: Vec::new(),
        };
        let options = ServiceOptions { root: root.path().into(), ..ServiceOptions::default() };
        match Supervisor::find(service, options) {
            Supervisor::ByHand(text) => text,
            Supervisor::Systemd(_) => panic!("there is no systemd"),
        }
    }

    #[test]
    fn without_systemd_the_command_and_the_managers_own_recipe_are_told() {
        let bare = told(&[]);
        assert!(
            bare.contains("    /usr/local/bin/netclient daemon\n") && bare.contains("does not run systemd"),
            "{bare}"
        );
        assert!(told(&["sbin/openrc-run"]).contains("rc-update add netclient"));
        assert!(told(&["etc/runit"]).contains("exec /usr/local/bin/netclient daemon"));
        assert!(told(&["sbin/procd"]).contains("procd_set_param command /usr/local/bin/netclient daemon"));
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(shell("it's"), "'it'\\''s'");
        assert_eq!(shell("plain"), "plain");
    }
}
