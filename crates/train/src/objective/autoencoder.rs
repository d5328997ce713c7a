//! The video autoencoder: clips through a narrow middle and back.
//!
//! ```text
//! loss = mean over pixels of [ smooth_l1(y - x) + w_d sum_axes smooth_l1(dy - dx) ]
//!      + w_k mean over latents of KL(N(mean, var) | N(0, 1))         y = decode(mean + std noise)
//! ```
//!
//! `dx` are differences of neighbours in height, width and time: edges count as such, and frames do
//! not flicker.

use super::{Accumulated, Curve, Measured, Metric, Objective, Role, Visit};
use crate::batches::Batches;
use crate::clips::{Scene, Split};
use crate::recipe::{Autoencoder as Section, ClipBatch, ClipsOf};
use crate::{Error, Recipe};
use models::video::WanVae;
use models::video::vae::config::WanVaeConfig;
use std::collections::BTreeMap;
use std::path::Path;
use tensor::{Device, Gradients, Precision, Rng, Saved, Tensor};

/// Logarithm of the variance that random encoders begin with: with that of 1 the decoder would see
/// nothing but noise.
const FIRST_LOG_VARIANCE: f32 = -6.0;
/// Share of scenes with a subject of two tones.
const SUBJECTS: f32 = 0.4;
/// Clips that are measured, held out from training.
const HELD_OUT: usize = 24;
/// Clips of the training data whose latents are measured.
const STATISTICS: usize = 256;
/// Clips that are encoded at once where there is no tape.
const AT_ONCE: usize = 8;
/// Streams of clips that are no step's.
const OTHER: u64 = 1 << 60;

#[derive(Debug)]
pub(super) struct Autoencoder {
    vae: WanVae,
    batches: Batches<Vec<Clips>>,
    section: Section,
    seed: u64,
    device: Device,
    /// Whether latents change: statistics of those that do not are what the recipe says.
    encodes_anew: bool,
}

const METRICS: [Metric; 4] = [
    Metric { name: "loss", curve: Some(Curve { label: "loss", height: |loss| loss }) },
    // Mean divergence per latent in nats.
    Metric { name: "kl", curve: None },
    // Of held-out clips, in decibels.
    Metric {
        name: "psnr",
        curve: Some(Curve {
            label: "error of held-out clips, pixels from 0 to 1",
            height: |psnr| 10f64.powf(-psnr / 20.0),
        }),
    },
    // Of held-out reference pictures.
    Metric { name: "picture", curve: None },
];

/// Clips of one shape.
struct Clips {
    /// `[batch, 3, frames, height, width]`.
    shape: [usize; 5],
    /// From -1 to 1.
    pixels: Vec<f32>,
    /// Standard normal, one for each latent.
    noise: Vec<f32>,
}

