//! The video model, by flow matching (arXiv:2210.02747, with the levels of arXiv:2403.03206):
//!
//! ```text
//! x_s = (1 - s) x_0 + s e      v = e - x_0      loss = mean over noisy latents of |model(x_s, s) - v|^2
//! ```
//!
//! One model for all tasks. What is given, be it the first frame, the last, or a reference, has level
//! 0 and no loss. Some clips have a level for each latent frame (arXiv:2407.01392), or some frames
//! without noise: so that frames can be repaired and clips gone on with.
//!
//! The autoencoder is not trained. Encoding costs as much as a step of the transformer, so a clip stays
//! in a pool while it is drawn a few times, each time with another caption, task, level and noise; some
//! clips come into the pool with each step and as many go.

mod draw;
mod examine;
mod pool;

use super::{Accumulated, Curve, Measured, Metric, Objective, Role, Visit, beside};
use crate::batches::Batches;
use crate::clips;
use crate::recipe::Flow;
use crate::{Error, Recipe};
use draw::{Drawing, Sample};
use models::video::nano::config::NanoConfig;
use models::video::vae::config::WanVaeConfig;
use models::video::{NanoVideo, WanVae};
use pool::Pool;
use std::collections::BTreeMap;
use std::path::Path;
use tensor::{Checkpoint, Device, Gradients, Precision, Saved, Tensor};

/// Clips, held out, whose loss is measured.
const HELD_OUT: usize = 64;
/// Makes the seed of their scenes and noise of that of the run.
const HELD_OUT_SEED: u64 = 1 << 61;

#[derive(Debug)]
pub(super) struct FlowMatching {
    model: NanoVideo,
    /// The autoencoder as its file has it, under the names of ours.
    vae: BTreeMap<String, Tensor>,
    config: String,
    section: Flow,
    drawing: Drawing,
    batches: Batches<Vec<Sample>>,
    pool: Pool,
    held_out: (Drawing, Pool),
    device: Device,
}

const METRICS: [Metric; 5] = [
    Metric { name: "loss", curve: Some(Curve { label: "loss", height: |loss| loss }) },
    // The same of held-out clips at noise that is always the same.
    Metric {
        name: "held_out",
        curve: Some(Curve { label: "loss of held-out clips", height: |loss| loss }),
    },
    // Shares of prompts whose clips show what they ask for.
    Metric { name: "colour", curve: None },
    Metric { name: "shape", curve: None },
    Metric {
        name: "motion",
        curve: Some(Curve { label: "share of motions wrong", height: |right| 1.0 - right }),
    },
];

impl FlowMatching {
    pub(super) fn new(recipe: &Recipe, path: &Path, device: &Device) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Recipe { path: path.to_owned(), reason };
        let Some(section) = recipe.flow.clone() else {
            return Err(wrong("`flow` is missing".to_owned()));
        };
        let mut json = serde_json::to_value(&recipe.model).map_err(|e| wrong(e.to_string()))?;
        let folder = section.autoencoder.as_ref().map(|folder| beside(path, folder));
        json["vae"] = match &folder {
            Some(folder) => read_config(folder)?,
            None => serde_json::Value::Null,
        };
        let config = serde_json::to_string_pretty(&json).map_err(|e| wrong(e.to_string()))?;
        let parsed = NanoConfig::from_json(config.as_bytes(), path)?;
        check(&parsed).map_err(wrong)?;
        let host = device.host();
        let (vae, tensors) = match (&folder, &parsed.vae) {
            (Some(folder), Some(config)) => {
                let (vae, tensors) = autoencoder(config, folder, &host)?;
                (Some(vae), tensors)
            }
            _ => (None, BTreeMap::new()),
        };
        let precision = recipe.compute.into();
        let mut model = NanoVideo::to_train(parsed, vae, &host, precision, recipe.seed)?;
        if let Some(start) = &recipe.start {
            model.start_from(&Checkpoint::open(&beside(path, start))?)?;
        }
        let drawing = Drawing::new(&section, model.config(), recipe.seed);
        let of_steps = drawing.clone();
        let batches = Batches::new(section.steps, 1, move |step| of_steps.step(step));
        let seed = recipe.seed ^ HELD_OUT_SEED;
        let held_out =
            (Drawing::new(&section, model.config(), seed), Pool::new(model.config(), seed));
        let pool = Pool::new(model.config(), recipe.seed);
        let device = device.clone();
        Ok(Self { model, vae: tensors, config, section, drawing, batches, pool, held_out, device })
    }

    /// The summed loss of samples of one shape, and the number of its terms.
    fn loss(&self, pool: &Pool, samples: &[Sample]) -> (Tensor, f64) {
        let [channels, frames, height, width] = pool.shape();
        let (of_frame, rows_of_frame) = (height * width, self.drawing.rows_of_frame());
        let mut x = Vec::new();
        let (mut target, mut weights) = (Vec::new(), Vec::new());
        let (mut references, mut levels, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
        for sample in samples {
            let clean = pool.clip(sample.index, sample.task.has_last());
            let mut places = clean.iter().zip(&sample.noise);
            for _ in 0..channels {
                for &s in &sample.levels {
                    for (&clean, &noise) in places.by_ref().take(of_frame) {
                        x.push((1.0 - s) * clean + s * noise);
                        target.push(noise - clean);
                        weights.push(if s > 0.0 { 1.0 } else { 0.0 });
                    }
                }
            }
            levels
                .extend(sample.levels.iter().flat_map(|&s| std::iter::repeat_n(s, rows_of_frame)));
            if sample.reference {
                references.extend(pool.reference(sample.index));
            }
            prompts.push(sample.prompt.clone());
        }
        let batch = samples.len();
        let tensor = |shape: &[usize], data| Tensor::new(&self.device, shape, data);
        let x = tensor(&[batch, channels, frames, height, width], x);
        let reference = samples.first().is_some_and(|sample| sample.reference).then(|| {
            let [height, width] = pool.reference_size();
            tensor(&[batch, channels, 1, height, width], references)
        });
        let text = self.model.encode_prompts(&prompts);
        let v = self.model.velocity(&x, &text, reference.as_ref(), &levels);
        let count = weights.iter().map(|weight| f64::from(*weight)).sum();
        (v.squared_error(&target, &weights), count)
    }

    /// Runs of samples that have a reference, and that have none, as large as may be computed at once.
    fn runs(&self, mut samples: Vec<Sample>) -> Vec<Vec<Sample>> {
        samples.sort_by_key(|sample| sample.reference);
        let mut runs = Vec::new();
        for of_shape in samples.chunk_by(|a, b| a.reference == b.reference) {
            // Of even length.
            let count = of_shape.len().div_ceil(self.section.clips_at_once);
            let len = of_shape.len().div_ceil(count);
            runs.extend(of_shape.chunks(len).map(<[Sample]>::to_vec));
        }
        runs
    }
}

