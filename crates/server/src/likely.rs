//! How likely tokens were, as clients read it.

use crate::app::Served;
use crate::wire::chat::{ChatLogprob, TopLogprob};
use crate::wire::completions::CompletionLogprobs;
use engine::TokenLogprobs;
use text::{Tokenizer, Vocabulary};

/// The smallest logarithm that is told: JSON has no infinity. OpenAI's number for the same.
const LEAST: f32 = -9999.0;

/// Writes tokens as text and bytes.
#[derive(Clone, Debug)]
pub(crate) struct Likely {
    tokenizer: Tokenizer,
    vocabulary: Option<Vocabulary>,
}

impl Likely {
    pub(crate) fn new(served: &Served) -> Self {
        Self { tokenizer: served.tokenizer.clone(), vocabulary: served.vocabulary.clone() }
    }

    /// The text and the bytes of a token; of a part of a character the text is `bytes:\x..`.
    pub(crate) fn token(&self, id: u32) -> (String, Vec<u8>) {
        let bytes = match &self.vocabulary {
            Some(vocabulary) => vocabulary.bytes(id).to_vec(),
            None => self.tokenizer.decode(&[id]).into_bytes(),
        };
        match String::from_utf8(bytes) {
            Ok(text) => {
                let bytes = text.clone().into_bytes();
                (text, bytes)
            }
            Err(error) => {
                let bytes = error.into_bytes();
                let hex: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
                (format!("bytes:{hex}"), bytes)
            }
        }
    }

    /// For chat completions and responses.
    pub(crate) fn chat(&self, told: &TokenLogprobs) -> ChatLogprob {
        let (token, bytes) = self.token(told.id);
        let top = told.top.iter().map(|&(id, logprob)| {
            let (token, bytes) = self.token(id);
            TopLogprob { token, logprob: logprob.max(LEAST), bytes }
        });
        ChatLogprob { token, logprob: told.logprob.max(LEAST), bytes, top_logprobs: top.collect() }
    }

    /// Adds a token to the lists of completions; `offset` is where it begins, in characters.
    pub(crate) fn add(
        &self,
        lists: &mut CompletionLogprobs,
        told: &TokenLogprobs,
        offset: &mut usize,
    ) {
        let token = self.place(lists, told.id, offset);
        lists.tokens.push(token);
        lists.token_logprobs.push(Some(told.logprob.max(LEAST)));
        let top = told.top.iter().map(|&(id, logprob)| (self.token(id).0, logprob.max(LEAST)));
        lists.top_logprobs.push(Some(top.collect()));
    }

    /// Adds the first token of a prompt, of which nothing is known.
    pub(crate) fn first(&self, lists: &mut CompletionLogprobs, id: u32, offset: &mut usize) {
        let token = self.place(lists, id, offset);
        lists.tokens.push(token);
        lists.token_logprobs.push(None);
        lists.top_logprobs.push(None);
    }

    /// Notes where a token begins, and gives its text.
    fn place(&self, lists: &mut CompletionLogprobs, id: u32, offset: &mut usize) -> String {
        let (token, bytes) = self.token(id);
        lists.text_offset.push(*offset);
        // Bytes that begin a character: tokens may be parts of one.
        *offset += bytes.iter().filter(|&&byte| byte & 0xC0 != 0x80).count();
        token
    }
}
