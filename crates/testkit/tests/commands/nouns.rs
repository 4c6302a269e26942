//! Every noun once: made, listed, shown, changed, deleted; in a table and in JSON, which agree.

use serde_json::{Value, json};

use crate::seat::Seat;

/// One thing's life, as it is typed.
struct Life<'a> {
    create: &'a str,
    list: &'a str,
    show: &'a str,
    update: &'a str,
    delete: &'a str,
    /// What it is called, and where JSON says so.
    name: &'a str,
    at: &'a str,
    /// What the update changed.
    changed: (&'a str, Value),
}

fn is_listed(seat: &Seat, list: &str, at: &str, name: &str) -> bool {
    let listed = seat.json(list);
    let listed = listed.as_array().unwrap_or_else(|| panic!("`{list}` is no list: {listed}"));
    let in_json = listed.iter().any(|item| item.pointer(at) == Some(&json!(name)));
    let table = seat.run(list).well();
    let in_table = table.lines().skip(1).any(|line| line.split_whitespace().any(|cell| cell == name));
    assert_eq!(in_json, in_table, "`{list}` says two things: {listed:?}\n{table}");
    in_json
}

fn lives(seat: &Seat, life: &Life<'_>) {
    let Life { create, list, show, update, delete, name, at, changed } = life;
    assert!(!is_listed(seat, list, at, name), "`{name}` is there before `{create}`");
    assert!(!seat.run(create).well().is_empty());
    assert!(is_listed(seat, list, at, name), "`{create}` made nothing");
    let first = seat.json(show);
    let again = seat.run(create);
    assert!(again.code == 0 || again.err.contains(name), "{again}");
    assert_eq!(seat.json(show), first, "a second `{create}` changed something");

    let (pointer, wanted) = changed;
    assert!(seat.run(show).well().contains(name));
    assert_ne!(seat.json(show).pointer(pointer), Some(wanted), "`{update}` has nothing to change");
    assert!(seat.run(update).well().contains(name));
    assert_eq!(seat.json(show).pointer(pointer), Some(wanted), "`{update}`");

    assert!(!seat.json(&format!("{delete} --yes")).is_array());
    assert!(!is_listed(seat, list, at, name), "`{delete}` left it there");
    let gone = seat.run(show);
    assert!(gone.code == 1 && gone.err.contains(name), "{gone}");
}

#[test]
fn networks_hosts_and_nodes_live() {
    let seat = Seat::new();
    lives(
        &seat,
        &Life {
            create: "network create lab --v4 10.9.0.0/24 --v6 fd09::/64",
            list: "network list",
            show: "network show lab",
            update: "network update lab --keepalive 33 --access deny",
            delete: "network delete lab",
            name: "lab",
            at: "/name",
            changed: ("/access", json!("deny")),
        },
    );
    for line in ["network create home --v4 10.1.0.0/24", "network create lab --v4 10.9.0.0/24"] {
        seat.run(line).well();
    }
    let _web = seat.joins("web", "home");
    assert!(is_listed(&seat, "host list", "/name", "web"));
    lives(
        &seat,
        &Life {
            create: "node add lab web",
            list: "node list lab",
            show: "node show lab web",
            update: "node update lab web --tag db --v4 10.9.0.77",
            delete: "node remove lab web",
            name: "web",
            at: "/host_name",
            changed: ("/v4", json!("10.9.0.77")),
        },
    );
    for (verb, connected) in [("disconnect", false), ("connect", true)] {
        seat.run(&format!("node {verb} home web")).well();
        assert_eq!(seat.json("node show home web")["connected"], connected);
    }
    seat.run("network update home --approval on").well();
    let _late = seat.joins("late", "home");
    assert!(is_listed(&seat, "node list home --pending", "/host_name", "late"));
    seat.run("node approve home late").well();
    assert!(!is_listed(&seat, "node list home --pending", "/host_name", "late"));

    assert_eq!(seat.json("host update web --name www --default on")["default"], true);
    assert!(seat.run("host show www").well().contains("www"));
    assert_eq!(seat.json("host rotate-key www")["cut_off_count"], 0);
    seat.run("host delete www --yes").well();
    assert!(!is_listed(&seat, "host list", "/name", "www"));
    assert!(!is_listed(&seat, "node list home", "/host_name", "www"));
}

