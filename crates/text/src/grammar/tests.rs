mod calls;
mod limits;
mod random;

use super::*;
use crate::{Specials, Tokenizer};
use serde::Deserialize;
use serde_json::Value;

const END: &str = "<|end|>";

/// A schema, with values that fit and values that do not.
#[derive(Deserialize)]
struct Accepted {
    schema: Value,
    valid: Vec<Value>,
    invalid: Vec<Value>,
}

/// A schema that cannot be enforced, and the keyword that the error names.
#[derive(Deserialize)]
struct Refused {
    schema: Value,
    keyword: Option<String>,
}

fn accepted() -> Vec<Accepted> {
    serde_json::from_str(include_str!("tests/accepted.json")).unwrap()
}

fn byte_tokenizer() -> Tokenizer {
    Tokenizer::bytes([END, "<think>", "</think>", "<function_call>"])
}

/// A tokenizer of the GPT-2 kind with some tokens of many bytes, and ids that no token has.
fn merged_tokenizer() -> Tokenizer {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = '\u{100}'..;
    let letters: Vec<String> = (0..=255_u8)
        .map(|byte| if printable(byte) { char::from(byte) } else { others.next().unwrap() }.into())
        .collect();
    let merges = [
        "{ \"", "\" :", ", Ġ", "1 2", "12 3", "e 3", "e3 0", "0 0", "00 0", "\" ,", "\" }", "a b",
        "t r", "tr u", "tru e", "n u", "nu ll", "l l", "Ã ©", "< |", ": Ġ", "\\ n", "} }",
    ];
    let mut tokens = letters;
    tokens.extend(merges.iter().map(|pair| pair.replace(' ', "")));
    let mut vocab: serde_json::Map<String, Value> =
        tokens.into_iter().zip(0..).map(|(token, id)| (token, Value::from(id))).collect();
    vocab.insert("far".to_owned(), Value::from(400));
    let special = |id: u32, content: &str| {
        serde_json::json!({"id": id, "content": content, "special": true, "single_word": false,
                           "lstrip": false, "rstrip": false, "normalized": false})
    };
    let file = serde_json::json!({
        "added_tokens": [special(410, END), special(411, "<function_call>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                          "use_regex": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                    "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    });
    let path = std::path::Path::new("tokenizer.json");
    Tokenizer::from_json(file.to_string().as_bytes(), path).unwrap()
}

fn vocabulary(tokenizer: &Tokenizer) -> Vocabulary {
    Vocabulary::new(tokenizer, &[tokenizer.special_id(END).unwrap()]).unwrap()
}

fn of_schema<'a>(schema: &'a Value) -> Rules<'a> {
    Rules { form: Form::Schema(schema), reasoning: None }
}

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most
    }
}

/// Which ids a grammar allows, of some more than there are.
fn allowed(grammar: &mut Grammar, vocabulary: &Vocabulary) -> Vec<u32> {
    let mut logits = vec![0.0_f32; vocabulary.num_ids() + 37];
    grammar.mask(&mut logits);
    let ids: Vec<u32> = (0..).zip(&logits).filter(|(_, l)| **l == 0.0).map(|(id, _)| id).collect();
    assert!(logits.iter().all(|&l| l == 0.0 || l == f32::NEG_INFINITY));
    assert!(ids.iter().all(|&id| (id as usize) < vocabulary.num_ids()), "beyond the vocabulary");
    ids
}

/// The text of a walk over allowed tokens, chosen at random, with a liking for those that end
/// things.
fn walk(mut grammar: Grammar, vocabulary: &Vocabulary, random: &mut Random) -> String {
    let shared = Arc::clone(vocabulary.shared());
    let mut bytes = Vec::new();
    for step in 0..4000 {
        let ids = allowed(&mut grammar, vocabulary);
        assert_eq!(grammar.error(), None, "after {:?}", String::from_utf8_lossy(&bytes));
        let end = ids.iter().any(|id| shared.end.contains(id));
        assert_eq!(end, grammar.may_end());
        let ids: Vec<u32> = ids.into_iter().filter(|id| !shared.end.contains(id)).collect();
        assert!(end || !ids.is_empty());
        if end && (random.below(3) == 0 || step > 300 || ids.is_empty()) {
            return String::from_utf8(bytes).unwrap();
        }
        let some = |wanted: &dyn Fn(&[u8]) -> bool| -> Vec<u32> {
            ids.iter().copied().filter(|&id| wanted(&shared.bytes[id as usize])).collect()
        };
        let quote = some(&|token| token == b"\"");
        let closing = some(&|token| matches!(token, [b'"' | b'}' | b']']));
        // What patterns of the tests end with.
        let last = some(&|token| matches!(token, [b'a' | b'b' | b'z' | b'x' | b'1']));
        let ordinary = some(&|token| token.iter().all(u8::is_ascii_graphic));
        let choice = match random.below(10) {
            _ if step > 200 && !quote.is_empty() => &quote,
            0..4 if !closing.is_empty() => &closing,
            4..8 if step > 200 && !last.is_empty() => &last,
            4..9 if !ordinary.is_empty() => &ordinary,
            _ => &ids,
        };
        let id = choice[random.below(choice.len())];
        grammar.push(id).unwrap();
        bytes.extend_from_slice(&shared.bytes[id as usize]);
    }
    panic!("no end: {}", String::from_utf8_lossy(&bytes));
}

