use super::*;
use serde_json::json;
use std::time::{Duration, Instant};

/// What becomes of a schema, within the time that is allowed.
fn outcome(schema: &Value) -> Result<Grammar, String> {
    let vocabulary = vocabulary(&byte_tokenizer());
    let start = Instant::now();
    let grammar = Grammar::new(&vocabulary, &of_schema(schema));
    // Twice the limit: the machine may be busy.
    assert!(start.elapsed() < 2 * COMPILE_TIME + Duration::from_secs(1), "{:?}", start.elapsed());
    grammar.map_err(|error| error.to_string())
}

/// A schema in lists within lists.
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!({"type": "integer"}), |inner, _| json!({"items": inner}))
}

#[test]
fn many_branches() {
    let branches: Vec<Value> = (0..10_000).map(|i| json!({"const": format!("v{i}")})).collect();
    outcome(&json!({"anyOf": branches})).unwrap();
    let branches: Vec<Value> = (0..10_000)
        .map(|i| json!({"type": "object", "properties": {format!("p{i}"): {"type": "integer"}}}))
        .collect();
    let _ = outcome(&json!({"anyOf": branches}));
    let values: Vec<String> = (0..10_000).map(|i| format!("v{i}")).collect();
    outcome(&json!({"enum": values})).unwrap();
}

#[test]
fn too_large_schemas_are_refused() {
    let error = outcome(&json!({"const": "x".repeat(300_000)})).unwrap_err();
    assert!(error.contains("bytes, expected 262144 at most"), "{error}");
    outcome(&nested(50)).unwrap();
    let error = outcome(&nested(70)).unwrap_err();
    assert!(error.contains("nested deeper than 64 levels"), "{error}");
    let branches: Vec<Value> = (0..200).map(|i| json!({"minimum": i})).collect();
    let any = json!({"anyOf": branches});
    let error = outcome(&json!({"allOf": [any, any, any]})).unwrap_err();
    assert!(error.contains("combinations of alternatives"), "{error}");
}

#[test]
fn patterns_that_explode() {
    for pattern in [
        "(a+)+$",
        "^(a|aa)+$",
        "^(([a-z])+.)+[A-Z]([a-z])+$",
        "(x+x+)+y",
        "(.*a){20}",
        "(a{0,100}){0,100}",
        "^(a?){60}a{60}$",
        "[^é]{1,3000}",
        "(((((a{10}){10}){10}){10}){10}){10}",
    ] {
        let _ = outcome(&json!({"type": "string", "pattern": pattern}));
    }
    outcome(&json!({"type": "string", "pattern": "(a+)+$"})).unwrap();
    outcome(&json!({"type": "string", "minLength": 1000, "maxLength": 60_000})).unwrap();
}

#[test]
fn references_come_to_an_end() {
    // Two hundred definitions, each of which holds all the others.
    let names: Vec<String> = (0..200).map(|i| format!("d{i}")).collect();
    let all: Vec<Value> = names.iter().map(|n| json!({"$ref": format!("#/$defs/{n}")})).collect();
    let definition = json!({"type": "array", "items": {"anyOf": all}});
    let definitions: serde_json::Map<String, Value> =
        names.iter().map(|name| (name.clone(), definition.clone())).collect();
    let _ = outcome(&json!({"$defs": definitions, "$ref": "#/$defs/d0"}));
    // A conjunction of a list with itself, all the way down.
    let twice = json!({"$defs": {"a": {"type": "array", "items": {"allOf": [
        {"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]}},
        "b": {"type": "array", "items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"});
    let _ = outcome(&twice);
    // A chain as long as a schema can be.
    let chain: serde_json::Map<String, Value> = (0..4000)
        .map(|i| (format!("c{i}"), json!({"$ref": format!("#/$defs/c{}", i + 1)})))
        .chain([("c4000".to_owned(), json!({"type": "integer"}))])
        .collect();
    let _ = outcome(&json!({"$defs": chain, "$ref": "#/$defs/c0"}));
}
