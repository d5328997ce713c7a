//! Messages of Anthropic's interface as all others know them.

use crate::conversation::decoded;
use crate::error::Error;
use crate::wire::chat::{
    ChatMessage, Content, ContentPart, FileData, FunctionCall, Role, ToolCall,
};
use crate::wire::messages::{
    DocumentSource, InputBlock, InputContent, InputMessage, ResultBlock, ResultContent,
    Role as Sender, System, TextBlock,
};

fn message(role: Role, content: Content) -> ChatMessage {
    ChatMessage {
        role,
        content: Some(content),
        name: None,
        tool_calls: None,
        tool_call_id: None,
        reasoning_content: None,
        refusal: None,
    }
}

/// The messages, and how the answer begins: what the assistant says last is gone on with.
///
/// # Errors
///
/// If a block is what no model here reads.
pub(super) fn messages(
    said: Vec<InputMessage>,
    system: Option<&System>,
) -> Result<(Vec<ChatMessage>, Option<String>), Error> {
    let mut messages = Vec::with_capacity(said.len() + 1);
    let rules = system.map(|system| match system {
        System::Text(text) => text.clone(),
        System::Blocks(blocks) => {
            let texts = blocks.iter().map(|TextBlock::Text { text }| &text[..]);
            texts.collect::<Vec<_>>().join("\n")
        }
    });
    if let Some(rules) = rules.filter(|rules| !rules.is_empty()) {
        messages.push(message(Role::System, Content::Text(rules)));
    }
    for (i, said) in said.into_iter().enumerate() {
        let role = match said.role {
            Sender::User => Role::User,
            Sender::Assistant => Role::Assistant,
        };
        match said.content {
            InputContent::Text(text) => messages.push(message(role, Content::Text(text))),
            InputContent::Blocks(blocks) => {
                let param = format!("messages[{i}].content");
                add_blocks(role, blocks, &param, &mut messages)?;
            }
        }
    }
    let begun = messages.pop_if(|last| last.role == Role::Assistant && last.tool_calls.is_none());
    let begun = begun.and_then(|last| match last.content {
        Some(Content::Text(text)) => Some(text),
        Some(Content::Parts(parts)) => {
            let texts = parts.into_iter().filter_map(|part| match part {
                ContentPart::Text { text } => Some(text),
                _ => None,
            });
            Some(texts.collect::<Vec<_>>().join("\n"))
        }
        None => None,
    });
    Ok((messages, begun.map(|text| text.trim_end().to_owned())))
}

/// A message of blocks is several: results of calls are messages of their own.
fn add_blocks(
    role: Role,
    blocks: Vec<InputBlock>,
    param: &str,
    messages: &mut Vec<ChatMessage>,
) -> Result<(), Error> {
    let (mut parts, mut calls) = (Vec::new(), Vec::new());
    for (i, block) in blocks.into_iter().enumerate() {
        let at = || format!("{param}[{i}]");
        match block {
            InputBlock::Text { text } => parts.push(ContentPart::Text { text }),
            InputBlock::Image { source } => parts.push(ContentPart::ImageUrl { image_url: source }),
            InputBlock::Document { source, title, .. } => {
                parts.push(document(source, title, &at())?);
            }
            InputBlock::ToolUse { id, name, input } => {
                let kind = "function".to_owned();
                let function = FunctionCall { name, arguments: input.to_string() };
                calls.push(ToolCall { id, kind, function });
            }
            InputBlock::ToolResult { tool_use_id, content, is_error } => {
                let content = result(content, is_error == Some(true));
                messages.push(ChatMessage {
                    tool_call_id: Some(tool_use_id),
                    ..message(Role::Tool, content)
                });
            }
            InputBlock::Thinking { .. } | InputBlock::RedactedThinking { .. } => {}
        }
    }
    if !parts.is_empty() || !calls.is_empty() {
        let tool_calls = (!calls.is_empty()).then_some(calls);
        messages.push(ChatMessage { tool_calls, ..message(role, Content::Parts(parts)) });
    }
    Ok(())
}

fn document(
    source: DocumentSource,
    filename: Option<String>,
    param: &str,
) -> Result<ContentPart, Error> {
    let file_data = match source {
        // A text needs no decoding: it is a part like any other.
        DocumentSource::Text { data } => return Ok(ContentPart::Text { text: data }),
        DocumentSource::Base64 { data, .. } => {
            decoded(&data, &format!("{param}.source.data"))?;
            Some(data)
        }
        DocumentSource::Url { .. } => {
            let message = "the document is an address, and the server fetches nothing: expected its \
                           text";
            return Err(Error::invalid(format!("{param}.source"), message));
        }
    };
    Ok(ContentPart::File { file: FileData { filename, file_data, file_id: None } })
}

/// What a tool answered, pictures where they are in it.
fn result(content: Option<ResultContent>, failed: bool) -> Content {
    let mut parts = match content {
        None => Vec::new(),
        Some(ResultContent::Text(text)) => vec![ContentPart::Text { text }],
        Some(ResultContent::Blocks(blocks)) => {
            let part = |block| match block {
                ResultBlock::Text { text } => ContentPart::Text { text },
                ResultBlock::Image { source } => ContentPart::ImageUrl { image_url: source },
            };
            blocks.into_iter().map(part).collect()
        }
    };
    if failed {
        match parts.first_mut() {
            Some(ContentPart::Text { text }) => text.insert_str(0, "error: "),
            _ => parts.insert(0, ContentPart::Text { text: "error: ".to_owned() }),
        }
    }
    Content::Parts(parts)
}
