//! MQTT topics: exact, one set for each host.

use std::fmt;
use std::str::FromStr;

use model::HostId;

const PREFIX: &str = "netloom/v1/host/";

/// What a host says on its presence topic once it is connected.
pub const PRESENCE_ONLINE: &[u8] = b"online";
/// What its last will says there, and its farewell.
pub const PRESENCE_OFFLINE: &[u8] = b"offline";

/// What is said under a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicKind {
    /// Server to agent: sealed `Down` messages.
    Map,
    /// Agent to server: sealed `Report`s.
    Report,
    /// Agent to server: `online` when it connects, `offline` by last will. Not sealed: the broker itself sends the will.
    Presence,
}

impl TopicKind {
    const ALL: [Self; 3] = [Self::Map, Self::Report, Self::Presence];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Report => "report",
            Self::Presence => "presence",
        }
    }

    /// The topic of the host that is spelt like this: for a broker, which knows hosts by the text they came with.
    pub fn topic_of(self, host: &str) -> String {
        format!("{PREFIX}{host}/{}", self.suffix())
    }
}

/// One topic of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostTopic {
    /// The host.
    pub host: HostId,
    /// What is said under it.
    pub kind: TopicKind,
}

impl fmt::Display for HostTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind.topic_of(&self.host.to_string()))
    }
}

impl HostTopic {
    /// Which of this host's own topics it is. Wildcards, `$share`, `$SYS` and other hosts' topics are none of them.
    pub fn of_own(host: HostId, topic: &str) -> Option<TopicKind> {
        let topic: Self = topic.parse().ok()?;
        (topic.host == host).then_some(topic.kind)
    }
}

/// The text is none of our topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a topic of a host")]
pub struct NotATopic;

impl FromStr for HostTopic {
    type Err = NotATopic;

    fn from_str(text: &str) -> Result<Self, NotATopic> {
        let (host, suffix) =
            text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/')).ok_or(NotATopic)?;
        let kind = TopicKind::ALL.into_iter().find(|kind| kind.suffix() == suffix).ok_or(NotATopic)?;
        let host: HostId = host.parse().map_err(|_| NotATopic)?;
        let topic = Self { host, kind };
        // A host has one spelling only: what a rule compares must be what the broker routes.
        if topic.to_string() != text {
            return Err(NotATopic);
        }
        Ok(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_read_back_and_have_one_spelling() {
        let host = HostId::from_bytes([0xab; 16]);
        for kind in TopicKind::ALL {
            let topic = HostTopic { host, kind };
            assert_eq!(topic.to_string().parse(), Ok(topic));
            assert_eq!(HostTopic::of_own(host, &topic.to_string()), Some(kind));
            assert_eq!(HostTopic::of_own(HostId::from_bytes([0xac; 16]), &topic.to_string()), None);
            assert_eq!(topic.to_string().to_uppercase().parse::<HostTopic>(), Err(NotATopic));
        }
        for text in ["netloom/v1/host/+/map", "#", "netloom/v1/host/x/map", "$share/g/netloom/v1/host/x/map"]
        {
            assert_eq!(text.parse::<HostTopic>(), Err(NotATopic));
        }
    }
}
