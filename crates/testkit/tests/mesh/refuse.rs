//! Joins that fail: a clear sentence, an exit code other than 0, and nothing changed on the machine.

use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use model::Digest;
use testkit::house::{Host, House, KeyPlan, NETWORK, patience};
use testkit::lab::eventually;
use wire::{Token, TokenSecret};

use crate::{SOON, our_processes};

/// Runs a join that must fail; the sentence must hold all these words, and the machine must be as before.
#[track_caller]
fn refused(host: &Host, command: &mut Command, words: &[&str]) {
    let before = host.machine().snapshot().unwrap();
    let output = host.machine().finish(command, patience(Duration::from_secs(90))).unwrap();
    assert!(!output.status.success(), "it must not succeed: {output}");
    let said = output.stderr.trim();
    for word in words {
        assert!(said.contains(word), "`{word}` is missing in: {output}");
    }
    let plain = !said.contains("panicked") && !said.contains("Err(") && !said.contains("Caused by");
    assert!(
        plain && said.lines().count() <= 2 && said.len() < 500,
        "this is not one clear sentence: {output}"
    );
    assert_eq!(output.stdout.trim(), "", "a failure belongs to the standard error");
    let difference = before.diff(&host.machine().snapshot().unwrap());
    assert!(difference.is_empty(), "the machine has changed:\n{difference}\nafter {output}");
    assert_eq!(our_processes(host), Vec::<String>::new());
}

fn join(host: &Host, token: &str) -> Command {
    let mut command = host.command().unwrap();
    command.args(["join", "-t", token]);
    command
}

fn changed(token: &str, change: impl FnOnce(&mut Token)) -> String {
    let mut token: Token = token.parse().unwrap();
    change(&mut token);
    token.to_string()
}

#[test]
fn a_key_that_does_not_let_in_is_refused_in_words_and_nothing_is_changed() {
    let (house, token) = House::with_network("keys").unwrap();
    let administrator = house.administrator();
    let host = house.public_machine("host").unwrap();

    let expiring = KeyPlan { expires_in: Some("1s"), ..KeyPlan::into_network(NETWORK) };
    let expiring = administrator.token(&expiring).unwrap();
    eventually(patience(SOON), || {
        let keys: Vec<api::Key> = administrator.json(&["key", "list"])?;
        ensure!(keys.iter().any(|key| key.state == api::KeyState::Expired), "no key has expired");
        Ok(())
    })
    .unwrap();
    refused(&host, &mut join(&host, &expiring), &["expired"]);

    let once = administrator.token(&KeyPlan { uses: Some(1), ..KeyPlan::into_network(NETWORK) }).unwrap();
    house.public("first").unwrap().join(&once).unwrap();
    refused(&host, &mut join(&host, &once), &["used"]);

    let unknown = changed(&token, |token| token.secret = TokenSecret::from_random([7; 32]));
    refused(&host, &mut join(&host, &unknown), &["key"]);

    let mut damaged = token.clone();
    damaged.replace_range(20..21, if &token[20..21] == "A" { "B" } else { "A" });
    refused(&host, &mut join(&host, &damaged), &["damaged"]);
    refused(&host, &mut join(&host, &token[..token.len() - 5]), &["damaged"]);

    // After all of this, the right one lets in.
    host.join(&token).unwrap();
    assert_eq!(administrator.hosts().unwrap().len(), 2);
}

#[test]
fn a_server_that_is_another_or_not_there_is_refused_in_words_and_nothing_is_changed() {
    let (house, token) = House::with_network("servers").unwrap();
    let host = house.public_machine("host").unwrap();
    let pinned = changed(&token, |token| token.pin = Some(Digest::from_bytes([7; 32])));
    refused(&host, &mut join(&host, &pinned), &["certificate", "new token"]);
    let nobody = changed(&token, |token| token.servers = vec!["https://203.0.113.250:8443".to_owned()]);
    refused(&host, &mut join(&host, &nobody), &["203.0.113.250"]);
    let closed = changed(&token, |token| token.servers = vec!["https://203.0.113.1:9".to_owned()]);
    refused(&host, &mut join(&host, &closed), &["203.0.113.1:9"]);
    assert!(house.administrator().hosts().unwrap().is_empty());
}

#[test]
fn a_clock_that_is_a_day_off_is_told_and_nothing_is_changed() {
    let (house, token) = House::with_network("clock").unwrap();
    let host = house.public_machine("host").unwrap();
    for shift in ["+1d", "-1d"] {
        let mut command = host.machine().command("faketime").unwrap();
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command.args(["-f", shift]).arg(host.program()).args(["join", "-t", &token]);
        refused(&host, &mut command, &["clock"]);
    }
    assert!(house.administrator().hosts().unwrap().is_empty());
}

#[test]
fn a_machine_that_does_not_let_us_is_told_and_nothing_is_changed() {
    let (house, token) = House::with_network("machine").unwrap();
    let host = house.public_machine("host").unwrap();
    let mut command = host.command_as_nobody().unwrap();
    refused(&host, command.args(["join", "-t", &token]), &["root"]);
    host.machine().fill_disk("/var/lib").unwrap();
    refused(&host, &mut join(&host, &token), &["/var/lib/netclient"]);
    host.machine().free_disk("/var/lib").unwrap();
    assert!(house.administrator().hosts().unwrap().is_empty(), "no host must be left on the server");
    host.join(&token).unwrap();
}
