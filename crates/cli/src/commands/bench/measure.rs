//! One test at a time: the clock, the limits of the machine, the memory.

use super::report::{Timed, Unit};
use crate::fit;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use models::{Batch, Cache, CausalLm as _, MiniMaxText01, Work};
use std::time::{Duration, Instant};
use tensor::gguf::DType;
use tensor::peak::Limit;
use tensor::profile::Class;
use tensor::{Device, KvType, Profile, Rng};

/// Tokens read before the first one of a decode test.
pub(super) const SHORT_PROMPT: usize = 8;
/// A bench that is over sooner needs no bar.
const BAR_AFTER: Duration = Duration::from_secs(2);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// `ppN`: tokens read in chunks.
    Prompt { tokens: usize },
    /// `tgN`: tokens read one by one, as an answer is.
    Decode { tokens: usize },
}

impl Test {
    /// Tokens that are timed.
    pub(super) fn tokens(self) -> usize {
        match self {
            Self::Prompt { tokens } | Self::Decode { tokens } => tokens,
        }
    }

    /// Tokens of the sequence at the end.
    pub(super) fn all_tokens(self) -> usize {
        match self {
            Self::Prompt { tokens } => tokens,
            Self::Decode { tokens } => tokens.saturating_add(SHORT_PROMPT),
        }
    }

    /// The name that users of llama-bench know.
    pub(super) fn name(self) -> String {
        match self {
            Self::Prompt { tokens } => format!("pp{tokens}"),
            Self::Decode { tokens } => format!("tg{tokens}"),
        }
    }
}

/// What bounds products with matrices of `dtype`.
pub(crate) fn limit_of(dtype: DType) -> Limit {
    match dtype {
        DType::F32 | DType::F16 => Limit::F32,
        DType::Bf16 => Limit::Bf16,
        DType::Blocks(_) => Limit::Int8,
    }
}

/// What the machine can do at most: the best of what was measured before and after the tests, since
/// others on the same machine may take their share for a while.
#[derive(Debug)]
pub(super) struct Limits<'a> {
    device: &'a Device,
    bytes_per_second: f64,
    flops_per_second: Vec<(Limit, f64)>,
}

impl<'a> Limits<'a> {
    /// Nothing measured yet.
    pub(super) fn new(device: &'a Device) -> Self {
        Self { device, bytes_per_second: 0.0, flops_per_second: Vec::new() }
    }

    /// Measures memory, and the unit that multiplies matrices of `dtype`.
    pub(super) fn measure(&mut self, dtype: DType) {
        // Room for the array that is read.
        self.device.release_memory();
        let exec = self.device.exec();
        let unit = limit_of(dtype);
        self.bytes_per_second = self.bytes_per_second.max(Limit::Memory.per_second(exec));
        let limit = unit.per_second(exec);
        match self.flops_per_second.iter_mut().find(|(of, _)| *of == unit) {
            Some((_, best)) => *best = best.max(limit),
            None => self.flops_per_second.push((unit, limit)),
        }
    }

    /// Share of the limit of products with matrices of `dtype`.
    pub(super) fn share_of_flops(&self, dtype: DType, flops_per_second: f64) -> Option<f64> {
        let measured = self.flops_per_second.iter().find(|(unit, _)| *unit == limit_of(dtype));
        measured.map(|(_, limit)| flops_per_second / limit)
    }

    /// Share of the limit that a test of `model` reached in `seconds`: arithmetic for a prompt,
    /// memory for tokens one by one, which is above 1 where a cache holds the weights.
    pub(super) fn share(&self, model: &MiniMaxText01, test: Test, seconds: f64) -> Option<f64> {
        let config = model.config();
        match test {
            Test::Prompt { tokens } => {
                let flops = config.flops(Work { past: 0, tokens, outputs: 1 });
                self.share_of_flops(model.dtype(), flops / seconds)
            }
            Test::Decode { tokens } => {
                // The mean over the tokens: keys and values grow evenly.
                let cache = config.cache_bytes_per_token(SHORT_PROMPT + tokens / 2, kv(model));
                let bytes = model.weight_bytes().per_token as f64 + cache as f64;
                Some(bytes * tokens as f64 / seconds / self.bytes_per_second)
            }
        }
    }
}

/// How keys and values are kept: what goes with the weights, as `run` does it.
fn kv(model: &MiniMaxText01) -> KvType {
    if model.dtype() == DType::F32 { KvType::F32 } else { KvType::Bf16 }
}

/// What the time of all repetitions went to, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    pub(super) classes: [f64; Class::ALL.len()],
    pub(super) rest: f64,
}

/// How tests are run.
pub(super) struct Setup<'a> {
    pub(super) device: &'a Device,
    pub(super) chunk: usize,
    pub(super) repeat: usize,
    pub(super) profile: Option<&'a Profile>,
    pub(super) bar: &'a Bar,
}

