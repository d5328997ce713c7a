//! `/v1/responses`.

use super::chat::{ReasoningEffort, ToolMode};
use super::shared::{Function, SessionField};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What to answer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ResponsesRequest {
    /// The model; the one that is served if not given.
    pub model: Option<String>,
    /// What is said.
    pub input: Input,
    /// The rules; not carried over to the next response.
    pub instructions: Option<String>,
    /// The response to go on from.
    pub previous_response_id: Option<String>,
    /// Most tokens to write.
    #[schemars(range(min = 1))]
    pub max_output_tokens: Option<u32>,
    /// How freely tokens are chosen; 0 takes the likeliest.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: Option<f32>,
    /// Chooses among the likeliest tokens that together have this probability.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    pub top_p: Option<f32>,
    /// Makes tokens that were written less likely, once.
    #[schemars(range(min = -2.0, max = 2.0))]
    pub presence_penalty: Option<f32>,
    /// Makes tokens that were written less likely, each time.
    #[schemars(range(min = -2.0, max = 2.0))]
    pub frequency_penalty: Option<f32>,
    /// Decides the choice where it is free.
    pub seed: Option<i64>,
    /// Tells the probabilities of so many tokens at each place.
    #[schemars(range(max = 20))]
    pub top_logprobs: Option<u32>,
    /// What may be called.
    #[schemars(length(max = 128))]
    pub tools: Option<Vec<Tool>>,
    /// Whether something must be called.
    pub tool_choice: Option<ToolChoice>,
    /// Whether several calls may be in one answer.
    pub parallel_tool_calls: Option<bool>,
    /// What form the answer has.
    pub text: Option<TextOptions>,
    /// How much to think.
    pub reasoning: Option<Reasoning>,
    /// Whether the answer comes in pieces.
    pub stream: Option<bool>,
    /// Whether the response can be gone on from; it can unless this is `false`.
    pub store: Option<bool>,
    /// What more to tell.
    pub include: Option<Vec<String>>,
    /// `disabled`: nothing is ever left out in silence.
    pub truncation: Option<Truncation>,
    /// `false`: answers are waited for.
    pub background: Option<bool>,
    /// Given back.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Who asks; kept nowhere.
    pub user: Option<String>,
    /// A session whose memory may be used.
    #[schemars(length(min = 1, max = 128))]
    pub prompt_cache_key: Option<String>,
    /// Fulgurite's own: the conversation to go on with and to keep.
    pub session: Option<SessionField>,
}

/// What is said.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string or a list of input items of a known `type`")]
pub enum Input {
    /// By the user.
    Text(String),
    /// By all.
    Items(#[schemars(length(max = 16_384))] Vec<InputItem>),
}

/// What was said or done.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected an input item of a known `type`")]
pub enum InputItem {
    /// With its type.
    Typed(TypedItem),
    /// A message without.
    Message(InputMessage),
}

/// What was said or done, by type.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TypedItem {
    /// A message.
    Message(InputMessage),
    /// A call.
    FunctionCall {
        /// What its result refers to.
        call_id: String,
        /// What is called.
        name: String,
        /// With what, as JSON.
        arguments: String,
    },
    /// The result of a call.
    FunctionCallOutput {
        /// Of which.
        call_id: String,
        /// The result.
        output: InputContent,
    },
    /// What the assistant thought; models are not given it again.
    Reasoning {},
}

/// A message.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct InputMessage {
    /// Who says it.
    pub role: super::chat::Role,
    /// What is said.
    pub content: InputContent,
}

/// What is said.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string or a list of content parts of a known `type`")]
pub enum InputContent {
    /// Text.
    Text(String),
    /// Pieces.
    Parts(Vec<InputPart>),
}

/// A piece of what is said.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum InputPart {
    /// Text of others.
    InputText {
        /// The text.
        text: String,
    },
    /// Text of the assistant.
    OutputText {
        /// The text.
        text: String,
    },
    /// Why something was not answered.
    Refusal {
        /// The reason.
        refusal: String,
    },
    /// A picture, for models that see.
    InputImage {
        /// The picture, of the form `data:image/png;base64,BYTES`: PNG, JPEG, WebP or GIF.
        image_url: Option<String>,
        /// A file kept by the server, which keeps none.
        file_id: Option<String>,
        /// Not looked at: a picture takes as many tokens as the model was trained with.
        detail: Option<super::chat::Detail>,
    },
    /// A sound, for models that hear.
    InputAudio {
        /// The sound.
        #[schemars(with = "super::chat::InputAudio")]
        input_audio: Value,
    },
    /// A file of text.
    InputFile {
        /// Its name.
        filename: Option<String>,
        /// Its bytes in base64, with or without `data:TYPE;base64,` in front.
        file_data: Option<String>,
        /// Somewhere else; not offered.
        file_url: Option<String>,
        /// A file kept by the server, which keeps none.
        file_id: Option<String>,
    },
}

