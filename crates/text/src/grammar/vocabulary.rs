//! A tokenizer's tokens as a tree of bytes, made once and shared by all grammars.

use crate::tokenizer::Piece;
use crate::{Error, Tokenizer};
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{ParserFactory, api::ParserLimits};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// The tokens of a model, ready for [`Grammar`](crate::Grammar)s. Clones share it.
#[derive(Clone)]
pub struct Vocabulary(Arc<Shared>);

pub(super) struct Shared {
    pub(super) factory: ParserFactory,
    /// Special tokens by name.
    pub(super) specials: HashMap<String, u32>,
    /// Names of special tokens.
    pub(super) names: HashMap<u32, String>,
    /// Ids that end an answer.
    pub(super) end: Vec<u32>,
    /// Tokens that may go on with a number of JSON: what they add to it.
    pub(super) numeric: Vec<(u32, String)>,
    /// Tokens that hold a number too large on their own.
    pub(super) monsters: Vec<u32>,
    /// What each id adds, empty for special tokens.
    pub(super) bytes: Vec<Vec<u8>>,
    /// Compilations that were given up and still run.
    pub(super) abandoned: AtomicUsize,
}

impl Vocabulary {
    /// The tokens of `tokenizer`, of which `end` end an answer.
    ///
    /// It takes about a second for 200 000 tokens.
    ///
    /// # Errors
    ///
    /// If tokens are not bytes, or no token of `end` exists.
    pub fn new(tokenizer: &Tokenizer, end: &[u32]) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Grammar { reason };
        let pieces = tokenizer.pieces().map_err(|reason| wrong(format!("tokenizer: {reason}")))?;
        let num_ids = pieces.len();
        let end: Vec<u32> = end.iter().copied().filter(|&id| (id as usize) < num_ids).collect();
        if end.is_empty() {
            return Err(wrong("no token ends an answer".to_owned()));
        }
        let mut specials = HashMap::new();
        let mut words = Vec::with_capacity(num_ids);
        let mut bytes = Vec::with_capacity(num_ids);
        for (id, piece) in pieces.into_iter().enumerate() {
            let (word, text) = match piece {
                Some(Piece::Bytes(text)) => (text.clone(), text),
                // The library knows special tokens by a byte that no text has; the number keeps
                // two with one name apart.
                Some(Piece::Special(name)) => {
                    let mut word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
                    word.extend(format!("<{id}:{name}>").bytes());
                    specials.insert(name, id as u32);
                    (word, Vec::new())
                }
                None => (Vec::new(), Vec::new()),
            };
            // The tree counts in 16 bits; nobody constrains an answer to such a token.
            words.push(if word.len() < 1024 { word } else { Vec::new() });
            bytes.push(text);
        }
        let trie = TokTrie::from(&TokRxInfo::new(num_ids as u32, end[0]), &words);
        let trie = trie.with_eos_tokens(&end);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory =
            ParserFactory::new_simple(&env).map_err(|error| wrong(error.to_string()))?;
        factory.quiet();
        // Errors without the grammar: they go to whoever wrote the schema.
        *factory.limits_mut() = ParserLimits { verbose_errors: false, ..ParserLimits::default() };
        let (numeric, monsters) = super::numbers::tokens(&bytes);
        let abandoned = AtomicUsize::new(0);
        let names = specials.iter().map(|(name, &id)| (id, name.clone())).collect();
        let shared = Shared { factory, specials, names, end, numeric, monsters, bytes, abandoned };
        Ok(Self(Arc::new(shared)))
    }

    /// Number of ids that a mask knows; none above is ever allowed.
    pub fn num_ids(&self) -> usize {
        self.0.bytes.len()
    }

    /// The bytes that `id` adds to a text; none for special tokens.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.0.bytes.get(id as usize).map_or(&[], |bytes| bytes)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vocabulary").field("num_ids", &self.num_ids()).finish_non_exhaustive()
    }
}
