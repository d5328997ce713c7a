//! Every field of a GGUF file set to wrong values, and files cut short, through all that `run` does
//! with a file before it computes. What comes of it is what the file says, or one sentence with the
//! file and the field; and little memory is taken.
#![expect(clippy::unwrap_used, reason = "a test may stop")]
#![expect(clippy::print_stdout, reason = "tells what took longest, which no test compares")]

mod fields;
mod memory;

use fields::{Kind, Parts, parts};
use models::weights::{Policy, Random, saved, to_gguf};
use models::{Config, MiniMaxText01};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tensor::gguf::{Array, Metadata, Value};
use tensor::{Checkpoint, Device, Precision, safetensors};
use text::{GgufTokenizer, GgufValue};

/// Memory that a file may take: this, and so many times its size.
const MAX_BYTES: usize = 1 << 20;
const TIMES: usize = 8;

/// What is read of a file.
#[derive(Debug, PartialEq)]
struct Content {
    config: Config,
    tokenizer: Option<GgufTokenizer>,
    has_template: bool,
    /// Shapes and hashes of numbers.
    tensors: BTreeMap<String, (Vec<usize>, u64)>,
}

/// Reads all that is in a file, as `run` does.
fn read(path: &Path) -> Result<Content, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let device = Device::cpu(1);
    let checkpoint = Checkpoint::open(path).map_err(|error| text(&error))?;
    let config = Config::from_gguf(&checkpoint).map_err(|error| text(&error))?;
    let keys = checkpoint.metadata().unwrap();
    let mut tokenizer = None;
    let mut has_template = false;
    if keys.get("tokenizer.ggml.model").and_then(Value::as_str) != Some("no_vocab") {
        let keys = keys.iter().filter(|(key, _)| key.starts_with("tokenizer."));
        let keys = keys.map(|(key, value)| (key.clone(), value.to_json())).collect();
        let packed = GgufTokenizer::from_keys(&keys, path).map_err(|error| text(&error))?;
        packed.tokenizer().map_err(|error| text(&error))?;
        has_template = packed.template().map_err(|error| text(&error))?.is_some();
        tokenizer = Some(packed);
    }
    let mut tensors = BTreeMap::new();
    for name in checkpoint.names() {
        let shape = checkpoint.shape(name).unwrap().to_owned();
        let tensor = checkpoint.load(&device, name, &shape).map_err(|error| text(&error))?;
        let mut hash = DefaultHasher::new();
        tensor.to_vec().iter().for_each(|x| x.to_bits().hash(&mut hash));
        tensors.insert(name.to_owned(), (shape, hash.finish()));
    }
    models::load(config.clone(), &checkpoint, &device, None).map_err(|error| text(&error))?;
    Ok(Content { config, tokenizer, has_template, tensors })
}

/// A file whose bytes are replaced.
struct Case {
    path: PathBuf,
    /// The longest that a case has taken, and which; shown, never compared.
    slowest: (Duration, String),
    most: (usize, String),
}

impl Case {
    /// Reads a file of these bytes, and checks what it says of them.
    fn read(&mut self, bytes: &[u8], what: &str) -> Result<Content, String> {
        fs::write(&self.path, bytes).unwrap();
        self.read_again(MAX_BYTES + TIMES * bytes.len(), what)
    }

    /// The same of the file that is there, with so much memory.
    fn read_again(&mut self, allowed: usize, what: &str) -> Result<Content, String> {
        let start = Instant::now();
        let (bytes, content) = memory::peak_of(|| read(&self.path));
        let time = start.elapsed();
        if time > self.slowest.0 {
            self.slowest = (time, what.to_owned());
        }
        if bytes > self.most.0 {
            self.most = (bytes, what.to_owned());
        }
        assert!(bytes <= allowed, "{what}: {bytes} bytes, expected {allowed} at most");
        content.map_err(|message| {
            let message = message.replace(&self.path.display().to_string(), "FILE");
            assert!(message.contains("`FILE`"), "{what}: no file in {message:?}");
            assert!(message.len() < 600, "{what}: {} bytes: {message}", message.len());
            assert!(!message.contains('\n'), "{what}: lines in {message:?}");
            message
        })
    }

