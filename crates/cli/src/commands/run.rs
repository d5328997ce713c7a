//! `fulgurite run`: one answer.

use super::session::checked;
use crate::failure::Misuse;
use crate::fit::{self, Need};
use crate::model::{Kv, Place, Weights};
use crate::prompt::{decode, read_files, read_media};
use crate::senses::{self, EyesAndEars, Parts, Shown};
use crate::served::Options;
use crate::talk::{Facts, Question, Talk};
use anyhow::Context as _;
use engine::{
    Bytes, Engine, Event, FinishReason, Keep, Limits, Lm, Model as _, Request, RequestId, Sampling,
};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use models::weights::Policy;
use server::senses::{Seen, Sense};
use server::{Form, Turn};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tensor::Device;
use text::{Detokenizer, StopStrings, Tokenizer};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The question, or the text to go on from
    prompt: String,
    /// The model's folder or GGUF file; the embedded model unless set
    #[arg(long, env = "FULGURITE_MODEL")]
    model: Option<PathBuf>,
    /// A file to read before the question; may be given several times
    #[arg(long)]
    file: Vec<PathBuf>,
    /// A picture to look at before the question: PNG, JPEG, WebP or GIF; may be given several times
    #[arg(long)]
    image: Vec<PathBuf>,
    /// A sound to listen to before the question: WAV, MP3, FLAC or Ogg Vorbis; may be given several times
    #[arg(long)]
    audio: Vec<PathBuf>,
    /// A conversation that is kept under this name, to go on with another time
    #[arg(long, env = "FULGURITE_SESSION")]
    session: Option<String>,
    /// Most tokens to write
    #[arg(long, env = "FULGURITE_MAX_TOKENS", default_value_t = 256)]
    max_tokens: usize,
    /// How freely tokens are chosen; 0 takes the likeliest
    #[arg(long, env = "FULGURITE_TEMPERATURE", default_value_t = 0.0)]
    temperature: f32,
    /// Decides the choice where it is free
    #[arg(long, env = "FULGURITE_SEED", default_value_t = 0)]
    seed: u64,
    /// Text that ends the answer; may be given several times
    #[arg(long)]
    stop: Vec<String>,
    /// How matrices are kept; as in the file unless set
    #[arg(long, env = "FULGURITE_WEIGHTS")]
    weights: Option<Weights>,
    /// How keys and values are kept; as bf16 unless the weights are f32
    #[arg(long, env = "FULGURITE_KV")]
    kv: Option<Kv>,
    /// Tokens read at once
    #[arg(long, env = "FULGURITE_CHUNK", default_value = "4096")]
    chunk: std::num::NonZeroUsize,
    /// Leave the model's chat template out: the text is gone on with as it is
    #[arg(long)]
    raw: bool,
    /// Print the answer with its counts as JSON
    #[arg(long)]
    json: bool,
    /// Tell what pictures and sounds read like to a model that copies its answers
    #[arg(long, short)]
    verbose: bool,
}

impl Arguments {
    /// Files of pictures, then of sounds.
    fn media(&self) -> impl Iterator<Item = (Sense, &Path)> {
        let pictures = self.image.iter().map(|path| (Sense::Sight, &**path));
        pictures.chain(self.audio.iter().map(|path| (Sense::Hearing, &**path)))
    }
}

pub(crate) fn run(arguments: &Arguments, device: &Device) -> anyhow::Result<()> {
    match &arguments.session {
        None => once(arguments, device),
        Some(name) => in_session(arguments, checked(name)?, device),
    }
}

/// An answer in a conversation that lasts.
fn in_session(arguments: &Arguments, name: &str, device: &Device) -> anyhow::Result<()> {
    if arguments.raw {
        return Err(
            Misuse("--raw gives no conversation, expected --session without it".into()).into()
        );
    }
    let Arguments { model, weights, kv, chunk, .. } = arguments;
    let options = Options::of_one(model.as_deref(), *weights, *kv, *chunk);
    let talk = Talk::new(&options, Some(name), device)?;
    let Facts { config, kv, most_bytes, .. } = &talk.facts;
    let bytes = read_files(&arguments.file, *most_bytes)?;
    let mut shown = Vec::new();
    for (sense, path) in arguments.media() {
        let bytes = read_media(path, sense)?;
        // So that what is wrong is told with the file's name.
        decode(&talk.facts.senses, path, sense, bytes.clone())?;
        shown.push((sense, bytes));
    }
    let names = arguments.file.iter().map(|path| path.display().to_string());
    let fields = serde_json::json!({
        "max_tokens": arguments.max_tokens,
        "temperature": arguments.temperature,
        "seed": arguments.seed,
        "stop": arguments.stop,
        "session": {"name": name},
    });
    let question = Question {
        text: arguments.prompt.clone(),
        files: names.zip(bytes).collect(),
        shown,
        fields: fields.as_object().cloned().unwrap_or_default(),
    };
    let told = talk.ask(&question, !arguments.json)?;
    let mut out = std::io::stdout().lock();
    if !arguments.json {
        writeln!(out)?;
        eprintln!("session `{name}`: {}", told.reuse());
        return Ok(());
    }
    let tokens = told.prompt_tokens + told.completion_tokens;
    let read = told.prompt_tokens.saturating_sub(told.cached_tokens);
    let [reading, writing] = told.seconds.map(|seconds| seconds.max(1e-9));
    let value = serde_json::json!({
        "text": told.text,
        "session": name,
        "prompt_tokens": told.prompt_tokens,
        "cached_tokens": told.cached_tokens,
        "resumed": told.cached_tokens > 0,
        "miss": told.miss,
        "completion_tokens": told.completion_tokens,
        "state_bytes": config.state_bytes(),
        "kv_bytes": config.kv_bytes(tokens, *kv),
        "peak_rss_bytes": fit::peak_rss_bytes(),
        "first_token_seconds": told.seconds[0],
        "read_tokens_per_second": read as f64 / reading,
        "write_tokens_per_second": told.completion_tokens as f64 / writing,
    });
    Ok(writeln!(out, "{value}")?)
}

