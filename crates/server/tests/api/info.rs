//! Models, tokens, metrics, the page.

use crate::fake::{Api, Says, user};
use expect_test::expect;
use serde_json::json;
use server::{Keys, Settings};

#[tokio::test]
async fn models() {
    let api = Api::new();
    let got = api.get("/v1/models").await;
    expect![[r#"{"object":"list","data":[{"id":"fake","object":"model","created":7,"owned_by":"fulgurite","max_model_len":4096,"input_modalities":["text"]}]}"#]].assert_eq(&got.text);
    let one = api.get("/v1/models/fake").await.json();
    assert_eq!(one, got.json()["data"][0]);
    let sensing = Api::sensing("hi").get("/v1/models").await.json();
    assert_eq!(sensing["data"][0]["input_modalities"], json!(["text", "image", "audio"]));
}

#[tokio::test]
async fn text_to_tokens_and_back() {
    let api = Api::new();
    let got = api.post("/tokenize", json!({"prompt": "é<s>"})).await;
    assert_eq!(got.json(), json!({"count": 3, "max_model_len": 4096, "tokens": [195, 169, 261]}));
    let got = api.post("/tokenize", json!({"prompt": "<s>", "add_special_tokens": false})).await;
    assert_eq!(got.json()["tokens"], json!([60, 115, 62]));
    let got = api.post("/tokenize", json!({"messages": user("Hi")})).await.json();
    api.post("/v1/chat/completions", json!({"messages": user("Hi")})).await;
    assert_eq!(got["tokens"], json!(api.fake.asked.lock().unwrap()[0].0));
    let got = api.post("/detokenize", json!({"tokens": [72, 105, 261]})).await;
    assert_eq!(got.json(), json!({"prompt": "Hi"}));
    for (path, body) in [
        ("/detokenize", json!({"tokens": [263]})),
        ("/detokenize", json!({})),
        ("/tokenize", json!({})),
        ("/tokenize", json!({"prompt": "a", "messages": user("a")})),
    ] {
        assert_eq!(api.post(path, body.clone()).await.status, 400, "{path} {body}");
    }
}

#[tokio::test]
async fn metrics_have_the_names_that_boards_know() {
    let api = Api::says("abc");
    api.post("/v1/chat/completions", json!({"messages": user("Hi")})).await;
    api.idle().await;
    let got = api.get("/metrics").await;
    assert_eq!(got.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "fulgurite_prompt_tokens_total{model_name=\"fake\"} 20",
        "fulgurite_generation_tokens_total{model_name=\"fake\"} 3",
        "fulgurite_prefix_cache_queries_total{model_name=\"fake\"} 20",
        "fulgurite_prefix_cache_hits_total{model_name=\"fake\"} 0",
        "fulgurite_num_requests_running{model_name=\"fake\"} 0",
        "fulgurite_num_requests_waiting{model_name=\"fake\"} 0",
        "fulgurite_time_to_first_token_seconds_count{model_name=\"fake\"} 1",
        "fulgurite_inter_token_latency_seconds_count{model_name=\"fake\"} 2",
        "fulgurite_e2e_request_latency_seconds_count{model_name=\"fake\"} 1",
        "fulgurite_request_success_total{model_name=\"fake\",finished_reason=\"stop\"} 1",
        "fulgurite_state_snapshots{model_name=\"fake\",tier=\"memory\"} 0",
        "fulgurite_cache_miss_total{model_name=\"fake\",reason=\"cold\"} 0",
    ] {
        assert!(got.text.lines().any(|found| found == line), "no {line} in {}", got.text);
    }
    // Each name is described once, before its values.
    for line in got.text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("fulgurite_") && line.contains("} "), "{line}");
    }
}

#[tokio::test]
async fn the_page_is_whole_and_asks_nobody_else() {
    let settings =
        Settings { keys: Keys::new(&["key".to_owned()], None).unwrap(), ..Settings::default() };
    let api = Api::with(settings, Says::default());
    // All files that the page names, and that these name; without a key, since the page asks for it.
    let mut paths = vec!["/".to_owned()];
    let mut next = 0;
    while let Some(path) = paths.get(next).cloned() {
        next += 1;
        let got = api.get(&path).await;
        assert_eq!(got.status, 200, "{path}");
        let kind = match path.rsplit_once('.').map(|(_, kind)| kind) {
            Some("js") => "text/javascript",
            Some("css") => "text/css",
            Some("svg") => "image/svg+xml",
            _ => "text/html",
        };
        assert!(got.header("content-type").starts_with(kind), "{path}");
        let policy = got.header("content-security-policy");
        for rule in ["default-src 'none'", "script-src 'self'", "connect-src 'self'"] {
            assert!(policy.split("; ").any(|found| found == rule), "{rule} of {path}: {policy}");
        }
        assert!(!got.text.contains("https://") && !got.text.contains("<style"), "{path}");
        for (before, after) in [("href=\"/", "\""), ("src=\"/", "\""), ("from \"./", "\";")] {
            for rest in got.text.split(before).skip(1) {
                let found = format!("/{}", rest.split(after).next().unwrap());
                if !paths.contains(&found) {
                    paths.push(found);
                }
            }
        }
    }
    assert!(paths.len() > 10 && paths.iter().any(|path| path == "/markdown.js"), "{paths:?}");
    let api = Api::new();
    assert_eq!(api.get("/version").await.json(), json!({"version": env!("CARGO_PKG_VERSION")}));
}
