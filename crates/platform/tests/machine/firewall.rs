//! The table that carries out a firewall: made, looked at, changed and removed as one, and nothing else ever touched.

use std::time::Duration;

use crate::common::{LINK, inside, output, run};
use platform::{FirewallTable, FirewallWatch};
use reconcile::{
    AddressSet, Filter, Firewall, FirewallLook, FirewallStep, Grant, Outward, Ports, PrefixMap, Service,
    Services, SetChange, SetChanges, SetId, Side, Translation, firewall_diff,
};
use tokio::time::timeout;

/// Tables of others: one that Docker might have made.
const OTHERS: &str = "nft add table ip nat; nft add table inet other; \
    nft 'add chain ip nat post { type nat hook postrouting priority 100; }'; nft add rule ip nat post masquerade; \
    nft 'add set inet other s { type ipv4_addr; elements = { 10.0.0.1 }; }'";

fn set(members: &[&str]) -> AddressSet {
    members.iter().map(|member| member.parse::<ipnet::IpNet>().unwrap()).collect()
}

fn grant(from: Side, to: Side, services: &[Service]) -> Grant {
    let services = if services.is_empty() { Services::All } else { Services::Only(services.to_vec()) };
    Grant { from, to, services }
}

/// A firewall with one of everything.
fn rich() -> Firewall {
    let web = [Service::Tcp(Ports::one(443)), Service::Icmp, Service::Other(47)];
    let lists = || Side::Nets(set(&["10.20.0.0/16", "fd20::/64", "10.9.9.9/32"]));
    let grants = vec![
        grant(Side::Set(SetId(1)), Side::Any, &web),
        grant(Side::Set(SetId(1)), lists(), &[]),
        grant(Side::Set(SetId(2)), Side::Set(SetId(1)), &[Service::Udp(Ports::Any)]),
        grant(lists(), Side::Any, &web),
        grant(Side::Set(SetId(77)), Side::Any, &[]),
        grant(Side::Any, Side::Set(SetId(2)), &[]),
    ];
    let sets = [
        (SetId(1), set(&["10.20.0.5/32", "10.20.0.6/32", "fd20::5/128", "10.30.0.0/16", "0.0.0.0/0"])),
        (SetId(2), set(&["10.20.0.7/32"])),
        (SetId(3), set(&[])),
    ];
    let map = PrefixMap::new("10.77.7.0/24".parse().unwrap(), "192.168.7.0/24".parse().unwrap()).unwrap();
    let masquerade = Translation::Masquerade { from: Side::Set(SetId(1)), to: set(&["0.0.0.0/0", "::/0"]) };
    Firewall {
        sets: sets.into(),
        input: Filter::Only(grants.clone()),
        forward: Filter::Only(grants.clone()),
        output: Outward { towards: vec![Side::Set(SetId(2)), lists()], grants },
        inside: ["10.20.0.0/16", "fd20::/64"].map(|net| net.parse().unwrap()).into(),
        behind: ["192.168.7.0/24", "fd07::/64"].map(|net| net.parse().unwrap()).into(),
        beyond: vec![Side::Set(SetId(2)), lists()],
        clamp: true,
        translations: vec![
            Translation::Map { map, known_to: vec![Side::Set(SetId(1)), lists()] },
            masquerade,
        ],
        confined: Some(set(&["192.168.0.0/16", "fe80::/10", "10.9.9.9/32"])),
    }
}

fn table() -> FirewallTable {
    FirewallTable::open(&LINK.parse().unwrap()).unwrap()
}

fn ruleset() -> String {
    output("nft list ruleset")
}

fn one_change(set: u32, add: &[&str], remove: &[&str]) -> SetChanges {
    let nets = |members: &[&str]| members.iter().map(|member| member.parse().unwrap()).collect();
    SetChanges(vec![SetChange { set: SetId(set), add: nets(add), remove: nets(remove) }])
}

#[test]
fn a_firewall_comes_changes_and_goes_and_others_stay_as_they_were() {
    inside("firewall::a_firewall_comes_changes_and_goes_and_others_stay_as_they_were", OTHERS, async || {
        let before = ruleset();
        let hands = table();
        assert_eq!(hands.look().await.unwrap(), FirewallLook::Absent);
        hands.remove().await.unwrap();

        let firewall = rich();
        for time in ["first", "second"] {
            hands.set(&firewall).await.unwrap();
            assert_eq!(hands.look().await.unwrap(), FirewallLook::Intact(firewall.digest()), "{time} time");
        }
        assert!(ruleset().starts_with(&before), "tables of others are untouched:\n{}", ruleset());
        let restarted = table();
        assert_eq!(restarted.look().await.unwrap(), FirewallLook::Intact(firewall.digest()));

        hands.set(&Firewall::default()).await.unwrap();
        assert_eq!(hands.look().await.unwrap(), FirewallLook::Intact(Firewall::default().digest()));
        hands.remove().await.unwrap();
        assert_eq!(hands.look().await.unwrap(), FirewallLook::Absent);
        assert_eq!(ruleset(), before);
    });
}

