//! The `config.json` of a model of our own.

use super::super::dit::config::{
    AttentionConfig, DitConfig, FfnConfig, LayerConfig, Mixer, QkNorm, RopeConfig, TextConfig,
    TextPlacement,
};
use super::super::fields::{list, triple};
use super::super::vae::config::WanVaeConfig;
use crate::Error;
use crate::config::fields::Fields;
use std::path::Path;
use tensor::Pairing;

/// Its `model_type`.
const MODEL_TYPE: &str = "fulgurite_video";

/// Epsilon of all norms, and of the normalizer of linear attention.
const EPS: f64 = 1e-6;
/// Features of a time.
const FREQUENCIES: usize = 256;
/// Colours of pixels: the channels of latents where there is no autoencoder.
const COLOURS: usize = 3;
/// Least width of rows whose places are added: a sine and a cosine along each axis.
const LEAST_PLACED: usize = 6;

const TOP: &[&str] = &[
    "model_type",
    "height",
    "width",
    "frames",
    "frame_rate",
    "reference_size",
    "prediction",
    "vae",
    "text",
    "transformer",
];
const TEXT: &[&str] =
    &["vocab_size", "max_words", "num_hidden_layers", "num_attention_heads", "intermediate_size"];
const TRANSFORMER: &[&str] = &[
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "layer_types",
    "gated_attention",
    "pooled_text",
    "patch_size",
    "place_embedding",
    "rope_axes_dim",
    "rope_theta",
    "row_spacing",
    "max_position_embeddings",
];

/// The shape of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct NanoConfig {
    /// Pixels of the clips it was trained on.
    pub height: usize,
    /// The same.
    pub width: usize,
    /// Frames of these.
    pub frames: usize,
    /// Frames per second.
    pub frame_rate: usize,
    /// Pixels along each side of a reference.
    pub reference_size: usize,
    /// What the transformer predicts.
    pub prediction: Prediction,
    /// The autoencoder; without one latents are pixels.
    pub vae: Option<WanVaeConfig>,
    /// The encoder of prompts.
    pub text: TextEncoderConfig,
    /// The transformer.
    pub transformer: DitConfig,
}

/// What a transformer predicts; velocities are made of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// The velocity itself. Rows must not have more numbers than the transformer is wide, as it passes
    /// the noise on.
    Velocity,
    /// The clean latents (arXiv:2511.13720).
    Clean,
}

/// The shape of the encoder of prompts; it is as wide as the transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct TextEncoderConfig {
    /// Words it knows, with the one that fills up.
    pub vocab_size: usize,
    /// Rows of a prompt: shorter ones are filled up.
    pub max_words: usize,
    /// Width.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of each.
    pub num_attention_heads: usize,
    /// Inner width of their feed-forward parts.
    pub intermediate_size: usize,
}

impl NanoConfig {
    /// Reads the text of a `config.json`; `path` is named in errors.
    ///
    /// # Errors
    ///
    /// If it is not JSON, of another kind, lacks a field, has an unknown one, or has values that a
    /// model cannot have.
    pub fn from_json(text: &[u8], path: &Path) -> Result<Self, Error> {
        let fields = Fields::parse(text, path)?;
        fields.refuse_unless("model_type", |v| v == MODEL_TYPE, &format!("\"{MODEL_TYPE}\""))?;
        fields.only(TOP)?;
        if fields.get("vae").is_none() {
            return Err(fields.missing("vae"));
        }
        let vae = match fields.part("vae")? {
            Some(vae) => Some(WanVaeConfig::from_fields(&vae)?),
            None => None,
        };
        let part = |name: &str| fields.part(name)?.ok_or_else(|| fields.missing(name));
        let transformer = transformer(&part("transformer")?, vae.as_ref())?;
        let config = Self {
            height: fields.size(&["height"], 1 << 12)?,
            width: fields.size(&["width"], 1 << 12)?,
            frames: fields.size(&["frames"], 1 << 12)?,
            frame_rate: fields.size(&["frame_rate"], 1000)?,
            reference_size: fields.size(&["reference_size"], 1 << 12)?,
            prediction: prediction(&fields)?,
            text: text_encoder(&part("text")?, transformer.hidden_size)?,
            vae,
            transformer,
        };
        config.check(&fields)?;
        Ok(config)
    }

