//! From messages to the text that a model reads: the chat template that comes with it.
//!
//! Templates are programs in Jinja, written for Python and by strangers. They run in a sandbox
//! (`sandbox`) and see the variables that they know from transformers: `messages`, `tools`,
//! `documents` (none), `add_generation_prompt`, the special tokens by name, and
//! `strftime_now(format)` where a time is given.
//!
//! The text holds special tokens. [`ChatTemplate::encode`] keeps those of the template and those that
//! somebody wrote apart (`guard`); the text of [`ChatTemplate::render`] no longer shows which is which.

mod config;
mod form;
mod guard;
mod json;
mod message;
mod sandbox;
#[cfg(test)]
mod tests;
mod tools;

pub use message::{Content, Message, Part, ToolCall};

use crate::{CallFormat, Error};
use config::Config;
use form::Form;
use minijinja::value::Serde;
use minijinja::{ErrorKind, Value};
use sandbox::{Failure, Sandbox};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::SystemTime;
use tools::Tools;

/// A file that holds a template and nothing else; it counts more than the others.
pub(crate) const FILE: &str = "chat_template.jinja";
/// A file that holds a template as JSON, beside models that read more than text.
const JSON_FILE: &str = "chat_template.json";
/// The config of a tokenizer, with special tokens and perhaps a template.
pub(crate) const CONFIG: &str = "tokenizer_config.json";

/// Names of templates: what is used, and what is used instead if there are tools.
pub(crate) const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

/// A model's chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    path: PathBuf,
    sandbox: Sandbox,
    special_tokens: BTreeMap<String, String>,
    form: Form,
    /// Whether there is a template of its own for conversations with tools.
    tool_use: bool,
    tools: Tools,
}

/// Variables that a conversation may set: switches that templates are known to have. Others could
/// change what a template relies on.
const VARIABLES: [&str; 8] = [
    "enable_thinking",
    "thinking",
    "thinking_budget",
    "reasoning_effort",
    "preserve_thinking",
    "date_string",
    "builtin_tools",
    "model_identity",
];
/// Longest value of one in bytes of JSON.
const MAX_VARIABLE: usize = 1024;

/// What a template makes text of.
#[derive(Clone, Copy, Debug)]
pub struct Conversation<'a> {
    /// What was said so far.
    pub messages: &'a [Message],
    /// The functions that the model may call, as the JSON schemas of their definitions.
    pub tools: &'a [serde_json::Value],
    /// Values of further variables: `enable_thinking`, `reasoning_effort` and others that templates
    /// are known to have.
    pub variables: &'a serde_json::Map<String, serde_json::Value>,
    /// Whether the text goes on to where the model answers.
    pub add_generation_prompt: bool,
    /// The time that templates may read, shown in UTC; `None`: they know no time.
    pub now: Option<SystemTime>,
}

impl Conversation<'_> {
    /// Nothing said, and nothing asked for.
    pub fn empty() -> Self {
        static NONE: LazyLock<serde_json::Map<String, serde_json::Value>> =
            LazyLock::new(serde_json::Map::new);
        Self {
            messages: &[],
            tools: &[],
            variables: &NONE,
            add_generation_prompt: false,
            now: None,
        }
    }
}

impl ChatTemplate {
    /// How the model of this template writes calls of functions, if that is known.
    pub fn call_format(&self) -> Option<CallFormat> {
        self.tools.format
    }

    /// The template in a model's folder: `chat_template.jinja`, `chat_template.json` or
    /// `chat_template` in `tokenizer_config.json`, in this order; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or is not what it should be.
    pub fn open(folder: &Path) -> Result<Option<Self>, Error> {
        let Found { special_tokens, templates } = Found::open(folder)?;
        templates
            .map(|(templates, path)| Self::from_templates(templates, &path, special_tokens))
            .transpose()
    }

    /// The template in the text of a `tokenizer_config.json`, `None` if it has none; `path` is
    /// named in errors.
    ///
    /// # Errors
    ///
    /// If it is not JSON, or a field is not what it should be.
    pub fn from_config(text: &[u8], path: &Path) -> Result<Option<Self>, Error> {
        let config = Config::parse(text, path)?;
        let new = |templates| Self::from_templates(templates, path, config.special_tokens);
        config.templates.map(new).transpose()
    }

    /// The template `source`; `special_tokens` are known to it by their names, such as
    /// `bos_token`, and `path` is named in errors.
    ///
    /// # Errors
    ///
    /// If it is not UTF-8, too long, or not a template.
    pub fn from_jinja(
        source: &[u8],
        path: &Path,
        special_tokens: BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        Self::from_templates(only(source, path)?, path, special_tokens)
    }

    pub(crate) fn from_templates(
        templates: BTreeMap<String, String>,
        path: &Path,
        special_tokens: BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        if !templates.contains_key(DEFAULT) {
            let names: Vec<_> = templates.keys().map(|name| format!("`{name}`")).collect();
            let reason =
                format!("it has templates named {}, expected one `{DEFAULT}`", names.join(", "));
            return Err(Error::Template { path: path.to_owned(), reason });
        }
        let mut sandbox = Sandbox::new();
        let mut tool_use = false;
        let sources: Vec<String> = templates.values().cloned().collect();
        for (name, source) in templates {
            // Others are chosen by name, which nothing here does.
            if name == DEFAULT || name == TOOL_USE {
                tool_use |= name == TOOL_USE;
                let wrong = |reason| Error::Template { path: path.to_owned(), reason };
                sandbox.add(name, source).map_err(wrong)?;
            }
        }
        let mut template = Self {
            path: path.to_owned(),
            sandbox,
            special_tokens,
            form: Form::Text,
            tool_use,
            tools: Tools::UNKNOWN,
        };
        template.form = form::probe(|messages| template.run(messages, &Conversation::empty()).ok());
        template.tools = Tools::probe(&sources, |messages| {
            template.render(&Conversation { messages, ..Conversation::empty() }).ok()
        });
        Ok(template)
    }

