//! `/v1/messages`, Anthropic's interface.

use super::shared::SessionField;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A conversation to be gone on with.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct MessagesRequest {
    /// The model.
    pub model: String,
    /// Most tokens to write.
    #[schemars(range(min = 1))]
    pub max_tokens: u32,
    /// What was said so far.
    #[schemars(length(min = 1, max = 16_384))]
    pub messages: Vec<InputMessage>,
    /// The rules.
    pub system: Option<System>,
    /// What ends an answer.
    #[schemars(length(max = 16), inner(length(min = 1, max = 1024)))]
    pub stop_sequences: Option<Vec<String>>,
    /// Whether the answer comes in pieces.
    pub stream: Option<bool>,
    /// How freely tokens are chosen; 0 takes the likeliest.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub temperature: Option<f32>,
    /// Chooses among the likeliest tokens that together have this probability.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    pub top_p: Option<f32>,
    /// Chooses among so many of the likeliest tokens.
    #[schemars(range(min = 0))]
    pub top_k: Option<i32>,
    /// What may be called.
    #[schemars(length(max = 128))]
    pub tools: Option<Vec<ToolDefinition>>,
    /// Whether something must be called.
    pub tool_choice: Option<ToolChoice>,
    /// Whether to show what the model thinks.
    pub thinking: Option<Thinking>,
    /// Kept nowhere.
    pub metadata: Option<Value>,
    /// Fulgurite's own: the conversation to go on with and to keep.
    pub session: Option<SessionField>,
}

/// A conversation to be counted.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct CountRequest {
    /// The model.
    pub model: String,
    /// What was said so far.
    #[schemars(length(min = 1, max = 16_384))]
    pub messages: Vec<InputMessage>,
    /// The rules.
    pub system: Option<System>,
    /// What may be called.
    #[schemars(length(max = 128))]
    pub tools: Option<Vec<ToolDefinition>>,
    /// Whether something must be called.
    pub tool_choice: Option<ToolChoice>,
    /// Whether to show what the model thinks.
    pub thinking: Option<Thinking>,
}

/// How many tokens a conversation has.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CountResponse {
    /// Tokens.
    pub input_tokens: u64,
}

/// One message.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct InputMessage {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: InputContent,
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Who asks.
    User,
    /// Who answers.
    Assistant,
}

/// The rules.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string or a list of text blocks")]
pub enum System {
    /// As text.
    Text(String),
    /// In pieces.
    Blocks(Vec<TextBlock>),
}

/// A piece of text.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TextBlock {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
}

/// What is said.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string or a list of content blocks of a known `type`")]
pub enum InputContent {
    /// Text.
    Text(String),
    /// Pieces.
    Blocks(Vec<InputBlock>),
}

/// A piece of what is said.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum InputBlock {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// A picture, for models that see.
    Image {
        /// The picture.
        #[schemars(with = "ImageSource")]
        source: Value,
    },
    /// A file of text.
    Document {
        /// The file.
        source: DocumentSource,
        /// Its name.
        title: Option<String>,
        /// What it is.
        context: Option<String>,
    },
    /// A call.
    ToolUse {
        /// What its result refers to.
        id: String,
        /// What is called.
        name: String,
        /// With what.
        input: Value,
    },
    /// The result of a call.
    ToolResult {
        /// Of which.
        tool_use_id: String,
        /// The result.
        content: Option<ResultContent>,
        /// Whether the call failed.
        is_error: Option<bool>,
    },
    /// What the assistant thought; models are not given it again.
    Thinking {
        /// The thoughts.
        thinking: String,
        /// Not looked at.
        signature: Option<String>,
    },
    /// Thoughts that cannot be read.
    RedactedThinking {
        /// Not looked at.
        data: Option<String>,
    },
}

/// A picture; what is wrong with one is said when it is looked at.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ImageSource {
    /// PNG, JPEG, WebP or GIF in base64.
    Base64 {
        /// `image/…`; not looked at, the bytes say it.
        media_type: Option<String>,
        /// The bytes.
        data: String,
    },
    /// Somewhere else; nothing is fetched.
    Url {
        /// Of the form `data:image/png;base64,BYTES`.
        url: String,
    },
}

