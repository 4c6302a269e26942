//! Mosquitto's password file and its list of rights, as texts.
//!
//! Not for writing them. The same hosts make the same bytes, so that nothing is read again for nothing: their salts come from
//! their passwords, which are random and each used once.

use std::num::NonZeroU32;

use data_encoding::BASE64;
use ring::pbkdf2;
use sha2::{Digest as _, Sha256};
use wire::TopicKind;

use super::{HEARS, SPEAKS, heard, spoken};

/// The rounds that Mosquitto itself uses. More would protect passwords that people choose; hosts' have 256 random bits, and each
/// round is paid again whenever one connects.
const ROUNDS: NonZeroU32 = NonZeroU32::new(101).expect("not zero");
/// For the server's own password, which a person may have chosen. Whoever asks for it holds up a broker of one thread for as long.
const MANY_ROUNDS: NonZeroU32 = NonZeroU32::new(10_000).expect("not zero");
const SALT: usize = 12;
const HASH: usize = 64;

/// The line of a host's account.
pub(super) fn host(user: &str, password: &str) -> String {
    let digest = Sha256::digest(format!("netloom salt {user} {password}").as_bytes());
    line(user, password, &digest.as_slice()[..SALT], ROUNDS)
}

/// The line of the server's own account.
pub(super) fn server(user: &str, password: &str, salt: &[u8; 16]) -> String {
    line(user, password, &salt[..SALT], MANY_ROUNDS)
}

fn line(user: &str, password: &str, salt: &[u8], rounds: NonZeroU32) -> String {
    let mut hash = [0; HASH];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, rounds, salt, password.as_bytes(), &mut hash);
    format!("{user}:$7${rounds}${}${}\n", BASE64.encode(salt), BASE64.encode(&hash))
}

/// The rights of the server and, by a pattern, of every host. `%u` is the name by which a host logged in.
pub(super) fn rights(user: &str) -> String {
    let mut text = format!("# Written by Netloom; what is changed here is lost.\nuser {user}\n");
    for topic in spoken() {
        push(&mut text, "topic write", &topic);
    }
    for topic in heard() {
        push(&mut text, "topic read", &topic);
    }
    text.push('\n');
    let own = |kind: TopicKind| kind.topic_of("%u");
    HEARS.iter().for_each(|kind| push(&mut text, "pattern read", &own(*kind)));
    SPEAKS.iter().for_each(|kind| push(&mut text, "pattern write", &own(*kind)));
    text
}

fn push(text: &mut String, right: &str, topic: &str) {
    text.push_str(right);
    text.push(' ');
    text.push_str(topic);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_mosquitto_writes_it_and_the_same_each_time() {
        let parts =
            |line: &str| -> Vec<String> { line.trim_end().split(['$', ':']).map(str::to_owned).collect() };
        let line = host("user", "secret");
        assert_eq!(line, host("user", "secret"));
        let of = parts(&line);
        assert_eq!((&*of[0], &*of[2], &*of[3], of[4].len(), of[5].len()), ("user", "7", "101", 16, 88));
        assert_ne!(line, host("user", "other"));
        let own = server("user", "secret", &[1; 16]);
        assert_eq!((&own, &*parts(&own)[3]), (&server("user", "secret", &[1; 16]), "10000"));
        assert_ne!(own, server("user", "secret", &[2; 16]));
    }

    #[test]
    fn hosts_have_their_own_topics_by_pattern_and_the_server_its_two_wildcards() {
        assert_eq!(
            rights("netloom"),
            "# Written by Netloom; what is changed here is lost.\nuser netloom\n\
             topic write netloom/v1/host/+/map\n\
             topic read netloom/v1/host/+/report\n\
             topic read netloom/v1/host/+/presence\n\n\
             pattern read netloom/v1/host/%u/map\n\
             pattern write netloom/v1/host/%u/report\n\
             pattern write netloom/v1/host/%u/presence\n"
        );
    }
}
