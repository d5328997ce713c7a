//! `/v1/messages`.

use crate::fake::{Api, Says, plain, user};
use expect_test::expect;
use serde_json::{Value, json};
use server::Settings;

const PATH: &str = "/v1/messages";

fn body(messages: Value) -> Value {
    json!({"model": "fake", "max_tokens": 400, "messages": messages})
}

#[tokio::test]
async fn a_whole_answer() {
    let api = Api::new();
    let mut request = body(user("Hi"));
    request["system"] = json!([{"type": "text", "text": "Be short."}]);
    let got = api.post(PATH, request).await;
    expect![[r#"{"id":"msg_ID","type":"message","role":"assistant","model":"fake","content":[{"type":"text","text":"Hello, wörld 🦀!"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":38,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":19}}"#]].assert_eq(&plain(&got.text));
    assert_eq!(api.fake.prompts.lock().unwrap()[0], "system:Be short.user:Hiassistant:");
}

const CALLS: &str = "<think>Hm.</think>\n\nI look.\n<tool_calls>\n\
                     {\"name\": \"weigh\", \"arguments\": {\"what\": \"stone\"}}\n</tool_calls>";

fn with_tools() -> Value {
    let mut request = body(user("Hi"));
    request["tools"] = json!([{"name": "weigh", "input_schema": {"type": "object"}}]);
    request["thinking"] = json!({"type": "enabled", "budget_tokens": 100});
    request
}

#[tokio::test]
async fn thoughts_text_and_calls_are_blocks() {
    let api = Api::says(CALLS);
    let got = api.post(PATH, with_tools()).await.json();
    expect![[r#"[{"type":"thinking","thinking":"Hm.","signature":""},{"type":"text","text":"I look.\n"},{"type":"tool_use","id":"call_ID","name":"weigh","input":{"what":"stone"}}]"#]].assert_eq(&plain(&got["content"].to_string()));
    assert_eq!(got["stop_reason"], "tool_use");
    let mut hidden = with_tools();
    hidden["thinking"] = json!({"type": "disabled"});
    let got = api.post(PATH, hidden).await.json();
    assert_eq!(got["content"][0]["type"], "text");
}

#[tokio::test]
async fn a_stream_of_blocks() {
    let mut request = with_tools();
    request["stream"] = true.into();
    let got = Api::says(CALLS).post(PATH, request).await;
    // One delta of each kind is enough to look at.
    let mut seen = Vec::new();
    let events = got.text.split("\n\n").filter(|event| {
        let kind =
            event.split("\"type\":").nth(2).unwrap_or("").chars().take(12).collect::<String>();
        let delta = event.starts_with("event: content_block_delta");
        let new = !seen.contains(&kind);
        seen.push(kind);
        !delta || new
    });
    expect![[r#"
        event: message_start
        data: {"type":"message_start","message":{"id":"msg_ID","type":"message","role":"assistant","model":"fake","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":32,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}
        event: ping
        data: {"type":"ping"}
        event: content_block_start
        data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}
        event: content_block_delta
        data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"H"}}
        event: content_block_stop
        data: {"type":"content_block_stop","index":0}
        event: content_block_start
        data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}
        event: content_block_delta
        data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"I"}}
        event: content_block_stop
        data: {"type":"content_block_stop","index":1}
        event: content_block_start
        data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"call_ID","name":"weigh","input":{}}}
        event: content_block_delta
        data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"what\":\"stone\"}"}}
        event: content_block_stop
        data: {"type":"content_block_stop","index":2}
        event: message_delta
        data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":32,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":68}}
        event: message_stop
        data: {"type":"message_stop"}
    "#]].assert_eq(&plain(&events.collect::<Vec<_>>().join("\n")));
}

#[tokio::test]
async fn stop_sequences_are_named() {
    let api = Api::says("one two three");
    let mut request = body(user("Hi"));
    request["stop_sequences"] = json!(["four", " tw"]);
    let got = api.post(PATH, request.clone()).await.json();
    assert_eq!(got["content"], json!([{"type": "text", "text": "one"}]));
    assert_eq!(got["stop_reason"], "stop_sequence");
    assert_eq!(got["stop_sequence"], " tw");
    request["max_tokens"] = 3.into();
    request["stop_sequences"] = Value::Null;
    let got = api.post(PATH, request).await.json();
    assert_eq!((&got["stop_reason"], &got["stop_sequence"]), (&"max_tokens".into(), &Value::Null));
}

#[tokio::test]
async fn results_of_calls_documents_and_beginnings() {
    let api = Api::new();
    let messages = json!([
        {"role": "user", "content": [
            {"type": "document", "source": {"type": "text", "data": "x = 1", "media_type": "text/plain"}},
            {"type": "text", "text": "Weigh."},
        ]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": ""},
            {"type": "tool_use", "id": "t1", "name": "weigh", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "3"}]},
            {"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": true},
            {"type": "text", "text": "So?"},
        ]},
        {"role": "assistant", "content": "It weighs "},
    ]);
    let got = api.post(PATH, body(messages.clone())).await;
    assert_eq!(got.status, 200, "{}", got.text);
    expect![[r#"
        user:x = 1
        Weigh.assistant:[weigh]tool:3tool:error: nouser:So?assistant:It weighs"#]]
    .assert_eq(&api.fake.prompts.lock().unwrap()[0]);
    let count = json!({"model": "fake", "messages": messages});
    let got = api.post("/v1/messages/count_tokens", count).await;
    let length = api.fake.asked.lock().unwrap()[0].0.len();
    assert_eq!(got.json(), json!({"input_tokens": length}));
}

#[tokio::test]
async fn errors_are_in_the_envelope_of_this_interface() {
    let api = Api::new();
    for (field, value) in [
        ("temperature", json!(1.5)),
        ("max_tokens", json!(0)),
        ("top_k", json!(-1)),
        ("messages", json!([])),
        ("messages", json!([{"role": "system", "content": "x"}])),
        ("stop_sequences", json!([""])),
        ("thinking", json!({"type": "enabled", "budget_tokens": 400})),
        ("tool_choice", json!({"type": "tool", "name": "x"})),
    ] {
        let mut request = body(user("Hi"));
        request[field] = value;
        let got = api.post(PATH, request).await;
        assert_eq!(got.status, 400, "{field}");
        let value = got.json();
        assert_eq!(
            (&value["type"], &value["error"]["type"]),
            (&"error".into(), &"invalid_request_error".into(),)
        );
        assert!(value["error"]["message"].as_str().unwrap().contains(field), "{value}");
    }
    let mut request = body(user("Hi"));
    request["model"] = "other".into();
    let got = api.post(PATH, request).await;
    assert_eq!(
        (got.status.as_u16(), &got.json()["error"]["type"]),
        (404, &"not_found_error".into())
    );
}

#[tokio::test]
async fn a_failure_in_the_stream_is_an_event() {
    let says = Says { fails_after: Some(2), ..Says::default() };
    let mut request = body(user("Hi"));
    request["stream"] = true.into();
    let got = Api::with(Settings::default(), says).post(PATH, request).await;
    let end = got.text.trim_end().split("\n\n").last().unwrap();
    expect![[r#"
        event: error
        data: {"type":"error","error":{"type":"api_error","message":"the server failed; its log says why"},"request_id":"msg_ID"}"#]].assert_eq(&plain(end));
}
