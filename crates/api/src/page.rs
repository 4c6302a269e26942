//! Paging: every list comes in pages, and a page says where the next one starts.

use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{Problem, schema};

/// How many items a page may have: 1 to 1000, 100 where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Limit(u16);

impl Limit {
    /// The largest page.
    pub const MOST: Self = Self(1000);

    /// Checks the bounds.
    pub fn new(number: u16) -> Option<Self> {
        (1..=Self::MOST.0).contains(&number).then_some(Self(number))
    }

    /// As a count.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(100)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u16::deserialize(deserializer)?;
        Self::new(number).ok_or_else(|| serde::de::Error::custom("a page has 1 to 1000 items"))
    }
}

/// The place after an item. What it holds is the server's affair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Cursor(String);

impl Cursor {
    /// The place after the item with this sort key in this list. The list's name has no space in it.
    pub fn after(list: &str, key: &str) -> Self {
        Self(BASE64URL_NOPAD.encode(format!("{list} {key}").as_bytes()))
    }

    /// The sort key it was made of, if it was made for this list.
    fn key(&self, list: &str) -> Option<String> {
        let text = String::from_utf8(BASE64URL_NOPAD.decode(self.0.as_bytes()).ok()?).ok()?;
        let (made_for, key) = text.split_once(' ')?;
        (made_for == list).then(|| key.to_owned())
    }

    /// As it stands in a query.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let refuse = || serde::de::Error::custom("not a cursor; take the `next` of the page before");
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text.len() > 400 {
            return Err(refuse());
        }
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| refuse())?;
        String::from_utf8(bytes).map_err(|_| refuse())?;
        Ok(Self(text))
    }
}

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// How many items the page may have.
    #[serde(default)]
    #[param(value_type = Option<schema::Limit>)]
    pub limit: Limit,
    /// The `next` of the page before; the first page where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::Cursor>)]
    pub after: Option<Cursor>,
}

impl Paging {
    /// The key after which the page begins; none for the first page. A cursor of another list is refused.
    pub fn after<K: FromStr>(&self, list: &str) -> Result<Option<K>, Problem> {
        let Some(cursor) = &self.after else {
            return Ok(None);
        };
        let key = cursor.key(list).and_then(|key| key.parse().ok());
        let refuse =
            || Problem::of_field("after", "not a cursor of this list; take the `next` of its page before");
        key.map(Some).ok_or_else(refuse)
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// `after` of the next page; missing on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Cursor>)]
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// Cuts a page out of the list of this name, which is sorted by `key`, ascending by bytes, no two alike.
    pub fn cut(
        list: &str,
        sorted: impl IntoIterator<Item = T>,
        paging: &Paging,
        key: impl Fn(&T) -> String,
    ) -> Result<Self, Problem> {
        let after: Option<String> = paging.after(list)?;
        let later = |item: &T| after.as_ref().is_none_or(|after| key(item) > *after);
        let mut rest = sorted.into_iter().filter(later);
        let items: Vec<T> = rest.by_ref().take(paging.limit.get()).collect();
        let next = rest.next().and(items.last()).map(|last| Cursor::after(list, &key(last)));
        Ok(Self { items, next })
    }

    /// The same page of other items.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(change).collect(), next: self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_together_are_the_list() {
        let list: Vec<String> = (0..25).map(|n| format!("{n:02}")).collect();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let paging = Paging { limit: Limit::new(10).unwrap(), after };
            let page = Page::cut("list", list.clone(), &paging, Clone::clone).unwrap();
            seen.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, list);
    }

    #[test]
    fn a_full_last_page_names_no_next() {
        let paging = Paging { limit: Limit::new(2).unwrap(), after: None };
        assert_eq!(Page::cut("list", ["a", "b"], &paging, |s| (*s).to_owned()).unwrap().next, None);
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let of = |after| Paging { after: Some(after), ..Paging::default() };
        assert_eq!(of(Cursor::after("journal", "12")).after::<u64>("journal").unwrap(), Some(12));
        for foreign in [Cursor::after("hosts", "12"), Cursor::after("journal", "x")] {
            let refused = of(foreign).after::<u64>("journal").unwrap_err();
            assert_eq!((refused.status, refused.errors[0].field.as_str()), (422, "after"));
        }
        assert_eq!(Paging::default().after::<u64>("journal").unwrap(), None);
    }

    #[test]
    fn limits_and_cursors_are_checked() {
        assert!(
            serde_json::from_str::<Limit>("0").is_err() && serde_json::from_str::<Limit>("1001").is_err()
        );
        assert!(serde_json::from_str::<Cursor>("\"?\"").is_err());
        assert!(serde_json::from_str::<Cursor>(&format!("\"{}\"", "A".repeat(401))).is_err());
    }
}
