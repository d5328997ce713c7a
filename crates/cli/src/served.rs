//! A model made ready to be asked: what `serve`, `chat` and sessions have in common.

use crate::failure::Misuse;
use crate::fit::{self, DoesNotFit, Need};
use crate::model::{Kv, Place, Weights, read_to_string};
use crate::senses::{self, EyesAndEars, Parts};
use crate::sessions::now;
use crate::spill::Spill;
use crate::talk::Facts;
use engine::{Draft, Engine, Event, Flow, Limits, Lm, Model as _, Request, Worker};
use models::Config;
use models::weights::Policy;
use server::backend::Local;
use server::senses::Budget;
use server::{Defaults, Form, Served};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tensor::{Checkpoint, Device, KvType};
use text::{Tokenizer, Vocabulary};

/// The model, and what it may take.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The model's folder or GGUF file; the embedded model unless set
    #[arg(long, env = "FULGURITE_MODEL")]
    pub(crate) model: Option<PathBuf>,
    /// What requests call the model; the name of its folder or file unless set
    #[arg(long, env = "FULGURITE_NAME")]
    pub(crate) name: Option<String>,
    /// How matrices are kept; as in the file unless set
    #[arg(long, env = "FULGURITE_WEIGHTS")]
    pub(crate) weights: Option<Weights>,
    /// How keys and values are kept; as bf16 unless the weights are f32
    #[arg(long, env = "FULGURITE_KV")]
    pub(crate) kv: Option<Kv>,
    /// Most tokens of a prompt and its answer; the model's context unless set
    #[arg(long, env = "FULGURITE_CONTEXT")]
    pub(crate) context: Option<NonZeroUsize>,
    /// Memory for what conversations have read, in GiB; most of what is free unless set
    #[arg(long, env = "FULGURITE_MEMORY", value_parser = gibibytes)]
    pub(crate) memory: Option<u64>,
    /// Tokens read in one step
    #[arg(long, env = "FULGURITE_CHUNK", default_value = "2048")]
    pub(crate) chunk: NonZeroUsize,
    /// Most answers at a time
    #[arg(long, env = "FULGURITE_PARALLEL", default_value = "64")]
    pub(crate) parallel: NonZeroUsize,
    /// Most requests that wait; others are refused
    #[arg(long, env = "FULGURITE_QUEUE", default_value_t = 1024)]
    pub(crate) queue: usize,
    /// Write one token at a time, without guessing ahead
    #[arg(long)]
    pub(crate) no_draft: bool,
}

/// Bytes of so many GiB.
pub(crate) fn gibibytes(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => {
            Ok((number * (1u64 << 30) as f64) as u64)
        }
        _ => Err("expected a number above 0".to_owned()),
    }
}

/// Tokens of a conversation that there must be room for.
const LEAST_TOKENS: usize = 8192;
/// How much of the free memory conversations may take if nobody says.
const SHARE: f64 = 0.8;
/// Guesses: three tokens that were seen before, and up to eight that followed them.
const DRAFT: Draft = Draft::Lookup { ngram: 3, max: 8 };

/// A model that is to be served, and how.
pub(crate) struct Plan {
    pub(crate) name: String,
    place: Place,
    pub(crate) config: Config,
    tokenizer: Tokenizer,
    form: Form,
    defaults: Defaults,
    checkpoint: Arc<Checkpoint>,
    senses: Arc<Parts>,
    weights: Option<Weights>,
    kv: KvType,
    context: usize,
    limits: Limits,
    draft: Draft,
    /// Where snapshots go that give way.
    pub(crate) spill: Option<Spill>,
    spare: Option<u64>,
}

impl Plan {
    /// What the arguments say, checked against the memory that is free.
    pub(crate) fn new(options: &Options, device: &Device) -> anyhow::Result<Self> {
        let place = Place::of(options.model.as_deref())?;
        let (tokenizer, config) = (place.tokenizer()?, place.config()?);
        let form = Form::of(&tokenizer, place.template()?);
        let most = config.max_position_embeddings;
        let context = options.context.map_or(most, NonZeroUsize::get);
        if context > most {
            return Err(DoesNotFit::Context { context, most }.into());
        }
        let checkpoint = place.checkpoint()?;
        let kv = Kv::or_default(options.kv, &checkpoint, device, options.weights);
        let chunk = options.chunk.get();
        let (policy, tokens) = (options.weights.map(Policy::from), context.min(LEAST_TOKENS));
        let mut need =
            Need::of(&place, &checkpoint, device, policy, kv, [tokens, chunk.min(context)])?;
        let senses = Arc::new(Parts::of(&place, Some(&checkpoint), config.hidden_size)?);
        need.weights = need.weights.saturating_add(senses.bytes(policy)?);
        need.check(tokens)?;
        let free = fit::free_bytes();
        let beside = need.weights.saturating_add(need.chunk);
        let memory_bytes = match (options.memory, free) {
            (Some(memory), Some(free)) if memory.saturating_add(beside) > free => {
                return Err(DoesNotFit::Room { memory, beside, free }.into());
            }
            (Some(memory), _) => memory,
            (None, Some(free)) => {
                let share = (free.saturating_sub(beside) as f64 * SHARE) as u64;
                share.max(need.kv.saturating_add(need.state))
            }
            (None, None) => need.kv.saturating_add(need.state).saturating_mul(4),
        };
        let limits = Limits {
            step_tokens: chunk,
            max_running: options.parallel.get(),
            max_waiting: options.queue,
            ..Limits::server(memory_bytes)
        };
        let name = options.name.clone().unwrap_or_else(|| short_name(&place));
        Ok(Self {
            name,
            defaults: defaults(&place, &form)?,
            draft: if options.no_draft { Draft::Off } else { DRAFT },
            weights: options.weights,
            place,
            config,
            tokenizer,
            form,
            checkpoint,
            senses,
            kv,
            context,
            limits,
            spill: None,
            spare: free.map(|free| free.saturating_sub(beside.saturating_add(memory_bytes))),
        })
    }

