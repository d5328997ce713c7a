//! Clips over HTTP, of a model that does what its prompt says.

mod failures;
mod limits;
mod orders;

use crate::fake::{Api, Got, Says};
use axum::body::Body;
use axum::http::Request;
use serde_json::Value;
use server::Settings;
use server::video::{
    Consistency, Content, Facts, Failed, Fill, Job, Keep, Limits, Maker, MemoryStore, Order, Part,
    Pictures, Progress, Queue, Refused, State, Store, Watch,
};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
