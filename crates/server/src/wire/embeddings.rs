//! `/v1/embeddings`.

use super::completions::Prompt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Texts to be made vectors.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct EmbeddingRequest {
    /// The model; the one that is served if not given.
    pub model: Option<String>,
    /// The texts.
    pub input: Input,
    /// How vectors are written, `float` unless set.
    pub encoding_format: Option<EncodingFormat>,
    /// Numbers of a vector; only the model's own are offered.
    #[schemars(range(min = 1))]
    pub dimensions: Option<u32>,
    /// Who asks; kept nowhere.
    pub user: Option<String>,
}

/// One text or several, or their tokens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "EmbeddingInput")]
#[serde(untagged, expecting = "expected a string, a list of strings, or token ids")]
pub enum Input {
    /// One text.
    Text(String),
    /// Several texts.
    Texts(#[schemars(length(min = 1, max = 2048))] Vec<String>),
    /// One text as token ids.
    Ids(Vec<u32>),
    /// Several texts as token ids.
    Lists(#[schemars(length(min = 1, max = 2048))] Vec<Vec<u32>>),
}

impl From<Input> for Prompt {
    fn from(input: Input) -> Self {
        match input {
            Input::Text(text) => Self::Text(text),
            Input::Texts(texts) => Self::Texts(texts),
            Input::Ids(ids) => Self::Ids(ids),
            Input::Lists(lists) => Self::Lists(lists),
        }
    }
}

/// How a vector is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncodingFormat {
    /// A list of numbers.
    Float,
    /// The bytes of little-endian f32 in base64.
    Base64,
}

/// The vectors.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EmbeddingList {
    /// `list`.
    pub object: &'static str,
    /// One for each text, in order.
    pub data: Vec<Embedding>,
    /// The model.
    pub model: String,
    /// What was read.
    pub usage: EmbeddingUsage,
}

/// A vector.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Embedding {
    /// `embedding`.
    pub object: &'static str,
    /// Of which text.
    pub index: usize,
    /// The vector, `[hidden_size]`, of length 1; all 0 if the model says so.
    pub embedding: Vector,
}

/// The numbers of a vector, `[hidden_size]`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Vector {
    /// One by one.
    Float(Vec<f32>),
    /// As bytes in base64.
    Base64(String),
}

/// Tokens that were read.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct EmbeddingUsage {
    /// Of all texts.
    pub prompt_tokens: u64,
    /// The same.
    pub total_tokens: u64,
}
