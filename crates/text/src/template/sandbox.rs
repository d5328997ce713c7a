//! Where templates run: no files, no environment, no other templates, and bounds on what they may
//! use. What they see of Python is what transformers offers them.
//!
//! Loops, output and recursion end at a bound. One thing has none, as in Python: a value that a
//! template puts into itself, a namespace into its own field or a list into a list again and
//! again. To join, compare or drop it can take for ever, or the whole stack. So a template need not
//! be right, but it must not be meant as an attack.

use super::json::{self, Limited};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;
use std::collections::BTreeMap;
use std::fmt;

/// Longest template in bytes, a few times that of known models: the engine counts lines, columns
/// and arguments in 16 bits and panics on one more.
pub(super) const MAX_SOURCE: usize = u16::MAX as usize - 1;

/// What rendering may use, in the engine's unit: an instruction, or 64 bytes of data made. Known
/// templates use some hundred per message.
const FUEL: u64 = 500_000;
const FUEL_PER_MESSAGE: u64 = 1_000;
/// Each byte of the messages may be made anew eight times.
const BYTES_PER_FUEL: u64 = 8;

/// Longest output in bytes, beside four times what the variables hold.
const MAX_OUTPUT: usize = 1 << 20;

/// An environment with templates.
pub(super) struct Sandbox {
    environment: Environment<'static>,
}

/// Why there is no text.
pub(super) enum Failure {
    /// The template does not want these messages and says why.
    Refused(String),
    /// Anything else.
    Broken(String),
}

impl Sandbox {
    pub(super) fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_debug(true);
        // As transformers has it.
        environment.set_syntax(syntax());
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(method);
        environment.add_filter("tojson", json::to_json);
        environment.add_function("raise_exception", raise_exception);
        // They print what a template is not to know, or more than it pays for.
        environment.remove_global("debug");
        environment.remove_filter("pprint");
        Self { environment }
    }

    /// Adds a template; `Err` says why it is none.
    pub(super) fn add(&mut self, name: String, source: String) -> Result<(), String> {
        if source.len() > MAX_SOURCE {
            return Err(format!("it has {} bytes, expected {MAX_SOURCE} at most", source.len()));
        }
        self.environment.add_template_owned(name, source).map_err(|error| error.to_string())
    }

    /// What the template `name` makes of `variables`.
    pub(super) fn render(
        &self,
        name: &str,
        variables: BTreeMap<&str, Value>,
    ) -> Result<String, Failure> {
        let bytes: usize = variables.values().map(bytes).sum();
        let messages = variables.get("messages").and_then(Value::len).unwrap_or(0);
        let mut environment = self.environment.clone();
        let fuel = FUEL + FUEL_PER_MESSAGE * messages as u64 + bytes as u64 / BYTES_PER_FUEL;
        environment.set_fuel(Some(fuel));
        let max_output = MAX_OUTPUT + 4 * bytes;
        let mut out = Limited::new(max_output);
        let rendered = environment.get_template(name).and_then(|template| {
            template.render_captured_to(Value::from_pairs(variables), &mut out).map(drop)
        });
        match rendered {
            Ok(()) => out.into_string().map_err(Failure::Broken),
            Err(error) if error.kind() == ErrorKind::WriteFailure => {
                Err(Failure::Broken(format!("it writes more than {max_output} bytes")))
            }
            Err(error) => Err(Failure::of(&error)),
        }
    }
}

fn syntax() -> SyntaxConfig {
    let mut builder = SyntaxConfig::builder();
    builder.trim_blocks(true).lstrip_blocks(true);
    // It fails for delimiters that contradict each other; these are the usual ones.
    builder.build().unwrap_or_default()
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sandbox")
    }
}

impl Failure {
    fn of(error: &Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(Refusal(reason)) = error.downcast_ref() {
                return Self::Refused(reason.clone());
            }
            cause = error.source();
        }
        match error.kind() {
            ErrorKind::OutOfFuel => Self::Broken("it takes too many steps or bytes".to_owned()),
            _ => Self::Broken(error.to_string()),
        }
    }
}

/// What a template says with `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

fn raise_exception(reason: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "refused").with_source(Refusal(reason)))
}

/// Methods of Python's strings, lists and dictionaries.
fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let ("format", Some(format)) = (method, value.as_str()) {
        // Each field may ask for any width: four digits are allowed, and paid for.
        let digits = format.as_bytes().split(|byte| !byte.is_ascii_digit()).map(<[u8]>::len).max();
        if digits > Some(4) {
            let reason = "a width of more than four digits in `format`";
            return Err(Error::new(ErrorKind::InvalidOperation, reason));
        }
        state.consume_fuel(160 * format.matches('{').count() as u64)?;
    }
    pycompat::unknown_method_callback(state, value, method, args)
}

/// Bytes of all texts in a value that did not come from a template.
fn bytes(value: &Value) -> usize {
    if let Some(text) = value.as_str() {
        return text.len();
    }
    let Some(object) = value.as_object() else { return 0 };
    match object.try_iter_pairs() {
        Some(pairs) => pairs.map(|(key, value)| bytes(&key) + bytes(&value)).sum(),
        None => 0,
    }
}
