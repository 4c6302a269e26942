//! The program `resolvconf`, both kinds of it: the real scripts of Debian's packages on a machine of the test's own.

use platform::{ResolverApplied, ResolverLook};
use reconcile::{Resolver, ResolverWay};

use crate::common::{LINK, inside, output, run};
use crate::resolver_common::{
    CONF, ETC, STATE, hands, lines, noticed, tell, text, unpacked, upstreams, wanted,
};

/// Where the scripts lie here; they are told so, since nothing may be put below /sbin and /lib.
const PLACE: &str = "/run/program";

/// Puts a package's program in place, with a machine that has one record: eth0's.
fn install(package: &str) {
    let from = unpacked(package);
    assert!(run(&format!(
        "cp -a {} {PLACE} && mount -t tmpfs tmpfs /usr/local/sbin && cp -a {PLACE}/etc/resolvconf* /etc/ && \
         find {PLACE} /etc/resolvconf* -type f -exec sed -i \
         -e 's#/lib/resolvconf#{PLACE}/lib/resolvconf#g' -e 's#/sbin/resolvconf#/usr/local/sbin/resolvconf#g' {{}} + && \
         cp -a {PLACE}/sbin/resolvconf /usr/local/sbin/",
        from.display()
    )));
}

/// A machine whose file openresolv makes.
fn openresolv() {
    install("openresolv");
    dhcp("192.0.2.1");
}

/// A machine whose file Debian's makes.
fn debian() {
    install("resolvconf");
    assert!(run(&format!("ln -s ../run/resolvconf/resolv.conf {CONF}; resolvconf --enable-updates")));
    dhcp("192.0.2.1");
}

/// A DHCP client's news.
fn dhcp(server: &str) {
    let record =
        format!("printf 'nameserver {server}\\nsearch example.org\\n' | resolvconf -a eth0.dhclient");
    // openresolv looks for a service to restart and there is none.
    let _ = run(&record);
    assert!(output("resolvconf -l").contains(server));
}

fn nameservers() -> Vec<String> {
    lines(CONF).into_iter().filter(|line| line.starts_with("nameserver")).collect()
}

#[test]
fn openresolv_names_us_alone_and_goes_back() {
    inside("resolver_resolvconf::openresolv_names_us_alone_and_goes_back", ETC, async || {
        openresolv();
        let before = text(CONF);
        let mut hands = hands("auto").await;
        assert_eq!(hands.way(), Some(ResolverWay::Resolvconf));
        assert_eq!(hands.look(&wanted()).await.unwrap(), ResolverLook::Unset);
        assert_eq!(upstreams(&hands).await, ["192.0.2.1:53"]);

        tell(&mut hands).await;
        assert_eq!(nameservers(), ["nameserver 10.20.0.5", "nameserver fd20::5"]);
        assert!(text(CONF).contains("search office.netloom"), "{}", text(CONF));
        assert_eq!(upstreams(&hands).await, ["192.0.2.1:53"]);

        let mut watch = hands.watch().unwrap();
        dhcp("192.0.2.2");
        noticed(&mut watch, "a DHCP client's news").await;
        assert_eq!(hands.look(&wanted()).await.unwrap(), ResolverLook::Set);
        assert_eq!(upstreams(&hands).await, ["192.0.2.2:53"]);

        assert!(hands.restore().await.unwrap());
        assert_eq!(text(CONF), before.replace("192.0.2.1", "192.0.2.2"));
        assert!(!output("find /run/resolvconf").contains(LINK));
        std::fs::remove_dir(STATE).unwrap();
    });
}

#[test]
fn openresolv_splits_names_where_a_local_name_server_does() {
    inside("resolver_resolvconf::openresolv_splits_names_where_a_local_name_server_does", ETC, async || {
        openresolv();
        assert!(run("echo name_servers=127.0.0.1 >> /etc/resolvconf.conf; resolvconf -u || true"));
        let mut hands = hands("auto").await;
        tell(&mut hands).await;
        let marked = |kind: &str| run(&format!("ls /run/resolvconf/{kind} 2>/dev/null | grep -q {LINK}"));
        assert!(marked("private") && !marked("exclusive"));
        let domains = output("resolvconf -v");
        assert!(domains.contains("netloom:10.20.0.5,fd20::5"), "{domains}");

        // The same text but for every name: only the mark differs.
        let all = Resolver { all: true, ..wanted() };
        assert_eq!(hands.look(&all).await.unwrap(), ResolverLook::Different);
        assert_eq!(hands.apply(&all).await.unwrap(), ResolverApplied::Changed);
        assert!(!marked("private") && marked("exclusive"));
        assert_eq!(hands.look(&all).await.unwrap(), ResolverLook::Set);
        assert!(hands.restore().await.unwrap());
        assert!(!marked("private") && !marked("exclusive"));
    });
}

