//! What is refused, and what fails.

use super::{Full, MANY, clips, ended, line, once, ordered};
use crate::fake::{Api, user};
use axum::http::Method;
use serde_json::json;
use server::Settings;
use server::video::{MemoryStore, Store};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

#[tokio::test]
async fn a_clip_that_fails_says_why_and_others_go_on() {
    let api = clips();
    let fails = ordered(&api, json!({"prompt": "it fails"})).await;
    let panics = ordered(&api, json!({"prompt": "it panics"})).await;
    let works = ordered(&api, json!({"prompt": "a cross"})).await;
    let video = ended(&api, &fails).await;
    assert_eq!(
        (&video["status"], &video["error"]["message"]),
        (&json!("failed"), &json!("step 1: no numbers"))
    );
    let got = api.get(&format!("/v1/videos/{fails}/content")).await;
    assert_eq!(got.json()["error"]["message"], "there is no clip: step 1: no numbers");
    let video = ended(&api, &panics).await;
    assert_eq!(video["error"]["message"], "the server failed; its log says why");
    assert_eq!(ended(&api, &works).await["status"], "completed");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_name() {
    let api = clips();
    for (body, field, words) in [
        (json!({}), "prompt", "missing field `prompt`"),
        (
            json!({"prompt": " "}),
            "prompt",
            "`prompt` is empty, expected words that say what is to be seen",
        ),
        (
            json!({"prompt": "x".repeat(32_001)}),
            "prompt",
            "`prompt` has 32001 bytes of at most 32000",
        ),
        (json!({"prompt": "a xylophone"}), "prompt", "which the model does not know"),
        (
            json!({"prompt": "x", "size": "64"}),
            "size",
            "`size` is `64`, expected width and height such as `64x64`",
        ),
        (json!({"prompt": "x", "size": "0x64"}), "size", "expected width and height"),
        (json!({"prompt": "x", "seconds": "soon"}), "seconds", "`soon` is not a number"),
        (json!({"prompt": "x", "seconds": 1, "num_frames": 9}), "num_frames", "expected one"),
        (json!({"prompt": "x", "num_frames": 9.5}), "num_frames", "expected a whole number"),
        (
            json!({"prompt": "x", "guidance_scale": -1}),
            "guidance_scale",
            "`guidance_scale` is -1, expected 0 to 100",
        ),
        (json!({"prompt": "x", "eta": 1.5}), "eta", "`eta` is 1.5, expected 0 to 1"),
        (json!({"prompt": "x", "eta": "NaN"}), "eta", "it is not finite"),
        (json!({"prompt": "x", "sampler": "magic"}), "sampler", "unknown variant `magic`"),
        (
            json!({"prompt": "x", "input_reference": "http://a/b.png"}),
            "input_reference",
            "is an address, which is not fetched",
        ),
        (json!({"prompt": "x", "input_reference": "UE"}), "input_reference", "base64"),
        (
            json!({"prompt": "x", "input_reference": ""}),
            "input_reference",
            "is empty, expected a picture",
        ),
        (
            json!({"prompt": "x", "input_reference": "R0lG"}),
            "input_reference",
            "the file is no picture",
        ),
        (
            json!({"prompt": "x", "input_reference": "UE5H", "first_frame_image": "UE5H"}),
            "first_frame_image",
            "expected one",
        ),
    ] {
        let got = api.post("/v1/videos", body).await;
        let error = &got.json()["error"];
        let message = error["message"].as_str().unwrap();
        assert_eq!(got.status, 400, "{message}");
        assert!(message.contains(words), "{message}, expected {words}");
        assert!(error["param"] == field || field == "prompt", "{error}");
    }
    let got = api.post("/v1/videos", json!({"prompt": "x", "model": "sora-2"})).await;
    assert_eq!(
        (got.status.as_u16(), got.json()["error"]["message"].as_str()),
        (404, Some("there is no model `sora-2`, expected `clips`"))
    );
    assert_eq!(api.get("/v1/videos").await.json()["data"], json!([]));
}

#[tokio::test]
async fn what_is_not_served_is_said() {
    let api = Api::new();
    for (method, path) in [
        (Method::GET, "/v1/videos"),
        (Method::GET, "/v1/videos/x"),
        (Method::DELETE, "/v1/videos/x"),
    ] {
        let got = api.method(method, path).await;
        assert_eq!(
            (got.status.as_u16(), got.json()["error"]["message"].as_str()),
            (404, Some("this server makes no clips; it said why when it began"))
        );
    }
    let only = server::App::new(
        Settings::default(),
        Arc::new(server::sessions::MemorySessions::default()),
    );
    let only = Api { router: only.router(), app: only, fake: Arc::default() };
    assert_eq!(only.get("/ready").await.status, 503);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    only.app.add_video(line(&Arc::default(), &store, MANY));
    assert_eq!(only.get("/ready").await.status, 200);
    let got = only.post("/v1/chat/completions", json!({"messages": user("Hi")})).await;
    assert_eq!(
        (got.status.as_u16(), got.json()["error"]["message"].as_str()),
        (404, Some("this server has no model for text, only `clips` for clips"))
    );
}

#[tokio::test]
async fn a_full_disk_fails_one_clip_and_keeps_no_part_of_it() {
    let api = Api::new();
    let full = Arc::new(Full::default());
    let store: Arc<dyn Store> = Arc::clone(&full) as _;
    api.app.add_video(line(&Arc::default(), &store, MANY));
    let id = ordered(&api, json!({"prompt": "a ring", "num_inference_steps": 200})).await;
    full.is_full.store(true, SeqCst);
    let got = api.post("/v1/videos", json!({"prompt": "a star"})).await;
    assert_eq!(
        (got.status.as_u16(), got.json()["error"]["message"].as_str()),
        (503, Some("there is no room to keep a clip"))
    );
    assert_eq!(ended(&api, &id).await["status"], "failed");
    assert_eq!(api.get(&format!("/v1/videos/{id}/content")).await.status, 404);
    full.is_full.store(false, SeqCst);
    let next = ordered(&api, json!({"prompt": "a star"})).await;
    assert_eq!(ended(&api, &next).await["status"], "completed");
    assert_eq!(api.get("/v1/videos").await.json()["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_could_not_be_deleted_can_be_deleted_again() {
    let api = Api::new();
    let disk = Arc::new(Full::default());
    api.app.add_video(line(&Arc::default(), &(Arc::clone(&disk) as _), MANY));
    let done = ordered(&api, json!({"prompt": "a ring"})).await;
    ended(&api, &done).await;
    let running = ordered(&api, json!({"prompt": "it never ends"})).await;
    once(&api, &running, &["in_progress"]).await;
    disk.is_broken.store(true, SeqCst);
    for id in [&done, &running] {
        let got = api.method(Method::DELETE, &format!("/v1/videos/{id}")).await;
        assert_eq!(got.status, 500, "{}", got.text);
        assert_eq!(api.get(&format!("/v1/videos/{id}")).await.status, 200);
    }
    disk.is_broken.store(false, SeqCst);
    for id in [&done, &running] {
        let got = api.method(Method::DELETE, &format!("/v1/videos/{id}")).await;
        assert_eq!(got.status, 200, "{}", got.text);
    }
    assert_eq!(api.get("/v1/videos").await.json()["data"], json!([]));
    assert!(disk.load().unwrap().is_empty());
}
