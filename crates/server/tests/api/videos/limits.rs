//! Who may order how much, and whose turn it is.

use super::{MANY, ended, ordered, with_clips};
use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use server::video::Limits;
use server::{Keys, Settings};
use std::time::Duration;
use tower::ServiceExt as _;

#[tokio::test]
async fn clients_do_not_see_each_other() {
    let keys = Keys::new(&["one-key".to_owned(), "two-key".to_owned()], None).unwrap();
    let (api, _) = with_clips(Settings { keys, ..Settings::default() }, MANY);
    let send = async |method: Method, path: &str, key: &str, body: &str| {
        let request = Request::builder().method(method).uri(path).header("x-api-key", key);
        let request = request.header("content-type", "application/json");
        api.send(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    let got = send(Method::POST, "/v1/videos", "one-key", r#"{"prompt": "a ring"}"#).await;
    let id = got.json()["id"].as_str().unwrap().to_owned();
    let own = send(Method::GET, "/v1/videos", "one-key", "").await.json();
    assert_eq!(own["data"].as_array().unwrap().len(), 1);
    let others = send(Method::GET, "/v1/videos", "two-key", "").await.json();
    assert_eq!(others["data"], json!([]));
    for (method, path) in [
        (Method::GET, format!("/v1/videos/{id}")),
        (Method::DELETE, format!("/v1/videos/{id}")),
        (Method::GET, format!("/v1/videos/{id}/content")),
        (Method::GET, format!("/v1/videos/{id}/content?variant=preview")),
        (Method::GET, format!("/v1/query/video_generation?task_id={id}")),
        (Method::GET, format!("/v1/files/retrieve?file_id={id}")),
    ] {
        assert_eq!(send(method.clone(), &path, "two-key", "").await.status, 404, "{method} {path}");
        assert_eq!(send(method, &path, "no-key", "").await.status, 401, "{path}");
    }
    assert_eq!(send(Method::GET, &format!("/v1/videos/{id}"), "one-key", "").await.status, 200);
}

#[tokio::test]
async fn lines_are_bounded_and_old_clips_forgotten() {
    let limits = Limits { waiting: 10, waiting_of_client: 2, kept: 2, ..MANY };
    let (api, _) = with_clips(Settings::default(), limits);
    let running = ordered(&api, json!({"prompt": "it never ends"})).await;
    ordered(&api, json!({"prompt": "a ring"})).await;
    let got = api.post("/v1/videos", json!({"prompt": "a star"})).await;
    assert_eq!((got.status.as_u16(), got.header("retry-after")), (429, "30"));
    assert_eq!(
        got.json()["error"]["message"],
        "2 of your clips wait to be made, expected at most 2"
    );
    api.method(Method::DELETE, &format!("/v1/videos/{running}")).await;
    let mut ids = Vec::new();
    for i in 0..4 {
        let id = ordered(&api, json!({"prompt": format!("{i}")})).await;
        ended(&api, &id).await;
        ids.push(id);
    }
    let list = api.get("/v1/videos?order=asc").await.json();
    let names: Vec<&str> =
        list["data"].as_array().unwrap().iter().map(|v| v["id"].as_str().unwrap()).collect();
    assert_eq!(names, ids[2..]);
}

/// However many come at once, no more are taken than there is room for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn orders_that_come_together_do_not_pass_the_limit() {
    let limits = Limits { waiting: 20, waiting_of_client: 16, kept: 10, ..MANY };
    let (api, _) = with_clips(Settings::default(), limits);
    ordered(&api, json!({"prompt": "it never ends"})).await;
    let orders: Vec<_> = (0..40)
        .map(|_| {
            let router = api.router.clone();
            let request = Request::post("/v1/videos").header("content-type", "application/json");
            let request = request.body(Body::from(r#"{"prompt": "a crowd"}"#)).unwrap();
            tokio::spawn(async move { router.oneshot(request).await.unwrap().status().as_u16() })
        })
        .collect();
    let mut taken = 0;
    for order in orders {
        let status = order.await.unwrap();
        assert!([200, 429].contains(&status), "{status}");
        taken += usize::from(status == 200);
    }
    assert_eq!(taken, 15);
    let list = api.get("/v1/videos?limit=100").await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 16);
}

/// A place that comes to nothing is free again.
#[tokio::test]
async fn orders_that_are_refused_take_no_place() {
    let limits = Limits { waiting: 1, waiting_of_client: 1, kept: 10, ..MANY };
    let (api, _) = with_clips(Settings::default(), limits);
    for _ in 0..3 {
        let got = api.post("/v1/videos", json!({"prompt": "a xylophone"})).await;
        assert_eq!(got.status, 400, "{}", got.text);
    }
    let got = api.post("/v1/videos", json!({"prompt": "a universe"})).await;
    assert_eq!(
        (got.status.as_u16(), &got.json()["error"]["code"]),
        (400, &json!("memory_exceeded"))
    );
    ordered(&api, json!({"prompt": "it never ends"})).await;
    assert_eq!(api.post("/v1/videos", json!({"prompt": "a xylophone"})).await.status, 429);
}

/// A clip may take long, but not so long that others never have their turn.
#[tokio::test]
async fn what_a_client_may_ask_for_is_bounded() {
    let limits = Limits { work_of_client: 1000, ..MANY };
    let (api, _) = with_clips(Settings::default(), limits);
    let order = async |prompt: &str, frames: u64, steps: u64| {
        let body = json!({"prompt": prompt, "num_frames": frames, "num_inference_steps": steps});
        api.post("/v1/videos", body).await
    };
    let got = order("a ring", 1001, 1).await;
    let error = &got.json()["error"];
    assert_eq!((got.status.as_u16(), &error["param"]), (400, &json!("num_frames")));
    assert!(error["message"].as_str().unwrap().contains("expected at most 1000"), "{error}");
    let got = order("it never ends", 9, 100).await;
    assert_eq!(got.status, 200);
    let endless = got.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(order("a ring", 11, 10).await.status, 429);
    // What was refused takes no place.
    assert_eq!(order("a ring", 10, 10).await.status, 200);
    assert_eq!(order("a ring", 1, 1).await.status, 429);
    api.method(Method::DELETE, &format!("/v1/videos/{endless}")).await;
    assert_eq!(order("a star", 9, 100).await.status, 200);
}

#[tokio::test]
async fn clients_take_turns() {
    let keys = ["one-key", "two-key", "three-key"].map(str::to_owned);
    let keys = Keys::new(&keys, None).unwrap();
    let (api, maker) = with_clips(Settings { keys, ..Settings::default() }, MANY);
    let send = async |method: Method, path: &str, key: &str, body: Value| {
        let request = Request::builder().method(method).uri(path).header("x-api-key", key);
        let request = request.header("content-type", "application/json");
        api.send(request.body(Body::from(body.to_string())).unwrap()).await.json()
    };
    let order = async |key: &str, prompt: &str| {
        let video = send(Method::POST, "/v1/videos", key, json!({"prompt": prompt})).await;
        video["id"].as_str().unwrap().to_owned()
    };
    let first = order("one-key", "it never ends").await;
    let mut last = String::new();
    for (key, prompt) in [
        ("one-key", "1a"),
        ("one-key", "1b"),
        ("one-key", "1c"),
        ("two-key", "2a"),
        ("two-key", "2b"),
        ("three-key", "3a"),
    ] {
        let id = order(key, prompt).await;
        if prompt == "1c" {
            last = id;
        }
    }
    while maker.begun.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    send(Method::DELETE, &format!("/v1/videos/{first}"), "one-key", Value::Null).await;
    while send(Method::GET, &format!("/v1/videos/{last}"), "one-key", Value::Null).await["status"]
        != "completed"
    {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let begun = maker.begun.lock().unwrap().clone();
    assert_eq!(begun, ["it never ends", "2a", "3a", "1a", "2b", "1b", "1c"]);
}
