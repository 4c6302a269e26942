//! Values of arguments that several commands take: on or off, something or nothing, when something ends, tags.
//!
//! Not for what each of them changes: the commands say that.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use api::Edit;
use clap::{Args, ValueEnum};
use model::{Tag, Timestamp};

use crate::failure::Failure;
use crate::span::Span;

/// A switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// Yes
    #[value(help = None::<&'static str>)]
    On,
    /// No
    #[value(help = None::<&'static str>)]
    Off,
}

impl From<OnOff> for bool {
    fn from(switch: OnOff) -> Self {
        match switch {
            OnOff::On => true,
            OnOff::Off => false,
        }
    }
}

/// A switch that was given, or none.
pub(crate) fn switched(switch: Option<OnOff>) -> Option<bool> {
    switch.map(bool::from)
}

/// What happens to what no policy speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Access {
    /// It passes
    Allow,
    /// It does not
    Deny,
}

impl From<Access> for api::Access {
    fn from(access: Access) -> Self {
        match access {
            Access::Allow => Self::Allow,
            Access::Deny => Self::Deny,
        }
    }
}

macro_rules! or_word {
    ($(#[$doc:meta])* $type:ident, $word:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $type<T>(Edit<T>);

        impl<T> $type<T> {
            /// The change that it stands for; none given: as it was.
            pub(crate) fn edit(given: Option<Self>) -> Edit<T> {
                given.map_or(Edit::Keep, |given| given.0)
            }
        }

        impl<T: FromStr> FromStr for $type<T> {
            type Err = T::Err;

            fn from_str(text: &str) -> Result<Self, T::Err> {
                if text == $word {
                    return Ok(Self(Edit::Clear));
                }
                text.parse().map(|value| Self(Edit::Set(value)))
            }
        }
    };
}

or_word! {
    /// A value, or `none`.
    OrNone, "none"
}
or_word! {
    /// A value, or `default`.
    OrDefault, "default"
}

/// All of what an argument gave that may be repeated; none: as it was. `none` stands alone, and for an empty list.
pub(crate) fn replaced<T>(given: Vec<OrNone<T>>) -> Result<Option<Vec<T>>, Failure> {
    if given.is_empty() {
        return Ok(None);
    }
    let count = given.len();
    let values: Vec<T> = given
        .into_iter()
        .filter_map(|one| match one.0 {
            Edit::Set(value) => Some(value),
            Edit::Keep | Edit::Clear => None,
        })
        .collect();
    if values.len() < count && !(values.is_empty() && count == 1) {
        return Err(Failure::Usage("`none` stands for nothing at all; give it alone".to_owned()));
    }
    Ok(Some(values))
}

/// Names with commas between them, or `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names<T>(BTreeSet<T>);

impl<T> Names<T> {
    /// The names.
    pub(crate) fn set(self) -> BTreeSet<T> {
        self.0
    }
}

impl<T: FromStr + Ord> FromStr for Names<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "none" {
            return Ok(Self(BTreeSet::new()));
        }
        text.split(',').map(|name| name.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

/// The text says nothing about when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WhenError(String);

impl fmt::Display for WhenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no moment; write one such as 2026-12-31T00:00:00Z, a span from now such as 7d, or never",
            self.0
        )
    }
}

impl std::error::Error for WhenError {}

/// When something ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// It does not.
    Never,
    /// At this moment.
    At(Timestamp),
    /// So long from now.
    In(Span),
}

impl FromStr for When {
    type Err = WhenError;

    fn from_str(text: &str) -> Result<Self, WhenError> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let moment = text.parse().map(Self::At);
        moment.or_else(|_| text.parse().map(Self::In)).map_err(|_| WhenError(text.chars().take(64).collect()))
    }
}

/// When something new ends.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Ending {
    /// After what time it ends, such as 12h or 7d
    #[arg(long, value_name = "SPAN", conflicts_with = "expires")]
    pub expires_in: Option<Span>,
    /// When it ends, such as 2026-12-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub expires: Option<Timestamp>,
}

