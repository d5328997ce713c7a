//! `fulgurite plan`: what a model will cost, known from its config alone.

use crate::commands::bench::limit_of;
use crate::fit::{self, DoesNotFit, Need};
use crate::model::{Kv, Place, Weights, config_of, read_to_string};
use crate::senses::{Hearing, Parts, Sight};
use crate::served::gibibytes;
use crate::table;
use anyhow::Context as _;
use clap::ValueEnum as _;
use indicatif::{HumanBytes, HumanDuration};
use models::weights::{Policy, loaded_bytes, planned_bytes};
use models::{Config, WeightBytes, Work};
use std::ffi::OsStr;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tensor::gguf::DType;
use tensor::peak::Limit;
use tensor::{Checkpoint, Device, KvType};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A model's folder, its config.json alone, a GGUF file, or an embedded model's name
    model: PathBuf,
    /// Tokens of each sequence, prompt and answer together; 8192 unless set, or the model's context
    #[arg(long, env = "FULGURITE_CONTEXT")]
    context: Option<NonZeroUsize>,
    /// Sequences at once
    #[arg(long, default_value = "1")]
    sequences: NonZeroUsize,
    /// How matrices are kept; as in the file unless set, and bf16 where there is no file
    #[arg(long, env = "FULGURITE_WEIGHTS")]
    weights: Option<Weights>,
    /// How keys and values are kept; as bf16 unless the weights are f32
    #[arg(long, env = "FULGURITE_KV")]
    kv: Option<Kv>,
    /// Tokens read at once
    #[arg(long, env = "FULGURITE_CHUNK", default_value = "4096")]
    chunk: NonZeroUsize,
    /// Memory to fit in, in GiB; what is free here unless set
    #[arg(long, value_parser = gibibytes)]
    memory: Option<u64>,
    /// Arithmetic of the machine to plan for, in TFLOP/s; measured here unless set
    #[arg(long, value_parser = positive)]
    tflops: Option<f64>,
    /// Memory traffic of the machine to plan for, in GB/s; measured here unless set
    #[arg(long, value_parser = positive)]
    bandwidth: Option<f64>,
    /// Price of an hour of the machine: tells that of a million tokens
    #[arg(long, value_parser = positive)]
    price: Option<f64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if f64::is_finite(number) && number > 0.0 => Ok(number),
        _ => Err("expected a number above 0".to_owned()),
    }
}

/// Context to plan for if nobody says.
const CONTEXT: usize = 8192;

pub(crate) fn run(arguments: &Arguments, device: &Device) -> anyhow::Result<()> {
    let model = Model::of(arguments, device)?;
    let plan = Plan::new(arguments, &model, device)?;
    let mut out = std::io::stdout().lock();
    match arguments.json {
        true => writeln!(out, "{:#}", plan.json())?,
        false => write!(out, "{}", plan.text())?,
    }
    match plan.free {
        Some(free) if plan.need.total() > free => {
            let (need, context) = (plan.need.total(), plan.context);
            Err(DoesNotFit::Plan { need, free, context }.into())
        }
        _ => Ok(()),
    }
}

/// What is known of the model: its config, and its weights if they are there.
struct Model {
    name: String,
    config: Config,
    weights: WeightBytes,
    /// The type of the experts, which are most of the weights.
    dtype: DType,
    /// Bytes of the file that is read, and whether it is part of the program.
    mapped: (u64, bool),
    kv: KvType,
    /// Said where nothing tells how the weights are stored.
    assumed: bool,
    /// What sees and hears, and the bytes of its weights.
    senses: (Parts, u64),
}

