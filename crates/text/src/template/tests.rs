mod files;
mod guard;
mod hostile;

use super::*;
use expect_test::{Expect, expect};
use serde_json::json;
use std::time::Duration;

/// A template of the MiniMax-Text-01 kind: parts, functions after the messages.
const PARTS: &str = r#"
{%- for message in messages -%}
    {%- if message.role == 'system' -%}
        {{ '<beginning_of_sentence>system ai_setting=assistant\n' }}
    {%- elif message.role == 'user' -%}
        {{ '<beginning_of_sentence>user name=user\n' }}
    {%- elif message.role == 'assistant' -%}
        {{ '<beginning_of_sentence>ai name=assistant\n' }}
    {%- elif message.role == 'function' -%}
        {{ '<beginning_of_sentence>system function_response=functions\n' }}
    {%- else -%}
        {{ raise_exception('the role ' ~ message.role ~ ' is unknown') }}
    {%- endif -%}
    {%- for part in message.content -%}
        {%- if message.role == 'function' -%}
            {{ '{"name": "' ~ part.name ~ '", "response": ' ~ part.text ~ '}' }}
        {%- elif part.type == 'image' -%}
            {{ '<image>' }}
        {%- else -%}
            {{ part.text }}
        {%- endif -%}
    {%- endfor -%}
    {{ '<end_of_sentence>\n' }}
{%- endfor -%}
{%- for tool in tools or [] -%}
    {{ '<beginning_of_sentence>system function_setting=functions\n' ~ tool|tojson }}
    {{- '<end_of_sentence>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<beginning_of_sentence>ai name=assistant\n' }}
{%- endif -%}
"#;

/// A template that puts strings together.
const TEXT: &str = "{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] }}{% endfor %}";

/// A template that asks what it was given.
const EITHER: &str = "{% for m in messages %}{{ m.role }}: {% if m.content is string %}\
     {{ m.content }}{% else %}{% for p in m.content %}<{{ p.type }}>{{ p.text }}\
     {% endfor %}{% endif %}\n{% endfor %}";

fn template(source: &str) -> ChatTemplate {
    let special_tokens = [("bos_token", "<s>"), ("eos_token", "</s>")];
    let special_tokens = special_tokens.map(|(name, token)| (name.to_owned(), token.to_owned()));
    ChatTemplate::from_jinja(source.as_bytes(), Path::new("x.jinja"), special_tokens.into())
        .unwrap()
}

fn conversation(messages: &[Message]) -> Conversation<'_> {
    Conversation { messages, add_generation_prompt: true, ..Conversation::empty() }
}

#[track_caller]
fn check(source: &str, messages: &[Message], expected: Expect) {
    let rendered = template(source).render(&conversation(messages));
    expected.assert_eq(&rendered.unwrap_or_else(|error| format!("error: {error}")));
}

/// What an expression writes.
#[track_caller]
fn check_expression(expression: &str, expected: Expect) {
    check(&format!("{{{{ ({expression}) }}}}"), &[Message::new("user", "hi")], expected);
}

fn parts(role: &str, parts: &[Part]) -> Message {
    Message { content: Content::Parts(parts.to_vec()), ..Message::new(role, "") }
}