#[test]
fn members_come_and_go_without_a_new_rule() {
    inside("firewall::members_come_and_go_without_a_new_rule", OTHERS, async || {
        let hands = table();
        let had = rich();
        hands.set(&had).await.unwrap();
        let rules = || output("nft -a list table inet netloom | grep handle | grep -v -e digest -e return");
        let before = rules();

        let mut wanted = had.clone();
        wanted.sets.insert(SetId(1), set(&["10.20.0.5/32", "fd20::9/128", "10.31.0.0/16", "0.0.0.0/0"]));
        wanted.sets.insert(SetId(3), set(&["10.20.0.1/32", "fd20::1/128"]));
        let FirewallStep::Sets(changes) = firewall_diff(&wanted, &had) else {
            panic!("sets are all that differs")
        };
        for time in ["first", "second"] {
            hands
                .change(had.digest(), &changes)
                .await
                .unwrap_or_else(|error| panic!("{time} time: {error:#}"));
            assert_eq!(hands.look().await.unwrap(), FirewallLook::Intact(wanted.digest()), "{time} time");
        }
        let restarted = table();
        assert_eq!(restarted.look().await.unwrap(), FirewallLook::Intact(wanted.digest()), "as it is read");
        assert_eq!(rules(), before);
        let members = output("nft list set inet netloom s1_v4_32");
        assert!(members.contains("10.20.0.5") && !members.contains("10.20.0.6"), "{members}");

        // Another program commits in between: what is known is read again, and the change is made.
        assert!(run("nft add table inet later"));
        hands.change(wanted.digest(), &one_change(2, &["10.20.0.8/32"], &[])).await.unwrap();
        let other = hands.change(had.digest(), &one_change(2, &["10.20.0.9/32"], &[])).await.unwrap_err();
        assert!(other.to_string().contains("another one is there"), "{other:#}");
    });
}

#[test]
fn a_transaction_with_an_error_changes_nothing() {
    inside("firewall::a_transaction_with_an_error_changes_nothing", OTHERS, async || {
        let hands = table();
        let had = rich();
        hands.set(&had).await.unwrap();
        let before = ruleset();
        // The first part would do; the second adds what is there, removes what is not, or needs a set that is not there.
        for (add, remove, part) in [
            (&["10.20.0.7/32"][..], &[][..], "members of the set s2_v4_32"),
            (&[], &["10.20.0.99/32"], "members of the set s2_v4_32"),
            (&["10.20.7.0/24"], &["10.20.0.7/32"], "members of the set s2_v4_24"),
        ] {
            let mut changes = one_change(1, &["10.20.0.111/32"], &["10.20.0.5/32"]);
            changes.0.extend(one_change(2, add, remove).0);
            let error = format!("{:#}", hands.change(had.digest(), &changes).await.unwrap_err());
            assert!(error.contains(part) && error.contains("the kernel refused"), "{error}");
            assert_eq!(ruleset(), before, "after: {error}");
            assert_eq!(hands.look().await.unwrap(), FirewallLook::Intact(had.digest()));
        }
    });
}

#[test]
fn what_is_listed_of_our_table_can_be_read_by_people_and_by_the_kernels_tools() {
    inside(
        "firewall::what_is_listed_of_our_table_can_be_read_by_people_and_by_the_kernels_tools",
        "",
        async || {
            table().set(&rich()).await.unwrap();
            let listed = output("nft list table inet netloom");
            for line in [
                "iifname != \"netloom0\" accept",
                "oifname != \"netloom0\" accept",
                "iiftype loopback accept",
                "iifname != \"netloom0\" jump forward_beside",
                "ct direction reply accept",
                "ct state related accept",
                "tcp flags syn tcp option maxseg size set rt mtu",
                "ip saddr @s1_v4_32 jump input_from_s1",
                "ip daddr @s2_v4_32 jump output_judged",
                "ip saddr & 255.255.0.0 == @s1_v4_16 jump forward_from_s1",
                "tcp dport 443 accept",
                "meta l4proto ipv6-icmp accept",
                "counter packets 0 bytes 0 drop",
            ] {
                assert!(listed.contains(line), "{line}:\n{listed}");
            }
            assert!(
                run("nft list ruleset > /run/rules && nft flush ruleset && nft -f /run/rules"),
                "{listed}"
            );
            assert_eq!(output("nft list table inet netloom"), listed);
        },
    );
}

/// What another hand may do to our table.
const DRIFTS: [&str; 14] = [
    "nft delete rule inet netloom input_judged handle $(nft -a list chain inet netloom input_judged | sed -n 's/.*reply.*handle //p')",
    "nft flush chain inet netloom input",
    "nft flush ruleset inet && nft add table inet netloom",
    "nft add rule inet netloom forward accept",
    "nft insert rule inet netloom input accept",
    "nft add element inet netloom s1_v4_32 '{ 10.66.0.1 }'",
    "nft delete element inet netloom s1_v4_32 '{ 10.20.0.5 }'",
    "nft flush set inet netloom l0_v6_64",
    "nft add set inet netloom more '{ type ipv4_addr; }'",
    "nft add chain inet netloom more",
    "nft chain inet netloom input '{ policy drop; }'",
    "nft add table inet netloom '{ flags dormant; }'",
    "nft flush chain inet netloom digest",
    "nft replace rule inet netloom input_judged handle $(nft -a list chain inet netloom input_judged | sed -n 's/.*drop.*handle //p') accept",
];

