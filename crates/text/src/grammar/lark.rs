//! What an answer may be, in the language of the library: a grammar in Lark that holds others,
//! made from JSON schemas, by name.

use super::{Form, Rules, schema};
use crate::tool_calls::{CallFormat, Function, TAGS, TYPESCRIPT};
use crate::{Error, Marks};
use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::{Value, json};
use std::collections::HashMap;

/// White space between tokens of JSON: enough for any usual layout, too little to go on for ever.
const SPACE: &str = "[ \\t]{1,64}|\\r?\\n[ \\t]{0,64}";
/// The same on one line, as arguments of calls are written.
const SPACE_IN_LINE: &str = "[ \\t]{1,64}";

/// The grammar of `rules`, where `specials` are the special tokens.
pub(super) fn grammar(
    rules: &Rules<'_>,
    specials: &HashMap<String, u32>,
) -> Result<TopLevelGrammar, Error> {
    let mut text = String::new();
    let mut parts = Vec::new();
    let mark = |mark: &str| match specials.get(mark) {
        Some(id) => format!("<[{id}]>"),
        None => literal(mark),
    };
    let start = match &rules.form {
        Form::Json => {
            parts.push(json_part("answer", json!({"type": "object"}), SPACE));
            "@answer".to_owned()
        }
        Form::Schema(schema) => {
            parts.push(json_part("answer", schema::prepare(schema)?, SPACE));
            "@answer".to_owned()
        }
        Form::Calls { format, functions, required, parallel } => {
            if functions.is_empty() {
                return Err(Error::Grammar { reason: "there is no function to call".to_owned() });
            }
            calls(*format, functions, *parallel, &mark, &mut text, &mut parts)?;
            let open = format.open();
            match required {
                true => format!("{} body", mark(open)),
                // Any text may be the answer, but from the mark on it is a call.
                false => {
                    free("", open, None, specials, &mut text);
                    "(before | head body)".to_owned()
                }
            }
        }
    };
    let start = match &rules.reasoning {
        None => start,
        Some(reasoning) => {
            let Marks { open, close } = &reasoning.marks;
            match specials.get(close) {
                Some(id) => text.push_str(&format!("thought: /(?s:.*)/ <[{id}]> space\n")),
                None => text.push_str(&format!(
                    "thought: inner space\ninner[lazy]: /(?s:.*)/ {}\n",
                    literal(close)
                )),
            }
            text.push_str("space: /[ \\n]{0,4}/\n");
            match (&rules.form, reasoning.opened) {
                (_, true) => format!("thought {start}"),
                // Free text that begins with the mark is reasoning and nothing else, so that it may
                // speak of calls.
                (Form::Calls { format, required: false, .. }, _)
                    if !specials.contains_key(open) =>
                {
                    free("plain_", format.open(), Some(open), specials, &mut text);
                    let plain = "plain_before | plain_head body";
                    format!("({} thought {start} | {plain})", mark(open))
                }
                (_, false) => format!("({} thought)? {start}", mark(open)),
            }
        }
    };
    let lark = format!("start: {start}\n{text}");
    let mut grammars = vec![GrammarWithLexer::from_lark(lark)];
    grammars.extend(parts);
    Ok(TopLevelGrammar { grammars, max_tokens: None })
}

/// Rules `before`, any text, and `head`, text that ends with the mark `open`; neither begins with
/// `not`. Their names begin with `prefix`.
fn free(
    prefix: &str,
    open: &str,
    not: Option<&str>,
    specials: &HashMap<String, u32>,
    text: &mut String,
) {
    let name = prefix.to_uppercase();
    let not = not.map_or(String::new(), |not| format!(" & ~/(?s:{}.*)/", escaped(not)));
    text.push_str(&format!("{prefix}before: {name}TEXT\n{name}TEXT: /(?s:.*)/{not}\n"));
    match specials.get(open) {
        Some(id) => text.push_str(&format!("{prefix}head: {prefix}before <[{id}]>\n")),
        None => {
            let open = escaped(open);
            text.push_str(&format!("{prefix}head[lazy]: {name}HEAD\n"));
            text.push_str(&format!("{name}HEAD: /(?s:.*{open})/{not}\n"));
        }
    }
}

/// A regular expression that matches `text`.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        // `\\<` would be the beginning of a word.
        if character.is_ascii_punctuation() && !"_<>".contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

/// The rule `body`: calls after the opening mark.
fn calls(
    format: CallFormat,
    functions: &[Function],
    parallel: bool,
    mark: &dyn Fn(&str) -> String,
    text: &mut String,
    parts: &mut Vec<GrammarWithLexer>,
) -> Result<(), Error> {
    let mut names = Vec::new();
    for (i, function) in functions.iter().enumerate() {
        let parameters = match &function.parameters {
            Value::Null => json!({"type": "object"}),
            parameters => parameters.clone(),
        };
        let ready = object_only(schema::prepare(&parameters)?);
        parts.push(json_part(&format!("arguments{i}"), ready, SPACE_IN_LINE));
        let name = match format {
            CallFormat::Tags => Value::from(&function.name[..]).to_string(),
            CallFormat::Typescript => function.name.clone(),
        };
        let (before, after) = match format {
            CallFormat::Tags => (format!("{{\"name\": {name}, \"arguments\": "), "}"),
            CallFormat::Typescript => (format!("functions.{name}("), ")"),
        };
        let (before, after) = (literal(&before), literal(after));
        text.push_str(&format!("call{i}: {before} @arguments{i} {after}\n"));
        names.push(format!("call{i}"));
    }
    text.push_str(&format!("call: {}\n", names.join(" | ")));
    let repeated = |item: String| if parallel { format!("({item})*") } else { String::new() };
    let rule = match format {
        CallFormat::Tags => {
            let more = repeated("\"\\n\" call".to_owned());
            let close = mark(TAGS.close);
            // A newline is a token of its own where the mark is one.
            format!("\"\\n\" call {more} \"\\n\" {close}")
        }
        CallFormat::Typescript => {
            let fence = literal(TYPESCRIPT.fence);
            let close = literal(TYPESCRIPT.close);
            let more = repeated(format!("\"\\n\"? {} {fence} call {close}", mark(TYPESCRIPT.open)));
            format!("{fence} call {close} {more}")
        }
    };
    text.push_str(&format!("body: {rule}\n"));
    Ok(())
}

/// The schema with objects as its only type, as arguments are.
fn object_only(schema: Value) -> Value {
    match schema {
        Value::Object(mut map) if !map.contains_key("type") => {
            map.insert("type".to_owned(), "object".into());
            Value::Object(map)
        }
        schema => schema,
    }
}

/// A grammar `name` of the JSON that fits a prepared schema.
fn json_part(name: &str, schema: Value, space: &str) -> GrammarWithLexer {
    let mut schema = match schema {
        Value::Object(map) => map,
        // `false`, in a form that can hold options.
        other => serde_json::Map::from_iter([("allOf".to_owned(), json!([other]))]),
    };
    schema.insert("x-guidance".to_owned(), json!({"whitespace_pattern": space}));
    GrammarWithLexer {
        name: Some(name.to_owned()),
        ..GrammarWithLexer::from_json_schema(Value::Object(schema))
    }
}

/// `text` as a string of Lark.
fn literal(text: &str) -> String {
    Value::from(text).to_string()
}