    fn done(self) {
        let Self { slowest: (time, slow), most: (bytes, large), .. } = self;
        println!("slowest {time:.1?}: {slow}; most memory {bytes} bytes: {large}");
    }
}

/// What a file is made of.
struct Recipe {
    config: &'static str,
    /// Files of its tokenizer.
    files: &'static [(&'static str, &'static str)],
    policy: Option<Policy>,
    alignment: bool,
}

/// Byte-level tokens, a template, matrices of bf16, a key for the alignment.
const BYTES: Recipe = Recipe {
    config: r#"{
        "model_type": "minimax_text_01", "vocab_size": 260, "hidden_size": 12,
        "intermediate_size": 10, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 4, "num_local_experts": 2, "num_experts_per_tok": 1,
        "attn_type_list": [0, 1], "rotary_dim": 2, "rope_theta": 10000000, "postnorm": true,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "eos_token_id": [256, 257],
        "attention_log_length_base": 512.5, "relevance_token_id": 9,
        "layernorm_linear_attention_alpha": 1.5, "layernorm_full_attention_alpha": 1.5,
        "layernorm_mlp_alpha": 1.5
    }"#,
    files: &[
        ("byte_tokenizer.json", r#"{ "special_tokens": ["<|end|>", "<|mark|>"] }"#),
        ("chat_template.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}"),
        ("tokenizer_config.json", r#"{ "eos_token": "<|end|>" }"#),
    ],
    policy: Some(Policy::Bf16),
    alignment: true,
};

/// A BPE with its whole `tokenizer.json`, two templates, and blocks.
const BLOCKS: Recipe = Recipe {
    config: r#"{
        "model_type": "minimax_text_01", "vocab_size": 16, "hidden_size": 256,
        "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 4, "num_local_experts": 2, "num_experts_per_tok": 2,
        "attn_type_list": [0, 1], "rotary_dim": 4, "rope_theta": 10000, "postnorm": true,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "eos_token_id": 11,
        "layernorm_linear_attention_alpha": 1, "layernorm_full_attention_alpha": 1,
        "layernorm_mlp_alpha": 1
    }"#,
    files: &[
        (
            "tokenizer.json",
            r#"{
                "version": "1.0",
                "added_tokens": [{
                    "id": 11, "content": "<|end|>", "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": true
                }],
                "pre_tokenizer": {
                    "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                    "use_regex": true
                },
                "decoder": {
                    "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                    "use_regex": true
                },
                "model": {
                    "type": "BPE",
                    "vocab": {
                        "a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "f": 5, "1": 6, "2": 7,
                        "\u0120": 8, "ab": 9, "\u0120a": 10
                    },
                    "merges": [["a", "b"], ["\u0120", "a"]]
                }
            }"#,
        ),
        (
            "tokenizer_config.json",
            r#"{
                "eos_token": "<|end|>", "chat_template": [
                    { "name": "default", "template": "{{ messages[0].content }}" },
                    { "name": "tool_use", "template": "{{ eos_token }}" }
                ]
            }"#,
        ),
    ],
    policy: Some(Policy::Q4K),
    alignment: false,
};

