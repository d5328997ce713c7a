//! The video model of our own: words, a hybrid transformer and a small autoencoder in one file.
//!
//! ```text
//! sequence   prompt (words, filled up) | reference (one picture, if given) | clip
//! positions  time 0 … words - 1        | words                            | words + 1 …
//! layers     [linear, linear, linear, softmax] x 2, each with SwiGLU; one table of modulations
//! ```
//!
//! The prompt's rows that are filled up are rows like others, of a word of their own that is learned:
//! nothing is masked. Rows that are given, whether words, a reference or frames of the clip, have
//! noise 0. A model without an autoencoder has pixels for latents.

pub mod config;
mod initial;
mod patches;
mod text;

use super::dit::{DitInput, VideoDit};
use super::vae::WanVae;
use crate::Error;
use crate::weights::{Part, Policy, taps_innermost};
use config::{NanoConfig, Prediction};
use initial::Initial;
use patches::{PATCHES, Patches};
use std::collections::BTreeMap;
use std::path::Path;
use tensor::{Checkpoint, Device, Precision, Saved, Tensor};
use text::TextEncoder;

/// What the transformer is told of noise 1.
const TIME_SCALE: f32 = 1000.0;

/// Clean latents are predicted as if there were at least so much noise: else small errors would be large
/// velocities (arXiv:2511.13720).
const LEAST_NOISE: f32 = 0.05;

/// What names of tensors begin with.
const VAE: &str = "vae.";
const TRANSFORMER: &str = "transformer.";
const TEXT: &str = "text.";

/// The model with its weights.
#[derive(Debug)]
pub struct NanoVideo {
    config: NanoConfig,
    vae: Option<WanVae>,
    text: TextEncoder,
    transformer: VideoDit,
}

impl NanoVideo {
    /// Loads the model of `config` from a checkpoint, ready for inference.
    ///
    /// # Errors
    ///
    /// If a weight is missing, of another shape, or there is one too many.
    pub fn load(
        config: NanoConfig,
        checkpoint: &Checkpoint,
        device: &Device,
        policy: Option<Policy>,
    ) -> Result<Self, Error> {
        let part = |prefix: &str| Part::find(checkpoint, device, policy, &[prefix], "");
        let vae = match &config.vae {
            None => None,
            Some(vae) => {
                let mut source = part(VAE);
                let mut vae = WanVae::new(vae.clone(), &mut source)?;
                source.finish(&[])?;
                vae.freeze();
                Some(vae)
            }
        };
        let mut source = part(TEXT);
        let text = TextEncoder::new(config.text.clone(), &mut source)?;
        source.finish(&[])?;
        let mut source = part(TRANSFORMER);
        let transformer = VideoDit::new(config.transformer.clone(), &mut source)?;
        source.finish_file(&[])?;
        let mut model = Self { config, vae, text, transformer };
        model.freeze();
        Ok(model)
    }

