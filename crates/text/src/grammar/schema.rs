//! JSON schemas as users write them made into what the library enforces completely.
//!
//! The library passes over words that it does not know, resolves few references, and has options
//! that a schema may set. So each schema is read here first: words of the standard (any draft from
//! 4 to 2020-12) that would not be enforced are refused by name, words of no standard are left out
//! as the standard demands, and references are brought into one form.

mod finite;
mod pattern;

use super::format::{self, Format};
use crate::Error;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Most bytes of a schema.
pub(super) const MAX_BYTES: usize = 256 << 10;
/// Deepest nesting of a schema's JSON.
const MAX_DEPTH: usize = 64;
/// Largest magnitude of numbers, 2^53: above it not all integers are f64.
const MAX_NUMBER: f64 = 9_007_199_254_740_992.0;
/// Largest multiple where a schema has no bound: who reads it as f64 still sees a multiple.
const MAX_MULTIPLE: f64 = 1e15;
/// Most schemas in a `oneOf`, which are compared pairwise.
const MAX_ONE_OF: usize = 512;
/// Most combinations of alternatives that one schema may demand at once.
const MAX_COMBINATIONS: usize = 20_000;
/// Longest string or array that a bound may ask for; it costs a state for each.
const MAX_LENGTH: u64 = 65_536;

/// Dialects by the ends of their names.
const DIALECTS: [&str; 5] = [
    "json-schema.org/draft/2020-12/schema",
    "json-schema.org/draft/2019-09/schema",
    "json-schema.org/draft-07/schema",
    "json-schema.org/draft-06/schema",
    "json-schema.org/draft-04/schema",
];

/// Words that say something of instances and are not enforced.
const UNSUPPORTED: [&str; 20] = [
    "not",
    "if",
    "then",
    "else",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "propertyNames",
    "contains",
    "minContains",
    "maxContains",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$recursiveRef",
    "extends",
    "disallow",
    "divisibleBy",
    "$recursiveAnchor",
    "$vocabulary",
];

/// Makes `schema` ready for the library.
///
/// # Errors
///
/// If it is too large, no schema, has words that are not enforced, or has no finite instance.
pub(super) fn prepare(schema: &Value) -> Result<Value, Error> {
    let bytes = schema.to_string().len();
    if bytes > MAX_BYTES {
        return Err(whole(format!("has {bytes} bytes, expected {MAX_BYTES} at most")));
    }
    if depth(schema, MAX_DEPTH) > MAX_DEPTH {
        return Err(whole(format!("is nested deeper than {MAX_DEPTH} levels")));
    }
    let mut reader = Reader { root: schema, names: HashMap::new(), waiting: Vec::new() };
    let mut ready = reader.schema(schema, "#")?;
    let mut definitions = Map::new();
    while let Some((pointer, name)) = reader.waiting.pop() {
        let target = reader.target(&pointer)?;
        let definition = reader.schema(target, &pointer)?;
        definitions.insert(name, definition);
    }
    finite::check(&ready, &definitions)?;
    if let (Value::Object(root), false) = (&mut ready, definitions.is_empty()) {
        root.insert("$defs".to_owned(), Value::Object(definitions));
    }
    Ok(ready)
}

/// How deep `value` is nested, as far as `most + 1`.
fn depth(value: &Value, most: usize) -> usize {
    let deepest = match (value, most) {
        (_, 0) => return 1,
        (Value::Array(items), _) => items.iter().map(|v| depth(v, most - 1)).max(),
        (Value::Object(map), _) => map.values().map(|v| depth(v, most - 1)).max(),
        _ => return 0,
    };
    1 + deepest.unwrap_or(0)
}

fn whole(reason: String) -> Error {
    Error::Schema { keyword: None, reason }
}

fn wrong(keyword: &str, at: &str, reason: impl std::fmt::Display) -> Error {
    let reason = format!("at `{at}` {reason}");
    Error::Schema { keyword: Some(keyword.to_owned()), reason }
}

