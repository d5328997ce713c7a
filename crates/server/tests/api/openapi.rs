//! `/openapi.json` says what is: routes, requests, responses.

use crate::fake::{Api, CONTEXT, user};
use axum::http::{Method, Request};
use serde_json::{Value, json};

/// The document's schema of what `path` answers, as a validator.
pub(crate) fn validator(
    document: &Value,
    path: &str,
    method: &str,
    status: &str,
    kind: &str,
) -> jsonschema::Validator {
    let content = &document["paths"][path][method]["responses"][status]["content"];
    let mut schema = content[kind]["schema"].clone();
    if kind == "text/event-stream" {
        schema = schema["properties"]["data"]["anyOf"][1]["contentSchema"].take();
    }
    assert!(schema.is_object(), "{path} {method} {status} {kind}");
    schema["components"] = document["components"].clone();
    jsonschema::validator_for(&schema).unwrap()
}

#[track_caller]
pub(crate) fn check(validator: &jsonschema::Validator, value: &Value) {
    let errors: Vec<String> =
        validator.iter_errors(value).map(|e| format!("{} at {}", e, e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:?} in {value}");
}

#[tokio::test]
async fn every_route_is_in_it_and_nothing_else() {
    let api = Api::new();
    let document = api.get("/openapi.json").await.json();
    assert_eq!(document, server::document());
    let paths = document["paths"].as_object().unwrap();
    let mut routes = server::routes();
    routes.sort_unstable();
    let mut told: Vec<&str> = paths.keys().map(String::as_str).collect();
    told.sort_unstable();
    assert_eq!(told, routes);
    for (path, operations) in paths {
        let path = path.replace("{id}", "x").replace("{name}", "x");
        for method in [Method::GET, Method::POST, Method::DELETE, Method::PUT, Method::PATCH] {
            let told = operations.get(method.as_str().to_lowercase()).is_some();
            let got = api.method(method.clone(), &path).await;
            assert_eq!(got.status == 405, !told, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn all_references_lead_somewhere() {
    let document = server::document();
    let mut stack = vec![&document];
    let mut found = 0;
    while let Some(value) = stack.pop() {
        if let Some(Value::String(to)) = value.get("$ref") {
            let pointer = to.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{to}");
            found += 1;
        }
        match value {
            Value::Object(fields) => stack.extend(fields.values()),
            Value::Array(values) => stack.extend(values),
            _ => {}
        }
    }
    assert!(found > 50);
}

#[tokio::test]
async fn answers_match_their_schemas() {
    let api = Api::says(
        "<think>Hm.</think>\n\nI look.\n<tool_calls>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_calls>",
    );
    let document = server::document();
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let requests = [
        (
            "/v1/chat/completions",
            json!({"messages": user("Hi"), "tools": tools, "logprobs": true, "top_logprobs": 2,
                   "stream_options": {"include_usage": true}, "session": {"name": "x"}}),
        ),
        ("/v1/completions", json!({"prompt": "a", "echo": true, "logprobs": 2})),
        (
            "/v1/responses",
            json!({"input": "Hi", "tools": [{"type": "function", "name": "f"}], "top_logprobs": 1}),
        ),
        (
            "/v1/messages",
            json!({"model": "fake", "max_tokens": 200, "messages": user("Hi"),
                   "thinking": {"type": "adaptive"},
                   "tools": [{"name": "f", "input_schema": {"type": "object"}}]}),
        ),
        ("/tokenize", json!({"prompt": "a"})),
        ("/detokenize", json!({"tokens": [97]})),
        ("/v1/messages/count_tokens", json!({"model": "fake", "messages": user("Hi")})),
        ("/v1/sessions/x/fork", json!({"name": "y"})),
        ("/v1/sessions/x/rewind", json!({"messages": 0})),
    ];
    for (path, mut body) in requests {
        let route = path.replace("/x/", "/{name}/");
        let got = api.post(path, body.clone()).await;
        assert_eq!(got.status, 200, "{}", got.text);
        check(&validator(&document, &route, "post", "200", "application/json"), &got.json());
        // The request matches its own schema too.
        let content = &document["paths"][&route]["post"]["requestBody"]["content"];
        let mut schema = content["application/json"]["schema"].clone();
        schema["components"] = document["components"].clone();
        check(&jsonschema::validator_for(&schema).unwrap(), &body);
        let events = &document["paths"][&route]["post"]["responses"]["200"]["content"];
        if events.get("text/event-stream").is_some() {
            body["stream"] = true.into();
            if path == "/v1/chat/completions" {
                body["stream_options"] = json!({"include_usage": true, "include_progress": true});
            }
            let event = validator(&document, &route, "post", "200", "text/event-stream");
            let got = api.post(path, body).await;
            assert!(got.events().len() > 5);
            got.events().iter().for_each(|value| check(&event, value));
        }
    }
    for path in [
        "/v1/models",
        "/v1/models/fake",
        "/v1/sessions",
        "/v1/sessions/x",
        "/v1/sessions/x/messages",
        "/version",
        "/health",
        "/ready",
    ] {
        let route = path.replace("/fake", "/{id}").replace("/x", "/{name}");
        let got = api.get(path).await.json();
        check(&validator(&document, &route, "get", "200", "application/json"), &got);
    }
}

#[tokio::test]
async fn errors_match_their_schemas() {
    let api = Api::new();
    let document = server::document();
    for (path, body) in [
        ("/v1/chat/completions", json!({"messages": []})),
        ("/v1/completions", json!({"prompt": "x".repeat(CONTEXT)})),
        ("/v1/responses", json!({"input": 7})),
        ("/v1/messages", json!({})),
    ] {
        let got = api.post(path, body).await;
        assert_eq!(got.status, 400);
        check(&validator(&document, path, "post", "400", "application/json"), &got.json());
    }
    let request = Request::post("/v1/messages").body(axum::body::Body::empty()).unwrap();
    let got = api.send(request).await;
    check(&validator(&document, "/v1/messages", "post", "415", "application/json"), &got.json());
}

/// The ranges in the document are the ranges that are checked: a value just outside is refused, and
/// the field named; the end of the range is taken.
#[tokio::test]
async fn ranges_are_what_is_checked() {
    let api = crate::videos::clips();
    let document = server::document();
    let mut checked = 0;
    for (path, name, base) in [
        ("/v1/chat/completions", "ChatRequest", json!({"messages": user("Hi"), "logprobs": true})),
        ("/v1/completions", "CompletionRequest", json!({"prompt": "a"})),
        ("/v1/videos", "VideoRequest", json!({"prompt": "a"})),
        ("/v1/responses", "ResponsesRequest", json!({"input": "a"})),
        (
            "/v1/messages",
            "MessagesRequest",
            json!({"model": "fake", "max_tokens": 9, "messages": user("Hi")}),
        ),
    ] {
        let fields = document["components"]["schemas"][name]["properties"].as_object().unwrap();
        for (field, schema) in fields {
            let whole = schema["type"].to_string().contains("integer");
            let step = if whole { 1.0 } else { 0.001 };
            let mut tries = Vec::new();
            for (bound, out, exclusive) in [
                ("minimum", -step, false),
                ("maximum", step, false),
                ("exclusiveMinimum", -step, true),
            ] {
                // 2^32 - 1 is the end of the type, and more than any context.
                let Some(bound) = schema[bound].as_f64().filter(|&bound| bound < 1e9) else {
                    continue;
                };
                tries.push((bound + out, 400));
                tries.push((bound, if exclusive { 400 } else { 200 }));
            }
            for (value, status) in tries {
                let mut body = base.clone();
                body[field] = if whole { json!(value as i64) } else { json!(value) };
                // `n` and `best_of` go together; 0 tokens need an echo.
                if field == "best_of" {
                    body["n"] = body[field].clone();
                }
                if (path, field) == ("/v1/completions", &"max_tokens".to_owned()) {
                    body["echo"] = true.into();
                }
                let got = api.post(path, body.clone()).await;
                assert_eq!(got.status, status, "{path} {field} {value}: {}", got.text);
                // With `n` out of range it is `n` that is named.
                if status == 400 && field != "best_of" {
                    let message = got.json()["error"]["message"].to_string();
                    assert!(message.contains(&field[..]), "{path} {field} {value}: {message}");
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 40, "{checked}");
}
