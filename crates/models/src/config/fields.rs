//! Fields of a JSON object that may have several names, each checked, each error with its name.

use crate::Error;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;
use std::path::Path;

pub(crate) struct Fields<'a> {
    map: Map<String, Value>,
    path: &'a Path,
    /// What stands before names in errors: nothing, or that of the field this is the value of.
    within: String,
}

impl<'a> Fields<'a> {
    pub(crate) fn parse(text: &[u8], path: &'a Path) -> Result<Self, Error> {
        let json = |reason: String| Error::Json { path: path.to_owned(), reason };
        match serde_json::from_slice(text).map_err(|error| json(error.to_string()))? {
            Value::Object(map) => Ok(Self::new(map, path)),
            _ => Err(json("it is not an object".to_owned())),
        }
    }

    pub(crate) fn new(map: Map<String, Value>, path: &'a Path) -> Self {
        Self { map, path, within: String::new() }
    }

    /// The fields of the object `name`, if it is there and not null.
    pub(crate) fn part(&self, name: &str) -> Result<Option<Self>, Error> {
        match self.map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => {
                let within = format!("{}{name}.", self.within);
                Ok(Some(Self { map: map.clone(), path: self.path, within }))
            }
            Some(_) => Err(self.wrong(name, "an object")),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.path
    }

    /// The field `name`, or the part of a field, as `field.part`.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.map.get(name).or_else(|| {
            let (outer, inner) = name.split_once('.')?;
            self.map.get(outer)?.get(inner)
        })
    }

    pub(crate) fn missing(&self, field: &str) -> Error {
        Error::MissingField { path: self.path.to_owned(), field: self.full(field) }
    }

    fn full(&self, field: &str) -> String {
        format!("{}{field}", self.within)
    }

    pub(crate) fn wrong(&self, field: &str, expected: &str) -> Error {
        let mut found = self.get(field).unwrap_or(&Value::Null).to_string();
        if found.chars().count() > 60 {
            found = found.chars().take(60).chain("…".chars()).collect();
        }
        let (path, field) = (self.path.to_owned(), self.full(field));
        Error::Field { path, field, found, expected: expected.to_owned() }
    }

    /// An error if the field is there and `good` says no.
    pub(crate) fn refuse_unless(
        &self,
        field: &str,
        good: impl Fn(&Value) -> bool,
        expected: &str,
    ) -> Result<(), Error> {
        match self.get(field) {
            Some(value) if !value.is_null() && !good(value) => Err(self.wrong(field, expected)),
            _ => Ok(()),
        }
    }

    /// An error if there is a field that is none of `names`: one that nobody reads is a mistake in a
    /// file of ours.
    pub(crate) fn only(&self, names: &[&str]) -> Result<(), Error> {
        match self.map.keys().find(|key| !names.contains(&key.as_str())) {
            Some(key) => {
                Err(self.wrong(key, &format!("no such field; there are {}", names.join(", "))))
            }
            None => Ok(()),
        }
    }

    /// The value under any of `names`; all that are there must agree.
    fn one_of<T: PartialEq>(
        &self,
        names: &[&str],
        read: impl Fn(&Value) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>, Error> {
        let mut first: Option<(&str, T)> = None;
        for &name in names {
            let Some(value) = self.get(name).filter(|v| !v.is_null()) else { continue };
            let value = read(value).ok_or_else(|| self.wrong(name, expected))?;
            match &first {
                Some((other, known)) if *known != value => {
                    let expected = format!("the same as `{}`", self.full(other));
                    return Err(self.wrong(name, &expected));
                }
                _ => first = Some((name, value)),
            }
        }
        Ok(first.map(|(_, value)| value))
    }

    pub(crate) fn integer(
        &self,
        names: &[&str],
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Error> {
        let expected = format!("an integer from {} to {}", range.start(), range.end());
        self.one_of(names, |v| v.as_u64().filter(|v| range.contains(v)), &expected)
    }

    /// A size: from 1 to `max`.
    pub(crate) fn optional_size(&self, names: &[&str], max: u64) -> Result<Option<usize>, Error> {
        Ok(self.integer(names, 1..=max)?.map(|n| n as usize))
    }

    pub(crate) fn size(&self, names: &[&str], max: u64) -> Result<usize, Error> {
        self.optional_size(names, max)?.ok_or_else(|| self.missing(names[0]))
    }

    /// One of the words of `choices`, with what it means.
    pub(crate) fn choice<T: Copy + PartialEq>(
        &self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, Error> {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let read = |value: &Value| {
            let word = value.as_str()?;
            choices.iter().find(|(choice, _)| *choice == word).map(|(_, meaning)| *meaning)
        };
        self.one_of(&[name], read, &format!("one of {}", words.join(", ")))
    }

    pub(crate) fn number(
        &self,
        names: &[&str],
        range: RangeInclusive<f64>,
    ) -> Result<Option<f64>, Error> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        self.one_of(names, |v| v.as_f64().filter(|v| range.contains(v)), &expected)
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Error> {
        self.one_of(&[name], Value::as_bool, "true or false")
    }
}

/// Whether the `model_type` of a `config.json` is one of `names`; a text that is no JSON is of none.
pub(crate) fn is_of_type(config: &[u8], names: &[&str]) -> bool {
    let config = serde_json::from_slice::<Value>(config).ok();
    let kind = config.as_ref().and_then(|config| config.get("model_type")?.as_str());
    kind.is_some_and(|kind| names.contains(&kind))
}
