//! What a template expects of a message's content: a string, a list of parts, or either.

use super::{Content, Message, Part};
use minijinja::Value;

/// What a template takes as content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A string only.
    Text,
    /// A list of parts only.
    Parts,
    /// A string, or parts where there is more than text.
    Either,
}

/// A text that no template writes on its own.
pub(super) const NEEDLE: &str = "gdq7needle";
/// A value beside the text of a part, which only a template shows that prints parts as they are.
pub(super) const BESIDE: &str = "gdq7beside";

/// Finds out which form a template takes by letting it write one message in both: what it writes
/// of the right form holds the text and nothing else of the part. Templates that take neither on
/// its own (some want a system message first) are asked again with one; those that then take
/// neither get strings, which is what most expect.
pub(super) fn probe(write: impl Fn(Vec<Value>) -> Option<String>) -> Form {
    let shows = |messages: Vec<Value>| {
        write(messages).is_some_and(|text| text.contains(NEEDLE) && !text.contains(BESIDE))
    };
    for system in [false, true] {
        let ask = |form: Form| {
            let messages = system.then(|| probe_message("system", form));
            shows(messages.into_iter().chain([probe_message("user", form)]).collect())
        };
        match (ask(Form::Text), ask(Form::Parts)) {
            (true, true) => return Form::Either,
            (false, true) => return Form::Parts,
            (true, false) => return Form::Text,
            (false, false) => {}
        }
    }
    Form::Text
}

fn probe_message(role: &str, form: Form) -> Value {
    let content = match form {
        Form::Parts => Value::from(vec![Value::from_pairs([
            ("type", "text"),
            ("text", NEEDLE),
            ("beside", BESIDE),
        ])]),
        Form::Text | Form::Either => Value::from(NEEDLE),
    };
    Value::from_pairs([("role", Value::from(role)), ("content", content)])
}

impl Content {
    /// The content as a template takes it; `Err` names what it does not take.
    pub(super) fn to_value(&self, form: Form, message: &Message) -> Result<Value, &'static str> {
        let parts = match self {
            Self::Text(text) if form == Form::Parts => {
                return Ok(Value::from(vec![text_part(text, message)]));
            }
            Self::Text(text) => return Ok(Value::from(&text[..])),
            Self::Parts(parts) => parts,
        };
        let more_than_text = parts.iter().find_map(|part| match part {
            Part::Text(_) => None,
            Part::Image => Some("an image"),
            Part::Audio => Some("audio"),
        });
        match (form, more_than_text) {
            (Form::Text, Some(found)) => Err(found),
            (Form::Text, None) | (Form::Either, None) => {
                let texts = parts.iter().map(|part| match part {
                    Part::Text(text) => &text[..],
                    Part::Image | Part::Audio => "",
                });
                Ok(Value::from(texts.collect::<Vec<_>>().join("\n")))
            }
            (Form::Parts, _) | (Form::Either, Some(_)) => {
                let parts = parts.iter().map(|part| match part {
                    Part::Text(text) => text_part(text, message),
                    Part::Image => Value::from_pairs([("type", "image")]),
                    Part::Audio => Value::from_pairs([("type", "audio")]),
                });
                Ok(Value::from(parts.collect::<Vec<_>>()))
            }
        }
    }
}

/// A part with text. It repeats the message's name, which some templates read there in results of
/// functions.
fn text_part(text: &str, message: &Message) -> Value {
    let name = message.name.as_deref().map(|name| ("name", name));
    Value::from_pairs([("type", "text"), ("text", text)].into_iter().chain(name))
}