/// An answer of which nothing is kept.
fn once(arguments: &Arguments, device: &Device) -> anyhow::Result<()> {
    let place = Place::of(arguments.model.as_deref())?;
    let tokenizer = place.tokenizer()?;
    let config = place.config()?;
    let template = if arguments.raw { None } else { place.template()? };
    let form = Form::of(&tokenizer, template);
    let most = fit::most_bytes(&config, tokenizer.is_byte_level());
    let files = read_files(&arguments.file, most)?;
    let checkpoint = place.checkpoint()?;
    let parts = Arc::new(Parts::of(&place, Some(&checkpoint), config.hidden_size)?);
    let shown = arguments.media().map(|(sense, path)| {
        let shown = decode(&parts, path, sense, read_media(path, sense)?)?;
        Ok((path, shown))
    });
    let shown = shown.collect::<anyhow::Result<Vec<_>>>()?;
    // Without what is seen, which is known when the model is loaded.
    let ask = |seen: Vec<Seen>, files: Vec<Vec<u8>>| {
        let turn = Turn::about(&arguments.prompt, files, seen);
        form.ask_about(&tokenizer, turn, parts.placeholders())
    };
    // A long text is not held a second time for nothing.
    let (files, again) =
        if shown.is_empty() { (files, None) } else { (files.clone(), Some(files)) };
    let blind = ask(Vec::new(), files)?;
    let seen_tokens = shown.iter().map(|(_, shown)| parts.tokens(shown));
    let prompt_tokens = seen_tokens.fold(blind.ids.len(), usize::saturating_add);
    let stop_ids = config.eos_token_ids.clone();
    let tokens = prompt_tokens.saturating_add(arguments.max_tokens);
    let chunk = arguments.chunk.get().min(prompt_tokens);
    let policy = arguments.weights.map(Policy::from);
    let kv = Kv::or_default(arguments.kv, &checkpoint, device, arguments.weights);
    let mut need = Need::of(&place, &checkpoint, device, policy, kv, [tokens, chunk])?;
    if !shown.is_empty() {
        need.weights = need.weights.saturating_add(parts.bytes(policy)?);
        let work = parts.work_bytes(shown.iter().map(|(_, shown)| shown));
        need.chunk = need.chunk.saturating_add(work);
    }
    need.check(tokens)?;
    let expected_peak = fit::rss_bytes().map(|held| need.peak(held));
    let model = place.load_from(&checkpoint, device, arguments.weights)?;
    let prompt = match again {
        None => blind,
        Some(files) => {
            let nearest = matches!(form, Form::Lookup { .. });
            let nearest = nearest.then(|| senses::readable(&tokenizer, &model));
            let context = config.max_position_embeddings;
            let senses = EyesAndEars::load(Arc::clone(&parts), device, policy, nearest, context)?;
            let seen = look(senses.as_ref(), &shown, &tokenizer, arguments.verbose)?;
            ask(seen, files)?
        }
    };
    let prompt_tokens = prompt.ids.len();
    let mask = form.mask(&tokenizer, &prompt, &stop_ids)?;
    // So that what is mapped is given back.
    drop((checkpoint, parts, place));
    let model = Arc::new(Lm::new(model, kv));
    let mut engine = Engine::new(Arc::clone(&model), Limits::single(arguments.chunk.get()));
    let id = RequestId(0);
    let request = Request {
        sampling: Sampling { temperature: arguments.temperature, ..Sampling::GREEDY },
        seed: arguments.seed,
        stop_ids,
        mask,
        keep: Keep::No,
        inserted: prompt.rows(),
        ..Request::new(prompt.ids, arguments.max_tokens)
    };
    engine.submit(id, request)?;
    let bar = reading_bar(prompt_tokens)?;
    let mut answer = Answer {
        detokenizer: Detokenizer::new(&tokenizer),
        stop: StopStrings::new(arguments.stop.iter().cloned()),
        text: String::new(),
        shown: !arguments.json,
    };
    let start = Instant::now();
    let mut first_token = None;
    let usage = 'done: loop {
        for (_, event) in engine.step() {
            match event {
                Event::Read { tokens } => {
                    bar.set_position(tokens as u64);
                    let Bytes { state, kv } = model.bytes(tokens);
                    let [state, kv] = [state, kv].map(HumanBytes);
                    let most =
                        expected_peak.map_or(String::new(), |n| format!(" of {}", HumanBytes(n)));
                    bar.set_message(format!("state {state} KV {kv}{most}"));
                }
                Event::Token { id: token, .. } => {
                    bar.finish_and_clear();
                    first_token.get_or_insert_with(Instant::now);
                    if answer.push(token)? {
                        engine.cancel(id);
                    }
                }
                Event::Finished { reason, .. } => {
                    bar.finish_and_clear();
                    if let Some(why) = reason.failure() {
                        anyhow::bail!(why);
                    }
                    if reason != FinishReason::Cancelled {
                        answer.finish()?;
                    }
                }
                Event::Done { usage, .. } => break 'done usage,
                Event::Started { .. } | Event::Prompt { .. } | Event::Embedding { .. } => {}
            }
        }
    };
    let end = Instant::now();
    let first_token = first_token.unwrap_or(end);
    let rate =
        |n: usize, from: Instant, to: Instant| n as f64 / (to - from).as_secs_f64().max(1e-9);
    let mut out = std::io::stdout().lock();
    if !arguments.json {
        return Ok(writeln!(out)?);
    }
    let value = serde_json::json!({
        "text": answer.text,
        "prompt_tokens": prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        "state_bytes": usage.state_bytes,
        "kv_bytes": usage.kv_bytes,
        "weights_bytes": need.weights,
        "chunk_bytes": need.chunk,
        "expected_peak_rss_bytes": expected_peak,
        "peak_rss_bytes": fit::peak_rss_bytes(),
        "read_tokens_per_second": rate(prompt_tokens, start, first_token),
        "write_tokens_per_second": rate(usage.completion_tokens, first_token, end),
    });
    Ok(writeln!(out, "{value}")?)
}

