//! `fulgurite bench`: how fast a model reads and writes here, beside what the machine can do.
//!
//! `ppN` reads a prompt of N random tokens in the engine's chunks, up to the logits of the last one;
//! `tgN` reads N tokens one by one after a short prompt, with the logits of each. Nothing is sampled.
//! `imN` shows N tiles of pictures to what sees.

mod measure;
mod report;
mod serve;
mod tiles;

use crate::failure::Misuse;
use crate::fit::Need;
use crate::model::{Kv, Place, Weights};
use clap::ValueEnum as _;
use engine::Refused;
pub(crate) use measure::limit_of;
use measure::{Limits, SHORT_PROMPT, Setup, Test};
use models::weights::Policy;
use models::{CausalLm as _, Config};
use report::{About, Row, Unit};
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use tensor::gguf::DType;
use tensor::{Device, Profile};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The model's folder or GGUF file; the embedded model unless set
    #[arg(long, env = "FULGURITE_MODEL")]
    model: Option<PathBuf>,
    /// Lengths of prompts to read, with commas between; 0 for none
    #[arg(
        short,
        long,
        env = "FULGURITE_PROMPT_TOKENS",
        value_delimiter = ',',
        default_value = "512,4096"
    )]
    prompt_tokens: Vec<usize>,
    /// Numbers of tokens to read one by one, with commas between; 0 for none
    #[arg(
        short = 'n',
        long,
        env = "FULGURITE_DECODE_TOKENS",
        value_delimiter = ',',
        default_value = "64"
    )]
    decode_tokens: Vec<usize>,
    /// Numbers of tiles of pictures, 1 to 64, to look at at once, with commas between, in place of tokens
    #[arg(
        long,
        env = "FULGURITE_TILES",
        conflicts_with = "profile",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    tiles: Vec<u16>,
    /// Precisions of products, with commas between; that of the file unless set
    #[arg(long, env = "FULGURITE_WEIGHTS", value_delimiter = ',')]
    weights: Vec<Weights>,
    /// How often each test is run; the median counts
    #[arg(short, long, env = "FULGURITE_REPEAT", default_value = "5")]
    repeat: NonZeroUsize,
    /// Tokens of a prompt read at once
    #[arg(long, env = "FULGURITE_CHUNK", default_value = "4096")]
    chunk: NonZeroUsize,
    /// Show what the time goes to, by class of operation
    #[arg(long)]
    profile: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: serve::Asked,
}

impl Arguments {
    /// The tests in order; those of 0 tokens are left out.
    fn tests(&self) -> Result<Vec<Test>, Misuse> {
        let prompts = self.prompt_tokens.iter().map(|&tokens| Test::Prompt { tokens });
        let decodes = self.decode_tokens.iter().map(|&tokens| Test::Decode { tokens });
        let tests: Vec<Test> = prompts.chain(decodes).filter(|test| test.tokens() > 0).collect();
        if tests.is_empty() {
            let message = "`-p 0 -n 0` leaves nothing to measure, expected a number above 0 in one";
            return Err(Misuse(message.to_owned()));
        }
        Ok(tests)
    }

    /// What is asked for, or the types of the file.
    fn weights(&self) -> Vec<Option<Weights>> {
        if self.weights.is_empty() {
            return vec![None];
        }
        self.weights.iter().copied().map(Some).collect()
    }
}

pub(crate) fn run(arguments: &Arguments, device: &Device) -> anyhow::Result<()> {
    if arguments.load.0.is_asked_for() {
        return serve::run(arguments, device);
    }
    let rows = match arguments.tiles.is_empty() {
        true => tokens(arguments, device)?,
        false => tiles::run(arguments, device)?,
    };
    let text = if arguments.json { report::json(&rows) } else { report::tables(&rows) };
    Ok(write!(std::io::stdout().lock(), "{text}")?)
}

/// What a precision of products is called; that of the file is the matrices' own.
fn name_of(weights: Option<Weights>, dtype: DType) -> String {
    match weights.and_then(|weights| weights.to_possible_value()) {
        Some(value) => value.get_name().to_owned(),
        None => dtype.name().to_ascii_lowercase(),
    }
}

/// Measures reading and writing.
fn tokens(arguments: &Arguments, device: &Device) -> anyhow::Result<Vec<Row>> {
    let tests = arguments.tests()?;
    check_fits(arguments, &tests, device)?;
    let profile = arguments.profile.then(|| Arc::new(Profile::default()));
    let device = match &profile {
        Some(profile) => device.clone().with_profile(profile),
        None => device.clone(),
    };
    let variants = arguments.weights();
    let repeat = arguments.repeat.get();
    let tokens = tests.iter().map(|test| test.tokens() as u64).fold(0, u64::saturating_add);
    let runs = (repeat as u64).saturating_mul(variants.len() as u64);
    let setup = Setup {
        device: &device,
        chunk: arguments.chunk.get(),
        repeat,
        profile: profile.as_deref(),
        bar: &measure::Bar::new(tokens.saturating_mul(runs), Unit::Tokens)?,
    };
    let mut limits = Limits::new(&device);
    let mut rows = Vec::new();
    for weights in variants {
        // Closed before anything is measured: what is mapped counts as memory.
        let (model, place) = {
            let place = Place::of(arguments.model.as_deref())?;
            (place.load(&device, weights)?, place.name())
        };
        let dtype = model.dtype();
        let about = About {
            name: place,
            bytes: model.weight_bytes().total,
            parameters: model.config().num_parameters(),
            weights: name_of(weights, dtype),
        };
        limits.measure(dtype);
        let measure = |test: &Test| (*test, setup.measure(&model, *test, &about.weights));
        let timed: Vec<_> = tests.iter().map(measure).collect();
        limits.measure(dtype);
        rows.extend(timed.into_iter().map(|(test, timed)| {
            let share = |seconds| limits.share(&model, test, seconds);
            Row::new(about.clone(), &device, timed, share)
        }));
    }
    setup.bar.clear();
    Ok(rows)
}

/// Checks all tests before the first one is run: what does not fit is refused at the start.
fn check_fits(arguments: &Arguments, tests: &[Test], device: &Device) -> anyhow::Result<()> {
    let place = Place::of(arguments.model.as_deref())?;
    let config = place.config()?;
    let checkpoint = place.checkpoint()?;
    for test in tests {
        check_context(&config, *test)?;
        for weights in arguments.weights() {
            let tokens = test.all_tokens();
            let chunk = arguments.chunk.get().min(tokens);
            let policy = weights.map(Policy::from);
            let kv = Kv::or_default(None, &checkpoint, device, weights);
            Need::of(&place, &checkpoint, device, policy, kv, [tokens, chunk])?.check(tokens)?;
        }
    }
    Ok(())
}

/// Checks that a test's tokens are within the model's context.
fn check_context(config: &Config, test: Test) -> Result<(), Refused> {
    let context = config.max_position_embeddings;
    let (prompt, answer) = match test {
        Test::Prompt { tokens } => (tokens, 0),
        Test::Decode { tokens } => (SHORT_PROMPT, tokens),
    };
    if test.all_tokens() > context {
        return Err(Refused::TooLong { prompt, answer, context });
    }
    Ok(())
}
