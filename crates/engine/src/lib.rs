//! The engine: sequences become steps, steps become tokens.
//!
//! A state machine around [`Engine::step`]: each step either reads a chunk of the prompt or writes
//! one token. It runs one sequence at a time and owns nothing but that sequence's memory.

use models::{Batch, Cache, CausalLm};
use tensor::sampling::{Sampling, sample};
use tensor::{KvType, Rng};

/// Which tokens may be written next.
pub trait TokenMask: std::fmt::Debug + Send {
    /// Sets the logits, `[vocab_size]`, of tokens that may not come next to minus infinity; those of
    /// some token stay.
    fn mask(&self, logits: &mut [f32]);

    /// Takes note of the token that was written.
    fn push(&mut self, id: u32);
}

/// What is to be read and how to answer.
#[derive(Debug)]
pub struct Request {
    /// The prompt, at least one token.
    pub input_ids: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Decides the choice where it is free.
    pub seed: u64,
    /// Most tokens to write.
    pub max_tokens: usize,
    /// Tokens that end the answer; they are not part of it.
    pub stop_ids: Vec<u32>,
    /// How keys and values are kept.
    pub kv: KvType,
    /// What may be written; anything if not set.
    pub mask: Option<Box<dyn TokenMask>>,
}

/// A request that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing to read.
    #[error("the prompt is empty, expected at least one token")]
    Empty,
    /// More than the model can hold.
    #[error(
        "the prompt has {prompt} tokens and the answer up to {answer}, expected at most {context} together, the model's context"
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Most tokens of the answer.
        answer: usize,
        /// What the model can hold.
        context: usize,
    },
    /// An id that the model does not know.
    #[error("token {id} of the prompt is not below the vocabulary's size, {vocab_size}")]
    UnknownToken {
        /// The id.
        id: u32,
        /// Number of ids.
        vocab_size: usize,
    },
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// By a stop token.
    Stop,
    /// By its length.
    Length,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Read so many tokens of the prompt; the prompt is not done.
    Read(usize),
    /// Wrote a token, after reading the last `read` tokens of the prompt, if any.
    Token {
        /// The token.
        id: u32,
        /// Tokens of the prompt read in the same step.
        read: usize,
    },
    /// Nothing more will come.
    Finished(FinishReason),
}

/// One sequence being read and answered.
#[derive(Debug)]
pub struct Engine<'a, M: CausalLm + ?Sized> {
    model: &'a M,
    request: Request,
    cache: Cache,
    /// Prompt tokens read.
    read: usize,
    written: usize,
    /// Written, but not yet read by the model.
    last: Option<u32>,
    rng: Rng,
    chunk: usize,
    finished: Option<FinishReason>,
}

impl<'a, M: CausalLm + ?Sized> Engine<'a, M> {
    /// Takes a request; prompts are read `chunk` tokens at a time.
    ///
    /// # Errors
    ///
    /// If the model cannot take it.
    ///
    /// # Panics
    ///
    /// If `chunk` is 0.
    pub fn new(model: &'a M, request: Request, chunk: usize) -> Result<Self, Refused> {
        assert!(chunk > 0, "a chunk of 0 tokens");
        let config = model.config();
        let (prompt, answer) = (request.input_ids.len(), request.max_tokens);
        let context = config.max_position_embeddings;
        let vocab_size = config.vocab_size;
        if prompt == 0 {
            return Err(Refused::Empty);
        }
        if prompt.saturating_add(answer) > context {
            return Err(Refused::TooLong { prompt, answer, context });
        }
        if let Some(&id) = request.input_ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(Refused::UnknownToken { id, vocab_size });
        }
        let cache = Cache::new(config, request.kv);
        let rng = Rng(request.seed);
        let finished = (answer == 0).then_some(FinishReason::Length);
        Ok(Self { model, request, cache, read: 0, written: 0, last: None, rng, chunk, finished })
    }

    /// What the sequence has read.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Reads a chunk or writes a token.
    pub fn step(&mut self) -> Event {
        if let Some(reason) = self.finished {
            return Event::Finished(reason);
        }
        let prompt = &self.request.input_ids;
        let piece = match self.last {
            Some(id) => vec![id],
            None => prompt[self.read..prompt.len().min(self.read + self.chunk)].to_vec(),
        };
        let reading = if self.last.is_some() { 0 } else { piece.len() };
        self.read += reading;
        let rows = if self.read < prompt.len() { vec![] } else { vec![piece.len() - 1] };
        let batch = Batch::single(&piece, self.cache.tokens(), &rows);
        let logits = self.model.logits(&batch, &mut [&mut self.cache]);
        if rows.is_empty() {
            return Event::Read(reading);
        }
        let Request { mask, sampling, .. } = &self.request;
        let id = match mask {
            None => sample(logits.data(), sampling, &mut self.rng),
            Some(mask) => {
                let mut logits = logits.to_vec();
                mask.mask(&mut logits);
                sample(&logits, sampling, &mut self.rng)
            }
        };
        if self.request.stop_ids.contains(&id) {
            self.finished = Some(FinishReason::Stop);
            return Event::Finished(FinishReason::Stop);
        }
        if let Some(mask) = &mut self.request.mask {
            mask.push(id);
        }
        self.last = Some(id);
        self.written += 1;
        if self.written == self.request.max_tokens {
            self.finished = Some(FinishReason::Length);
        }
        Event::Token { id, read: reading }
    }
}