#[test]
fn debians_puts_us_first_and_goes_back() {
    inside("resolver_resolvconf::debians_puts_us_first_and_goes_back", ETC, async || {
        debian();
        let before = text(CONF);
        let mut hands = hands("auto").await;
        assert_eq!(hands.way(), Some(ResolverWay::Resolvconf));
        tell(&mut hands).await;
        assert_eq!(nameservers(), ["nameserver 10.20.0.5", "nameserver fd20::5", "nameserver 192.0.2.1"]);
        assert!(text(CONF).contains("search office.netloom example.org"), "{}", text(CONF));
        assert_eq!(upstreams(&hands).await, ["192.0.2.1:53"]);

        let mut watch = hands.watch().unwrap();
        dhcp("192.0.2.2");
        noticed(&mut watch, "a DHCP client's news").await;
        assert_eq!(upstreams(&hands).await, ["192.0.2.2:53"]);
        assert!(hands.restore().await.unwrap());
        assert_eq!(text(CONF), before.replace("192.0.2.1", "192.0.2.2"));
        std::fs::remove_dir(STATE).unwrap();
    });
}

#[test]
fn a_file_that_was_written_over_is_made_anew() {
    inside("resolver_resolvconf::a_file_that_was_written_over_is_made_anew", ETC, async || {
        openresolv();
        let mut hands = hands("resolvconf").await;
        tell(&mut hands).await;
        std::fs::write(CONF, "nameserver 203.0.113.9\n").unwrap();
        assert_eq!(hands.look(&wanted()).await.unwrap(), ResolverLook::Different);
        tell(&mut hands).await;
        assert_eq!(nameservers(), ["nameserver 10.20.0.5", "nameserver fd20::5"]);
        std::fs::write(CONF, "nameserver 203.0.113.9\n").unwrap();
        let applied = hands.apply(&wanted()).await.unwrap();
        assert!(matches!(applied, ResolverApplied::Postponed(_)), "{applied:?}");
    });
}

#[test]
fn a_record_that_nobody_reads_is_told_and_taken_back() {
    inside("resolver_resolvconf::a_record_that_nobody_reads_is_told_and_taken_back", ETC, async || {
        openresolv();
        assert!(run("echo resolvconf=NO >> /etc/resolvconf.conf"));
        let mut hands = hands("resolvconf").await;
        let said = format!("{:#}", hands.apply(&wanted()).await.unwrap_err());
        assert!(said.contains("does not name it") && said.contains("choose `file`"), "{said}");
        assert!(hands.restore().await.unwrap());
        assert!(!output("resolvconf -l").contains("10.20.0.5"));
    });
}

#[test]
fn a_machine_whose_file_it_does_not_make_is_told_by_its_file() {
    inside(
        "resolver_resolvconf::a_machine_whose_file_it_does_not_make_is_told_by_its_file",
        ETC,
        async || {
            install("openresolv");
            std::fs::write(CONF, "nameserver 192.0.2.7\n").unwrap();
            let mut file = hands("auto").await;
            assert_eq!(file.way(), Some(ResolverWay::File));
            tell(&mut file).await;
            assert_eq!(hands("auto").await.way(), Some(ResolverWay::File), "a second run finds the same way");

            // Chosen later: the file is taken back before resolvconf makes it.
            let mut program = hands("resolvconf").await;
            tell(&mut program).await;
            assert!(text(CONF).starts_with("# Generated by resolvconf"));
            // And the other way round.
            tell(&mut hands("file").await).await;
            assert!(!output("resolvconf -l").contains("10.20.0.5"));
            assert!(hands("auto").await.restore().await.unwrap());
            assert_eq!(lines(CONF), ["nameserver 192.0.2.7"]);
        },
    );
}

#[test]
fn a_missing_program_is_told_with_what_to_do() {
    inside("resolver_resolvconf::a_missing_program_is_told_with_what_to_do", ETC, async || {
        let options = platform::ResolverOptions {
            link: LINK.parse().unwrap(),
            state: STATE.into(),
            choice: "resolvconf".parse().unwrap(),
        };
        let said = platform::ResolverHands::detect(options).await.unwrap_err().to_string();
        assert!(said.contains("install it, or choose"), "{said}");
    });
}
