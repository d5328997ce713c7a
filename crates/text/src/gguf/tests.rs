use super::*;
use crate::{Conversation, Message, Specials};
use std::fs;

/// The keys as a file gives them back.
fn stored(tokenizer: &GgufTokenizer) -> Map<String, Value> {
    let json = |value| match value {
        GgufValue::Id(id) => json!(id),
        GgufValue::Flag(flag) => json!(flag),
        GgufValue::Text(text) => json!(text),
        GgufValue::Texts(texts) => json!(texts),
        GgufValue::Types(types) => json!(types),
    };
    tokenizer.to_keys().into_iter().map(|(key, value)| (key, json(value))).collect()
}

fn read(keys: &Map<String, Value>) -> Result<GgufTokenizer, String> {
    let read = GgufTokenizer::from_keys(keys, Path::new("x.gguf"));
    read.map_err(|error| error.to_string())
}

/// A byte-level BPE with two merges and two added tokens, one of which claims an id that leaves a
/// gap: the library counts on, so that it is 259.
fn bpe(pre_tokenizer: &Value) -> String {
    let mut vocab: Map<String, Value> =
        bytes::CHARS.iter().enumerate().map(|(id, char)| (char.to_string(), json!(id))).collect();
    vocab.insert("ab".to_owned(), json!(256));
    vocab.insert("\u{120}ab".to_owned(), json!(257));
    let added = |id, content: &str, special| {
        json!({
            "id": id, "content": content, "special": special, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false,
        })
    };
    let value = json!({
        "version": "1.0",
        "added_tokens": [added(258, "<s>", true), added(260, "<tool>", false)],
        "pre_tokenizer": pre_tokenizer,
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true },
        "model": { "type": "BPE", "vocab": vocab, "merges": [["a", "b"], ["\u{120}", "ab"]] },
    });
    value.to_string()
}

fn gpt2() -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true })
}

const TEXT: &str = "ab ab<s>\u{e9} <tool>x";

#[test]
fn bytes_stand_for_themselves() {
    let chars: Vec<u32> = bytes::CHARS.iter().map(|&c| c.into()).collect();
    assert_eq!((chars[0], chars[10], chars[32], chars[65]), (0x100, 0x10A, 0x120, 65));
    assert_eq!((chars[0x7F], chars[0xA0], chars[0xAD], chars[0xFF]), (0x121, 0x142, 0x143, 0xFF));
}

#[test]
fn a_byte_level_tokenizer_goes_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = "{\n  \"special_tokens\": [\n    \"<|a|>\",\n    \"<|b|>\"\n  ]\n}\n";
    fs::write(folder.path().join(BYTE_TOKENIZER), file).unwrap();
    let made = GgufTokenizer::open(folder.path(), 260).unwrap().unwrap();
    let keys = stored(&made);
    assert_eq!(keys[TOKENS].as_array().unwrap().len(), 260);
    assert_eq!(keys[TOKENS][259], "[PAD259]");
    assert_eq!(keys[TYPES].as_array().unwrap()[256..], [3, 3, 5, 5].map(Value::from));
    let back = read(&keys).unwrap();
    assert_eq!(back.files(), [(BYTE_TOKENIZER, file.to_owned())]);
    let tokenizer = back.tokenizer().unwrap();
    assert!(tokenizer.is_byte_level() && back.template().unwrap().is_none());
    assert_eq!(tokenizer.encode("x<|b|>", Specials::Parse).unwrap(), [120, 257]);
    let error = GgufTokenizer::open(folder.path(), 257).unwrap_err().to_string();
    assert!(error.ends_with("it has 258 tokens, the model's `vocab_size` is 257"), "{error}");
    fs::remove_file(folder.path().join(BYTE_TOKENIZER)).unwrap();
    assert_eq!(GgufTokenizer::open(folder.path(), 260).unwrap(), None);
}

#[test]
fn a_bpe_goes_there_and_back_with_its_templates() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let text = bpe(&gpt2());
    write("tokenizer.json", &text);
    write("chat_template.jinja", "{{ eos_token }}{{ messages[0].content }}");
    write("tokenizer_config.json", r#"{"eos_token": {"content": "<s>"}, "unk_token": "none"}"#);
    let made = GgufTokenizer::open(folder.path(), 262).unwrap().unwrap();
    let mut keys = stored(&made);
    assert_eq!(keys["tokenizer.ggml.eos_token_id"], 258);
    assert_eq!(keys[MERGES], json!(["a b", "\u{120} ab"]));
    assert_eq!(keys[PRE], "gpt-2");
    assert_eq!(keys[TYPES].as_array().unwrap()[256..], [1, 1, 3, 4, 5, 5].map(Value::from));

    let want = Tokenizer::open(folder.path()).unwrap().encode(TEXT, Specials::Parse).unwrap();
    let check = |back: &GgufTokenizer| {
        assert_eq!(back.tokenizer().unwrap().encode(TEXT, Specials::Parse).unwrap(), want);
        let messages = [Message::new("user", "hi")];
        let conversation = Conversation {
            messages: &messages,
            add_generation_prompt: true,
            ..Conversation::empty()
        };
        assert_eq!(back.template().unwrap().unwrap().render(&conversation).unwrap(), "<s>hi");
    };
    let back = read(&keys).unwrap();
    check(&back);
    let files = back.files();
    assert_eq!(files[0], ("tokenizer.json", text));
    assert_eq!(files[1].0, "chat_template.jinja");
    assert_eq!(files[2], ("tokenizer_config.json", "{\n  \"eos_token\": \"<s>\"\n}\n".to_owned()));
    // As other programs write it: the tokenizer is made of the tokens.
    keys.remove(JSON);
    let back = read(&keys).unwrap();
    check(&back);
    let other = tempfile::tempdir().unwrap();
    for (name, text) in back.files() {
        fs::write(other.path().join(name), text).unwrap();
    }
    let made = Tokenizer::open(other.path()).unwrap();
    assert_eq!(made.encode(TEXT, Specials::Parse).unwrap(), want);
}

