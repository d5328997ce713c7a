//! `fulgurite eval`: measures a model.

mod agreement;
mod forward;
mod lookup;
mod perplexity;
mod video;

use crate::model::Place;
use anyhow::Context as _;
use models::weights::Policy;
use models::{Batch, Cache, CausalLm};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tensor::{Checkpoint, Device, Saved, safetensors};

#[derive(clap::Subcommand)]
pub(crate) enum What {
    /// Logits of given tokens: for every `input_ids.L` of the input, `logits.L` `[L, vocab]`
    ///
    /// For comparisons with other implementations: computed in f64 between operations, which is slow.
    Logits(Logits),
    /// What a model that is not a language model computes: every `out.NAME` from every `in.NAME`
    ///
    /// For comparisons with other implementations: computed in f64 between operations, which is slow.
    Forward(forward::Arguments),
    /// Whole answers right, over generated documents of held-out words, or a list of questions
    Lookup(lookup::Arguments),
    /// How well a text is foreseen, and how far one kind of weights is from another
    Perplexity(perplexity::Arguments),
    /// What generated clips show, and what finds faults in clips; over procedural clips
    Video(video::Arguments),
}

#[derive(clap::Args)]
pub(crate) struct Logits {
    /// The model's folder or GGUF file; the embedded model unless set
    #[arg(long, env = "FULGURITE_MODEL")]
    model: Option<PathBuf>,
    /// A safetensors file with token ids
    #[arg(long)]
    input: PathBuf,
    /// The safetensors file to write
    #[arg(long)]
    output: PathBuf,
    /// How matrices are kept; as in the file unless set
    #[arg(long, env = "FULGURITE_WEIGHTS")]
    weights: Option<crate::model::Weights>,
    /// How keys and values are kept; unless set as f32, since this is for comparisons
    #[arg(long, env = "FULGURITE_KV")]
    kv: Option<crate::model::Kv>,
    /// Tokens computed at once
    #[arg(long, env = "FULGURITE_CHUNK", default_value = "4096")]
    chunk: std::num::NonZeroUsize,
}

pub(crate) fn run(what: &What, device: &Device) -> anyhow::Result<()> {
    match what {
        What::Logits(arguments) => logits(arguments, device),
        What::Forward(arguments) => forward::run(arguments, device),
        What::Lookup(arguments) => lookup::run(arguments, device),
        What::Perplexity(arguments) => perplexity::run(arguments, device),
        What::Video(arguments) => video::run(arguments, device),
    }
}

fn logits(arguments: &Logits, device: &Device) -> anyhow::Result<()> {
    let quantizing = |weights| Policy::from(weights).is_quantizing();
    // Of blocks the question is what comes of them, so they are multiplied as they always are.
    let device = &match arguments.weights.is_some_and(quantizing) {
        true => device.clone(),
        false => device.clone().with_f64_arithmetic(),
    };
    let place = Place::of(arguments.model.as_deref())?;
    let checkpoint = place.checkpoint()?;
    let kv = crate::model::Kv::or_default(arguments.kv, &checkpoint, device, arguments.weights);
    let model = place.load_from(&checkpoint, device, arguments.weights)?;
    let vocab_size = model.config().vocab_size;
    let input = Checkpoint::open(&arguments.input)?;
    let mut outputs = BTreeMap::new();
    for name in input.names() {
        let Some(length) = name.strip_prefix("input_ids.") else { continue };
        let ids = input.load_ids(name)?;
        let id = |id: i64| u32::try_from(id).ok().filter(|id| (*id as usize) < vocab_size);
        let ids: Option<Vec<u32>> = ids.into_iter().map(id).collect();
        let ids = ids.with_context(|| {
            format!(
                "`{}`: `{name}` has an id that is not below the vocabulary's size, {vocab_size}",
                arguments.input.display()
            )
        })?;
        let mut cache = Cache::new(model.config(), kv);
        let mut logits = Vec::with_capacity(ids.len() * vocab_size);
        for chunk in ids.chunks(arguments.chunk.get()) {
            let rows: Vec<usize> = (0..chunk.len()).collect();
            let batch = Batch::single(chunk, cache.tokens(), &rows);
            logits.extend_from_slice(model.logits(&batch, &mut [&mut cache]).data());
        }
        let tensor = tensor::Tensor::new(device, &[ids.len(), vocab_size], logits);
        outputs.insert(format!("logits.{length}"), Saved::Tensor(tensor));
    }
    anyhow::ensure!(
        !outputs.is_empty(),
        "`{}` has no tensor named `input_ids.L`",
        arguments.input.display()
    );
    Ok(safetensors::save(&arguments.output, outputs, &BTreeMap::new())?)
}
