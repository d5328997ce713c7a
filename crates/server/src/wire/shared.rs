//! Pieces that several interfaces share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One or several strings that end an answer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub enum Stop {
    /// One.
    One(#[schemars(length(min = 1, max = 1024))] String),
    /// Several.
    Several(#[schemars(length(max = 4), inner(length(min = 1, max = 1024)))] Vec<String>),
}

/// A JSON schema with a name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct NamedSchema {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The schema.
    pub schema: Option<Value>,
    /// Whether the answer must match; it always does.
    pub strict: Option<bool>,
}

/// What form the answer has.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponseFormat {
    /// Any text.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that matches a schema.
    JsonSchema {
        /// The schema.
        json_schema: NamedSchema,
    },
}

/// A function that the model may call.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Function {
    /// Its name.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON schema of its arguments.
    pub parameters: Option<Value>,
    /// Whether calls must match the schema.
    pub strict: Option<bool>,
}

/// Fulgurite's own: a conversation that lasts, by its name.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct SessionField {
    /// Goes on with this session, or begins it, and keeps the result under the same name.
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
    /// Goes on with this session, which must be there, and leaves it as it is.
    #[schemars(length(min = 1, max = 128))]
    pub resume: Option<String>,
    /// Whether the result is kept (`true`, under `name`), or the name to keep it under.
    pub save: Option<Save>,
    /// Keeps the result as a new session of this name, a child of the one that is gone on with.
    #[schemars(length(min = 1, max = 128))]
    pub fork: Option<String>,
    /// Goes back to the first so many messages before going on.
    #[schemars(range(max = 16_384))]
    pub rewind: Option<u32>,
    /// Seconds after which the session may be deleted.
    #[schemars(range(min = 1))]
    pub ttl: Option<u64>,
    /// A line for people.
    #[schemars(length(max = 1024))]
    pub label: Option<String>,
}

/// Whether to keep a session, and under which name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a boolean or a name")]
pub enum Save {
    /// Under the session's own name, or not.
    Whether(bool),
    /// Under this name.
    As(#[schemars(length(min = 1, max = 128))] String),
}

/// Tokens that were read and written.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens written, of all choices.
    pub completion_tokens: u64,
    /// Both.
    pub total_tokens: u64,
    /// Of the prompt.
    pub prompt_tokens_details: PromptDetails,
    /// Of what was written.
    pub completion_tokens_details: CompletionDetails,
}

/// Where the prompt came from.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PromptDetails {
    /// Tokens that were not read again.
    pub cached_tokens: u64,
}

/// What the written tokens were.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CompletionDetails {
    /// Tokens of reasoning.
    pub reasoning_tokens: u64,
    /// Drafted tokens that were right.
    pub accepted_prediction_tokens: u64,
    /// Drafted tokens that were wrong.
    pub rejected_prediction_tokens: u64,
}

/// Options of a stream.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct StreamOptions {
    /// Whether a last chunk tells the usage.
    pub include_usage: Option<bool>,
    /// Fulgurite's own: whether chunks tell how far the prompt is read, of chats only.
    pub include_progress: Option<bool>,
}
