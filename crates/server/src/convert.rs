//! Fields of requests as the engine takes them: ranges are checked here, once.

use crate::app::Served;
use crate::error::{Error, Kind};
use crate::form::Prompt;
use crate::wire::shared::Stop;
use engine::{Sampling, TokenMask};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use text::grammar::{self, Grammar, Rules, Thought};
use text::{AnswerForm, Function};

/// Most answers to a prompt.
const MAX_CHOICES: u32 = 128;
/// Most stop strings of OpenAI's requests.
const MAX_STOPS: usize = 4;
/// Longest stop string.
const MAX_STOP_BYTES: usize = 1024;
/// Most entries of `logit_bias`.
const MAX_BIAS: usize = 1024;
/// Most functions.
const MAX_TOOLS: usize = 128;

/// How tokens are to be chosen, as requests say it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Choosing<'a> {
    pub(crate) temperature: Option<f32>,
    pub(crate) top_p: Option<f32>,
    pub(crate) top_k: Option<i32>,
    pub(crate) min_p: Option<f32>,
    pub(crate) repetition_penalty: Option<f32>,
    pub(crate) presence_penalty: Option<f32>,
    pub(crate) frequency_penalty: Option<f32>,
    pub(crate) logit_bias: Option<&'a BTreeMap<String, f32>>,
}

impl Choosing<'_> {
    /// The same in ranges, what is not said as the model does it.
    ///
    /// # Errors
    ///
    /// If a value is out of range; names it.
    pub(crate) fn sampling(&self, served: &Served) -> Result<Sampling, Error> {
        let defaults = &served.defaults;
        let top_k = match self.top_k {
            None => defaults.top_k,
            Some(-1) => 0,
            Some(k) => usize::try_from(k).map_err(|_| out_of_range("top_k", k, "-1 or more"))?,
        };
        Ok(Sampling {
            temperature: range("temperature", self.temperature, 0.0..=2.0, defaults.temperature)?,
            top_k,
            top_p: positive("top_p", self.top_p, 1.0, defaults.top_p)?,
            min_p: range("min_p", self.min_p, 0.0..=1.0, 0.0)?,
            repetition_penalty: positive(
                "repetition_penalty",
                self.repetition_penalty,
                10.0,
                defaults.repetition_penalty,
            )?,
            presence_penalty: range("presence_penalty", self.presence_penalty, -2.0..=2.0, 0.0)?,
            frequency_penalty: range("frequency_penalty", self.frequency_penalty, -2.0..=2.0, 0.0)?,
            logit_bias: self.logit_bias.map_or(Ok(Vec::new()), |bias| bias_of(bias, served))?,
        })
    }
}

fn range(
    name: &str,
    value: Option<f32>,
    range: RangeInclusive<f32>,
    default: f32,
) -> Result<f32, Error> {
    let value = value.unwrap_or(default);
    if range.contains(&value) {
        return Ok(value);
    }
    Err(out_of_range(name, value, &format!("{} to {}", range.start(), range.end())))
}

fn positive(name: &str, value: Option<f32>, most: f32, default: f32) -> Result<f32, Error> {
    let value = value.unwrap_or(default);
    if value > 0.0 && value <= most {
        return Ok(value);
    }
    Err(out_of_range(name, value, &format!("more than 0, at most {most}")))
}

fn out_of_range(name: &str, found: impl std::fmt::Display, expected: &str) -> Error {
    Error::invalid(name, format!("`{name}` is {found}, expected {expected}"))
}

fn bias_of(bias: &BTreeMap<String, f32>, served: &Served) -> Result<Vec<(u32, f32)>, Error> {
    if bias.len() > MAX_BIAS {
        let found = format!("of {} tokens", bias.len());
        return Err(out_of_range("logit_bias", found, &format!("{MAX_BIAS} at most")));
    }
    let pairs = bias.iter().map(|(id, &bias)| {
        let param = format!("logit_bias.{}", id.chars().take(32).collect::<String>());
        let number: u32 =
            id.parse().ok().filter(|&id| (id as usize) < served.vocab_size).ok_or_else(|| {
                let vocab = served.vocab_size;
                Error::invalid(
                    &param[..],
                    format!("`{param}` names no token, expected an id below {vocab}"),
                )
            })?;
        if !(-100.0..=100.0).contains(&bias) {
            return Err(out_of_range(&param, bias, "-100 to 100"));
        }
        Ok((number, bias))
    });
    pairs.collect()
}