/// What may be called.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Tool {
    /// A function.
    Function(Function),
}

/// Whether something must be called.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged, expecting = "expected `auto`, `none`, `required` or a function to call")]
pub enum ToolChoice {
    /// Something, or nothing.
    Mode(ToolMode),
    /// This.
    Named(NamedTool),
}

/// The function that must be called.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NamedTool {
    /// A function.
    Function {
        /// Its name.
        name: String,
    },
}

/// What form the answer has.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct TextOptions {
    /// The form.
    pub format: Option<TextFormat>,
}

/// What form the answer has.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TextFormat {
    /// Any text.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that matches a schema.
    JsonSchema {
        /// Its name.
        name: String,
        /// What it is for.
        #[serde(default)]
        description: Option<String>,
        /// The schema.
        schema: Value,
        /// Whether the answer must match; it always does.
        #[serde(default)]
        strict: Option<bool>,
    },
}

/// How much to think.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct Reasoning {
    /// How much.
    #[serde(default)]
    pub effort: Option<ReasoningEffort>,
    /// Not offered: thoughts are given as they are.
    #[serde(default)]
    pub summary: Option<String>,
}

/// What to do with what is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// Refuse it.
    Disabled,
}

/// The answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Response {
    /// Its id.
    pub id: String,
    /// `response`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Seconds since 1970.
    pub completed_at: Option<u64>,
    /// `in_progress`, `completed`, `incomplete` or `failed`.
    pub status: &'static str,
    /// What went wrong.
    pub error: Option<ResponseError>,
    /// Why it is not complete.
    pub incomplete_details: Option<IncompleteDetails>,
    /// As asked for.
    pub instructions: Option<String>,
    /// As asked for.
    pub max_output_tokens: Option<u32>,
    /// `null`.
    pub max_tool_calls: Option<u32>,
    /// The model.
    pub model: String,
    /// What is said and called.
    pub output: Vec<OutputItem>,
    /// As asked for.
    pub parallel_tool_calls: bool,
    /// The response before.
    pub previous_response_id: Option<String>,
    /// As asked for.
    pub prompt_cache_key: Option<String>,
    /// As asked for.
    pub reasoning: Reasoning,
    /// `null`.
    pub safety_identifier: Option<String>,
    /// `default`.
    pub service_tier: &'static str,
    /// As asked for.
    pub store: bool,
    /// `false`.
    pub background: bool,
    /// As it was.
    pub temperature: f32,
    /// As it was.
    pub top_p: f32,
    /// As it was.
    pub presence_penalty: f32,
    /// As it was.
    pub frequency_penalty: f32,
    /// As asked for.
    pub top_logprobs: u32,
    /// As asked for.
    pub text: TextFormatField,
    /// As asked for.
    pub tool_choice: ToolChoice,
    /// As asked for.
    pub tools: Vec<Tool>,
    /// `disabled`.
    pub truncation: Truncation,
    /// Tokens.
    pub usage: Option<ResponseUsage>,
    /// As asked for.
    pub user: Option<String>,
    /// As asked for.
    pub metadata: BTreeMap<String, String>,
}

/// What form the answer has.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TextFormatField {
    /// The form.
    pub format: TextFormat,
}

/// What went wrong.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ResponseError {
    /// In a word.
    pub code: &'static str,
    /// In a sentence.
    pub message: String,
}

/// Why an answer is not complete.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct IncompleteDetails {
    /// `max_output_tokens`.
    pub reason: &'static str,
}

/// Tokens that were read and written.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ResponseUsage {
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Of these.
    pub input_tokens_details: InputDetails,
    /// Tokens written.
    pub output_tokens: u64,
    /// Of these.
    pub output_tokens_details: OutputDetails,
    /// Both.
    pub total_tokens: u64,
}

/// Where the prompt came from.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct InputDetails {
    /// Tokens that were not read again.
    pub cached_tokens: u64,
}

/// What the written tokens were.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OutputDetails {
    /// Tokens of reasoning.
    pub reasoning_tokens: u64,
}

/// What is said or called.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputItem {
    /// A message.
    Message {
        /// Its id.
        id: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: &'static str,
        /// `assistant`.
        role: &'static str,
        /// The text.
        content: Vec<OutputPart>,
    },
    /// A call.
    FunctionCall {
        /// Its id.
        id: String,
        /// What its result refers to.
        call_id: String,
        /// What is called.
        name: String,
        /// With what, as JSON.
        arguments: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: &'static str,
    },
    /// Thoughts.
    Reasoning {
        /// Its id.
        id: String,
        /// Nothing.
        summary: Vec<Value>,
        /// The thoughts.
        content: Vec<OutputPart>,
        /// `in_progress`, `completed` or `incomplete`.
        status: &'static str,
    },
}

