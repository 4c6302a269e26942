//! /etc/resolv.conf as a machine may have it: a file, a link, nothing, a mount, unwritable, in other hands too.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use platform::{ResolverApplied, ResolverLook};
use reconcile::ResolverWay;

use crate::common::{eventually, inside, run};
use crate::resolver_common::{CONF, ETC, STATE, files, hands, lines, noticed, tell, text, upstreams, wanted};

const ORIGINAL: &str =
    "# by hand\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch example.org\noptions edns0\n";
const OURS: [&str; 4] =
    ["nameserver 10.20.0.5", "nameserver fd20::5", "search office.netloom example.org", "options edns0"];

#[test]
fn a_plain_file_comes_back_as_it_was() {
    inside("resolver_file::a_plain_file_comes_back_as_it_was", ETC, async || {
        std::fs::write(CONF, ORIGINAL).unwrap();
        std::fs::set_permissions(CONF, std::fs::Permissions::from_mode(0o640)).unwrap();
        let before = files();
        let mut hands = hands("auto").await;
        assert_eq!(hands.way(), Some(ResolverWay::File));
        assert_eq!(upstreams(&hands).await, ["192.0.2.1:53", "192.0.2.2:53"]);
        assert_eq!(hands.look(&wanted()).await.unwrap(), ResolverLook::Unset);
        assert_eq!(files(), before, "looking changes nothing");

        tell(&mut hands).await;
        assert_eq!(lines(CONF), OURS);
        assert_eq!(std::fs::metadata(CONF).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(upstreams(&hands).await, ["192.0.2.1:53", "192.0.2.2:53"]);
        let inode = std::fs::metadata(CONF).unwrap().ino();
        assert_eq!(hands.apply(&wanted()).await.unwrap(), ResolverApplied::Already);
        assert_eq!(std::fs::metadata(CONF).unwrap().ino(), inode, "nothing was written for nothing");

        assert!(hands.restore().await.unwrap());
        std::fs::remove_dir(STATE).unwrap();
        assert_eq!(files(), before);
        assert!(!hands.restore().await.unwrap(), "there is nothing left to restore");
    });
}

#[test]
fn what_the_comment_says_undoes_it_by_hand() {
    inside("resolver_file::what_the_comment_says_undoes_it_by_hand", ETC, async || {
        std::fs::write(CONF, ORIGINAL).unwrap();
        tell(&mut hands("file").await).await;
        let undo =
            text(CONF).lines().find_map(|line| line.split_once("by hand: ").map(|(_, undo)| undo.to_owned()));
        assert!(run(&undo.unwrap()));
        assert_eq!(text(CONF), ORIGINAL);
        // The agent that comes next finds the original and starts over.
        let mut hands = hands("file").await;
        tell(&mut hands).await;
        hands.restore().await.unwrap();
        assert_eq!(text(CONF), ORIGINAL);
    });
}

#[test]
fn a_link_comes_back_as_a_link_and_what_it_leads_to_is_followed() {
    let name = "resolver_file::a_link_comes_back_as_a_link_and_what_it_leads_to_is_followed";
    inside(name, &format!("{ETC} mkdir /run/dhcp"), async || {
        std::fs::write("/run/dhcp/resolv.conf", ORIGINAL).unwrap();
        std::os::unix::fs::symlink("../run/dhcp/resolv.conf", CONF).unwrap();
        let before = files();
        let mut hands = hands("auto").await;
        tell(&mut hands).await;
        assert_eq!(lines(CONF), OURS);
        assert_eq!(text("/run/dhcp/resolv.conf"), ORIGINAL, "what a link leads to is not ours to write");

        std::fs::write("/run/dhcp/resolv.conf", "nameserver 198.51.100.1\nsearch example.net\n").unwrap();
        assert_eq!(upstreams(&hands).await, ["198.51.100.1:53"]);
        assert_eq!(hands.look(&wanted()).await.unwrap(), ResolverLook::Different);
        tell(&mut hands).await;
        assert_eq!(lines(CONF)[2], "search office.netloom example.net");
        std::fs::remove_file("/run/dhcp/resolv.conf").unwrap();
        assert_eq!(upstreams(&hands).await, Vec::<String>::new());

        std::fs::write("/run/dhcp/resolv.conf", ORIGINAL).unwrap();
        assert!(hands.restore().await.unwrap());
        std::fs::remove_dir(STATE).unwrap();
        assert_eq!(files(), before);
    });
}

#[test]
fn no_file_is_no_file_again() {
    inside("resolver_file::no_file_is_no_file_again", ETC, async || {
        let before = files();
        let mut hands = hands("auto").await;
        tell(&mut hands).await;
        assert_eq!(
            lines(CONF),
            &OURS[..2]
                .iter()
                .map(|line| (*line).to_owned())
                .chain(["search office.netloom".to_owned()])
                .collect::<Vec<_>>()[..]
        );
        assert!(text(CONF).contains("by hand: rm /etc/resolv.conf"));
        assert!(hands.restore().await.unwrap());
        std::fs::remove_dir(STATE).unwrap();
        assert_eq!(files(), before);
    });
}

#[test]
fn a_mounted_file_is_written_in_place() {
    let mounted =
        format!("{ETC} touch /run/host.conf /etc/resolv.conf; mount --bind /run/host.conf /etc/resolv.conf");
    inside("resolver_file::a_mounted_file_is_written_in_place", &mounted, async || {
        std::fs::write(CONF, ORIGINAL).unwrap();
        let before = files();
        let mut hands = hands("auto").await;
        tell(&mut hands).await;
        assert_eq!(lines("/run/host.conf"), OURS);
        assert!(run("mountpoint -q /etc/resolv.conf"));
        assert!(!run(&format!("ls {STATE} | grep -q writing")), "nothing is under way");
        assert!(hands.restore().await.unwrap());
        std::fs::remove_dir(STATE).unwrap();
        assert_eq!(files(), before);
        assert_eq!(text("/run/host.conf"), ORIGINAL);
    });
}

#[test]
fn a_torn_file_is_known_as_ours() {
    let mounted =
        format!("{ETC} touch /run/host.conf /etc/resolv.conf; mount --bind /run/host.conf /etc/resolv.conf");
    inside("resolver_file::a_torn_file_is_known_as_ours", &mounted, async || {
        std::fs::write(CONF, ORIGINAL).unwrap();
        tell(&mut hands("auto").await).await;
        for length in [0, 10] {
            // As a machine leaves it that loses power while the file is written in place.
            std::fs::copy(CONF, format!("{STATE}/resolv.conf.writing")).unwrap();
            std::fs::write(CONF, &text(CONF)[..length]).unwrap();
            let mut hands = hands("auto").await;
            assert_eq!(upstreams(&hands).await, ["192.0.2.1:53", "192.0.2.2:53"]);
            tell(&mut hands).await;
            assert_eq!(lines(CONF), OURS);
        }
        std::fs::write(format!("{STATE}/resolv.conf.writing"), ORIGINAL).unwrap();
        std::fs::write(CONF, &ORIGINAL[..20]).unwrap();
        hands("auto").await.restore().await.unwrap();
        assert_eq!(text(CONF), ORIGINAL);
    });
}

#[test]
fn an_unwritable_file_is_told_with_what_to_do_and_stays() {
    let closed =
        format!("{ETC} echo 'nameserver 192.0.2.1' > /etc/resolv.conf; mount -o remount,bind,ro /etc");
    inside("resolver_file::an_unwritable_file_is_told_with_what_to_do_and_stays", &closed, async || {
        let mut hands = hands("auto").await;
        let said = format!("{:#}", hands.apply(&wanted()).await.unwrap_err());
        assert!(said.contains("read-only file system") && said.contains("off"), "{said}");
        assert_eq!(text(CONF), "nameserver 192.0.2.1\n");
        hands.restore().await.unwrap();
        std::fs::remove_dir(STATE).unwrap();
        assert_eq!(text(CONF), "nameserver 192.0.2.1\n");
    });
}

#[test]
fn what_somebody_else_writes_is_the_new_original_and_nobody_fights() {
    inside(
        "resolver_file::what_somebody_else_writes_is_the_new_original_and_nobody_fights",
        ETC,
        async || {
            std::fs::write(CONF, ORIGINAL).unwrap();
            let mut hands = hands("auto").await;
            tell(&mut hands).await;
            std::fs::write(CONF, "nameserver 198.51.100.1\n").unwrap();
            assert_eq!(hands.look(&wanted()).await.unwrap(), ResolverLook::Unset);
            assert_eq!(upstreams(&hands).await, ["198.51.100.1:53"]);
            tell(&mut hands).await;
            assert_eq!(upstreams(&hands).await, ["198.51.100.1:53"]);

            std::fs::write(CONF, "nameserver 198.51.100.2\n").unwrap();
            let applied = hands.apply(&wanted()).await.unwrap();
            assert!(matches!(applied, ResolverApplied::Postponed(wait) if !wait.is_zero()), "{applied:?}");
            assert_eq!(text(CONF), "nameserver 198.51.100.2\n", "it is left alone for that time");
            assert_eq!(upstreams(&hands).await, ["198.51.100.2:53"]);
            eventually("it is taken over", async || {
                hands.apply(&wanted()).await.unwrap() == ResolverApplied::Changed
            })
            .await;

            assert!(hands.restore().await.unwrap());
            assert_eq!(text(CONF), "nameserver 198.51.100.2\n");
        },
    );
}

#[test]
fn on_leaving_what_somebody_else_wrote_stays() {
    inside("resolver_file::on_leaving_what_somebody_else_wrote_stays", ETC, async || {
        std::fs::write(CONF, ORIGINAL).unwrap();
        let mut hands = hands("auto").await;
        tell(&mut hands).await;
        std::fs::remove_file(CONF).unwrap();
        std::os::unix::fs::symlink("../run/other.conf", CONF).unwrap();
        assert!(hands.restore().await.unwrap());
        assert_eq!(std::fs::read_link(CONF).unwrap().to_str(), Some("../run/other.conf"));
        std::fs::remove_dir(STATE).unwrap();
    });
}

#[test]
fn our_own_text_is_never_an_original() {
    inside("resolver_file::our_own_text_is_never_an_original", ETC, async || {
        std::fs::write(CONF, ORIGINAL).unwrap();
        tell(&mut hands("auto").await).await;
        // Somebody moves our text away and leaves a link to it.
        assert!(run("mv /etc/resolv.conf /etc/resolv.conf.real; ln -s resolv.conf.real /etc/resolv.conf"));
        let mut hands = hands("auto").await;
        tell(&mut hands).await;
        assert_eq!(upstreams(&hands).await, ["192.0.2.1:53", "192.0.2.2:53"]);
        assert!(hands.restore().await.unwrap());
        assert_eq!(text(CONF), ORIGINAL);

        tell(&mut hands).await;
        std::fs::remove_dir_all(STATE).unwrap();
        let said = format!("{:#}", hands.restore().await.unwrap_err());
        assert!(said.contains("original is no longer in") && said.contains("write the file anew"), "{said}");
    });
}

#[test]
fn switched_off_or_with_nothing_to_tell_it_takes_all_back() {
    inside("resolver_file::switched_off_or_with_nothing_to_tell_it_takes_all_back", ETC, async || {
        std::fs::write(CONF, ORIGINAL).unwrap();
        tell(&mut hands("auto").await).await;
        let mut off = hands("off").await;
        assert_eq!(off.way(), None);
        assert_eq!(off.apply(&wanted()).await.unwrap(), ResolverApplied::Changed);
        assert_eq!(text(CONF), ORIGINAL);
        assert_eq!(off.apply(&wanted()).await.unwrap(), ResolverApplied::Already);
        assert_eq!(upstreams(&off).await, ["192.0.2.1:53", "192.0.2.2:53"]);

        let mut hands = hands("auto").await;
        tell(&mut hands).await;
        assert_eq!(hands.apply(&reconcile::Resolver::default()).await.unwrap(), ResolverApplied::Changed);
        assert_eq!(text(CONF), ORIGINAL);
    });
}

#[test]
fn changes_of_others_are_noticed() {
    let linked = format!("{ETC} mkdir /run/dhcp; touch /run/host.conf");
    inside("resolver_file::changes_of_others_are_noticed", &linked, async || {
        std::fs::write("/run/dhcp/resolv.conf", ORIGINAL).unwrap();
        std::os::unix::fs::symlink("../run/dhcp/resolv.conf", CONF).unwrap();
        let mut hands = hands("auto").await;
        tell(&mut hands).await;
        let mut watch = hands.watch().unwrap();
        for change in [
            // What the link leads to, replaced and written.
            "echo nameserver 198.51.100.1 > /run/dhcp/new; mv /run/dhcp/new /run/dhcp/resolv.conf",
            "echo nameserver 198.51.100.2 > /run/dhcp/resolv.conf",
            // The file itself, written, replaced, removed.
            "echo nameserver 198.51.100.3 > /etc/resolv.conf",
            "echo nameserver 198.51.100.4 > /etc/new; mv /etc/new /etc/resolv.conf",
            "rm /etc/resolv.conf",
            // Folders that were not there.
            "mkdir -p /run/dhcp /run/resolvconf/interfaces; echo nameserver 198.51.100.5 > /etc/resolv.conf",
        ] {
            assert!(run(change));
            noticed(&mut watch, change).await;
        }
        let mut watch = hands.watch().unwrap();
        assert!(run("touch /etc/hosts; echo x > /etc/hosts; rm /etc/hosts; echo >> /etc/resolv.conf"));
        noticed(&mut watch, "the last of these").await;
    });
}

#[test]
fn writes_to_a_mounted_file_are_noticed_from_wherever_they_come() {
    let mounted = format!(
        "{ETC} mkdir /run/host; touch /run/host/conf /etc/resolv.conf; mount --bind /run/host/conf /etc/resolv.conf"
    );
    inside(
        "resolver_file::writes_to_a_mounted_file_are_noticed_from_wherever_they_come",
        &mounted,
        async || {
            let mut watch = hands("auto").await.watch().unwrap();
            assert!(run("echo nameserver 198.51.100.1 > /run/host/conf"));
            noticed(&mut watch, "the mounted file was written").await;
        },
    );
}
