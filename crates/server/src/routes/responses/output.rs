//! A response while it grows: items that begin, go on and end.

use crate::app::{App, Served, now};
use crate::auth::Client;
use crate::error::Error;
use crate::generate::Collected;
use crate::kept::{assistant, call_id};
use crate::likely::Likely;
use crate::sse::{Lines, Render};
use crate::stored::Past;
use crate::wire::chat::{ChatLogprob, ChatMessage, ToolMode};
use crate::wire::responses::{
    IncompleteDetails, InputDetails, OutputDetails, OutputItem, OutputPart, Response,
    ResponseError, ResponseUsage, ResponsesRequest, StreamEvent, TextFormat, TextFormatField,
    ToolChoice, Truncation, What,
};
use crate::writer::{Counts, Finish, Update};
use engine::{Sampling, TokenLogprobs};
use std::sync::Arc;
use text::Delta;

/// A response while it grows.
#[derive(Debug)]
pub(super) struct View {
    pub(super) id: Arc<str>,
    pub(super) response: Response,
    app: Arc<App>,
    client: Client,
    /// What was said up to here, instructions left out.
    messages: Vec<ChatMessage>,
    collected: Collected,
    likely: Option<Likely>,
    /// The item that goes on.
    open: Option<Open>,
    cut: bool,
    sequence_number: u64,
}

/// An item that goes on.
#[derive(Debug)]
enum Open {
    Message { id: String, text: String, logprobs: Vec<ChatLogprob> },
    Reasoning { id: String, text: String },
    Call { id: String, call_id: String, name: String, arguments: String },
}

impl Open {
    fn id(&self) -> String {
        match self {
            Self::Message { id, .. } | Self::Reasoning { id, .. } | Self::Call { id, .. } => {
                id.clone()
            }
        }
    }

    /// The item as it is now.
    fn item(&self, status: &'static str) -> OutputItem {
        let id = self.id();
        // An item that begins has no parts yet.
        let begun = status != "in_progress";
        match self {
            Self::Message { .. } => OutputItem::Message {
                id,
                status,
                role: "assistant",
                content: self.part().filter(|_| begun).into_iter().collect(),
            },
            Self::Reasoning { .. } => OutputItem::Reasoning {
                id,
                summary: Vec::new(),
                content: self.part().filter(|_| begun).into_iter().collect(),
                status,
            },
            Self::Call { call_id, name, arguments, .. } => OutputItem::FunctionCall {
                id,
                call_id: call_id.clone(),
                name: name.clone(),
                arguments: arguments.clone(),
                status,
            },
        }
    }

    fn part(&self) -> Option<OutputPart> {
        match self {
            Self::Message { text, logprobs, .. } => Some(OutputPart::OutputText {
                text: text.clone(),
                annotations: Vec::new(),
                logprobs: logprobs.clone(),
            }),
            Self::Reasoning { text, .. } => Some(OutputPart::ReasoningText { text: text.clone() }),
            Self::Call { .. } => None,
        }
    }
}

impl View {
    pub(super) fn new(
        app: &Arc<App>,
        served: &Served,
        client: Client,
        request: &ResponsesRequest,
        messages: Vec<ChatMessage>,
        sampling: &Sampling,
    ) -> Self {
        let id = app.ids.next("resp");
        let format = request.text.as_ref().and_then(|text| text.format.clone());
        let response = Response {
            id: id.to_string(),
            object: "response",
            created_at: now(),
            completed_at: None,
            status: "in_progress",
            error: None,
            incomplete_details: None,
            instructions: request.instructions.clone(),
            max_output_tokens: request.max_output_tokens,
            max_tool_calls: None,
            model: served.name.clone(),
            output: Vec::new(),
            parallel_tool_calls: request.parallel_tool_calls != Some(false),
            previous_response_id: request.previous_response_id.clone(),
            prompt_cache_key: request.prompt_cache_key.clone(),
            reasoning: request.reasoning.clone().unwrap_or_default(),
            safety_identifier: None,
            service_tier: "default",
            store: request.store != Some(false),
            background: false,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            top_logprobs: request.top_logprobs.unwrap_or(0),
            text: TextFormatField { format: format.unwrap_or(TextFormat::Text) },
            tool_choice: request.tool_choice.clone().unwrap_or(ToolChoice::Mode(ToolMode::Auto)),
            tools: request.tools.clone().unwrap_or_default(),
            truncation: Truncation::Disabled,
            usage: None,
            user: request.user.clone(),
            metadata: request.metadata.clone().unwrap_or_default(),
        };
        Self {
            id,
            response,
            app: Arc::clone(app),
            client,
            messages,
            collected: Collected::default(),
            likely: super::tells_logprobs(request).then(|| Likely::new(served)),
            open: None,
            cut: false,
            sequence_number: 0,
        }
    }

