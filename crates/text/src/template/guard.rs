//! Special tokens that somebody wrote into a message are text: they cannot end it, or begin
//! another in its name.
//!
//! A template mixes what was said with special tokens of its own. So that the two can be told apart
//! in its output, a character that nobody used is put before each special token that was said, and
//! before what a template could make one of by putting texts together. The tokens themselves stay
//! whole, for templates that look for them.

use super::{Content, Conversation, Message, Part, ToolCall};
use crate::{ChatTemplate, Error, Specials, Tokenizer};
use serde_json::{Map, Value};

impl ChatTemplate {
    /// The ids of `conversation` in this template. Special tokens that the template writes are
    /// special, those in messages, tools and variables are text.
    ///
    /// # Errors
    ///
    /// As [`render`](Self::render) and [`Tokenizer::encode`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation<'_>,
    ) -> Result<Vec<u32>, Error> {
        let mut specials = tokenizer.special_tokens();
        specials.retain(|special| !special.is_empty());
        let mut search = Search { specials: &specials, found: false };
        search.conversation(conversation);
        if !search.found {
            return tokenizer.encode(&self.render(conversation)?, Specials::Parse);
        }
        let mark = unused(conversation);
        let guard = Guard { specials: &specials, mark };
        let messages: Vec<Message> =
            conversation.messages.iter().map(|m| guard.message(m)).collect();
        let tools: Vec<Value> = conversation.tools.iter().map(|tool| guard.value(tool)).collect();
        let variables = guard.object(conversation.variables);
        let guarded = Conversation {
            messages: &messages,
            tools: &tools,
            variables: &variables,
            ..*conversation
        };
        let text = self.render(&guarded)?.replace(&escaped(mark), mark.encode_utf8(&mut [0; 4]));
        encode(tokenizer, &specials, mark, &text)
    }
}

/// The ids of `text`, where special tokens behind `mark` are text and `mark` is nothing.
fn encode(
    tokenizer: &Tokenizer,
    specials: &[String],
    mark: char,
    text: &str,
) -> Result<Vec<u32>, Error> {
    let mut ids = Vec::new();
    // What is encoded as the template wrote it, and the text since its last special token.
    let (mut start, mut text_start, mut at) = (0, 0, 0);
    let mut add = |from: usize, text_start: usize, end: usize| -> Result<(), Error> {
        ids.extend(tokenizer.encode(&text[from..text_start], Specials::Parse)?);
        let said = text[text_start..end].replace(mark, "");
        ids.extend(tokenizer.encode(&said, Specials::AsText)?);
        Ok(())
    };
    let mut marked = false;
    while let Some(next) = text[at..].chars().next() {
        let special = specials.iter().filter(|special| text[at..].starts_with(&special[..]));
        let special = special.map(String::len).max().filter(|_| !text[..at].ends_with(mark));
        let Some(length) = special else {
            marked |= next == mark;
            at += next.len_utf8();
            continue;
        };
        if marked {
            add(start, text_start, at)?;
            (start, marked) = (at, false);
        }
        at += length;
        text_start = at;
    }
    match marked {
        true => add(start, text_start, text.len())?,
        false => ids.extend(tokenizer.encode(&text[start..], Specials::Parse)?),
    }
    Ok(ids)
}

/// How some templates write `mark` in JSON.
fn escaped(mark: char) -> String {
    format!("\\u{:04x}", u32::from(mark))
}

/// A character of the private use area that is not in the conversation, in either form.
fn unused(conversation: &Conversation<'_>) -> char {
    let mut candidates = '\u{E000}'..='\u{F8FF}';
    let free = candidates.find(|&mark| {
        let mut taken = Taken { texts: [mark.to_string(), escaped(mark)], found: false };
        taken.conversation(conversation);
        !taken.found
    });
    // Only a text with all 6 400 of them comes here; what it says of itself is its own loss.
    free.unwrap_or('\u{F8FF}')
}

