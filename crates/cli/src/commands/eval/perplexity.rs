//! `fulgurite eval perplexity`: how well a model foresees a text, and how far one kind of weights is
//! from another: see [`Agreement`].

use super::agreement::Agreement;
use crate::model::{Place, Weights, read_to_string};
use crate::table::markdown;
use clap::ValueEnum as _;
use indicatif::{ProgressBar, ProgressStyle};
use models::{Batch, Cache, CausalLm, MiniMaxText01};
use std::io::Write as _;
use std::path::PathBuf;
use tensor::{Device, KvType};
use text::Specials;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The text
    file: PathBuf,
    /// The model's folder or GGUF file; the embedded model unless set
    #[arg(long, env = "FULGURITE_MODEL")]
    model: Option<PathBuf>,
    /// How matrices are kept, several separated by commas; as in the file unless set
    #[arg(long, env = "FULGURITE_WEIGHTS", value_delimiter = ',')]
    weights: Vec<Weights>,
    /// Compare with these; the first of `--weights` unless set
    #[arg(long)]
    against: Option<Weights>,
    /// Tokens of the text that are read; all unless set
    #[arg(long)]
    tokens: Option<usize>,
    /// Tokens computed at once
    #[arg(long, env = "FULGURITE_CHUNK", default_value = "512")]
    chunk: std::num::NonZeroUsize,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, device: &Device) -> anyhow::Result<()> {
    let place = Place::of(arguments.model.as_deref())?;
    let ids = place.tokenizer()?.encode(&read_to_string(&arguments.file)?, Specials::AsText)?;
    let ids = &ids[..arguments.tokens.unwrap_or(ids.len()).min(ids.len())];
    anyhow::ensure!(
        ids.len() > 1,
        "`{}` has {} tokens, expected at least 2 of which one is foreseen",
        arguments.file.display(),
        ids.len()
    );
    let context = place.config()?.max_position_embeddings;
    anyhow::ensure!(
        ids.len() <= context,
        "`{}` has {} tokens, expected at most the model's context, {context}: use `--tokens`",
        arguments.file.display(),
        ids.len()
    );
    let variants: Vec<Option<Weights>> = match &arguments.weights[..] {
        [] => vec![None],
        weights => weights.iter().copied().map(Some).collect(),
    };
    let against = arguments.against.or(variants[0]);
    let reference = place.load(device, against)?;
    let bar = ProgressBar::new((ids.len() * variants.len()) as u64);
    bar.set_style(ProgressStyle::with_template("reading {wide_bar} {pos}/{len} tokens {eta}")?);
    let name = |weights: Option<Weights>| match weights.and_then(|w| w.to_possible_value()) {
        Some(value) => value.get_name().to_owned(),
        None => "as stored".to_owned(),
    };
    let mut rows = Vec::new();
    for weights in variants {
        let model = place.load(device, weights)?;
        let sums = compare(&model, &reference, ids, arguments.chunk.get(), &bar);
        rows.push((name(weights), sums));
    }
    bar.finish_and_clear();
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let rows = rows.iter().map(|(weights, sums)| {
            serde_json::json!({
                "weights": weights, "against": name(against), "positions": sums.positions(),
                "perplexity": sums.perplexity(), "kl": sums.kl(),
                "same_top_1": sums.same_top_1(),
            })
        });
        return Ok(writeln!(out, "{:#}", serde_json::Value::from_iter(rows))?);
    }
    let columns = ["weights", "positions", "perplexity", "KL", "same top-1"];
    let right = [false, true, true, true, true];
    let rows = rows.iter().map(|(weights, sums)| {
        vec![
            weights.clone(),
            sums.positions().to_string(),
            format!("{:.4}", sums.perplexity()),
            format!("{:.2e}", sums.kl()),
            format!("{:.2} %", 100.0 * sums.same_top_1()),
        ]
    });
    writeln!(out, "KL and top-1 against {}\n", name(against))?;
    Ok(write!(out, "{}", markdown(&columns, &right, rows.collect()))?)
}

/// Both models read `ids`; every token but the first is foreseen.
fn compare(
    model: &MiniMaxText01,
    reference: &MiniMaxText01,
    ids: &[u32],
    chunk: usize,
    bar: &ProgressBar,
) -> Agreement {
    let mut caches = [model, reference].map(|model| Cache::new(model.config(), KvType::F32));
    let mut sums = Agreement::default();
    let vocab = model.config().vocab_size;
    for (i, part) in ids.chunks(chunk).enumerate() {
        let rows: Vec<usize> = (0..part.len()).collect();
        let batch = Batch::single(part, i * chunk, &rows);
        let [q, p] = &mut caches;
        let (q, p) = (model.logits(&batch, &mut [q]), reference.logits(&batch, &mut [p]));
        let next = ids.iter().skip(i * chunk + 1);
        let rows = q.data().chunks_exact(vocab).zip(p.data().chunks_exact(vocab));
        for ((q, p), &next) in rows.zip(next) {
            sums.add(q, p, next);
        }
        bar.inc(part.len() as u64);
    }
    sums
}
