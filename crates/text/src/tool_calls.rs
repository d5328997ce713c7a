//! Calls of functions in what a model writes, found while it arrives.
//!
//! The MiniMax models have two forms:
//!
//! ````text
//! <tool_calls>                                 MiniMax-M1: a JSON object per line
//! {"name": "weigh", "arguments": {"what": "stone"}}
//! </tool_calls>
//!
//! <function_call>```typescript                 MiniMax-Text-01: a block for each call
//! functions.weigh({"what": "stone"})
//! ```
//! ````

use crate::marks::held;
use serde::Deserialize;
use serde_json::{Map, Value};

/// How a model writes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallFormat {
    /// MiniMax-M1: between `<tool_calls>` and `</tool_calls>`.
    Tags,
    /// MiniMax-Text-01: a fenced block of TypeScript behind `<function_call>`.
    Typescript,
}

/// A function that may be called.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Its name: letters, digits, `_` and `-`.
    pub name: String,
    /// The JSON schema of its arguments, an object; null allows any.
    pub parameters: Value,
}

pub(crate) struct Tags {
    pub(crate) open: &'static str,
    pub(crate) close: &'static str,
}

pub(crate) const TAGS: Tags = Tags { open: "<tool_calls>", close: "</tool_calls>" };

pub(crate) struct Typescript {
    pub(crate) open: &'static str,
    /// What follows the mark.
    pub(crate) fence: &'static str,
    pub(crate) close: &'static str,
}

pub(crate) const TYPESCRIPT: Typescript =
    Typescript { open: "<function_call>", fence: "```typescript\n", close: "\n```" };

/// What text holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text that is no call.
    Text(String),
    /// A call.
    Call {
        /// The function.
        name: String,
        /// Its arguments: a JSON object.
        arguments: String,
    },
}

/// Finds calls in text that arrives in pieces. Text that cannot begin a call comes out at once; what
/// turns out to be none comes out as text, unchanged.
#[derive(Clone, Debug)]
pub struct CallParser {
    format: CallFormat,
    held: String,
    /// Whether `held` begins with the opening mark.
    inside: bool,
    /// Bytes of `held` that were searched for the closing mark.
    searched: usize,
    /// Whether white space that comes next only separates calls.
    between: bool,
}

/// Whether text is a list of calls.
enum Verdict {
    Calls(Vec<Piece>),
    /// It may become one.
    Unfinished,
    Text,
}

impl CallFormat {
    /// The mark that begins a call.
    pub fn open(self) -> &'static str {
        match self {
            Self::Tags => TAGS.open,
            Self::Typescript => TYPESCRIPT.open,
        }
    }

    /// All marks, which a tokenizer may know as special tokens.
    pub fn marks(self) -> &'static [&'static str] {
        match self {
            Self::Tags => &[TAGS.open, TAGS.close],
            Self::Typescript => &[TYPESCRIPT.open],
        }
    }

    /// The text of calls as the model writes them, for conversations that hold some.
    pub fn write<'a>(self, calls: impl IntoIterator<Item = (&'a str, &'a Value)>) -> String {
        let calls = calls.into_iter();
        match self {
            Self::Tags => {
                let lines = calls.map(|(name, arguments)| {
                    format!("{{\"name\": {}, \"arguments\": {arguments}}}\n", Value::from(name))
                });
                format!("{}\n{}{}", TAGS.open, lines.collect::<String>(), TAGS.close)
            }
            Self::Typescript => {
                let Typescript { open, fence, close } = TYPESCRIPT;
                let blocks = calls.map(|(name, arguments)| {
                    format!("{open}{fence}functions.{name}({arguments}){close}")
                });
                blocks.collect()
            }
        }
    }

    fn close(self) -> &'static str {
        match self {
            Self::Tags => TAGS.close,
            Self::Typescript => TYPESCRIPT.close,
        }
    }

    /// Whether text between the marks may still become calls; cheap, and often right.
    fn may_begin(self, body: &str) -> bool {
        match self {
            Self::Tags => {
                let body = body.trim_start();
                body.is_empty() || body.starts_with('{') || TAGS.close.starts_with(body)
            }
            Self::Typescript => {
                let body = body.trim_start();
                let fence = TYPESCRIPT.fence;
                fence.starts_with(body) || body.starts_with(fence)
            }
        }
    }

    /// Reads the text between the marks.
    fn read(self, body: &str) -> Verdict {
        match self {
            Self::Tags => read_tags(body),
            Self::Typescript => read_typescript(body),
        }
    }
}

impl CallParser {
    /// Begins an answer.
    pub fn new(format: CallFormat) -> Self {
        Self { format, held: String::new(), inside: false, searched: 0, between: false }
    }

    /// What `piece` adds for certain.
    pub fn push(&mut self, piece: &str) -> Vec<Piece> {
        self.held.push_str(piece);
        let mut out = Vec::new();
        while self.step(&mut out) {}
        out
    }

    /// What is left, when nothing more comes: calls, if only their end is missing.
    pub fn finish(&mut self) -> Vec<Piece> {
        let rest = std::mem::take(&mut self.held);
        let inside = std::mem::take(&mut self.inside);
        if rest.is_empty() || self.between && rest.trim().is_empty() {
            return Vec::new();
        }
        if let Some(body) = rest.strip_prefix(self.format.open()).filter(|_| inside) {
            let cut = body.len() - held(body, self.format.close());
            for end in [body.len(), cut] {
                if let Verdict::Calls(calls) = self.format.read(&body[..end]) {
                    return calls;
                }
            }
        }
        vec![Piece::Text(rest)]
    }

