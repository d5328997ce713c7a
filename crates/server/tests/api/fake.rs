//! An engine that says what it is told to, and an application over it.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use engine::{Draft, FinishReason, Flow, Refused, Stats, TokenLogprobs};
use http_body_util::BodyExt as _;
use serde_json::Value;
use server::backend::{Ask, Backend, Event, Point, Sink};
use server::senses::{Budget, Placeholders, Seen, Sense, Senses};
use server::sessions::MemorySessions;
use server::{App, Client, Defaults, Form, Served, Settings};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use text::{CallFormat, ChatTemplate, Marks, Specials, Tokenizer, Vocabulary};
use tower::ServiceExt as _;

/// Ids from 256 on.
const SPECIALS: [&str; 7] =
    ["<|end|>", "<think>", "</think>", "<tool_calls>", "</tool_calls>", "<s>", "</s>"];
pub(crate) const CONTEXT: usize = 4096;

const TEMPLATE: &str = "{% for t in tools or [] %}<s>tool:{{ t.function.name }}</s>{% endfor %}\
    {% for m in messages %}<s>{{ m.role }}:{{ m.content }}\
    {% for c in m.tool_calls or [] %}[{{ c.function.name }}]{% endfor %}</s>{% endfor %}\
    {% if add_generation_prompt %}<s>assistant:{% endif %}";

pub(crate) fn tokenizer() -> Tokenizer {
    Tokenizer::bytes(SPECIALS)
}

/// What the engine says to a prompt: some text, ended by the model unless it is cut.
#[derive(Clone, Debug)]
pub(crate) struct Says {
    pub(crate) text: String,
    /// Before the first token.
    pub(crate) reads_for: Duration,
    /// Before each token.
    pub(crate) token_time: Duration,
    /// Fails after so many tokens.
    pub(crate) fails_after: Option<usize>,
    /// Goes on for ever.
    pub(crate) endless: bool,
    /// Requests beyond so many are refused.
    pub(crate) room: usize,
    /// Bytes that there are, one for each token; all unless set.
    pub(crate) memory: Option<u64>,
}

impl Default for Says {
    fn default() -> Self {
        Self {
            text: "Hello, wörld 🦀!".to_owned(),
            reads_for: Duration::ZERO,
            token_time: Duration::ZERO,
            fails_after: None,
            endless: false,
            room: 10_000,
            memory: None,
        }
    }
}

/// The engine.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) says: Mutex<Says>,
    /// Prompts as text.
    pub(crate) prompts: Mutex<Vec<String>>,
    /// Prompts in tokens, with the point that they were to go on from.
    pub(crate) asked: Mutex<Vec<(Vec<u32>, Option<usize>)>>,
    /// Who asked.
    pub(crate) clients: Mutex<Vec<u64>>,
    /// What was asked last.
    pub(crate) last: Mutex<String>,
    pub(crate) active: Arc<AtomicUsize>,
    pub(crate) cancelled: Arc<Mutex<BTreeSet<u64>>>,
    pub(crate) written: Arc<AtomicUsize>,
    next: AtomicUsize,
}

impl Backend for Fake {
    fn submit(&self, ask: Ask, sink: Sink) -> Result<u64, Refused> {
        let says = self.says.lock().unwrap().clone();
        let (prompt, answer) = (ask.input_ids.len(), ask.max_tokens);
        if prompt + answer > CONTEXT {
            return Err(Refused::TooLong { prompt, answer, context: CONTEXT });
        }
        let needed = (prompt + answer * ask.n) as u64;
        if let Some(memory) = says.memory.filter(|memory| needed > *memory) {
            let (n, state, kv, fork) = (ask.n, 0, (prompt + answer) as u64, answer as u64);
            return Err(Refused::TooLarge { prompt, n, answer, needed, state, kv, fork, memory });
        }
        if self.active.load(SeqCst) >= says.room {
            return Err(Refused::Full { waiting: says.room });
        }
        self.prompts.lock().unwrap().push(tokenizer().decode(&ask.input_ids));
        self.clients.lock().unwrap().push(ask.client.0);
        let from = ask.from.as_ref().map(|point| point.tokens.len());
        self.asked.lock().unwrap().push((ask.input_ids.to_vec(), from));
        *self.last.lock().unwrap() = format!(
            "{:?} seed {} n {} max {} stop {:?} logprobs {:?} {:?} marks {:?}",
            ask.sampling,
            ask.seed,
            ask.n,
            ask.max_tokens,
            ask.stop_ids,
            ask.logprobs,
            ask.prompt_logprobs,
            ask.marks
        );
        let id = self.next.fetch_add(1, SeqCst) as u64;
        let run = Run {
            id,
            says,
            ask,
            sink,
            cancelled: Arc::clone(&self.cancelled),
            written: Arc::clone(&self.written),
        };
        self.active.fetch_add(1, SeqCst);
        let active = Arc::clone(&self.active);
        std::thread::spawn(move || {
            run.run();
            active.fetch_sub(1, SeqCst);
        });
        Ok(id)
    }

