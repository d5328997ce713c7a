//! What the library takes for granted of a `tokenizer.json` and what is checked before it reads
//! one: that it is JSON, and that pieces are short where it makes a tree of them, a level per byte.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Longest piece of a vocabulary with scores in bytes; those that are known have less than 100.
const MAX_PIECE: usize = 4096;

/// Says what is wrong with the text of a file, if something is.
pub(super) fn check(text: &[u8]) -> Result<(), String> {
    let outline: Result<Outline, _> = serde_json::from_slice(text);
    outline.map(drop).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
struct Outline {
    #[expect(dead_code, reason = "reading it is the check")]
    model: Option<Model>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    #[expect(dead_code, reason = "reading it is the check")]
    vocab: Vocabulary,
}

/// Ids by piece, or a list of pieces with scores.
#[derive(Default)]
struct Vocabulary;

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Vocabulary {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ids by piece or a list of pieces with scores")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while let Some((piece, _)) = list.next_element::<(String, IgnoredAny)>()? {
            if piece.len() > MAX_PIECE {
                let found = piece.len();
                return Err(A::Error::custom(format!(
                    "a piece of `vocab` has {found} bytes, expected {MAX_PIECE} at most"
                )));
            }
        }
        Ok(self)
    }
}
