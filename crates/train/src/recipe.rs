//! The file that says how a model is trained.

mod autoencoder;
mod flow;
mod transcribe;

pub use autoencoder::{Autoencoder, ClipBatch, ClipsOf};
pub use flow::Flow;
pub use transcribe::{Marked, Sense, Transcribe};

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
    /// What is trained; its data is in the section of that name, or in `stages`.
    #[serde(default)]
    pub objective: Kind,
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
    /// What a lookup model reads, stage by stage.
    #[serde(default)]
    pub stages: Vec<Stage>,
    /// What an autoencoder reads and how it is judged.
    pub autoencoder: Option<Autoencoder>,
    /// What a video model reads and how.
    pub flow: Option<Flow>,
    /// What a tower sees or hears and how.
    pub transcribe: Option<Transcribe>,
    /// Steps between two checkpoints.
    pub checkpoint_every: u64,
    /// Steps between two measurements on held-out data; the last step always has one. Never if not
    /// set.
    pub validate_every: Option<u64>,
    /// The model that is written has the moving average of the weights with this decay, close to 1;
    /// the last weights if not set.
    pub ema: Option<f64>,
    /// Parts of the model that stay as they are: beginnings of parameters' names, up to a dot.
    #[serde(default)]
    pub freeze: Vec<String>,
    /// Parts whose matrices are written in 8 bits, named like those; the rest is written in bf16.
    #[serde(default)]
    pub q8: Vec<String>,
}

/// What is trained.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A language model that looks things up in text.
    #[default]
    Lookup,
    /// A video autoencoder.
    Autoencoder,
    /// A video model, by flow matching.
    Flow,
    /// A tower that sees or hears, by transcripts that a language model reads.
    Transcribe,
}