/// The number of answers.
pub(crate) fn choices(n: Option<u32>) -> Result<usize, Error> {
    match n.unwrap_or(1) {
        n @ 1..=MAX_CHOICES => Ok(n as usize),
        n => Err(out_of_range("n", n, &format!("1 to {MAX_CHOICES}"))),
    }
}

/// Most tokens, of the field `name`.
pub(crate) fn max_tokens(name: &str, value: Option<u32>) -> Result<Option<usize>, Error> {
    match value {
        Some(0) => Err(out_of_range(name, 0, "1 or more")),
        value => Ok(value.map(|n| n as usize)),
    }
}

/// Up to 20 alternatives, of the field `name`.
pub(crate) fn top_logprobs(name: &str, value: Option<u32>) -> Result<usize, Error> {
    match value.unwrap_or(0) {
        n @ 0..=20 => Ok(n as usize),
        n => Err(out_of_range(name, n, "0 to 20")),
    }
}

/// The seed, or one that differs each time.
pub(crate) fn seed(seed: Option<i64>) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    seed.map_or_else(|| RandomState::new().hash_one(()), i64::cast_unsigned)
}

/// Stop strings.
pub(crate) fn stops(stop: Option<Stop>) -> Result<Vec<String>, Error> {
    let strings = match stop {
        None => Vec::new(),
        Some(Stop::One(string)) => vec![string],
        Some(Stop::Several(strings)) => strings,
    };
    check_stops("stop", strings, MAX_STOPS)
}

/// Stop strings of the field `name`, `most` of them.
pub(crate) fn check_stops(
    name: &str,
    strings: Vec<String>,
    most: usize,
) -> Result<Vec<String>, Error> {
    if strings.len() > most {
        let found = format!("a list of {}", strings.len());
        return Err(out_of_range(name, found, &format!("{most} at most")));
    }
    if let Some(string) = strings.iter().find(|s| s.is_empty() || s.len() > MAX_STOP_BYTES) {
        let found = format!("a string of {} bytes", string.len());
        return Err(out_of_range(name, found, &format!("1 to {MAX_STOP_BYTES}")));
    }
    Ok(strings)
}

/// What form an answer must have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Free,
    Object,
    /// The schema, and the field that it is in.
    Schema(Value, &'static str),
}

/// What may be called, and whether it must be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calling {
    pub(crate) functions: Vec<Function>,
    /// The definitions as templates take them.
    pub(crate) definitions: Vec<Value>,
    pub(crate) required: bool,
    pub(crate) parallel: bool,
    /// Whether anything is held to schemas.
    pub(crate) strict: bool,
}

/// Which function must be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Must {
    Auto,
    None,
    Any,
    Named(String),
}

/// A function as all interfaces define it.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) parameters: Option<Value>,
    pub(crate) strict: bool,
}