impl Setup<'_> {
    pub(super) fn measure(&self, model: &MiniMaxText01, test: Test, weights: &str) -> Timed {
        self.bar.begin(format!("{weights} {}", test.name()));
        self.device.release_memory();
        fit::forget_peak_rss();
        let ids = random_ids(model, test.all_tokens());
        self.warm_up(model, test, &ids);
        let mut classes = [0.0; Class::ALL.len()];
        let once = |_| {
            let seconds = self.once(model, test, &ids);
            if let Some(profile) = self.profile {
                let times = Class::ALL.map(|class| profile.time(class).as_secs_f64());
                classes.iter_mut().zip(times).for_each(|(sum, time)| *sum += time);
            }
            seconds
        };
        let seconds: Vec<f64> = (0..self.repeat).map(once).collect();
        let rest = seconds.iter().sum::<f64>() - classes.iter().sum::<f64>();
        let split = self.profile.map(|_| Split { classes, rest });
        Timed {
            test: test.name(),
            unit: Unit::Tokens,
            count: test.tokens(),
            seconds,
            peak_rss_bytes: fit::peak_rss_bytes(),
            split,
        }
    }

    /// What only the first run would pay: weights and buffers that no cache has seen.
    fn warm_up(&self, model: &MiniMaxText01, test: Test, ids: &[u32]) {
        let tokens = match test {
            Test::Prompt { tokens } => tokens.min(self.chunk),
            Test::Decode { .. } => SHORT_PROMPT + 1,
        };
        let mut cache = Cache::new(model.config(), kv(model));
        read(model, &ids[..tokens], self.chunk, &mut cache, |_| ());
    }

    /// Seconds of one run, the only ones in the profile.
    fn once(&self, model: &MiniMaxText01, test: Test, ids: &[u32]) -> f64 {
        let mut cache = Cache::new(model.config(), kv(model));
        // What is read at once, and what was read before.
        let (timed, chunk) = match test {
            Test::Prompt { .. } => (ids, self.chunk),
            Test::Decode { .. } => {
                let (prompt, answer) = ids.split_at(SHORT_PROMPT);
                read(model, prompt, self.chunk, &mut cache, |_| ());
                (answer, 1)
            }
        };
        if let Some(profile) = self.profile {
            profile.reset();
        }
        let start = Instant::now();
        match test {
            Test::Prompt { .. } => {
                read(model, timed, chunk, &mut cache, |tokens| self.bar.add(tokens));
            }
            Test::Decode { .. } => {
                for id in timed {
                    read(model, &[*id], chunk, &mut cache, |tokens| self.bar.add(tokens));
                }
            }
        }
        start.elapsed().as_secs_f64()
    }
}

/// Reads `ids` as the engine does: in chunks, up to the logits of the last one.
fn read(model: &MiniMaxText01, ids: &[u32], chunk: usize, cache: &mut Cache, done: impl Fn(usize)) {
    let last = ids.len().div_ceil(chunk) - 1;
    for (i, piece) in ids.chunks(chunk).enumerate() {
        let rows: &[usize] = if i == last { &[piece.len() - 1] } else { &[] };
        let batch = Batch::single(piece, cache.tokens(), rows);
        std::hint::black_box(model.logits(&batch, &mut [cache]));
        done(piece.len());
    }
}

/// Tokens of any kind. Where relevance begins with a token it comes first, so that softmax layers
/// are measured at their full cost.
fn random_ids(model: &MiniMaxText01, tokens: usize) -> Vec<u32> {
    let config = model.config();
    let mut rng = Rng(0);
    let mut ids: Vec<u32> = (0..tokens).map(|_| rng.below(config.vocab_size) as u32).collect();
    if let (Some(first), Some(id)) = (ids.first_mut(), config.relevance_token_id) {
        *first = id;
    }
    ids
}

/// How far the tests are, on a terminal.
pub(super) struct Bar {
    bar: ProgressBar,
    start: Instant,
}

impl Bar {
    /// Of so many of `unit` in all tests together.
    pub(super) fn new(count: u64, unit: Unit) -> anyhow::Result<Self> {
        let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::hidden());
        let template = format!("{{msg}} {{wide_bar}} {{human_pos}}/{{human_len}} {}", unit.name());
        bar.set_style(ProgressStyle::with_template(&template)?);
        Ok(Self { bar, start: Instant::now() })
    }

    pub(super) fn begin(&self, message: String) {
        self.bar.set_message(message);
        self.add(0);
    }

    pub(super) fn add(&self, count: usize) {
        if self.bar.is_hidden() && self.start.elapsed() > BAR_AFTER {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(count as u64);
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
