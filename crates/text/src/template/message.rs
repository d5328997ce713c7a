//! What was said.

use super::Form;
use minijinja::Value;
use minijinja::value::Serde;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who says it: `system`, `user`, `assistant`, `tool`, or what else the template knows.
    pub role: String,
    /// What is said. Parts that are all text are joined by line breaks, and a string becomes one
    /// part, where the template expects the other form.
    pub content: Content,
    /// The name of who says it, or of the function whose result it is.
    pub name: Option<String>,
    /// The functions that the assistant calls.
    pub tool_calls: Vec<ToolCall>,
    /// Which call this is the result of.
    pub tool_call_id: Option<String>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text.
    Text(String),
    /// Pieces of several kinds.
    Parts(Vec<Part>),
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// An image; the template writes what stands for it.
    Image,
    /// A sound; the template writes what stands for it.
    Audio,
}

/// A function that the assistant calls.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// What its result refers to.
    pub id: Option<String>,
    /// The function.
    pub name: String,
    /// Its arguments; templates expect an object.
    pub arguments: serde_json::Value,
}

impl Message {
    /// The message `text` of `role`.
    pub fn new(role: &str, text: &str) -> Self {
        Self {
            role: role.to_owned(),
            content: Content::Text(text.to_owned()),
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
    }

    /// The message as a template takes it; `Err` names what it does not take.
    pub(super) fn to_value(&self, form: Form) -> Result<Value, &'static str> {
        let mut fields = vec![
            ("role", Value::from(&self.role[..])),
            ("content", self.content.to_value(form, self)?),
        ];
        let texts = [("name", &self.name), ("tool_call_id", &self.tool_call_id)];
        for (name, text) in texts {
            fields.extend(text.as_deref().map(|text| (name, Value::from(text))));
        }
        if !self.tool_calls.is_empty() {
            let calls: Vec<Value> = self.tool_calls.iter().map(ToolCall::to_value).collect();
            fields.push(("tool_calls", Value::from(calls)));
        }
        Ok(Value::from_pairs(fields))
    }
}

impl ToolCall {
    fn to_value(&self) -> Value {
        let function = [
            ("name", Value::from(&self.name[..])),
            ("arguments", Value::from(Serde(&self.arguments))),
        ];
        let id = self.id.as_deref().map(|id| ("id", Value::from(id)));
        let rest = [("type", Value::from("function")), ("function", Value::from_pairs(function))];
        Value::from_pairs(id.into_iter().chain(rest))
    }
}
