use super::*;
use crate::tool_calls::{CallFormat, CallParser, Function, Piece};
use serde_json::json;

fn functions() -> Vec<Function> {
    let weigh = json!({"type": "object", "properties": {"what": {"type": "string", "maxLength": 5},
        "n": {"type": "integer"}}, "required": ["what"], "additionalProperties": false});
    vec![
        Function { name: "weigh".to_owned(), parameters: weigh },
        Function { name: "list_all".to_owned(), parameters: Value::Null },
    ]
}

fn rules(format: CallFormat, functions: &[Function], required: bool) -> Rules<'_> {
    let form = Form::Calls { format, functions, required, parallel: true };
    Rules { form, reasoning: None }
}

#[test]
fn forced_calls_are_found_by_the_parser() {
    let functions = functions();
    let schema = jsonschema::validator_for(&functions[0].parameters).unwrap();
    let mut random = Random(5);
    for tokenizer in [byte_tokenizer(), merged_tokenizer()] {
        let vocabulary = vocabulary(&tokenizer);
        for format in [CallFormat::Tags, CallFormat::Typescript] {
            let grammar = Grammar::new(&vocabulary, &rules(format, &functions, true)).unwrap();
            let open = tokenizer.special_id(format.open());
            for _ in 0..12 {
                let mut text = walk(grammar.clone(), &vocabulary, &mut random);
                // The walk leaves special tokens out.
                if open.is_some() {
                    text = text.replace("```typescript", "<function_call>```typescript");
                }
                let mut parser = CallParser::new(format);
                let mut pieces = parser.push(&text);
                pieces.extend(parser.finish());
                assert!(!pieces.is_empty(), "{text}");
                for piece in pieces {
                    let Piece::Call { name, arguments } = piece else {
                        panic!("{text}: {piece:?}")
                    };
                    let arguments: Value = serde_json::from_str(&arguments).unwrap();
                    match &name[..] {
                        "weigh" => assert!(schema.is_valid(&arguments), "{text}"),
                        name => assert_eq!(name, "list_all"),
                    }
                }
            }
        }
    }
}

#[test]
fn calls_as_models_write_them() {
    let functions = functions();
    let one = json!({"what": "a", "n": 3});
    let both = [("weigh", &one), ("list_all", &json!({}))];
    for tokenizer in [byte_tokenizer(), merged_tokenizer()] {
        let vocabulary = vocabulary(&tokenizer);
        let ids = |text: &str| tokenizer.encode(text, Specials::Parse).unwrap();
        for format in [CallFormat::Tags, CallFormat::Typescript] {
            let forced = Grammar::new(&vocabulary, &rules(format, &functions, true)).unwrap();
            let free = Grammar::new(&vocabulary, &rules(format, &functions, false)).unwrap();
            for (text, takes_forced, takes_free) in [
                (format.write(both), true, true),
                (format.write([both[1]]), true, true),
                (format!("I call.\n{}", format.write(both)), false, true),
                ("No call, <tool_ no {\"}.".to_owned(), false, true),
                (format.write([("other", &one)]), false, false),
                (format.write([("weigh", &json!({"n": 3}))]), false, false),
                (format!("{} no", format.open()), false, false),
            ] {
                let found = takes(forced.clone(), &vocabulary, &ids(&text));
                assert_eq!(found, takes_forced, "{format:?} forced: {text}");
                let found = takes(free.clone(), &vocabulary, &ids(&text));
                assert_eq!(found, takes_free, "{format:?} free: {text}");
            }
        }
    }
}

#[test]
fn one_call_if_no_more_are_wanted() {
    let (tokenizer, functions) = (byte_tokenizer(), functions());
    let vocabulary = vocabulary(&tokenizer);
    let empty = json!({});
    for format in [CallFormat::Tags, CallFormat::Typescript] {
        let form = Form::Calls { format, functions: &functions, required: true, parallel: false };
        let grammar = Grammar::new(&vocabulary, &Rules { form, reasoning: None }).unwrap();
        let call = ("list_all", &empty);
        for (calls, expected) in [(vec![call], true), (vec![call, call], false)] {
            let ids = tokenizer.encode(&format.write(calls), Specials::Parse).unwrap();
            assert_eq!(takes(grammar.clone(), &vocabulary, &ids), expected);
        }
    }
}

#[test]
fn reasoning_comes_before() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}},
        "required": ["a"], "additionalProperties": false});
    let functions = functions();
    let calls = Form::Calls {
        format: CallFormat::Tags,
        functions: &functions,
        required: true,
        parallel: true,
    };
    let call = CallFormat::Tags.write([("list_all", &json!({}))]);
    for tokenizer in [byte_tokenizer(), merged_tokenizer()] {
        let vocabulary = vocabulary(&tokenizer);
        for (form, answer) in [(Form::Schema(&schema), "{\"a\": 1}"), (calls.clone(), &call[..])] {
            for (opened, text, expected) in [
                (false, format!("<think>Is it {{\"a\": 2}}?\n</think>\n\n{answer}"), true),
                (false, answer.to_owned(), true),
                (false, format!("<think>{answer}"), false),
                (false, format!("x</think>{answer}"), false),
                (true, format!("hm</think>{answer}"), true),
                (true, format!("</think>\n{answer}"), true),
                (true, answer.to_owned(), false),
                (true, "hm</think>no".to_owned(), false),
            ] {
                let reasoning = Some(Thought { marks: Marks::think(), opened });
                let rules = Rules { form: form.clone(), reasoning };
                let grammar = Grammar::new(&vocabulary, &rules).unwrap();
                let ids = tokenizer.encode(&text, Specials::Parse).unwrap();
                assert_eq!(takes(grammar, &vocabulary, &ids), expected, "{opened} {text}");
            }
        }
    }
}

#[test]
fn reasoning_may_speak_of_calls() {
    let functions = functions();
    let call = CallFormat::Tags.write([("list_all", &json!({}))]);
    for tokenizer in [byte_tokenizer(), merged_tokenizer()] {
        let vocabulary = vocabulary(&tokenizer);
        for (opened, text, expected) in [
            (true, "a <tool_calls> no</think>yes".to_owned(), true),
            (true, format!("a <tool_calls> no</think>yes {call}"), true),
            (true, "a</think>yes <tool_calls> no".to_owned(), false),
            (false, "<think>a <tool_calls> no</think>yes".to_owned(), true),
            (false, format!("<think>a <tool_calls> no</think>yes {call}"), true),
            (false, "<think>a</think>yes <tool_calls> no".to_owned(), false),
            (false, "<thin yes".to_owned(), true),
            (false, format!("yes {call}"), true),
            (false, call.clone(), true),
            (false, "yes <tool_calls> no".to_owned(), false),
        ] {
            let reasoning = Some(Thought { marks: Marks::think(), opened });
            let rules = Rules { reasoning, ..rules(CallFormat::Tags, &functions, false) };
            let grammar = Grammar::new(&vocabulary, &rules).unwrap();
            let ids = tokenizer.encode(&text, Specials::Parse).unwrap();
            assert_eq!(takes(grammar, &vocabulary, &ids), expected, "{opened} {text}");
        }
    }
}