impl Objective for FlowMatching {
    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn unit(&self) -> &'static str {
        "clips"
    }

    fn for_each_parameter(&mut self, visit: Visit<'_>) {
        self.model.for_each_parameter(&mut |name, tensor| visit(name, role(name, tensor), tensor));
    }

    fn accumulate(&mut self, step: u64, gradients: &mut Gradients) -> Accumulated {
        let samples = self.batches.take(step);
        self.pool.forget_before(self.drawing.oldest(step));
        self.pool.prepare(&self.model, &self.device, &samples);
        let items = samples.len() as u64;
        let (mut sum, mut weight) = (0.0, 0.0);
        for samples in self.runs(samples) {
            let (loss, count) = self.loss(&self.pool, &samples);
            sum += f64::from(loss.to_vec()[0]);
            weight += count;
            loss.backward(gradients);
        }
        Accumulated { weight, items, metrics: vec![("loss", sum / f64::max(weight, 1.0))] }
    }

    fn validate(&mut self) -> Measured {
        let (drawing, pool) = &mut self.held_out;
        let samples = drawing.samples(HELD_OUT, 0, 0);
        pool.prepare(&self.model, &self.device, &samples);
        let (mut sum, mut weight) = (0.0, 0.0);
        for samples in self.runs(samples) {
            let (loss, count) = self.loss(&self.held_out.1, &samples);
            sum += f64::from(loss.to_vec()[0]);
            weight += count;
        }
        let mut measured = vec![("held_out", sum / f64::max(weight, 1.0))];
        if self.section.prompts > 0 {
            let right = examine::examine(&self.model, &self.section, &self.drawing, &self.device);
            measured.extend(["colour", "shape", "motion"].into_iter().zip(right));
        }
        measured
    }

    fn weights(&mut self, precision: Precision) -> BTreeMap<String, Saved> {
        let mut saved = self.model.saved(precision);
        let vae =
            self.vae.iter().map(|(name, tensor)| (name.clone(), Saved::Tensor(tensor.clone())));
        saved.extend(vae);
        saved
    }

    fn files(&mut self) -> Vec<(&'static str, String)> {
        vec![("config.json", self.config.clone()), ("words.json", clips::tokenizer().to_json())]
    }
}

/// Matrices between hidden states are of layers; what comes in and goes out is as a table.
fn role(name: &str, tensor: &Tensor) -> Role {
    let of_layer = name.contains(".blocks.") || name.contains(".layers.");
    match tensor.shape().len() {
        2 if name.ends_with(".weight") && of_layer => Role::Hidden,
        2 if name.ends_with(".weight") && name != "text.words.weight" => Role::Table,
        _ => Role::Free,
    }
}

fn read_config(folder: &Path) -> Result<serde_json::Value, Error> {
    let path = folder.join("config.json");
    let text =
        std::fs::read(&path).map_err(|source| models::Error::Io { path: path.clone(), source })?;
    let json = serde_json::from_slice(&text);
    Ok(json.map_err(|error| models::Error::Json { path, reason: error.to_string() })?)
}

/// The autoencoder of a folder, and its tensors as they are stored.
fn autoencoder(
    config: &WanVaeConfig,
    folder: &Path,
    device: &Device,
) -> Result<(WanVae, BTreeMap<String, Tensor>), Error> {
    let checkpoint = Checkpoint::open(folder)?;
    let vae = WanVae::load(config.clone(), &checkpoint, device, None)?;
    let mut tensors = BTreeMap::new();
    for name in checkpoint.names() {
        let shape = checkpoint.shape(name).unwrap_or_default();
        tensors.insert(format!("vae.{name}"), checkpoint.load(device, name, shape)?);
    }
    Ok((vae, tensors))
}

/// What the data asks of a model.
fn check(config: &NanoConfig) -> Result<(), String> {
    let wrong = |field: &str, found: usize, expected: String| {
        Err(format!("`model.{field}` is {found}, expected {expected}"))
    };
    let words = clips::tokenizer().len();
    if config.text.vocab_size != words {
        return wrong(
            "text.vocab_size",
            config.text.vocab_size,
            format!("{words}, those of captions"),
        );
    }
    if config.text.max_words < clips::MAX_WORDS {
        let expected = format!("{} or more, those of the longest caption", clips::MAX_WORDS);
        return wrong("text.max_words", config.text.max_words, expected);
    }
    if config.height != config.width {
        return wrong("height", config.height, format!("`width`, which is {}", config.width));
    }
    if config.frame_rate as f64 != clips::RATE {
        return wrong("frame_rate", config.frame_rate, clips::RATE.to_string());
    }
    Ok(())
}
