//! That a change of keys which breaks off, at whichever step, is ended by taking the step again, and that no server works with
//! half of it.

use std::os::unix::fs::PermissionsExt as _;

use control::{ActorName, RecordChange};
use model::{HostId, SealingIdentity, SigningPublicKey, Timestamp, WgPublicKey};
use settings::Layers;
use store::Commit;
use tempfile::TempDir;

use super::*;

/// A server that was started once.
struct Place {
    folder: TempDir,
    settings: Settings,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self::at(folder);
        Identity::load_or_create(&place.settings.data).unwrap();
        Certificates::self_signed(&tls(&place.settings.data), &names(&place.settings)).unwrap();
        place
    }

    fn at(folder: TempDir) -> Self {
        let text = format!("data = {:?}\nurl = \"https://127.0.0.1:8443\"", folder.path());
        let settings = Settings::check(Layers::new("NETLOOM_", [], Some(("server.toml", &text)))).unwrap();
        Self { folder, settings }
    }

    fn data(&self) -> &Path {
        self.folder.path()
    }

    /// All of it once more: another server of the same database, or the same at another time.
    fn copy(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(self.data(), folder.path());
        Self::at(folder)
    }

    /// The keys and the pin by which it is known.
    fn known_by(&self) -> (Vec<String>, [u8; 32]) {
        let keys = identity::RENDEZVOUS.into_iter().chain([identity::SEALING]);
        let read = |name| fs::read_to_string(identity::folder(self.data()).join(name)).unwrap();
        let pin = Certificates::self_signed(&tls(self.data()), &[]).unwrap().pin();
        (keys.map(read).collect(), pin)
    }

    /// What a start would do with the folder and the database.
    async fn start(&self) -> Result<()> {
        settle(self.data())?;
        let identity = Identity::load_or_create(self.data())?;
        Certificates::self_signed(&tls(self.data()), &names(&self.settings))?;
        let database = store::open(&self.settings.database).await?;
        identity.check(&*database, self.data(), Next::load(self.data())?.as_ref()).await
    }

    fn is_clean(&self) -> bool {
        let left = ["keys/next", "keys/making", "keys/abandoned", "tls/next"];
        left.into_iter().all(|name| !self.data().join(name).exists())
    }
}

impl Place {
    async fn commit(&self, records: Vec<RecordChange>) {
        let database = store::open(&self.settings.database).await.unwrap();
        let seq = database.check().await.unwrap() + 1;
        let actor = ActorName::from_text("test".to_owned());
        let change = control::Change { actor, command: "test".into(), records };
        let time = Timestamp::from_millis(1_800_000_000_000);
        database.commit(vec![Commit { seq, time, change }]).await.unwrap();
    }

    /// A change that was begun, at a server with two hosts: one speaks by this key, the other by one that nobody named.
    async fn begun_with_hosts() -> (Self, SealingPublicKey) {
        let place = Self::new();
        place.start().await.unwrap();
        begin(&place.settings).unwrap();
        let next = Next::load(place.data()).unwrap().unwrap().sealing.public();
        place.commit(vec![RecordChange::made(host(1, None)), RecordChange::made(host(2, Some(next)))]).await;
        (place, next)
    }
}

