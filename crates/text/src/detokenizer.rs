//! Text as its tokens arrive, never a part of a character.

use crate::Tokenizer;

/// Turns ids into text one by one.
///
/// All pieces together are the text of all ids, whatever the tokenizer joins or cuts.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    /// Ids whose text may still change or is needed as context.
    ids: Vec<u32>,
    /// How many of them are context only, all of their text emitted.
    context: usize,
    /// Bytes that were emitted of the text of the others.
    emitted: usize,
    /// Ids since something was emitted.
    waiting: usize,
    /// Bytes of a character that is not complete, if the tokenizer is byte-level.
    bytes: Vec<u8>,
}

/// Most tokens that a character is spread over.
const LONGEST: usize = 4;
/// Most ids that are kept beside the context: text that stays damaged is not looked at for ever.
const MAX_IDS: usize = 64;

impl Detokenizer {
    /// Begins a text.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        Self {
            tokenizer: tokenizer.clone(),
            ids: Vec::new(),
            context: 0,
            emitted: 0,
            waiting: 0,
            bytes: Vec::new(),
        }
    }

    /// The text that `id` completes, maybe none.
    pub fn push(&mut self, id: u32) -> String {
        if let Some(byte) = self.tokenizer.byte(id) {
            self.bytes.push(byte);
            return self.complete_characters();
        }
        self.ids.push(id);
        self.waiting += 1;
        let Some(text) = self.rest() else {
            // A tokenizer that spells bytes makes all of a run damaged until its end is complete.
            return match self.ids.len() - self.context < MAX_IDS {
                true => String::new(),
                false => self.commit(),
            };
        };
        // The last character may still be completed, unless so many tokens came that it is damaged.
        // Some tokenizers write U+FFFD for each byte of it, others one.
        let whole = text.trim_end_matches('\u{FFFD}');
        let damaged = (text.len() - whole.len()) / '\u{FFFD}'.len_utf8();
        if whole.len() > self.emitted {
            self.waiting = 0;
        }
        let open = match self.waiting < LONGEST {
            true => damaged.min(LONGEST - 1),
            false => usize::from(damaged > 1),
        };
        let end = text.len() - open * '\u{FFFD}'.len_utf8();
        let complete = text.get(self.emitted..end).unwrap_or_default().to_owned();
        if !complete.is_empty() {
            (self.emitted, self.waiting) = (end, 0);
        }
        if open == 0 || self.ids.len() - self.context >= MAX_IDS {
            return complete + &self.commit();
        }
        complete
    }

    /// What is left, damaged characters as U+FFFD.
    pub fn finish(&mut self) -> String {
        self.commit() + &String::from_utf8_lossy(&std::mem::take(&mut self.bytes))
    }

    /// The rest of the ids' text; from now on they are context.
    fn commit(&mut self) -> String {
        let text = self.rest().unwrap_or_default();
        let text = text.get(self.emitted..).unwrap_or_default().to_owned();
        self.ids.drain(..self.context);
        self.context = self.ids.len();
        (self.emitted, self.waiting) = (0, 0);
        text
    }

    /// What the bytes so far say, but for a character that may go on.
    fn complete_characters(&mut self) -> String {
        let bytes = std::mem::take(&mut self.bytes);
        let mut text = String::new();
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let damaged = chunk.invalid();
            let goes_on = std::str::from_utf8(damaged).is_err_and(|e| e.error_len().is_none());
            if goes_on && chunks.peek().is_none() {
                self.bytes = damaged.to_vec();
            } else if !damaged.is_empty() {
                text.push('\u{FFFD}');
            }
        }
        text
    }

    /// The text behind the context, decoded with it: tokenizers that put a space before words leave
    /// it out at the very start. `None` if the context's own text has changed.
    fn rest(&self) -> Option<String> {
        let before = self.tokenizer.decode(&self.ids[..self.context]);
        let all = self.tokenizer.decode(&self.ids);
        all.strip_prefix(&before).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_together_are_the_text(text in "\\PC{0,40}") {
            let tokenizer = Tokenizer::bytes(["<|end|>"]);
            let mut detokenizer = Detokenizer::new(&tokenizer);
            let mut joined = String::new();
            for byte in text.bytes() {
                let piece = detokenizer.push(byte.into());
                let split = piece.contains('\u{FFFD}') && !text.contains('\u{FFFD}');
                prop_assert!(!split, "a part of a character");
                joined += &piece;
            }
            joined += &detokenizer.finish();
            prop_assert_eq!(joined, text);
        }

        #[test]
        fn any_ids_come_out(ids in prop::collection::vec(0..257_u32, 0..40)) {
            let tokenizer = Tokenizer::bytes(["<|end|>"]);
            let mut detokenizer = Detokenizer::new(&tokenizer);
            let mut joined = String::new();
            for &id in &ids {
                joined += &detokenizer.push(id);
            }
            joined += &detokenizer.finish();
            prop_assert_eq!(joined, tokenizer.decode(&ids));
        }
    }
}
