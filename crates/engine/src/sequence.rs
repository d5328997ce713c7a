//! One answer while it is written.

use crate::draft;
use crate::event::{FinishReason, TokenLogprobs};
use crate::model::{Memory, Model, Rows};
use crate::request::{Draft, Request, TokenMask};
use crate::sampling::{Seen, Unsampled, choose, logprobs, unit};
use models::is_content;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An answer and what was read for it: all tokens but the last one written.
#[derive(Debug)]
pub(crate) struct Sequence<M> {
    pub(crate) choice: usize,
    pub(crate) memory: M,
    /// The prompt, what is written, and in a step the guesses that are read with it.
    tokens: Vec<u32>,
    /// How many of `tokens` are the prompt.
    prompt: usize,
    /// How many of `tokens`, at the end, are guesses.
    guesses: usize,
    mask: Option<Box<dyn TokenMask>>,
    seen: Option<Seen>,
    pub(crate) drafted: usize,
    pub(crate) accepted: usize,
}

/// What a sequence wrote in a step.
pub(crate) type Written = Vec<(u32, Option<TokenLogprobs>)>;

impl<M: Memory> Sequence<M> {
    /// The first answer to a prompt that was read into `memory`.
    pub(crate) fn new(memory: M, request: &mut Request<M>) -> Self {
        let seen = request.sampling.has_penalties().then(|| Seen::new(&request.input_ids));
        Self {
            choice: 0,
            memory,
            tokens: request.input_ids.to_vec(),
            prompt: request.input_ids.len(),
            guesses: 0,
            mask: request.mask.take(),
            seen,
            drafted: 0,
            accepted: 0,
        }
    }

    /// The same as another answer.
    pub(crate) fn fork(&self, choice: usize) -> Self {
        Self {
            choice,
            memory: self.memory.clone(),
            tokens: self.tokens.clone(),
            mask: self.mask.as_ref().map(|mask| mask.fork()),
            seen: self.seen.clone(),
            ..*self
        }
    }

    /// Tokens written.
    pub(crate) fn written(&self) -> usize {
        self.tokens.len() - self.guesses - self.prompt
    }

    /// The tokens that were read.
    pub(crate) fn read(&self) -> &[u32] {
        &self.tokens[..self.memory.tokens()]
    }

    /// Tokens read in this step: the last one written and the guesses.
    pub(crate) fn rows(&self) -> usize {
        1 + self.guesses
    }

    /// The tokens to read in this step.
    pub(crate) fn piece(&mut self) -> (&mut M, &[u32]) {
        let read = self.memory.tokens();
        (&mut self.memory, &self.tokens[read..])
    }

    /// Guesses tokens to be read in this step, `most` at most, and tells how many.
    pub(crate) fn guess<P: Model>(
        &mut self,
        model: &P,
        request: &Request<M>,
        most: usize,
    ) -> usize {
        let Draft::Lookup { ngram, max } = request.draft else { return 0 };
        // The last token of an answer is written without being read.
        let left = request.max_tokens - (self.tokens.len() - self.prompt);
        // What is read before the guesses stays, so it must be possible to come back to there.
        let block = model.block();
        let room = block - 1 - self.tokens.len() % block;
        let most = max.min(left - 1).min(room).min(most);
        let guesses = draft::guess(&self.tokens, ngram, most);
        // Pictures and sounds are not written.
        let tokens = guesses.iter().take_while(|&&id| !is_content(id));
        let guesses: Vec<u32> = tokens.copied().collect();
        self.guesses = guesses.len();
        self.tokens.extend(guesses);
        self.drafted += self.guesses;
        self.guesses
    }

    /// Takes the logits of `rows`, one for the last token written and one for each guess. Tells what
    /// is written, and the reason if it was the last.
    pub(crate) fn advance(
        &mut self,
        logits: &Rows,
        rows: Range<usize>,
        vocab_size: usize,
        request: &Request<M>,
    ) -> (Written, Option<FinishReason>) {
        let known = self.tokens.len() - self.guesses;
        let guesses = self.tokens.split_off(known);
        self.guesses = 0;
        let mut written = Vec::new();
        let mut accepted = 0;
        let mut finished = None;
        for row in rows {
            finished = self.write(&logits.row(row)[..vocab_size], request, &mut written);
            if finished.is_some() || guesses.get(accepted) != self.tokens.last() {
                break;
            }
            accepted += 1;
        }
        self.accepted += accepted;
        if accepted < guesses.len() {
            self.memory.truncate(known + accepted);
        }
        (written, finished)
    }

    /// Writes a token by `logits: [vocab]`, or tells why nothing more is to be written.
    pub(crate) fn write(
        &mut self,
        logits: &[f32],
        request: &Request<M>,
        written: &mut Written,
    ) -> Option<FinishReason> {
        // Masks are not ours: what is wrong with one is wrong with this answer only.
        let tried = catch_unwind(AssertUnwindSafe(|| self.try_write(logits, request, written)));
        match tried {
            Ok(Ok(finished)) => finished,
            Ok(Err(error)) => Some(FinishReason::Failed(error.to_string())),
            Err(_) => Some(FinishReason::Failed("the mask panicked".to_owned())),
        }
    }

    fn try_write(
        &mut self,
        logits: &[f32],
        request: &Request<M>,
        written: &mut Written,
    ) -> Result<Option<FinishReason>, Unsampled> {
        let draw = unit(request.seed, self.choice, self.tokens.len());
        let (seen, mask) = (self.seen.as_ref(), self.mask.as_deref_mut());
        let id = choose(logits, &request.sampling, seen, mask, draw)?;
        if request.stop_ids.contains(&id) {
            return Ok(Some(FinishReason::Stop));
        }
        self.tokens.push(id);
        if let Some(seen) = &mut self.seen {
            seen.push(id);
        }
        written.push((id, request.logprobs.map(|top| logprobs(logits, id, top))));
        if let Some(mask) = &mut self.mask {
            mask.push(id).map_err(Unsampled::Mask)?;
            if mask.is_complete() {
                return Ok(Some(FinishReason::Stop));
            }
        }
        Ok((self.written() == request.max_tokens).then_some(FinishReason::Length))
    }
}
