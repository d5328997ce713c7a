//! How long it takes to say which of 200 000 tokens may come next: `cargo run --release -p text
//! --example mask_times`. For each schema, answers drawn at random from what is allowed.

use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use text::grammar::{Form, Rules};
use text::{Grammar, Tokenizer, Vocabulary};

/// Tokens, as many as MiniMax-01 has.
const TOKENS: usize = 200_064;
/// Most tokens of an answer, and answers to each schema.
const STEPS: usize = 300;
const ANSWERS: u64 = 20;

#[expect(clippy::print_stdout, reason = "an example that shows a table")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tokenizer = Tokenizer::from_json(tokenizer().to_string().as_bytes(), Path::new("t.json"))?;
    let end = 0;
    let start = Instant::now();
    let vocabulary = Vocabulary::new(&tokenizer, &[end])?;
    println!("{} tokens, ready after {:.2?}", vocabulary.num_ids(), start.elapsed());
    println!("| answers | masks | grammar | p50 | p99 | longest |\n|---|---|---|---|---|---|");
    for (name, schema) in schemas() {
        let start = Instant::now();
        let form = schema.as_ref().map_or(Form::Json, Form::Schema);
        let grammar = Grammar::new(&vocabulary, &Rules { form, reasoning: None })?;
        let made = start.elapsed();
        let mut times = Vec::new();
        for seed in 1..=ANSWERS {
            answer(&mut grammar.clone(), end, seed, &mut times)?;
        }
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let [p50, p99, most] = [0.5, 0.99, 1.0].map(at);
        println!("| {name} | {} | {made:.2?} | {p50:.2?} | {p99:.2?} | {most:.2?} |", times.len());
    }
    Ok(())
}

/// Writes an answer, each token any of those that are allowed, and adds the times of the masks.
fn answer(
    grammar: &mut Grammar,
    end: u32,
    seed: u64,
    times: &mut Vec<Duration>,
) -> Result<(), text::Error> {
    let mut random = seed;
    for _ in 0..STEPS {
        let mut logits = vec![0.0; TOKENS];
        let start = Instant::now();
        grammar.mask(&mut logits);
        times.push(start.elapsed());
        let allowed: Vec<u32> =
            (0..TOKENS as u32).filter(|&id| logits[id as usize] == 0.0).collect();
        // Knuth's linear congruential generator; its high bits are the good ones.
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = allowed[(random >> 33) as usize % allowed.len()];
        if id == end {
            break;
        }
        grammar.push(id)?;
    }
    Ok(())
}

/// A tokenizer of bytes, numbers, words with and without a space before them, and punctuation.
fn tokenizer() -> Value {
    // Bytes that cannot be printed are written as characters from U+0100 on, in order.
    let printed = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 0x100;
    let mut pieces: Vec<String> = Vec::new();
    for byte in 0..=255u8 {
        let code = if printed(byte) { u32::from(byte) } else { next };
        next += u32::from(!printed(byte));
        pieces.extend(char::from_u32(code).map(String::from));
    }
    let space = 'Ġ';
    pieces.extend((10..1000).map(|n: u32| n.to_string()));
    let marks = ["\"", ":", ",", "{", "}", "[", "]", "\\", "-", ".", "true", "false", "null"];
    let pairs = marks.iter().flat_map(|a| marks.map(|b| [*a, b]));
    pieces.extend(pairs.clone().map(|[a, b]| format!("{a}{b}")));
    pieces.extend(pairs.map(|[a, b]| format!("{a}{space}{b}")));
    let syllables = [
        "ka", "lo", "mi", "ten", "ra", "su", "ne", "vor", "pi", "ex", "st", "un", "ing", "al", "o",
    ];
    let mut words: Vec<String> = syllables.map(String::from).to_vec();
    for at in 0.. {
        if 2 * words.len() + pieces.len() > TOKENS + 1000 {
            break;
        }
        let word = words[at].clone();
        words.extend(syllables.map(|syllable| word.clone() + syllable));
    }
    pieces.extend(words.iter().flat_map(|word| [word.clone(), format!("{space}{word}")]));
    let mut vocab = serde_json::Map::from_iter([("<end>".to_owned(), json!(0))]);
    for piece in pieces {
        let id = vocab.len();
        if id == TOKENS {
            break;
        }
        vocab.entry(piece).or_insert(json!(id));
    }
    let special = json!({"id": 0, "content": "<end>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true});
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [special],
        "normalizer": null, "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    })
}

/// Forms that people ask for; none is any JSON object.
fn schemas() -> Vec<(&'static str, Option<Value>)> {
    let text = json!({"type": "string"});
    let person = json!({"type": "object", "additionalProperties": false,
        "required": ["name", "age", "mail"],
        "properties": {"name": text, "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "mail": {"type": "string", "format": "email"}, "tags": {"type": "array", "items": text}}});
    let wide: serde_json::Map<_, _> = (0..60)
        .map(|i| (format!("field_{i}"), json!({"type": ["string", "number", "null"]})))
        .collect();
    let tree = json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object",
        "required": ["value"], "additionalProperties": false, "properties": {
            "value": {"type": "number"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}}});
    let events = json!({"type": "array", "minItems": 1, "items": {"anyOf": [
        {"type": "object", "required": ["kind", "at"], "additionalProperties": false, "properties": {
            "kind": {"const": "moved"}, "at": {"type": "string", "format": "date-time"}}},
        {"type": "object", "required": ["kind", "why"], "additionalProperties": false, "properties": {
            "kind": {"enum": ["failed", "stopped"]},
            "why": {"type": "string", "pattern": "^[a-z ]{5,40}$"}}}]}});
    vec![
        ("any JSON object", None),
        ("a person", Some(person)),
        ("60 optional fields", Some(json!({"type": "object", "properties": wide}))),
        ("a tree", Some(tree)),
        ("events of two kinds", Some(events)),
    ]
}