/// What stands for what is shown, one after the other: large towers take a while.
fn look(
    senses: Option<&EyesAndEars>,
    shown: &[(&Path, Shown)],
    tokenizer: &Tokenizer,
    verbose: bool,
) -> anyhow::Result<Vec<Seen>> {
    let senses = senses.expect("a model that decoded what is shown");
    let bar = ProgressBar::new(shown.len() as u64);
    bar.set_style(ProgressStyle::with_template("looking {wide_bar} {pos}/{len} {msg}")?);
    let mut all = Vec::new();
    for (path, shown) in shown {
        bar.set_message(path.display().to_string());
        let seen = senses.perceive_shown(shown);
        let seen = seen.with_context(|| format!("cannot read `{}`", path.display()))?;
        bar.inc(1);
        if verbose {
            let text = tokenizer.decode(&seen.transcript);
            bar.suspend(|| eprintln!("`{}`: {} tokens\n{text}", path.display(), seen.rows));
        }
        all.push(seen);
    }
    bar.finish_and_clear();
    Ok(all)
}

fn reading_bar(tokens: usize) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(tokens as u64);
    bar.set_style(ProgressStyle::with_template(
        "reading {wide_bar} {human_pos}/{human_len} tokens, {per_sec} {msg}",
    )?);
    Ok(bar)
}

/// The answer so far, shown as it comes.
struct Answer {
    detokenizer: Detokenizer,
    stop: StopStrings,
    text: String,
    shown: bool,
}

impl Answer {
    /// Adds a token; whether a stop string ended the answer.
    fn push(&mut self, id: u32) -> anyhow::Result<bool> {
        let piece = self.detokenizer.push(id);
        let (text, stopped) = self.stop.push(&piece);
        self.show(&text)?;
        Ok(stopped)
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let piece = self.detokenizer.finish();
        let (text, stopped) = self.stop.push(&piece);
        self.show(&text)?;
        if stopped {
            return Ok(());
        }
        let held = self.stop.finish();
        self.show(&held)
    }

    fn show(&mut self, text: &str) -> anyhow::Result<()> {
        self.text.push_str(text);
        if self.shown {
            let mut out = std::io::stdout().lock();
            write!(out, "{text}")?;
            out.flush()?;
        }
        Ok(())
    }
}
