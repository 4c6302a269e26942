//! Settings of a program from three layers: flags win over environment variables, these over a TOML file. Every value is
//! text until its own parser has taken it, and every mistake is told at once, with where it stands and what is allowed.
//!
//! Not for defaults (the caller's `unwrap_or`) and not for reading files or the environment: both come in as arguments.

mod similar;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands: a variable, a flag, or a key of the file.
    pub place: String,
    /// What is wrong.
    pub reason: String,
}

/// All that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} setting{} cannot be used:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|Mistake { place, reason }| write!(f, "\n  {place}: {reason}"))
    }
}

/// The layers, and what was wrong in them so far.
#[derive(Debug, Default)]
pub struct Layers {
    prefix: &'static str,
    flags: BTreeMap<&'static str, String>,
    variables: BTreeMap<String, String>,
    file_name: String,
    file: toml::Table,
    asked: BTreeSet<&'static str>,
    mistakes: Vec<Mistake>,
}

/// A value as it was written, and where.
struct Found {
    place: String,
    values: Vec<String>,
}

impl Layers {
    /// The environment's variables that begin with `prefix` (`NETLOOM_`), and the file's name and text if there is one.
    pub fn new(
        prefix: &'static str,
        environment: impl IntoIterator<Item = (String, String)>,
        file: Option<(&str, &str)>,
    ) -> Self {
        let variables = environment.into_iter().filter(|(name, _)| name.starts_with(prefix)).collect();
        let mut layers = Self { prefix, variables, ..Self::default() };
        if let Some((name, text)) = file {
            layers.read_file(name, text);
        }
        layers
    }

    fn read_file(&mut self, name: &str, text: &str) {
        name.clone_into(&mut self.file_name);
        match text.parse::<toml::Table>() {
            Ok(table) => self.file = table,
            Err(error) => self.mistake(name.to_owned(), error.to_string().trim_end().to_owned()),
        }
    }

    /// Sets a key from the command line, where it was given.
    pub fn flag(&mut self, key: &'static str, value: Option<String>) {
        if let Some(value) = value {
            self.flags.insert(key, value);
        }
    }

    fn mistake(&mut self, place: String, reason: String) {
        self.mistakes.push(Mistake { place, reason });
    }

    fn variable(&self, key: &str) -> String {
        format!("{}{}", self.prefix, key.to_uppercase().replace('-', "_"))
    }

    fn find(&mut self, key: &'static str) -> Option<Found> {
        self.asked.insert(key);
        if let Some(value) = self.flags.get(key) {
            return Some(Found {
                place: format!("--{}", key.replace('_', "-")),
                values: vec![value.clone()],
            });
        }
        let variable = self.variable(key);
        if let Some(value) = self.variables.get(&variable) {
            return Some(Found { place: variable, values: vec![value.clone()] });
        }
        let place = format!("`{key}` in {}", self.file_name);
        let values = match self.file.get(key)? {
            toml::Value::Array(items) => items.iter().map(scalar).collect(),
            one => scalar(one).map(|text| vec![text]),
        };
        if values.is_none() {
            self.mistake(
                place.clone(),
                "a text, a number, true or false is expected, or a list of these".to_owned(),
            );
        }
        values.map(|values| Found { place, values })
    }