impl Kind {
    /// The field of a recipe that only this kind has.
    fn section(self) -> &'static str {
        match self {
            Self::Lookup => "stages",
            Self::Autoencoder => "autoencoder",
            Self::Flow => "flow",
            Self::Transcribe => "transcribe",
        }
    }
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
    /// Weight of the routers' balance loss, of models that have some.
    pub balance_loss: Option<f64>,
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
        recipe.check_numbers().map_err(wrong)?;
        recipe.check_sections().map_err(wrong)?;
        Ok(recipe)
    }

    /// Numbers that would go wrong only hours later.
    fn check_numbers(&self) -> Result<(), String> {
        let Optimizer { lr, weight_decay, max_grad_norm, balance_loss, .. } = self.optimizer;
        for (field, value, least) in [
            ("lr", lr, 0.0),
            ("weight_decay", weight_decay, 0.0),
            ("max_grad_norm", max_grad_norm, f64::MIN_POSITIVE),
            ("balance_loss", balance_loss.unwrap_or(0.0), 0.0),
        ] {
            if !(least..=MAX_SETTING).contains(&value) {
                return Err(format!(
                    "`optimizer.{field}` is {value}, expected a number from {least:e} to {MAX_SETTING:e}"
                ));
            }
        }
        if let Some(ema) = self.ema.filter(|ema| !(0.0..1.0).contains(ema)) {
            return Err(format!("`ema` is {ema}, expected 0 or more and less than 1"));
        }
        if self.objective == Kind::Lookup && !self.q8.is_empty() {
            return Err("`q8` is not for language models: see `fulgurite quantize`".to_owned());
        }
        if self.validate_every == Some(0) {
            return Err("`validate_every` is 0, expected 1 or more".to_owned());
        }
        for (field, value) in &self.model {
            if value.as_float().is_some_and(|x| !x.is_finite()) {
                return Err(format!("`model.{field}` is {value}, expected a finite number"));
            }
        }
        Ok(())
    }

    /// What only some objectives have is there for them, and for no others.
    fn check_sections(&self) -> Result<(), String> {
        let found = [
            (Kind::Lookup, !self.stages.is_empty()),
            (Kind::Autoencoder, self.autoencoder.is_some()),
            (Kind::Flow, self.flow.is_some()),
            (Kind::Transcribe, self.transcribe.is_some()),
        ];
        for (kind, is_there) in found {
            let section = kind.section();
            if kind != self.objective && is_there {
                let own = self.objective.section();
                return Err(format!("`{section}` is for another `objective`, whose is `{own}`"));
            }
        }
        let missing = || Err(format!("`{}` is missing", self.objective.section()));
        match self.objective {
            Kind::Lookup => self.check_lookup(),
            Kind::Autoencoder => self.autoencoder.as_ref().map_or_else(missing, Autoencoder::check),
            Kind::Flow => self.flow.as_ref().map_or_else(missing, Flow::check),
            Kind::Transcribe => self.transcribe.as_ref().map_or_else(missing, Transcribe::check),
        }
    }

    /// What only lookup models need.
    fn check_lookup(&self) -> Result<(), String> {
        if self.optimizer.balance_loss.is_none() {
            return Err("`optimizer.balance_loss` is missing".to_owned());
        }
        if self.stages.is_empty() {
            return Err("`stages` is empty, expected at least one".to_owned());
        }
        let mut total = 0u64;
        for (i, stage) in self.stages.iter().enumerate() {
            stage.check(i)?;
            total = total.saturating_add(stage.steps);
            if total > MAX_STEPS {
                return Err(format!(
                    "`stages[{i}].steps` is {}, expected at most {MAX_STEPS} steps in all",
                    stage.steps
                ));
            }
        }
        Ok(())
    }

    /// Whether the parameter `name` stays as it is.
    pub(crate) fn freezes(&self, name: &str) -> bool {
        self.freeze.iter().any(|part| is_part(name, part))
    }

    /// Whether the parameter `name` is written in 8 bits, if it is a matrix.
    pub(crate) fn narrows(&self, name: &str) -> bool {
        self.q8.iter().any(|part| is_part(name, part))
    }

    /// Whether `freeze` names parts of a model with parameters of these names, and leaves some.
    pub(crate) fn check_freeze(&self, names: &[String], path: &Path) -> Result<(), Error> {
        let wrong = |reason: String| Err(Error::Recipe { path: path.to_owned(), reason });
        let names_none = |part: &&String| !names.iter().any(|name| is_part(name, part));
        if let Some(part) = self.freeze.iter().find(names_none) {
            return wrong(format!("`freeze` has \"{part}\", with which no parameter begins"));
        }
        if names.iter().all(|name| self.freezes(name)) {
            return wrong("`freeze` leaves nothing to train".to_owned());
        }
        Ok(())
    }

    /// The config of a lookup model.
    ///
    /// # Errors
    ///
    /// If a model cannot have it.
    pub fn config(&self, path: &Path) -> Result<Config, Error> {
        let json = serde_json::to_vec(&self.model)
            .map_err(|error| Error::Recipe { path: path.to_owned(), reason: error.to_string() })?;
        Ok(Config::from_json(&json, path)?)
    }

    /// Number of steps.
    pub fn total_steps(&self) -> u64 {
        match self.objective {
            Kind::Lookup => self.stages.iter().map(|stage| stage.steps).sum(),
            Kind::Autoencoder => self.autoencoder.as_ref().map_or(0, |section| section.steps),
            Kind::Flow => self.flow.as_ref().map_or(0, |flow| flow.steps),
            Kind::Transcribe => self.transcribe.as_ref().map_or(0, |section| section.steps),
        }
    }
}

impl Stage {
    fn check(&self, i: usize) -> Result<(), String> {
        let wrong = |field: &str, found: String, expected: &str| {
            Err(format!("`stages[{i}].{field}` is {found}, expected {expected}"))
        };
        if self.min_bytes < 64 || self.max_bytes < self.min_bytes {
            let found = format!("{} with `max_bytes` {}", self.min_bytes, self.max_bytes);
            return wrong("min_bytes", found, "64 or more and at most `max_bytes`");
        }
        for (field, share) in [
            ("absent_share", self.absent_share),
            ("document_weight", self.document_weight),
            ("question_weight", self.question_weight),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return wrong(field, share.to_string(), "0 to 1");
            }
        }
        if self.questions == 0 || self.steps == 0 || self.tokens_per_step == 0 {
            let found = format!("{}, {}, {}", self.questions, self.steps, self.tokens_per_step);
            return wrong("questions, steps, tokens_per_step", found, "1 or more");
        }
        if self.max_bytes > MAX_BYTES {
            let expected = format!("at most {MAX_BYTES}");
            return wrong("max_bytes", self.max_bytes.to_string(), &expected);
        }
        Ok(())
    }
}

/// Whether the parameter `name` is `part` or of it.
fn is_part(name: &str, part: &str) -> bool {
    name.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The stage of step `step`, counted from 1; the last one for later steps.
pub(crate) fn stage(stages: &[Stage], step: u64) -> Option<&Stage> {
    let mut end = 0;
    let found = stages.iter().find(|stage| {
        end += stage.steps;
        step <= end
    });
    found.or(stages.last())
}