/// Where special tokens begin in `text`, or may after other text is put behind it.
fn starts<'a>(text: &'a str, specials: &'a [String]) -> impl Iterator<Item = usize> + 'a {
    let ends = [text.len(), text.trim_end().len()];
    let longest = specials.iter().map(String::len).max().unwrap_or(0);
    text.char_indices().map(|(i, _)| i).filter(move |&i| {
        let rest = &text.as_bytes()[i..];
        specials.iter().map(String::as_bytes).any(|special| {
            special[0] == rest[0]
                && (rest.starts_with(special)
                    || rest.len() <= longest + text.len() - ends[1]
                        && ends.iter().any(|&end| end > i && special.starts_with(&rest[..end - i])))
        })
    })
}

/// Goes over all texts of a conversation that come from outside.
trait Visit {
    fn text(&mut self, text: &str);

    fn conversation(&mut self, conversation: &Conversation<'_>) {
        for message in conversation.messages {
            self.text(&message.role);
            match &message.content {
                Content::Text(text) => self.text(text),
                Content::Parts(parts) => parts.iter().for_each(|part| match part {
                    Part::Text(text) => self.text(text),
                    Part::Image | Part::Audio => {}
                }),
            }
            let names = [&message.name, &message.tool_call_id];
            names.into_iter().flatten().for_each(|name| self.text(name));
            for call in &message.tool_calls {
                call.id.iter().for_each(|id| self.text(id));
                self.text(&call.name);
                self.value(&call.arguments);
            }
        }
        conversation.tools.iter().for_each(|tool| self.value(tool));
        conversation.variables.values().for_each(|value| self.value(value));
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(list) => list.iter().for_each(|value| self.value(value)),
            Value::Object(map) => map.iter().for_each(|(key, value)| {
                self.text(key);
                self.value(value);
            }),
            _ => {}
        }
    }
}

/// Whether there is anything to guard.
struct Search<'a> {
    specials: &'a [String],
    found: bool,
}

impl Visit for Search<'_> {
    fn text(&mut self, text: &str) {
        self.found |= starts(text, self.specials).next().is_some();
    }
}

/// Whether one of two texts is there.
struct Taken {
    texts: [String; 2],
    found: bool,
}

impl Visit for Taken {
    fn text(&mut self, text: &str) {
        self.found |= self.texts.iter().any(|taken| text.contains(&taken[..]));
    }
}

struct Guard<'a> {
    specials: &'a [String],
    mark: char,
}

impl Guard<'_> {
    fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + 16);
        let mut done = 0;
        for start in starts(text, self.specials) {
            out.push_str(&text[done..start]);
            out.push(self.mark);
            done = start;
        }
        out + &text[done..]
    }

    fn message(&self, message: &Message) -> Message {
        let content = match &message.content {
            Content::Text(text) => Content::Text(self.text(text)),
            Content::Parts(parts) => {
                let parts = parts.iter().map(|part| match part {
                    Part::Text(text) => Part::Text(self.text(text)),
                    Part::Image | Part::Audio => part.clone(),
                });
                Content::Parts(parts.collect())
            }
        };
        let calls = message.tool_calls.iter().map(|call| ToolCall {
            id: call.id.as_deref().map(|id| self.text(id)),
            name: self.text(&call.name),
            arguments: self.value(&call.arguments),
        });
        Message {
            role: self.text(&message.role),
            content,
            name: message.name.as_deref().map(|name| self.text(name)),
            tool_calls: calls.collect(),
            tool_call_id: message.tool_call_id.as_deref().map(|id| self.text(id)),
        }
    }

    fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(list) => list.iter().map(|value| self.value(value)).collect(),
            Value::Object(map) => Value::Object(self.object(map)),
            other => other.clone(),
        }
    }

    fn object(&self, map: &Map<String, Value>) -> Map<String, Value> {
        map.iter().map(|(key, value)| (self.text(key), self.value(value))).collect()
    }
}
