//! What is asked of the engine.

use crate::sampling::Sampling;
use crate::snapshots::Snapshot;
use models::ContentRows;
use std::fmt;
use std::sync::Arc;

/// Names a request among those of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Who may share what was read: prefixes are reused only within one namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(pub u64);

/// Most alternatives of a token's logprobs.
pub const MAX_LOGPROBS: usize = 20;

/// What is to be read and how to answer.
#[derive(Debug)]
pub struct Request<M> {
    /// The prompt, at least one token.
    pub input_ids: Arc<[u32]>,
    /// Pictures and sounds that stand for tokens of the prompt, in ascending order; the ids there are
    /// [`content_ids`](crate::content_ids). What is surely known need not come with the request, but what
    /// came without it and has to be read ends the request with an error.
    pub inserted: Vec<ContentRows>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Decides where the choice is free. The draw of a token depends on this, the number of the answer
    /// and the token's position, so there is nothing to save for going on later.
    pub seed: u64,
    /// Number of answers; the prompt is read once.
    pub n: usize,
    /// Most tokens of each answer; with 0 the prompt is read and that is all.
    pub max_tokens: usize,
    /// Tokens that end an answer; they are not part of it.
    pub stop_ids: Vec<u32>,
    /// Say how likely each written token was, and this many others ([`MAX_LOGPROBS`] at most).
    pub logprobs: Option<usize>,
    /// Say it of the prompt's tokens, which are all read then: nothing known is reused. Of pictures and
    /// sounds nothing is said.
    pub prompt_logprobs: Option<usize>,
    /// Give [`Event::Embedding`](crate::Event::Embedding) of the prompt, which is all read then: nothing
    /// known is reused. For a request without answers: `n` 1, `max_tokens` 0, no `prompt_logprobs`.
    pub embed: bool,
    /// What may be written; anything if not set.
    pub mask: Option<Box<dyn TokenMask>>,
    /// With whom prefixes are shared.
    pub namespace: Namespace,
    /// Between whom the machine's time is divided fairly.
    pub client: u64,
    /// How long what is read stays.
    pub keep: Keep,
    /// Points of the prompt, in tokens, at which others may begin to differ, such as ends of messages:
    /// snapshots are taken at the first and the last three of them.
    pub marks: Vec<usize>,
    /// Something already read that the prompt begins with. It becomes one of the namespace's snapshots,
    /// if there is room, and is reused as far as the two agree.
    pub from: Option<Snapshot<M>>,
    /// Whether tokens are guessed ahead.
    pub draft: Draft,
    /// Whether [`Event::Done`](crate::Event::Done) is to give where each answer ended.
    pub give_ends: bool,
}

impl<M> Request<M> {
    /// One answer of at most `max_tokens`, always the likeliest token.
    pub fn new(input_ids: impl Into<Arc<[u32]>>, max_tokens: usize) -> Self {
        Self {
            input_ids: input_ids.into(),
            inserted: Vec::new(),
            sampling: Sampling::GREEDY,
            seed: 0,
            n: 1,
            max_tokens,
            stop_ids: Vec::new(),
            logprobs: None,
            prompt_logprobs: None,
            embed: false,
            mask: None,
            namespace: Namespace::default(),
            client: 0,
            keep: Keep::Usual,
            marks: Vec::new(),
            from: None,
            draft: Draft::Off,
            give_ends: false,
        }
    }
}

impl<M> Request<M> {
    /// Whether every token of the prompt has an output.
    pub(crate) fn reads_rows(&self) -> bool {
        self.prompt_logprobs.is_some() || self.embed
    }

    /// Bytes of the rows of pictures and sounds, which are held until the prompt is read.
    pub(crate) fn row_bytes(&self) -> u64 {
        let bytes = self.inserted.iter().map(|content| content.rows.bytes() as u64);
        bytes.fold(0, u64::saturating_add)
    }
}

/// How long what was read stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keep {
    /// Not at all.
    No,
    /// As long as there is nothing that is worth more.
    Usual,
    /// Until it is unpinned, as long as [`Limits::pinned_bytes`](crate::Limits::pinned_bytes) suffice;
    /// then as usual. Of a request, the ends of its answers are pinned.
    Pinned,
}

/// Guessing tokens ahead and checking the guesses all at once, which reads weights once for many tokens.
/// Answers are the same with and without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Draft {
    /// One token at a time.
    #[default]
    Off,
    /// What followed when the last `ngram` tokens were seen before, `max` tokens at most.
    Lookup {
        /// Tokens that must agree, at least one.
        ngram: usize,
        /// Tokens guessed at once.
        max: usize,
    },
}

/// Which tokens may be written next.
pub trait TokenMask: fmt::Debug + Send {
    /// Sets the logits, `[vocab_size]`, of tokens that may not come next to minus infinity.
    ///
    /// # Errors
    ///
    /// In a sentence, if it cannot tell; the answer ends.
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), String>;

    /// Takes note of the token that was written.
    ///
    /// # Errors
    ///
    /// In a sentence, if it cannot go on; the answer ends.
    fn push(&mut self, id: u32) -> Result<(), String>;

    /// Whether nothing may follow: the answer ends without a stop token.
    fn is_complete(&self) -> bool {
        false
    }

    /// The same for another answer, which begins alike.
    fn fork(&self) -> Box<dyn TokenMask>;
}
