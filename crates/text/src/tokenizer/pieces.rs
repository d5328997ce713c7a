//! The bytes that each token stands for, which constrained decoding needs.

use super::{HuggingFace, Kind, Tokenizer};
use std::collections::HashMap;

/// What one id stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes of text.
    Bytes(Vec<u8>),
    /// A special token, with its name.
    Special(String),
}

impl Tokenizer {
    /// What each id stands for, `[max id + 1]`; `None` where there is no such token.
    ///
    /// # Errors
    ///
    /// If tokens are more than bytes, so that what one of them writes depends on its neighbours;
    /// the reason.
    pub(crate) fn pieces(&self) -> Result<Vec<Option<Piece>>, String> {
        match &*self.0 {
            Kind::Bytes { special_tokens } => {
                let bytes = (0..=255).map(|byte| Some(Piece::Bytes(vec![byte])));
                let special = special_tokens.iter().cloned().map(|name| Some(Piece::Special(name)));
                Ok(bytes.chain(special).collect())
            }
            Kind::HuggingFace(file) => file.pieces(),
        }
    }
}

impl HuggingFace {
    fn pieces(&self) -> Result<Vec<Option<Piece>>, String> {
        let decoder = match self.tokenizer.get_decoder() {
            Some(decoder) => serde_json::to_value(decoder).map_err(|error| error.to_string())?,
            None => serde_json::Value::Null,
        };
        let spelling = Spelling::of(&decoder)?;
        let vocab = self.tokenizer.get_vocab(true);
        let added = self.tokenizer.get_added_tokens_decoder();
        let num_ids = vocab.values().map(|&id| id as usize + 1).max().unwrap_or(0);
        // Ids are dense but for a few; a file that says otherwise would cost memory for nothing.
        if num_ids > 2 * vocab.len() + 65_536 {
            return Err(format!("it has {} tokens, but the id {}", vocab.len(), num_ids - 1));
        }
        let mut pieces = vec![None; num_ids];
        for (text, id) in vocab {
            let piece = match added.get(&id) {
                Some(token) if token.special => Piece::Special(token.content.clone()),
                Some(token) => Piece::Bytes(token.content.clone().into_bytes()),
                // What cannot be spelled is never written by the tokenizer either.
                None => match spelling.bytes(&text) {
                    Some(bytes) => Piece::Bytes(bytes),
                    None => continue,
                },
            };
            pieces[id as usize] = Some(piece);
        }
        Ok(pieces)
    }
}

/// How the vocabulary spells bytes.
enum Spelling {
    /// A character for each byte, as in GPT-2.
    ByteLevel(HashMap<char, u8>),
    /// Text with one character for spaces; `<0xE9>` is a byte.
    ByteFallback { space: char },
}

impl Spelling {
    /// The spelling that `decoder`, as in a `tokenizer.json`, undoes.
    fn of(decoder: &serde_json::Value) -> Result<Self, String> {
        let kind = |value: &serde_json::Value| value["type"].as_str().map(str::to_owned);
        let list = decoder["decoders"].as_array();
        let steps: Vec<&serde_json::Value> = list.map_or(vec![decoder], |l| l.iter().collect());
        let has = |name: &str| steps.iter().any(|step| kind(step).as_deref() == Some(name));
        if has("ByteLevel") {
            return Ok(Self::ByteLevel(byte_level()));
        }
        if has("ByteFallback") {
            let replaced = steps.iter().filter(|step| step["content"] == " ");
            let replaced = replaced.filter_map(|step| step["pattern"]["String"].as_str());
            let space = replaced.filter_map(|text| text.chars().next()).next();
            return Ok(Self::ByteFallback { space: space.unwrap_or('\u{2581}') });
        }
        let found = kind(decoder).map_or("none".to_owned(), |kind| format!("`{kind}`"));
        Err(format!("its decoder is {found}, expected `ByteLevel` or `ByteFallback`"))
    }

    fn bytes(&self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::ByteLevel(map) => text.chars().map(|c| map.get(&c).copied()).collect(),
            Self::ByteFallback { space } => {
                let hex = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
                match hex.filter(|hex| hex.len() == 2) {
                    Some(hex) => u8::from_str_radix(hex, 16).ok().map(|byte| vec![byte]),
                    None => Some(text.replace(*space, " ").into_bytes()),
                }
            }
        }
    }
}

/// GPT-2's alphabet: printable bytes of Latin-1 are themselves, the others follow from U+0100 on.
fn byte_level() -> HashMap<char, u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = '\u{100}'..;
    let character = |byte: u8| match printable(byte) {
        true => Some(char::from(byte)),
        false => others.next(),
    };
    let characters: Vec<_> = (0..=255).map(character).collect();
    characters.into_iter().zip(0..=255).filter_map(|(c, byte)| Some((c?, byte))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_has_a_character_for_each_byte() {
        let map = byte_level();
        assert_eq!(map.len(), 256);
        assert_eq!((map[&'Ġ'], map[&'Ċ'], map[&'é'], map[&'a']), (b' ', b'\n', 0xE9, b'a'));
    }

    #[test]
    fn spellings() {
        let level = Spelling::of(&serde_json::json!({"type": "ByteLevel"})).unwrap();
        assert_eq!(level.bytes("Ġa").unwrap(), b" a");
        assert_eq!(level.bytes("日"), None);
        let steps = serde_json::json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "_"}, "content": " "},
            {"type": "ByteFallback"},
        ]});
        let fallback = Spelling::of(&steps).unwrap();
        assert_eq!(fallback.bytes("_日").unwrap(), " 日".as_bytes());
        assert_eq!(fallback.bytes("<0xE9>").unwrap(), [0xE9]);
        let error = Spelling::of(&serde_json::json!({"type": "WordPiece"})).err().unwrap();
        assert!(error.contains("`WordPiece`"), "{error}");
    }
}