    fn tell(&mut self, what: What, lines: &mut Lines) {
        let name = what.name();
        let event = StreamEvent { what, sequence_number: self.sequence_number };
        self.sequence_number += 1;
        lines.event(name, &event);
    }

    /// Where the open item will be.
    fn output_index(&self) -> u32 {
        self.response.output.len() as u32
    }

    /// An id for the open item.
    fn item_id(&self, prefix: &str) -> String {
        let id = self.id.rsplit('_').next().unwrap_or("");
        format!("{prefix}_{id}{:02x}", self.output_index())
    }

    fn delta(&mut self, delta: Delta, told: &mut Vec<ChatLogprob>, lines: &mut Lines) {
        match delta {
            Delta::Content(more) => {
                if !matches!(self.open, Some(Open::Message { .. })) {
                    let (text, logprobs) = (String::new(), Vec::new());
                    self.begin(Open::Message { id: self.item_id("msg"), text, logprobs }, lines);
                }
                let (output_index, told) = (self.output_index(), std::mem::take(told));
                if let Some(Open::Message { id, text, logprobs }) = &mut self.open {
                    text.push_str(&more);
                    logprobs.extend_from_slice(&told);
                    let (item_id, content_index, logprobs) = (id.clone(), 0, told);
                    let what = What::TextDelta {
                        item_id,
                        output_index,
                        content_index,
                        delta: more,
                        logprobs,
                    };
                    self.tell(what, lines);
                }
            }
            Delta::Reasoning(more) => {
                if !matches!(self.open, Some(Open::Reasoning { .. })) {
                    self.begin(
                        Open::Reasoning { id: self.item_id("rs"), text: String::new() },
                        lines,
                    );
                }
                let output_index = self.output_index();
                if let Some(Open::Reasoning { id, text }) = &mut self.open {
                    text.push_str(&more);
                    let (item_id, content_index) = (id.clone(), 0);
                    let what =
                        What::ReasoningDelta { item_id, output_index, content_index, delta: more };
                    self.tell(what, lines);
                }
            }
            Delta::ToolCall { index, name } => {
                let (id, call_id) = (self.item_id("fc"), call_id(&self.id, 0, index));
                self.begin(Open::Call { id, call_id, name, arguments: String::new() }, lines);
            }
            Delta::ToolArguments { text, .. } => {
                let output_index = self.output_index();
                if let Some(Open::Call { id, arguments, .. }) = &mut self.open {
                    arguments.push_str(&text);
                    let item_id = id.clone();
                    self.tell(What::ArgumentsDelta { item_id, output_index, delta: text }, lines);
                }
            }
        }
    }

    fn begin(&mut self, open: Open, lines: &mut Lines) {
        self.end("completed", lines);
        let (output_index, item_id) = (self.output_index(), open.id());
        self.tell(What::ItemAdded { output_index, item: open.item("in_progress") }, lines);
        if let Some(part) = open.part() {
            self.tell(What::PartAdded { item_id, output_index, content_index: 0, part }, lines);
        }
        self.open = Some(open);
    }

