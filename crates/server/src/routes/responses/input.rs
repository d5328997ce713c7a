//! Input items as messages.

use crate::wire::chat::{
    ChatMessage, Content, ContentPart, FileData, FunctionCall, Role, ToolCall,
};
use crate::wire::responses::{Input, InputContent, InputItem, InputMessage, InputPart, TypedItem};

fn message(role: Role, content: Option<Content>) -> ChatMessage {
    ChatMessage {
        role,
        content,
        name: None,
        tool_calls: None,
        tool_call_id: None,
        reasoning_content: None,
        refusal: None,
    }
}

/// Instructions as a message.
pub(super) fn system(rules: &str) -> ChatMessage {
    message(Role::System, Some(Content::Text(rules.to_owned())))
}

/// The messages that `input` stands for.
pub(super) fn messages(input: &Input) -> Vec<ChatMessage> {
    let items = match input {
        Input::Text(text) => return vec![message(Role::User, Some(Content::Text(text.clone())))],
        Input::Items(items) => items,
    };
    let mut messages: Vec<ChatMessage> = Vec::new();
    for item in items {
        match item {
            InputItem::Message(said) | InputItem::Typed(TypedItem::Message(said)) => {
                messages.push(said_by(said));
            }
            InputItem::Typed(TypedItem::FunctionCall { call_id, name, arguments }) => {
                let (name, arguments) = (name.clone(), arguments.clone());
                let call = ToolCall {
                    id: call_id.clone(),
                    kind: "function".to_owned(),
                    function: FunctionCall { name, arguments },
                };
                // Calls belong to the message that they were made in.
                match messages.last_mut().filter(|last| last.role == Role::Assistant) {
                    Some(last) => last.tool_calls.get_or_insert_default().push(call),
                    None => {
                        let calls = Some(vec![call]);
                        messages.push(ChatMessage {
                            tool_calls: calls,
                            ..message(Role::Assistant, None)
                        });
                    }
                }
            }
            InputItem::Typed(TypedItem::FunctionCallOutput { call_id, output }) => {
                messages.push(ChatMessage {
                    tool_call_id: Some(call_id.clone()),
                    ..message(Role::Tool, Some(content(output)))
                });
            }
            InputItem::Typed(TypedItem::Reasoning {}) => {}
        }
    }
    messages
}

fn said_by(said: &InputMessage) -> ChatMessage {
    message(said.role, Some(content(&said.content)))
}

fn content(content: &InputContent) -> Content {
    match content {
        InputContent::Text(text) => Content::Text(text.clone()),
        InputContent::Parts(parts) => Content::Parts(parts.iter().map(part).collect()),
    }
}

fn part(part: &InputPart) -> ContentPart {
    match part {
        InputPart::InputText { text } | InputPart::OutputText { text } => {
            ContentPart::Text { text: text.clone() }
        }
        InputPart::Refusal { refusal } => ContentPart::Refusal { refusal: refusal.clone() },
        InputPart::InputImage { image_url, .. } => {
            ContentPart::ImageUrl { image_url: image_url.clone().into() }
        }
        InputPart::InputAudio { input_audio } => {
            ContentPart::InputAudio { input_audio: input_audio.clone() }
        }
        InputPart::InputFile { filename, file_data, file_id, .. } => ContentPart::File {
            file: FileData {
                filename: filename.clone(),
                file_data: file_data.clone(),
                file_id: file_id.clone(),
            },
        },
    }
}