struct Reader<'a> {
    root: &'a Value,
    /// Names of the new definitions by the pointers of the old.
    names: HashMap<String, String>,
    /// Those that are not yet read.
    waiting: Vec<(String, String)>,
}

impl<'a> Reader<'a> {
    /// The schema `schema` that stands at `at`.
    fn schema(&mut self, schema: &Value, at: &str) -> Result<Value, Error> {
        let map = match schema {
            Value::Bool(true) => return Ok(json!({})),
            Value::Bool(false) => return Ok(Value::Bool(false)),
            Value::Object(map) => map,
            _ => return Err(whole(format!("at `{at}` is neither an object nor a boolean"))),
        };
        let mut out = Map::new();
        let mut all_of: Vec<Value> = Vec::new();
        for (key, value) in map {
            let found = |expected: &str| wrong(key, at, format!("has no {expected}"));
            let inner = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
            let ready = match &key[..] {
                "type" => types(value).ok_or_else(|| found("known type"))?,
                "enum" => {
                    let list = value.as_array().filter(|list| !list.is_empty());
                    list.ok_or_else(|| found("list of values"))?.iter().try_for_each(|value| {
                        constant(value).map_err(|reason| wrong(key, at, reason))
                    })?;
                    value.clone()
                }
                "const" => {
                    constant(value).map_err(|reason| wrong(key, at, reason))?;
                    value.clone()
                }
                "properties" | "patternProperties" => {
                    let map = value.as_object().ok_or_else(|| found("object"))?;
                    let name = |name: &str| match &key[..] {
                        "properties" => Ok(name.to_owned()),
                        _ => pattern::translated(name).map_err(|reason| wrong(key, at, reason)),
                    };
                    let schemas = map.iter().map(|(word, value)| {
                        Ok((name(word)?, self.schema(value, &format!("{inner}/{word}"))?))
                    });
                    Value::Object(schemas.collect::<Result<_, Error>>()?)
                }
                "items" if value.is_array() => {
                    self.list(value, &inner).ok_or_else(|| found(""))??
                }
                "items" | "additionalItems" | "additionalProperties" => {
                    self.schema(value, &inner)?
                }
                "prefixItems" | "anyOf" | "oneOf" | "allOf" => {
                    self.list(value, &inner).ok_or_else(|| found("list of schemas"))??
                }
                "$ref" => {
                    let target = value.as_str().ok_or_else(|| found("string"))?;
                    Value::String(self.reference(target, at)?)
                }
                "required" => {
                    let list = value.as_array().ok_or_else(|| found("list of names"))?;
                    if !list.iter().all(Value::is_string) {
                        return Err(found("list of names"));
                    }
                    value.clone()
                }
                "minimum" | "maximum" => number(value).ok_or_else(|| {
                    wrong(key, at, format!("is {value}, expected a number within ±2^53"))
                })?,
                "exclusiveMinimum" | "exclusiveMaximum" if value.is_boolean() => value.clone(),
                "exclusiveMinimum" | "exclusiveMaximum" => number(value).ok_or_else(|| {
                    wrong(key, at, format!("is {value}, expected a number within ±2^53"))
                })?,
                "multipleOf" => match number(value) {
                    Some(number) if number.as_f64() > Some(0.0) => number,
                    _ => return Err(wrong(key, at, format!("is {value}, expected more than 0"))),
                },
                "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties"
                | "maxProperties" => count(value).ok_or_else(|| {
                    let expected = format!("expected an integer from 0 to {MAX_LENGTH}");
                    wrong(key, at, format!("is {value}, {expected}"))
                })?,
                "pattern" => {
                    let pattern = value.as_str().ok_or_else(|| found("string"))?;
                    let pattern = pattern::translated(pattern);
                    Value::String(pattern.map_err(|reason| wrong(key, at, reason))?)
                }
                "format" => {
                    let name = value.as_str().ok_or_else(|| found("string"))?;
                    match format::lookup(name) {
                        Some(Format::Library) => value.clone(),
                        Some(Format::Pattern(pattern)) => {
                            all_of.push(json!({"type": "string", "pattern": pattern}));
                            continue;
                        }
                        None => {
                            let names = format::NAMES;
                            return Err(wrong(key, at, format!("is `{name}`, expected {names}")));
                        }
                    }
                }
                "uniqueItems" if value == &Value::Bool(false) => continue,
                "uniqueItems" => return Err(wrong(key, at, "is not supported")),
                "$id" | "id" if at != "#" && value.is_string() && map.contains_key("$ref") => {
                    return Err(wrong(key, at, "is supported at the root only"));
                }
                "$id" if at != "#" => {
                    return Err(wrong(key, at, "is supported at the root only"));
                }
                "$schema" => {
                    let dialect = value.as_str().ok_or_else(|| found("string"))?;
                    let dialect = dialect.trim_end_matches('#');
                    if !DIALECTS.iter().any(|known| dialect.ends_with(known)) {
                        return Err(wrong(key, at, format!("is {value}, a dialect not known")));
                    }
                    continue;
                }
                word if UNSUPPORTED.contains(&word) => {
                    return Err(wrong(key, at, "is not supported"));
                }
                // Annotations, definitions (read where they are used), and words of no standard.
                _ => continue,
            };
            out.insert(key.clone(), ready);
        }
        if !all_of.is_empty() {
            add_formats(&mut out, all_of);
        }
        check_together(&out, at)?;
        if out.contains_key("multipleOf") {
            for (bound, other, sign) in
                [("minimum", "exclusiveMinimum", -1.0), ("maximum", "exclusiveMaximum", 1.0)]
            {
                if !out.contains_key(bound) && !out.contains_key(other) {
                    out.insert(bound.to_owned(), json!(sign * MAX_MULTIPLE));
                }
            }
        }
        // The library reads words in their order and takes those before and after an alternative
        // apart, though `additionalProperties` speaks of its neighbours.
        let in_place =
            |key: &str| matches!(key, "const" | "enum" | "allOf" | "anyOf" | "oneOf" | "$ref");
        let (last, first): (Map<_, _>, Map<_, _>) =
            out.into_iter().partition(|(key, _)| in_place(key));
        Ok(Value::Object(first.into_iter().chain(last).collect()))
    }