impl Autoencoder {
    pub(super) fn new(recipe: &Recipe, path: &Path, device: &Device) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Recipe { path: path.to_owned(), reason };
        let Some(section) = recipe.autoencoder.clone() else {
            return Err(wrong("`autoencoder` is missing".to_owned()));
        };
        let json = serde_json::to_vec(&recipe.model).map_err(|error| wrong(error.to_string()))?;
        let config = WanVaeConfig::from_json(&json, path)?;
        let channels = config.patch_size * config.patch_size * 3;
        if [config.in_channels, config.out_channels] != [channels; 2] {
            let found = format!("{} and {}", config.in_channels, config.out_channels);
            let reason = format!(
                "`model.in_channels` and `out_channels` are {found}, expected {channels}: \
                 three colours of `patch_size` squared pixels"
            );
            return Err(wrong(reason));
        }
        let factor = config.space_factor();
        for (i, batch) in section.batches.iter().enumerate() {
            if !batch.size.is_multiple_of(factor) {
                let reason = format!(
                    "`autoencoder.batches[{i}].size` is {}, expected a multiple of {factor}, the \
                     pixels along a side of a latent",
                    batch.size
                );
                return Err(wrong(reason));
            }
            let factor = config.time_factor();
            if batch.frames % factor != 1 % factor {
                let reason = format!(
                    "`autoencoder.batches[{i}].frames` is {}, expected 1 more than a multiple of \
                     {factor}",
                    batch.frames
                );
                return Err(wrong(reason));
            }
        }
        let layers = 2 * config.dim_mult.len();
        let latents = Latents {
            channels: config.z_dim,
            space: config.space_factor(),
            time: config.time_factor(),
        };
        let mut vae =
            super::model(recipe, path, device, layers, |source| WanVae::new(config, source))?;
        if recipe.start.is_none() {
            let z = vae.config().z_dim;
            vae.for_each_parameter(&mut |name, tensor| {
                if name == "quant_conv.bias" {
                    let data = [vec![0.0; z], vec![FIRST_LOG_VARIANCE; z]].concat();
                    *tensor = Tensor::new(tensor.device(), tensor.shape(), data).into_parameter();
                }
            });
        }
        let (seed, drawn) = (recipe.seed, section.batches.clone());
        let draw = move |step| {
            let mut rng = Rng::stream(seed, step);
            let due = drawn.iter().filter(|batch| batch.is_due(step));
            due.map(|batch| Clips::draw(batch, Split::Train, latents, &mut rng)).collect()
        };
        let batches = Batches::new(section.steps, 1, draw);
        let encoder = ["encoder.conv_in.weight", "quant_conv.weight"];
        let encodes_anew = !encoder.iter().all(|name| recipe.freezes(name));
        Ok(Self { vae, batches, section, seed, device: device.clone(), encodes_anew })
    }

    /// The loss of `clips`, their number of values, and the sum of the divergences with the number of
    /// latents.
    fn loss(&self, clips: &Clips) -> (Tensor, f64, [f64; 2]) {
        let Section { smooth, gradient_difference, kl, .. } = self.section;
        let x = Tensor::new(&self.device, &clips.shape, clips.pixels.clone());
        let frames = clips.shape[2];
        let posterior = self.vae.encode_by(&x, frames.next_multiple_of(4));
        let noise = Tensor::new(&self.device, posterior.mean.shape(), clips.noise.clone());
        let z = posterior.mean.gaussian_sample(&posterior.log_variance, &noise);
        let y = self.vae.decode_by(&z, frames);
        let mut total = y.smooth_l1(&x, smooth);
        for axis in 2..5 {
            let (dy, dx) = (differences(&y, axis), differences(&x, axis));
            if !dx.is_empty() {
                total = total.add_scaled(1.0, &dy.smooth_l1(&dx, smooth), gradient_difference);
            }
        }
        let divergence = posterior.mean.gaussian_kl(&posterior.log_variance);
        let (values, latents) = (x.len() as f64, noise.len() as f64);
        total = total.add_scaled(1.0, &divergence, (f64::from(kl) * values / latents) as f32);
        (total, values, [f64::from(divergence.to_vec()[0]), latents])
    }

    /// Mean signal-to-noise ratio of held-out clips of the shape of `batch`, in decibels.
    fn psnr(&self, batch: &ClipBatch) -> f64 {
        let mut sum = 0.0;
        for clips in self.clips(batch, HELD_OUT, Split::HeldOut) {
            let x = Tensor::new(&self.device, &clips.shape, clips.pixels);
            let latent = self.vae.encode_by(&x, clips.shape[2].next_multiple_of(4)).mean;
            let y = self.vae.decode_by(&latent, clips.shape[2]).to_vec();
            let len = x.len() / clips.shape[0];
            for (x, y) in x.to_vec().chunks_exact(len).zip(y.chunks_exact(len)) {
                let errors = x.iter().zip(y).map(|(x, y)| f64::from(x - y.clamp(-1.0, 1.0)) / 2.0);
                let mean = errors.map(|e| e * e).sum::<f64>() / len as f64;
                sum -= 10.0 * mean.max(1e-12).log10();
            }
        }
        sum / HELD_OUT as f64
    }

    /// The longest scenes that the last step reads.
    fn last_scenes(&self) -> Option<&ClipBatch> {
        let Section { steps, batches, .. } = &self.section;
        let is_read = |batch: &&ClipBatch| {
            batch.of == ClipsOf::Scenes && batch.every == 1 && batch.is_due(*steps)
        };
        batches.iter().filter(is_read).max_by_key(|batch| batch.frames)
    }

    /// Clips that no step has, the same in each run.
    fn clips(
        &self,
        batch: &ClipBatch,
        count: usize,
        split: Split,
    ) -> impl Iterator<Item = Clips> + use<> {
        let (batch, seed, latents) = (batch.clone(), self.seed, Latents::NONE);
        (0..count).step_by(AT_ONCE).map(move |first| {
            let batch = ClipBatch { clips: AT_ONCE.min(count - first), ..batch.clone() };
            Clips::draw(&batch, split, latents, &mut Rng::stream(seed, OTHER + first as u64))
        })
    }

    /// Mean and deviation of each channel of latents over the training data.
    fn measure_latents(&mut self) {
        let z = self.vae.config().z_dim;
        let (mut count, mut sums) = (0usize, vec![[0.0f64; 2]; z]);
        let Some(batch) = self.last_scenes() else { return };
        for clips in self.clips(batch, STATISTICS, Split::Train) {
            let x = Tensor::new(&self.device, &clips.shape, clips.pixels);
            let mean = self.vae.encode_by(&x, clips.shape[2].next_multiple_of(4)).mean;
            let per_channel = mean.len() / clips.shape[0] / z;
            count += clips.shape[0] * per_channel;
            for (i, values) in mean.to_vec().chunks_exact(per_channel).enumerate() {
                for x in values.iter().map(|x| f64::from(*x)) {
                    sums[i % z][0] += x;
                    sums[i % z][1] += x * x;
                }
            }
        }
        let statistics = sums.iter().map(|[sum, squares]| {
            let mean = sum / count as f64;
            let variance = (squares / count as f64 - mean * mean).max(1e-12);
            (mean as f32, variance.sqrt() as f32)
        });
        let (mean, std) = statistics.unzip();
        self.vae.set_statistics(mean, std);
    }
}

