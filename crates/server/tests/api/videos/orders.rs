//! Orders, how far they are, and what comes of them.

use super::{Full, MANY, Scripted, clips, ended, form, line, once, ordered, with_clips};
use crate::fake::{Api, Got};
use crate::openapi::{check, validator};
use axum::http::Method;
use serde_json::{Value, json};
use server::Settings;
use server::video::{MemoryStore, Store};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

#[tokio::test]
async fn a_clip_is_ordered_made_and_fetched() {
    let api = clips();
    let got = api
        .post("/v1/videos", json!({"prompt": "a red circle", "model": "clips", "seed": 5}))
        .await;
    let document = server::document();
    check(&validator(&document, "/v1/videos", "post", "200", "application/json"), &got.json());
    let ordered = got.json();
    assert_eq!((&ordered["object"], &ordered["status"]), (&json!("video"), &json!("queued")));
    let id = ordered["id"].as_str().unwrap();
    let video = ended(&api, id).await;
    check(&validator(&document, "/v1/videos/{id}", "get", "200", "application/json"), &video);
    assert_eq!(video["status"], "completed");
    assert_eq!(video["progress"], 100);
    assert_eq!(video["size"], "64x64");
    assert_eq!(video["seconds"], "1.5");
    assert_eq!(video["settings"]["seed"], 5);
    assert_eq!(video["settings"]["num_inference_steps"], 4);
    assert_eq!(video["flagged_frames"], json!([3]));
    assert!(video["completed_at"].as_u64() >= video["created_at"].as_u64());
    for (variant, name, kind) in [
        ("", "video", "video/mp4"),
        ("?variant=video", "video", "video/mp4"),
        ("?variant=gif", "gif", "image/gif"),
        ("?variant=thumbnail", "thumbnail", "image/png"),
        ("?variant=timeline", "timeline", "image/svg+xml"),
    ] {
        let got = api.get(&format!("/v1/videos/{id}/content{variant}")).await;
        assert_eq!(got.text, format!("{name} of `a red circle` by 5 with [0, 0, 0]"));
        assert_eq!(got.header("content-type"), kind);
        assert_eq!(got.header("content-length"), got.text.len().to_string());
        assert!(got.header("content-security-policy").starts_with("default-src 'none'"));
    }
    assert_eq!(api.get(&format!("/v1/videos/{id}/content?variant=report")).await.json(), json!({}));
    let got = api.get(&format!("/v1/videos/{id}/content?variant=preview")).await;
    assert_eq!((got.status.as_u16(), &got.json()["error"]["code"]), (404, &json!("not_found")));
    let models = api.get("/v1/models").await.json();
    assert_eq!(
        models["data"][1],
        json!({"id": "clips", "object": "model", "created": 8, "owned_by": "fulgurite"})
    );
    assert_eq!(api.get("/v1/models/clips").await.status, 200);
}

#[tokio::test]
async fn forms_and_json_mean_the_same() {
    let api = clips();
    let field = |name: &str, value: &str| {
        format!("--XX\nContent-Disposition: form-data; name=\"{name}\"\n\n{value}\n")
    };
    let file = "--XX\nContent-Disposition: form-data; name=\"input_reference\"; filename=\"a.png\"\n\
                Content-Type: image/png\n\nPNG!!\n";
    let text = [
        field("prompt", "a ring"),
        field("seed", "7"),
        field("seconds", "2.5"),
        field("eta", "0.5"),
    ]
    .concat();
    let got = form(&api, &format!("{text}{file}--XX--\n")).await;
    assert_eq!(got.status, 200, "{}", got.text);
    let id = ordered(
        &api,
        json!({
            "prompt": "a ring", "seed": "7", "seconds": 2.5, "eta": 0.5,
            "input_reference": {"image_url": "data:image/png;base64,UE5HISE="},
        }),
    )
    .await;
    let mut first = ended(&api, got.json()["id"].as_str().unwrap()).await;
    let mut second = ended(&api, &id).await;
    let content = api.get(&format!("/v1/videos/{id}/content")).await.text;
    assert_eq!(content, "video of `a ring` by 7 with [5, 0, 0]");
    for video in [&mut first, &mut second] {
        for field in ["id", "created_at", "completed_at"] {
            video[field] = Value::Null;
        }
    }
    assert_eq!(first, second);
    let got = form(&api, "--XX\nContent-Disposition: form-data; name=\"prompt\"\n\nx\n").await;
    assert_eq!(
        (got.status.as_u16(), got.json()["error"]["message"].as_str()),
        (400, Some("the form is damaged: field \"prompt\" received with incomplete data"))
    );
}