/// The file of a recipe, in parts.
fn make(recipe: &Recipe, folder: &Path) -> (Vec<u8>, Parts) {
    let device = Device::cpu(1);
    let path = folder.join("made.gguf");
    let config = Config::from_json(recipe.config.as_bytes(), Path::new("config.json")).unwrap();
    for (name, content) in recipe.files {
        fs::write(folder.join(name), content).unwrap();
    }
    let mut random = Random::new(&device, Precision::F32, 3, 1);
    let mut model = MiniMaxText01::new(config.clone(), &mut random).unwrap();
    let weights = folder.join("model.safetensors");
    safetensors::save(&weights, saved(&mut model, Precision::Bf16), &BTreeMap::new()).unwrap();
    let mut metadata: Metadata = config.to_gguf(Path::new("config.json")).unwrap();
    let tokenizer = GgufTokenizer::open(folder, config.vocab_size).unwrap().unwrap();
    metadata.extend(tokenizer.to_keys().into_iter().map(|(key, value)| {
        let value = match value {
            GgufValue::Id(id) => Value::U32(id),
            GgufValue::Flag(flag) => Value::Bool(flag),
            GgufValue::Text(text) => Value::String(text),
            GgufValue::Texts(texts) => Value::Array(Array::String(texts)),
            GgufValue::Types(types) => Value::Array(Array::I32(types)),
        };
        (key, value)
    }));
    metadata.insert("general.file_type".to_owned(), Value::U32(32));
    if recipe.alignment {
        metadata.insert("general.alignment".to_owned(), Value::U32(32));
    }
    let checkpoint = Checkpoint::open(&weights).unwrap();
    to_gguf(&config, &checkpoint, &device, (&path, &metadata, recipe.policy), |_, _| {}).unwrap();
    let bytes = fs::read(&path).unwrap();
    let parts = parts(&bytes, 32);
    (bytes, parts)
}

/// Calls `task` with the files of both recipes, what is in them, and where to write changed ones.
fn for_each_file(task: impl Fn(&[u8], &Parts, &Content, &mut Case)) {
    for recipe in [&BYTES, &BLOCKS] {
        let folder = tempfile::tempdir().unwrap();
        let (bytes, parts) = make(recipe, folder.path());
        let path = folder.path().join("x.gguf");
        let mut case = Case { path, slowest: Default::default(), most: Default::default() };
        let content = case.read(&bytes, "nothing").unwrap();
        assert!(content.has_template && content.tokenizer.is_some());
        println!("{} bytes, {} fields", bytes.len(), parts.fields.len());
        task(&bytes, &parts, &content, &mut case);
        case.done();
    }
}

/// Numbers at the edges, and beside `old`, in so many bytes.
fn edges(old: u64, bytes: usize) -> BTreeSet<u64> {
    let max = u64::MAX >> (64 - 8 * bytes);
    let mut edges = BTreeSet::from([0, 1, max, max - 1, max / 2 + 1, 1 << 31, 1 << 63]);
    edges.extend([old.wrapping_sub(1), old.wrapping_add(1)]);
    if bytes == 4 {
        // Infinity.
        edges.insert(f32::INFINITY.to_bits().into());
    }
    edges = edges.into_iter().map(|edge| edge & max).collect();
    edges.remove(&old);
    edges
}