impl Objective for Autoencoder {
    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn unit(&self) -> &'static str {
        "clips"
    }

    fn for_each_parameter(&mut self, visit: Visit<'_>) {
        self.vae.for_each_parameter(&mut |name, tensor| {
            let is_matrix = name.ends_with(".weight") && tensor.shape().len() == 2;
            visit(name, if is_matrix { Role::Hidden } else { Role::Free }, tensor);
        });
    }

    fn accumulate(&mut self, step: u64, gradients: &mut Gradients) -> Accumulated {
        let mut done = Accumulated::default();
        let (mut loss, mut divergence, mut latents) = (0.0, 0.0, 0.0);
        for clips in self.batches.take(step) {
            let (total, values, [kl, count]) = self.loss(&clips);
            loss += f64::from(total.to_vec()[0]);
            total.backward(gradients);
            done.weight += values;
            done.items += clips.shape[0] as u64;
            divergence += kl;
            latents += count;
        }
        done.metrics = vec![
            ("loss", loss / done.weight.max(1.0)),
            ("kl", divergence / f64::max(latents, 1.0)),
        ];
        done
    }

    fn validate(&mut self) -> Measured {
        let pictures = self.section.batches.iter().find(|batch| batch.of == ClipsOf::References);
        let clips = self.last_scenes().map(|batch| ("psnr", self.psnr(batch)));
        let pictures = pictures.map(|batch| ("picture", self.psnr(batch)));
        clips.into_iter().chain(pictures).collect()
    }

    fn weights(&mut self, precision: Precision) -> BTreeMap<String, Saved> {
        self.vae.saved(precision)
    }

    fn files(&mut self) -> Vec<(&'static str, String)> {
        if self.encodes_anew {
            self.measure_latents();
        }
        vec![("config.json", self.vae.config().to_json())]
    }
}

/// Of what shape latents are.
#[derive(Clone, Copy, Debug)]
struct Latents {
    channels: usize,
    /// Pixels along a side that are one.
    space: usize,
    /// Frames that are one, after the first.
    time: usize,
}

impl Latents {
    /// Where no noise is wanted.
    const NONE: Self = Self { channels: 0, space: 1, time: 1 };

    /// Latents of a clip.
    fn len(&self, batch: &ClipBatch) -> usize {
        let side = batch.size / self.space;
        self.channels * (1 + (batch.frames - 1) / self.time) * side * side
    }
}

impl Clips {
    fn draw(batch: &ClipBatch, split: Split, latents: Latents, rng: &mut Rng) -> Self {
        let &ClipBatch { of, clips, frames, size, .. } = batch;
        let mut pixels = Vec::with_capacity(clips * 3 * frames * size * size);
        for _ in 0..clips {
            let is_subject = of == ClipsOf::References || rng.chance(SUBJECTS);
            let scene = match is_subject {
                true => Scene::draw_subject(rng, split),
                false => Scene::draw(rng, split),
            };
            let clip = match of {
                ClipsOf::References => scene.reference(size),
                ClipsOf::Scenes => scene.render(size, frames),
            };
            pixels.extend(clip.channels_first());
        }
        let noise = (0..clips * latents.len(batch)).map(|_| rng.normal()).collect();
        Self { shape: [clips, 3, frames, size, size], pixels, noise }
    }
}

/// What each neighbour along an axis has more than the one before it.
fn differences(x: &Tensor, axis: usize) -> Tensor {
    let len = x.shape()[axis];
    let part = |range| x.narrow(axis, range);
    part(1..len).add_scaled(1.0, &part(0..len - 1), -1.0)
}