/// Whether a grammar takes a text token by token, each in its mask, and may then end.
fn takes(mut grammar: Grammar, vocabulary: &Vocabulary, ids: &[u32]) -> bool {
    for &id in ids {
        let allowed = allowed(&mut grammar, vocabulary).contains(&id);
        assert_eq!(allowed, grammar.clone().push(id).is_ok(), "mask and push disagree on {id}");
        if !allowed {
            return false;
        }
        grammar.push(id).unwrap();
    }
    let end = vocabulary.shared().end[0];
    let may_end = grammar.may_end();
    assert_eq!(may_end, allowed(&mut grammar, vocabulary).contains(&end));
    assert_eq!(may_end, grammar.push(end).is_ok());
    may_end
}

#[test]
fn walks_give_what_fits_and_what_fits_is_taken() {
    let schemas = accepted();
    assert!(schemas.len() >= 60);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let walks = if std::env::var_os("RUN_SLOW_TESTS").is_some() { 300 } else { 12 };
    for tokenizer in [byte_tokenizer(), merged_tokenizer()] {
        let vocabulary = vocabulary(&tokenizer);
        for Accepted { schema, valid, invalid } in &schemas {
            let grammar = Grammar::new(&vocabulary, &of_schema(schema))
                .unwrap_or_else(|error| panic!("{schema}: {error}"));
            let validator = jsonschema::options()
                .should_validate_formats(true)
                .build(schema)
                .unwrap_or_else(|error| panic!("{schema}: {error}"));
            for _ in 0..walks {
                let text = walk(grammar.clone(), &vocabulary, &mut random);
                let value: Value = serde_json::from_str(&text)
                    .unwrap_or_else(|error| panic!("{schema} gave `{text}`: {error}"));
                assert!(validator.is_valid(&value), "{schema} gave `{text}`");
            }
            for value in valid {
                assert!(validator.is_valid(value), "{schema} {value}");
                for text in [value.to_string(), serde_json::to_string_pretty(value).unwrap()] {
                    let ids = tokenizer.encode(&text, Specials::AsText).unwrap();
                    assert!(takes(grammar.clone(), &vocabulary, &ids), "{schema} refuses {text}");
                }
            }
            for value in invalid {
                assert!(!validator.is_valid(value), "{schema} {value}");
                let ids = tokenizer.encode(&value.to_string(), Specials::AsText).unwrap();
                assert!(!takes(grammar.clone(), &vocabulary, &ids), "{schema} takes {value}");
            }
        }
    }
}

#[test]
fn what_is_not_enforced_is_refused_by_name() {
    let vocabulary = vocabulary(&byte_tokenizer());
    let refused: Vec<Refused> = serde_json::from_str(include_str!("tests/refused.json")).unwrap();
    for Refused { schema, keyword } in refused {
        match Grammar::new(&vocabulary, &of_schema(&schema)) {
            Err(Error::Schema { keyword: found, reason }) => {
                assert_eq!(found, keyword, "{schema}: {reason}");
            }
            other => panic!("{schema}: {other:?}"),
        }
    }
}

#[test]
fn any_json_object() {
    let tokenizer = merged_tokenizer();
    let vocabulary = vocabulary(&tokenizer);
    let rules = Rules { form: Form::Json, reasoning: None };
    let grammar = Grammar::new(&vocabulary, &rules).unwrap();
    let mut random = Random(7);
    for _ in 0..20 {
        let text = walk(grammar.clone(), &vocabulary, &mut random);
        assert!(serde_json::from_str::<Value>(&text).unwrap().is_object(), "{text}");
    }
    for (text, expected) in [("{}", true), ("{\"a\": [1e30, \"é\"]}", true), ("[]", false)] {
        let ids = tokenizer.encode(text, Specials::AsText).unwrap();
        assert_eq!(takes(grammar.clone(), &vocabulary, &ids), expected, "{text}");
    }
}

#[test]
fn special_tokens_are_no_text() {
    let tokenizer = byte_tokenizer();
    let vocabulary = vocabulary(&tokenizer);
    let mut grammar = Grammar::new(&vocabulary, &of_schema(&Value::Bool(true))).unwrap();
    grammar.push(b'"'.into()).unwrap();
    assert!(allowed(&mut grammar, &vocabulary).iter().all(|&id| id < 256));
    let error = grammar.clone().push(tokenizer.special_id("<think>").unwrap()).unwrap_err();
    assert!(error.to_string().contains("is not allowed"), "{error}");
    let error = grammar.push(9999).unwrap_err().to_string();
    assert!(error.contains("the token 9999 is not in the vocabulary"), "{error}");
}

#[test]
fn a_clone_goes_its_own_way() {
    let vocabulary = vocabulary(&byte_tokenizer());
    let schema = serde_json::json!({"enum": ["ab", "cd"]});
    let mut one = Grammar::new(&vocabulary, &of_schema(&schema)).unwrap();
    one.push(b'"'.into()).unwrap();
    let mut two = one.clone();
    one.push(b'a'.into()).unwrap();
    two.push(b'c'.into()).unwrap();
    assert_eq!(allowed(&mut one, &vocabulary), [u32::from(b'b')]);
    assert_eq!(allowed(&mut two, &vocabulary), [u32::from(b'd')]);
    assert!(!one.may_end() && !one.must_end());
}

#[test]
fn grammars_go_from_thread_to_thread() {
    fn check<T: Send>() {}
    fn check_shared<T: Send + Sync>() {}
    check::<Grammar>();
    check_shared::<Vocabulary>();
    check_shared::<Tokenizer>();
}
