//! `/v1/chat/completions`.

use crate::fake::{Api, Says, plain, user};
use expect_test::expect;
use serde_json::{Value, json};
use server::Settings;

const PATH: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_whole_answer() {
    let api = Api::new();
    let got = api.post(PATH, json!({"model": "fake", "messages": user("Hi")})).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.header("x-fulgurite-cache"), "cached=0; miss=cold");
    assert_eq!(got.header("x-fulgurite-ignored"), "");
    expect![[r#"{"id":"chatcmpl_ID","object":"chat.completion","created":0,"model":"fake","choices":[{"index":0,"message":{"role":"assistant","content":"Hello, wörld 🦀!","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":19,"total_tokens":39,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"system_fingerprint":"fp_test"}"#]].assert_eq(&plain(&got.text));
    assert_eq!(api.fake.prompts.lock().unwrap()[0], "user:Hiassistant:");
}

#[tokio::test]
async fn a_stream() {
    let api = Api::says("Hé!");
    let body = json!({"messages": user("Hi"), "stream": true,
                      "stream_options": {"include_usage": true}});
    let got = api.post(PATH, body).await;
    assert_eq!(got.header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!(got.header("x-fulgurite-cache"), "cached=0; miss=cold");
    expect![[r#"
        data: {"id":"chatcmpl_ID","object":"chat.completion.chunk","created":0,"model":"fake","system_fingerprint":"fp_test","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}

        data: {"id":"chatcmpl_ID","object":"chat.completion.chunk","created":0,"model":"fake","system_fingerprint":"fp_test","choices":[{"index":0,"delta":{"content":"H"},"logprobs":null,"finish_reason":null}],"usage":null}

        data: {"id":"chatcmpl_ID","object":"chat.completion.chunk","created":0,"model":"fake","system_fingerprint":"fp_test","choices":[{"index":0,"delta":{"content":"é"},"logprobs":null,"finish_reason":null}],"usage":null}

        data: {"id":"chatcmpl_ID","object":"chat.completion.chunk","created":0,"model":"fake","system_fingerprint":"fp_test","choices":[{"index":0,"delta":{"content":"!"},"logprobs":null,"finish_reason":null}],"usage":null}

        data: {"id":"chatcmpl_ID","object":"chat.completion.chunk","created":0,"model":"fake","system_fingerprint":"fp_test","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}

        data: {"id":"chatcmpl_ID","object":"chat.completion.chunk","created":0,"model":"fake","system_fingerprint":"fp_test","choices":[],"usage":{"prompt_tokens":20,"completion_tokens":4,"total_tokens":24,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}

        data: [DONE]

    "#]].assert_eq(&plain(&got.text));
}

#[tokio::test]
async fn fields_reach_the_engine() {
    let api = Api::new();
    let body = json!({
        "messages": user("Hi"), "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05,
        "repetition_penalty": 1.1, "presence_penalty": 0.5, "frequency_penalty": -0.5,
        "logit_bias": {"65": -100, "66": 3.5}, "seed": -1, "n": 2, "max_tokens": 5,
        "stop": ["zz"], "logprobs": true, "top_logprobs": 2,
    });
    let got = api.post(PATH, body).await;
    assert_eq!(got.status, 200, "{}", got.text);
    expect!["Sampling { temperature: 0.5, top_k: 40, top_p: 0.9, min_p: 0.05, repetition_penalty: 1.1, presence_penalty: 0.5, frequency_penalty: -0.5, logit_bias: [(65, -100.0), (66, 3.5)] } seed 18446744073709551615 n 2 max 5 stop [256] logprobs Some(2) None marks []"].assert_eq(&api.fake.last.lock().unwrap());
    let choices = got.json()["choices"].as_array().unwrap().clone();
    assert_eq!(choices.len(), 2);
    for choice in choices {
        assert_eq!(choice["finish_reason"], "length");
        assert_eq!(choice["message"]["content"], "Hello");
        assert_eq!(choice["logprobs"]["content"].as_array().unwrap().len(), 5);
    }
    let first = &got.json()["choices"][1]["logprobs"]["content"][0];
    expect![[r#"{"token":"H","logprob":-0.5,"bytes":[72],"top_logprobs":[{"token":"a","logprob":-1.0,"bytes":[97]},{"token":"b","logprob":-2.0,"bytes":[98]}]}"#]].assert_eq(&first.to_string());
}

#[tokio::test]
async fn unknown_fields_are_named_and_ignored() {
    let body =
        json!({"messages": [{"role": "user", "content": "Hi", "mood": 1}], "foo": {"bar": 2}});
    let got = Api::new().post(PATH, body).await;
    assert_eq!(
        (got.status.as_u16(), got.header("x-fulgurite-ignored")),
        (200, "messages.0.mood, foo")
    );
}

/// The text, the reasoning and the calls of a stream, joined.
fn joined(
    events: &[Value],
    choice: usize,
) -> (String, String, Vec<(String, String, String)>, String) {
    let (mut content, mut reasoning, mut finish) = (String::new(), String::new(), String::new());
    let mut calls: Vec<(String, String, String)> = Vec::new();
    let deltas = events.iter().flat_map(|event| event["choices"].as_array().unwrap());
    for piece in deltas.filter(|piece| piece["index"] == choice) {
        let delta = &piece["delta"];
        content += delta["content"].as_str().unwrap_or("");
        reasoning += delta["reasoning_content"].as_str().unwrap_or("");
        finish += piece["finish_reason"].as_str().unwrap_or("");
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let i = call["index"].as_u64().unwrap() as usize;
            let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
            calls.resize(calls.len().max(i + 1), Default::default());
            calls[i].0 += &text(&call["id"]);
            calls[i].1 += &text(&call["function"]["name"]);
            calls[i].2 += &text(&call["function"]["arguments"]);
        }
    }
    (content, reasoning, calls, finish)
}

const CALLS: &str = "<think>\nHm 🦀.\n</think>\n\nI look.\n<tool_calls>\n\
                     {\"name\": \"weigh\", \"arguments\": {\"what\": \"stöne\"}}\n\
                     {\"name\": \"weigh\", \"arguments\": {}}\n</tool_calls>";

fn tools() -> Value {
    json!([{"type": "function", "function": {
        "name": "weigh",
        "parameters": {"type": "object", "properties": {"what": {"type": "string"}}},
    }}])
}

#[tokio::test]
async fn reasoning_and_calls_are_split_off() {
    let api = Api::says(CALLS);
    let mut body = json!({"messages": user("Hi"), "tools": tools(), "n": 2});
    let whole = api.post(PATH, body.clone()).await;
    expect![[r#"{"index":0,"message":{"role":"assistant","content":"I look.\n","reasoning_content":"Hm 🦀.","refusal":null,"tool_calls":[{"id":"call_ID","type":"function","function":{"name":"weigh","arguments":"{\"what\":\"stöne\"}"}},{"id":"call_ID","type":"function","function":{"name":"weigh","arguments":"{}"}}]},"logprobs":null,"finish_reason":"tool_calls"}"#]].assert_eq(&plain(&whole.json()["choices"][0].to_string()));
    assert_eq!(whole.json()["usage"]["completion_tokens_details"]["reasoning_tokens"], 22);
    assert!(api.fake.prompts.lock().unwrap()[0].starts_with("tool:weigh"));
    body["stream"] = true.into();
    let stream = api.post(PATH, body).await;
    for choice in [0, 1] {
        let (content, reasoning, calls, finish) = joined(&stream.events(), choice);
        let message = &whole.json()["choices"][choice]["message"];
        assert_eq!(message["content"], content);
        assert_eq!(message["reasoning_content"], reasoning);
        assert_eq!(finish, "tool_calls");
        assert_eq!(calls.len(), 2);
        for (call, expected) in calls.iter().zip(message["tool_calls"].as_array().unwrap()) {
            assert_eq!(
                (&call.1[..], &call.2[..]),
                (
                    expected["function"]["name"].as_str().unwrap(),
                    expected["function"]["arguments"].as_str().unwrap(),
                )
            );
            assert!(call.0.starts_with("call_"));
        }
    }
}

/// Case 13: whatever the text and wherever it is cut.
#[tokio::test]
async fn deltas_together_are_the_whole_answer() {
    let pieces =
        ["a", "é", "日本", "🦀🧱", "👩‍🚀", "\n\n", "stop", "st", "op", " ", "<think>", "</s>"];
    let mut state = 12345u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    for round in 0..500 {
        let text: String = (0..next(12)).map(|_| pieces[next(pieces.len())]).collect();
        let api_says = Says { text: text.clone(), ..Says::default() };
        let api = API.with(|api| api.clone());
        *api.fake.says.lock().unwrap() = api_says;
        let stop = ["stop", "日本", "🧱", "o"][next(4)];
        let mut body = json!({"messages": user("Hi"), "stop": stop, "max_tokens": 1 + next(40)});
        let whole = api.post(PATH, body.clone()).await.json();
        body["stream"] = true.into();
        let (content, reasoning, _, finish) = joined(&api.post(PATH, body).await.events(), 0);
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["content"], content, "{round}: {text:?}");
        assert_eq!(message["reasoning_content"].as_str().unwrap_or(""), reasoning, "{text:?}");
        assert_eq!(whole["choices"][0]["finish_reason"], finish, "{text:?}");
        assert!(!content.contains(stop), "{content:?}");
    }
}

thread_local! {
    static API: Api = Api::new();
}

#[tokio::test]
async fn answers_are_held_to_schemas() {
    let schema = json!({"type": "object", "properties": {"kind": {"const": "stone"}},
                        "required": ["kind"], "additionalProperties": false});
    let api = Api::says("I would rather talk.");
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let body = json!({"messages": user("Hi"), "response_format": format, "max_tokens": 200});
    let got = api.post(PATH, body).await.json();
    let content = got["choices"][0]["message"]["content"].as_str().unwrap();
    let value: Value = serde_json::from_str(content).unwrap();
    assert_eq!(value, json!({"kind": "stone"}));
    assert_eq!(got["choices"][0]["finish_reason"], "stop");
    let body = json!({"messages": user("Hi"), "tools": tools(), "tool_choice": "required",
                      "max_tokens": 400});
    let got = api.post(PATH, body).await.json();
    assert_eq!(got["choices"][0]["finish_reason"], "tool_calls", "{got}");
    let call = &got["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "weigh");
    serde_json::from_str::<Value>(call["arguments"].as_str().unwrap()).unwrap();
}

/// The embedded model's form: a text, and a question in the last line.
#[tokio::test]
async fn a_model_that_looks_things_up_reads_text_and_question() {
    let api = Api::lookup("1.2.3");
    let messages = user("[serde]\nversion = 1.2.3\n\nwhich version of serde?");
    let got = api.post(PATH, json!({"messages": messages, "logprobs": true})).await;
    assert_eq!(got.json()["choices"][0]["message"]["content"], "1.2.3");
    let (ids, _) = api.fake.asked.lock().unwrap()[0].clone();
    let text = "[serde]\nversion = 1.2.3\n".bytes().map(u32::from);
    let question = "which version of serde?".bytes().map(u32::from);
    let expected: Vec<u32> =
        [256].into_iter().chain(text).chain([257]).chain(question).chain([258]).collect();
    assert_eq!(ids, expected);
    assert!(api.fake.last.lock().unwrap().ends_with("marks [25]"));
    // What is not in the text cannot be said.
    *api.fake.says.lock().unwrap() = Says { text: "4.5.6".to_owned(), ..Says::default() };
    let got = api.post(PATH, json!({"messages": messages})).await;
    let content = got.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!("[serde]\nversion = 1.2.3\n".contains(&content) || content == "not in the text");
}

#[tokio::test]
async fn a_failure_in_the_stream_is_an_event() {
    let says = Says { fails_after: Some(2), ..Says::default() };
    let api = Api::with(Settings::default(), says);
    let mut body = json!({"messages": user("Hi")});
    let whole = api.post(PATH, body.clone()).await;
    assert_eq!(whole.status, 500);
    assert_eq!(whole.json()["error"]["type"], "server_error");
    body["stream"] = true.into();
    let got = api.post(PATH, body).await;
    assert_eq!(got.status, 200);
    let end = got.text.split("\n\n").filter(|block| !block.is_empty()).last().unwrap();
    expect![[r#"
        event: error
        data: {"error":{"message":"the server failed; its log says why","type":"server_error","param":null,"code":"internal_error"}}"#]].assert_eq(&plain(end));
}

/// What the page shows while a long text is read.
#[tokio::test]
async fn progress_is_told_if_it_is_asked_for() {
    let api = Api::says("Well.");
    let ask = async |text: &str, options: Value| {
        let body = json!({"messages": user(text), "stream": true, "stream_options": options,
                          "session": {"name": "talk"}});
        api.post(PATH, body).await
    };
    let told = |got: &crate::fake::Got| -> Vec<Value> {
        let events = got.events();
        let told = events.iter().filter(|event| event.get("progress").is_some());
        told.inspect(|event| assert_eq!(event["choices"], json!([])))
            .map(|event| event["progress"].clone())
            .collect()
    };
    let got = ask("Hi", json!({"include_progress": true})).await;
    let steps = [0, 10, 20];
    let expected =
        steps.map(|read| json!({"read": read, "total": 20, "cached": 0, "miss": "cold"}));
    assert_eq!(told(&got), expected);
    // Before anything is said.
    let events = got.events();
    let place = |wanted: &dyn Fn(&Value) -> bool| events.iter().position(wanted).unwrap();
    let said =
        place(&|event| !event["choices"][0]["delta"]["content"].as_str().unwrap_or("").is_empty());
    assert!(place(&|event| event["progress"]["read"] == 20) < said);
    // What is known counts as read from the start on.
    let again = told(&ask("And?", json!({"include_progress": true})).await);
    let cached = again[0]["cached"].as_u64().unwrap();
    assert!(cached > 20 && again[0]["read"] == cached, "{again:?}");
    assert_eq!(again[0]["miss"], format!("end at {cached}"));
    assert_eq!(again[2]["read"], again[2]["total"]);
    for options in [json!({}), json!({"include_progress": false}), Value::Null] {
        assert_eq!(told(&ask("So?", options).await), Vec::<Value>::new());
    }
}