#[test]
fn several_templates_keep_their_names() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer.json"), bpe(&gpt2())).unwrap();
    let templates = r#"{"chat_template": [{"name": "default", "template": "d"},
        {"name": "tool_use", "template": "t"}]}"#;
    fs::write(folder.path().join("tokenizer_config.json"), templates).unwrap();
    let keys = stored(&GgufTokenizer::open(folder.path(), 261).unwrap().unwrap());
    assert_eq!(
        (&keys[TEMPLATE], &keys["tokenizer.chat_template.tool_use"]),
        (&json!("d"), &json!("t"))
    );
    assert_eq!(keys["tokenizer.chat_templates"], json!(["tool_use"]));
    let files = read(&keys).unwrap().files();
    let config: Value = serde_json::from_str(&files[1].1).unwrap();
    let expected: Value = serde_json::from_str(templates).unwrap();
    assert_eq!((files[1].0, config), ("tokenizer_config.json", expected));
}

#[test]
fn what_cannot_be_taken_over_is_told() {
    let open = |text: &str, vocab_size| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tokenizer.json"), text).unwrap();
        GgufTokenizer::open(folder.path(), vocab_size).unwrap_err().to_string()
    };
    let error = open(&bpe(&gpt2()), 259);
    let expected = "token \"<tool>\" has id 259, expected one below the model's `vocab_size`, 259";
    assert!(error.ends_with(expected), "{error}");
    let unigram = r#"{"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0]]}}"#;
    let error = open(unigram, 260);
    let expected = "its model is \"Unigram\", expected \"BPE\" for a GGUF file";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn bad_keys_are_named() {
    let good = stored(&GgufTokenizer::bytes(&["<s>".to_owned()], 257, Path::new("x")).unwrap());
    for (key, value, expected) in [
        (MODEL, json!("llama"), "is \"llama\", expected \"gpt2\""),
        (MODEL, Value::Null, "is null, expected \"gpt2\""),
        (TOKENS, json!([1]), "is a list of 1, expected a list of tokens"),
        (TYPES, json!([1]), "is a list of 1, expected an integer for each token"),
        (MERGES, json!("x"), "is \"x\", expected a list of pairs"),
        (TEMPLATE, json!(3), "is 3, expected a string"),
        ("tokenizer.ggml.eos_token_id", json!(257), "is 257, expected the id of a token"),
    ] {
        let mut keys = good.clone();
        keys.insert(key.to_owned(), value);
        let error = read(&keys).unwrap_err();
        assert_eq!(error, format!("`x.gguf`: `{key}` {expected}"));
    }
    let mut keys = good;
    keys.insert(MERGES.to_owned(), json!(["a b"]));
    keys.insert(PRE.to_owned(), json!("other"));
    let expected =
        format!("`x.gguf`: `tokenizer.ggml.pre` is \"other\", expected {}", rules::EXPECTED);
    assert_eq!(read(&keys).unwrap_err(), expected);
}

/// Each rule goes by its name into a file without a `tokenizer.json`, and splits as it did.
#[test]
fn rules_are_known_by_their_names() {
    let text = "I've 12345 ABCdef's  /x\n\n ab";
    let mut seen = Vec::new();
    for name in ["gpt-2", "gpt-4o", "minimax-m2", "llama-bpe", "dbrx", "qwen2"] {
        assert!(rules::EXPECTED.contains(&format!("{name:?}")), "{name}");
        let (pre_tokenizer, ignore_merges) = rules::parts(name).unwrap();
        let mut value: Value = serde_json::from_str(&bpe(&pre_tokenizer)).unwrap();
        value["model"]["ignore_merges"] = ignore_merges.into();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tokenizer.json"), value.to_string()).unwrap();
        let mut keys = stored(&GgufTokenizer::open(folder.path(), 262).unwrap().unwrap());
        let written = if name == "minimax-m2" { "gpt-4o" } else { name };
        assert_eq!(keys[PRE], written);
        keys.remove(JSON);
        keys.insert(PRE.to_owned(), name.into());
        let encode = |tokenizer: Tokenizer| tokenizer.encode(text, Specials::Parse).unwrap();
        let want = encode(Tokenizer::open(folder.path()).unwrap());
        assert_eq!(encode(read(&keys).unwrap().tokenizer().unwrap()), want, "{name}");
        seen.push(value);
    }
    // Almost a rule is none.
    for (at, other) in [
        ("/pre_tokenizer/pretokenizers/0/pattern/Regex", json!("x")),
        ("/pre_tokenizer/pretokenizers/0/behavior", json!("Removed")),
        ("/pre_tokenizer/pretokenizers/1/use_regex", json!(true)),
        ("/model/ignore_merges", json!(true)),
    ] {
        let mut value = seen[1].clone();
        *value.pointer_mut(at).unwrap() = other;
        assert_eq!(rules::name_of(&value), "default", "{at}");
    }
}