pub(crate) fn host(number: u8, server: Option<SealingPublicKey>) -> Host {
    let key = SealingPublicKey::from_bytes([number; 32]);
    Host {
        id: HostId::from_bytes([number; 16]),
        name: format!("host-{number}").parse().unwrap(),
        wireguard_key: WgPublicKey::from_bytes([number; 32]),
        signing_key: SigningPublicKey::from_bytes([number; 32]),
        sealing: SealingIdentity { key, encapsulated: key, server },
        mtu: None,
        static_endpoint: None,
        default: false,
        ephemeral: false,
        rotate: false,
        rotate_since: None,
        rekeyed: None,
        created: Timestamp::from_millis(0),
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// By what a server is known once its change was ended without a break.
async fn ended(begun: &Place) -> (Vec<String>, [u8; 32]) {
    let whole = begun.copy();
    finish(&whole.settings, false).await.unwrap();
    whole.known_by()
}

#[tokio::test]
async fn a_finish_that_breaks_off_after_any_step_is_ended_by_another_and_no_server_starts_between() {
    let begun = Place::new();
    begun.start().await.unwrap();
    let before = begun.known_by();
    begin(&begun.settings).unwrap();
    begun.start().await.unwrap();
    assert_eq!(begun.known_by(), before, "nothing is in force yet");
    let expected = ended(&begun).await;
    assert!(expected.0 != before.0 && expected.1 != before.1);
    let count = steps(begun.data()).len();
    for taken in 0..=count {
        let place = begun.copy();
        let next = Next::load(place.data()).unwrap().unwrap().sealing.public().to_string();
        let database = store::open(&place.settings.database).await.unwrap();
        database.replace_identity(&next).await.unwrap();
        drop(database);
        for step in &steps(place.data())[..taken] {
            step.take().unwrap();
        }
        let is_moved = !keys_folder(place.data()).join(identity::SEALING).exists();
        match place.start().await {
            Ok(()) => assert!(is_moved, "it started after {taken} of {count} steps"),
            Err(error) => {
                assert!(!is_moved && error.to_string().contains("rekey finish"), "after {taken}: {error:#}");
                finish(&place.settings, false).await.unwrap();
            }
        }
        assert!(place.is_clean(), "after {taken}");
        assert_eq!(place.known_by(), expected, "after {taken}");
        place.start().await.unwrap();
    }
}

#[tokio::test]
async fn a_finish_whose_last_step_is_missing_is_ended_by_saying_it_again() {
    let place = Place::new();
    place.start().await.unwrap();
    begin(&place.settings).unwrap();
    let expected = ended(&place).await;
    let database = store::open(&place.settings.database).await.unwrap();
    let next = Next::load(place.data()).unwrap().unwrap().sealing.public().to_string();
    database.replace_identity(&next).await.unwrap();
    drop(database);
    // It was to be taken back here, while another server finished it.
    fs::write(keys_folder(place.data()).join(ABANDONED), "").unwrap();
    let all = steps(place.data());
    all[..all.len() - 1].iter().try_for_each(Step::take).unwrap();
    assert_eq!(fs::read_dir(keys_folder(place.data())).unwrap().count(), 0);
    finish(&place.settings, false).await.unwrap();
    assert_eq!((place.known_by(), place.is_clean()), (expected, true));
    let nothing = finish(&place.settings, false).await.unwrap_err().to_string();
    assert!(nothing.contains("rekey begin"), "{nothing}");
}

#[tokio::test]
async fn a_begin_that_breaks_off_is_ended_by_another_and_a_server_starts_meanwhile() {
    let whole = Place::new();
    whole.start().await.unwrap();
    let made = ["tls/next/key.pem", "tls/next/cert.pem"].map(str::to_owned).into_iter();
    let keys = identity::RENDEZVOUS.into_iter().chain([identity::SEALING]);
    let made: Vec<String> = made.chain(keys.map(|name| format!("keys/making/{name}"))).collect();
    let begun = whole.copy();
    begin(&begun.settings).unwrap();
    for taken in 0..=made.len() {
        let place = whole.copy();
        for name in &made[..taken] {
            let (from, to) = (begun.data().join(name.replace("making", "next")), place.data().join(name));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        }
        assert!(Next::load(place.data()).unwrap().is_none());
        place.start().await.unwrap();
        begin(&place.settings).unwrap();
        assert!(begin(&place.settings).unwrap_err().to_string().contains("rekey finish"));
        let (expected, before) = (ended(&place).await, whole.known_by());
        finish(&place.settings, false).await.unwrap();
        assert_eq!(place.known_by(), expected);
        assert!(expected.0.iter().all(|key| !before.0.contains(key)) && expected.1 != before.1);
        let mode = fs::metadata(place.data().join("keys/sealing.key")).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, place.is_clean()), (0o600, true));
    }
}

#[tokio::test]
async fn a_server_whose_folders_were_copied_over_starts_with_them_whatever_was_left_in_it() {
    let first = Place::new();
    first.start().await.unwrap();
    begin(&first.settings).unwrap();
    // As the guide says: the folders are copied after each step, over what is there.
    let second = first.copy();
    finish(&first.settings, false).await.unwrap();
    for folder in ["keys", "tls", "."] {
        copy(&first.data().join(folder), &second.data().join(folder));
    }
    assert!(second.data().join("keys/next").exists());
    second.start().await.unwrap();
    assert_eq!((second.known_by(), second.is_clean()), (first.known_by(), true));
    begin(&second.settings).unwrap();
}

#[tokio::test]
async fn a_server_that_was_not_copied_to_is_finished_where_it_is() {
    let first = Place::new();
    first.start().await.unwrap();
    begin(&first.settings).unwrap();
    let second = first.copy();
    finish(&first.settings, false).await.unwrap();
    fs::copy(first.data().join("netloom.db"), second.data().join("netloom.db")).unwrap();
    assert!(second.start().await.unwrap_err().to_string().contains("rekey finish"));
    finish(&second.settings, false).await.unwrap();
    second.start().await.unwrap();
    assert_eq!((second.known_by(), second.is_clean()), (first.known_by(), true));
}

#[tokio::test]
async fn next_keys_that_were_copied_in_part_are_told_and_not_used() {
    let place = Place::new();
    place.start().await.unwrap();
    let before = place.known_by();
    begin(&place.settings).unwrap();
    fs::remove_file(place.data().join("keys/next/sealing.key")).unwrap();
    let error = place.start().await.unwrap_err().to_string();
    assert!(error.contains("keys/next") && error.contains("copy it again"), "{error}");
    assert_eq!(place.known_by(), before);
}

