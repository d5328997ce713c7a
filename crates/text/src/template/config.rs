//! The parts of a `tokenizer_config.json` that chat templates need.

use crate::Error;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// Special tokens that templates may name.
const SPECIAL_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// What was found.
pub(super) struct Config {
    /// Templates by name, if there are any; an only one is `default`.
    pub(super) templates: Option<BTreeMap<String, String>>,
    /// Special tokens by name.
    pub(super) special_tokens: BTreeMap<String, String>,
}

impl Config {
    pub(super) fn parse(text: &[u8], path: &Path) -> Result<Self, Error> {
        let json = |reason: String| Error::Json { path: path.to_owned(), reason };
        let map: Map<String, Value> = match serde_json::from_slice(text) {
            Ok(Value::Object(map)) => map,
            Ok(_) => return Err(json("it is not an object".to_owned())),
            Err(error) => return Err(json(error.to_string())),
        };
        let field = |name: &str| map.get(name).filter(|value| !value.is_null());
        let wrong = |field: &str, found: &Value, expected| {
            let mut found = found.to_string();
            if found.chars().count() > 60 {
                found = found.chars().take(60).chain("…".chars()).collect();
            }
            Error::Field { path: path.to_owned(), field: field.to_owned(), found, expected }
        };
        let mut special_tokens = BTreeMap::new();
        for name in SPECIAL_TOKENS {
            let Some(value) = field(name) else { continue };
            let Some(token) = value.as_str().or_else(|| value.get("content")?.as_str()) else {
                return Err(wrong(name, value, "a string, an object with `content`, or null"));
            };
            special_tokens.insert(name.to_owned(), token.to_owned());
        }
        let templates = match field("chat_template") {
            None => None,
            Some(value) => Some(templates(value).ok_or_else(|| {
                wrong("chat_template", value, "a string or a list of `name` with `template`")
            })?),
        };
        Ok(Self { templates, special_tokens })
    }
}

/// One template, or a list of them with names; the last of several of one name counts.
fn templates(value: &Value) -> Option<BTreeMap<String, String>> {
    let named = |value: &Value| {
        Some((value.get("name")?.as_str()?.to_owned(), value.get("template")?.as_str()?.to_owned()))
    };
    match value {
        Value::String(template) => {
            Some(BTreeMap::from([(super::DEFAULT.to_owned(), template.clone())]))
        }
        Value::Array(list) if !list.is_empty() => list.iter().map(named).collect(),
        _ => None,
    }
}