    /// One step; whether there may be another.
    fn step(&mut self, out: &mut Vec<Piece>) -> bool {
        match self.inside {
            true => self.step_inside(out),
            false => self.step_outside(out),
        }
    }

    fn step_outside(&mut self, out: &mut Vec<Piece>) -> bool {
        let open = self.format.open();
        let found = self.held.find(open);
        let end = found.unwrap_or(self.held.len() - held(&self.held, open));
        let separates = self.between && self.held[..end].trim().is_empty();
        if separates && found.is_none() {
            return false;
        }
        let text: String = self.held.drain(..end).collect();
        if !separates {
            self.between = false;
            push_text(out, text);
        }
        self.inside = found.is_some();
        self.searched = open.len();
        self.inside
    }

    fn step_inside(&mut self, out: &mut Vec<Piece>) -> bool {
        let (open, close) = (self.format.open(), self.format.close());
        if !self.format.may_begin(&self.held[open.len()..]) {
            self.give_up(out);
            return true;
        }
        // The closing mark may have begun in what was searched.
        let mut from = self.searched.saturating_sub(close.len()).max(open.len());
        while !self.held.is_char_boundary(from) {
            from -= 1;
        }
        let Some(at) = self.held[from..].find(close) else {
            self.searched = self.held.len();
            return false;
        };
        let end = from + at;
        match self.format.read(&self.held[open.len()..end]) {
            Verdict::Calls(calls) => {
                out.extend(calls);
                self.held.drain(..end + close.len());
                self.inside = false;
                self.between = true;
            }
            // The mark stands in a string of the arguments.
            Verdict::Unfinished => self.searched = end + 2 * close.len(),
            Verdict::Text => self.give_up(out),
        }
        true
    }

    /// The opening mark begins no call: it is text, and what follows is looked at again.
    fn give_up(&mut self, out: &mut Vec<Piece>) {
        let open = self.format.open().len();
        push_text(out, self.held.drain(..open).collect());
        (self.inside, self.between) = (false, false);
    }
}

fn push_text(out: &mut Vec<Piece>, text: String) {
    match out.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(before)) => before.push_str(&text),
        _ => out.push(Piece::Text(text)),
    }
}

#[derive(Deserialize)]
struct Call {
    name: String,
    #[serde(default, alias = "parameters")]
    arguments: Arguments,
}

/// An object, or the text of one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Arguments {
    Object(Map<String, Value>),
    Text(String),
}

impl Default for Arguments {
    fn default() -> Self {
        Self::Object(Map::new())
    }
}

impl Call {
    fn piece(self) -> Option<Piece> {
        let arguments = match self.arguments {
            Arguments::Object(map) => map,
            Arguments::Text(text) => serde_json::from_str(&text).ok()?,
        };
        let arguments = Value::Object(arguments).to_string();
        (!self.name.is_empty()).then_some(Piece::Call { name: self.name, arguments })
    }
}

/// JSON objects one after the other.
fn read_tags(body: &str) -> Verdict {
    let mut calls = Vec::new();
    for call in serde_json::Deserializer::from_str(body).into_iter::<Call>() {
        match call.map(Call::piece) {
            Ok(Some(call)) => calls.push(call),
            Err(error) if ends_in_string(&error) => return Verdict::Unfinished,
            Ok(None) | Err(_) => return Verdict::Text,
        }
    }
    match calls.is_empty() {
        true => Verdict::Text,
        false => Verdict::Calls(calls),
    }
}

/// A fence, then `functions.NAME(JSON)` one after the other.
fn read_typescript(body: &str) -> Verdict {
    let Some(mut rest) = body.trim_start().strip_prefix(TYPESCRIPT.fence) else {
        return Verdict::Text;
    };
    let mut calls = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
        if rest.is_empty() {
            break;
        }
        let Some((name, after)) =
            rest.strip_prefix("functions.").and_then(|rest| rest.split_once('('))
        else {
            return Verdict::Text;
        };
        let after = after.trim_start();
        let (arguments, after) = match after.strip_prefix(')') {
            Some(_) => (Arguments::default(), after),
            None => {
                let mut json = serde_json::Deserializer::from_str(after).into_iter();
                match json.next() {
                    Some(Ok(arguments)) => {
                        (Arguments::Object(arguments), &after[json.byte_offset()..])
                    }
                    Some(Err(error)) if ends_in_string(&error) => return Verdict::Unfinished,
                    Some(Err(_)) | None => return Verdict::Text,
                }
            }
        };
        let Some(after) = after.trim_start().strip_prefix(')') else { return Verdict::Text };
        rest = after;
        let is_name = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        let call = Call { name: name.to_owned(), arguments };
        match call.piece().filter(|_| is_name) {
            Some(call) => calls.push(call),
            None => return Verdict::Text,
        }
    }
    match calls.is_empty() {
        true => Verdict::Text,
        false => Verdict::Calls(calls),
    }
}

/// Whether JSON ends inside a string, so that the mark that was found is a part of it.
fn ends_in_string(error: &serde_json::Error) -> bool {
    error.is_eof() && error.to_string().starts_with("EOF while parsing a string")
}

#[cfg(test)]
mod tests;