#[test]
fn every_number_is_read_as_it_is_or_refused_by_name() {
    for_each_file(|bytes, parts, content, case| {
        for field in &parts.fields {
            let place = field.at..field.at + field.bytes;
            let old = bytes[place.clone()].iter().rev().fold(0, |n, &b| n << 8 | u64::from(b));
            for edge in edges(old, field.bytes) {
                let what = format!("{}, {old} set to {edge}", field.label);
                let mut changed = bytes.to_vec();
                changed[place.clone()].copy_from_slice(&edge.to_le_bytes()[..field.bytes]);
                match case.read(&changed, &what) {
                    Ok(found) if field.kind == Kind::Meaning => drop(found),
                    // The two have as many bytes, and the file says which it is.
                    Ok(_)
                        if field.label.starts_with("type of tensor") && (old, edge) == (30, 1) => {}
                    Ok(found) => assert!(found == *content, "{what}: another model"),
                    Err(message) => {
                        assert!(field.kind != Kind::Padding, "{what}: {message}");
                        // A small change may make sense where it is and none behind it.
                        let large = edge > 1 << 30 && field.bytes > 1;
                        if large || field.kind == Kind::Meaning {
                            let name = field.label.split('`').nth(1).unwrap_or(&field.label);
                            // Sizes are compared with tensors, which are then what is named.
                            let tensor =
                                field.kind == Kind::Meaning && message.contains(".weight`");
                            assert!(tensor || message.contains(name), "{what}: {message}");
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn every_text_is_read_as_it_is_or_refused() {
    for_each_file(|bytes, parts, _, case| {
        for text in parts.texts.iter().filter(|text| !text.is_empty()) {
            for at in [text.start, text.end - 1] {
                for new in [0, b'.', 0xFF, bytes[at] ^ 1] {
                    let mut changed = bytes.to_vec();
                    changed[at] = new;
                    let what = format!("byte {at} set to {new}");
                    let _ = case.read(&changed, &what);
                }
            }
        }
    });
}

#[test]
fn what_stands_twice_is_refused_by_name() {
    for_each_file(|bytes, parts, _, case| {
        let counts = [(16, &parts.keys), (8, &parts.tensors)];
        for (count, all) in counts {
            for (name, range) in all {
                let end = parts.keys.last().unwrap().1.end;
                let end = if count == 16 { end } else { parts.data.start };
                let mut changed = bytes[..end].to_vec();
                changed.extend(&bytes[range.clone()]);
                changed.extend(&bytes[end..parts.data.start]);
                changed.resize(changed.len().next_multiple_of(32), 0);
                changed.extend(&bytes[parts.data.end..]);
                changed[count] += 1;
                let message = case.read(&changed, &format!("`{name}` twice")).unwrap_err();
                assert!(message.contains(&format!("`{name}` again")), "{message}");
            }
        }
    });
}

#[test]
fn tensors_in_the_place_of_others_are_refused_by_name() {
    for_each_file(|bytes, parts, _, case| {
        let offset = |range: &std::ops::Range<usize>| range.end - 8..range.end;
        for (name, range) in &parts.tensors {
            for (other, place) in parts.tensors.iter().filter(|(other, _)| other != name) {
                let mut changed = bytes.to_vec();
                changed.copy_within(offset(place), offset(range).start);
                let message = case.read(&changed, &format!("`{name}` at `{other}`")).unwrap_err();
                assert!(message.contains(&format!("offset of tensor `{name}`")), "{message}");
            }
        }
    });
}

/// At every byte of the header, and each 64th of the data.
#[test]
fn a_file_cut_short_is_refused() {
    for_each_file(|bytes, parts, content, case| {
        let data = (parts.data.end..bytes.len()).step_by(64);
        let lens: Vec<usize> = (0..parts.data.end).chain(data).collect();
        let end = bytes.len() - 31;
        let file = fs::File::options().write(true).open(&case.path).unwrap();
        for len in lens.into_iter().rev() {
            file.set_len(len as u64).unwrap();
            match case.read_again(MAX_BYTES, &format!("cut at {len}")) {
                // Nothing but padding is gone.
                Ok(found) => assert!(len >= end && found == *content, "cut at {len}"),
                Err(message) => {
                    let tensor = message.contains("offset of tensor `");
                    let named = tensor && message.contains("cut short");
                    assert!(named || len < parts.data.end, "cut at {len}: {message}");
                }
            }
        }
    });
}

/// What is wrong in the header of a large file costs no more than in that of a small one.
#[test]
fn a_large_file_is_refused_like_a_small_one() {
    const DATA: u64 = 16 << 30;
    /// A list as long as is read at all, of texts of no bytes, while it grows.
    const MAX_BYTES_OF_LARGE: usize = 160 << 20;
    let folder = tempfile::tempdir().unwrap();
    let (bytes, parts) = make(&BYTES, folder.path());
    let path = folder.path().join("x.gguf");
    let mut case = Case { path, slowest: Default::default(), most: Default::default() };
    for field in parts.fields.iter().filter(|field| field.kind == Kind::Structure) {
        for value in [1u64 << 20, 1 << 21, 1 << 26, 1 << 28, (1 << 31) - 1, 1 << 33] {
            let number = &value.to_le_bytes()[..field.bytes];
            let mut changed = bytes.to_vec();
            changed[field.at..field.at + field.bytes].copy_from_slice(number);
            fs::write(&case.path, &changed).unwrap();
            let file = fs::File::options().write(true).open(&case.path).unwrap();
            // Zeros, which take no space where the system knows files with holes.
            file.set_len(DATA).unwrap();
            drop(file);
            let what = format!("{} set to {value} in a large file", field.label);
            case.read_again(MAX_BYTES_OF_LARGE, &what).unwrap_err();
        }
    }
    case.done();
}