impl Calling {
    /// What `tools` and `choice` come to.
    ///
    /// # Errors
    ///
    /// If the model cannot call, or a name is not good.
    pub(crate) fn new(
        served: &Served,
        tools: Vec<Definition>,
        choice: &Must,
        parallel: bool,
    ) -> Result<Self, Error> {
        if tools.len() > MAX_TOOLS {
            let found = format!("a list of {}", tools.len());
            return Err(out_of_range("tools", found, &format!("{MAX_TOOLS} at most")));
        }
        for (i, tool) in tools.iter().enumerate() {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            if tool.name.is_empty() || tool.name.len() > 64 || !tool.name.bytes().all(good) {
                let message =
                    "the name of a function is not made of 1 to 64 letters, digits, `_` and `-`";
                return Err(Error::invalid(format!("tools[{i}].name"), message));
            }
        }
        let offered: Vec<_> = match choice {
            Must::None => return Ok(Self::default()),
            Must::Named(name) => tools.iter().filter(|tool| tool.name == *name).cloned().collect(),
            Must::Auto | Must::Any => tools.clone(),
        };
        let required = matches!(choice, Must::Any | Must::Named(_));
        if offered.is_empty() && required {
            let message = "`tool_choice` asks for a call of a function that is not in `tools`";
            return Err(Error::invalid("tool_choice", message));
        }
        if tools.is_empty() {
            return Ok(Self::default());
        }
        if served.calls.is_none() {
            let message = format!("the model `{}` cannot call functions", served.name);
            return Err(Error::invalid("tools", message));
        }
        let function = |tool: &Definition| Function {
            name: tool.name.clone(),
            parameters: tool.parameters.clone().unwrap_or(Value::Null),
        };
        let definition = |tool: &Definition| {
            serde_json::json!({"type": "function", "function": {
                "name": tool.name,
                "description": tool.description.clone().unwrap_or_default(),
                "parameters": tool.parameters.clone().unwrap_or_else(|| {
                    serde_json::json!({"type": "object", "properties": {}})
                }),
            }})
        };
        Ok(Self {
            functions: offered.iter().map(function).collect(),
            definitions: tools.iter().map(definition).collect(),
            required,
            parallel,
            strict: required || offered.iter().any(|tool| tool.strict),
        })
    }
}

/// How an answer is split into pieces, and what holds it to its form.
///
/// # Errors
///
/// If a schema cannot be enforced, or the model cannot be held to one.
pub(crate) fn shape(
    served: &Served,
    prompt: &Prompt,
    stop: Vec<String>,
    shape: &Shape,
    calling: &Calling,
) -> Result<(AnswerForm, Option<Box<dyn TokenMask>>), Error> {
    let thought = served.thinking.clone().map(|marks| {
        let opened = prompt.opens(&served.tokenizer, &marks);
        Thought { marks, opened }
    });
    let format = served.calls.filter(|_| !calling.functions.is_empty());
    let form = AnswerForm {
        stop,
        reasoning: thought.clone().map(|thought| (thought.marks, thought.opened)),
        calls: format,
    };
    let (rules, param) = match (shape, format) {
        (Shape::Object, _) => (grammar::Form::Json, "response_format"),
        (Shape::Schema(schema, param), _) => (grammar::Form::Schema(schema), *param),
        (Shape::Free, Some(format)) if calling.strict => {
            let Calling { functions, required, parallel, .. } = calling;
            let (required, parallel) = (*required, *parallel);
            (grammar::Form::Calls { format, functions, required, parallel }, "tools")
        }
        (Shape::Free, _) => {
            let mask = served.form.mask(&served.tokenizer, prompt, &served.end_ids);
            return Ok((form, mask.map_err(Error::internal)?));
        }
    };
    let Some(vocabulary) = &served.vocabulary else {
        let message = format!("the model `{}` cannot be held to a form", served.name);
        return Err(Error::invalid(param, message));
    };
    let rules = Rules { form: rules, reasoning: thought };
    let grammar = Grammar::new(vocabulary, &rules).map_err(|error| match error {
        text::Error::Grammar { reason } => Error::new(Kind::Invalid, reason),
        error => Error::invalid(param, error.to_string()),
    })?;
    Ok((form, Some(Box::new(Held(grammar)))))
}

/// [`Grammar`] as the engine wants it.
#[derive(Clone, Debug)]
struct Held(Grammar);

impl TokenMask for Held {
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        self.0.mask(logits);
        self.0.error().map_or(Ok(()), |error| Err(error.to_owned()))
    }

    fn push(&mut self, id: u32) -> Result<(), String> {
        self.0.push(id).map_err(|error| error.to_string())
    }

    fn is_complete(&self) -> bool {
        self.0.must_end()
    }

    fn fork(&self) -> Box<dyn TokenMask> {
        Box::new(self.clone())
    }
}
