use super::*;
use proptest::prelude::*;
use serde_json::json;

/// Pieces as one text: calls in brackets.
fn found<'a>(format: CallFormat, pieces: impl IntoIterator<Item = &'a str>) -> Vec<Piece> {
    let mut parser = CallParser::new(format);
    let mut all: Vec<Piece> = Vec::new();
    let mut add = |more: Vec<Piece>| {
        for piece in more {
            match piece {
                Piece::Text(text) => push_text(&mut all, text),
                call => all.push(call),
            }
        }
    };
    for piece in pieces {
        add(parser.push(piece));
    }
    add(parser.finish());
    all
}

fn shown(pieces: &[Piece]) -> String {
    let shown = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Call { name, arguments } => format!("[{name} {arguments}]"),
    });
    shown.collect()
}

#[track_caller]
fn check(format: CallFormat, text: &str, expected: &str) {
    assert_eq!(shown(&found(format, [text])), expected);
    // A character at a time.
    let single: Vec<String> = text.chars().map(String::from).collect();
    assert_eq!(shown(&found(format, single.iter().map(|s| &s[..]))), expected, "in pieces");
}

#[test]
fn tags() {
    let format = CallFormat::Tags;
    check(
        format,
        "I look.\n<tool_calls>\n{\"name\": \"a\", \"arguments\": {\"x\": [1, \"é\"]}}\n\
         {\"name\": \"b\"}\n</tool_calls>\n",
        "I look.\n[a {\"x\":[1,\"é\"]}][b {}]",
    );
    // A mark in a string is a part of it.
    check(
        format,
        "<tool_calls>{\"name\": \"a\", \"arguments\": {\"x\": \"</tool_calls>\"}}</tool_calls>!",
        "[a {\"x\":\"</tool_calls>\"}]!",
    );
    check(
        format,
        "<tool_calls>\n{\"name\": \"a\", \"arguments\": \"{\\\"x\\\": 1}\"}\n</tool_calls>",
        "[a {\"x\":1}]",
    );
    // The end is missing.
    check(format, "<tool_calls>\n{\"name\": \"a\"}\n", "[a {}]");
    check(format, "<tool_calls>\n{\"name\": \"a\"}\n</tool", "[a {}]");
}

#[test]
fn malformed_tags_are_text() {
    for text in [
        "<tool_calls>",
        "<tool_calls></tool_calls>",
        "<tool_calls>\n{\"name\": \"a\"\n</tool_calls> b",
        "<tool_calls>\n{\"name\": \"\"}\n</tool_calls>",
        "<tool_calls>\n{\"name\": \"a\", \"arguments\": [1]}\n</tool_calls>",
        "<tool_calls>\n{\"name\": \"a\", \"arguments\": \"no\"}\n</tool_calls>",
        "<tool_calls>\n{\"nam\": \"a\"}\n</tool_calls>",
        "use <tool_calls> to call, <tool_calls",
        "<tool_<tool_c",
        "</tool_calls>",
    ] {
        check(CallFormat::Tags, text, text);
    }
    check(
        CallFormat::Tags,
        "<tool_calls> and <tool_calls>{\"name\": \"a\"}</tool_calls>",
        "<tool_calls> and [a {}]",
    );
}

#[test]
fn typescript() {
    let format = CallFormat::Typescript;
    let block = "<function_call>```typescript\nfunctions.get_weather({\"city\": \"上海\"})\n```";
    check(format, block, "[get_weather {\"city\":\"上海\"}]");
    check(format, &format!("ok {block}\n{block}\n"), &{
        let call = "[get_weather {\"city\":\"上海\"}]";
        format!("ok {call}{call}")
    });
    check(
        format,
        "<function_call>```typescript\nfunctions.a({\"x\": \"\\n```)\"});\nfunctions.b()\n```",
        "[a {\"x\":\"\\n```)\"}][b {}]",
    );
    check(format, "<function_call>```typescript\nfunctions.a({})", "[a {}]");
    for text in [
        "<function_call>",
        "<function_call> yes",
        "<function_call>```typescript\nlet x = 1;\n``` b",
        "<function_call>```typescript\nfunctions.a({)\n```",
        "<function_call>```typescript\nfunctions.a({}) + 1\n```",
        "<function_call>```typescript\nfunctions.a b({})\n```",
        "```typescript\nfunctions.a({})\n```",
    ] {
        check(format, text, text);
    }
}

#[test]
fn text_comes_at_once() {
    let mut parser = CallParser::new(CallFormat::Tags);
    assert_eq!(parser.push("a <b"), [Piece::Text("a <b".to_owned())]);
    assert_eq!(parser.push(" <tool"), [Piece::Text(" ".to_owned())]);
    assert_eq!(parser.push("s"), [Piece::Text("<tools".to_owned())]);
    assert_eq!(parser.push("<tool_calls>\n{\"name\": "), []);
    let call = Piece::Call { name: "a".to_owned(), arguments: "{}".to_owned() };
    assert_eq!(parser.push("\"a\"}\n</tool_calls>x"), [call, Piece::Text("x".to_owned())]);
}

#[test]
fn what_is_written_is_found() {
    let arguments = [json!({"a": "</tool_calls>\n```", "b": [1.5, null]}), json!({})];
    let calls = [("one", &arguments[0]), ("two", &arguments[1])];
    for format in [CallFormat::Tags, CallFormat::Typescript] {
        let expected = calls.map(|(name, arguments)| Piece::Call {
            name: name.to_owned(),
            arguments: arguments.to_string(),
        });
        assert_eq!(found(format, [&format.write(calls)[..]]), expected);
    }
}

proptest! {
    #[test]
    fn as_if_the_text_came_at_once(
        tags in any::<bool>(),
        words in prop::collection::vec(
            "<tool_calls>|</tool_calls>|<tool|\\{\"name\": \"a\"\\}|\\{\"name\": \"a|\"\\}|<function_call>\
             |```typescript\n|functions\\.a\\(\\{\\}\\)|\n```|[ab\n<é`]{0,3}", 0..10),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let format = if tags { CallFormat::Tags } else { CallFormat::Typescript };
        let text = words.concat();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        at.retain(|&cut| text.is_char_boundary(cut));
        at.extend([0, text.len()]);
        at.sort_unstable();
        let whole = found(format, [&text[..]]);
        prop_assert_eq!(&found(format, at.windows(2).map(|e| &text[e[0]..e[1]])), &whole);
        // Nothing is lost: what is no call is there.
        if whole.iter().all(|piece| matches!(piece, Piece::Text(_))) {
            prop_assert_eq!(shown(&whole), text);
        }
    }
}
