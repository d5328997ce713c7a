//! How a template takes calls of functions and their results, found out by letting it write some.

use super::form::NEEDLE;
use super::{Content, Message, Part, ToolCall};
use crate::CallFormat;
use serde_json::json;

/// What a template does with functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tools {
    /// How the model writes calls, if that is known.
    pub(super) format: Option<CallFormat>,
    /// Whether the template writes the calls of an assistant's message itself.
    writes_calls: bool,
    /// The role of results.
    result_role: &'static str,
}

impl Tools {
    pub(super) const UNKNOWN: Self = Self { format: None, writes_calls: true, result_role: "tool" };

    /// Finds out by the template's source and by what it writes, `None` if it refuses.
    pub(super) fn probe(sources: &[String], write: impl Fn(&[Message]) -> Option<String>) -> Self {
        let has = |text: &str| sources.iter().any(|source| source.contains(text));
        let format = match () {
            () if has("<tool_calls>") => Some(CallFormat::Tags),
            () if has("<function_call>") || has("function_setting") => Some(CallFormat::Typescript),
            () => None,
        };
        let shows =
            |messages: &[Message]| write(messages).is_some_and(|text| text.contains(NEEDLE));
        let call = |name: &str| Message {
            tool_calls: vec![ToolCall {
                id: Some("call".to_owned()),
                name: name.to_owned(),
                arguments: json!({}),
            }],
            ..Message::new("assistant", "")
        };
        let user = Message::new("user", "");
        let result = |role: &str| Message {
            name: Some("f".to_owned()),
            tool_call_id: Some("call".to_owned()),
            ..Message::new(role, NEEDLE)
        };
        let takes = |role| shows(&[user.clone(), call("f"), result(role)]);
        let result_role = if !takes("tool") && takes("function") { "function" } else { "tool" };
        Self { format, writes_calls: shows(&[user.clone(), call(NEEDLE)]), result_role }
    }

    /// Messages as the template takes them: results under its role and with the function's name,
    /// calls as text where it writes none.
    pub(super) fn adapt(self, messages: &[Message]) -> Vec<Message> {
        let mut calls: Vec<(&str, &str)> = Vec::new();
        let mut out = Vec::with_capacity(messages.len());
        for message in messages {
            let mut adapted = message.clone();
            let named = message.tool_calls.iter();
            calls.extend(named.filter_map(|call| Some((call.id.as_deref()?, &call.name[..]))));
            if message.role == "tool" {
                self.result_role.clone_into(&mut adapted.role);
            }
            if let (None, Some(id)) = (&message.name, &message.tool_call_id) {
                let call = calls.iter().rev().find(|(call, _)| call == id);
                adapted.name = call.map(|(_, name)| (*name).to_owned());
            }
            if let (Some(format), false, false) =
                (self.format, self.writes_calls, message.tool_calls.is_empty())
            {
                let calls = std::mem::take(&mut adapted.tool_calls);
                let calls = calls.iter().map(|call| (&call.name[..], &call.arguments));
                add_text(&mut adapted.content, format.write(calls));
            }
            out.push(adapted);
        }
        out
    }
}

fn add_text(content: &mut Content, more: String) {
    match content {
        Content::Text(text) => text.push_str(&more),
        Content::Parts(parts) => match parts.last_mut() {
            Some(Part::Text(text)) => text.push_str(&more),
            _ => parts.push(Part::Text(more)),
        },
    }
}
