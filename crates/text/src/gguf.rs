//! A tokenizer and its chat templates as the `tokenizer.*` keys of a GGUF file have them.
//!
//! A byte-level tokenizer is a byte-level BPE without merges whose first 256 tokens are the bytes in
//! order. A `tokenizer.json` is kept whole under `tokenizer.huggingface.json`, a key of the
//! specification; the keys beside it are what llama.cpp reads.

use crate::template::{self, DEFAULT};
use crate::{BYTE_TOKENIZER, ChatTemplate, Error, Tokenizer};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

mod bytes;
mod rules;
#[cfg(test)]
mod tests;

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const JSON: &str = "tokenizer.huggingface.json";
const TEMPLATE: &str = "tokenizer.chat_template";

/// Values of `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// The name of a special token in a `tokenizer_config.json` and the key of its id (the spelling of
/// the separator's is llama.cpp's).
const SPECIAL_KEYS: [(&str, &str); 7] = [
    ("bos_token", "tokenizer.ggml.bos_token_id"),
    ("eos_token", "tokenizer.ggml.eos_token_id"),
    ("unk_token", "tokenizer.ggml.unknown_token_id"),
    ("sep_token", "tokenizer.ggml.seperator_token_id"),
    ("pad_token", "tokenizer.ggml.padding_token_id"),
    ("cls_token", "tokenizer.ggml.cls_token_id"),
    ("mask_token", "tokenizer.ggml.mask_token_id"),
];

/// What is under these keys.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufTokenizer {
    /// Named in errors.
    path: PathBuf,
    pre: String,
    /// A token for each id.
    tokens: Vec<String>,
    types: Vec<i32>,
    merges: Vec<String>,
    /// Special tokens by the names that templates know.
    special: BTreeMap<String, String>,
    /// A whole `tokenizer.json`.
    json: Option<String>,
    /// By name.
    templates: BTreeMap<String, String>,
}

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum GgufValue {
    /// A token id.
    Id(u32),
    /// Yes or no.
    Flag(bool),
    /// Text.
    Text(String),
    /// Several of them.
    Texts(Vec<String>),
    /// One for each token.
    Types(Vec<i32>),
}

impl GgufTokenizer {
    /// A byte-level tokenizer with the given special tokens, for a model of `vocab_size` ids.
    ///
    /// # Errors
    ///
    /// If there are more tokens than ids; `path` is named.
    pub fn bytes(special: &[String], vocab_size: usize, path: &Path) -> Result<Self, Error> {
        let tokens = bytes::CHARS.iter().map(char::to_string).chain(special.iter().cloned());
        let types = [vec![NORMAL; 256], vec![CONTROL; special.len()]].concat();
        let (pre, merges) = (rules::GPT2.to_owned(), Vec::new());
        let (special, templates) = (BTreeMap::new(), BTreeMap::new());
        let (path, tokens) = (path.to_owned(), tokens.collect());
        let made = Self { path, pre, tokens, types, merges, special, json: None, templates };
        made.padded(vocab_size)
    }

    /// The tokenizer and the templates of a model's folder, for a model of `vocab_size` ids; `None`
    /// if there is no tokenizer.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, is not valid, or is a tokenizer of another kind than byte-level or
    /// BPE.
    pub fn open(folder: &Path, vocab_size: usize) -> Result<Option<Self>, Error> {
        let tokenizer = match Tokenizer::open(folder) {
            Err(Error::NoTokenizer { .. }) => return Ok(None),
            tokenizer => tokenizer?,
        };
        let mut made = if tokenizer.is_byte_level() {
            let path = folder.join(BYTE_TOKENIZER);
            Self::bytes(&tokenizer.special_tokens(), vocab_size, &path)?
        } else {
            let path = folder.join(crate::tokenizer::HUGGING_FACE);
            let text = std::fs::read_to_string(&path)
                .map_err(|source| Error::Io { path: path.clone(), source })?;
            Self::from_json(text, &tokenizer, vocab_size, &path)?
        };
        let found = template::Found::open(folder)?;
        let known = |token: &String| made.tokens.contains(token);
        made.special = found.special_tokens.into_iter().filter(|(_, token)| known(token)).collect();
        made.templates = found.templates.map(|(templates, _)| templates).unwrap_or_default();
        Ok(Some(made))
    }