#[test]
fn minimax_text_01() {
    let messages = [
        Message::new("system", "You look things up."),
        parts("user", &[Part::Text("What is in ".into()), Part::Image, Part::Text("?".into())]),
        Message::new("assistant", "A\nred \"thing\"."),
        Message { name: Some("weigh".into()), ..Message::new("function", "{\"grams\": 3}") },
    ];
    let tool = json!({"name": "weigh", "parameters": {"type": "object", "text": "<é>"}});
    let template = template(PARTS);
    assert_eq!(template.form, Form::Parts);
    let all = Conversation { tools: &[tool], ..conversation(&messages) };
    expect![[r#"
        <beginning_of_sentence>system ai_setting=assistant
        You look things up.<end_of_sentence>
        <beginning_of_sentence>user name=user
        What is in <image>?<end_of_sentence>
        <beginning_of_sentence>ai name=assistant
        A
        red "thing".<end_of_sentence>
        <beginning_of_sentence>system function_response=functions
        {"name": "weigh", "response": {"grams": 3}}<end_of_sentence>
        <beginning_of_sentence>system function_setting=functions
        {"name": "weigh", "parameters": {"type": "object", "text": "<é>"}}<end_of_sentence>
        <beginning_of_sentence>ai name=assistant
    "#]]
    .assert_eq(&template.render(&all).unwrap());
    let error = template.render(&conversation(&[Message::new("judge", "")])).unwrap_err();
    expect!["the chat template in `x.jinja` refuses the messages: the role judge is unknown"]
        .assert_eq(&error.to_string());
}

#[test]
fn content_takes_the_form_that_the_template_expects() {
    let text = Message::new("user", "hi");
    let two = parts("user", &[Part::Text("one".into()), Part::Text("two".into())]);
    let image = parts("user", &[Part::Image, Part::Text("what?".into())]);
    assert_eq!(template(TEXT).form, Form::Text);
    check(
        TEXT,
        &[text.clone(), two.clone()],
        expect![[r#"
        [user]hi[user]one
        two"#]],
    );
    check(
        TEXT,
        &[text.clone(), image.clone()],
        expect![
            "error: the chat template in `x.jinja` refuses the messages: message 1 holds an image, expected text only"
        ],
    );
    assert_eq!(template(EITHER).form, Form::Either);
    check(
        EITHER,
        &[text, two, image],
        expect![[r#"
        user: hiuser: one
        twouser: <image><text>what?"#]],
    );
    for (source, form) in [
        ("{{ messages[0].content }}", Form::Text),
        ("{{ messages[0].content | tojson }}", Form::Text),
        ("{{ messages[0]['content'][0]['text'] }}", Form::Parts),
        // It wants a system message first.
        (
            "{% if messages[0].role != 'system' %}{{ raise_exception('no') }}{% endif %}\
             {% for p in messages[1].content %}{{ p.text }}{% endfor %}",
            Form::Parts,
        ),
        ("nothing", Form::Text),
    ] {
        assert_eq!(template(source).form, form, "{source}");
    }
}

#[test]
fn calls_of_functions() {
    let source = "{% for m in messages %}{{ m.role }}{% if m.tool_call_id %}({{ m.tool_call_id }})\
                  {% endif %}: {{ m.content }}{% for call in m.tool_calls %} {{ call.type }} \
                  {{ call.id }} {{ call.function.name }}\
                  {% for k, v in call.function.arguments|items %} {{ k }}={{ v }}{% endfor %}\
                  {% endfor %}\n{% endfor %}";
    let call = ToolCall {
        id: Some("c1".to_owned()),
        name: "weigh".to_owned(),
        arguments: json!({"what": "a stone", "n": 2, "exact": true, "from": null}),
    };
    let messages = [
        Message { tool_calls: vec![call], ..Message::new("assistant", "") },
        Message { tool_call_id: Some("c1".to_owned()), ..Message::new("tool", "3") },
    ];
    check(
        source,
        &messages,
        expect!["assistant:  function c1 weigh what=a stone n=2 exact=True from=Nonetool(c1): 3"],
    );
}

#[test]
fn what_templates_know_of_python() {
    check_expression(
        "' a '.strip() ~ '|' ~ 'xxa'.lstrip('x') ~ '|' ~ 'a\n'.rstrip()",
        expect!["a|a|a"],
    );
    check_expression(
        "'abc'.startswith('ab'), 'abc'.endswith(('b', 'c')), 'b' in 'abc'",
        expect!["(True, True, True)"],
    );
    check_expression(
        "'aB'.upper() ~ 'aB'.lower() ~ 'ab cd'.title() ~ 'ab'.replace('a', 'c')",
        expect!["ABabAb Cdcb"],
    );
    check_expression(
        "'</think>a</think>b'.split('</think>')[-1], 'a b'.split()",
        expect!["('b', ['a', 'b'])"],
    );
    check_expression(
        "{'a': 1}.get('a'), {'a': 1}.get('b'), {'a': 1}.get('b', 2)",
        expect!["(1, None, 2)"],
    );
    check_expression(
        "{'a': 1, 'b': 2}.items()|list, {'a': 1}.keys()|list",
        expect!["([('a', 1), ('b', 2)], ['a'])"],
    );
    check_expression("'{}-{:03d}'.format('a', 7)", expect!["a-007"]);
    check_expression(
        "none, true, 1.0, messages[::-1], 'abc'[1:]",
        expect!["(None, True, 1.0, [{'role': 'user', 'content': 'hi'}], 'bc')"],
    );
    check_expression("'a {''b'': c}'", expect!["a {b: c}"]);
    check_expression("bos_token ~ eos_token ~ pad_token", expect!["<s></s>"]);
    check_expression(
        "tools is none, tools is defined, documents is none",
        expect!["(True, True, True)"],
    );
    check_expression(
        "{'z': [1, 2.0, none, true], 'a': '<\"é\n'}|tojson",
        expect![[r#"{"z": [1, 2.0, null, true], "a": "<\"é\n"}"#]],
    );
    check_expression(
        "{'a': [1, {}], 'b': []}|tojson(indent=2)",
        expect![[r#"
        {
          "a": [
            1,
            {}
          ],
          "b": []
        }"#]],
    );
    check_expression(
        "{'a': 'é🦀'}|tojson(ensure_ascii=true, separators=(',', ':'))",
        expect![[r#"{"a":"\u00e9\ud83e\udd80"}"#]],
    );
    check_expression(
        "{'a': 1}|tojson(sort_keys=true)",
        expect![
            "error: the chat template in `x.jinja` fails: invalid operation: `tojson` does not sort keys (in default:1)"
        ],
    );
    check_expression(
        "1|tojson(indent=17)",
        expect![
            "error: the chat template in `x.jinja` fails: invalid operation: an indent of 17, expected 16 at most (in default:1)"
        ],
    );
    check_expression(
        "messages[7].content",
        expect![
            "error: the chat template in `x.jinja` fails: undefined value: `messages[7]` is undefined (in default:1)"
        ],
    );
    check_expression(
        "messages.append(1)",
        expect![
            "error: the chat template in `x.jinja` fails: unknown method: sequence has no method named append (in default:1)"
        ],
    );
}

#[test]
fn spaces_are_those_of_transformers() {
    let source = "  {% if true %}\n  a\n  {% endif %}\nb\n{% for m in messages %}\n{% if loop.last %}\
                  \nc\n{% break %}\n{% endif %}\n{% endfor %}\n";
    check(
        source,
        &[Message::new("user", "hi")],
        expect![[r#"
          a
        b
        c
    "#]],
    );
}

#[test]
fn the_time_is_there_only_if_it_is_given() {
    let source = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y, %A %H:%M') }}{% else %}\
                  none{% endif %}";
    let template = template(source);
    let without = conversation(&[]);
    assert_eq!(template.render(&without).unwrap(), "none");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_736_899_199);
    let with = Conversation { now: Some(now), ..without };
    assert_eq!(template.render(&with).unwrap(), "14 Jan 2025, Tuesday 23:59");
    for (format, expected) in [
        (
            "%Q%",
            expect![
                "the chat template in `x.jinja` fails: invalid operation: strftime formatting failed: invalid format string, expected byte after `%`, but found end of format string (in default:1)"
            ],
        ),
        (
            &"%255Y".repeat(60),
            expect![
                "the chat template in `x.jinja` fails: invalid operation: a time format of 300 bytes, expected 256 at most (in default:1)"
            ],
        ),
    ] {
        let template = self::template(&format!("{{{{ strftime_now('{format}') }}}}"));
        expected.assert_eq(&template.render(&with).unwrap_err().to_string());
    }
}
