//! `/v1/sessions`.

use super::chat::ChatMessage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Conversations that last.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SessionList {
    /// `list`.
    pub object: &'static str,
    /// One by one, by name.
    pub data: Vec<Session>,
}

/// A conversation that lasts.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Session {
    /// Its name.
    pub id: String,
    /// `session`.
    pub object: &'static str,
    /// Tokens read and written.
    pub tokens: u64,
    /// Messages said; 0 if only the tokens are known.
    pub messages: u64,
    /// Bytes it takes.
    pub bytes: u64,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970.
    pub updated: u64,
    /// When it may be deleted, in seconds since 1970.
    pub expires: Option<u64>,
    /// The session that it was forked from.
    pub parent: Option<String>,
    /// A line for people.
    pub label: Option<String>,
    /// The model whose memory it is.
    pub model: String,
}

/// A new name for the same conversation.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ForkRequest {
    /// The name of the copy.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// A line for people.
    #[schemars(length(max = 1024))]
    pub label: Option<String>,
}

/// What was said in a session.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SessionMessages {
    /// `list`.
    pub object: &'static str,
    /// From the first on; none if only the tokens are known.
    pub data: Vec<ChatMessage>,
}

/// What is to be changed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ChangeRequest {
    /// A line for people, in place of the one that was there.
    #[schemars(length(max = 1024))]
    pub label: String,
}

/// Back to an earlier point.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct RewindRequest {
    /// Keeps so many messages.
    #[schemars(range(max = 16_384))]
    pub messages: Option<u32>,
    /// Or so many tokens.
    pub tokens: Option<u64>,
}

/// What was deleted.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Deleted {
    /// Its name.
    pub id: String,
    /// `session`.
    pub object: &'static str,
    /// `true`.
    pub deleted: bool,
}
