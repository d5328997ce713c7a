//! `/v1/chat/completions`.

use super::shared::{Function, ResponseFormat, SessionField, Stop, StreamOptions, Usage};
use crate::senses::Seen;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A conversation to be gone on with.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ChatRequest {
    /// The model; the one that is served if not given.
    pub model: Option<String>,
    /// What was said so far.
    #[schemars(length(min = 1, max = 16_384))]
    pub messages: Vec<ChatMessage>,
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
    /// Number of answers.
    #[schemars(range(min = 1, max = 128))]
    pub n: Option<u32>,
    /// Most tokens to write; the older name.
    #[schemars(range(min = 1))]
    pub max_tokens: Option<u32>,
    /// Most tokens to write.
    #[schemars(range(min = 1))]
    pub max_completion_tokens: Option<u32>,
    /// What ends an answer.
    pub stop: Option<Stop>,
    /// Whether to tell the probabilities of what is written.
    pub logprobs: Option<bool>,
    /// And of so many others.
    #[schemars(range(max = 20))]
    pub top_logprobs: Option<u32>,
    /// What form the answer has.
    pub response_format: Option<ResponseFormat>,
    /// What may be called.
    #[schemars(length(max = 128))]
    pub tools: Option<Vec<Tool>>,
    /// Whether something must be called.
    pub tool_choice: Option<ToolChoice>,
    /// Whether several calls may be in one answer.
    pub parallel_tool_calls: Option<bool>,
    /// How much to think; given to the template.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// Values of further variables of the template, such as `enable_thinking`.
    pub chat_template_kwargs: Option<serde_json::Map<String, Value>>,
    /// Whether the answer comes in pieces.
    pub stream: Option<bool>,
    /// How.
    pub stream_options: Option<StreamOptions>,
    /// Who asks; kept nowhere.
    pub user: Option<String>,
    /// Kept nowhere.
    pub metadata: Option<BTreeMap<String, Value>>,
    /// Kept nowhere.
    pub store: Option<bool>,
    /// A session whose memory may be used.
    #[schemars(length(min = 1, max = 128))]
    pub prompt_cache_key: Option<String>,
    /// Fulgurite's own: the conversation to go on with and to keep.
    pub session: Option<SessionField>,
}

/// How much to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningEffort {
    /// Not at all.
    None,
    /// Hardly.
    Minimal,
    /// Little.
    Low,
    /// As usual.
    Medium,
    /// Much.
    High,
    /// As much as there is room for.
    Xhigh,
}

/// One message.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
pub struct ChatMessage {
    /// Who says it.
    pub role: Role,
    /// What is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// The name of who says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the assistant calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// Which call this is the result of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// What the assistant thought; models are not given it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Why the assistant did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The newer name of `system`.
    Developer,
    /// Who makes the rules.
    System,
    /// Who asks.
    User,
    /// Who answers.
    Assistant,
    /// What was called.
    Tool,
}

/// What is said.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(untagged, expecting = "expected a string or a list of content parts of a known `type`")]
pub enum Content {
    /// Text.
    Text(String),
    /// Pieces.
    Parts(Vec<ContentPart>),
}

/// A piece of what is said.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentPart {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// Why something was not answered.
    Refusal {
        /// The reason.
        refusal: String,
    },
    /// A picture, for models that see.
    ImageUrl {
        /// The picture.
        #[schemars(with = "ImageUrl")]
        image_url: Value,
    },
    /// A sound, for models that hear.
    InputAudio {
        /// The sound.
        #[schemars(with = "InputAudio")]
        input_audio: Value,
    },
    /// A file of text.
    File {
        /// The file.
        file: FileData,
    },
    /// A picture or a sound that was perceived, as sessions keep it.
    #[schemars(skip)]
    Seen(Seen),
}

/// A picture in a message; what is wrong with one is said when it is looked at.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ImageUrl {
    /// Its address, of the form `data:image/png;base64,BYTES`: nothing is fetched.
    Address(String),
    /// The same with more.
    Detailed {
        /// Its address, of the form `data:image/png;base64,BYTES`: PNG, JPEG, WebP or GIF.
        url: String,
        /// Not looked at: a picture takes as many tokens as the model was trained with.
        detail: Option<Detail>,
    },
}

/// How closely to look at a picture.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// As usual.
    Auto,
    /// Hardly.
    Low,
    /// Closely.
    High,
    /// As closely as there are pixels.
    Original,
}