#[test]
fn gateways_clients_egress_ranges_and_names_live() {
    let seat = Seat::new();
    seat.run("network create home --v4 10.1.0.0/24 --v6 fd01::/64").well();
    let _gate = seat.joins("gw", "home");
    seat.run("host update gw --static-endpoint 203.0.113.7:51820").well();
    let does = |duty: &str| {
        let listed = seat.json("gateway list home");
        listed.as_array().unwrap().iter().any(|row| row["host"] == "gw" && row["duty"] == duty)
    };
    for (duty, named) in [("remote-access", "remote_access"), ("internet", "internet")] {
        seat.run(&format!("gateway enable {duty} home gw")).well();
        assert!(does(named) && seat.run("gateway list").well().contains("gw"));
    }
    seat.run("gateway disable internet home gw").well();
    assert!(!does("internet") && does("remote_access"));

    lives(
        &seat,
        &Life {
            create: "client create home phone --gateway gw --tag mobile",
            list: "client list home",
            show: "client show home phone",
            update: "client update home phone --mtu 1300 --keepalive 25",
            delete: "client delete home phone",
            name: "phone",
            at: "/name",
            changed: ("/mtu", json!(1300)),
        },
    );
    let [conf, key] = ["tablet.conf", "tablet.key"].map(|name| seat.file(name));
    let (shown_conf, shown_key) = (conf.display(), key.display());
    seat.run(&format!("client create home tablet --output {shown_conf}")).well();
    let saved = std::fs::read_to_string(&conf).unwrap();
    let private = saved.lines().find_map(|line| line.strip_prefix("PrivateKey = ")).unwrap();
    std::fs::write(&key, private).unwrap();
    let whole = seat.run(&format!("client config home tablet --private-key-file {shown_key}")).well();
    assert_eq!(whole, saved, "the same configuration, now and later");
    assert!(!seat.run("client config home tablet").well().contains(private));
    let code = seat.run(&format!("client qr home tablet --private-key-file {shown_key}")).well();
    assert!(code.contains('█') && code.lines().count() > 20, "{code}");
    let before = seat.json("client show home tablet")["public_key"].take();
    seat.run("client new-key home tablet --yes").well();
    assert_ne!(seat.json("client show home tablet")["public_key"], before);
    for (verb, enabled) in [("disable", false), ("enable", true)] {
        seat.run(&format!("client {verb} home tablet")).well();
        assert_eq!(seat.json("client show home tablet")["enabled"], enabled);
    }
    let warned = seat.run("host rotate-key gw").to_string();
    assert!(warned.contains("tablet (home, by gw)") && warned.contains("--yes"), "{warned}");
    assert_eq!(seat.json("host rotate-key gw --yes")["cut_off"][0]["client"], "tablet");

    lives(
        &seat,
        &Life {
            create: "egress create home office 192.168.7.0/24 --router gw",
            list: "egress list home",
            show: "egress show home office",
            update: "egress update home office --nat off --mapped 10.77.0.0/24",
            delete: "egress delete home office",
            name: "office",
            at: "/name",
            changed: ("/mapped", json!("10.77.0.0/24")),
        },
    );
    names(&seat);
}

fn names(seat: &Seat) {
    let is_there = |name: &str| is_listed(seat, "dns record list home", "/name", name);
    seat.run("dns record add home www A 10.0.0.7 --ttl 300").well();
    assert!(is_there("www"));
    seat.run("dns record update home www 10.0.0.8").well();
    assert!(seat.run("dns record list home").well().contains("10.0.0.8"));
    let zone = seat.run("dns zone home").well();
    assert!(zone.contains("10.0.0.8") && zone.contains("gw"), "{zone}");
    seat.run("dns record delete home www --yes").well();
    assert!(!is_there("www"));

    let is_there = |domain: &str| is_listed(seat, "dns upstream list home", "/domain", domain);
    seat.run("dns upstream add home corp.example 10.0.0.1").well();
    assert!(is_there("corp.example"));
    seat.run("dns upstream update home corp.example 10.0.0.2").well();
    assert!(seat.run("dns upstream list home").well().contains("10.0.0.2"));
    seat.run("dns upstream delete home corp.example --yes").well();
    assert!(!is_there("corp.example"));
}