impl Model {
    fn of(arguments: &Arguments, device: &Device) -> anyhow::Result<Self> {
        let path = &arguments.model;
        let policy = arguments.weights.map(Policy::from);
        if path.extension().is_some_and(|ending| ending == "json") {
            let text = read_to_string(path)?;
            let config = config_of(text.as_bytes(), path)?;
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            let named = path.file_name() == Some(OsStr::new("config.json"));
            let parts = match named {
                true => Parts::of(&Place::Folder(folder), None, config.hidden_size)?,
                false => Parts::default(),
            };
            return Self::without_weights(path, config, parts, arguments, policy);
        }
        let place = Place::of(Some(path))?;
        let config = place.config()?;
        match &place {
            Place::Folder(folder) if !has_weights(folder)? => {
                let parts = Parts::of(&place, None, config.hidden_size)?;
                Self::without_weights(path, config, parts, arguments, policy)
            }
            _ => {
                let file = place.checkpoint()?;
                let parts = Parts::of(&place, Some(&file), config.hidden_size)?;
                let bytes = parts.bytes(policy)?;
                Ok(Self {
                    senses: (parts, bytes),
                    name: place.name(),
                    weights: loaded_bytes(&config, &file, device, policy)?,
                    dtype: dtype(&file, policy),
                    mapped: (file.total_bytes() as u64, matches!(place, Place::Embedded)),
                    kv: Kv::or_default(arguments.kv, &file, device, arguments.weights),
                    config,
                    assumed: false,
                })
            }
        }
    }

    /// As the released checkpoints are: everything in bf16.
    fn without_weights(
        path: &Path,
        config: Config,
        parts: Parts,
        arguments: &Arguments,
        policy: Option<Policy>,
    ) -> anyhow::Result<Self> {
        let bytes = parts.bytes(policy)?;
        let in_f32 = policy == Some(Policy::F32);
        let parameters = u64::try_from(config.num_parameters()).unwrap_or(u64::MAX);
        Ok(Self {
            name: path.display().to_string(),
            weights: planned_bytes(&config, DType::Bf16, policy)?,
            dtype: policy.map_or(DType::Bf16, Policy::matrices),
            mapped: (parameters.saturating_mul(2), false),
            kv: arguments.kv.map_or(if in_f32 { KvType::F32 } else { KvType::Bf16 }, Kv::into),
            config,
            assumed: true,
            senses: (parts, bytes),
        })
    }
}

/// Whether there is a checkpoint in a model's folder.
fn has_weights(folder: &Path) -> anyhow::Result<bool> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.any(|name| name.ends_with(".safetensors") || name.ends_with(".index.json")))
}

/// The type that most of a checkpoint's weights will have.
fn dtype(file: &Checkpoint, policy: Option<Policy>) -> DType {
    let expert = file.names().find(|name| name.contains("experts") || name.contains("_exps"));
    let stored = expert.and_then(|name| file.stored(name)).unwrap_or(DType::F32);
    policy.map_or(stored, Policy::matrices)
}

/// Bytes, operations and what follows of them.
struct Plan<'a> {
    model: &'a Model,
    weights: String,
    context: usize,
    sequences: usize,
    need: Need,
    peak: u64,
    free: Option<u64>,
    /// Operations of a whole context of prompt, and of one more token at its end.
    prompt_flops: f64,
    token_flops: f64,
    /// Bytes that one more token of all sequences moves, at the end of the context.
    token_bytes: f64,
    flops_per_second: f64,
    bytes_per_second: f64,
    price: Option<f64>,
}

