//! `/v1/sessions` and the `session` field.

use crate::fake::{Api, Got, plain, user};
use axum::body::Body;
use axum::http::{Method, Request};
use expect_test::expect;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

async fn say(api: &Api, text: &str, session: Value) -> Got {
    api.post(CHAT, json!({"messages": user(text), "session": session})).await
}

fn last_prompt(api: &Api) -> String {
    api.fake.prompts.lock().unwrap().last().unwrap().clone()
}

#[tokio::test]
async fn a_named_conversation_goes_on() {
    let api = Api::says("Well.");
    let got = say(&api, "One", json!({"name": "talk", "label": "A talk"})).await;
    assert_eq!(got.status, 200, "{}", got.text);
    let shown = api.get("/v1/sessions/talk").await;
    expect![[r#"{"id":"talk","object":"session","tokens":26,"messages":2,"bytes":212,"created":0,"updated":0,"expires":null,"parent":null,"label":"A talk","model":"fake"}"#]].assert_eq(&plain(&shown.text));
    // Only what is new is said.
    say(&api, "Two", json!({"name": "talk"})).await;
    assert_eq!(last_prompt(&api), "user:Oneassistant:Well.user:Twoassistant:");
    // The engine is given the point where the first answer ended, and uses it.
    let (ids, from) = api.fake.asked.lock().unwrap()[1].clone();
    assert!(from.is_some_and(|tokens| tokens > 20 && tokens < ids.len()), "{from:?}");
    // Or all of it again.
    let all = json!([
        {"role": "user", "content": "One"}, {"role": "assistant", "content": "Well."},
        {"role": "user", "content": "Two"}, {"role": "assistant", "content": "Well."},
        {"role": "user", "content": "Three"},
    ]);
    api.post(CHAT, json!({"messages": all, "session": {"name": "talk"}})).await;
    assert_eq!(
        last_prompt(&api),
        "user:Oneassistant:Well.user:Twoassistant:Well.user:Threeassistant:"
    );
    assert_eq!(api.get("/v1/sessions/talk").await.json()["messages"], 6);
}

#[tokio::test]
async fn sessions_fork_and_rewind() {
    let api = Api::says("Well.");
    say(&api, "One", json!({"name": "talk"})).await;
    say(&api, "Two", json!({"resume": "talk", "fork": "other"})).await;
    say(&api, "Three", json!({"resume": "talk"})).await;
    let list = api.get("/v1/sessions").await.json();
    let told: Vec<(&str, u64, &Value)> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["id"].as_str().unwrap(), s["messages"].as_u64().unwrap(), &s["parent"]))
        .collect();
    assert_eq!(told, [("other", 4, &"talk".into()), ("talk", 2, &Value::Null)]);
    say(&api, "Four", json!({"name": "other", "rewind": 2})).await;
    assert_eq!(last_prompt(&api), "user:Oneassistant:Well.user:Fourassistant:");
    let fork = json!({"name": "third", "label": "x"});
    let got = api.post("/v1/sessions/other/fork", fork.clone()).await.json();
    assert_eq!((&got["id"], &got["parent"]), (&"third".into(), &"other".into()));
    let tokens = got["tokens"].as_u64().unwrap();
    let got = api.post("/v1/sessions/other/fork", fork).await;
    assert_eq!(got.status, 409);
    let got = api.post("/v1/sessions/third/rewind", json!({"messages": 2})).await.json();
    assert_eq!(got["messages"], 2);
    assert!(got["tokens"].as_u64().unwrap() < tokens);
    let got = api.post("/v1/sessions/third/rewind", json!({"tokens": 3})).await.json();
    assert_eq!((&got["messages"], &got["tokens"]), (&0.into(), &3.into()));
    assert_eq!(api.method(Method::DELETE, "/v1/sessions/third").await.json()["deleted"], true);
    assert_eq!(api.method(Method::DELETE, "/v1/sessions/third").await.status, 404);
}

#[tokio::test]
async fn what_is_kept_is_said() {
    let api = Api::says("Well.");
    say(&api, "One", json!({"name": "talk", "save": false})).await;
    assert_eq!(api.get("/v1/sessions/talk").await.status, 404);
    say(&api, "One", json!({"save": "talk"})).await;
    assert_eq!(api.get("/v1/sessions/talk").await.status, 200);
    say(&api, "Two", json!({"resume": "talk"})).await;
    assert_eq!(api.get("/v1/sessions/talk").await.json()["messages"], 2);
    say(&api, "Two", json!({"name": "talk", "ttl": 1000})).await;
    let shown = api.get("/v1/sessions/talk").await.json();
    assert_eq!(shown["messages"], 4);
    assert!(shown["expires"].as_u64() > shown["updated"].as_u64());
}