    fn check(&self, fields: &Fields<'_>) -> Result<(), Error> {
        let [time, height, width] = self.pixels_per_row();
        for (name, size, step) in [
            ("height", self.height, height),
            ("width", self.width, width),
            ("reference_size", self.reference_size, height.max(width)),
        ] {
            if !size.is_multiple_of(step) {
                return Err(fields.wrong(name, &format!("a multiple of {step}")));
            }
        }
        if self.frames % time == 1 % time {
            return Ok(());
        }
        Err(fields.wrong("frames", &format!("1 more than a multiple of {time}")))
    }

    /// Frames, and pixels along a side, that are one latent; a clip's first frame is one alone. 1 and 1
    /// without an autoencoder.
    pub fn factors(&self) -> (usize, usize) {
        self.vae.as_ref().map_or((1, 1), |vae| (vae.time_factor(), vae.space_factor()))
    }

    /// Frames, rows and columns of pixels that one row of the transformer stands for; a clip's first
    /// frame is a latent frame alone.
    fn pixels_per_row(&self) -> [usize; 3] {
        let [frames, height, width] = self.transformer.patch_size;
        let (time, space) = self.factors();
        [frames * time, height * space, width * space]
    }

    /// Channels, frames, height and width of the latents of a clip of `frames` frames.
    pub fn latent_shape(&self, [frames, height, width]: [usize; 3]) -> [usize; 4] {
        let (time, space) = self.factors();
        let channels = self.transformer.in_channels;
        [channels, 1 + frames.saturating_sub(1) / time, height / space, width / space]
    }
}

fn prediction(fields: &Fields<'_>) -> Result<Prediction, Error> {
    let choices = [("velocity", Prediction::Velocity), ("clean", Prediction::Clean)];
    fields.choice("prediction", &choices)?.ok_or_else(|| fields.missing("prediction"))
}

fn text_encoder(fields: &Fields<'_>, hidden_size: usize) -> Result<TextEncoderConfig, Error> {
    fields.only(TEXT)?;
    let config = TextEncoderConfig {
        vocab_size: fields.size(&["vocab_size"], 1 << 20)?,
        max_words: fields.size(&["max_words"], 1 << 12)?,
        hidden_size,
        num_hidden_layers: fields.size(&["num_hidden_layers"], 1 << 10)?,
        num_attention_heads: fields.size(&["num_attention_heads"], 1 << 10)?,
        intermediate_size: fields.size(&["intermediate_size"], 1 << 20)?,
    };
    if !hidden_size.is_multiple_of(config.num_attention_heads) {
        let expected = format!("a divisor of `transformer.hidden_size`, which is {hidden_size}");
        return Err(fields.wrong("num_attention_heads", &expected));
    }
    Ok(config)
}

