//! Messages as they come over the wire, made ready for a prompt.

use crate::base64;
use crate::error::Error;
use crate::form::Turn;
use crate::senses::{Seen, Sense};
use crate::wire::chat::{ChatMessage, Content, ContentPart, FileData, Role};
use serde_json::Value;
use text::Message;

/// Most messages of a conversation.
pub(crate) const MAX_MESSAGES: usize = 16_384;

/// The messages as a prompt takes them; `param` names their field.
///
/// # Errors
///
/// If there are none or too many, or one holds what no model here reads.
pub(crate) fn turns(messages: &[ChatMessage], param: &str) -> Result<Vec<Turn>, Error> {
    if messages.is_empty() || messages.len() > MAX_MESSAGES {
        let message = format!("{} messages, expected 1 to {MAX_MESSAGES}", messages.len());
        return Err(Error::invalid(param, message));
    }
    let turn = |(i, message)| turn(message, &format!("{param}[{i}]"));
    messages.iter().enumerate().map(turn).collect()
}

fn turn(said: &ChatMessage, param: &str) -> Result<Turn, Error> {
    let role = match said.role {
        // The newer name for the same, which templates do not know.
        Role::Developer | Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let calls = said.tool_calls.as_deref().unwrap_or(&[]);
    let (content, files, seen) = match &said.content {
        None if said.role == Role::Assistant => {
            (text::Content::Text(String::new()), vec![], vec![])
        }
        None => {
            let message = format!("the {role} message has no `content`, expected text");
            return Err(Error::invalid(format!("{param}.content"), message));
        }
        Some(content) => content_of(content, &format!("{param}.content"))?,
    };
    let mut message = Message { content, ..Message::new(role, "") };
    message.name.clone_from(&said.name);
    message.tool_call_id.clone_from(&said.tool_call_id);
    for (i, call) in calls.iter().enumerate() {
        let arguments = call.function.arguments.trim();
        let arguments = if arguments.is_empty() { "{}" } else { arguments };
        let arguments = serde_json::from_str::<Value>(arguments).ok().filter(Value::is_object);
        let arguments = arguments.ok_or_else(|| {
            let param = format!("{param}.tool_calls[{i}].function.arguments");
            Error::invalid(param, "the arguments are not a JSON object, expected one as a string")
        })?;
        message.tool_calls.push(text::ToolCall {
            id: Some(call.id.clone()),
            name: call.function.name.clone(),
            arguments,
        });
    }
    Ok(Turn { message, files, seen })
}

/// What is said, files before it, and pictures and sounds in it.
type Held = (text::Content, Vec<Vec<u8>>, Vec<Seen>);

fn content_of(content: &Content, param: &str) -> Result<Held, Error> {
    let parts = match content {
        Content::Text(text) => return Ok((text::Content::Text(text.clone()), vec![], vec![])),
        Content::Parts(parts) => parts,
    };
    let (mut said, mut files, mut seen) = (Vec::new(), Vec::new(), Vec::new());
    for (i, part) in parts.iter().enumerate() {
        let at = || format!("{param}[{i}]");
        let unread = |what: &str| {
            let message = format!("`{}` is {what}, and the model reads text only", at());
            Err(Error::invalid(at(), message))
        };
        match part {
            ContentPart::Text { text } | ContentPart::Refusal { refusal: text } => {
                said.push(text::Part::Text(text.clone()));
            }
            ContentPart::File { file } => files.push(file_of(file, &format!("{}.file", at()))?),
            ContentPart::Seen(content) => {
                said.push(match content.sense {
                    Sense::Sight => text::Part::Image,
                    Sense::Hearing => text::Part::Audio,
                });
                seen.push(content.clone());
            }
            ContentPart::ImageUrl { .. } => return unread("an image"),
            ContentPart::InputAudio { .. } => return unread("a sound"),
        }
    }
    let content = match seen.is_empty() {
        true => text::Content::Text(joined(&said)),
        false => text::Content::Parts(said),
    };
    Ok((content, files, seen))
}

/// The texts of `parts`, joined by line breaks.
pub(crate) fn joined(parts: &[text::Part]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        text::Part::Text(text) => Some(&text[..]),
        text::Part::Image | text::Part::Audio => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// The bytes of a file, which must be text.
fn file_of(file: &FileData, param: &str) -> Result<Vec<u8>, Error> {
    let Some(data) = &file.file_data else {
        let message = "the file has no `file_data`, expected its bytes: the server keeps no files";
        return Err(Error::invalid(format!("{param}.file_data"), message));
    };
    decoded(data, &format!("{param}.file_data"))
}

/// The bytes of a file that must be text, in base64 as [`bytes_of`] takes it.
pub(crate) fn decoded(data: &str, param: &str) -> Result<Vec<u8>, Error> {
    let bytes = bytes_of(data, param)?;
    // As good a sign of a file that is no text as any; PDF is one that people send.
    if bytes.contains(&0) || bytes.starts_with(b"%PDF-") {
        let message = "the file is not text, and the model reads text only";
        return Err(Error::invalid(param, message));
    }
    Ok(bytes)
}

/// The bytes in base64, with or without `data:TYPE;base64,` in front.
pub(crate) fn bytes_of(data: &str, param: &str) -> Result<Vec<u8>, Error> {
    let wrong = |message: &str| Err(Error::invalid(param, message));
    let data = match data.strip_prefix("data:") {
        None => data,
        Some(rest) => match rest.split_once(',') {
            Some((kind, data)) if kind.ends_with(";base64") => data,
            _ => return wrong("the `data:` address is not of the form `data:TYPE;base64,BYTES`"),
        },
    };
    match base64::decode(data) {
        Some(bytes) => Ok(bytes),
        None => wrong("the file is not in base64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value) -> Result<Vec<Turn>, Error> {
        let messages: Vec<ChatMessage> = serde_json::from_value(json).unwrap();
        turns(&messages, "messages")
    }

    #[test]
    fn parts_and_files_become_turns() {
        let turns = read(serde_json::json!([
            {"role": "developer", "content": "Be short."},
            {"role": "user", "content": [
                {"type": "text", "text": "a"},
                {"type": "file", "file": {"filename": "x", "file_data": "data:text/plain;base64,eD0x"}},
                {"type": "text", "text": "b"},
            ]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}},
            ]},
            {"role": "tool", "tool_call_id": "1", "content": "2"},
        ]))
        .unwrap();
        assert_eq!(turns[0].message.role, "system");
        assert_eq!(turns[1].message.content, text::Content::Text("a\nb".to_owned()));
        assert_eq!(turns[1].files, [b"x=1"]);
        assert_eq!(turns[2].message.tool_calls[0].arguments["x"], 1);
        assert_eq!(turns[3].message.tool_call_id.as_deref(), Some("1"));
    }

    #[test]
    fn what_no_model_reads_is_named() {
        let part = |part: Value| serde_json::json!([{"role": "user", "content": [part]}]);
        for (messages, param) in [
            (serde_json::json!([]), "messages"),
            (serde_json::json!([{"role": "user"}]), "messages[0].content"),
            (
                part(serde_json::json!({"type": "image_url", "image_url": {}})),
                "messages[0].content[0]",
            ),
            (
                part(serde_json::json!({"type": "file", "file": {"file_id": "x"}})),
                "messages[0].content[0].file.file_data",
            ),
            (
                part(serde_json::json!({"type": "file", "file": {"file_data": "JVBERi0="}})),
                "messages[0].content[0].file.file_data",
            ),
            (
                serde_json::json!([{"role": "assistant", "tool_calls": [
                    {"id": "1", "function": {"name": "f", "arguments": "[]"}},
                ]}]),
                "messages[0].tool_calls[0].function.arguments",
            ),
        ] {
            assert_eq!(read(messages).unwrap_err().param.as_deref(), Some(param));
        }
    }
}
