//! One line of a scenario: words, then options as `name=value`. Who asks may stand in front: `as anna: …`.
//!
//! It keeps true that nothing on a line goes unread: what no one asked for is an error.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::str::FromStr;

use anyhow::{Result, anyhow, bail};
use control::Edit;

/// A line that is being read.
pub(super) struct Line {
    /// The account in whose name it is said, if any.
    pub(super) speaker: Option<String>,
    words: VecDeque<String>,
    options: BTreeMap<String, String>,
}

impl Line {
    /// Splits a line.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (speaker, text) = match text.strip_prefix("as ").and_then(|rest| rest.split_once(": ")) {
            Some((speaker, rest)) => (Some(speaker.to_owned()), rest),
            None => (None, text),
        };
        let mut line = Self { speaker, words: VecDeque::new(), options: BTreeMap::new() };
        for word in text.split_whitespace() {
            match word.split_once('=') {
                None => line.words.push_back(word.to_owned()),
                Some((name, value)) => {
                    if line.options.insert(name.to_owned(), value.to_owned()).is_some() {
                        bail!("`{name}` stands there twice");
                    }
                }
            }
        }
        Ok(line)
    }

    /// The next word.
    pub(super) fn word(&mut self) -> Result<String> {
        self.words.pop_front().ok_or_else(|| anyhow!("something is missing at the end"))
    }

    /// The next word, as a value.
    pub(super) fn value<T: FromStr<Err: Display>>(&mut self) -> Result<T> {
        read(&self.word()?)
    }

    /// Whether the next word is this one.
    pub(super) fn has(&mut self, word: &str) -> bool {
        let there = self.words.front().is_some_and(|next| next == word);
        if there {
            self.words.pop_front();
        }
        there
    }

    /// An option.
    pub(super) fn option<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>> {
        self.options.remove(name).map(|text| read(&text)).transpose()
    }

    /// An option that may be `none`: set or clear.
    pub(super) fn edit<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Edit<T>> {
        if self.options.get(name).is_some_and(|text| text == "none") {
            self.options.remove(name);
            return Ok(Edit::Clear);
        }
        Ok(self.option(name)?.map_or(Edit::Keep, Edit::Set))
    }

    /// An option with several values, `name=a,b`.
    pub(super) fn list<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Vec<T>> {
        let text = self.options.remove(name).unwrap_or_default();
        text.split(',').filter(|part| !part.is_empty()).map(read).collect()
    }

    /// An option with several values that may be absent, and may be `none`: all of them.
    pub(super) fn whole_list<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<Vec<T>>> {
        match self.options.get(name).map(String::as_str) {
            None => Ok(None),
            Some("none") => {
                self.options.remove(name);
                Ok(Some(Vec::new()))
            }
            Some(_) => self.list(name).map(Some),
        }
    }

    /// An option that is `yes` or `no`.
    pub(super) fn yes(&mut self, name: &str) -> Result<Option<bool>> {
        match self.options.remove(name).as_deref() {
            None => Ok(None),
            Some("yes") => Ok(Some(true)),
            Some("no") => Ok(Some(false)),
            Some(other) => bail!("`{name}` is `yes` or `no`, not `{other}`"),
        }
    }

    /// Fails when something was not read.
    pub(super) fn end(self) -> Result<()> {
        match self.words.iter().chain(self.options.keys()).next() {
            None => Ok(()),
            Some(left) => bail!("`{left}` means nothing here"),
        }
    }
}

fn read<T: FromStr<Err: Display>>(text: &str) -> Result<T> {
    text.parse().map_err(|error| anyhow!("`{text}`: {error}"))
}
