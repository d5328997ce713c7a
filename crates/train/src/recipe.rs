//! The file that says how a model is trained.

use crate::Error;
use models::Config;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tensor::Precision;

/// No setting of an optimizer is larger.
const MAX_SETTING: f64 = 1e6;
/// Longest document: its tokens and activations are in memory at once.
const MAX_BYTES: usize = 64 << 20;
/// More steps than a lifetime has seconds.
const MAX_STEPS: u64 = 1 << 32;

/// A training run: everything that decides its result, apart from the number of threads.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Decides weights and data.
    pub seed: u64,
    /// In what precision weights take part in products; they are kept in f32.
    pub compute: Compute,
    /// A folder with the weights to begin with, from where the recipe is; random ones if not set.
    pub start: Option<PathBuf>,
    /// The shape, in the fields of a `config.json`.
    pub model: toml::Table,
    /// How steps change the weights.
    pub optimizer: Optimizer,
    /// What is read, stage by stage.
    pub stages: Vec<Stage>,
    /// Steps between two checkpoints.
    pub checkpoint_every: u64,
}

/// The precision of products.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Compute {
    /// f32 throughout.
    F32,
    /// Weights rounded to bf16, accumulation in f32.
    Bf16,
}

impl From<Compute> for Precision {
    fn from(compute: Compute) -> Self {
        match compute {
            Compute::F32 => Self::F32,
            Compute::Bf16 => Self::Bf16,
        }
    }
}

/// What moves the matrices of the layers; norms, tables and routers are AdamW's.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Matrices {
    /// AdamW.
    #[default]
    AdamW,
    /// Muon.
    Muon,
}

/// Steps of one kind with a warmup-stable-decay schedule.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// What moves the matrices.
    #[serde(default)]
    pub matrices: Matrices,
    /// Learning rate of the stable part.
    pub lr: f64,
    /// Steps in which it rises to there.
    pub warmup_steps: u64,
    /// Last steps, in which it falls to 0.
    pub decay_steps: u64,
    /// Share of matrices taken away per step, times the learning rate.
    pub weight_decay: f64,
    /// Longest gradient, as Euclidean norm; longer ones are shortened.
    pub max_grad_norm: f64,
    /// Weight of the routers' balance loss.
    pub balance_loss: f64,
}

impl Optimizer {
    /// The learning rate of step `step` of `total`, counted from 1.
    pub fn lr_at(&self, step: u64, total: u64) -> f64 {
        let rise = step as f64 / self.warmup_steps.max(1) as f64;
        let fall = (total + 1 - step.min(total)) as f64 / self.decay_steps.max(1) as f64;
        self.lr * rise.min(fall).min(1.0)
    }
}

/// A part of the run with documents of one range of lengths.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Number of steps.
    pub steps: u64,
    /// Tokens of one step, at least; gradients are summed over all of them.
    pub tokens_per_step: usize,
    /// Longest piece that is computed at once, in tokens; documents are not cut.
    pub tokens_per_micro_batch: usize,
    /// Shortest document in bytes.
    pub min_bytes: usize,
    /// Longest document in bytes; lengths are log-uniform.
    pub max_bytes: usize,
    /// Most questions per document.
    pub questions: usize,
    /// Share of questions about what is not there.
    pub absent_share: f32,
    /// Weight of a document's tokens in the loss; that of an answer's is 1.
    pub document_weight: f32,
    /// Weight of a question's tokens in the loss.
    pub question_weight: f32,
}

impl Recipe {
    /// Reads a recipe; `path` is named in errors.
    ///
    /// # Errors
    ///
    /// If it is not TOML, lacks a field, or has one that is unknown or out of range.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Recipe { path: path.to_owned(), reason };
        let recipe: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if recipe.stages.is_empty() {
            return Err(wrong("`stages` is empty, expected at least one".to_owned()));
        }
        for (i, stage) in recipe.stages.iter().enumerate() {
            let wrong = |field: &str, found: String, expected: &str| {
                wrong(format!("`stages[{i}].{field}` is {found}, expected {expected}"))
            };
            if stage.min_bytes < 64 || stage.max_bytes < stage.min_bytes {
                let found = format!("{} with `max_bytes` {}", stage.min_bytes, stage.max_bytes);
                return Err(wrong("min_bytes", found, "64 or more and at most `max_bytes`"));
            }
            for (field, share) in [
                ("absent_share", stage.absent_share),
                ("document_weight", stage.document_weight),
                ("question_weight", stage.question_weight),
            ] {
                if !(0.0..=1.0).contains(&share) {
                    return Err(wrong(field, share.to_string(), "0 to 1"));
                }
            }
            if stage.questions == 0 || stage.steps == 0 || stage.tokens_per_step == 0 {
                let found =
                    format!("{}, {}, {}", stage.questions, stage.steps, stage.tokens_per_step);
                return Err(wrong("questions, steps, tokens_per_step", found, "1 or more"));
            }
        }
        recipe.check_numbers().map_err(wrong)?;
        Ok(recipe)
    }

    /// Numbers that would go wrong only hours later.
    fn check_numbers(&self) -> Result<(), String> {
        let Optimizer { lr, weight_decay, max_grad_norm, balance_loss, .. } = self.optimizer;
        for (field, value, least) in [
            ("lr", lr, 0.0),
            ("weight_decay", weight_decay, 0.0),
            ("max_grad_norm", max_grad_norm, f64::MIN_POSITIVE),
            ("balance_loss", balance_loss, 0.0),
        ] {
            if !(least..=MAX_SETTING).contains(&value) {
                return Err(format!(
                    "`optimizer.{field}` is {value}, expected a number from {least:e} to {MAX_SETTING:e}"
                ));
            }
        }
        let mut total = 0u64;
        for (i, stage) in self.stages.iter().enumerate() {
            if stage.max_bytes > MAX_BYTES {
                return Err(format!(
                    "`stages[{i}].max_bytes` is {}, expected at most {MAX_BYTES}",
                    stage.max_bytes
                ));
            }
            total = total.saturating_add(stage.steps);
            if total > MAX_STEPS {
                return Err(format!(
                    "`stages[{i}].steps` is {}, expected at most {MAX_STEPS} steps in all",
                    stage.steps
                ));
            }
        }
        for (field, value) in &self.model {
            if value.as_float().is_some_and(|x| !x.is_finite()) {
                return Err(format!("`model.{field}` is {value}, expected a finite number"));
            }
        }
        Ok(())
    }

    /// The config of the model.
    ///
    /// # Errors
    ///
    /// If a model cannot have it.
    pub fn config(&self, path: &Path) -> Result<Config, Error> {
        let json = serde_json::to_vec(&self.model)
            .map_err(|error| Error::Recipe { path: path.to_owned(), reason: error.to_string() })?;
        Ok(Config::from_json(&json, path)?)
    }

    /// Number of steps of all stages.
    pub fn total_steps(&self) -> u64 {
        self.stages.iter().map(|stage| stage.steps).sum()
    }

    /// The stage of step `step`, counted from 1.
    pub fn stage(&self, step: u64) -> &Stage {
        let mut end = 0;
        let found = self.stages.iter().find(|stage| {
            end += stage.steps;
            step <= end
        });
        found.unwrap_or(&self.stages[self.stages.len() - 1])
    }
}
