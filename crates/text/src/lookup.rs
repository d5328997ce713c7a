//! Models that look things up: the marks around text, question and answer, and answers that are
//! pieces of the text.
//!
//! nano copies values. What it has written so far occurs somewhere in the text, and the next token
//! is one that follows at one of these places, or the end; or it says [`ABSENT`].

use std::ops::Range;
use std::sync::Arc;

/// Names of the marks before a text, a question and an answer, and after an answer.
pub const MARKS: [&str; 4] = ["<|document|>", "<|question|>", "<|answer|>", "<|end|>"];

/// The answer to questions about what is not in the text.
pub const ABSENT: &str = "not in the text";

/// What of an answer is written, and where in the text that occurs.
#[derive(Clone, Debug)]
pub struct Extract {
    ids: Arc<[u32]>,
    /// Where in `ids` the text is.
    text: Range<usize>,
    absent: Vec<u32>,
    end: Vec<u32>,
    written: Vec<u32>,
    /// Ends of the occurrences of what is written, once something is.
    places: Vec<usize>,
}

impl Extract {
    /// Answers from `text`, or `absent`, ended by one of `end`; all as token ids.
    pub fn new(text: impl Into<Arc<[u32]>>, absent: Vec<u32>, end: Vec<u32>) -> Self {
        let ids = text.into();
        let text = 0..ids.len();
        Self::within(ids, text, absent, end)
    }

    /// The same from the part `text` of `ids`, which are shared.
    ///
    /// # Panics
    ///
    /// If they have no such part.
    pub fn within(ids: Arc<[u32]>, text: Range<usize>, absent: Vec<u32>, end: Vec<u32>) -> Self {
        assert!(text.start <= text.end && text.end <= ids.len(), "{text:?} of {}", ids.len());
        Self { ids, text, absent, end, written: Vec::new(), places: Vec::new() }
    }

    fn text(&self) -> &[u32] {
        &self.ids[self.text.clone()]
    }

    /// Sets the logits, `[vocab_size]`, of all tokens that may not come next to minus infinity.
    pub fn mask(&self, logits: &mut [f32]) {
        let mut allowed = vec![false; logits.len()];
        let mut allow = |id: u32| {
            if let Some(allowed) = allowed.get_mut(id as usize) {
                *allowed = true;
            }
        };
        if self.written.is_empty() {
            self.text().iter().for_each(|&id| allow(id));
        }
        self.places.iter().filter_map(|&place| self.text().get(place)).for_each(|&id| allow(id));
        let denies = self.absent.starts_with(&self.written);
        if let Some(&next) = self.absent.get(self.written.len()).filter(|_| denies) {
            allow(next);
        }
        if !self.places.is_empty() || self.written == self.absent {
            self.end.iter().for_each(|&id| allow(id));
        }
        for (logit, allowed) in logits.iter_mut().zip(allowed) {
            if !allowed {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// Takes note of the token that was chosen.
    pub fn push(&mut self, id: u32) {
        let text = &self.ids[self.text.clone()];
        if self.written.is_empty() {
            self.places = (0..text.len()).filter(|&i| text[i] == id).map(|i| i + 1).collect();
        } else {
            self.places.retain(|&place| text.get(place) == Some(&id));
            self.places.iter_mut().for_each(|place| *place += 1);
        }
        self.written.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u32 = 256;

    /// What may follow `written` in `text`, the end as `$`.
    fn next(text: &str, written: &str) -> String {
        let ids = |text: &str| text.bytes().map(u32::from).collect::<Vec<_>>();
        // Of more than the text, which has none of what is around it.
        let shared = [&[u32::from(b'n')], &ids(text)[..], &[u32::from(b'n')]].concat();
        let range = 1..shared.len() - 1;
        let mut extract = Extract::within(shared.into(), range, ids("no"), vec![END]);
        ids(written).into_iter().for_each(|id| extract.push(id));
        let mut logits = vec![0.0; 257];
        extract.mask(&mut logits);
        let allowed = (0..257u32).filter(|&id| logits[id as usize] == 0.0);
        allowed.map(|id| u8::try_from(id).map_or('$', char::from)).collect()
    }

    #[test]
    fn what_follows_in_the_text_may_follow() {
        assert_eq!(next("abcabd", ""), "abcdn");
        assert_eq!(next("abcabd", "a"), "b$");
        assert_eq!(next("abcabd", "ab"), "cd$");
        assert_eq!(next("abcabd", "abd"), "$");
        assert_eq!(next("ab", "n"), "o");
        assert_eq!(next("ab", "no"), "$");
        assert_eq!(next("nab", "n"), "ao$");
        assert_eq!(next("", ""), "n");
    }
}