    /// Opens a folder with `config.json` and weights.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or is not of such a model.
    pub fn open(folder: &Path, device: &Device, policy: Option<Policy>) -> Result<Self, Error> {
        let path = folder.join("config.json");
        let text =
            std::fs::read(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        let config = NanoConfig::from_json(&text, &path)?;
        Self::load(config, &Checkpoint::open(folder)?, device, policy)
    }

    /// A model to be trained, with weights by chance but for those of the autoencoder, which is given
    /// where the config has one and is not trained; the same seed gives the same weights.
    ///
    /// # Errors
    ///
    /// If the config has an autoencoder and none is given, or the other way round.
    pub fn to_train(
        config: NanoConfig,
        vae: Option<WanVae>,
        device: &Device,
        precision: Precision,
        seed: u64,
    ) -> Result<Self, Error> {
        if config.vae.as_ref() != vae.as_ref().map(WanVae::config) {
            let name = |there: bool| if there { "another autoencoder" } else { "none" }.to_owned();
            let (found, expected) = (name(vae.is_some()), "that of the config".to_owned());
            return Err(Error::Input { name: "vae", found, expected });
        }
        let mut source = Initial::new(device, precision, config.transformer.layers.len(), seed);
        let text = TextEncoder::new(config.text.clone(), &mut source)?;
        let transformer = VideoDit::new(config.transformer.clone(), &mut source)?;
        Ok(Self { config, vae, text, transformer })
    }

    /// Its shape.
    pub fn config(&self) -> &NanoConfig {
        &self.config
    }

    /// The autoencoder, if latents are not pixels.
    pub fn vae(&self) -> Option<&WanVae> {
        self.vae.as_ref()
    }

    /// The transformer.
    pub fn transformer(&self) -> &VideoDit {
        &self.transformer
    }

    /// Whether prompts, each a list of words, can be encoded.
    ///
    /// # Errors
    ///
    /// Says what was found and what was expected.
    pub fn check_prompts(&self, prompts: &[Vec<u32>]) -> Result<(), Error> {
        self.text.check(prompts)
    }

    /// Prompts as rows, `[batch, max_words, hidden_size]`. A prompt without words is what guidance
    /// leads away from.
    ///
    /// # Panics
    ///
    /// If they cannot be read: see [`check_prompts`](Self::check_prompts).
    #[track_caller]
    pub fn encode_prompts(&self, prompts: &[Vec<u32>]) -> Tensor {
        if let Err(error) = self.check_prompts(prompts) {
            panic!("{error}");
        }
        self.text.forward(prompts)
    }

    /// Clips or pictures, `[batch, 3, frames, height, width]` of pixels from -1 to 1, as latents whose
    /// channels have mean 0 and deviation 1.
    ///
    /// # Panics
    ///
    /// If the autoencoder cannot read the shape: see [`WanVae::check_video`].
    #[track_caller]
    pub fn to_latents(&self, pixels: &Tensor) -> Tensor {
        match &self.vae {
            Some(vae) => vae.normalize(&vae.encode(pixels).mean),
            None => pixels.clone(),
        }
    }

    /// The opposite of [`to_latents`](Self::to_latents).
    ///
    /// # Panics
    ///
    /// If the autoencoder cannot read the shape: see [`WanVae::check_latent`].
    #[track_caller]
    pub fn to_pixels(&self, latents: &Tensor) -> Tensor {
        match &self.vae {
            Some(vae) => vae.decode(&vae.denormalize(latents)),
            None => {
                let data = latents.to_vec().into_iter().map(|x| x.clamp(-1.0, 1.0)).collect();
                Tensor::new(latents.device(), latents.shape(), data)
            }
        }
    }

    /// Rows of the transformer that `latents` `[batch, channels, frames, height, width]` are, of one
    /// sample.
    pub fn rows(&self, latents: &Tensor) -> usize {
        let shape = latents.shape();
        self.config.transformer.grid([shape[2], shape[3], shape[4]]).iter().product()
    }

    /// The velocity `noise - clean` of noisy latents `[batch, channels, frames, height, width]`.
    ///
    /// `text` is of [`encode_prompts`](Self::encode_prompts), `reference` clean latents of a picture
    /// for each sample, `[batch, channels, 1, height, width]`. `noise` is from 0, clean, to 1: one for
    /// each sample, or one for each row of each sample, frames outermost.
    ///
    /// # Panics
    ///
    /// If shapes do not fit: see [`VideoDit::check`].
    #[track_caller]
    pub fn velocity(
        &self,
        latents: &Tensor,
        text: &Tensor,
        reference: Option<&Tensor>,
        noise: &[f32],
    ) -> Tensor {
        let predicted = self.transformer.forward(&DitInput {
            latents: latents.clone(),
            text: text.clone(),
            text_mask: None,
            image: None,
            reference: reference.cloned(),
            times: noise.iter().map(|noise| noise * TIME_SCALE).collect(),
            guidance: None,
        });
        match self.config.prediction {
            Prediction::Velocity => predicted,
            Prediction::Clean => {
                let noise = self.noise_of_elements(latents, noise);
                let apart = latents.add_scaled(1.0, &predicted, -1.0);
                let n = apart.len();
                apart.reshape(&[n, 1]).divide_rows(&noise, 0.0).reshape(latents.shape())
            }
        }
    }

    /// The noise of each element of latents, [`LEAST_NOISE`] at least.
    fn noise_of_elements(&self, latents: &Tensor, noise: &[f32]) -> Tensor {
        let [batch, channels, frames, height, width] = *latents.shape() else {
            panic!("latents {latents:?}")
        };
        let [pt, ph, pw] = self.config.transformer.patch_size;
        let [_, rows, columns] = self.config.transformer.grid([frames, height, width]);
        let per_sample = noise.len() / batch.max(1);
        let of = |i: usize| {
            let (x, y, t) =
                (i % width / pw, i / width % height / ph, i / width / height % frames / pt);
            let sample = i / (width * height * frames * channels);
            let row = if per_sample == 1 { 0 } else { (t * rows + y) * columns + x };
            noise[sample * per_sample + row].max(LEAST_NOISE)
        };
        Tensor::new(latents.device(), &[latents.len()], (0..latents.len()).map(of).collect())
    }

    /// Calls `visit` with every parameter that is trained and its name in files. The weight of the
    /// patches' product is visited as a matrix.
    pub fn for_each_parameter(&mut self, visit: &mut dyn FnMut(&str, &mut Tensor)) {
        self.text.for_each_parameter(&mut |name, tensor| visit(&format!("{TEXT}{name}"), tensor));
        self.transformer
            .for_each_parameter(&mut |name, tensor| visit(&format!("{TRANSFORMER}{name}"), tensor));
    }

    /// Takes the weights that are trained from a checkpoint of the same shape, whose patches may be
    /// larger if ours are of one latent: of what is predicted at the places of a patch the mean is taken,
    /// of the filters that read them the mean times the root of their number.
    ///
    /// # Errors
    ///
    /// If one is missing or of another shape, or patches are others; then nothing has changed.
    pub fn start_from(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let patches = Patches::new(&self.config, checkpoint)?;
        let mut read = Vec::new();
        self.for_each_parameter(&mut |name, tensor| {
            read.push(patches.read(checkpoint, name, tensor));
        });
        let mut read = read.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter();
        self.for_each_parameter(&mut |_, tensor| {
            if let Some(read) = read.next() {
                *tensor = read.to_f32().into_parameter();
            }
        });
        Ok(())
    }

    /// The tensors that are trained, as a checkpoint has them.
    pub fn saved(&mut self, precision: Precision) -> BTreeMap<String, Saved> {
        let patches = self.config.transformer.patch_size;
        let mut saved = BTreeMap::new();
        self.for_each_parameter(&mut |name, tensor| {
            let tensor = tensor.to_device(&tensor.device().host());
            let tensor = if name == PATCHES { taps_innermost(&tensor, &patches) } else { tensor };
            let tensor = match precision {
                Precision::Bf16 => tensor.to_bf16(),
                Precision::F32 => tensor.to_f32(),
            };
            saved.insert(name.to_owned(), Saved::Tensor(tensor));
        });
        saved
    }

    /// Leaves only what inference needs.
    pub fn freeze(&mut self) {
        self.text.freeze();
        self.transformer.freeze();
        if let Some(vae) = &mut self.vae {
            vae.freeze();
        }
    }
}