#[test]
fn policies_and_their_tests_live() {
    let seat = Seat::new();
    seat.run("network create home --v4 10.1.0.0/24 --access deny").well();
    let _hosts = ["web", "db"].map(|name| seat.joins(name, "home"));
    lives(
        &seat,
        &Life {
            create: "policy create home reach --from node:web --to node:db --service tcp/5432",
            list: "policy list home",
            show: "policy show home reach",
            update: "policy update home reach --both on --service tcp/5432,5433",
            delete: "policy delete home reach",
            name: "reach",
            at: "/name",
            changed: ("/both", json!(true)),
        },
    );
    seat.run("policy create home reach --from node:web --to node:db").well();
    let made = seat.json("policy test add home node:web node:db tcp/5432 allow");
    let test = made["id"].as_str().unwrap();
    assert!(is_listed(&seat, "policy test list home", "/id", test));
    assert!(seat.run("policy test run home").well().contains("1 test right, 0 wrong"));
    assert_eq!(seat.json("policy test run home")["passed"], true);
    let refused = seat.run("policy disable home reach").badly();
    assert!(refused.contains("`web`") && refused.contains("tcp/5432"), "{refused}");
    seat.run(&format!("policy test delete home {test} --yes")).well();
    assert!(!is_listed(&seat, "policy test list home", "/id", test));
    for (verb, enabled) in [("disable", false), ("enable", true)] {
        seat.run(&format!("policy {verb} home reach")).well();
        assert_eq!(seat.json("policy show home reach")["enabled"], enabled);
    }
}

#[test]
fn keys_accounts_tokens_contexts_and_the_server_itself_live() {
    let seat = Seat::new();
    seat.run("network create home --v4 10.1.0.0/24").well();
    let is_key = |title: &str| is_listed(&seat, "key list", "/title", title);
    let made = seat.json("key create robots -n home --uses 3 --expires-in 7d --tag ci --ephemeral");
    assert!(made["token"].is_string() && is_key("robots"));
    assert!(seat.run("key show robots").well().contains("robots"));
    seat.run("key rename robots build").well();
    assert!(is_key("build") && !is_key("robots"));
    seat.run("key delete build --yes").well();
    assert!(!is_key("build"));

    let password = seat.file("password");
    let create = format!("user create bob --role auditor --password-file {}", password.display());
    lives(
        &seat,
        &Life {
            create: &create,
            list: "user list",
            show: "user show bob",
            update: "user groups bob staff,night",
            delete: "user delete bob",
            name: "bob",
            at: "/name",
            changed: ("/groups", json!(["night", "staff"])),
        },
    );
    seat.run(&create).well();
    assert_eq!(seat.json("user role bob administrator")["role"], "administrator");
    seat.run(&format!("user password bob --password-file {}", password.display())).well();

    let made = seat.json("token create ci --expires-in 90d");
    let id = made["id"].as_str().or_else(|| made["token"]["id"].as_str()).unwrap();
    assert!(is_listed(&seat, "token list", "/id", id));
    seat.run(&format!("token delete {id} --yes")).well();
    assert!(!is_listed(&seat, "token list", "/id", id));

    assert!(seat.run("server status").well().contains(env!("CARGO_PKG_VERSION")));
    assert!(seat.json("server status")["counts"]["networks"] == 1);
    let servers = seat.json("server list");
    assert!(
        servers[0]["leads"] == true && servers[0]["this"] == true && servers.as_array().unwrap().len() == 1
    );
    let listed = seat.run("server list").well();
    assert!(listed.contains("LEADS") && listed.contains(servers[0]["id"].as_str().unwrap()), "{listed}");
    assert!(seat.run("journal --limit 5").well().contains("bob"));
    assert_eq!(seat.json("journal --limit 5").as_array().unwrap().len(), 5);
    let backup = seat.file("backup.db");
    seat.run(&format!("backup {}", backup.display())).well();
    assert!(std::fs::read(&backup).unwrap().starts_with(b"SQLite format 3\0"));
    sessions_and_contexts(&seat, &password.display().to_string());
}

fn sessions_and_contexts(seat: &Seat, password: &str) {
    assert!(seat.run("whoami").well().contains("admin"));
    assert!(is_listed(seat, "context list", "/name", "here"));
    seat.run(&format!("context add there --server {} --accept-pin", seat.url())).well();
    assert!(is_listed(seat, "context list", "/name", "there"));
    let stranger = seat.run("whoami");
    assert!(stranger.code != 0 && stranger.err.contains("netloom login"), "{stranger}");
    seat.run(&format!("login bob --password-file {password}")).well();
    assert_eq!(seat.json("whoami")["user"]["name"], "bob");
    seat.run("logout").well();
    assert!(seat.run("whoami").code != 0);
    seat.run("context use here").well();
    seat.run("context remove there --yes").well();
    assert!(!is_listed(seat, "context list", "/name", "there"));

    for shell in ["bash", "zsh", "fish"] {
        let script = seat.run(&format!("completion {shell}")).well();
        assert!(script.contains("rotate-key"), "{shell} is not told of every command");
    }
    assert_eq!(seat.json("version")["version"], env!("CARGO_PKG_VERSION"));
}