    fn cancel(&self, id: u64) {
        self.cancelled.lock().unwrap().insert(id);
    }

    fn points(&self, _: Client, _: &Arc<[u32]>) -> Vec<Point> {
        Vec::new()
    }

    fn stats(&self) -> Stats {
        Stats { running: self.active.load(SeqCst), ..Stats::default() }
    }

    fn is_healthy(&self) -> bool {
        true
    }

    fn stop(&self) {
        let next = self.next.load(SeqCst) as u64;
        self.cancelled.lock().unwrap().extend(0..next);
    }
}

struct Run {
    id: u64,
    says: Says,
    ask: Ask,
    sink: Sink,
    cancelled: Arc<Mutex<BTreeSet<u64>>>,
    written: Arc<AtomicUsize>,
}

impl Run {
    fn gone(&self) -> bool {
        self.cancelled.lock().unwrap().contains(&self.id)
    }

    /// Waits; whether somebody still wants the answer.
    fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.gone() {
            std::thread::sleep(Duration::from_millis(2).min(time));
        }
        !self.gone()
    }

    fn run(mut self) {
        let cached_tokens = self.ask.from.as_ref().map_or(0, |from| {
            let same = from.tokens.iter().zip(&self.ask.input_ids[..]);
            same.take_while(|(a, b)| a == b).count()
        });
        let miss =
            if cached_tokens > 0 { format!("end at {cached_tokens}") } else { "cold".into() };
        if !self.wait(Duration::ZERO) {
            return self.give_up(0, Vec::new());
        }
        if (self.sink)(Event::Started { cached_tokens, miss }) == Flow::Stop {
            return;
        }
        if !self.wait(self.says.reads_for) {
            return self.give_up(0, Vec::new());
        }
        // In two steps, as long prompts are.
        let tokens = self.ask.input_ids.len();
        for tokens in [cached_tokens.midpoint(tokens), tokens] {
            if (self.sink)(Event::Read { tokens }) == Flow::Stop {
                return;
            }
        }
        if self.ask.embed {
            let reason = match self.says.fails_after {
                Some(0) => FinishReason::Failed("the model fell over".to_owned()),
                _ => {
                    let values = vec![tokens as f32, 0.0, -1.0];
                    _ = (self.sink)(Event::Embedding(values));
                    FinishReason::Length
                }
            };
            _ = (self.sink)(Event::Finished { choice: 0, reason });
            return self.end(Vec::new());
        }
        if let Some(top) = self.ask.prompt_logprobs {
            let ids = self.ask.input_ids.clone();
            let told = ids[1..].iter().map(|&id| told(id, top)).collect();
            if (self.sink)(Event::Prompt(told)) == Flow::Stop {
                return;
            }
        }
        let mut points = Vec::new();
        for choice in 0..self.ask.n {
            let mut mask = self.ask.mask.as_ref().map(|mask| mask.fork());
            let text = tokenizer().encode(&self.says.text, Specials::Parse).unwrap();
            let end = self.ask.stop_ids[0];
            let text = text.into_iter().chain([end]);
            let mut ids: Box<dyn Iterator<Item = u32>> = match self.says.endless {
                true => Box::new(std::iter::repeat(u32::from(b'x'))),
                false => Box::new(text),
            };
            let mut read = self.ask.input_ids.to_vec();
            let mut written = 0;
            let reason = loop {
                if written == self.ask.max_tokens {
                    break FinishReason::Length;
                }
                if self.says.fails_after == Some(written) {
                    break FinishReason::Failed("the model fell over".to_owned());
                }
                if !self.wait(self.says.token_time) {
                    points.push(point(&read));
                    return self.give_up(choice, points);
                }
                // The wanted token, or else the last one that is allowed: the first are white space,
                // of which there is no end.
                let wanted = ids.next().unwrap_or(end);
                let id = match &mut mask {
                    None => wanted,
                    Some(mask) if mask.is_complete() => end,
                    Some(mask) => {
                        let mut logits = vec![0.0; 256 + SPECIALS.len()];
                        logits[wanted as usize] = 1.0;
                        mask.mask(&mut logits).unwrap();
                        let best =
                            (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
                        best.unwrap() as u32
                    }
                };
                if self.ask.stop_ids.contains(&id) {
                    break FinishReason::Stop;
                }
                if let Some(mask) = &mut mask {
                    mask.push(id).unwrap();
                }
                read.push(id);
                written += 1;
                self.written.fetch_add(1, SeqCst);
                let logprobs = self.ask.logprobs.map(|top| told(id, top));
                if (self.sink)(Event::Token { choice, id, logprobs }) == Flow::Stop {
                    return;
                }
            };
            if (self.sink)(Event::Finished { choice, reason }) == Flow::Stop && !self.ask.keep {
                return;
            }
            points.push(point(&read));
        }
        self.end(points);
    }

    /// Ends before the end, as the engine does.
    fn give_up(mut self, choice: usize, points: Vec<Point>) {
        for choice in choice..self.ask.n {
            let reason = FinishReason::Cancelled;
            if (self.sink)(Event::Finished { choice, reason }) == Flow::Stop {
                return;
            }
        }
        self.end(points);
    }

    fn end(mut self, points: Vec<Point>) {
        let points = if self.ask.keep { points } else { Vec::new() };
        _ = (self.sink)(Event::Done { drafted: [0, 0], points });
    }
}

