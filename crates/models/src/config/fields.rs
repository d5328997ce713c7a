//! Fields of a JSON object that may have several names, each checked, each error with its name.

use crate::Error;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;
use std::path::Path;

pub(super) struct Fields<'a> {
    map: Map<String, Value>,
    path: &'a Path,
}

impl<'a> Fields<'a> {
    pub(super) fn parse(text: &[u8], path: &'a Path) -> Result<Self, Error> {
        let json = |reason: String| Error::Json { path: path.to_owned(), reason };
        match serde_json::from_slice(text).map_err(|error| json(error.to_string()))? {
            Value::Object(map) => Ok(Self::new(map, path)),
            _ => Err(json("it is not an object".to_owned())),
        }
    }

    pub(super) fn new(map: Map<String, Value>, path: &'a Path) -> Self {
        Self { map, path }
    }

    pub(super) fn path(&self) -> &Path {
        self.path
    }

    /// The field `name`, or the part of a field, as `field.part`.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.map.get(name).or_else(|| {
            let (outer, inner) = name.split_once('.')?;
            self.map.get(outer)?.get(inner)
        })
    }

    pub(super) fn missing(&self, field: &'static str) -> Error {
        Error::MissingField { path: self.path.to_owned(), field }
    }

    pub(super) fn wrong(&self, field: &str, expected: &str) -> Error {
        let mut found = self.get(field).unwrap_or(&Value::Null).to_string();
        if found.chars().count() > 60 {
            found = found.chars().take(60).chain("…".chars()).collect();
        }
        let (path, field) = (self.path.to_owned(), field.to_owned());
        Error::Field { path, field, found, expected: expected.to_owned() }
    }

    /// An error if the field is there and `good` says no.
    pub(super) fn refuse_unless(
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
                    let expected = format!("the same as `{other}`");
                    return Err(self.wrong(name, &expected));
                }
                _ => first = Some((name, value)),
            }
        }
        Ok(first.map(|(_, value)| value))
    }

    pub(super) fn integer(
        &self,
        names: &[&str],
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Error> {
        let expected = format!("an integer from {} to {}", range.start(), range.end());
        self.one_of(names, |v| v.as_u64().filter(|v| range.contains(v)), &expected)
    }

    /// A size: from 1 to `max`.
    pub(super) fn optional_size(&self, names: &[&str], max: u64) -> Result<Option<usize>, Error> {
        Ok(self.integer(names, 1..=max)?.map(|n| n as usize))
    }

    pub(super) fn size(&self, names: &[&'static str], max: u64) -> Result<usize, Error> {
        self.optional_size(names, max)?.ok_or_else(|| self.missing(names[0]))
    }

    pub(super) fn number(
        &self,
        names: &[&str],
        range: RangeInclusive<f64>,
    ) -> Result<Option<f64>, Error> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        self.one_of(names, |v| v.as_f64().filter(|v| range.contains(v)), &expected)
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Error> {
        self.one_of(&[name], Value::as_bool, "true or false")
    }
}
