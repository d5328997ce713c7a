//! The shape of a video autoencoder.

use crate::Error;
use crate::config::fields::Fields;
use crate::video::fields::{list, size, size_or_null};
use std::path::Path;

/// Its `_class_name`.
pub const CLASS: &str = "AutoencoderKLWan";

/// The shape of an autoencoder; fields are named as in the files.
#[derive(Clone, Debug, PartialEq)]
pub struct WanVaeConfig {
    /// Channels of the encoder's first level.
    pub base_dim: usize,
    /// Channels of the decoder's last level.
    pub decoder_base_dim: usize,
    /// Channels of latents.
    pub z_dim: usize,
    /// Channels of each level, as multiples of the base.
    pub dim_mult: Vec<usize>,
    /// Residual blocks of each level of the encoder; the decoder has one more.
    pub num_res_blocks: usize,
    /// Scales at which the encoder has attention.
    pub attn_scales: Vec<f64>,
    /// Whether frames are halved between a level and the next.
    pub temperal_downsample: Vec<bool>,
    /// Whether levels have shortcuts around them, as in Wan 2.2.
    pub is_residual: bool,
    /// Channels of what is encoded, patches taken together.
    pub in_channels: usize,
    /// Channels of what is decoded, patches taken together.
    pub out_channels: usize,
    /// Pixels along each side that are taken together as channels.
    pub patch_size: usize,
    /// Mean of each channel of latents over the training data.
    pub latents_mean: Vec<f32>,
    /// Its standard deviation.
    pub latents_std: Vec<f32>,
}

/// Of the released models of Wan 2.1, whose configs need not say it.
const MEAN: [f32; 16] = [
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517,
    -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
];
const STD: [f32; 16] = [
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579,
    1.6382, 1.1253, 2.8251, 1.9160,
];

/// Frames are encoded by so many, after the first; what halves them cannot be deeper.
const MAX_TIME_LEVELS: usize = 2;

impl WanVaeConfig {
    /// Reads the text of a `config.json`; `path` is named in errors.
    ///
    /// # Errors
    ///
    /// If it is not JSON, of another class, or has values that a model cannot have.
    pub fn from_json(text: &[u8], path: &Path) -> Result<Self, Error> {
        Self::from_fields(&Fields::parse(text, path)?)
    }

