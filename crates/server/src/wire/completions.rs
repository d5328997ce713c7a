//! `/v1/completions`.

use super::shared::{SessionField, Stop, StreamOptions, Usage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A text to be gone on with.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct CompletionRequest {
    /// The model; the one that is served if not given.
    pub model: Option<String>,
    /// The text.
    pub prompt: Prompt,
    /// How freely tokens are chosen; 0 takes the likeliest.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: Option<f32>,
    /// Chooses among the likeliest tokens that together have this probability.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    pub top_p: Option<f32>,
    /// Chooses among so many of the likeliest tokens; 0 or -1 among all.
    #[schemars(range(min = -1))]
    pub top_k: Option<i32>,
    /// Leaves out tokens less likely than this share of the likeliest.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_p: Option<f32>,
    /// Makes tokens that occurred less likely, by division.
    #[schemars(range(max = 10.0), extend("exclusiveMinimum" = 0))]
    pub repetition_penalty: Option<f32>,
    /// Makes tokens that were written less likely, once.
    #[schemars(range(min = -2.0, max = 2.0))]
    pub presence_penalty: Option<f32>,
    /// Makes tokens that were written less likely, each time.
    #[schemars(range(min = -2.0, max = 2.0))]
    pub frequency_penalty: Option<f32>,
    /// Added to the logits of tokens, -100 to 100 by id.
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// Decides the choice where it is free.
    pub seed: Option<i64>,
    /// Number of answers to each prompt.
    #[schemars(range(min = 1, max = 128))]
    pub n: Option<u32>,
    /// Takes the best of so many; `n` only.
    #[schemars(range(min = 1, max = 128))]
    pub best_of: Option<u32>,
    /// Most tokens to write, 16 unless set; 0 with `echo` tells of the prompt only.
    pub max_tokens: Option<u32>,
    /// What ends an answer.
    pub stop: Option<Stop>,
    /// Tells the probabilities of what is written and of so many others.
    #[schemars(range(max = 20))]
    pub logprobs: Option<u32>,
    /// Whether the prompt is part of the answer.
    pub echo: Option<bool>,
    /// What follows the answer; not offered.
    pub suffix: Option<String>,
    /// Whether the answer comes in pieces.
    pub stream: Option<bool>,
    /// How.
    pub stream_options: Option<StreamOptions>,
    /// Who asks; kept nowhere.
    pub user: Option<String>,
    /// Kept nowhere.
    pub metadata: Option<BTreeMap<String, Value>>,
    /// A session whose memory may be used.
    #[schemars(length(min = 1, max = 128))]
    pub prompt_cache_key: Option<String>,
    /// Fulgurite's own: the conversation to go on with and to keep.
    pub session: Option<SessionField>,
}

/// One text or several, or their tokens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string, a list of strings, or token ids")]
pub enum Prompt {
    /// One text.
    Text(String),
    /// Several texts.
    Texts(#[schemars(length(min = 1, max = 128))] Vec<String>),
    /// One prompt as token ids.
    Ids(Vec<u32>),
    /// Several prompts as token ids.
    Lists(#[schemars(length(min = 1, max = 128))] Vec<Vec<u32>>),
}

/// The answer, as a whole or a piece of a stream.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Completion {
    /// Its id.
    pub id: String,
    /// `text_completion`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model.
    pub model: String,
    /// Program and weights.
    pub system_fingerprint: String,
    /// The answers.
    pub choices: Vec<CompletionChoice>,
    /// Tokens; in streams in the last piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
}

/// One answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CompletionChoice {
    /// Which.
    pub index: u32,
    /// The text.
    pub text: String,
    /// How likely.
    pub logprobs: Option<CompletionLogprobs>,
    /// Why it ended.
    pub finish_reason: Option<&'static str>,
}

/// How likely the tokens were, in four lists of one length.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct CompletionLogprobs {
    /// Their texts.
    pub tokens: Vec<String>,
    /// Natural logarithms of their probabilities; `null` for the first of a prompt.
    pub token_logprobs: Vec<Option<f32>>,
    /// The likeliest instead.
    pub top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
    /// Where they begin, in characters of prompt and answer.
    pub text_offset: Vec<usize>,
}