    /// The parts of a `tokenizer.json`; added tokens have the ids that `tokenizer`, made of it, gives
    /// them, which are not always those that they claim.
    fn from_json(
        text: String,
        tokenizer: &Tokenizer,
        vocab_size: usize,
        path: &Path,
    ) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Tokenizer { path: path.to_owned(), reason };
        let value: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let model = &value["model"];
        let kind = &model["type"];
        if kind != "BPE" {
            return Err(wrong(format!("its model is {kind}, expected \"BPE\" for a GGUF file")));
        }
        let vocab = model["vocab"].as_object().into_iter().flatten();
        let vocab = vocab.map(|(token, id)| (id.as_u64(), token.as_str(), NORMAL));
        let added = value["added_tokens"].as_array().into_iter().flatten().map(|token| {
            let kind = if token["special"] == true { CONTROL } else { USER_DEFINED };
            let content = token["content"].as_str().unwrap_or_default();
            (tokenizer.special_id(content).map(u64::from), content, kind)
        });
        let mut named = BTreeMap::new();
        for (id, token, kind) in vocab.chain(added) {
            let Some(id) = id.filter(|id| *id < vocab_size as u64) else {
                let found = id.map_or("none".to_owned(), |id| id.to_string());
                return Err(wrong(format!(
                    "token {token:?} has id {found}, expected one below the model's `vocab_size`, \
                     {vocab_size}"
                )));
            };
            named.insert(id, (token, kind));
        }
        let merge = |merge: &Value| match merge {
            Value::String(pair) => Some(pair.clone()),
            pair => Some(format!("{} {}", pair.get(0)?.as_str()?, pair.get(1)?.as_str()?)),
        };
        let merges = model["merges"].as_array().into_iter().flatten().map(merge);
        let merges = merges.collect::<Option<Vec<_>>>();
        let merges = merges.ok_or_else(|| wrong("`merges` has no pairs".to_owned()))?;
        let mut tokens = Vec::new();
        let mut types = Vec::new();
        for (id, (token, kind)) in named {
            pad(&mut tokens, &mut types, id as usize);
            tokens.push(token.to_owned());
            types.push(kind);
        }
        let made = Self {
            path: path.to_owned(),
            pre: rules::name_of(&value).to_owned(),
            tokens,
            types,
            merges,
            special: BTreeMap::new(),
            json: Some(text),
            templates: BTreeMap::new(),
        };
        made.padded(vocab_size)
    }

    /// With a token for each of the model's ids.
    fn padded(mut self, vocab_size: usize) -> Result<Self, Error> {
        if self.tokens.len() > vocab_size {
            let found = self.tokens.len();
            let reason = format!("it has {found} tokens, the model's `vocab_size` is {vocab_size}");
            return Err(Error::Tokenizer { path: self.path, reason });
        }
        pad(&mut self.tokens, &mut self.types, vocab_size);
        Ok(self)
    }

    /// The metadata that holds it.
    pub fn to_keys(&self) -> Vec<(String, GgufValue)> {
        let text = |key: &str, text: &str| (key.to_owned(), GgufValue::Text(text.to_owned()));
        let mut keys = vec![
            text(MODEL, "gpt2"),
            text(PRE, &self.pre),
            (TOKENS.to_owned(), GgufValue::Texts(self.tokens.clone())),
            (TYPES.to_owned(), GgufValue::Types(self.types.clone())),
            (MERGES.to_owned(), GgufValue::Texts(self.merges.clone())),
            ("tokenizer.ggml.add_bos_token".to_owned(), GgufValue::Flag(false)),
        ];
        for (name, key) in SPECIAL_KEYS {
            let token = self.special.get(name);
            if let Some(id) = token.and_then(|token| self.tokens.iter().position(|t| t == token)) {
                keys.push((key.to_owned(), GgufValue::Id(id as u32)));
            }
        }
        keys.extend(self.json.iter().map(|json| text(JSON, json)));
        let mut others = Vec::new();
        for (name, template) in &self.templates {
            if name == DEFAULT {
                keys.push(text(TEMPLATE, template));
            } else {
                keys.push(text(&format!("{TEMPLATE}.{name}"), template));
                others.push(name.clone());
            }
        }
        if !others.is_empty() {
            keys.push((format!("{TEMPLATE}s"), GgufValue::Texts(others)));
        }
        keys
    }

    /// What the keys of a file say, given as JSON; `path` is named in errors.
    ///
    /// # Errors
    ///
    /// If there is no tokenizer, or one of another kind.
    pub fn from_keys(keys: &Map<String, Value>, path: &Path) -> Result<Self, Error> {
        let wrong = |field: &str, expected| {
            let found = keys.get(field).map_or("missing".to_owned(), |value| match value {
                Value::Array(list) => format!("a list of {}", list.len()),
                value => value.to_string().chars().take(60).collect(),
            });
            Error::Field { path: path.to_owned(), field: field.to_owned(), found, expected }
        };
        if keys.get(MODEL).and_then(Value::as_str) != Some("gpt2") {
            return Err(wrong(MODEL, "\"gpt2\""));
        }
        let texts = |key: &str| match keys.get(key) {
            None => Some(Vec::new()),
            Some(value) => {
                value.as_array()?.iter().map(|v| v.as_str().map(str::to_owned)).collect()
            }
        };
        let tokens = texts(TOKENS).ok_or_else(|| wrong(TOKENS, "a list of tokens"))?;
        let merges = texts(MERGES).ok_or_else(|| wrong(MERGES, "a list of pairs"))?;
        let kind = |v: &Value| v.as_i64().and_then(|kind| i32::try_from(kind).ok());
        let types: Option<Vec<i32>> = match keys.get(TYPES) {
            None => Some(vec![NORMAL; tokens.len()]),
            Some(value) => value.as_array().and_then(|list| list.iter().map(kind).collect()),
        };
        let types = types.filter(|types| types.len() == tokens.len());
        let types = types.ok_or_else(|| wrong(TYPES, "an integer for each token"))?;
        let mut special = BTreeMap::new();
        for (name, key) in SPECIAL_KEYS {
            let Some(value) = keys.get(key) else { continue };
            let token = value.as_u64().and_then(|id| tokens.get(usize::try_from(id).ok()?));
            let token = token.ok_or_else(|| wrong(key, "the id of a token"))?;
            special.insert(name.to_owned(), token.clone());
        }
        let text = |key: &str| match keys.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(wrong(key, "a string")),
        };
        let mut templates = BTreeMap::new();
        templates.extend(text(TEMPLATE)?.map(|template| (DEFAULT.to_owned(), template)));
        for key in keys.keys() {
            if let Some(name) = key.strip_prefix(TEMPLATE).and_then(|rest| rest.strip_prefix('.')) {
                templates.extend(text(key)?.map(|template| (name.to_owned(), template)));
            }
        }
        let (json, pre) = (text(JSON)?, text(PRE)?.unwrap_or_else(|| "default".to_owned()));
        let path = path.to_owned();
        let made = Self { path, pre, tokens, types, merges, special, json, templates };
        if made.json.is_none() && made.as_bytes().is_none() && !rules::is_known(&made.pre) {
            return Err(wrong(PRE, rules::EXPECTED));
        }
        Ok(made)
    }

    /// The special tokens, if this is a byte-level tokenizer.
    fn as_bytes(&self) -> Option<&[String]> {
        let (bytes, rest) = self.tokens.split_at_checked(256)?;
        let all = bytes.iter().zip(&bytes::CHARS).all(|(token, char)| *token == char.to_string());
        let kinds = &self.types[256..];
        let special = kinds.iter().take_while(|kind| **kind == CONTROL).count();
        let unused = kinds[special..].iter().all(|kind| *kind == UNUSED);
        let bare = self.json.is_none() && self.merges.is_empty();
        (all && unused && bare).then(|| &rest[..special])
    }

    /// The tokenizer.
    ///
    /// # Errors
    ///
    /// If its parts do not fit together.
    pub fn tokenizer(&self) -> Result<Tokenizer, Error> {
        if let Some(special) = self.as_bytes() {
            return Ok(Tokenizer::bytes(special.iter().cloned()));
        }
        Tokenizer::from_json(self.json().as_bytes(), &self.path)
    }

    /// The chat template, if there is one.
    ///
    /// # Errors
    ///
    /// If it is not a template.
    pub fn template(&self) -> Result<Option<ChatTemplate>, Error> {
        if self.templates.is_empty() {
            return Ok(None);
        }
        let (templates, special) = (self.templates.clone(), self.special.clone());
        ChatTemplate::from_templates(templates, &self.path, special).map(Some)
    }

    /// The files that say the same in a folder: names and contents.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let byte_level = self.as_bytes();
        let mut files = vec![match byte_level {
            Some(special) => {
                (BYTE_TOKENIZER, format!("{:#}\n", json!({ "special_tokens": special })))
            }
            None => (crate::tokenizer::HUGGING_FACE, self.json()),
        }];
        let mut config = Map::new();
        if byte_level.is_none() || !self.templates.is_empty() {
            config.extend(self.special.iter().map(|(name, token)| (name.clone(), json!(token))));
        }
        match self.templates.get(DEFAULT) {
            Some(template) if self.templates.len() == 1 => {
                files.push((template::FILE, template.clone()));
            }
            _ if self.templates.is_empty() => {}
            _ => {
                let list = self.templates.iter();
                let list = list.map(|(name, text)| json!({ "name": name, "template": text }));
                config.insert("chat_template".to_owned(), list.collect());
            }
        }
        if !config.is_empty() {
            files.push((template::CONFIG, format!("{:#}\n", Value::from(config))));
        }
        files
    }

    /// The text of a `tokenizer.json`.
    fn json(&self) -> String {
        if let Some(json) = &self.json {
            return json.clone();
        }
        let kinds = || self.tokens.iter().zip(&self.types).enumerate();
        let vocab: Map<String, Value> =
            kinds().map(|(id, (token, _))| (token.clone(), json!(id))).collect();
        let added = kinds().filter(|(_, (_, kind))| [CONTROL, USER_DEFINED].contains(kind));
        let added: Vec<Value> = added
            .map(|(id, (token, kind))| {
                json!({
                    "id": id, "content": token, "special": *kind == CONTROL, "normalized": false,
                    "single_word": false, "lstrip": false, "rstrip": false,
                })
            })
            .collect();
        let level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true });
        let (pre_tokenizer, ignore_merges) = rules::parts(&self.pre).unwrap_or_default();
        let value = json!({
            "version": "1.0", "added_tokens": added, "pre_tokenizer": pre_tokenizer,
            "decoder": level,
            "model": {
                "type": "BPE", "vocab": vocab, "merges": self.merges,
                "ignore_merges": ignore_merges,
            },
        });
        value.to_string()
    }
}

/// Unused tokens up to `len`, named as llama.cpp's converter names them.
fn pad(tokens: &mut Vec<String>, types: &mut Vec<i32>, len: usize) {
    while tokens.len() < len {
        tokens.push(format!("[PAD{}]", tokens.len()));
        types.push(UNUSED);
    }
}