/// A sound in a message.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct InputAudio {
    /// WAV, MP3, FLAC or Ogg Vorbis in base64, with or without `data:TYPE;base64,` in front.
    pub data: String,
    /// `wav`, `mp3`, `flac` or `ogg`; not looked at, the bytes say it.
    pub format: Option<String>,
}

/// A file in a message.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
pub struct FileData {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Its bytes in base64, with or without `data:TYPE;base64,` in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_data: Option<String>,
    /// A file kept by the server, which keeps none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_id: Option<String>,
}

/// What may be called.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Tool {
    /// A function.
    Function {
        /// The function.
        function: Function,
    },
}

/// Whether something must be called.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected `auto`, `none`, `required` or a function to call")]
pub enum ToolChoice {
    /// Something, or nothing.
    Mode(ToolMode),
    /// This.
    Named(NamedTool),
}

/// Whether something must be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolMode {
    /// As the model likes.
    Auto,
    /// Nothing.
    None,
    /// Something.
    Required,
}

/// The function that must be called.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NamedTool {
    /// A function.
    Function {
        /// Which.
        function: FunctionName,
    },
}

/// A function by name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct FunctionName {
    /// The name.
    pub name: String,
}

/// A call.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
pub struct ToolCall {
    /// What its result refers to.
    pub id: String,
    /// `function`.
    #[serde(rename = "type", default = "function")]
    pub kind: String,
    /// What is called, with what.
    pub function: FunctionCall,
}

fn function() -> String {
    "function".to_owned()
}

/// What is called, with what.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
pub struct FunctionCall {
    /// The function.
    pub name: String,
    /// JSON.
    pub arguments: String,
}

/// The answer as a whole.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChatCompletion {
    /// Its id.
    pub id: String,
    /// `chat.completion`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model.
    pub model: String,
    /// The answers.
    pub choices: Vec<ChatChoice>,
    /// Tokens.
    pub usage: Usage,
    /// Program and weights.
    pub system_fingerprint: String,
}

/// One answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChatChoice {
    /// Which.
    pub index: u32,
    /// What is said.
    pub message: AnswerMessage,
    /// How likely.
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended.
    pub finish_reason: &'static str,
}

/// What the assistant says.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AnswerMessage {
    /// `assistant`.
    pub role: &'static str,
    /// The text; `null` if there are only calls.
    pub content: Option<String>,
    /// What it thought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// `null`.
    pub refusal: Option<String>,
    /// What it calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

/// How likely the tokens were.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChatLogprobs {
    /// One by one.
    pub content: Vec<ChatLogprob>,
    /// `null`.
    pub refusal: Option<Vec<ChatLogprob>>,
}

/// How likely a token was.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChatLogprob {
    /// Its text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The likeliest instead.
    pub top_logprobs: Vec<TopLogprob>,
}

/// How likely another token was.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TopLogprob {
    /// Its text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A piece of a stream.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChatChunk {
    /// The answer's id.
    pub id: String,
    /// `chat.completion.chunk`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model.
    pub model: String,
    /// Program and weights.
    pub system_fingerprint: String,
    /// What is new; nothing in the last chunk, which tells the usage.
    pub choices: Vec<ChunkChoice>,
    /// Tokens, in the last chunk; `null` in others if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
    /// Fulgurite's own: how far the prompt is read, in chunks without choices, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// How far a prompt is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Progress {
    /// Tokens of the prompt that are read, those that were known included.
    pub read: u64,
    /// Tokens of the prompt.
    pub total: u64,
    /// Tokens that were known.
    pub cached: u64,
    /// Why not more were.
    pub miss: String,
}

/// What is new in one answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChunkChoice {
    /// Which.
    pub index: u32,
    /// What is new.
    pub delta: Delta,
    /// How likely.
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended.
    pub finish_reason: Option<&'static str>,
}

/// What is new.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Delta {
    /// `assistant`, in the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// Text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// What it thinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// What it calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallDelta>,
}

/// A piece of a call.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ToolCallDelta {
    /// Which call.
    pub index: u32,
    /// What its result refers to, in its first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`, in its first piece.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// What is called, with what.
    pub function: FunctionDelta,
}

/// A piece of what is called.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FunctionDelta {
    /// The function, in its first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A piece of JSON.
    pub arguments: String,
}
