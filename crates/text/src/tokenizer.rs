//! From text to token ids and back: bytes, or a Hugging Face `tokenizer.json`.

mod outline;
mod pieces;

pub(crate) use pieces::Piece;

use crate::Error;
use serde::Deserialize;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// The file of a byte-level tokenizer: `{"special_tokens": ["<|end|>", …]}`.
pub const BYTE_TOKENIZER: &str = "byte_tokenizer.json";
pub(crate) const HUGGING_FACE: &str = "tokenizer.json";

/// Splits text into tokens. Clones share what was read.
#[derive(Clone, Debug)]
pub struct Tokenizer(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    /// Ids 0 to 255 are bytes, the special tokens follow.
    Bytes {
        special_tokens: Vec<String>,
    },
    HuggingFace(Box<HuggingFace>),
}

#[derive(Debug)]
struct HuggingFace {
    tokenizer: tokenizers::Tokenizer,
    /// The same, blind to special tokens in a text; made when it is first needed, for a copy of a
    /// large vocabulary takes longer than most texts.
    blind: OnceLock<tokenizers::Tokenizer>,
}

impl HuggingFace {
    fn blind(&self) -> &tokenizers::Tokenizer {
        self.blind.get_or_init(|| {
            let mut blind = self.tokenizer.clone();
            blind.set_encode_special_tokens(true);
            blind
        })
    }
}

/// What the text of special tokens means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// Nothing: it is text like any other. For what users write.
    AsText,
    /// The special token. For what templates write.
    Parse,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByteFile {
    special_tokens: Vec<String>,
}

impl Tokenizer {
    /// A byte-level tokenizer with the given special tokens after the 256 bytes.
    pub fn bytes<S: Into<String>>(special_tokens: impl IntoIterator<Item = S>) -> Self {
        let special_tokens = special_tokens.into_iter().map(Into::into).collect();
        Self(Arc::new(Kind::Bytes { special_tokens }))
    }

    /// The tokenizer in a model's folder.
    ///
    /// # Errors
    ///
    /// If there is none, or it cannot be read.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        for name in [BYTE_TOKENIZER, HUGGING_FACE] {
            let path = folder.join(name);
            if path.is_file() {
                let text = std::fs::read(&path)
                    .map_err(|source| Error::Io { path: path.clone(), source })?;
                return Self::from_json(&text, &path);
            }
        }
        Err(Error::NoTokenizer { path: folder.to_owned() })
    }

    /// A tokenizer from the text of its file; the name of `path` says which kind it is.
    ///
    /// # Errors
    ///
    /// If it is not valid.
    pub fn from_json(text: &[u8], path: &Path) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Tokenizer { path: path.to_owned(), reason };
        if path.file_name().is_some_and(|name| name == BYTE_TOKENIZER) {
            let file: ByteFile =
                serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
            if file.special_tokens.iter().any(String::is_empty) {
                return Err(wrong("a special token is empty".to_owned()));
            }
            return Ok(Self::bytes(file.special_tokens));
        }
        outline::check(text).map_err(wrong)?;
        let tokenizer = caught(|| tokenizers::Tokenizer::from_bytes(text)).map_err(wrong)?;
        let blind = OnceLock::new();
        Ok(Self(Arc::new(Kind::HuggingFace(Box::new(HuggingFace { tokenizer, blind })))))
    }

    /// The ids of `text`.
    ///
    /// # Errors
    ///
    /// If a `tokenizer.json` has rules that fail on this text.
    pub fn encode(&self, text: &str, specials: Specials) -> Result<Vec<u32>, Error> {
        match &*self.0 {
            Kind::Bytes { special_tokens } if specials == Specials::Parse => {
                Ok(parse(text, special_tokens))
            }
            Kind::Bytes { .. } => Ok(text.bytes().map(u32::from).collect()),
            Kind::HuggingFace(file) => {
                let tokenizer = match specials {
                    Specials::Parse => &file.tokenizer,
                    Specials::AsText => file.blind(),
                };
                let encoded = caught(|| tokenizer.encode(text, false));
                let failed = |reason| Error::Tokenizer { path: HUGGING_FACE.into(), reason };
                Ok(encoded.map_err(failed)?.get_ids().to_vec())
            }
        }
    }

    /// The ids of any bytes: exactly, if this is byte-level; otherwise what is not UTF-8 becomes
    /// U+FFFD first.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_bytes(&self, bytes: &[u8]) -> Result<Vec<u32>, Error> {
        match &*self.0 {
            Kind::Bytes { .. } => Ok(bytes.iter().map(|&byte| byte.into()).collect()),
            Kind::HuggingFace(_) => self.encode(&String::from_utf8_lossy(bytes), Specials::AsText),
        }
    }

    /// The text of `ids`, special tokens left out; what is not UTF-8 is U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        match &*self.0 {
            Kind::Bytes { .. } => {
                let bytes: Vec<u8> = ids.iter().filter_map(|&id| u8::try_from(id).ok()).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            // It fails only for ids that do not exist, which say nothing.
            Kind::HuggingFace(file) => {
                caught(|| file.tokenizer.decode(ids, true)).unwrap_or_default()
            }
        }
    }

    /// The byte that `id` stands for, if this is byte-level and it is not a special token.
    pub(crate) fn byte(&self, id: u32) -> Option<u8> {
        match &*self.0 {
            Kind::Bytes { .. } => u8::try_from(id).ok(),
            Kind::HuggingFace(_) => None,
        }
    }

    /// Whether every byte is a token.
    pub fn is_byte_level(&self) -> bool {
        matches!(*self.0, Kind::Bytes { .. })
    }

    /// Number of ids.
    pub fn vocab_size(&self) -> usize {
        match &*self.0 {
            Kind::Bytes { special_tokens } => 256 + special_tokens.len(),
            Kind::HuggingFace(file) => file.tokenizer.get_vocab_size(true),
        }
    }

    /// The special tokens, as text.
    pub fn special_tokens(&self) -> Vec<String> {
        match &*self.0 {
            Kind::Bytes { special_tokens } => special_tokens.clone(),
            Kind::HuggingFace(file) => {
                let added = file.tokenizer.get_added_tokens_decoder();
                let special = added.into_values().filter(|token| token.special);
                special.map(|token| token.content).collect()
            }
        }
    }

    /// The id of a special token.
    pub fn special_id(&self, token: &str) -> Option<u32> {
        match &*self.0 {
            Kind::Bytes { special_tokens } => {
                special_tokens.iter().position(|t| t == token).map(|i| 256 + i as u32)
            }
            Kind::HuggingFace(file) => file.tokenizer.token_to_id(token),
        }
    }
}

