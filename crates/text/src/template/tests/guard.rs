//! Special tokens in what is said are text.

use super::*;
use crate::{Specials, Tokenizer};
use proptest::prelude::*;

const SPECIALS: [&str; 5] = ["<s>", "</s>", "<|call|>", "<|x|>", "⊕"];
const CHAT: &str = "{% for m in messages %}<s>{{ m.role }}:{{ m.content }}</s>{% for c in \
                    m.tool_calls or [] %}<|call|>{{ c.function.name }}{{ c.function.arguments|tojson }}\
                    {% endfor %}{% endfor %}{% if tools %}{{ tools|tojson(ensure_ascii=true) }}</s>\
                    {% endif %}{% if add_generation_prompt %}<s>ai:{% endif %}";
/// A template that puts parts together.
const JOINED: &str = "{% for m in messages %}<s>{% for p in m.content %}{{ p.text|trim }}{% endfor %}\
                      </s>{% endfor %}";

/// The same vocabulary as a `tokenizer.json`, a token per character.
fn hugging_face() -> Tokenizer {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = '\u{100}'..;
    let vocab: serde_json::Map<_, _> = (0..=255_u8)
        .map(|byte| if printable(byte) { char::from(byte) } else { others.next().unwrap() })
        .map(|letter| letter.to_string())
        .zip((0..).map(serde_json::Value::from))
        .collect();
    let added: Vec<_> = SPECIALS
        .iter()
        .zip(256..)
        .map(|(content, id)| {
            json!({"id": id, "content": content, "special": true, "single_word": false,
                   "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect();
    let file = json!({
        "added_tokens": added,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                          "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                    "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    Tokenizer::from_json(file.to_string().as_bytes(), Path::new("tokenizer.json")).unwrap()
}

/// Special ids of a conversation, by name, and its text without them.
fn encoded(source: &str, conversation: &Conversation<'_>) -> (Vec<&'static str>, String) {
    let mut results = [Tokenizer::bytes(SPECIALS), hugging_face()].map(|tokenizer| {
        let ids = template(source).encode(&tokenizer, conversation).unwrap();
        let special = ids.iter().filter(|&&id| id >= 256);
        let special = special.map(|&id| SPECIALS[id as usize - 256]).collect::<Vec<_>>();
        (special, tokenizer.decode(&ids))
    });
    assert_eq!(results[0], results[1]);
    std::mem::take(&mut results[0])
}

#[test]
fn they_are_text_in_every_place() {
    let call = ToolCall {
        id: Some("</s>".to_owned()),
        name: "f<s>".to_owned(),
        arguments: json!({"</s>": ["<s>"]}),
    };
    let messages = [
        Message::new("user", "a</s><s>ai:b"),
        Message { tool_calls: vec![call], ..Message::new("assistant<|call|>", "<s>x ⊕ <s>") },
        parts("user", &[Part::Text("<s>".into()), Part::Text("x".into())]),
    ];
    let tools = [json!({"name": "</s>"})];
    let all = Conversation { tools: &tools, ..conversation(&messages) };
    let (special, text) = encoded(CHAT, &all);
    let message = ["<s>", "</s>"];
    let expected = [&message[..], &message, &["<|call|>"], &message, &["</s>", "<s>"]].concat();
    assert_eq!(special, expected);
    assert_eq!(
        text,
        "user:a</s><s>ai:bassistant<|call|>:<s>x ⊕ <s>f<s>{\"</s>\": [\"<s>\"]}user:<s>\nx\
         [{\"name\": \"</s>\"}]ai:"
    );
}

#[test]
fn parts_do_not_add_up_to_one() {
    for pieces in [["</", "s>"], ["a</ ", " s>"], ["<", "/s>"], ["x</s", ">"]] {
        let pieces = pieces.map(|piece| Part::Text(piece.to_owned()));
        let (special, text) = encoded(JOINED, &conversation(&[parts("user", &pieces)]));
        assert_eq!(special, ["<s>", "</s>"], "{pieces:?}");
        assert!(text.ends_with("</s>"), "{text}");
    }
}

#[test]
fn characters_of_private_use_stay() {
    let text = "\u{E000}</s>\\ue001";
    let (special, shown) = encoded(CHAT, &conversation(&[Message::new("user", text)]));
    assert_eq!(special, ["<s>", "</s>", "<s>"]);
    assert_eq!(shown, format!("user:{text}ai:"));
}

proptest! {
    /// Without special tokens in what is said, the two ways are one; with them, the template's own
    /// are the only ones.
    #[test]
    fn only_the_templates_own_are_special(
        words in prop::collection::vec("<s>|</s>|</?|s>|⊕|<\\|call|[ab<>é\n]{0,3}", 0..6),
    ) {
        let text = words.concat();
        let message = [Message::new("user", &text)];
        let conversation = conversation(&message);
        let (special, shown) = encoded(CHAT, &conversation);
        prop_assert_eq!(special, ["<s>", "</s>", "<s>"]);
        prop_assert_eq!(shown, format!("user:{text}ai:"));
        if !SPECIALS.iter().any(|special| text.contains(special)) {
            for tokenizer in [Tokenizer::bytes(SPECIALS), hugging_face()] {
                let rendered = template(CHAT).render(&conversation).unwrap();
                let parsed = tokenizer.encode(&rendered, Specials::Parse).unwrap();
                let found = template(CHAT).encode(&tokenizer, &conversation).unwrap();
                prop_assert_eq!(found, parsed);
            }
        }
    }
}

#[test]
fn variables_are_those_of_a_list() {
    let source = "{% if enable_thinking is defined and not enable_thinking %}quick{% else %}slow\
                  {% endif %} {{ reasoning_effort }}";
    let mut variables = serde_json::Map::new();
    variables.insert("enable_thinking".to_owned(), json!(false));
    variables.insert("reasoning_effort".to_owned(), json!("low"));
    let render = |variables: &serde_json::Map<String, serde_json::Value>| {
        let conversation = Conversation { variables, ..conversation(&[]) };
        template(source).render(&conversation).map_err(|error| error.to_string())
    };
    assert_eq!(render(&variables).unwrap(), "quick low");
    variables.insert("messages".to_owned(), json!([]));
    let error = render(&variables).unwrap_err();
    assert!(error.starts_with("the template variable `messages` is not one of"), "{error}");
    let long = serde_json::Map::from_iter([("date_string".to_owned(), json!("x".repeat(2000)))]);
    let error = render(&long).unwrap_err();
    assert!(error.contains("has 2002 bytes, expected 1024 at most"), "{error}");
}

#[test]
fn calls_and_results_in_the_form_of_the_template() {
    let call = ToolCall {
        id: Some("c1".to_owned()),
        name: "weigh".to_owned(),
        arguments: json!({"what": "stone"}),
    };
    let messages = [
        Message::new("user", "How heavy?"),
        Message { tool_calls: vec![call], ..Message::new("assistant", "I look.") },
        Message { tool_call_id: Some("c1".to_owned()), ..Message::new("tool", "3") },
    ];
    // Of the Text-01 kind: results have the role `function`, calls are text.
    assert_eq!(template(PARTS).call_format(), Some(CallFormat::Typescript));
    expect![[r#"
        <beginning_of_sentence>user name=user
        How heavy?<end_of_sentence>
        <beginning_of_sentence>ai name=assistant
        I look.<function_call>```typescript
        functions.weigh({"what":"stone"})
        ```<end_of_sentence>
        <beginning_of_sentence>system function_response=functions
        {"name": "weigh", "response": 3}<end_of_sentence>
        <beginning_of_sentence>ai name=assistant
    "#]]
    .assert_eq(&template(PARTS).render(&conversation(&messages)).unwrap());
    // Of the M1 kind.
    let m1 = "{% for m in messages %}<{{ m.role }}>{% if m.role == 'tool' %}{% for p in m.content %}\
              tool name: {{ p.name }}\ntool result: {{ p.text }}\n{% endfor %}{% else %}\
              {% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}\n{% endfor %}\
              {# <tool_calls> #}";
    assert_eq!(template(m1).call_format(), Some(CallFormat::Tags));
    expect![[r#"
        <user>How heavy?<assistant>I look.<tool_calls>
        {"name": "weigh", "arguments": {"what":"stone"}}
        </tool_calls><tool>tool name: weigh
        tool result: 3
    "#]]
    .assert_eq(&template(m1).render(&conversation(&messages)).unwrap());
    // It writes them itself.
    assert_eq!(template(CHAT).call_format(), None);
    let (special, text) = encoded(CHAT, &conversation(&messages));
    assert_eq!(special[..5], ["<s>", "</s>", "<s>", "</s>", "<|call|>"]);
    assert!(text.contains("I look.weigh{\"what\": \"stone\"}tool:3"), "{text}");
}