    /// What is known of the model.
    pub(crate) fn facts(&self) -> Facts {
        Facts {
            name: self.name.clone(),
            most_bytes: fit::most_bytes(&self.config, self.tokenizer.is_byte_level()),
            config: self.config.clone(),
            kv: self.kv,
            senses: Arc::clone(&self.senses),
        }
    }

    /// Bytes for what conversations have read.
    pub(crate) fn room(&self) -> u64 {
        self.limits.memory_bytes
    }

    /// Bytes that are free beside the model and [`room`](Self::room), where the system tells.
    pub(crate) fn spare(&self) -> Option<u64> {
        self.spare
    }

    /// Loads the model and gives it its thread; it has read a token when this returns.
    pub(crate) fn load(self, device: &Device) -> anyhow::Result<Served> {
        let model = self.place.load_from(&self.checkpoint, device, self.weights)?;
        let is_lookup = matches!(self.form, Form::Lookup { .. });
        let nearest = is_lookup.then(|| senses::readable(&self.tokenizer, &model));
        let policy = self.weights.map(Policy::from);
        let senses = EyesAndEars::load(self.senses, device, policy, nearest, self.context)?;
        let fingerprint = fingerprint(&self.config, &self.checkpoint, self.weights, self.kv);
        // So that what is mapped is given back.
        drop((self.checkpoint, self.place));
        let model = Lm::new(model, self.kv)
            .with_vocab_size(self.tokenizer.vocab_size())
            .with_context(self.context);
        let vocab_size = model.vocab_size();
        // The engine counts rows of what it reads; as much again may wait.
        let rows_bytes = self.limits.memory_bytes / 2;
        let mut engine = Engine::new(Arc::new(model), self.limits);
        if let Some(spill) = self.spill {
            engine.set_tier(Box::new(spill));
        }
        let (handle, _) = Worker::spawn(engine);
        let (sender, warm) = std::sync::mpsc::channel();
        handle.submit(Request::new([0], 1), move |event| {
            if let Event::Done { .. } = event {
                _ = sender.send(());
            }
            Flow::Go
        })?;
        warm.recv()?;
        let end_ids = self.config.eos_token_ids;
        let vocabulary = Vocabulary::new(&self.tokenizer, &end_ids).ok();
        Ok(Served {
            calls: self.form.call_format(),
            thinking: self.form.thinking(&self.tokenizer),
            name: self.name,
            tokenizer: self.tokenizer,
            form: self.form,
            backend: Arc::new(Local::new(handle)),
            senses: senses.map(|senses| Arc::new(senses) as _),
            rows: Budget::new(usize::try_from(rows_bytes).unwrap_or(usize::MAX)),
            context: self.context,
            vocab_size,
            end_ids,
            vocabulary,
            defaults: self.defaults,
            draft: self.draft,
            fingerprint,
            created: now(),
        })
    }
}

/// The last part of the model's path.
fn short_name(place: &Place) -> String {
    let name = place.name();
    let path = Path::new(&name);
    let path =
        if path.is_dir() { path.canonicalize().unwrap_or(path.to_owned()) } else { path.into() };
    path.file_name().map_or(name.clone(), |name| name.to_string_lossy().into_owned())
}

/// How the model answers where requests do not say: `generation_config.json`, if there is one.
fn defaults(place: &Place, form: &Form) -> anyhow::Result<Defaults> {
    if matches!(form, Form::Lookup { .. }) {
        return Ok(Defaults::GREEDY);
    }
    let Place::Folder(folder) = place else { return Ok(Defaults::PLAIN) };
    let path = folder.join("generation_config.json");
    if !path.exists() {
        return Ok(Defaults::PLAIN);
    }
    let wrong = |reason: String| Misuse(format!("`{}` {reason}", path.display()));
    let value: serde_json::Value = serde_json::from_str(&read_to_string(&path)?)
        .map_err(|error| wrong(format!("is not valid JSON: {error}")))?;
    let number = |field: &str, least: f64, most: f64, default: f64| match &value[field] {
        serde_json::Value::Null => Ok(default),
        found => found.as_f64().filter(|n| (least..=most).contains(n)).ok_or_else(|| {
            wrong(format!("has `{field}` = {found}, expected a number from {least} to {most}"))
        }),
    };
    if value["do_sample"] == false {
        return Ok(Defaults::GREEDY);
    }
    Ok(Defaults {
        temperature: number("temperature", 0.0, 2.0, 1.0)? as f32,
        top_k: number("top_k", 0.0, 1e9, 0.0)? as usize,
        top_p: number("top_p", 1e-6, 1.0, 1.0)? as f32,
        repetition_penalty: number("repetition_penalty", 1e-6, 10.0, 1.0)? as f32,
    })
}

/// Most bytes of weights that are looked at to tell them from others, right after all of them were read: a
/// few milliseconds. Of larger models pieces of every tensor are.
const DIGESTED: usize = 64 << 20;

/// Program, model and how it is kept in a word: what was read by one fits no other.
fn fingerprint(
    config: &Config,
    checkpoint: &Checkpoint,
    weights: Option<Weights>,
    kv: KvType,
) -> String {
    let (version, digest) = (env!("CARGO_PKG_VERSION"), checkpoint.digest(DIGESTED));
    let text = format!("{version} {kv:?} {weights:?} {} {digest:032x}", config.to_json());
    // FNV-1a, which is the same everywhere.
    let hash = text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    format!("fp_{hash:016x}")
}
