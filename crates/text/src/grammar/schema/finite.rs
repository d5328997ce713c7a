//! Whether references come to an end: a schema that is itself in place says nothing, and one whose
//! every instance holds another has none that is finite.

use super::{whole, wrong};
use crate::Error;
use serde_json::{Map, Value};
use std::collections::HashMap;

const ROOT: &str = "#";
const DEFINITIONS: &str = "#/$defs/";

/// Checks the prepared schema `root` and what it refers to.
pub(super) fn check(root: &Value, definitions: &Map<String, Value>) -> Result<(), Error> {
    let all = || {
        let definitions =
            definitions.iter().map(|(name, schema)| (format!("{DEFINITIONS}{name}"), schema));
        std::iter::once((ROOT.to_owned(), root)).chain(definitions)
    };
    let places: HashMap<String, Vec<&str>> = all()
        .map(|(name, schema)| {
            let mut places = Vec::new();
            in_place(schema, &mut places);
            (name, places)
        })
        .collect();
    let mut done = HashMap::new();
    for name in places.keys() {
        if circular(name, &places, &mut done) {
            return Err(wrong("$ref", "#", "leads back to itself with nothing between"));
        }
    }
    // The least set of schemas that have a finite instance, grown until it stays: each is looked at
    // again when one that it refers to has joined.
    let schemas: HashMap<String, &Value> = all().collect();
    let mut finite: HashMap<String, bool> = all().map(|(name, _)| (name, false)).collect();
    let mut users: HashMap<&str, Vec<&str>> = HashMap::new();
    for (name, schema) in &schemas {
        let mut targets = Vec::new();
        references(schema, &mut targets);
        targets.sort_unstable();
        targets.dedup();
        targets.into_iter().for_each(|target| users.entry(target).or_default().push(name));
    }
    let mut waiting: Vec<&str> = schemas.keys().map(String::as_str).collect();
    while let Some(name) = waiting.pop() {
        if !finite[name] && is_finite(schemas[name], &finite) {
            finite.insert(name.to_owned(), true);
            waiting.extend(users.get(name).into_iter().flatten());
        }
    }
    match finite[ROOT] {
        true => Ok(()),
        false => Err(whole("allows no finite value".to_owned())),
    }
}

/// All references in `schema`.
fn references<'a>(schema: &'a Value, out: &mut Vec<&'a str>) {
    match schema {
        Value::Object(map) => map.iter().for_each(|(key, value)| match value.as_str() {
            Some(target) if key == "$ref" => out.push(target),
            _ => references(value, out),
        }),
        Value::Array(list) => list.iter().for_each(|value| references(value, out)),
        _ => {}
    }
}

/// References that apply to the same value as `schema`.
fn in_place<'a>(schema: &'a Value, out: &mut Vec<&'a str>) {
    out.extend(schema.get("$ref").and_then(Value::as_str));
    for key in ["allOf", "anyOf", "oneOf"] {
        for inner in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
            in_place(inner, out);
        }
    }
}

/// Whether a walk along `places` from `name` comes back. `done`: under way, or found free of rings.
fn circular<'a>(
    name: &'a str,
    places: &'a HashMap<String, Vec<&'a str>>,
    done: &mut HashMap<&'a str, bool>,
) -> bool {
    // A stack of its own: a chain of references may be as long as a schema.
    let mut stack = vec![(name, 0)];
    if done.contains_key(name) {
        return false;
    }
    done.insert(name, false);
    while let Some((name, next)) = stack.pop() {
        let Some(&target) = places.get(name).and_then(|targets| targets.get(next)) else {
            done.insert(name, true);
            continue;
        };
        stack.push((name, next + 1));
        match done.get(target) {
            Some(true) => {}
            Some(false) => return true,
            None => {
                done.insert(target, false);
                stack.push((target, 0));
            }
        }
    }
    false
}

/// Whether `schema` may have a finite instance, if of all references those in `finite` have one.
/// It knows words only as far as they force values into one another.
fn is_finite(schema: &Value, finite: &HashMap<String, bool>) -> bool {
    let Value::Object(map) = schema else { return schema != &Value::Bool(false) };
    let list = |key: &str| map.get(key).and_then(Value::as_array);
    let holds = |schema: &Value| is_finite(schema, finite);
    let reference = map.get("$ref").and_then(Value::as_str);
    if reference.is_some_and(|name| !finite.get(name).copied().unwrap_or(false)) {
        return false;
    }
    if list("allOf").is_some_and(|list| !list.iter().all(holds)) {
        return false;
    }
    for key in ["anyOf", "oneOf"] {
        if list(key).is_some_and(|list| !list.iter().any(holds)) {
            return false;
        }
    }
    let may_be = |name: &str| match map.get("type") {
        None => true,
        Some(Value::Array(types)) => types.iter().any(|kind| kind == name),
        Some(kind) => kind == name,
    };
    if ["null", "boolean", "integer", "number", "string"].into_iter().any(may_be) {
        return true;
    }
    may_be("object") && object_is_finite(map, &holds)
        || may_be("array") && array_is_finite(map, &holds)
}

fn object_is_finite(map: &Map<String, Value>, holds: &impl Fn(&Value) -> bool) -> bool {
    let property = |name: &str| map.get("properties").and_then(|properties| properties.get(name));
    let required = map.get("required").and_then(Value::as_array).into_iter().flatten();
    required.filter_map(Value::as_str).all(|name| property(name).is_none_or(holds))
}

fn array_is_finite(map: &Map<String, Value>, holds: &impl Fn(&Value) -> bool) -> bool {
    let least = map.get("minItems").and_then(Value::as_u64).unwrap_or(0) as usize;
    let prefix = map.get("prefixItems").or(map.get("items")).and_then(Value::as_array);
    let prefix = prefix.map_or(&[][..], Vec::as_slice);
    let rest = map.get("additionalItems").or(map.get("items")).filter(|rest| !rest.is_array());
    prefix.iter().take(least).all(holds) && (least <= prefix.len() || rest.is_none_or(holds))
}
