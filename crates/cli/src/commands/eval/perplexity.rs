//! `fulgurite eval perplexity`: how well a model foresees a text, and how far one kind of weights is
//! from another.
//!
//! ```text
//! perplexity = exp(mean of -ln p(token | those before))
//! KL         = mean of sum over v of p(v) ln(p(v) / q(v))      p: `--against`, q: `--weights`
//! top-1      = share of positions where p and q have their largest at the same token
//! ```

use crate::model::{Place, Weights, read_to_string};
use crate::table::markdown;
use clap::ValueEnum as _;
use indicatif::{ProgressBar, ProgressStyle};
use models::{Batch, Cache, CausalLm, MiniMaxText01};
use std::io::Write as _;
use std::path::PathBuf;
use tensor::Device;
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

/// Sums over the positions of one model and its comparison.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    loss: f64,
    kl: f64,
    same: usize,
    positions: usize,
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
    let per = |sum: f64, sums: &Sums| sum / sums.positions as f64;
    if arguments.json {
        let rows = rows.iter().map(|(weights, sums)| {
            serde_json::json!({
                "weights": weights, "against": name(against), "positions": sums.positions,
                "perplexity": per(sums.loss, sums).exp(), "kl": per(sums.kl, sums),
                "same_top_1": per(sums.same as f64, sums),
            })
        });
        return Ok(writeln!(out, "{:#}", serde_json::Value::from_iter(rows))?);
    }
    let columns = ["weights", "positions", "perplexity", "KL", "same top-1"];
    let right = [false, true, true, true, true];
    let rows = rows.iter().map(|(weights, sums)| {
        vec![
            weights.clone(),
            sums.positions.to_string(),
            format!("{:.4}", per(sums.loss, sums).exp()),
            format!("{:.2e}", per(sums.kl, sums)),
            format!("{:.2} %", 100.0 * per(sums.same as f64, sums)),
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
) -> Sums {
    let mut caches = [model, reference].map(|model| Cache::new(model.config(), ids.len()));
    let mut sums = Sums::default();
    let vocab = model.config().vocab_size;
    for (i, part) in ids.chunks(chunk).enumerate() {
        let rows: Vec<usize> = (0..part.len()).collect();
        let batch = Batch::single(part, i * chunk, &rows);
        let [q, p] = &mut caches;
        let (q, p) = (model.logits(&batch, &mut [q]), reference.logits(&batch, &mut [p]));
        let next = ids.iter().skip(i * chunk + 1);
        let rows = q.data().chunks_exact(vocab).zip(p.data().chunks_exact(vocab));
        for ((q, p), &next) in rows.zip(next) {
            let (q, p) = (log_softmax(q), log_softmax(p));
            sums.loss -= q[next as usize];
            sums.kl += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            sums.same += usize::from(largest(&p) == largest(&q));
            sums.positions += 1;
        }
        bar.inc(part.len() as u64);
    }
    sums
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|x| (f64::from(*x) - most).exp()).sum();
    logits.iter().map(|x| f64::from(*x) - most - sum.ln()).collect()
}

fn largest(x: &[f64]) -> Option<usize> {
    (0..x.len()).max_by(|&a, &b| x[a].total_cmp(&x[b]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one() {
        let p = log_softmax(&[1.0, 2.0, -1000.0, 88.0, 88.0]);
        assert!((p.iter().map(|p| p.exp()).sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((p[3] - 0.5f64.ln()).abs() < 1e-9, "{p:?}");
        assert_eq!(largest(&[0.0, 3.0, 1.0]), Some(1));
    }
}