#[tokio::test]
async fn a_database_of_other_servers_is_not_taken_over_by_finishing() {
    let (ours, theirs) = (Place::new(), Place::new());
    ours.start().await.unwrap();
    theirs.start().await.unwrap();
    begin(&ours.settings).unwrap();
    let mut settings = ours.settings.clone();
    settings.database = theirs.settings.database.clone();
    let error = finish(&settings, true).await.unwrap_err().to_string();
    assert!(error.contains("other keys"), "{error}");
    theirs.start().await.unwrap();
    ours.start().await.unwrap();
}

#[tokio::test]
async fn a_change_that_no_host_has_followed_is_abandoned_at_once_and_wherever_that_breaks_off() {
    let begun = Place::new();
    begun.start().await.unwrap();
    let before = begun.known_by();
    begin(&begun.settings).unwrap();
    let first = Next::load(begun.data()).unwrap().unwrap().sealing;
    let count = steps_back(begun.data()).len();
    for taken in 0..=count {
        let place = begun.copy();
        mark_abandoned(place.data()).unwrap();
        for step in &steps_back(place.data())[..taken] {
            step.take().unwrap();
        }
        place.start().await.unwrap_or_else(|error| panic!("after {taken}: {error:#}"));
        if Next::load(place.data()).unwrap().is_some() {
            let refused = [begin(&place.settings), finish(&place.settings, true).await];
            for error in refused.map(|refused| refused.unwrap_err().to_string()) {
                assert!(error.contains("taken back") && error.contains("rekey abandon"), "{error}");
            }
            let abandoned = abandon(&place.settings, false).await.unwrap();
            assert_eq!(abandoned, Abandoned::Removed { lost: 0 });
        }
        assert_eq!((place.known_by(), place.is_clean()), (before.clone(), true), "after {taken}");
        assert!(
            abandon(&place.settings, false).await.unwrap_err().to_string().contains("nothing to abandon")
        );
        // Keys that were abandoned do not come again.
        begin(&place.settings).unwrap();
        assert!(Next::load(place.data()).unwrap().unwrap().sealing != first);
    }
}

#[tokio::test]
async fn the_next_keys_stay_until_every_host_that_speaks_by_them_has_come_back() {
    let (place, next) = Place::begun_with_hosts().await;
    let before = place.known_by();
    assert_eq!(abandon(&place.settings, false).await.unwrap(), Abandoned::Turned { hosts: 1 });
    place.start().await.unwrap();
    let back = Next::load(place.data()).unwrap().unwrap();
    let ours = Identity::load(place.data()).unwrap().sealing.public();
    assert_eq!((back.sealing.public(), back.course), (next, Course::Back), "both keys work");
    assert_eq!(back.told(ours), NextKeys { sealing: ours, pin: None });
    let error = abandon(&place.settings, false).await.unwrap_err().to_string();
    assert!(error.contains("host-2") && !error.contains("host-1") && error.contains("--force"), "{error}");
    assert!(Next::load(place.data()).unwrap().is_some());

    let lost = place.copy();
    assert_eq!(abandon(&lost.settings, true).await.unwrap(), Abandoned::Removed { lost: 1 });
    place.commit(vec![RecordChange::changed(host(2, Some(next)), host(2, Some(ours)))]).await;
    assert_eq!(abandon(&place.settings, false).await.unwrap(), Abandoned::Removed { lost: 0 });
    for place in [place, lost] {
        assert_eq!((place.known_by(), place.is_clean()), (before.clone(), true));
        place.start().await.unwrap();
    }
}

#[tokio::test]
async fn a_change_whose_keys_are_in_force_is_not_abandoned() {
    let place = Place::new();
    place.start().await.unwrap();
    begin(&place.settings).unwrap();
    let other = place.copy();
    let next = Next::load(place.data()).unwrap().unwrap().sealing.public().to_string();
    let database = store::open(&place.settings.database).await.unwrap();
    database.replace_identity(&next).await.unwrap();
    drop(database);
    for force in [false, true] {
        let error = abandon(&place.settings, force).await.unwrap_err().to_string();
        assert!(error.contains("in force") && error.contains("rekey finish"), "{error}");
    }
    // Also where this server was told to go back, and another one finished.
    mark_abandoned(place.data()).unwrap();
    finish(&place.settings, false).await.unwrap();
    finish(&other.settings, false).await.unwrap();
    assert_eq!((place.known_by(), place.is_clean()), (other.known_by(), true));
}

#[tokio::test]
async fn what_a_begin_that_broke_off_has_made_is_removed() {
    let place = Place::new();
    Identity::create_in(&making_folder(place.data())).unwrap();
    Certificates::self_signed(&tls_folder(place.data()), &names(&place.settings)).unwrap();
    assert_eq!(abandon(&place.settings, false).await.unwrap(), Abandoned::Removed { lost: 0 });
    assert!(place.is_clean());
}
