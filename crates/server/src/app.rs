//! What all requests share: settings, models, sessions, and the router over them.

use crate::auth::Keys;
use crate::backend::Backend;
use crate::error::{Error, Kind};
use crate::form::Form;
use crate::guard::guard;
use crate::metrics::Metrics;
use crate::routes;
use crate::senses::{Budget, Senses};
use crate::sessions::Sessions;
use crate::stored::Stored;
use crate::video::Queue;
use axum::Router;
use axum::http::{HeaderName, HeaderValue};
use engine::Draft;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use text::{CallFormat, Marks, Tokenizer, Vocabulary};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who is let in.
    pub keys: Keys,
    /// Whether the header `host` must name this machine: on a loopback address, against pages whose
    /// name was made to point here.
    pub check_host: bool,
    /// Origins whose pages may ask, or `*`; none by default.
    pub cors: Vec<String>,
    /// Most bytes of a body.
    pub max_body_bytes: usize,
    /// Most bytes of a session that is imported.
    pub max_import_bytes: usize,
    /// Most connections at a time.
    pub max_connections: usize,
    /// How long a client may take for the headers of a request.
    pub header_timeout: Duration,
    /// How long a client may read nothing of what is sent.
    pub write_timeout: Duration,
    /// Most bytes of an answer that wait for a client that reads slowly.
    pub max_unread_bytes: usize,
    /// Time between signs of life in a stream that has nothing to say.
    pub ping: Duration,
    /// How long answers may go on once the server is to stop.
    pub grace: Duration,
    /// Most tokens of an answer whose request does not say.
    pub default_max_tokens: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys: Keys::default(),
            check_host: false,
            cors: Vec::new(),
            max_body_bytes: 32 << 20,
            max_import_bytes: 4 << 30,
            max_connections: 4096,
            header_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
            max_unread_bytes: 1 << 20,
            ping: Duration::from_secs(10),
            grace: Duration::from_secs(30),
            default_max_tokens: 4096,
        }
    }
}

/// How a model answers where a request does not say.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// 0 takes the likeliest token.
    pub temperature: f32,
    /// 0: all.
    pub top_k: usize,
    /// 1: all.
    pub top_p: f32,
    /// 1: none.
    pub repetition_penalty: f32,
}

impl Defaults {
    /// Always the likeliest token.
    pub const GREEDY: Self =
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.0 };
    /// As likely as the model says.
    pub const PLAIN: Self = Self { temperature: 1.0, ..Self::GREEDY };
}

/// A model that is served.
#[derive(Debug)]
pub struct Served {
    /// What requests call it.
    pub name: String,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// What the model reads.
    pub form: Form,
    /// What answers.
    pub backend: Arc<dyn Backend>,
    /// What sees and hears, if it can.
    pub senses: Option<Arc<dyn Senses>>,
    /// Memory for what it makes of pictures and sounds.
    pub rows: Arc<Budget>,
    /// Tokens of prompt and answer.
    pub context: usize,
    /// Number of ids that can be written.
    pub vocab_size: usize,
    /// Tokens that end an answer.
    pub end_ids: Vec<u32>,
    /// The tokens ready for grammars, if the model can be held to one.
    pub vocabulary: Option<Vocabulary>,
    /// How the model writes calls of functions, if it can.
    pub calls: Option<CallFormat>,
    /// What encloses what the model thinks, if it does.
    pub thinking: Option<Marks>,
    /// How it answers where a request does not say.
    pub defaults: Defaults,
    /// Whether tokens are guessed ahead; answers are the same.
    pub draft: Draft,
    /// Program and weights in a word.
    pub fingerprint: String,
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
}

/// Where the server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Loading,
    Ready,
    Draining,
    Failing,
}

/// All of it.
#[derive(Debug)]
pub struct App {
    /// How the server behaves.
    pub settings: Settings,
    pub(crate) models: RwLock<Vec<Model>>,
    /// The line of clips, if there is a model that makes them.
    video: RwLock<Option<Arc<Queue>>>,
    pub(crate) sessions: Arc<dyn Sessions>,
    /// Responses that can be gone on from.
    pub(crate) stored: Stored,
    pub(crate) ids: Ids,
    draining: AtomicBool,
}

/// A model with what is counted for it.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) served: Arc<Served>,
    pub(crate) metrics: Arc<Metrics>,
}

impl App {
    /// A server without models, which says that it loads.
    pub fn new(settings: Settings, sessions: Arc<dyn Sessions>) -> Arc<Self> {
        Arc::new(Self {
            settings,
            models: RwLock::default(),
            video: RwLock::default(),
            sessions,
            stored: Stored::default(),
            ids: Ids::new(),
            draining: AtomicBool::new(false),
        })
    }

    /// Serves one more model.
    pub fn add(&self, served: Served) {
        let model = Model { served: Arc::new(served), metrics: Arc::default() };
        self.models.write().unwrap_or_else(PoisonError::into_inner).push(model);
    }

    /// Makes clips too.
    pub fn add_video(&self, queue: Arc<Queue>) {
        *self.video.write().unwrap_or_else(PoisonError::into_inner) = Some(queue);
    }