/// A piece of what is said.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputPart {
    /// Text.
    OutputText {
        /// The text.
        text: String,
        /// Nothing.
        annotations: Vec<Value>,
        /// How likely.
        logprobs: Vec<super::chat::ChatLogprob>,
    },
    /// Thoughts.
    ReasoningText {
        /// The thoughts.
        text: String,
    },
}

/// A piece of a stream, named by its `type`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StreamEvent {
    /// What happened.
    #[serde(flatten)]
    pub what: What,
    /// Counts the events.
    pub sequence_number: u64,
}

/// What happened.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type")]
pub enum What {
    /// The response, empty.
    #[serde(rename = "response.created")]
    Created {
        /// The response.
        response: Box<Response>,
    },
    /// It is worked on.
    #[serde(rename = "response.in_progress")]
    InProgress {
        /// The response.
        response: Box<Response>,
    },
    /// All is there.
    #[serde(rename = "response.completed")]
    Completed {
        /// The response.
        response: Box<Response>,
    },
    /// There was no room for more.
    #[serde(rename = "response.incomplete")]
    Incomplete {
        /// The response.
        response: Box<Response>,
    },
    /// It failed.
    #[serde(rename = "response.failed")]
    Failed {
        /// The response.
        response: Box<Response>,
    },
    /// An item begins.
    #[serde(rename = "response.output_item.added")]
    ItemAdded {
        /// Which.
        output_index: u32,
        /// The item, empty.
        item: OutputItem,
    },
    /// An item is complete.
    #[serde(rename = "response.output_item.done")]
    ItemDone {
        /// Which.
        output_index: u32,
        /// The item.
        item: OutputItem,
    },
    /// A part begins.
    #[serde(rename = "response.content_part.added")]
    PartAdded {
        /// Of which item.
        item_id: String,
        /// Of which item.
        output_index: u32,
        /// Which.
        content_index: u32,
        /// The part, empty.
        part: OutputPart,
    },
    /// A part is complete.
    #[serde(rename = "response.content_part.done")]
    PartDone {
        /// Of which item.
        item_id: String,
        /// Of which item.
        output_index: u32,
        /// Which.
        content_index: u32,
        /// The part.
        part: OutputPart,
    },
    /// Text.
    #[serde(rename = "response.output_text.delta")]
    TextDelta {
        /// Of which item.
        item_id: String,
        /// Of which item.
        output_index: u32,
        /// Of which part.
        content_index: u32,
        /// What is new.
        delta: String,
        /// How likely.
        logprobs: Vec<super::chat::ChatLogprob>,
    },
    /// The text is complete.
    #[serde(rename = "response.output_text.done")]
    TextDone {
        /// Of which item.
        item_id: String,
        /// Of which item.
        output_index: u32,
        /// Of which part.
        content_index: u32,
        /// The text.
        text: String,
        /// How likely.
        logprobs: Vec<super::chat::ChatLogprob>,
    },
    /// Thoughts.
    #[serde(rename = "response.reasoning_text.delta")]
    ReasoningDelta {
        /// Of which item.
        item_id: String,
        /// Of which item.
        output_index: u32,
        /// Of which part.
        content_index: u32,
        /// What is new.
        delta: String,
    },
    /// The thoughts are complete.
    #[serde(rename = "response.reasoning_text.done")]
    ReasoningDone {
        /// Of which item.
        item_id: String,
        /// Of which item.
        output_index: u32,
        /// Of which part.
        content_index: u32,
        /// The thoughts.
        text: String,
    },
    /// What something is called with.
    #[serde(rename = "response.function_call_arguments.delta")]
    ArgumentsDelta {
        /// Of which item.
        item_id: String,
        /// Of which item.
        output_index: u32,
        /// What is new.
        delta: String,
    },
    /// The call is complete.
    #[serde(rename = "response.function_call_arguments.done")]
    ArgumentsDone {
        /// Of which item.
        item_id: String,
        /// Of which item.
        output_index: u32,
        /// What is called.
        name: String,
        /// With what.
        arguments: String,
    },
}

impl What {
    /// Its name, which is also its `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "response.created",
            Self::InProgress { .. } => "response.in_progress",
            Self::Completed { .. } => "response.completed",
            Self::Incomplete { .. } => "response.incomplete",
            Self::Failed { .. } => "response.failed",
            Self::ItemAdded { .. } => "response.output_item.added",
            Self::ItemDone { .. } => "response.output_item.done",
            Self::PartAdded { .. } => "response.content_part.added",
            Self::PartDone { .. } => "response.content_part.done",
            Self::TextDelta { .. } => "response.output_text.delta",
            Self::TextDone { .. } => "response.output_text.done",
            Self::ReasoningDelta { .. } => "response.reasoning_text.delta",
            Self::ReasoningDone { .. } => "response.reasoning_text.done",
            Self::ArgumentsDelta { .. } => "response.function_call_arguments.delta",
            Self::ArgumentsDone { .. } => "response.function_call_arguments.done",
        }
    }
}
