//! What is read, what is refused, and that every mistake is told at once.

use super::*;

fn check(file: &str) -> Result<Settings> {
    Settings::check(Layers::new("NETLOOM_", [], Some(("server.toml", file))))
}

#[test]
fn the_server_s_addresses_are_those_that_agents_are_told() {
    let file = "url = [\"https://192.0.2.7:8443\", \"https://[2001:db8::7]\", \"https://vpn.example\"]\n\
                rendezvous_host = \"192.0.2.8\"\n";
    let expected = ["192.0.2.7", "2001:db8::7", "192.0.2.8"].map(|text| text.parse::<IpAddr>().unwrap());
    assert_eq!(check(file).unwrap().server_addresses(), expected);
}

#[test]
fn with_nothing_set_the_defaults_work() {
    let settings = check("").unwrap();
    assert_eq!(settings.listen.port(), 8443);
    assert_eq!(settings.tls, Tls::SelfSigned);
    assert!(settings.urls[0].starts_with("https://"));
    assert_ne!(settings.rendezvous[0].port(), settings.rendezvous[1].port());
}

#[test]
fn all_mistakes_are_told_at_once() {
    let file =
        "listen = \"here\"\nurl = \"vpn.example.org\"\ntls = \"files\"\nrendezvous = [\"[::]:5\"]\nlgo = 1\n";
    let text = check(file).unwrap_err().to_string();
    for part in [
        "5 settings",
        "`here`",
        "`vpn.example.org`",
        "tls_certificate",
        "two addresses",
        "did you mean `log`",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn how_long_ephemeral_hosts_may_be_away_is_a_span_or_for_ever() {
    let span = |text: &str| check(&format!("ephemeral_after = \"{text}\"")).map(|it| it.ephemeral_after);
    assert_eq!(check("").unwrap().ephemeral_after, Some(Duration::from_secs(600)));
    assert_eq!(span("90s").unwrap(), Some(Duration::from_secs(90)));
    assert_eq!(span("2h").unwrap(), Some(Duration::from_secs(7_200)));
    assert_eq!((span("0").unwrap(), check("ephemeral_after = 0").unwrap().ephemeral_after), (None, None));
    for wrong in ["10", "m", "400d", "1w", "-1s", "99999999999999999999d"] {
        assert!(span(wrong).unwrap_err().to_string().contains("is no span"), "{wrong}");
    }
}

#[test]
fn the_database_is_a_file_in_the_data_folder_or_what_is_named() {
    let place = |file: &str| check(file).map(|settings| settings.database.place().to_string());
    assert_eq!(place("data = \"/srv/netloom\"").unwrap(), "/srv/netloom/netloom.db");
    let url = "database = \"postgres://anna@db.example/netloom\"";
    assert_eq!(place(url).unwrap(), "postgres://db.example:5432/netloom");
    let error = place("database = \"mysql://anna:hunter2@db/netloom\"").unwrap_err().to_string();
    assert!(error.contains("postgres://") && !error.contains("hunter2"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "hunter2\n").unwrap();
    let with = format!("{url}\ndatabase_password_file = \"{}\"", file.display());
    let settings = check(&with).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2") && !format!("{settings:?}").contains("anna"));
    std::fs::write(&file, "").unwrap();
    assert!(check(&with).unwrap_err().to_string().contains("no password"));
}

#[test]
fn the_journal_is_kept_for_days_or_for_ever() {
    let kept = |file: &str| check(file).unwrap().journal_lifetime;
    let days = |days: u64| Some(Duration::from_secs(days * 86_400));
    assert_eq!((kept(""), kept("journal_days = 7"), kept("journal_days = 0")), (days(400), days(7), None));
}

#[test]
fn agents_are_not_sent_to_their_own_machine_for_a_broker() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let with = |broker: &str, more: &str| {
        check(&format!(
            "broker = \"{broker}\"\nbroker_user = \"netloom\"\nbroker_password_file = {password:?}\n{more}"
        ))
        .map(drop)
        .map_err(|error| error.to_string())
    };
    let (here, there) = ("url = \"https://127.0.0.1:8443\"\n", "url = \"https://vpn.example.org:8443\"\n");
    let both = "url = [\"https://localhost:8443\", \"https://vpn.example.org:8443\"]\n";
    let told = "broker_urls = [\"mqtts://vpn.example.org\"]\n";
    for own in ["mqtt://127.0.0.1", "mqtts://localhost", "wss://[::1]/mqtt", "mqtts://0.0.0.0"] {
        for urls in [there, both] {
            let error = with(own, urls).unwrap_err();
            assert!(error.contains("broker_urls") && error.contains(own), "{own}: {error}");
        }
        with(own, &(there.to_owned() + told)).unwrap();
        with(own, here).unwrap();
    }
}

#[test]
fn plain_http_needs_loopback_or_a_word() {
    assert!(check("tls = \"off\"").unwrap_err().to_string().contains("loopback"));
    assert!(check("tls = \"off\"\nlisten = \"127.0.0.1:80\"").is_ok());
    assert!(check("tls = \"off\"\nallow_plain_http = true").is_ok());
}
