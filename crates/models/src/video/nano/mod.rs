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
use super::parameters::{self, Parameter, Visit};
use super::vae::{WanVae, clamped};
use crate::Error;
use crate::weights::{FromCheckpoint, Policy, Role, Source};
use config::{NanoConfig, Prediction};
use initial::Initial;
use patches::Patches;
use std::collections::BTreeMap;
use std::path::Path;
use tensor::{Checkpoint, Device, Precision, Saved, Tensor, Weight};
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
        let mut source = FromCheckpoint::new(checkpoint, device, policy);
        let vae = match &config.vae {
            Some(vae) => Some(WanVae::new(vae.clone(), &mut Under(VAE, &mut source))?),
            None => None,
        };
        let mut model = Self::new(config, vae, &mut source)?;
        source.finish()?;
        model.freeze();
        Ok(model)
    }

    /// Makes the model of `config`: the autoencoder is given where the config has one, the rest is of
    /// `source`, by its names in files.
    ///
    /// # Errors
    ///
    /// If a weight is missing or of another shape, or the config has an autoencoder and none is given,
    /// or the other way round.
    pub fn new(
        config: NanoConfig,
        vae: Option<WanVae>,
        source: &mut dyn Source,
    ) -> Result<Self, Error> {
        if config.vae.as_ref() != vae.as_ref().map(WanVae::config) {
            let name = |there: bool| if there { "another autoencoder" } else { "none" }.to_owned();
            let (found, expected) = (name(vae.is_some()), "that of the config".to_owned());
            return Err(Error::Input { name: "vae", found, expected });
        }
        let text = TextEncoder::new(config.text.clone(), &mut Under(TEXT, source))?;
        let transformer =
            VideoDit::new(config.transformer.clone(), &mut Under(TRANSFORMER, source))?;
        Ok(Self { config, vae, text, transformer })
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
        let mut source = Initial::new(device, precision, config.transformer.layers.len(), seed);
        Self::new(config, vae, &mut source)
    }

    /// Its shape.
    pub fn config(&self) -> &NanoConfig {
        &self.config
    }

    /// The autoencoder, if latents are not pixels.
    pub fn vae(&self) -> Option<&WanVae> {
        self.vae.as_ref()
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        self.text.device()
    }

    /// Prompts as rows, `[batch, max_words, hidden_size]`. A prompt without words is what guidance
    /// leads away from.
    ///
    /// # Panics
    ///
    /// If there are none, or one has more words than the config says or words that it does not know.
    #[track_caller]
    pub fn encode_prompts(&self, prompts: &[Vec<u32>]) -> Tensor {
        if let Err(error) = self.text.check(prompts) {
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
            None => clamped(latents, [-1.0, 1.0]),
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
        self.walk(&mut |name, parameter| parameters::values(visit, name, parameter));
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
        let mut saved = BTreeMap::new();
        self.walk(&mut |name, parameter| parameters::save(&mut saved, precision, name, parameter));
        saved
    }

    /// Leaves only what inference needs.
    pub fn freeze(&mut self) {
        self.walk(&mut |_, parameter| parameters::freeze(parameter));
        if let Some(vae) = &mut self.vae {
            vae.freeze();
        }
    }

    /// Bytes that all weights take in memory as they are now.
    pub fn bytes(&mut self) -> usize {
        let mut bytes = 0;
        let mut add = |_: &str, parameter: Parameter<'_>| bytes += parameters::bytes(&parameter);
        self.walk(&mut add);
        if let Some(vae) = &mut self.vae {
            vae.walk(&mut add);
        }
        bytes
    }

    /// The parts that are trained.
    fn walk(&mut self, visit: Visit<'_>) {
        self.text.walk(&mut |name, parameter| visit(&format!("{TEXT}{name}"), parameter));
        self.transformer
            .walk(&mut |name, parameter| visit(&format!("{TRANSFORMER}{name}"), parameter));
    }
}

/// A source that is asked for names without what they begin with there.
struct Under<'a>(&'static str, &'a mut dyn Source);

impl Under<'_> {
    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.0)
    }
}

impl Source for Under<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, Error> {
        let name = self.name(name);
        self.1.tensor(&name, shape, role)
    }

    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        let name = self.name(name);
        self.1.weight(&name, shape, role)
    }

    fn conv(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        let name = self.name(name);
        self.1.conv(&name, shape, role)
    }
}
