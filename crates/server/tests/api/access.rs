//! Who is let in, and what one client sees of another.

use crate::fake::{Api, Got, Says, user};
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use serde_json::json;
use server::{Keys, Settings};
use std::time::Instant;

fn keyed() -> Api {
    let keys = Keys::new(&["one-key".to_owned(), "two-key".to_owned()], None).unwrap();
    Api::with(Settings { keys, ..Settings::default() }, Says::default())
}

async fn send(api: &Api, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    api.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

/// Case 9.
#[tokio::test]
async fn keys_are_wanted_everywhere_but_for_health_and_the_page() {
    let api = keyed();
    for path in ["/v1/models", "/metrics", "/version", "/openapi.json", "/v1/sessions", "/nothing"]
    {
        for headers in [
            &[][..],
            &[("authorization", "Bearer wrong")],
            &[("authorization", "Bearer one-ke")],
            &[("authorization", "Basic one-key")],
            &[("x-api-key", "one-keyx")],
        ] {
            let got = send(&api, Method::GET, path, headers, "").await;
            assert_eq!(got.status, 401, "{path} {headers:?}");
            assert_eq!(got.json()["error"]["type"], "authentication_error");
            assert_eq!(got.header("www-authenticate"), "Bearer");
        }
        let got = send(&api, Method::GET, path, &[("x-api-key", "two-key")], "").await;
        assert_ne!(got.status, 401, "{path}");
    }
    for path in ["/health", "/ready", "/", "/app.js", "/style.css"] {
        assert_eq!(send(&api, Method::GET, path, &[], "").await.status, 200, "{path}");
    }
    let got = send(&api, Method::POST, "/v1/messages", &[], "").await;
    assert_eq!(got.json()["error"]["type"], "authentication_error");
    assert_eq!(got.json()["type"], "error");
}

/// Case 9: how much of a key is right cannot be told by the time: the medians of keys that share all
/// but the last byte with a right one and of those that share none differ less than their spread.
#[test]
fn no_time_tells_how_much_of_a_key_is_right() {
    let keys: Vec<String> = (0..8).map(|i| format!("{}{i}", "k".repeat(63))).collect();
    let keys = Keys::new(&keys, None).unwrap();
    let headers = |key: &str| {
        let value = format!("Bearer {key}").parse().unwrap();
        HeaderMap::from_iter([(axum::http::header::AUTHORIZATION, value)])
    };
    let near = headers(&format!("{}x", "k".repeat(63)));
    let far = headers(&"x".repeat(64));
    let mut times = [Vec::new(), Vec::new()];
    for i in 0..100_000 {
        let which = i % 2;
        let start = Instant::now();
        assert!(keys.client([&near, &far][which]).is_err());
        times[which].push(start.elapsed().as_nanos());
    }
    let [near, far] = times.map(|mut times| {
        times.sort_unstable();
        let at = |share: usize| times[times.len() * share / 100];
        (at(50) as f64, (at(75) - at(25)).max(1) as f64)
    });
    assert!((near.0 - far.0).abs() <= 3.0 * near.1.max(far.1), "{near:?} {far:?}");
}

/// Case 10: a page whose name was made to point here is refused.
#[tokio::test]
async fn only_names_of_this_machine_are_answered_on_loopback() {
    let api = Api::with(Settings { check_host: true, ..Settings::default() }, Says::default());
    for (host, good) in [
        ("localhost", true),
        ("localhost:8080", true),
        ("LOCALHOST:1", true),
        ("127.0.0.1:8080", true),
        ("127.9.9.9", true),
        ("[::1]:8080", true),
        ("app.localhost", true),
        ("evil.example", false),
        ("evil.example:8080", false),
        ("127.0.0.1.evil.example", false),
        ("localhost.evil.example", false),
        ("192.168.0.1", false),
        ("0.0.0.0", false),
        ("", false),
    ] {
        let got = send(&api, Method::GET, "/health", &[("host", host)], "").await;
        assert_eq!(got.status, if good { 200 } else { 403 }, "{host}");
    }
}

/// Case 10: no page of elsewhere may ask, unless it was said so.
#[tokio::test]
async fn cors_is_off_unless_asked_for() {
    let preflight = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type, authorization"),
    ];
    let api = keyed();
    let got = send(&api, Method::OPTIONS, "/v1/chat/completions", &preflight, "").await;
    assert_eq!(got.header("access-control-allow-origin"), "");
    let keys = Keys::new(&["one-key".to_owned()], None).unwrap();
    let cors = vec!["https://a.example".to_owned()];
    let api = Api::with(Settings { keys, cors, ..Settings::default() }, Says::default());
    let got = send(&api, Method::OPTIONS, "/v1/chat/completions", &preflight, "").await;
    assert_eq!(got.status, 200);
    assert_eq!(got.header("access-control-allow-origin"), "https://a.example");
    assert_ne!(got.header("access-control-allow-headers"), "");
    let other = [("origin", "https://b.example"), preflight[1]];
    let got = send(&api, Method::OPTIONS, "/v1/chat/completions", &other, "").await;
    assert_eq!(got.header("access-control-allow-origin"), "");
    let asked = [("origin", "https://a.example"), ("x-api-key", "one-key")];
    let got = send(&api, Method::GET, "/v1/models", &asked, "").await;
    assert_eq!(got.header("access-control-allow-origin"), "https://a.example");
}

/// Case 38, what can be seen of it without an engine: sessions and responses of one key are nothing
/// to another, and the engine is told who asks.
#[tokio::test]
async fn clients_do_not_see_each_other() {
    let api = keyed();
    let json_of = |key| [("x-api-key", key), ("content-type", "application/json")];
    let body = json!({"messages": user("Hi"), "session": {"name": "talk"}}).to_string();
    let (one, two) = (json_of("one-key"), json_of("two-key"));
    let path = "/v1/chat/completions";
    assert_eq!(send(&api, Method::POST, path, &one, &body).await.status, 200);
    let body = json!({"input": "Hi"}).to_string();
    let got = send(&api, Method::POST, "/v1/responses", &one, &body).await.json();
    let response = format!("/v1/responses/{}", got["id"].as_str().unwrap());
    for (headers, status) in [(&one, 200), (&two, 404)] {
        for path in ["/v1/sessions/talk", &response] {
            assert_eq!(send(&api, Method::GET, path, headers, "").await.status, status, "{path}");
        }
    }
    let list = send(&api, Method::GET, "/v1/sessions", &two, "").await.json();
    assert_eq!(list["data"], json!([]));
    let clients = api.fake.clients.lock().unwrap().clone();
    assert_eq!(clients.len(), 2);
    assert_eq!(clients[0], clients[1]);
}