/// After a stop string too, and in every interface.
#[tokio::test]
async fn all_interfaces_keep_sessions() {
    let api = Api::says("Well. So?");
    let session = json!({"name": "talk"});
    let body = json!({"messages": user("One"), "stop": " So", "session": session, "stream": true});
    let got = api.post(CHAT, body).await;
    assert!(got.text.ends_with("data: [DONE]\n\n"), "{}", got.text);
    let shown = api.get("/v1/sessions/talk").await.json();
    assert_eq!(shown["messages"], 2);
    // 21 tokens of the prompt, and of the answer at least those up to the stop string.
    assert!(shown["tokens"].as_u64().unwrap() >= 21 + "Well. So".len() as u64, "{shown}");
    let body =
        json!({"model": "fake", "max_tokens": 50, "messages": user("Two"), "session": session});
    assert_eq!(api.post("/v1/messages", body).await.status, 200);
    let body = json!({"input": "Three", "session": session});
    assert_eq!(api.post("/v1/responses", body).await.status, 200);
    assert_eq!(
        last_prompt(&api),
        "user:Oneassistant:Well.user:Twoassistant:Well. So?user:Threeassistant:"
    );
    let body = json!({"prompt": "The end", "session": {"name": "text"}});
    assert_eq!(api.post("/v1/completions", body).await.status, 200);
    let shown = api.get("/v1/sessions/text").await.json();
    assert_eq!((&shown["messages"], &shown["tokens"]), (&0.into(), &16.into()));
    let body = json!({"prompt": " is near", "session": {"name": "text"}});
    api.post("/v1/completions", body).await;
    assert_eq!(last_prompt(&api), "The endWell. So? is near");
}

#[tokio::test]
async fn a_cache_key_offers_what_a_session_has_read() {
    let api = Api::says("Well.");
    say(&api, "One", json!({"name": "talk"})).await;
    let body = json!({"messages": user("One"), "prompt_cache_key": "talk"});
    let got = api.post(CHAT, body).await.json();
    assert!(got["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap() > 10);
    let body = json!({"messages": user("One"), "prompt_cache_key": "no such thing!"});
    assert_eq!(api.post(CHAT, body).await.status, 200);
}

#[tokio::test]
async fn what_is_not_there() {
    let api = Api::new();
    let got = say(&api, "Hi", json!({"resume": "talk"})).await;
    assert_eq!((got.status.as_u16(), &got.json()["error"]["param"]), (404, &"session".into()));
    assert_eq!(say(&api, "Hi", json!({"name": "talk", "rewind": 1})).await.status, 400);
    assert_eq!(say(&api, "Hi", json!({"save": true})).await.status, 400);
    let body = json!({"messages": user("Hi"), "session": {"name": "a"}, "n": 2});
    assert_eq!(api.post(CHAT, body).await.status, 400);
    for path in ["/v1/sessions/talk", "/v1/sessions/talk/export"] {
        let got = api.get(path).await;
        assert!([400, 404].contains(&got.status.as_u16()), "{path}");
    }
    for (path, status) in [("/v1/sessions/..%2Fx", 400), ("/v1/sessions/.x", 400)] {
        assert_eq!(api.get(path).await.status, status, "{path}");
    }
    let got = api.post("/v1/sessions/talk/rewind", json!({})).await;
    assert_eq!(got.status, 400);
}

#[tokio::test]
async fn messages_can_be_read_and_labels_changed() {
    let api = Api::says("Well.");
    let file = json!({"filename": "x", "file_data": "eD0x"});
    let content = json!([{"type": "file", "file": file}, {"type": "text", "text": "One"}]);
    let messages = json!([{"role": "user", "content": content}]);
    api.post(CHAT, json!({"messages": messages, "session": {"name": "talk", "label": "A"}})).await;
    let got = api.get("/v1/sessions/talk/messages").await;
    let answer = json!({"role": "assistant", "content": "Well."});
    assert_eq!(got.json(), json!({"object": "list", "data": [messages[0], answer]}));
    let path = "/v1/sessions/talk";
    let change = async |body: &str| {
        let request = Request::patch(path).header("content-type", "application/json");
        api.send(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    assert_eq!(change(r#"{"label": "B"}"#).await.json()["label"], "B");
    let shown = api.get(path).await.json();
    assert_eq!((&shown["label"], &shown["messages"]), (&"B".into(), &2.into()));
    assert_eq!(change("{}").await.status, 400);
    assert_eq!(change(&json!({"label": "x".repeat(1025)}).to_string()).await.status, 400);
    api.method(Method::DELETE, path).await;
    assert_eq!(change(r#"{"label": "B"}"#).await.status, 404);
    assert_eq!(api.get("/v1/sessions/talk/messages").await.status, 404);
}

/// The prompt of a later question is shorter than that of an earlier one, which it leaves out.
#[tokio::test]
async fn a_lookup_is_rewound_behind_a_shorter_question() {
    let api = Api::lookup("Heron");
    say(&api, "The boat is Heron.\nWhat is the name of the boat?", json!({"name": "talk"})).await;
    let before = api.get("/v1/sessions/talk").await.json();
    say(&api, "Boat?", json!({"name": "talk"})).await;
    let after = api.get("/v1/sessions/talk").await.json();
    assert!(after["tokens"].as_u64() < before["tokens"].as_u64(), "{before} {after}");
    let got = api.post("/v1/sessions/talk/rewind", json!({"messages": 2})).await;
    assert_eq!((got.status.as_u16(), &got.json()["messages"]), (200, &2.into()), "{}", got.text);
    say(&api, "Boat?", json!({"name": "talk"})).await;
    assert_eq!(api.get("/v1/sessions/talk").await.json()["messages"], 4);
}