    /// One value: what `parse` makes of it. None when it is not set, or wrong.
    pub fn one<T, E: fmt::Display>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let Found { place, values } = self.find(key)?;
        let [value] = values.as_slice() else {
            self.mistake(place, "one value is expected, not a list".to_owned());
            return None;
        };
        match parse(value.trim()) {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(place, error.to_string());
                None
            }
        }
    }

    /// A list: a TOML array, or values with commas between them. None when it is not set, or one of them is wrong.
    pub fn list<T, E: fmt::Display>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let Found { place, values } = self.find(key)?;
        let parts =
            values.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|part| !part.is_empty());
        let (good, bad): (Vec<_>, Vec<_>) = parts.map(parse).partition(Result::is_ok);
        let wrong = !bad.is_empty();
        for error in bad.into_iter().filter_map(Result::err) {
            self.mistake(place.clone(), error.to_string());
        }
        (!wrong).then(|| good.into_iter().filter_map(Result::ok).collect())
    }

    /// Tells a mistake that only shows when values are seen together.
    pub fn wrong(&mut self, key: &'static str, reason: impl Into<String>) {
        let place = self.find(key).map_or_else(|| format!("`{key}`"), |found| found.place);
        self.mistake(place, reason.into());
    }

    /// Ends the reading: fails with all mistakes, keys that do not exist among them.
    pub fn finish(mut self) -> Result<(), Mistakes> {
        self.check_unknown();
        if self.mistakes.is_empty() { Ok(()) } else { Err(Mistakes(self.mistakes)) }
    }

    fn check_unknown(&mut self) {
        let keys: Vec<String> =
            self.file.keys().filter(|key| !self.asked.contains(key.as_str())).cloned().collect();
        for key in keys {
            let hint = similar::nearest(&key, self.asked.iter().copied());
            let hint = hint.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            self.mistake(format!("`{key}` in {}", self.file_name), format!("there is no such setting{hint}"));
        }
        // Other programs of ours read variables with the same prefix, so only what looks mistyped is a mistake.
        let known: BTreeMap<String, &'static str> =
            self.asked.iter().map(|key| (self.variable(key), *key)).collect();
        let unknown: Vec<String> =
            self.variables.keys().filter(|name| !known.contains_key(*name)).cloned().collect();
        for name in unknown {
            if let Some(near) = similar::nearest(&name, known.keys().map(String::as_str)) {
                self.mistake(name.clone(), format!("there is no such setting; did you mean `{near}`?"));
            }
        }
    }
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(yes) => Some(yes.to_string()),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => None,
    }
}

/// Reads yes and no in their usual spellings.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(text: &str) -> Result<u16, String> {
        text.parse().map_err(|_| format!("`{text}` is not a port (1 to 65535)"))
    }

    fn layers(environment: &[(&str, &str)], file: &str) -> Layers {
        let environment = environment.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        Layers::new("APP_", environment, Some(("app.toml", file)))
    }

    #[test]
    fn flags_win_over_variables_and_these_over_the_file() {
        let mut all = layers(&[("APP_PORT", "2")], "port = 1");
        assert_eq!(all.one("port", port), Some(2));
        all.flag("port", Some("3".to_owned()));
        assert_eq!(all.one("port", port), Some(3));
        assert_eq!(layers(&[], "port = 1").one("port", port), Some(1));
        assert_eq!(layers(&[], "").one("port", port), None);
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_place() {
        let mut all = layers(
            &[("APP_PORT", "x"), ("APP_LISTN", "1"), ("APP_UNRELATED", "1")],
            "ports = [1, \"y\"]\nprot = 5\n",
        );
        assert_eq!(all.one("port", port), None);
        assert_eq!(all.list("ports", port), None);
        assert_eq!(all.list("listen", port), None);
        let text = all.finish().unwrap_err().to_string();
        assert_eq!(
            text,
            "4 settings cannot be used:\n  APP_PORT: `x` is not a port (1 to 65535)\n  \
             `ports` in app.toml: `y` is not a port (1 to 65535)\n  \
             `prot` in app.toml: there is no such setting; did you mean `port`?\n  \
             APP_LISTN: there is no such setting; did you mean `APP_LISTEN`?"
        );
    }

    #[test]
    fn a_list_is_an_array_or_has_commas() {
        assert_eq!(layers(&[("APP_PORTS", "1, 2,3")], "").list("ports", port), Some(vec![1, 2, 3]));
        assert_eq!(layers(&[], "ports = [1, 2]").list("ports", port), Some(vec![1, 2]));
    }

    #[test]
    fn a_broken_file_is_one_clear_mistake() {
        let mistakes = layers(&[], "port = = 1").finish().unwrap_err();
        assert_eq!(mistakes.0.len(), 1);
        assert!(mistakes.to_string().contains("app.toml"));
    }
}