/// A file of text.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DocumentSource {
    /// As it is.
    Text {
        /// The text.
        data: String,
    },
    /// In base64.
    Base64 {
        /// `text/…`.
        media_type: String,
        /// The bytes.
        data: String,
    },
    /// Somewhere else.
    Url {
        /// Where.
        url: String,
    },
}

/// The result of a call.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string or a list of content blocks of a known `type`")]
pub enum ResultContent {
    /// Text.
    Text(String),
    /// Pieces.
    Blocks(Vec<ResultBlock>),
}

/// A piece of a result.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResultBlock {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// A picture.
    Image {
        /// The picture.
        #[schemars(with = "ImageSource")]
        source: Value,
    },
}

/// A function that may be called.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ToolDefinition {
    /// Its name.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON schema of its arguments.
    pub input_schema: Value,
}

/// Whether something must be called.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToolChoice {
    /// As the model likes.
    Auto {
        /// At most one call.
        disable_parallel_tool_use: Option<bool>,
    },
    /// Something.
    Any {
        /// At most one call.
        disable_parallel_tool_use: Option<bool>,
    },
    /// This.
    Tool {
        /// Which.
        name: String,
        /// At most one call.
        disable_parallel_tool_use: Option<bool>,
    },
    /// Nothing.
    None,
}

/// Whether to show what the model thinks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Thinking {
    /// Yes.
    Enabled {
        /// Most tokens of it; part of `max_tokens`.
        #[schemars(range(min = 1))]
        budget_tokens: u32,
    },
    /// As the model likes.
    Adaptive,
    /// No.
    Disabled,
}

/// The answer as a whole.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// `message`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `assistant`.
    pub role: &'static str,
    /// The model.
    pub model: String,
    /// What is said.
    pub content: Vec<OutputBlock>,
    /// Why it ended.
    pub stop_reason: Option<&'static str>,
    /// The stop sequence that ended it.
    pub stop_sequence: Option<String>,
    /// Tokens.
    pub usage: Usage,
}

/// A piece of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputBlock {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// What it thought.
    Thinking {
        /// The thoughts.
        thinking: String,
        /// Says nothing.
        signature: String,
    },
    /// A call.
    ToolUse {
        /// What its result refers to.
        id: String,
        /// What is called.
        name: String,
        /// With what.
        input: Value,
    },
}

/// Tokens that were read and written.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Usage {
    /// Tokens of the prompt that were read now.
    pub input_tokens: u64,
    /// 0: what is kept costs nothing.
    pub cache_creation_input_tokens: u64,
    /// Tokens of the prompt that were not read again.
    pub cache_read_input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
}

/// A piece of a stream, named by its `type`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamEvent {
    /// Begins.
    MessageStart {
        /// The answer, empty.
        message: Message,
    },
    /// A piece of the answer begins.
    ContentBlockStart {
        /// Which.
        index: u32,
        /// The piece, empty.
        content_block: OutputBlock,
    },
    /// It goes on.
    ContentBlockDelta {
        /// Which.
        index: u32,
        /// What is new.
        delta: BlockDelta,
    },
    /// It ends.
    ContentBlockStop {
        /// Which.
        index: u32,
    },
    /// Why the answer ended.
    MessageDelta {
        /// Why.
        delta: MessageDelta,
        /// Tokens.
        usage: Usage,
    },
    /// Ends.
    MessageStop,
    /// The server lives.
    Ping,
}

/// What is new in a piece.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BlockDelta {
    /// Text.
    TextDelta {
        /// The text.
        text: String,
    },
    /// Thoughts.
    ThinkingDelta {
        /// The thoughts.
        thinking: String,
    },
    /// What something is called with.
    InputJsonDelta {
        /// A piece of JSON.
        partial_json: String,
    },
}

/// Why an answer ended.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MessageDelta {
    /// Why.
    pub stop_reason: Option<&'static str>,
    /// The stop sequence that ended it.
    pub stop_sequence: Option<String>,
}
