//! Schemas put together at random of the standard's words: each is enforced completely or refused by
//! name.

use super::*;
use serde_json::json;

const PATTERNS: [&str; 5] = ["^[ab]{1,3}$", "^a+b$", "^(x|yz)*1$", "z$", "(?=a)b"];
const FORMATS: [&str; 5] = ["date", "uuid", "ipv4", "email", "idn-email"];
/// Words that are not enforced, with something that they may say.
const OTHERS: [(&str, &str); 7] = [
    ("not", r#"{"type": "null"}"#),
    ("if", r#"{"minLength": 2}"#),
    ("propertyNames", r#"{"maxLength": 3}"#),
    ("contains", r#"{"type": "integer"}"#),
    ("uniqueItems", "true"),
    ("dependentRequired", r#"{"a": ["b"]}"#),
    ("unevaluatedProperties", "false"),
];

impl Random {
    fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

fn value(random: &mut Random) -> Value {
    match random.below(6) {
        0 => Value::Null,
        1 => json!(random.chance(2)),
        2 => json!(random.below(2000) as i64 - 1000),
        3 => json!(random.below(1000) as f64 / 8.0),
        4 => json!(["", "a", "b c", "é\n\"", "🦀"][random.below(5)]),
        _ => json!([1, {"a": []}]),
    }
}

/// A schema nested `depth` deep at most.
fn schema(random: &mut Random, depth: usize) -> Value {
    let mut schema = match random.below(if depth == 0 { 6 } else { 11 }) {
        0 => bounded(random, "integer"),
        1 => bounded(random, "number"),
        2 => {
            let least = random.below(4);
            json!({"type": "string", "minLength": least, "maxLength": least + random.below(5)})
        }
        3 if random.chance(2) => json!({"type": "string", "pattern": PATTERNS[random.below(5)]}),
        3 => json!({"type": "string", "format": FORMATS[random.below(5)]}),
        4 => {
            let values: Vec<Value> = (0..1 + random.below(4)).map(|_| value(random)).collect();
            if random.chance(3) { json!({"const": values[0]}) } else { json!({"enum": values}) }
        }
        5 => json!({"type": [["null", "boolean"], ["boolean", "integer"]][random.below(2)]}),
        6 => {
            let (items, least) = (self::schema(random, depth - 1), random.below(3));
            json!({"type": "array", "items": items, "minItems": least, "maxItems": least + random.below(3)})
        }
        7 => {
            let first: Vec<Value> =
                (0..1 + random.below(2)).map(|_| self::schema(random, depth - 1)).collect();
            json!({"type": "array", "prefixItems": first, "items": false, "minItems": first.len()})
        }
        8 => object(random, depth - 1),
        9 => {
            let word = ["anyOf", "oneOf"][random.below(2)];
            let each: Vec<Value> =
                (0..2 + random.below(2)).map(|_| self::schema(random, depth - 1)).collect();
            json!({word: each})
        }
        _ => json!({"allOf": [self::schema(random, depth - 1), bounded(random, "number")]}),
    };
    if random.chance(30) {
        let (word, says) = OTHERS[random.below(OTHERS.len())];
        schema[word] = serde_json::from_str(says).unwrap();
    }
    schema
}

fn bounded(random: &mut Random, kind: &str) -> Value {
    let least = random.below(200) as i64 - 100;
    let mut schema = json!({"type": kind});
    if random.chance(2) {
        schema[["minimum", "exclusiveMinimum"][random.below(2)]] = json!(least);
    }
    if random.chance(2) {
        let most = least + random.below(300) as i64 - 10;
        schema[["maximum", "exclusiveMaximum"][random.below(2)]] = json!(most);
    }
    if random.chance(4) {
        schema["multipleOf"] = json!(1 + random.below(7));
    }
    schema
}

fn object(random: &mut Random, depth: usize) -> Value {
    let names = &["a", "b", "long name", "é"][..random.below(5)];
    let properties: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), schema(random, depth))).collect();
    let required: Vec<&str> = names.iter().copied().filter(|_| random.chance(2)).collect();
    let mut object = json!({"type": "object", "properties": properties, "required": required});
    match random.below(4) {
        0 => {}
        1 => object["additionalProperties"] = schema(random, 0),
        _ => object["additionalProperties"] = json!(false),
    }
    object
}

#[test]
fn random_schemas_are_enforced_or_refused() {
    let (schemas, walks) =
        if std::env::var_os("RUN_SLOW_TESTS").is_some() { (500, 8) } else { (60, 2) };
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let tokenizers = [byte_tokenizer(), merged_tokenizer()];
    let vocabularies = tokenizers.each_ref().map(vocabulary);
    let mut counts = [0; 2];
    for i in 0..schemas {
        let schema = schema(&mut random, i % 4);
        let vocabulary = &vocabularies[i % 2];
        let grammar = match Grammar::new(vocabulary, &of_schema(&schema)) {
            Ok(grammar) => grammar,
            Err(Error::Schema { keyword, reason }) => {
                let word = |word: String| schema.to_string().contains(&format!("\"{word}\""));
                assert!(keyword.is_none_or(word), "{schema}: {reason}");
                counts[1] += 1;
                continue;
            }
            Err(error) => panic!("{schema}: {error}"),
        };
        counts[0] += 1;
        let options = jsonschema::options().should_validate_formats(true);
        let validator = options.build(&schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
        for _ in 0..walks {
            let text = walk(grammar.clone(), vocabulary, &mut random);
            let value: Value = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{schema} gave `{text}`: {error}"));
            assert!(validator.is_valid(&value), "{schema} gave `{text}`");
        }
    }
    let [enforced, refused] = counts;
    assert!(3 * enforced > schemas && refused > 0, "{enforced} enforced, {refused} refused");
    eprintln!("{enforced} enforced, {refused} refused");
}