    fn list(&mut self, value: &Value, at: &str) -> Option<Result<Value, Error>> {
        let list = value.as_array().filter(|list| !list.is_empty())?;
        let schemas = list.iter().enumerate();
        let schemas = schemas.map(|(i, value)| self.schema(value, &format!("{at}/{i}")));
        Some(schemas.collect::<Result<Vec<_>, _>>().map(Value::Array))
    }

    /// The new form of the reference `target`.
    fn reference(&mut self, target: &str, at: &str) -> Result<String, Error> {
        if target == "#" {
            return Ok(target.to_owned());
        }
        let pointer = percent_decoded(target).filter(|pointer| pointer.starts_with("#/"));
        let Some(pointer) = pointer else {
            let reason = format!("is `{target}`, expected a place in the schema, as `#/$defs/x`");
            return Err(wrong("$ref", at, reason));
        };
        if self.target(&pointer).is_err() {
            return Err(wrong("$ref", at, format!("is `{target}`, which is not there")));
        }
        let next = format!("d{}", self.names.len());
        let name = self.names.entry(pointer.clone()).or_insert_with(|| {
            self.waiting.push((pointer, next.clone()));
            next
        });
        Ok(format!("#/$defs/{name}"))
    }

    fn target(&self, pointer: &str) -> Result<&'a Value, Error> {
        let target = pointer.strip_prefix('#').and_then(|path| self.root.pointer(path));
        target.ok_or_else(|| whole(format!("has nothing at `{pointer}`")))
    }
}

/// A format is a pattern on strings; other types may have any value.
fn add_formats(out: &mut Map<String, Value>, patterns: Vec<Value>) {
    // Where strings are the only type, a bare pattern saves the library a union.
    let only_strings = out.get("type") == Some(&json!("string"));
    let patterns = patterns.into_iter().map(|pattern| match only_strings {
        true => pattern,
        false => json!({"pattern": pattern["pattern"]}),
    });
    match out.get_mut("allOf") {
        Some(Value::Array(list)) => list.extend(patterns),
        _ => {
            out.insert("allOf".to_owned(), patterns.collect());
        }
    }
}