#[test]
fn what_another_hand_changes_is_noticed_and_made_anew() {
    inside("firewall::what_another_hand_changes_is_noticed_and_made_anew", OTHERS, async || {
        let hands = table();
        let firewall = rich();
        let intact = FirewallLook::Intact(firewall.digest());
        hands.set(&firewall).await.unwrap();
        let as_made = output("nft list table inet netloom");
        for drift in DRIFTS {
            assert_eq!(hands.look().await.unwrap(), intact, "before: {drift}");
            assert!(run(drift), "{drift}");
            assert_eq!(
                hands.look().await.unwrap(),
                FirewallLook::Changed,
                "{drift}\n{}",
                output("nft list table inet netloom")
            );
            assert_eq!(table().look().await.unwrap(), FirewallLook::Changed, "after a restart: {drift}");
            assert!(hands.change(firewall.digest(), &one_change(3, &["10.1.1.1/32"], &[])).await.is_err());
            hands.set(&firewall).await.unwrap();
            assert_eq!(output("nft list table inet netloom"), as_made, "after: {drift}");
        }
        assert!(run("nft add table inet later && nft flush chain ip nat post"));
        assert_eq!(hands.look().await.unwrap(), intact, "what happens elsewhere is no drift");
        assert!(run("nft delete table inet netloom"));
        assert_eq!(hands.look().await.unwrap(), FirewallLook::Absent);
    });
}

#[test]
fn a_change_of_our_table_is_heard_and_those_of_others_are_not() {
    inside("firewall::a_change_of_our_table_is_heard_and_those_of_others_are_not", OTHERS, async || {
        let hands = table();
        let mut watch = hands.watch().unwrap();
        let is_quiet = async |watch: &mut FirewallWatch| {
            timeout(Duration::from_millis(100), watch.changed()).await.is_err()
        };
        assert!(run("nft add table ip netloom && nft add rule ip nat post accept && nft flush ruleset ip"));
        assert!(is_quiet(&mut watch).await, "others changed theirs");
        hands.set(&rich()).await.unwrap();
        for change in [
            "nft flush chain inet netloom input",
            "nft add element inet netloom s1_v4_32 '{ 10.66.0.1 }'",
            "nft delete table inet netloom",
        ] {
            while !is_quiet(&mut watch).await {}
            assert!(run(change), "{change}");
            let heard = timeout(Duration::from_secs(15), watch.changed()).await;
            heard.unwrap_or_else(|_| panic!("not heard: {change}")).unwrap();
        }
    });
}

#[test]
fn two_agents_on_one_machine_have_tables_of_their_own() {
    inside("firewall::two_agents_on_one_machine_have_tables_of_their_own", "", async || {
        let (first, second) = (table(), FirewallTable::open(&"office1".parse().unwrap()).unwrap());
        let firewall = rich();
        first.set(&firewall).await.unwrap();
        second.set(&Firewall { clamp: false, ..firewall.clone() }).await.unwrap();
        assert_eq!((first.table(), second.table()), ("netloom", "netloom-office1"));
        assert!(output("nft list table inet netloom-office1").contains("iifname != \"office1\""));
        second.remove().await.unwrap();
        assert_eq!(first.look().await.unwrap(), FirewallLook::Intact(firewall.digest()));
    });
}

#[test]
fn without_the_right_to_it_the_error_says_run_as_root() {
    inside(
        "firewall::without_the_right_to_it_the_error_says_run_as_root",
        "exec setpriv --bounding-set=-all --inh-caps=-all",
        async || {
            let error = table().set(&rich()).await.unwrap_err();
            assert!(format!("{error:#}").contains("run as root"), "{error:#}");
        },
    );
}

#[test]
fn a_firewall_larger_than_may_be_sent_at_once_says_which_setting_to_raise() {
    inside(
        "firewall::a_firewall_larger_than_may_be_sent_at_once_says_which_setting_to_raise",
        "",
        async || {
            let nets = (0..60_000u32)
                .map(|n| ipnet::IpNet::from(std::net::IpAddr::from((0x0a00_0000 + n).to_be_bytes())));
            let firewall = Firewall { sets: [(SetId(1), nets.collect())].into(), ..rich() };
            // Whether the limit holds in here depends on the machine's own setting.
            match table().set(&firewall).await {
                Ok(()) => assert_eq!(table().look().await.unwrap(), FirewallLook::Intact(firewall.digest())),
                Err(error) => assert!(format!("{error:#}").contains("net.core.wmem_max"), "{error:#}"),
            }
        },
    );
}