fn transformer(fields: &Fields<'_>, vae: Option<&WanVaeConfig>) -> Result<DitConfig, Error> {
    fields.only(TRANSFORMER)?;
    let hidden_size = fields.size(&["hidden_size"], 1 << 16)?;
    let heads = fields.size(&["num_attention_heads"], 1 << 10)?;
    if !hidden_size.is_multiple_of(heads) {
        let expected = format!("a divisor of `hidden_size`, which is {hidden_size}");
        return Err(fields.wrong("num_attention_heads", &expected));
    }
    let head_dim = hidden_size / heads;
    let hidden = fields.size(&["intermediate_size"], 1 << 20)?;
    let gated = fields.flag("gated_attention")?.ok_or_else(|| fields.missing("gated_attention"))?;
    let layer = |mixer: Mixer| LayerConfig {
        attention: AttentionConfig {
            heads,
            head_dim,
            mixer,
            qk_norm: QkNorm::RmsPerHead(EPS),
            bias: false,
            gated,
        },
        cross: None,
        ffn_norm_affine: false,
        ffn: FfnConfig::SwiGlu { hidden },
    };
    let channels = vae.map_or(COLOURS, |vae| vae.z_dim);
    let places = fields.flag("place_embedding")?.unwrap_or(false);
    if places && hidden_size < LEAST_PLACED {
        let expected = format!("{LEAST_PLACED} or more with `place_embedding`");
        return Err(fields.wrong("hidden_size", &expected));
    }
    let patch_size = triple(fields, "patch_size", [1; 3])?;
    if patch_size[0] != 1 {
        // References and given frames are single latent frames.
        return Err(fields.wrong("patch_size", "a list of three that begins with 1"));
    }
    Ok(DitConfig {
        hidden_size,
        in_channels: channels,
        out_channels: channels,
        patch_size,
        frequencies: FREQUENCIES,
        guidance: false,
        text: TextConfig {
            dim: hidden_size,
            norm_eps: None,
            placement: TextPlacement::Packed,
            pooled: fields.flag("pooled_text")?.unwrap_or(false),
        },
        image: None,
        rope: rope(fields, head_dim)?,
        places,
        layers: mixers(fields)?.into_iter().map(layer).collect(),
        modalities: 3,
        reference_frames: 1,
        norm_eps: EPS,
        out_norm_eps: EPS,
    })
}

/// The mixer of each layer.
fn mixers(fields: &Fields<'_>) -> Result<Vec<Mixer>, Error> {
    let words = "a list of 1 to 1000 of \"linear_attention\", \"full_attention\"";
    let read = |value: &serde_json::Value| match value.as_str()? {
        "linear_attention" => Some(Mixer::Linear { eps: EPS }),
        "full_attention" => Some(Mixer::Softmax),
        _ => None,
    };
    let layers = list(fields, "layer_types", words, read)?;
    let layers = layers.ok_or_else(|| fields.missing("layer_types"))?;
    match layers.len() {
        1..=1000 => Ok(layers),
        _ => Err(fields.wrong("layer_types", words)),
    }
}

fn rope(fields: &Fields<'_>, head_dim: usize) -> Result<RopeConfig, Error> {
    let expected = format!("a list of three even numbers, {head_dim} together at most");
    let even = |value: &serde_json::Value| {
        value.as_u64().filter(|n| n % 2 == 0 && *n <= head_dim as u64).map(|n| n as usize)
    };
    let dims = list(fields, "rope_axes_dim", &expected, even)?;
    let dims = dims.ok_or_else(|| fields.missing("rope_axes_dim"))?;
    let dims: [usize; 3] = dims.try_into().map_err(|_| fields.wrong("rope_axes_dim", &expected))?;
    if dims.iter().sum::<usize>() > head_dim {
        return Err(fields.wrong("rope_axes_dim", &expected));
    }
    let theta = fields.number(&["rope_theta"], 1.0..=1e9)?;
    Ok(RopeConfig {
        dims,
        theta: theta.ok_or_else(|| fields.missing("rope_theta"))?,
        pairing: Pairing::Half,
        spacing: spacing(fields)?,
        max_positions: fields.size(&["max_position_embeddings"], 1 << 24)?,
    })
}

/// Positions from a row to the next.
fn spacing(fields: &Fields<'_>) -> Result<[f64; 3], Error> {
    let expected = "a list of three numbers above 0, 100 at most";
    let read = |value: &serde_json::Value| value.as_f64().filter(|x| *x > 0.0 && *x <= 100.0);
    let Some(spacing) = list(fields, "row_spacing", expected, read)? else { return Ok([1.0; 3]) };
    spacing.try_into().map_err(|_| fields.wrong("row_spacing", expected))
}