fn point(read: &[u32]) -> Point {
    Point { tokens: read.into(), memory: Arc::new(()) }
}

/// Probabilities that tests can foresee.
fn told(id: u32, top: usize) -> TokenLogprobs {
    let alternatives = (0..top as u32).map(|i| (b'a' as u32 + i, -1.0 - i as f32)).collect();
    TokenLogprobs { id, logprob: -0.5, top: alternatives }
}

/// A server with one model, `fake`.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) app: Arc<App>,
    pub(crate) router: Router,
    pub(crate) fake: Arc<Fake>,
}

/// What a request got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The data of an event stream, `[DONE]` left out.
    pub(crate) fn events(&self) -> Vec<Value> {
        let lines = self.text.lines().filter_map(|line| line.strip_prefix("data: "));
        let lines = lines.filter(|line| *line != "[DONE]");
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Each byte of a picture is a row that is like it; its digest is their sum.
#[derive(Debug)]
struct FakeSenses;

impl Senses for FakeSenses {
    fn perceive(&self, sense: Sense, bytes: Vec<u8>) -> Result<Seen, String> {
        if bytes.is_empty() {
            return Err("the file is empty".to_owned());
        }
        let digest = bytes.iter().map(|&byte| u128::from(byte)).sum();
        let transcript = bytes.iter().copied().map(u32::from).collect();
        Ok(Seen { sense, digest, rows: bytes.len(), transcript, content: None })
    }

    fn recall(&self, _: u128) -> Option<engine::ContentRows> {
        None
    }

    fn placeholders(&self) -> Placeholders {
        Placeholders::default()
    }

    fn has(&self, _: Sense) -> bool {
        true
    }
}

pub(crate) fn template() -> ChatTemplate {
    ChatTemplate::from_jinja(TEMPLATE.as_bytes(), Path::new("x.jinja"), [].into()).unwrap()
}

impl Api {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default(), Says::default())
    }

    pub(crate) fn says(text: &str) -> Self {
        Self::with(Settings::default(), Says { text: text.to_owned(), ..Says::default() })
    }

    pub(crate) fn with(settings: Settings, says: Says) -> Self {
        Self::of(settings, says, Form::Chat(Box::new(template())), tokenizer())
    }

    /// A model that looks things up.
    pub(crate) fn lookup(says: &str) -> Self {
        let tokenizer = Tokenizer::bytes(text::lookup::MARKS);
        let form = Form::of(&tokenizer, None);
        let says = Says { text: says.to_owned(), ..Says::default() };
        Self::of(Settings::default(), says, form, tokenizer)
    }

    /// One that sees and hears as well.
    pub(crate) fn sensing(says: &str) -> Self {
        let tokenizer = Tokenizer::bytes(text::lookup::MARKS);
        let form = Form::of(&tokenizer, None);
        let says = Says { text: says.to_owned(), ..Says::default() };
        Self::made(Settings::default(), says, form, tokenizer, Some(Arc::new(FakeSenses)))
    }

    fn of(settings: Settings, says: Says, form: Form, tokenizer: Tokenizer) -> Self {
        Self::made(settings, says, form, tokenizer, None)
    }

    fn made(
        settings: Settings,
        says: Says,
        form: Form,
        tokenizer: Tokenizer,
        senses: Option<Arc<dyn Senses>>,
    ) -> Self {
        let app = App::new(settings, Arc::new(MemorySessions::default()));
        let fake = Arc::new(Fake { says: Mutex::new(says), ..Fake::default() });
        let end = tokenizer.special_id("<|end|>").unwrap();
        let lookup = matches!(form, Form::Lookup { .. });
        app.add(Served {
            senses,
            rows: Budget::new(1 << 20),
            name: "fake".to_owned(),
            vocabulary: (!lookup).then(|| Vocabulary::new(&tokenizer, &[end]).unwrap()),
            vocab_size: tokenizer.vocab_size(),
            tokenizer,
            form,
            backend: Arc::clone(&fake) as Arc<dyn Backend>,
            context: CONTEXT,
            end_ids: vec![end],
            calls: (!lookup).then_some(CallFormat::Tags),
            thinking: (!lookup).then(Marks::think),
            defaults: Defaults::GREEDY,
            draft: Draft::Off,
            fingerprint: "fp_test".to_owned(),
            created: 7,
        });
        Self { router: app.router(), app, fake }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Got {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Got { status, headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Got {
        self.post_text(path, &body.to_string()).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: &str) -> Got {
        let request = Request::post(path).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        self.method(Method::GET, path).await
    }

    pub(crate) async fn method(&self, method: Method, path: &str) -> Got {
        self.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
    }

    /// Waits until nothing is being answered.
    pub(crate) async fn idle(&self) {
        for _ in 0..10_000 {
            if self.fake.active.load(SeqCst) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{} requests go on", self.fake.active.load(SeqCst));
    }
}

/// `text` with what differs each time made equal: ids and times.
pub(crate) fn plain(text: &str) -> String {
    let mut out = text.to_owned();
    for prefix in ["chatcmpl_", "cmpl_", "resp_", "msg_", "req_", "call_", "rs_", "fc_"] {
        out = each(&out, prefix, |rest| rest.find(|c: char| !c.is_ascii_hexdigit()), "ID");
    }
    for field in ["\"created\":", "\"created_at\":", "\"completed_at\":", "\"updated\":"] {
        out = each(&out, field, |rest| rest.find(|c: char| !c.is_ascii_digit()), "0");
    }
    out
}

fn each(text: &str, prefix: &str, end: impl Fn(&str) -> Option<usize>, instead: &str) -> String {
    let mut parts = text.split(prefix);
    let mut out = parts.next().unwrap_or("").to_owned();
    for rest in parts {
        let end = end(rest).unwrap_or(rest.len());
        out += prefix;
        out += if end == 0 { "" } else { instead };
        out += &rest[end..];
    }
    out
}

pub(crate) fn user(text: &str) -> Value {
    serde_json::json!([{"role": "user", "content": text}])
}
