//! What the engine tells of a request.

use crate::snapshots::{Miss, Snapshot};
use std::ops::Range;

/// What happened to a request; in this order, `Token`s and `Finished` of several answers mixed.
#[derive(Clone, Debug)]
pub enum Event<M> {
    /// It is being read from now on.
    Started {
        /// Tokens of the prompt that need not be read, since they are known.
        cached_tokens: usize,
        /// Why it is not more; none if only the last token was left to read.
        miss: Option<Miss>,
    },
    /// Some of the prompt was read.
    Read {
        /// Tokens of the prompt read so far, those that were known among them.
        tokens: usize,
    },
    /// How likely the prompt was, if asked for: one for each of its tokens read with logits, in order;
    /// the first token of a prompt has none, and rows of pictures and sounds have none.
    Prompt {
        /// Of these tokens; together with those before, of all.
        logprobs: Vec<TokenLogprobs>,
    },
    /// What the prompt comes to, if asked for: the mean of the hidden states of all its tokens behind the
    /// model's last norm, `[hidden_size]`, not normalized.
    Embedding {
        /// The mean, added up in f64 in the order of the tokens.
        values: Vec<f32>,
    },
    /// A token of an answer.
    Token {
        /// Which answer.
        choice: usize,
        /// The token.
        id: u32,
        /// How likely it was, if asked for.
        logprobs: Option<TokenLogprobs>,
    },
    /// Nothing more of this answer will come.
    Finished {
        /// Which answer.
        choice: usize,
        /// Why.
        reason: FinishReason,
    },
    /// Nothing more of this request will come.
    Done {
        /// What it took.
        usage: Usage,
        /// Where each answer ended, in order, if [asked for](crate::Request::give_ends): what was read,
        /// so often without the last token written. Answers that failed have none.
        snapshots: Vec<(usize, Snapshot<M>)>,
    },
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// By a stop token, or because its mask allows nothing more.
    Stop,
    /// By its length.
    Length,
    /// Nobody wants it any more.
    Cancelled,
    /// These tokens of the prompt stand for a picture or a sound that has to be read, and its rows did not
    /// come with the request.
    Unread(Range<usize>),
    /// Something went wrong.
    Failed(String),
}

impl FinishReason {
    /// What went wrong, in a sentence; none if nothing did.
    pub fn failure(&self) -> Option<String> {
        match self {
            Self::Stop | Self::Length | Self::Cancelled => None,
            Self::Unread(Range { start, end }) => Some(format!(
                "tokens {start} to {end} of the prompt stand for a picture or a sound that has to be read \
                 again, expected it with the request"
            )),
            Self::Failed(why) => Some(why.clone()),
        }
    }
}

/// How likely a token was, as natural logarithms, by the model alone: before bias, penalties, mask and
/// temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// The token.
    pub id: u32,
    /// Its own.
    pub logprob: f32,
    /// The likeliest tokens, best first, as many as asked for.
    pub top: Vec<(u32, f32)>,
}

/// What a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that were known.
    pub cached_tokens: usize,
    /// Tokens of all answers.
    pub completion_tokens: usize,
    /// Tokens guessed ahead.
    pub drafted: usize,
    /// Those of them that were right.
    pub accepted: usize,
    /// Bytes of the memories of all answers at their ends that do not grow with tokens.
    pub state_bytes: u64,
    /// Bytes that do; shared ones counted for each answer.
    pub kv_bytes: u64,
}