/// What the library says of a file, its panics as well: it asserts what a file may get wrong.
fn caught<T>(work: impl FnOnce() -> Result<T, tokenizers::Error>) -> Result<T, String> {
    // What it shares between calls are caches, which may be left in any state.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("its rules contradict each other".to_owned()),
    }
}

/// Bytes with special tokens where their text stands; the longest of several that fit.
fn parse(text: &str, special_tokens: &[String]) -> Vec<u32> {
    let mut ids = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some(&byte) = rest.first() {
        let fitting = special_tokens.iter().enumerate();
        let fitting = fitting.filter(|(_, token)| rest.starts_with(token.as_bytes()));
        match fitting.max_by_key(|(_, token)| token.len()) {
            Some((i, token)) => {
                ids.push(256 + i as u32);
                rest = &rest[token.len()..];
            }
            None => {
                ids.push(byte.into());
                rest = &rest[1..];
            }
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_themselves() {
        let tokenizer = Tokenizer::bytes(["<|a|>", "<|b|>"]);
        assert_eq!(tokenizer.vocab_size(), 258);
        assert_eq!(tokenizer.special_id("<|b|>"), Some(257));
        let text = "x<|b|>é";
        let as_text = tokenizer.encode(text, Specials::AsText).unwrap();
        assert_eq!(as_text.len(), text.len());
        assert_eq!(tokenizer.decode(&as_text), text);
        let parsed = tokenizer.encode(text, Specials::Parse).unwrap();
        assert_eq!(parsed, [120, 257, 0xC3, 0xA9]);
        assert_eq!(tokenizer.decode(&parsed), "xé");
        assert_eq!(tokenizer.encode_bytes(&[0xFF, 0]).unwrap(), [255, 0]);
    }

    #[test]
    fn damaged_files_are_named() {
        for (name, text) in [
            (BYTE_TOKENIZER, "{"),
            (BYTE_TOKENIZER, r#"{"special_tokens": [""]}"#),
            (BYTE_TOKENIZER, r#"{"special_tokens": [3]}"#),
            ("tokenizer.json", "{}"),
            ("tokenizer.json", "\u{0}"),
        ] {
            let error = Tokenizer::from_json(text.as_bytes(), Path::new(name)).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        let error = Tokenizer::open(Path::new("/nowhere")).unwrap_err();
        assert!(error.to_string().contains("/nowhere"), "{error}");
    }

    #[test]
    fn a_cut_decoder_does_not_panic() {
        let text = br#"{"decoder": {"type": "Byte"#;
        let error = Tokenizer::from_json(text, Path::new("tokenizer.json")).unwrap_err();
        assert!(error.to_string().contains("EOF while parsing a string"), "{error}");
    }

    #[test]
    fn a_long_piece_does_not_overflow_the_stack() {
        let read = |length| {
            let model = r#""type": "Unigram", "unk_id": 0, "vocab": [["#;
            let text = format!(r#"{{"model": {{{model}"{}", 0.0]]}}}}"#, "x".repeat(length));
            Tokenizer::from_json(text.as_bytes(), Path::new("tokenizer.json")).map(drop)
        };
        read(4096).unwrap();
        let error = read(100_000).unwrap_err().to_string();
        let expected = "a piece of `vocab` has 100000 bytes, expected 4096 at most";
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_wrong_normalizer_does_not_panic() {
        let text = br#"{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "?"}}"#;
        let error = Tokenizer::from_json(text, Path::new("tokenizer.json")).unwrap_err();
        assert!(error.to_string().starts_with("`tokenizer.json` is not a valid tokenizer"));
    }
}