    /// Takes no more work; what was taken goes on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Ends all work.
    pub fn stop(&self) {
        self.drain();
        self.models().iter().for_each(|model| model.served.backend.stop());
        self.queue().iter().for_each(|queue| queue.stop());
    }

    pub(crate) fn models(&self) -> Vec<Model> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn queue(&self) -> Option<Arc<Queue>> {
        self.video.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn phase(&self) -> Phase {
        let models = self.models();
        if self.draining.load(Ordering::Relaxed) {
            Phase::Draining
        } else if models.is_empty() && self.queue().is_none() {
            Phase::Loading
        } else if models.iter().all(|model| model.served.backend.is_healthy()) {
            Phase::Ready
        } else {
            Phase::Failing
        }
    }

    /// The model that a request names, or the only one.
    ///
    /// # Errors
    ///
    /// If there is no such model, or not at this time.
    pub(crate) fn model(&self, name: Option<&str>) -> Result<Model, Error> {
        self.check_ready()?;
        let models = self.models();
        let found = match name {
            Some(name) => models.iter().find(|model| model.served.name == name),
            None => models.first(),
        };
        found.cloned().ok_or_else(|| match (models.first(), self.queue()) {
            (None, Some(queue)) => {
                let name = queue.maker().name();
                let message = format!("this server has no model for text, only `{name}` for clips");
                Error::new(Kind::ModelNotFound, message)
            }
            _ => no_model(name, models.iter().map(|model| &model.served.name[..])),
        })
    }

    /// The line of clips, if a request names its model or none.
    ///
    /// # Errors
    ///
    /// If there is no such model, or not at this time.
    pub(crate) fn video(&self, name: Option<&str>) -> Result<Arc<Queue>, Error> {
        self.check_ready()?;
        let queue = self.queue().ok_or_else(|| {
            let message = "this server makes no clips; it said why when it began";
            Error::new(Kind::ModelNotFound, message)
        })?;
        match name {
            Some(name) if name != queue.maker().name() => {
                Err(no_model(Some(name), [queue.maker().name()].into_iter()))
            }
            _ => Ok(queue),
        }
    }

    /// Whether anything is answered at this time.
    fn check_ready(&self) -> Result<(), Error> {
        let (message, seconds) = match self.phase() {
            Phase::Loading => ("the model is being loaded", 5),
            Phase::Draining => ("the server is about to stop", 30),
            Phase::Failing => ("the engine fails", 30),
            Phase::Ready => return Ok(()),
        };
        Err(Error::new(Kind::Unavailable, message).retry_after(Duration::from_secs(seconds)))
    }

    /// All routes, with everything around them; for [`serve`](crate::serve), and for tests.
    pub fn router(self: &Arc<Self>) -> Router {
        let guard = axum::middleware::from_fn_with_state(Arc::clone(self), guard);
        let panics = CatchPanicLayer::custom(panicked);
        let router = routes::all().layer(panics).layer(guard).with_state(Arc::clone(self));
        match cors(&self.settings.cors) {
            Some(cors) => router.layer(cors),
            None => router,
        }
    }
}

fn no_model<'a>(name: Option<&str>, served: impl Iterator<Item = &'a str>) -> Error {
    let names: Vec<_> = served.map(|name| format!("`{name}`")).collect();
    let name: String = name.unwrap_or("").chars().take(200).collect();
    let message = format!("there is no model `{name}`, expected {}", names.join(" or "));
    Error { param: Some("model".to_owned()), ..Error::new(Kind::ModelNotFound, message) }
}

/// A fault in a handler ends its request only.
fn panicked(panic: Box<dyn std::any::Any + Send>) -> axum::response::Response {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    axum::response::IntoResponse::into_response(Error::internal(said))
}

fn cors(origins: &[String]) -> Option<CorsLayer> {
    let allowed = match origins {
        [] => return None,
        [any] if any == "*" => AllowOrigin::any(),
        list => AllowOrigin::list(list.iter().filter_map(|o| HeaderValue::from_str(o).ok())),
    };
    let shown = ["x-request-id", "x-fulgurite-cache", "x-fulgurite-ignored", "retry-after"];
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods(tower_http::cors::Any)
        .allow_headers(tower_http::cors::Any)
        .expose_headers(shown.map(HeaderName::from_static))
        .max_age(Duration::from_secs(600));
    Some(layer)
}

/// Makes ids that do not occur twice, also after a restart.
#[derive(Debug)]
pub(crate) struct Ids {
    start: u64,
    next: AtomicU64,
}

impl Ids {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start =
            u64::try_from(now.as_nanos()).unwrap_or(u64::MAX) ^ u64::from(std::process::id());
        Self { start, next: AtomicU64::new(0) }
    }

    /// The next id, `prefix` in front.
    pub(crate) fn next(&self, prefix: &str) -> Arc<str> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        // SplitMix64: neighbours look nothing like each other, and none is the same.
        let mut z = self.start.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        format!("{prefix}_{:016x}{n:08x}", z ^ (z >> 31)).into()
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
