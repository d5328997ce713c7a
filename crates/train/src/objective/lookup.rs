//! The language model that looks things up: cross-entropy of the answers' bytes.

use super::{Accumulated, Curve, Metric, Objective, Role, Visit};
use crate::batches::Batches;
use crate::lookup::{Spec, Split, document};
use crate::recipe::Stage;
use crate::tokens::Example;
use crate::{Error, Recipe};
use models::weights::saved;
use models::{Batch, CausalLm as _, MiniMaxText01};
use std::collections::BTreeMap;
use std::path::Path;
use tensor::{Device, Gradients, Precision, Rng, Saved, Tensor};

/// Examples in groups that are computed at once.
type MicroBatches = Vec<Vec<Example>>;

#[derive(Debug)]
pub(super) struct Lookup {
    model: MiniMaxText01,
    batches: Batches<MicroBatches>,
    /// Weight of the routers' balance losses.
    balance_loss: f64,
}

const METRICS: [Metric; 3] = [
    // Mean loss of the answers' bytes in nats.
    Metric {
        name: "loss",
        curve: Some(Curve { label: "loss of answers, nats per byte", height: |loss| loss }),
    },
    // Share of the answers' bytes that were predicted right.
    Metric {
        name: "accuracy",
        curve: Some(Curve {
            label: "share of answers' bytes wrong",
            height: |accuracy| 1.0 - accuracy,
        }),
    },
    // Mean of the routers' balance losses; 1 is even.
    Metric { name: "balance", curve: None },
];

/// Sums over the micro-batches of a step.
#[derive(Default)]
struct Sums {
    weight: f64,
    answer_loss: f64,
    answers: u64,
    right: u64,
    balance: f64,
    micro_batches: u64,
    tokens: u64,
}

impl Lookup {
    pub(super) fn new(recipe: &Recipe, path: &Path, device: &Device) -> Result<Self, Error> {
        let config = recipe.config(path)?;
        let layers = config.num_hidden_layers;
        let model = super::model(recipe, path, device, layers, |source| {
            MiniMaxText01::new(config, source)
        })?;
        // Drawing is a small part of a step on the CPU, not beside a GPU.
        let threads = if device.cuda().is_some() { device.num_threads() } else { 1 };
        let last = recipe.total_steps();
        let seed = recipe.seed;
        let stages = recipe.stages.clone();
        let batches = Batches::new(last, threads, move |step| {
            crate::recipe::stage(&stages, step)
                .map_or_else(Vec::new, |stage| draw(stage, seed, step))
        });
        let balance_loss = recipe.optimizer.balance_loss.unwrap_or_default();
        Ok(Self { model, batches, balance_loss })
    }

    /// Adds the gradients of the summed loss of `examples`.
    fn add(&self, examples: &[Example], gradients: &mut Gradients, sums: &mut Sums) {
        let all = || examples.iter().flat_map(|e| e.targets.iter().zip(&e.weights));
        let rows: Vec<usize> =
            all().enumerate().filter(|(_, (_, weight))| **weight > 0.0).map(|(i, _)| i).collect();
        let (targets, weights): (Vec<u32>, Vec<f32>) =
            all().filter(|(_, weight)| **weight > 0.0).unzip();
        let batch = Batch::new(examples.iter().map(|e| (&e.input_ids[..], 0)), &rows);
        let output = self.model.forward(&batch, None);
        let loss = output.hidden.cross_entropy(self.model.lm_head(), &targets, &weights);
        let weight: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        let mut total = loss.total;
        let layers = output.router.len() as f64;
        let balances: Vec<Tensor> = output
            .router
            .iter()
            .map(|router| router.logits.balance_loss(&router.routing))
            .collect();
        for balance in &balances {
            let factor = self.balance_loss * weight / layers;
            total = total.add_scaled(1.0, balance, factor as f32);
        }
        total.backward(gradients);
        let balance: f64 = balances.iter().map(|balance| f64::from(balance.to_vec()[0])).sum();
        sums.balance += balance / layers;
        sums.weight += weight;
        sums.micro_batches += 1;
        sums.tokens += batch.tokens() as u64;
        for i in (0..targets.len()).filter(|&i| weights[i] == 1.0) {
            sums.answers += 1;
            sums.answer_loss += f64::from(loss.losses[i]);
            sums.right += u64::from(loss.best[i] == targets[i]);
        }
    }
}

impl Objective for Lookup {
    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn unit(&self) -> &'static str {
        "tok"
    }

    fn for_each_parameter(&mut self, visit: Visit<'_>) {
        self.model.for_each_parameter(&mut |name, tensor| visit(name, role(name, tensor), tensor));
    }

    fn accumulate(&mut self, step: u64, gradients: &mut Gradients) -> Accumulated {
        let mut sums = Sums::default();
        for micro_batch in self.batches.take(step) {
            self.add(&micro_batch, gradients, &mut sums);
        }
        let answers = sums.answers.max(1) as f64;
        let metrics = vec![
            ("loss", sums.answer_loss / answers),
            ("accuracy", sums.right as f64 / answers),
            ("balance", sums.balance / sums.micro_batches.max(1) as f64),
        ];
        Accumulated { weight: sums.weight, items: sums.tokens, metrics }
    }

    fn weights(&mut self, precision: Precision) -> BTreeMap<String, Saved> {
        saved(&mut self.model, precision)
    }

    fn files(&mut self) -> Vec<(&'static str, String)> {
        let marks = serde_json::json!({ "special_tokens": text::lookup::MARKS });
        let config = self.model.config().to_json();
        vec![("config.json", config), ("byte_tokenizer.json", format!("{marks:#}\n"))]
    }
}

fn role(name: &str, parameter: &Tensor) -> Role {
    let is_table = name == "lm_head.weight" || name.ends_with("block_sparse_moe.gate.weight");
    match parameter.shape().len() > 1 && name != "model.embed_tokens.weight" {
        true if is_table => Role::Table,
        true => Role::Hidden,
        false => Role::Free,
    }
}

/// The examples of a step.
fn draw(stage: &Stage, seed: u64, step: u64) -> MicroBatches {
    let spec = Spec {
        split: Split::Train,
        min_bytes: stage.min_bytes,
        max_bytes: stage.max_bytes,
        questions: stage.questions,
        absent_share: stage.absent_share,
    };
    let mut rng = Rng::stream(seed, step);
    let mut groups: MicroBatches = Vec::new();
    let (mut tokens, mut in_group) = (0, usize::MAX);
    while tokens < stage.tokens_per_step {
        let document = document(&spec, &mut rng);
        let example = Example::new(&document, stage.document_weight, stage.question_weight);
        let len = example.input_ids.len();
        tokens += len;
        if in_group.saturating_add(len) > stage.tokens_per_micro_batch {
            groups.push(Vec::new());
            in_group = 0;
        }
        in_group += len;
        if let Some(group) = groups.last_mut() {
            group.push(example);
        }
    }
    groups
}
