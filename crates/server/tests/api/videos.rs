//! Clips over HTTP, of a model that does what its prompt says.

use crate::fake::{Api, Got, Says, user};
use crate::openapi::{check, validator};
use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use server::video::{
    Consistency, Content, Facts, Failed, Fill, Job, Keep, Limits, Maker, MemoryStore, Order, Part,
    Pictures, Progress, Queue, Refused, State, Store, Watch,
};
use server::{Keys, Settings};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::ServiceExt as _;

/// A model whose clips are texts.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    /// Prompts in the order in which they were begun.
    begun: Mutex<Vec<String>>,
    /// Whether one is being made.
    is_busy: AtomicBool,
    /// How often two were made at once.
    overlaps: AtomicUsize,
}

impl Maker for Scripted {
    fn name(&self) -> &str {
        "clips"
    }

    fn created(&self) -> u64 {
        8
    }

    fn check(&self, order: Order, pictures: &Pictures) -> Result<Order, Refused> {
        let refused = |field: &str, message: &str| {
            Err(Refused::Field { field: field.to_owned(), message: message.to_owned() })
        };
        if order.prompt.contains("crowd") {
            // Long enough for others to come in between.
            std::thread::sleep(Duration::from_millis(5));
        }
        if order.prompt.contains("universe") {
            let message = "the clip needs 9 GB, and 1 GB is free".to_owned();
            return Err(Refused::Memory { message });
        }
        if order.prompt.contains("xylophone") {
            return refused(
                "prompt",
                "`prompt` has the word `xylophone`, which the model does not know",
            );
        }
        if pictures.first.as_ref().is_some_and(|bytes| !bytes.starts_with(b"PNG")) {
            return refused("input_reference", "the file is no picture");
        }
        Ok(Order {
            size: order.size.or(Some((64, 64))),
            frames: order.frames.or(Some(9)),
            steps: order.steps.or(Some(4)),
            eta: order.eta.or(Some(0.0)),
            consistency: order.consistency.or(Some(Consistency::Report)),
            ..order
        })
    }

    fn make(
        &self,
        order: &Order,
        pictures: &Pictures,
        watch: &mut Watch<'_>,
        keep: &mut Keep<'_>,
    ) -> Result<Facts, Failed> {
        let words = &order.prompt;
        self.begun.lock().unwrap().push(words.clone());
        if self.is_busy.swap(true, SeqCst) {
            self.overlaps.fetch_add(1, SeqCst);
        }
        let result = self.steps(order, watch);
        self.is_busy.store(false, SeqCst);
        result?;
        let (width, height) = order.size.unwrap();
        let sent = |picture: &Option<Vec<u8>>| picture.as_ref().map_or(0, Vec::len);
        let sent = [sent(&pictures.first), sent(&pictures.last), sent(&pictures.subject)];
        let text = |name: &str| {
            format!("{name} of `{words}` by {} with {sent:?}", order.seed).into_bytes()
        };
        let mut keep = |part, bytes: &[u8]| keep(part, &mut |out| out.write_all(bytes));
        let bytes = keep(Part::Video, &text("video"))?;
        keep(Part::Gif, &text("gif"))?;
        keep(Part::Thumbnail, &text("thumbnail"))?;
        if order.consistency != Some(Consistency::Off) {
            keep(Part::Timeline, &text("timeline"))?;
            keep(Part::Report, b"{}")?;
        }
        let frames = order.frames.unwrap();
        let (rate, flagged, repaired) = (6.0, vec![3], vec![]);
        Ok(Facts { width, height, frames, rate, bytes, flagged, repaired })
    }
}

impl Scripted {
    fn steps(&self, order: &Order, watch: &mut Watch<'_>) -> Result<(), Failed> {
        let steps = order.steps.unwrap();
        let mut step = 1;
        while step <= steps {
            std::thread::sleep(Duration::from_millis(1));
            let preview = Some(format!("GIF89a {step}").into_bytes());
            if watch(Progress { step, steps, preview }).is_break() {
                return Err(Failed::Ended);
            }
            match &order.prompt[..] {
                "it fails" => return Err(Failed::Because("step 1: no numbers".to_owned())),
                "it panics" => panic!("as it was told"),
                "it never ends" if step == 2 => {}
                _ => step += 1,
            }
        }
        Ok(())
    }
}

const MANY: Limits =
    Limits { waiting: 10_000, waiting_of_client: 10_000, work_of_client: u64::MAX, kept: 10_000 };

pub(crate) fn line(maker: &Arc<Scripted>, store: &Arc<dyn Store>, limits: Limits) -> Arc<Queue> {
    Queue::start(Arc::clone(maker) as _, Arc::clone(store), limits).unwrap()
}

/// A server that makes clips too.
pub(crate) fn with_clips(settings: Settings, limits: Limits) -> (Api, Arc<Scripted>) {
    let api = Api::with(settings, Says::default());
    let maker = Arc::new(Scripted::default());
    api.app.add_video(line(&maker, &(Arc::new(MemoryStore::default()) as _), limits));
    (api, maker)
}

pub(crate) fn clips() -> Api {
    with_clips(Settings::default(), MANY).0
}

async fn ordered(api: &Api, body: Value) -> String {
    let got = api.post("/v1/videos", body).await;
    assert_eq!(got.status, 200, "{}", got.text);
    got.json()["id"].as_str().unwrap().to_owned()
}

/// The clip once it is in one of these states.
async fn once(api: &Api, id: &str, states: &[&str]) -> Value {
    for _ in 0..5_000 {
        let video = api.get(&format!("/v1/videos/{id}")).await.json();
        if states.contains(&video["status"].as_str().unwrap()) {
            return video;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{id} does not get {states:?}");
}

async fn ended(api: &Api, id: &str) -> Value {
    once(api, id, &["completed", "failed"]).await
}

async fn form(api: &Api, parts: &str) -> Got {
    let request =
        Request::post("/v1/videos").header("content-type", "multipart/form-data; boundary=XX");
    api.send(request.body(Body::from(parts.replace('\n', "\r\n"))).unwrap()).await
}

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

/// A disk that gets full, breaks, or takes its time over a result.
#[derive(Debug, Default)]
struct Full {
    inner: MemoryStore,
    is_full: AtomicBool,
    is_broken: AtomicBool,
    is_slow: AtomicBool,
}

impl Full {
    fn check(&self) -> io::Result<()> {
        match self.is_full.load(SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl Store for Full {
    fn load(&self) -> io::Result<Vec<Job>> {
        self.inner.load()
    }

    fn save(&self, job: &Job) -> io::Result<()> {
        // A word of failure has room.
        if !matches!(job.state, State::Failed { .. }) {
            self.check()?;
        }
        if self.is_slow.load(SeqCst) && !matches!(job.state, State::Queued) {
            std::thread::sleep(Duration::from_millis(100));
        }
        self.inner.save(job)
    }

    fn put(&self, id: &str, part: Part, fill: &mut Fill<'_>) -> io::Result<u64> {
        self.check()?;
        self.inner.put(id, part, fill)
    }

    fn open(&self, id: &str, part: Part) -> io::Result<Option<Content>> {
        self.inner.open(id, part)
    }

    fn delete(&self, id: &str) -> io::Result<()> {
        match self.is_broken.load(SeqCst) {
            true => Err(io::ErrorKind::Other.into()),
            false => self.inner.delete(id),
        }
    }
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
