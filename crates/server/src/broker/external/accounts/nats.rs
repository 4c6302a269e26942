//! The users of a NATS server and what each may publish and subscribe to, as text for its configuration.
//!
//! Not for writing it. NATS calls `netloom/v1/host/x/map` the subject `netloom.v1.host.x.map`. A user of ours comes by MQTT alone.

use anyhow::{Result, anyhow};
use model::HostId;
use sha2::{Digest as _, Sha256};

use super::{HEARS, SPEAKS, heard, spoken};

/// Sixteen rounds, the fewest there are: hosts' passwords have 256 random bits and need no stretching, and NATS pays for the
/// rounds whenever one connects.
const COST: u32 = 4;
/// For the server's own password, which a person may have chosen.
const HIGH_COST: u32 = 11;
/// What a subscription whose messages are confirmed is carried by; NATS lets no MQTT client name it.
const CONFIRMED: &str = "$MQTT.sub.>";
const HEAD: &str = "# Written by Netloom; what is changed here is lost.\nauthorization {\n  users = [\n";
const TAIL: &str = "  ]\n}\n";

/// The whole file, of lines that were made before.
pub(super) fn file<'a>(users: impl Iterator<Item = &'a str>) -> String {
    let mut text = HEAD.to_owned();
    users.for_each(|user| text.push_str(user));
    text.push_str(TAIL);
    text
}

/// A host.
pub(super) fn host(host: HostId, password: &str) -> Result<String> {
    let host = host.to_string();
    let digest = Sha256::digest(format!("netloom salt {host} {password}").as_bytes());
    let salt = digest.as_slice()[..16].try_into().expect("a digest has more");
    let hash = hash(password, COST, salt)?;
    Ok(user(&host, &hash, &SPEAKS.map(|kind| kind.topic_of(&host)), &HEARS.map(|kind| kind.topic_of(&host))))
}

/// The server itself.
pub(super) fn server(name: &str, password: &str, salt: &[u8; 16]) -> Result<String> {
    Ok(user(name, &hash(password, HIGH_COST, *salt)?, &spoken(), &heard()))
}

fn hash(password: &str, cost: u32, salt: [u8; 16]) -> Result<String> {
    let hash = bcrypt::hash_with_salt(password, cost, salt);
    let hash = hash.map_err(|error| anyhow!("bcrypt refuses a password: {error}"))?;
    Ok(hash.format_for_version(bcrypt::Version::TwoA))
}

fn user(name: &str, hash: &str, speaks: &[String], hears: &[String]) -> String {
    let subjects = |topics: &[String]| {
        let quoted: Vec<String> = topics.iter().map(|topic| subject(topic)).collect();
        quoted.join(", ")
    };
    format!(
        "    {{ user: {}, password: \"{hash}\", allowed_connection_types: [\"MQTT\", \"MQTT_WS\"], permissions: {{ publish: {{ allow: \
         [{}] }}, subscribe: {{ allow: [{}, \"{CONFIRMED}\"] }} }} }}\n",
        quoted(name),
        subjects(speaks),
        subjects(hears),
    )
}

/// A topic as NATS calls it.
fn subject(topic: &str) -> String {
    format!("\"{}\"", topic.replace('/', ".").replace('+', "*"))
}

/// A name as its configuration has it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_speak_and_hear_under_its_own_subjects_only_and_comes_by_mqtt_only() {
        let id = HostId::from_bytes([0xab; 16]);
        let line = host(id, "secret").unwrap();
        assert_eq!(line, host(id, "secret").unwrap(), "the same each time");
        let (name, rest) = line.split_once(", password: \"$2a$04$").unwrap();
        assert_eq!(name, format!("    {{ user: \"{id}\""));
        assert_eq!(
            rest.split_once("\", ").unwrap().1,
            format!(
                "allowed_connection_types: [\"MQTT\", \"MQTT_WS\"], permissions: {{ publish: {{ allow: [\"netloom.v1.host.{id}.report\", \
                 \"netloom.v1.host.{id}.presence\"] }}, subscribe: {{ allow: [\"netloom.v1.host.{id}.map\", \
                 \"$MQTT.sub.>\"] }} }} }}\n"
            )
        );
    }

    #[test]
    fn the_server_hears_all_hosts() {
        let line = server("netloom", "secret", &[1; 16]).unwrap();
        assert!(line.contains("$2a$11$"), "{line}");
        for subject in
            ["\"netloom.v1.host.*.map\"", "\"netloom.v1.host.*.report\"", "\"netloom.v1.host.*.presence\""]
        {
            assert!(line.contains(subject), "{line}");
        }
    }
}