    fn end(&mut self, status: &'static str, lines: &mut Lines) {
        let Some(open) = self.open.take() else { return };
        let (output_index, item_id, content_index) = (self.output_index(), open.id(), 0);
        match &open {
            Open::Message { text, logprobs, .. } => {
                let (text, logprobs) = (text.clone(), logprobs.clone());
                let item_id = item_id.clone();
                let what = What::TextDone { item_id, output_index, content_index, text, logprobs };
                self.tell(what, lines);
            }
            Open::Reasoning { text, .. } => {
                let (text, item_id) = (text.clone(), item_id.clone());
                self.tell(
                    What::ReasoningDone { item_id, output_index, content_index, text },
                    lines,
                );
            }
            Open::Call { name, arguments, .. } => {
                let (name, arguments) = (name.clone(), arguments.clone());
                let item_id = item_id.clone();
                self.tell(What::ArgumentsDone { item_id, output_index, name, arguments }, lines);
            }
        }
        if let Some(part) = open.part() {
            self.tell(What::PartDone { item_id, output_index, content_index, part }, lines);
        }
        let item = open.item(status);
        self.response.output.push(item.clone());
        self.tell(What::ItemDone { output_index, item }, lines);
    }

    fn done(&mut self, counts: Counts, lines: &mut Lines) {
        self.response.usage = Some(ResponseUsage {
            input_tokens: counts.prompt as u64,
            input_tokens_details: InputDetails { cached_tokens: counts.cached as u64 },
            output_tokens: counts.written as u64,
            output_tokens_details: OutputDetails { reasoning_tokens: counts.reasoning as u64 },
            total_tokens: (counts.prompt + counts.written) as u64,
        });
        self.response.completed_at = Some(now());
        self.response.status = if self.cut { "incomplete" } else { "completed" };
        let reason = "max_output_tokens";
        self.response.incomplete_details = self.cut.then_some(IncompleteDetails { reason });
        if self.response.store {
            self.store();
        }
        let response = Box::new(self.response.clone());
        let what = match self.cut {
            true => What::Incomplete { response },
            false => What::Completed { response },
        };
        self.tell(what, lines);
    }

    /// Keeps the response, to be gone on from.
    fn store(&mut self) {
        let mut messages = std::mem::take(&mut self.messages);
        if let Some(whole) = self.collected.answers.first() {
            messages.push(assistant(whole, &self.id));
        }
        let response = serde_json::to_value(&self.response).unwrap_or_default();
        let bytes = response.to_string().len()
            + serde_json::to_string(&messages).map_or(0, |messages| messages.len());
        let past = Past { messages: Arc::new(messages), response: Arc::new(response), bytes };
        self.app.stored.put(self.client, &self.id, past);
    }

    fn told(&self, logprobs: &[TokenLogprobs]) -> Vec<ChatLogprob> {
        let likely = self.likely.as_ref();
        likely.map_or(Vec::new(), |likely| logprobs.iter().map(|told| likely.chat(told)).collect())
    }
}

impl Render for View {
    fn begin(&mut self, lines: &mut Lines) {
        let response = Box::new(self.response.clone());
        self.tell(What::Created { response: response.clone() }, lines);
        self.tell(What::InProgress { response }, lines);
    }

    fn update(&mut self, update: Update, lines: &mut Lines) {
        self.collected.take(&update);
        match update {
            Update::More { deltas, logprobs, .. } => {
                let mut told = self.told(&logprobs);
                deltas.into_iter().for_each(|delta| self.delta(delta, &mut told, lines));
            }
            Update::End { finish, .. } => {
                self.cut = finish == Finish::Length;
                self.end(if self.cut { "incomplete" } else { "completed" }, lines);
            }
            Update::Done(counts) => self.done(counts, lines),
            Update::Started { .. }
            | Update::Read { .. }
            | Update::Prompt { .. }
            | Update::Embedding { .. }
            | Update::Failed(_)
            | Update::GivenUp => {}
        }
    }

    fn failed(&mut self, error: &Error, lines: &mut Lines) {
        self.end("incomplete", lines);
        self.response.status = "failed";
        let message = error.message.clone();
        self.response.error = Some(ResponseError { code: "server_error", message });
        let response = Box::new(self.response.clone());
        self.tell(What::Failed { response }, lines);
    }
}
