//! A run that is killed at any step is taken up by the next one: told again, or restored.

use std::process::Command;

use platform::ResolverLook;

use crate::common::{inside, run};
use crate::resolver_common::{CONF, ETC, STATE, files, hands, tell, wanted};

const ORIGINAL: &str = "nameserver 192.0.2.1\nsearch example.org\n";
/// Set for the run that is killed.
const VICTIM: &str = "NETLOOM_TEST_RESOLVER_VICTIM";
/// What changes files, and what makes it last.
const STEPS: [&str; 6] = ["write", "rename", "unlink", "symlink", "fsync", "fchmod"];
/// More steps of one kind than a whole run has.
const ENOUGH: usize = 60;

#[test]
fn a_plain_file_survives_a_kill_at_any_step() {
    let setup = format!("{ETC} printf '{}' > /etc/resolv.conf", ORIGINAL.escape_default());
    killed_at_every_step("resolver_crash::a_plain_file_survives_a_kill_at_any_step", &setup, true);
}

#[test]
fn a_link_survives_a_kill_at_any_step() {
    let setup =
        format!("{ETC} printf '{}' > /run/x; ln -s ../run/x /etc/resolv.conf", ORIGINAL.escape_default());
    killed_at_every_step("resolver_crash::a_link_survives_a_kill_at_any_step", &setup, true);
}

#[test]
fn a_mounted_file_survives_a_kill_at_any_step() {
    let setup = format!(
        "{ETC} printf '{}' > /run/x; touch /etc/resolv.conf; mount --bind /run/x /etc/resolv.conf",
        ORIGINAL.escape_default()
    );
    killed_at_every_step("resolver_crash::a_mounted_file_survives_a_kill_at_any_step", &setup, false);
}

/// `whole`: nobody ever sees a part of a file.
fn killed_at_every_step(test: &str, setup: &str, whole: bool) {
    inside(test, setup, async || {
        if std::env::var_os(VICTIM).is_some() {
            let mut hands = hands("file").await;
            hands.apply(&wanted()).await.unwrap();
            hands.restore().await.unwrap();
            return;
        }
        let before = files();
        let mut kills = 0;
        for step in STEPS {
            for number in 1.. {
                assert!(number < ENOUGH, "{step} does not end");
                if !is_killed(test, step, number) {
                    break;
                }
                kills += 1;
                let at = format!("killed at {step} {number}");
                let text = std::fs::read_to_string(CONF).unwrap();
                assert!(!whole || text == ORIGINAL || is_all_of_ours(&text), "{at}: {text}");
                taken_up(&at, number % 2 == 0).await;
                let _ = std::fs::remove_dir(STATE);
                assert_eq!(files(), before, "{at}");
            }
        }
        assert!(kills > 20, "only {kills} steps");
    });
}

fn is_all_of_ours(text: &str) -> bool {
    text.starts_with("# Written by Netloom.") && text.ends_with("search office.netloom example.org\n")
}

async fn taken_up(at: &str, told_again: bool) {
    let mut hands = hands("file").await;
    if told_again {
        hands.apply(&wanted()).await.unwrap();
        assert_eq!(hands.look(&wanted()).await.unwrap(), ResolverLook::Set, "{at}");
    }
    hands.restore().await.unwrap();
}

/// Runs the victim, killed before its step of this number; says whether it got that far.
fn is_killed(test: &str, step: &str, number: usize) -> bool {
    let status = Command::new("strace")
        .args(["-f", "-qqq", "-o", "/dev/null", "-e", &format!("inject={step}:signal=KILL:when={number}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1"])
        .env(VICTIM, "1")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .expect("this test needs `strace`");
    !status.success()
}

#[test]
fn a_way_that_is_no_longer_chosen_is_taken_back() {
    inside("resolver_crash::a_way_that_is_no_longer_chosen_is_taken_back", ETC, async || {
        std::fs::write(CONF, ORIGINAL).unwrap();
        tell(&mut hands("file").await).await;
        // The note of a run that used another way, and then lost its power.
        assert!(run(&format!("echo resolved > {STATE}/resolver")));
        let mut hands = hands("file").await;
        hands.apply(&wanted()).await.unwrap();
        assert!(hands.restore().await.unwrap());
        assert_eq!(std::fs::read_to_string(CONF).unwrap(), ORIGINAL);
    });
}
