//! What is refused, and how it is said: every error in the envelope, `param` names the field.

use crate::fake::{Api, CONTEXT, Got, Says, plain, user};
use axum::body::Body;
use axum::http::{Method, Request};
use expect_test::expect;
use serde_json::{Value, json};
use server::Settings;

/// Checks that the envelope is whole, and gives `status`, `param` and `code`.
#[track_caller]
fn error(got: &Got) -> (u16, Option<String>, Option<String>) {
    let value = got.json();
    let error = value["error"].as_object().unwrap_or_else(|| panic!("no envelope: {}", got.text));
    assert_eq!(error.len(), 4, "{}", got.text);
    assert!(error["message"].as_str().is_some_and(|message| message.len() > 5), "{}", got.text);
    assert!(error["type"].as_str().is_some_and(|kind| kind.ends_with("_error")), "{}", got.text);
    assert_eq!(got.header("content-type"), "application/json");
    assert!(!got.header("x-request-id").is_empty());
    let text = |field: &str| error[field].as_str().map(str::to_owned);
    (got.status.as_u16(), text("param"), text("code"))
}

/// Case 8: a chat request with `field` as JSON `value`.
async fn chat(field: &str, value: &str) -> Got {
    let body =
        format!(r#"{{"messages": [{{"role": "user", "content": "Hi"}}], "{field}": {value}}}"#);
    Api::new().post_text("/v1/chat/completions", &body).await
}

#[tokio::test]
async fn values_out_of_range_are_refused() {
    for (field, value, param) in [
        ("max_tokens", "-1", "max_tokens"),
        ("max_tokens", "0", "max_tokens"),
        ("max_tokens", "9223372036854775808", "max_tokens"),
        ("max_tokens", "1.5", "max_tokens"),
        ("max_completion_tokens", "0", "max_completion_tokens"),
        ("temperature", "NaN", "temperature"),
        ("temperature", "-1", "temperature"),
        ("temperature", "1e9", "temperature"),
        ("temperature", "1e999", "temperature"),
        ("temperature", "\"hot\"", "temperature"),
        ("top_p", "0", "top_p"),
        ("top_p", "2", "top_p"),
        ("top_k", "-2", "top_k"),
        ("min_p", "1.1", "min_p"),
        ("repetition_penalty", "0", "repetition_penalty"),
        ("presence_penalty", "-2.1", "presence_penalty"),
        ("frequency_penalty", "2.1", "frequency_penalty"),
        ("n", "0", "n"),
        ("n", "129", "n"),
        ("stop", "[\"a\", \"b\", \"c\", \"d\", \"e\"]", "stop"),
        ("stop", "\"\"", "stop"),
        ("stop", "[\"a\", \"\"]", "stop"),
        ("stop", "7", "stop"),
        ("logit_bias", "{\"99999\": 1}", "logit_bias.99999"),
        ("logit_bias", "{\"x\": 1}", "logit_bias.x"),
        ("logit_bias", "{\"65\": 101}", "logit_bias.65"),
        ("logprobs", "1", "logprobs"),
        ("top_logprobs", "21", "top_logprobs"),
        ("top_logprobs", "1", "top_logprobs"),
        ("seed", "1e30", "seed"),
        ("tool_choice", "\"perhaps\"", "tool_choice"),
        ("tool_choice", "\"required\"", "tool_choice"),
        ("tools", "[{\"type\": \"function\", \"function\": {\"name\": \"a b\"}}]", "tools[0].name"),
        ("tools", "[{\"type\": \"psychic\"}]", "tools[0].type"),
        ("response_format", "{\"type\": \"poem\"}", "response_format.type"),
        (
            "response_format",
            "{\"type\": \"json_schema\", \"json_schema\": {\"name\": \"x\"}}",
            "response_format.json_schema.schema",
        ),
        ("stream", "\"yes\"", "stream"),
        ("session", "{\"name\": \"../x\"}", "session.name"),
        ("session", "{\"name\": \"a\", \"resume\": \"b\"}", "session"),
        ("session", "{\"ttl\": 0}", "session.ttl"),
        ("reasoning_effort", "\"heroic\"", "reasoning_effort"),
    ] {
        let got = chat(field, value).await;
        let (status, found, _) = error(&got);
        assert_eq!((status, found.as_deref()), (400, Some(param)), "{field} {value}: {}", got.text);
    }
}

/// Names of fields may be the client's own, as those of biases are.
#[tokio::test]
async fn long_names_are_not_said_again_in_full() {
    let got = chat("logit_bias", &format!("{{\"{}\": []}}", "é".repeat(5000))).await;
    assert_eq!(error(&got).0, 400);
    assert!(got.text.len() < 2000, "{}", got.text);
}

#[tokio::test]
async fn values_at_the_ends_of_ranges_are_taken() {
    for (field, value) in [
        ("max_tokens", "1"),
        ("temperature", "0"),
        ("temperature", "2"),
        ("top_p", "0.0001"),
        ("top_p", "1"),
        ("top_k", "-1"),
        ("top_k", "0"),
        ("min_p", "1"),
        ("presence_penalty", "-2"),
        ("frequency_penalty", "2"),
        ("n", "128"),
        ("stop", "[\"a\", \"b\", \"c\", \"d\"]"),
        ("stop", "null"),
        ("logit_bias", "{\"0\": -100, \"262\": 100}"),
        ("seed", "-9223372036854775808"),
        ("tool_choice", "\"none\""),
        ("metadata", "{\"a\": \"b\"}"),
        ("reasoning_effort", "\"low\""),
    ] {
        let got = chat(field, value).await;
        assert_eq!(got.status, 200, "{field} {value}: {}", got.text);
    }
}

#[tokio::test]
async fn messages_are_checked() {
    for (messages, param) in [
        (json!([]), "messages"),
        (json!("Hi"), "messages"),
        (json!([{"role": "oracle", "content": "Hi"}]), "messages[0].role"),
        (json!([{"role": "user"}]), "messages[0].content"),
        (json!([{"role": "user", "content": 7}]), "messages[0].content"),
        (json!([{"role": "user", "content": [{"type": "smell"}]}]), "messages[0].content"),
        (
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": ""}}]}]),
            "messages[0].content[0]",
        ),
    ] {
        let got = Api::new().post("/v1/chat/completions", json!({"messages": messages})).await;
        let (status, found, _) = error(&got);
        assert_eq!((status, found.as_deref()), (400, Some(param)), "{messages}: {}", got.text);
    }
    let many: Vec<Value> = vec![json!({"role": "user", "content": ""}); 16_385];
    let got = Api::new().post("/v1/chat/completions", json!({"messages": many})).await;
    assert_eq!(error(&got).1.as_deref(), Some("messages"));
}

#[tokio::test]
async fn bodies_that_are_no_requests() {
    let deep = format!("{{\"messages\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for body in ["", "{", "[]", "null", "{\"messages\": }", "{} {}", &deep[..], "\u{0}"] {
        let got = Api::new().post_text("/v1/chat/completions", body).await;
        assert_eq!(error(&got).0, 400, "{}", got.text);
        assert!(got.text.len() < 1000, "{}", got.text);
    }
    let api = Api::new();
    let send = |body: Vec<u8>, kind: &'static str| {
        let request = Request::post("/v1/chat/completions").header("content-type", kind);
        api.send(request.body(Body::from(body)).unwrap())
    };
    let got = send(b"{\"user\": \"\xFF\"}".to_vec(), "application/json").await;
    assert_eq!(error(&got).0, 400);
    assert!(got.text.contains("not UTF-8"), "{}", got.text);
    for kind in ["text/plain", "", "application/x-www-form-urlencoded"] {
        let got = send(b"{}".to_vec(), kind).await;
        assert_eq!(error(&got), (415, None, Some("unsupported_media_type".to_owned())));
    }
    let got = send(b"{}".to_vec(), "Application/JSON; charset=utf-8").await;
    assert_eq!(error(&got).0, 400);
}

#[tokio::test]
async fn one_byte_over_the_limit() {
    let settings = Settings { max_body_bytes: 200, ..Settings::default() };
    let api = Api::with(settings, Says::default());
    let body = |length: usize| {
        let body = json!({"messages": user("Hi")}).to_string();
        body.clone() + &" ".repeat(length - body.len())
    };
    assert_eq!(api.post_text("/v1/chat/completions", &body(200)).await.status, 200);
    let got = api.post_text("/v1/chat/completions", &body(201)).await;
    assert_eq!(error(&got), (413, None, Some("request_too_large".to_owned())));
    // Without a length in front it is found out while it comes.
    let pieces = body(201).into_bytes();
    let stream = http_body_util::StreamBody::new(Pieces(pieces));
    let request = Request::post("/v1/chat/completions").header("content-type", "application/json");
    let got = api.send(request.body(Body::new(stream)).unwrap()).await;
    assert_eq!(error(&got).0, 413);
}

/// Bytes one by one.
struct Pieces(Vec<u8>);

impl futures_core::Stream for Pieces {
    type Item = Result<http_body::Frame<bytes::Bytes>, std::convert::Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let byte = (!self.0.is_empty()).then(|| self.0.remove(0));
        std::task::Poll::Ready(byte.map(|byte| Ok(http_body::Frame::data(vec![byte].into()))))
    }
}

#[tokio::test]
async fn headers_over_the_limit() {
    let api = Api::new();
    let request = |value: String| Request::get("/version").header("x-long", value);
    let send = |value| api.send(request(value).body(Body::empty()).unwrap());
    assert_eq!(send("x".repeat(60_000)).await.status, 200);
    assert_eq!(error(&send("x".repeat(66_000)).await).0, 431);
    let mut many = Request::get("/version");
    for i in 0..101 {
        many = many.header(format!("x-{i}"), "1");
    }
    assert_eq!(error(&api.send(many.body(Body::empty()).unwrap()).await).0, 431);
}

#[tokio::test]
async fn paths_and_methods() {
    let api = Api::new();
    assert_eq!(error(&api.get("/v1/nothing").await).0, 404);
    let got = api.get("/v1/chat/completions").await;
    assert_eq!(error(&got), (405, None, Some("method_not_allowed".to_owned())));
    assert_eq!(got.header("allow"), "POST");
    assert_eq!(error(&api.method(Method::DELETE, "/health").await).0, 405);
    let got = api.get("/v1/models/other").await;
    assert_eq!(error(&got).2.as_deref(), Some("model_not_found"));
    let got = api.post("/v1/chat/completions", json!({"model": "x", "messages": user("Hi")})).await;
    expect![[r#"{"error":{"message":"there is no model `x`, expected `fake`","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#]].assert_eq(&plain(&got.text));
    let got = api.get("/v1/responses/resp_0").await;
    assert_eq!(error(&got).0, 404);
}

/// Case 19: never cut in silence.
#[tokio::test]
async fn what_is_longer_than_the_context() {
    let api = Api::new();
    let long = user(&"x".repeat(CONTEXT));
    for (path, body) in [
        ("/v1/chat/completions", json!({"messages": long})),
        ("/v1/chat/completions", json!({"messages": user("Hi"), "max_tokens": CONTEXT})),
        ("/v1/completions", json!({"prompt": "x".repeat(CONTEXT + 1)})),
        ("/v1/responses", json!({"input": "x".repeat(CONTEXT)})),
    ] {
        let got = api.post(path, body).await;
        let (status, _, code) = error(&got);
        assert_eq!(
            (status, code.as_deref()),
            (400, Some("context_length_exceeded")),
            "{}",
            got.text
        );
        assert!(got.text.contains("4096"), "{}", got.text);
    }
    let got =
        api.post("/v1/messages", json!({"model": "fake", "max_tokens": 1, "messages": long})).await;
    assert_eq!(got.status, 400);
    expect![[r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages: the prompt has 4114 tokens, expected fewer than 4096, the model's context"},"request_id":"req_ID"}"#]].assert_eq(&plain(&got.text));
}

/// No matter when it is tried again.
#[tokio::test]
async fn what_needs_more_memory_than_there_is() {
    let says = Says { memory: Some(100), ..Says::default() };
    let api = Api::with(Settings::default(), says);
    let body = json!({"messages": user("Hi"), "max_tokens": 200});
    let got = api.post("/v1/chat/completions", body).await;
    let (status, _, code) = error(&got);
    assert_eq!((status, code.as_deref()), (400, Some("memory_exceeded")), "{}", got.text);
    assert!(got.text.contains("bytes of memory") && got.text.contains("100"), "{}", got.text);
}

/// Case 15.
#[tokio::test]
async fn a_full_queue_says_when_to_try_again() {
    let says = Says { room: 0, ..Says::default() };
    let got = Api::with(Settings::default(), says)
        .post("/v1/chat/completions", json!({"messages": user("Hi")}))
        .await;
    assert_eq!(error(&got), (429, None, Some("rate_limit_exceeded".to_owned())));
    assert_eq!(got.header("retry-after"), "1");
}

#[tokio::test]
async fn loading_and_draining() {
    let settings = Settings::default();
    let app = server::App::new(
        settings,
        std::sync::Arc::new(server::sessions::MemorySessions::default()),
    );
    let router = app.router();
    let api = Api { app, router, ..Api::new() };
    let states = |health: Got, ready: Got| {
        let word = |got: &Got| got.json()["status"].as_str().unwrap().to_owned();
        (health.status.as_u16(), word(&health), ready.status.as_u16(), word(&ready))
    };
    let (health, ready) = (api.get("/health").await, api.get("/ready").await);
    assert_eq!(states(health, ready), (200, "loading".into(), 503, "loading".into()));
    let body = json!({"messages": user("Hi")});
    let got = api.post("/v1/chat/completions", body.clone()).await;
    assert_eq!(error(&got).0, 503);
    assert_eq!(got.header("retry-after"), "5");
    let api = Api::new();
    let (health, ready) = (api.get("/health").await, api.get("/ready").await);
    assert_eq!(states(health, ready), (200, "ok".into(), 200, "ok".into()));
    api.app.drain();
    let (health, ready) = (api.get("/health").await, api.get("/ready").await);
    assert_eq!(states(health, ready), (200, "draining".into(), 503, "draining".into()));
    let got = api.post("/v1/chat/completions", body).await;
    assert_eq!((error(&got).0, got.header("retry-after")), (503, "30"));
}

#[tokio::test]
async fn ids_of_requests_are_given_back() {
    let api = Api::new();
    let send = |id: &str| {
        let request = Request::get("/v1/nothing").header("x-request-id", id);
        api.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(send("mine-1").await.header("x-request-id"), "mine-1");
    for wrong in ["", "a b", &"x".repeat(129)] {
        let got = send(wrong).await;
        assert!(got.header("x-request-id").starts_with("req_"), "{wrong}");
    }
}