    /// The text of `conversation`.
    ///
    /// # Errors
    ///
    /// If the template refuses the messages (a role that it does not know, an image where it
    /// takes text only), fails, takes too long or writes too much.
    pub fn render(&self, conversation: &Conversation<'_>) -> Result<String, Error> {
        for (name, value) in conversation.variables {
            let wrong = |reason: String| Error::Variable { name: name.clone(), reason };
            if !VARIABLES.contains(&&name[..]) {
                return Err(wrong(format!("is not one of `{}`", VARIABLES.join("`, `"))));
            }
            let bytes = value.to_string().len();
            if bytes > MAX_VARIABLE {
                return Err(wrong(format!("has {bytes} bytes, expected {MAX_VARIABLE} at most")));
            }
        }
        let messages = self.tools.adapt(conversation.messages);
        let messages = messages.iter().enumerate();
        let messages = messages.map(|(i, message)| {
            message.to_value(self.form).map_err(|found| Error::Refused {
                path: self.path.clone(),
                reason: format!("message {i} holds {found}, expected text only"),
            })
        });
        let messages = messages.collect::<Result<_, _>>()?;
        self.run(messages, conversation).map_err(|failure| {
            let path = self.path.clone();
            match failure {
                Failure::Refused(reason) => Error::Refused { path, reason },
                Failure::Broken(reason) => Error::Render { path, reason },
            }
        })
    }

    fn run(
        &self,
        messages: Vec<Value>,
        conversation: &Conversation<'_>,
    ) -> Result<String, Failure> {
        let Conversation { tools, add_generation_prompt, now, .. } = *conversation;
        let name = if self.tool_use && !tools.is_empty() { TOOL_USE } else { DEFAULT };
        let mut variables: BTreeMap<&str, Value> = self
            .special_tokens
            .iter()
            .map(|(name, token)| (&name[..], Value::from(&token[..])))
            .collect();
        let extra = conversation.variables.iter();
        variables.extend(extra.map(|(name, value)| (&name[..], Value::from(Serde(value)))));
        let tools = match tools {
            [] => Value::from(()),
            tools => Value::from(Serde(tools)),
        };
        variables.insert("messages", Value::from(messages));
        variables.insert("tools", tools);
        variables.insert("documents", Value::from(()));
        variables.insert("add_generation_prompt", Value::from(add_generation_prompt));
        if let Some(now) = now {
            let strftime = move |format: &str| strftime(now, format);
            variables.insert("strftime_now", Value::from_function(strftime));
        }
        self.sandbox.render(name, variables)
    }
}

/// What a folder says of templates.
pub(crate) struct Found {
    /// By the names that templates know.
    pub(crate) special_tokens: BTreeMap<String, String>,
    /// By name, and the file that they are in.
    pub(crate) templates: Option<(BTreeMap<String, String>, PathBuf)>,
}

impl Found {
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = folder.join(name);
            match std::fs::read(&path) {
                Ok(text) => Ok(Some((text, path))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(Error::Io { path, source }),
            }
        };
        let mut found = Self { special_tokens: BTreeMap::new(), templates: None };
        if let Some((text, path)) = read(CONFIG)? {
            let config = Config::parse(&text, &path)?;
            found.special_tokens = config.special_tokens;
            found.templates = config.templates.map(|templates| (templates, path));
        }
        if let Some((text, path)) = read(JSON_FILE)? {
            let templates = Config::parse(&text, &path)?.templates;
            found.templates = templates.map(|templates| (templates, path)).or(found.templates);
        }
        if let Some((text, path)) = read(FILE)? {
            found.templates = Some((only(&text, &path)?, path));
        }
        Ok(found)
    }
}

/// The template `source` as the default.
fn only(source: &[u8], path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let source = std::str::from_utf8(source).map_err(|error| Error::Template {
        path: path.to_owned(),
        reason: format!("it is not UTF-8 from byte {} on", error.valid_up_to()),
    })?;
    Ok(BTreeMap::from([(DEFAULT.to_owned(), source.to_owned())]))
}

/// The time `now` in UTC, as Python's `strftime` would write it.
fn strftime(now: SystemTime, format: &str) -> Result<String, minijinja::Error> {
    let wrong = |reason: String| minijinja::Error::new(ErrorKind::InvalidOperation, reason);
    // Widths, as in `%255Y`, make a format's result longer than the format.
    if format.len() > 256 {
        return Err(wrong(format!(
            "a time format of {} bytes, expected 256 at most",
            format.len()
        )));
    }
    let now = jiff::Timestamp::try_from(now).map_err(|error| wrong(error.to_string()))?;
    jiff::fmt::strtime::format(format, &now.to_zoned(jiff::tz::TimeZone::UTC))
        .map_err(|error| wrong(error.to_string()))
}