#[tokio::test]
async fn clips_are_made_one_at_a_time_in_order() {
    let (api, maker) = with_clips(Settings::default(), MANY);
    let mut ids = Vec::new();
    for i in 0..5 {
        ids.push(ordered(&api, json!({"prompt": format!("clip {i}")})).await);
    }
    for id in &ids {
        ended(&api, id).await;
    }
    let begun = maker.begun.lock().unwrap().clone();
    assert_eq!(begun, ["clip 0", "clip 1", "clip 2", "clip 3", "clip 4"]);
    assert_eq!(maker.overlaps.load(SeqCst), 0);
    // In pages, the latest first.
    let names = |got: &Value| -> Vec<String> {
        got["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|video| video["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let page = api.get("/v1/videos?limit=2").await.json();
    check(&validator(&server::document(), "/v1/videos", "get", "200", "application/json"), &page);
    assert_eq!(
        (names(&page), &page["has_more"]),
        (vec![ids[4].clone(), ids[3].clone()], &json!(true))
    );
    let page = api.get(&format!("/v1/videos?limit=3&after={}", ids[3])).await.json();
    assert_eq!(
        (names(&page), &page["has_more"]),
        (vec![ids[2].clone(), ids[1].clone(), ids[0].clone()], &json!(false))
    );
    let page = api.get("/v1/videos?order=asc").await.json();
    assert_eq!(names(&page), ids);
    for query in ["limit=0", "limit=101", "limit=x", "order=up", "after=nothing"] {
        let got = api.get(&format!("/v1/videos?{query}")).await;
        assert_eq!(got.status, 400, "{query}: {}", got.text);
    }
}

#[tokio::test]
async fn progress_is_told_and_a_deleted_clip_ends_within_a_step() {
    let (api, maker) = with_clips(Settings::default(), MANY);
    let id = ordered(&api, json!({"prompt": "it never ends"})).await;
    let next = ordered(&api, json!({"prompt": "a star"})).await;
    once(&api, &id, &["in_progress"]).await;
    let video = loop {
        let video = api.get(&format!("/v1/videos/{id}")).await.json();
        if video["progress"] == 50 {
            break video;
        }
    };
    assert!(video["seconds_left"].as_f64().unwrap() >= 0.0);
    assert_eq!(video["preview"], true);
    let got = api.get(&format!("/v1/videos/{id}/content?variant=preview")).await;
    assert_eq!((&got.text[..], got.header("content-type")), ("GIF89a 2", "image/gif"));
    let got = api.get(&format!("/v1/videos/{id}/content")).await;
    assert_eq!(
        (got.status.as_u16(), got.json()["error"]["message"].as_str()),
        (404, Some("the clip is not completed yet"))
    );
    assert_eq!(api.get(&format!("/v1/videos/{next}")).await.json()["status"], "queued");
    let got = api.method(Method::DELETE, &format!("/v1/videos/{id}")).await;
    assert_eq!(got.json(), json!({"id": id, "object": "video.deleted", "deleted": true}));
    assert_eq!(ended(&api, &next).await["status"], "completed");
    for method in [Method::GET, Method::DELETE] {
        let got = api.method(method, &format!("/v1/videos/{id}")).await;
        assert_eq!(
            (got.status.as_u16(), got.json()["error"]["message"].as_str()),
            (404, Some(&format!("there is no clip `{id}`")[..]))
        );
    }
    assert_eq!(maker.begun.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn progress_does_not_fall() {
    let api = Api::new();
    let disk = Arc::new(Full { is_slow: true.into(), ..Full::default() });
    api.app.add_video(line(&Arc::default(), &(Arc::clone(&disk) as _), MANY));
    let id = ordered(&api, json!({"prompt": "a ring"})).await;
    let (mut last, mut status) = (0, Value::Null);
    while status != "completed" {
        let video = api.get(&format!("/v1/videos/{id}")).await.json();
        let progress = video["progress"].as_u64().unwrap();
        assert!(progress >= last, "from {last} to {progress}");
        assert!(last == 0 || video["status"] != "queued");
        (last, status) = (progress, video["status"].clone());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(last, 100);
}

#[tokio::test]
async fn jobs_survive_a_restart() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let maker = Arc::new(Scripted::default());
    let (before, after) = (Api::new(), Api::new());
    let queue = line(&maker, &store, MANY);
    before.app.add_video(Arc::clone(&queue));
    let done = ordered(&before, json!({"prompt": "a square"})).await;
    let content = format!("/v1/videos/{done}/content");
    ended(&before, &done).await;
    let made = before.get(&content).await.text;
    let running = ordered(&before, json!({"prompt": "it never ends", "seed": 9})).await;
    let waiting = ordered(&before, json!({"prompt": "a ring", "subject_reference": "UE5H"})).await;
    once(&before, &running, &["in_progress"]).await;
    queue.stop();
    // What is being made ends within a step.
    while maker.is_busy.load(SeqCst) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let got = before.post("/v1/videos", json!({"prompt": "late"})).await;
    assert_eq!(got.status, 503, "{}", got.text);

    after.app.add_video(line(&maker, &store, MANY));
    assert_eq!(after.get(&content).await.text, made);
    once(&after, &running, &["in_progress"]).await;
    assert_eq!(after.get(&format!("/v1/videos/{waiting}")).await.json()["status"], "queued");
    after.method(Method::DELETE, &format!("/v1/videos/{running}")).await;
    ended(&after, &waiting).await;
    let content = after.get(&format!("/v1/videos/{waiting}/content")).await.text;
    assert!(content.ends_with("with [0, 0, 3]"), "{content}");
    // Begun before and after, in the same order.
    let begun = maker.begun.lock().unwrap().clone();
    assert_eq!(begun, ["a square", "it never ends", "it never ends", "a ring"]);
}

#[tokio::test]
async fn minimax_clients_get_their_clips() {
    let api = clips();
    let document = server::document();
    let valid = |got: &Got, path: &str, method: &str, status: &str| {
        check(&validator(&document, path, method, status, "application/json"), &got.json());
    };
    let body = json!({
        "model": "S2V-01", "prompt": "a ring", "resolution": "768P",
        "subject_reference": [{"type": "character", "image": ["data:image/png;base64,UE5H"]}],
    });
    let got = api.post("/v1/video_generation", body).await;
    valid(&got, "/v1/video_generation", "post", "200");
    assert_eq!(got.header("x-fulgurite-ignored"), "resolution");
    assert_eq!(got.json()["base_resp"], json!({"status_code": 0, "status_msg": "success"}));
    let id = got.json()["task_id"].as_str().unwrap().to_owned();
    ended(&api, &id).await;
    let got = api.get(&format!("/v1/query/video_generation?task_id={id}")).await;
    valid(&got, "/v1/query/video_generation", "get", "200");
    let answer = got.json();
    assert_eq!((&answer["status"], &answer["video_width"]), (&json!("Success"), &json!(64)));
    let file = answer["file_id"].as_str().unwrap();
    let got = api.get(&format!("/v1/files/retrieve?file_id={file}")).await;
    valid(&got, "/v1/files/retrieve", "get", "200");
    let url = got.json()["file"]["download_url"].as_str().unwrap().to_owned();
    let content = api.get(url.strip_prefix("http://localhost").unwrap()).await.text;
    assert!(content.ends_with("with [0, 0, 3]"), "{content}");
    assert_eq!(got.json()["file"]["bytes"], content.len());
    for (body, code) in [
        (json!({"prompt": ""}), 2013),
        (json!({"prompt": "x", "duration": 0}), 2013),
        (json!({"prompt": "x", "callback_url": "http://a"}), 2013),
        (json!({"prompt": "x", "model": "other"}), 2013),
        (json!({"prompt": "x", "subject_reference": [{"image": "UE5H"}, {"image": "UE5H"}]}), 2013),
    ] {
        let got = api.post("/v1/video_generation", body).await;
        assert!(got.status.is_client_error());
        valid(&got, "/v1/video_generation", "post", got.status.as_str());
        assert_eq!(got.json()["base_resp"]["status_code"], code, "{}", got.text);
    }
    let failed = ordered(&api, json!({"prompt": "it fails"})).await;
    ended(&api, &failed).await;
    let answer = api.get(&format!("/v1/query/video_generation?task_id={failed}")).await.json();
    assert_eq!(
        (&answer["status"], &answer["base_resp"]["status_msg"]),
        (&json!("Fail"), &json!("step 1: no numbers"))
    );
    let got = api.get("/v1/query/video_generation").await;
    assert_eq!(
        got.json(),
        json!({"base_resp": {"status_code": 2013, "status_msg": "the query lacks `task_id`"}})
    );
}

#[tokio::test]
async fn numbers_are_kept_as_they_are_written() {
    let api = clips();
    for (seed, want) in [
        (json!(9_007_199_254_740_993_u64), 9_007_199_254_740_993_u64),
        (json!("9007199254740993"), 9_007_199_254_740_993),
        (json!(u64::MAX), u64::MAX),
        (json!("7"), 7),
        (json!(7.0), 7),
        (json!("7.0"), 7),
    ] {
        let got = api.post("/v1/videos", json!({"prompt": "x", "seed": seed})).await;
        assert_eq!(got.json()["settings"]["seed"], want, "{}", got.text);
    }
    for seed in [json!(1e16), json!(-1), json!(0.5), json!("1e16"), json!("one"), json!([1])] {
        let got = api.post("/v1/videos", json!({"prompt": "x", "seed": seed})).await;
        assert_eq!((got.status.as_u16(), &got.json()["error"]["param"]), (400, &json!("seed")));
    }
}

/// Those of reports, and what they were called here.
#[tokio::test]
async fn names_of_samplers_are_those_of_reports() {
    let api = clips();
    for (name, want) in
        [("euler", "euler"), ("dpm", "dpm"), ("sde-dpm", "sde-dpm"), ("dpm_sde", "sde-dpm")]
    {
        let got = api.post("/v1/videos", json!({"prompt": "x", "sampler": name})).await;
        assert_eq!(got.json()["settings"]["sampler"], want, "{}", got.text);
    }
}
