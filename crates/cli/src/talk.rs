//! A conversation with a model of this process: what `chat` and sessions of `run` have in common.

use crate::model::Weights;
use crate::senses::Parts;
use crate::served::{Options, Plan};
use crate::sessions::FileSessions;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use server::senses::Sense;
use server::{App, Settings, direct};
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tensor::Device;

/// A reading that is over sooner needs no bar.
const BAR_AFTER: Duration = Duration::from_secs(2);

/// A model with the user's sessions.
#[derive(Debug)]
pub(crate) struct Talk {
    app: Arc<App>,
    pub(crate) sessions: Arc<FileSessions>,
    /// Set by whoever wants an answer to end.
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) facts: Facts,
}

/// What is known of a model before it is loaded.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) name: String,
    pub(crate) config: models::Config,
    /// The most bytes of files worth reading.
    pub(crate) most_bytes: u64,
    pub(crate) kv: tensor::KvType,
    /// What sees and hears.
    pub(crate) senses: Arc<Parts>,
}

/// What came of a question.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) text: String,
    pub(crate) prompt_tokens: usize,
    pub(crate) cached_tokens: usize,
    pub(crate) completion_tokens: usize,
    /// Why not more of the prompt was known.
    pub(crate) miss: Option<String>,
    /// Seconds to the first token, and from there to the end.
    pub(crate) seconds: [f64; 2],
}

/// One question with files before it, and how it is to be answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    pub(crate) text: String,
    /// Names and bytes.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// Pictures and sounds.
    pub(crate) shown: Vec<(Sense, Vec<u8>)>,
    /// Fields of the request beside its messages.
    pub(crate) fields: serde_json::Map<String, Value>,
}

impl Talk {
    /// Loads the model that the options mean, and meanwhile the session that is gone on with, if there is
    /// one.
    pub(crate) fn new(
        options: &Options,
        session: Option<&str>,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let plan = Plan::new(options, device)?;
        let facts = plan.facts();
        let sessions = Arc::new(FileSessions::new(Some(facts.config.clone())));
        if let Some(name) = session {
            sessions.read_ahead(name);
        }
        // Files may be as large as the model's context.
        let settings = Settings { max_body_bytes: usize::MAX, ..Settings::default() };
        let app = App::new(settings, Arc::clone(&sessions) as _);
        app.add(plan.load(device)?);
        Ok(Self { app, sessions, stop: Arc::default(), facts })
    }

    /// Asks, and gives what is told of the answer, shown on stdout as it comes if `shown`.
    pub(crate) fn ask(&self, question: &Question, shown: bool) -> anyhow::Result<Told> {
        let file = |(name, bytes): &(String, Vec<u8>)| {
            let data = format!("data:text/plain;base64,{}", STANDARD.encode(bytes));
            json!({"type": "file", "file": {"filename": name, "file_data": data}})
        };
        let text = json!({"type": "text", "text": question.text});
        let media = |(sense, bytes): &(Sense, Vec<u8>)| {
            let data = STANDARD.encode(bytes);
            match sense {
                Sense::Sight => {
                    let url = format!("data:application/octet-stream;base64,{data}");
                    json!({"type": "image_url", "image_url": {"url": url}})
                }
                Sense::Hearing => json!({"type": "input_audio", "input_audio": {"data": data}}),
            }
        };
        let files = question.files.iter().map(file).chain(question.shown.iter().map(media));
        let parts: Vec<Value> = files.chain([text]).collect();
        let mut body = json!({
            "messages": [{"role": "user", "content": parts}],
            "stream": true,
            "stream_options": {"include_usage": true, "include_progress": true},
        });
        for (field, value) in &question.fields {
            body[field] = value.clone();
        }
        let start = Instant::now();
        let mut view = View { told: Told::default(), shown, start, first: None, bar: None };
        direct::chat(&self.app, &body, &self.stop, |chunk| view.chunk(chunk))?;
        Ok(view.finish())
    }
}

/// The answer as it comes.
struct View {
    told: Told,
    shown: bool,
    start: Instant,
    first: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl View {
    fn chunk(&mut self, chunk: &Value) {
        let count = |value: &Value| value.as_u64().map(|n| n as usize);
        let progress = &chunk["progress"];
        if let (Some(read), Some(total)) = (count(&progress["read"]), count(&progress["total"])) {
            if let Some(miss) = progress["miss"].as_str() {
                self.told.miss = Some(miss.to_owned());
            }
            self.read(read, total);
        }
        let usage = &chunk["usage"];
        if let Some(prompt) = count(&usage["prompt_tokens"]) {
            self.told.prompt_tokens = prompt;
            let cached = count(&usage["prompt_tokens_details"]["cached_tokens"]);
            self.told.cached_tokens = cached.unwrap_or(0);
            self.told.completion_tokens = count(&usage["completion_tokens"]).unwrap_or(0);
        }
        let delta = &chunk["choices"][0]["delta"];
        if let Some(text) = delta["content"].as_str().filter(|text| !text.is_empty()) {
            self.first.get_or_insert_with(Instant::now);
            if let Some(bar) = self.bar.take() {
                bar.finish_and_clear();
            }
            self.told.text.push_str(text);
            if self.shown {
                let mut out = std::io::stdout().lock();
                // Whoever has seen enough ends the process by its next line.
                _ = write!(out, "{text}").and_then(|()| out.flush());
            }
        }
    }

    fn read(&mut self, read: usize, total: usize) {
        if self.bar.is_none() && self.first.is_none() && self.start.elapsed() > BAR_AFTER {
            let style = "reading {wide_bar} {human_pos}/{human_len} tokens, {per_sec}";
            let bar = ProgressBar::new(total as u64);
            self.bar = match ProgressStyle::with_template(style) {
                Ok(style) => Some(bar.with_style(style)),
                Err(_) => None,
            };
        }
        if let Some(bar) = &self.bar {
            bar.set_position(read as u64);
        }
    }

    fn finish(mut self) -> Told {
        let end = Instant::now();
        let first = self.first.unwrap_or(end);
        self.told.seconds = [first - self.start, end - first].map(|time| time.as_secs_f64());
        self.told
    }
}

impl Told {
    /// How much of the prompt was known and why not more, in a line.
    pub(crate) fn reuse(&self) -> String {
        let Self { prompt_tokens, cached_tokens, miss, .. } = self;
        let why = miss.as_ref().map_or(String::new(), |miss| format!(" ({miss})"));
        let resumed = if *cached_tokens > 0 { "resumed, " } else { "" };
        format!("{resumed}{cached_tokens} of {prompt_tokens} tokens were known{why}")
    }
}

impl Options {
    /// Those of one conversation: the model, and how much it may take.
    pub(crate) fn of_one(
        model: Option<&Path>,
        weights: Option<Weights>,
        kv: Option<crate::model::Kv>,
        chunk: NonZeroUsize,
    ) -> Self {
        Self {
            model: model.map(PathBuf::from),
            name: None,
            weights,
            kv,
            context: None,
            memory: None,
            chunk,
            parallel: NonZeroUsize::MIN,
            queue: 1,
            no_draft: false,
        }
    }
}