    /// The same where the object is a part of another.
    pub(crate) fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        fields.refuse_unless("_class_name", |v| v == CLASS, &format!("\"{CLASS}\""))?;
        let base_dim = size(fields, "base_dim", 1 << 16, 96)?;
        let sizes = "a list of 1 to 16 integers from 1 to 1024";
        let multiple = |v: &serde_json::Value| {
            v.as_u64().filter(|n| (1..=1024).contains(n)).map(|n| n as usize)
        };
        let dim_mult = list(fields, "dim_mult", sizes, multiple)?.unwrap_or(vec![1, 2, 4, 4]);
        if !(1..=16).contains(&dim_mult.len()) {
            return Err(fields.wrong("dim_mult", sizes));
        }
        let steps = dim_mult.len() - 1;
        let expected = format!(
            "a list of {steps} or more truth values, at most {MAX_TIME_LEVELS} of the first {steps} true"
        );
        let flags = list(fields, "temperal_downsample", &expected, serde_json::Value::as_bool)?;
        let temperal_downsample = flags.unwrap_or(vec![false, true, true]);
        let in_time = temperal_downsample.iter().take(steps).filter(|flag| **flag).count();
        if temperal_downsample.len() < steps || in_time > MAX_TIME_LEVELS {
            return Err(fields.wrong("temperal_downsample", &expected));
        }
        let z_dim = size(fields, "z_dim", 1 << 16, 16)?;
        let statistics = |name: &str, released: &[f32]| {
            let kind = if name == "latents_std" { "numbers above 0" } else { "numbers" };
            let numbers = format!("a list of {z_dim} {kind}, one for each of `z_dim` channels");
            let read = |v: &serde_json::Value| {
                v.as_f64().map(|x| x as f32).filter(|x| name != "latents_std" || *x > 0.0)
            };
            let own = list(fields, name, &numbers, read)?;
            let values = own.unwrap_or_else(|| released.to_vec());
            if values.len() == z_dim { Ok(values) } else { Err(fields.wrong(name, &numbers)) }
        };
        let config = Self {
            base_dim,
            decoder_base_dim: size_or_null(fields, "decoder_base_dim", 1 << 16, base_dim)?
                .unwrap_or(base_dim),
            z_dim,
            num_res_blocks: size(fields, "num_res_blocks", 1000, 2)?,
            attn_scales: list(fields, "attn_scales", "a list of numbers", |v| v.as_f64())?
                .unwrap_or_default(),
            temperal_downsample,
            is_residual: fields.flag("is_residual")?.unwrap_or(false),
            in_channels: size(fields, "in_channels", 1 << 16, 3)?,
            out_channels: size(fields, "out_channels", 1 << 16, 3)?,
            patch_size: fields.optional_size(&["patch_size"], 64)?.unwrap_or(1),
            latents_mean: statistics("latents_mean", &MEAN)?,
            latents_std: statistics("latents_std", &STD)?,
            dim_mult,
        };
        config.check(fields)?;
        Ok(config)
    }

    /// The text of a `config.json` that [`from_json`](Self::from_json) reads back.
    pub fn to_json(&self) -> String {
        let value = serde_json::json!({
            "_class_name": CLASS,
            "base_dim": self.base_dim,
            "decoder_base_dim": self.decoder_base_dim,
            "z_dim": self.z_dim,
            "dim_mult": self.dim_mult,
            "num_res_blocks": self.num_res_blocks,
            "attn_scales": self.attn_scales,
            "temperal_downsample": self.temperal_downsample,
            "is_residual": self.is_residual,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "patch_size": self.patch_size,
            "latents_mean": self.latents_mean,
            "latents_std": self.latents_std,
        });
        format!("{value:#}\n")
    }

    /// What fields have to do with each other.
    fn check(&self, fields: &Fields<'_>) -> Result<(), Error> {
        let area = self.patch_size * self.patch_size;
        for (name, channels) in
            [("in_channels", self.in_channels), ("out_channels", self.out_channels)]
        {
            if !channels.is_multiple_of(area) {
                let expected = format!("a multiple of {area}, the pixels of a patch");
                return Err(fields.wrong(name, &expected));
            }
        }
        // What enlarges a picture halves its channels.
        if !self.is_residual && self.decoder_dims().iter().any(|&dim| dim < 2) {
            return Err(fields.wrong("decoder_base_dim", "levels of 2 channels or more"));
        }
        if self.is_residual {
            for level in self.shortcuts() {
                let (from, to) = level;
                if !from.is_multiple_of(to) {
                    let expected =
                        "levels whose shortcuts average or repeat whole numbers of channels";
                    return Err(fields.wrong("dim_mult", expected));
                }
            }
        }
        Ok(())
    }

    /// Of each shortcut of a residual model, what must be a multiple of what.
    fn shortcuts(&self) -> Vec<(usize, usize)> {
        let levels = self.dim_mult.len();
        let mut all = Vec::new();
        let encoder = self.encoder_dims();
        let decoder = self.decoder_dims();
        for i in 0..levels {
            let last = i + 1 == levels;
            let factor = |time: bool| if last { 1 } else { 4 * if time { 2 } else { 1 } };
            let down = !last && self.temperal_downsample[i];
            all.push((encoder[i] * factor(down), encoder[i + 1]));
            if !last {
                let up = self.upsamples_time(i);
                all.push((decoder[i + 1] * factor(up), decoder[i]));
            }
        }
        all
    }

    /// Channels that enter each level of the encoder, and that leave the last.
    pub(super) fn encoder_dims(&self) -> Vec<usize> {
        [1].iter().chain(&self.dim_mult).map(|mult| mult * self.base_dim).collect()
    }

    /// Channels that enter each level of the decoder, and that leave the last.
    pub(super) fn decoder_dims(&self) -> Vec<usize> {
        let last = self.dim_mult[self.dim_mult.len() - 1];
        let mults = [last].into_iter().chain(self.dim_mult.iter().rev().copied());
        mults.map(|mult| mult * self.decoder_base_dim).collect()
    }

    /// Whether the decoder doubles frames after its level `i`. It reads the list from its end, also
    /// where that is longer than there are steps.
    pub(super) fn upsamples_time(&self, i: usize) -> bool {
        self.temperal_downsample[self.temperal_downsample.len() - 1 - i]
    }

    /// Pixels along a side that are one latent.
    pub fn space_factor(&self) -> usize {
        self.patch_size << (self.dim_mult.len() - 1)
    }

    /// Frames that are one latent frame, but for the first, which is one alone.
    pub fn time_factor(&self) -> usize {
        let steps = self.temperal_downsample.iter().take(self.dim_mult.len() - 1);
        1 << steps.filter(|flag| **flag).count()
    }
}