/// What words mean beside each other.
fn check_together(out: &Map<String, Value>, at: &str) -> Result<(), Error> {
    if out.contains_key("additionalItems") && !out.get("items").is_some_and(Value::is_array) {
        let reason = "is supported beside an array of `items` only";
        return Err(wrong("additionalItems", at, reason));
    }
    if out.contains_key("prefixItems") && out.get("items").is_some_and(Value::is_array) {
        return Err(wrong("items", at, "is an array beside `prefixItems`"));
    }
    // The library does not see whether a name that a schema does not list was there before.
    let least = out.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
    let required = out.get("required").and_then(Value::as_array).map_or(0, Vec::len);
    let closed = out.get("additionalProperties") == Some(&Value::Bool(false))
        && !out.contains_key("patternProperties");
    if least > required as u64 && !closed {
        let reason = "is supported with `additionalProperties` false and no `patternProperties`";
        return Err(wrong("minProperties", at, reason));
    }
    let count = |key: &str| out.get(key).and_then(Value::as_array).map_or(1, Vec::len);
    if count("oneOf") > MAX_ONE_OF {
        let reason = format!("has {} schemas, expected {MAX_ONE_OF} at most", count("oneOf"));
        return Err(wrong("oneOf", at, reason));
    }
    let members = out.get("allOf").and_then(Value::as_array);
    let inner = members.into_iter().flatten().map(combinations);
    let own = ["anyOf", "oneOf", "enum"].into_iter().map(count);
    let all = own.chain(inner).fold(1_usize, usize::saturating_mul);
    if all > MAX_COMBINATIONS {
        let reason = format!("has {all} combinations of alternatives, expected {MAX_COMBINATIONS}");
        return Err(wrong(if members.is_some() { "allOf" } else { "anyOf" }, at, reason));
    }
    Ok(())
}

/// Alternatives that a schema has in place.
fn combinations(schema: &Value) -> usize {
    let list = |key: &str| schema.get(key).and_then(Value::as_array);
    let sum = |key: &str| {
        list(key).map_or(1, |list| list.iter().map(combinations).fold(0, usize::saturating_add))
    };
    let product = list("allOf").into_iter().flatten().map(combinations);
    let own = [sum("anyOf"), sum("oneOf"), list("enum").map_or(1, Vec::len)];
    own.into_iter().chain(product).fold(1, usize::saturating_mul)
}

fn types(value: &Value) -> Option<Value> {
    const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];
    let known = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    let fine = match value {
        Value::Array(list) => !list.is_empty() && list.iter().all(known),
        value => known(value),
    };
    fine.then(|| value.clone())
}

/// Whether each number of `value` can be written exactly.
fn constant(value: &Value) -> Result<(), String> {
    match value {
        Value::Number(_) if number(value).is_none() => {
            Err(format!("is {value}, expected numbers within ±2^53"))
        }
        Value::Array(list) => list.iter().try_for_each(constant),
        Value::Object(map) => map.values().try_for_each(constant),
        _ => Ok(()),
    }
}

fn number(value: &Value) -> Option<Value> {
    let fits = match value.as_i64() {
        // As an integer: the next one would round to the limit.
        Some(integer) => integer.unsigned_abs() <= MAX_NUMBER as u64,
        None => value.as_f64()?.abs() <= MAX_NUMBER,
    };
    fits.then(|| value.clone())
}

/// A count; drafts since 6 allow `2.0`.
fn count(value: &Value) -> Option<Value> {
    let float = value.as_f64()?;
    let count = value
        .as_u64()
        .or_else(|| (float >= 0.0 && float.fract() == 0.0).then_some(float as u64))?;
    (count <= MAX_LENGTH).then(|| Value::from(count))
}

/// `text` with `%41` as `A`, as fragments of addresses are written.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let hex = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}