impl<'a> Plan<'a> {
    fn new(arguments: &Arguments, model: &'a Model, device: &Device) -> anyhow::Result<Self> {
        let config = &model.config;
        let most = config.max_position_embeddings;
        let context = arguments.context.map_or(CONTEXT.min(most), NonZeroUsize::get);
        if context > most {
            return Err(DoesNotFit::Context { context, most }.into());
        }
        let sequences = arguments.sequences.get();
        let each = |bytes: u64| bytes.saturating_mul(sequences as u64);
        let need = Need {
            weights: model.weights.total.saturating_add(model.senses.1),
            kv: each(config.kv_bytes(context, model.kv)),
            state: each(config.state_bytes()),
            chunk: config.chunk_bytes(arguments.chunk.get().min(context)),
            // With the ids of the prompt, which are not there yet.
            slack: fit::slack(config, context, sequences)
                .saturating_add(each(fit::ids_bytes(context))),
            mapped: model.mapped.0,
            stays: model.mapped.1,
        };
        let work = |past, tokens| Work { past, tokens, outputs: 1 };
        let read_too = experts_read(config, sequences);
        let expert_bytes = (model.weights.total - model.weights.per_token.min(model.weights.total))
            as f64
            * read_too;
        let cache = config.cache_bytes_per_token(context - 1, model.kv);
        Ok(Self {
            model,
            weights: match arguments.weights.and_then(|weights| weights.to_possible_value()) {
                Some(value) => value.get_name().to_owned(),
                None => model.dtype.name().to_ascii_lowercase(),
            },
            context,
            sequences,
            need,
            peak: need.peak(fit::rss_bytes().unwrap_or(0)),
            free: arguments.memory.or_else(fit::free_bytes),
            prompt_flops: config.flops(work(0, context)),
            token_flops: config.flops(work(context - 1, 1)),
            token_bytes: model.weights.per_token as f64
                + expert_bytes
                + sequences as f64 * cache as f64,
            flops_per_second: match arguments.tflops {
                Some(tflops) => tflops * 1e12,
                None => limit_of(model.dtype).per_second(device.exec()),
            },
            bytes_per_second: match arguments.bandwidth {
                Some(gigabytes) => gigabytes * 1e9,
                None => Limit::Memory.per_second(device.exec()),
            },
            price: arguments.price,
        })
    }

    /// Seconds that a prompt of the whole context takes at least.
    fn prompt_seconds(&self) -> f64 {
        self.prompt_flops / self.flops_per_second
    }

    /// Tokens per second that all sequences together write at most, at the end of their contexts.
    fn tokens_per_second(&self) -> f64 {
        let memory = self.token_bytes / self.bytes_per_second;
        let arithmetic = self.sequences as f64 * self.token_flops / self.flops_per_second;
        self.sequences as f64 / memory.max(arithmetic)
    }

    /// Prices of a million tokens read and written.
    fn prices(&self) -> Option<[f64; 2]> {
        let hour = self.price?;
        let rates = [self.context as f64 / self.prompt_seconds(), self.tokens_per_second()];
        Some(rates.map(|rate| hour / 3600.0 * 1e6 / rate))
    }

    /// Whether there is room: what is mapped while weights are loaded is given up where it is needed.
    fn fits(&self) -> bool {
        self.free.is_none_or(|free| self.need.total() <= free)
    }

    fn json(&self) -> serde_json::Value {
        let config = &self.model.config;
        let (parts, _) = &self.model.senses;
        let sight = parts.sight.as_ref();
        let hearing = parts.hearing.as_ref().map(Hearing::tokens_of_window);
        serde_json::json!({
            "model": self.model.name,
            "weights": self.weights,
            "weights_assumed": self.model.assumed,
            "kv": self.model.kv.name(),
            "context": self.context,
            "sequences": self.sequences,
            "parameters": config.num_parameters() as f64,
            "active_parameters": config.num_active_parameters() as f64,
            "weights_bytes": self.need.weights,
            "weights_bytes_per_token": self.model.weights.per_token,
            "sense_bytes": self.model.senses.1,
            "picture_tokens": sight.map(Sight::tokens_of_pictures),
            "sound_tokens_per_window": hearing.map(|(tokens, _)| tokens),
            "sound_seconds_per_window": hearing.map(|(_, seconds)| seconds),
            "kv_bytes": self.need.kv,
            "state_bytes": self.need.state,
            "chunk_bytes": self.need.chunk,
            "peak_bytes": self.peak,
            "free_bytes": self.free,
            "fits": self.fits(),
            "flops_per_token": self.prompt_flops / self.context as f64,
            "flops_per_token_at_end": self.token_flops,
            "bytes_per_token_at_end": self.token_bytes / self.sequences as f64,
            "flops_per_second": self.flops_per_second,
            "bytes_per_second": self.bytes_per_second,
            "prompt_seconds_at_least": self.prompt_seconds(),
            "write_tokens_per_second_at_most": self.tokens_per_second(),
            "price_per_million_read": self.prices().map(|[read, _]| read),
            "price_per_million_written": self.prices().map(|[_, written]| written),
        })
    }

