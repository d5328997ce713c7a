//! Models, versions, health, and text to tokens and back.

use super::chat::{ChatMessage, Tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The models that are served.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ModelList {
    /// `list`.
    pub object: &'static str,
    /// One by one.
    pub data: Vec<ModelCard>,
}

/// A model.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ModelCard {
    /// Its name.
    pub id: String,
    /// `model`.
    pub object: &'static str,
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    /// `fulgurite`.
    pub owned_by: &'static str,
    /// Most tokens of prompt and answer; a model for clips has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<usize>,
    /// What its prompts may hold: `text`, `image`, `audio`; of a model for texts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub input_modalities: Vec<&'static str>,
}

/// A text or a conversation to be cut into tokens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct TokenizeRequest {
    /// The model; the one that is served if not given.
    pub model: Option<String>,
    /// A text.
    pub prompt: Option<String>,
    /// Or a conversation.
    #[schemars(length(min = 1, max = 16_384))]
    pub messages: Option<Vec<ChatMessage>>,
    /// What may be called in it.
    #[schemars(length(max = 128))]
    pub tools: Option<Vec<Tool>>,
    /// Whether special tokens in a text are special.
    pub add_special_tokens: Option<bool>,
}

/// A text as tokens.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TokenizeResponse {
    /// How many.
    pub count: usize,
    /// Most tokens of prompt and answer.
    pub max_model_len: usize,
    /// Their ids.
    pub tokens: Vec<u32>,
}

/// Tokens to be made text.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct DetokenizeRequest {
    /// The model; the one that is served if not given.
    pub model: Option<String>,
    /// Ids.
    pub tokens: Vec<u32>,
}

/// Tokens as text.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DetokenizeResponse {
    /// The text.
    pub prompt: String,
}

/// The program.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Version {
    /// Its version.
    pub version: &'static str,
}

/// Whether the server lives, or is ready.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Health {
    /// `ok`, `loading`, `draining` or `failing`.
    pub status: &'static str,
}