/// When something that is there is to end from now on.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct EndingEdit {
    /// After what time it ends, such as 12h or 7d
    #[arg(long, value_name = "SPAN", group = "change", conflicts_with = "expires")]
    expires_in: Option<Span>,
    /// When it ends: 2026-12-31T00:00:00Z, 7d, or never
    #[arg(long, value_name = "TIME", group = "change")]
    expires: Option<When>,
}

impl EndingEdit {
    /// As the API takes it: the change of the moment, and seconds from now.
    pub(crate) fn fields(self) -> (Edit<Timestamp>, Option<u64>) {
        let seconds = self.expires_in.map(Span::seconds);
        match self.expires {
            None => (Edit::Keep, seconds),
            Some(When::Never) => (Edit::Clear, None),
            Some(When::At(moment)) => (Edit::Set(moment), None),
            Some(When::In(span)) => (Edit::Keep, Some(span.seconds())),
        }
    }
}

/// Which tags from now on.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TagEdit {
    /// All its tags, with commas between them, or none
    #[arg(long, value_name = "TAGS", group = "change", conflicts_with_all = ["tag", "untag"])]
    tags: Option<Names<Tag>>,
    /// A tag it gets; may be given several times
    #[arg(long, value_name = "TAG", group = "change", value_delimiter = ',')]
    tag: Vec<Tag>,
    /// A tag it loses; may be given several times
    #[arg(long, value_name = "TAG", group = "change", value_delimiter = ',')]
    untag: Vec<Tag>,
}

/// A change of tags, as the API takes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TagFields {
    /// All of them.
    pub(crate) all: Option<BTreeSet<Tag>>,
    /// Those that are new.
    pub(crate) add: BTreeSet<Tag>,
    /// Those that go.
    pub(crate) remove: BTreeSet<Tag>,
}

impl TagEdit {
    /// As the API takes it.
    pub(crate) fn fields(self) -> TagFields {
        TagFields {
            all: self.tags.map(Names::set),
            add: self.tag.into_iter().collect(),
            remove: self.untag.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> BTreeSet<Tag> {
        text.parse::<Names<Tag>>().unwrap().set()
    }

    #[test]
    fn tags_are_set_added_and_taken_away() {
        let edit = |set: Option<&str>, add: &[&str], take: &[&str]| TagEdit {
            tags: set.map(|set| set.parse().unwrap()),
            tag: add.iter().map(|tag| tag.parse().unwrap()).collect(),
            untag: take.iter().map(|tag| tag.parse().unwrap()).collect(),
        };
        let none = BTreeSet::new;
        assert_eq!(edit(None, &[], &[]).fields(), TagFields::default());
        assert_eq!(edit(Some("none"), &[], &[]).fields().all, Some(none()));
        let set = TagFields { all: Some(tags("db,web")), ..TagFields::default() };
        assert_eq!(edit(Some("db, web"), &[], &[]).fields(), set);
        let changed = TagFields { all: None, add: tags("db"), remove: tags("old") };
        assert_eq!(edit(None, &["db"], &["old"]).fields(), changed);
    }

    #[test]
    fn none_is_given_alone() {
        let given =
            |texts: &[&str]| replaced::<u16>(texts.iter().map(|text| text.parse().unwrap()).collect());
        assert_eq!(given(&[]).unwrap(), None);
        assert_eq!(given(&["none"]).unwrap(), Some(Vec::new()));
        assert_eq!(given(&["2", "1"]).unwrap(), Some(vec![2, 1]));
        assert!(given(&["none", "1"]).is_err() && given(&["none", "none"]).is_err());
    }

    #[test]
    fn an_end_is_a_moment_a_span_or_never() {
        let fields =
            |text: &str| EndingEdit { expires_in: None, expires: Some(text.parse().unwrap()) }.fields();
        assert_eq!(fields("never"), (Edit::Clear, None));
        assert_eq!(fields("2d"), (Edit::Keep, Some(172_800)));
        assert_eq!(fields("1970-01-01T00:00:01Z"), (Edit::Set(Timestamp::from_millis(1_000)), None));
        assert!("soon".parse::<When>().unwrap_err().to_string().contains("`soon` is no moment"));
    }
}