    fn text(&self) -> String {
        let (config, need) = (&self.model.config, &self.need);
        let [count, quantity] = [table::count, table::quantity];
        let bytes = |n: u64| HumanBytes(n).to_string();
        let stored = if self.model.assumed { ", stored as bf16 (assumed)" } else { "" };
        let room = self.free.map_or_else(String::new, |free| {
            let fits = if self.fits() { "fits" } else { "does not fit" };
            format!("while it is loaded or read; {fits} in {}", bytes(free))
        });
        let reading = format!(
            "for a whole context, {}FLOP a token: at least {} at {}FLOP/s",
            quantity(self.prompt_flops / self.context as f64),
            time(self.prompt_seconds()),
            quantity(self.flops_per_second),
        );
        let writing = format!(
            "moved for a token at the end: at most {:.1} tokens/s at {}B/s",
            self.tokens_per_second(),
            quantity(self.bytes_per_second),
        );
        let used = format!("{} for each token", count(config.num_active_parameters() as f64));
        let mut rows = vec![
            ("model", self.model.name.clone(), String::new()),
            ("parameters", count(config.num_parameters() as f64), used),
            ("sequences", self.sequences.to_string(), format!("of {} tokens", self.context)),
            ("weights", bytes(need.weights), format!("{}{stored}", self.weights)),
            ("KV", bytes(need.kv), format!("{}, grows with the context", self.model.kv.name())),
            ("state", bytes(need.state), "f32, whatever the context".to_owned()),
            ("chunk", bytes(need.chunk), "while a prompt is read".to_owned()),
            ("peak", bytes(self.peak), room),
            ("read", format!("{}FLOP", quantity(self.prompt_flops)), reading),
            ("write", format!("{}B", quantity(self.token_bytes / self.sequences as f64)), writing),
        ];
        let (parts, sense_bytes) = &self.model.senses;
        if let Some(sight) = &parts.sight {
            let [least, most] = sight.tokens_of_pictures();
            let range = if least == most { most.to_string() } else { format!("{least} to {most}") };
            rows.push(("picture", format!("{range} tokens"), "each, by its size".to_owned()));
        }
        if let Some(hearing) = &parts.hearing {
            let (tokens, seconds) = hearing.tokens_of_window();
            let note = format!("for each {seconds:.0} s begun");
            rows.push(("sound", format!("{tokens} tokens"), note));
        }
        if !parts.is_empty() {
            let note = "of the weights: what sees and hears".to_owned();
            rows.push(("senses", bytes(*sense_bytes), note));
        }
        if let Some([read, written]) = self.prices() {
            let prices = format!("{read:.4} read, {written:.4} written");
            rows.push(("price", prices, "of a million tokens, at these limits".to_owned()));
        }
        let noted = rows.iter().filter(|(_, _, note)| !note.is_empty());
        let width = noted.map(|(_, value, _)| value.chars().count()).max().unwrap_or(0);
        rows.iter()
            .map(|(name, value, note)| {
                let line = match note.is_empty() {
                    true => format!("{name:<11} {value}"),
                    false => format!("{name:<11} {value:<width$}  {note}"),
                };
                line + "\n"
            })
            .collect()
    }
}

/// Seconds as people say them.
fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 0.1 => format!("{:.1} ms", 1000.0 * seconds),
        seconds if seconds < 100.0 => format!("{seconds:.1} s"),
        seconds => HumanDuration(Duration::from_secs_f64(seconds.min(1e12))).to_string(),
    }
}

/// The share of the experts that one token leaves alone and that are read for the others of
/// `sequences` tokens: each chooses by itself.
fn experts_read(config: &Config, sequences: usize) -> f64 {
    let [experts, chosen] =
        [config.num_local_experts, config.num_experts_per_tok].map(|n| n as f64);
    let left = 1.0 - chosen / experts;
    if left == 0.0 {
        return 0.0;
    }
    // An expert that the first token leaves is left by all others with this chance.
    1.0 - left.powf(sequences as f64 - 1.0)
}
