//! `/v1/responses`.

use crate::fake::{Api, Says, plain};
use expect_test::expect;
use serde_json::{Value, json};
use server::Settings;

const PATH: &str = "/v1/responses";

#[tokio::test]
async fn a_whole_response() {
    let api = Api::new();
    let got = api.post(PATH, json!({"input": "Hi", "instructions": "Be short."})).await;
    expect![[r#"{"id":"resp_ID","object":"response","created_at":0,"completed_at":0,"status":"completed","error":null,"incomplete_details":null,"instructions":"Be short.","max_output_tokens":null,"max_tool_calls":null,"model":"fake","output":[{"type":"message","id":"msg_ID","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hello, wörld 🦀!","annotations":[],"logprobs":[]}]}],"parallel_tool_calls":true,"previous_response_id":null,"prompt_cache_key":null,"reasoning":{"effort":null,"summary":null},"safety_identifier":null,"service_tier":"default","store":true,"background":false,"temperature":0.0,"top_p":1.0,"presence_penalty":0.0,"frequency_penalty":0.0,"top_logprobs":0,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"truncation":"disabled","usage":{"input_tokens":38,"input_tokens_details":{"cached_tokens":0},"output_tokens":19,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":57},"user":null,"metadata":{}}"#]].assert_eq(&plain(&got.text));
    assert_eq!(api.fake.prompts.lock().unwrap()[0], "system:Be short.user:Hiassistant:");
    let id = got.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(api.get(&format!("{PATH}/{id}")).await.json(), got.json());
}

const CALLS: &str = "<think>Hm.</think>\n\nI look.\n<tool_calls>\n\
                     {\"name\": \"weigh\", \"arguments\": {\"what\": \"stone\"}}\n</tool_calls>";

#[tokio::test]
async fn a_stream_has_every_event_in_order() {
    let api = Api::says(CALLS);
    let tools = json!([{"type": "function", "name": "weigh", "parameters": {"type": "object"}}]);
    let mut body = json!({"input": "Hi", "tools": tools, "stream": true});
    let got = api.post(PATH, body.clone()).await;
    let mut names: Vec<String> = Vec::new();
    for (i, event) in got.events().iter().enumerate() {
        assert_eq!(event["sequence_number"], i);
        let name = event["type"].as_str().unwrap().to_owned();
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    expect![[r#"
        response.created
        response.in_progress
        response.output_item.added
        response.content_part.added
        response.reasoning_text.delta
        response.reasoning_text.done
        response.content_part.done
        response.output_item.done
        response.output_item.added
        response.content_part.added
        response.output_text.delta
        response.output_text.done
        response.content_part.done
        response.output_item.done
        response.output_item.added
        response.function_call_arguments.delta
        response.function_call_arguments.done
        response.output_item.done
        response.completed"#]]
    .assert_eq(&names.join("\n"));
    // Names of events are their types.
    for block in got.text.trim_end().split("\n\n") {
        let (name, data) = block.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: ").unwrap(), data["type"]);
    }
    // The whole response is what the pieces add up to, and what is answered without a stream.
    let last = got.events().last().unwrap()["response"].clone();
    body["stream"] = false.into();
    let whole = api.post(PATH, body).await.json();
    let [a, b] = [&whole["output"], &last["output"]].map(|output| plain(&output.to_string()));
    assert_eq!(a, b);
    let text: String = got
        .events()
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta")
        .map(|event| event["delta"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(last["output"][1]["content"][0]["text"], text);
}

#[tokio::test]
async fn responses_are_gone_on_from() {
    let api = Api::says("Well.");
    let first = api.post(PATH, json!({"input": "One", "instructions": "Rules."})).await.json();
    let body = json!({"input": "Two", "previous_response_id": first["id"]});
    let second = api.post(PATH, body).await.json();
    assert_eq!(second["previous_response_id"], first["id"]);
    assert_eq!(api.fake.prompts.lock().unwrap()[1], "user:Oneassistant:Well.user:Twoassistant:");
    let path = format!("{PATH}/{}", first["id"].as_str().unwrap());
    assert_eq!(api.method(axum::http::Method::DELETE, &path).await.json()["deleted"], true);
    let body = json!({"input": "Two", "previous_response_id": first["id"]});
    let got = api.post(PATH, body).await;
    assert_eq!(got.status, 404);
    assert_eq!(got.json()["error"]["param"], "previous_response_id");
    let kept = api.post(PATH, json!({"input": "One", "store": false})).await.json();
    let body = json!({"input": "Two", "previous_response_id": kept["id"]});
    assert_eq!(api.post(PATH, body).await.status, 404);
}

#[tokio::test]
async fn input_items_become_messages() {
    let api = Api::new();
    let input = json!([
        {"role": "developer", "content": "Rules."},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "Weigh."},
            {"type": "input_file", "filename": "x", "file_data": "eD0x"},
        ]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [
            {"type": "output_text", "text": "I look.", "annotations": []},
        ]},
        {"type": "function_call", "call_id": "c1", "name": "weigh", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "3"},
    ]);
    let got = api.post(PATH, json!({"input": input})).await;
    assert_eq!(got.status, 200, "{}", got.text);
    expect![[r#"
        system:Rules.user:x=1

        Weigh.assistant:I look.[weigh]tool:3assistant:"#]]
    .assert_eq(&api.fake.prompts.lock().unwrap()[0]);
}

#[tokio::test]
async fn what_is_cut_is_incomplete() {
    let api = Api::new();
    let got = api.post(PATH, json!({"input": "Hi", "max_output_tokens": 3})).await.json();
    assert_eq!(
        (&got["status"], &got["incomplete_details"]["reason"]),
        (&"incomplete".into(), &"max_output_tokens".into(),)
    );
    assert_eq!(got["output"][0]["status"], "incomplete");
}

#[tokio::test]
async fn fields_are_checked() {
    for (field, value) in [
        ("input", json!(7)),
        ("input", json!([])),
        ("input", json!([{"type": "dream"}])),
        ("max_output_tokens", json!(0)),
        ("temperature", json!(3)),
        ("background", json!(true)),
        ("truncation", json!("auto")),
        ("top_logprobs", json!(21)),
        ("previous_response_id", json!(7)),
    ] {
        let mut body = json!({"input": "Hi"});
        body[field] = value.clone();
        let got = Api::new().post(PATH, body).await;
        assert_eq!(
            (got.status.as_u16(), &got.json()["error"]["param"]),
            (400, &field.into()),
            "{value}"
        );
    }
}

#[tokio::test]
async fn a_failure_in_the_stream_is_told() {
    let says = Says { fails_after: Some(2), ..Says::default() };
    let got = Api::with(Settings::default(), says)
        .post(PATH, json!({"input": "Hi", "stream": true}))
        .await;
    let last = got.events().last().unwrap().clone();
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["response"]["status"], "failed");
    assert_eq!(last["response"]["error"]["code"], "server_error");
}
