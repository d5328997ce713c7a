//! An answer as Anthropic's interface tells it.

use crate::error::{Dialect, Error};
use crate::generate::Collected;
use crate::kept::call_id;
use crate::sse::{Lines, Render};
use crate::wire::messages::{BlockDelta, Message, MessageDelta, OutputBlock, StreamEvent, Usage};
use crate::writer::{Counts, Finish, Update};
use serde_json::Value;
use std::sync::Arc;
use text::Delta;

/// An answer while it is told.
#[derive(Debug)]
pub(super) struct View {
    pub(super) id: Arc<str>,
    model: String,
    shows_thinking: bool,
    counts: Counts,
    finish: Option<Finish>,
    /// The kind of the block that goes on.
    open: Option<Kind>,
    index: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Call,
}

fn usage(counts: Counts) -> Usage {
    Usage {
        input_tokens: counts.prompt.saturating_sub(counts.cached) as u64,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: counts.cached as u64,
        output_tokens: counts.written as u64,
    }
}

fn reason(finish: &Finish) -> (&'static str, Option<String>) {
    match finish {
        Finish::Stop => ("end_turn", None),
        Finish::StopString(string) => ("stop_sequence", Some(string.clone())),
        Finish::Length => ("max_tokens", None),
        Finish::ToolCalls => ("tool_use", None),
    }
}

impl View {
    pub(super) fn new(id: Arc<str>, model: &str, shows_thinking: bool) -> Self {
        Self {
            id,
            model: model.to_owned(),
            shows_thinking,
            counts: Counts::default(),
            finish: None,
            open: None,
            index: 0,
        }
    }

    fn message(&self) -> Message {
        Message {
            id: self.id.to_string(),
            kind: "message",
            role: "assistant",
            model: self.model.clone(),
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            usage: usage(self.counts),
        }
    }

    pub(super) fn whole(&self, collected: Collected) -> Message {
        let whole = collected.answers.into_iter().next().unwrap_or_default();
        let mut content = Vec::new();
        if self.shows_thinking && !whole.reasoning.is_empty() {
            let signature = String::new();
            content.push(OutputBlock::Thinking { thinking: whole.reasoning, signature });
        }
        if !whole.content.is_empty() {
            content.push(OutputBlock::Text { text: whole.content });
        }
        for (i, (name, arguments)) in whole.calls.into_iter().enumerate() {
            // The parser only gives what is an object.
            let input = serde_json::from_str(&arguments).unwrap_or_default();
            content.push(OutputBlock::ToolUse { id: call_id(&self.id, 0, i), name, input });
        }
        let (stop_reason, stop_sequence) = reason(whole.finish.as_ref().unwrap_or(&Finish::Stop));
        let usage = usage(collected.counts);
        Message { content, stop_reason: Some(stop_reason), stop_sequence, usage, ..self.message() }
    }

    fn tell(&self, event: &StreamEvent, lines: &mut Lines) {
        let name = match event {
            StreamEvent::MessageStart { .. } => "message_start",
            StreamEvent::ContentBlockStart { .. } => "content_block_start",
            StreamEvent::ContentBlockDelta { .. } => "content_block_delta",
            StreamEvent::ContentBlockStop { .. } => "content_block_stop",
            StreamEvent::MessageDelta { .. } => "message_delta",
            StreamEvent::MessageStop => "message_stop",
            StreamEvent::Ping => "ping",
        };
        lines.event(name, event);
    }

    /// Begins a block, unless one of the kind goes on and may.
    fn block(&mut self, kind: Kind, content_block: OutputBlock, lines: &mut Lines) {
        if self.open == Some(kind) && kind != Kind::Call {
            return;
        }
        self.close(lines);
        self.open = Some(kind);
        let index = self.index;
        self.tell(&StreamEvent::ContentBlockStart { index, content_block }, lines);
    }

    fn close(&mut self, lines: &mut Lines) {
        if self.open.take().is_some() {
            self.tell(&StreamEvent::ContentBlockStop { index: self.index }, lines);
            self.index += 1;
        }
    }

    fn delta(&mut self, delta: Delta, lines: &mut Lines) {
        let delta = match delta {
            Delta::Content(text) => {
                self.block(Kind::Text, OutputBlock::Text { text: String::new() }, lines);
                BlockDelta::TextDelta { text }
            }
            Delta::Reasoning(_) if !self.shows_thinking => return,
            Delta::Reasoning(thinking) => {
                let (empty, signature) = (String::new(), String::new());
                let block = OutputBlock::Thinking { thinking: empty, signature };
                self.block(Kind::Thinking, block, lines);
                BlockDelta::ThinkingDelta { thinking }
            }
            Delta::ToolCall { index, name } => {
                let id = call_id(&self.id, 0, index);
                let input = Value::Object(serde_json::Map::new());
                self.block(Kind::Call, OutputBlock::ToolUse { id, name, input }, lines);
                return;
            }
            Delta::ToolArguments { text, .. } => BlockDelta::InputJsonDelta { partial_json: text },
        };
        self.tell(&StreamEvent::ContentBlockDelta { index: self.index, delta }, lines);
    }
}

impl Render for View {
    fn begin(&mut self, _lines: &mut Lines) {}

    fn update(&mut self, update: Update, lines: &mut Lines) {
        match update {
            // Not before: the message tells how much was known.
            Update::Started { prompt_tokens, cached_tokens, .. } => {
                self.counts.prompt = prompt_tokens;
                self.counts.cached = cached_tokens;
                self.tell(&StreamEvent::MessageStart { message: self.message() }, lines);
                self.tell(&StreamEvent::Ping, lines);
            }
            Update::More { deltas, .. } => {
                deltas.into_iter().for_each(|delta| self.delta(delta, lines));
            }
            Update::End { finish, .. } => {
                self.close(lines);
                self.finish = Some(finish);
            }
            Update::Done(counts) => {
                let (stop_reason, stop_sequence) =
                    reason(self.finish.as_ref().unwrap_or(&Finish::Stop));
                let stop_reason = Some(stop_reason);
                let delta = MessageDelta { stop_reason, stop_sequence };
                self.tell(&StreamEvent::MessageDelta { delta, usage: usage(counts) }, lines);
                self.tell(&StreamEvent::MessageStop, lines);
            }
            Update::Read { .. }
            | Update::Prompt { .. }
            | Update::Embedding { .. }
            | Update::Failed(_)
            | Update::GivenUp => {}
        }
    }

    fn failed(&mut self, error: &Error, lines: &mut Lines) {
        lines.event("error", &error.envelope(Dialect::Anthropic, &self.id));
    }

    fn ping(&mut self, lines: &mut Lines) {
        self.tell(&StreamEvent::Ping, lines);
    }
}
