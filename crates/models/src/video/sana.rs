//! SANA-Video (arXiv:2509.24695) in the layout of diffusers, `SanaVideoTransformer3DModel`; compared
//! with `transformer_sana_video.py` of diffusers.
//!
//! Unusual: linear attention whose normalizer is not rotated, convolutions in the feed-forward part,
//! no norm before cross-attention. An `attention_mask` over latents is read by nobody, there as here.

use super::dit::VideoDit;
use super::dit::config::{
    AttentionConfig, CrossConfig, DitConfig, FfnConfig, LayerConfig, Mixer, QkNorm, TextConfig,
    TextPlacement,
};
use super::fields;
use super::renamed::Renamed;
use crate::Error;
use crate::config::fields::Fields;
use crate::weights::{FromCheckpoint, Policy};
use serde_json::Value;
use std::path::Path;
use tensor::{Checkpoint, Device};

/// Its `_class_name`.
pub const CLASS: &str = "SanaVideoTransformer3DModel";

/// Of the norms of queries and keys, of the prompt's, and of the last one.
const QK_EPS: f64 = 1e-5;
const TEXT_EPS: f64 = 1e-5;
const OUT_EPS: f64 = 1e-6;
/// Of the normalizer of linear attention.
const NORMALIZER_EPS: f64 = 1e-15;
/// Features of a time.
const FREQUENCIES: usize = 256;

/// Our names and those of the layout.
const NAMES: &[(&str, &str)] = &[
    ("modulation", "time_embed.linear"),
    ("text", "caption_projection"),
    ("text_norm", "caption_norm"),
    ("blocks", "transformer_blocks"),
    ("self_attn", "attn1"),
    ("cross_attn", "attn2"),
    ("to_out", "to_out.0"),
    ("ffn_norm", "norm2"),
    ("ffn.inverted", "ff.conv_inverted"),
    ("ffn.depthwise", "ff.conv_depth"),
    ("ffn.pointwise", "ff.conv_point"),
    ("ffn.temporal", "ff.conv_temp"),
    ("table", "scale_shift_table"),
    ("head_table", "scale_shift_table"),
    ("head", "proj_out"),
];

/// Those of the times' projections, which depend on whether guidance is an input.
const TIME_NAMES: &[(&str, &str)] = &[("time", "time_embed.emb.timestep_embedder")];
const GUIDED_TIME_NAMES: &[(&str, &str)] =
    &[("time", "time_embed.timestep_embedder"), ("guidance", "time_embed.guidance_embedder")];

/// Reads the text of a `config.json`; `path` is named in errors.
///
/// # Errors
///
/// If it is not JSON, of another class, or has values that a model cannot have.
pub fn config_from_json(text: &[u8], path: &Path) -> Result<DitConfig, Error> {
    let fields = Fields::parse(text, path)?;
    fields.refuse_unless("_class_name", |v| v == CLASS, &format!("\"{CLASS}\""))?;
    let heads = fields::size(&fields, "num_attention_heads", 1 << 16, 20)?;
    let head_dim = fields::size(&fields, "attention_head_dim", 1 << 16, 112)?;
    let hidden_size = heads * head_dim;
    let patch_size = fields::triple(&fields, "patch_size", [1, 2, 2])?;
    let cross_heads = fields::size(&fields, "num_cross_attention_heads", 1 << 16, 20)?;
    let cross_head_dim = fields::size(&fields, "cross_attention_head_dim", 1 << 16, 112)?;
    // The prompt's projection is as wide as the model, so that nothing else can be read.
    if fields::size(&fields, "cross_attention_dim", 1 << 32, 2240)? != hidden_size {
        let expected = format!(
            "`num_attention_heads` x `attention_head_dim`, which is {hidden_size}: the width of the prompt"
        );
        return Err(fields.wrong("cross_attention_dim", &expected));
    }
    let ratio = fields.number(&["mlp_ratio"], 0.0..=1e4)?.unwrap_or(2.5);
    let hidden = (ratio * hidden_size as f64) as usize;
    if hidden == 0 {
        return Err(fields.wrong("mlp_ratio", "a number that gives 1 or more features"));
    }
    let qk_norm = qk_norm(&fields)?;
    let in_channels = fields::size(&fields, "in_channels", 1 << 20, 16)?;
    let layer = LayerConfig {
        attention: AttentionConfig {
            heads,
            head_dim,
            mixer: Mixer::Linear { eps: NORMALIZER_EPS },
            qk_norm,
            bias: fields.flag("attention_bias")?.unwrap_or(false),
            gated: false,
        },
        cross: Some(CrossConfig {
            heads: cross_heads,
            head_dim: cross_head_dim,
            qk_norm,
            norm: false,
            text_rows: None,
        }),
        ffn_norm_affine: fields.flag("norm_elementwise_affine")?.unwrap_or(false),
        ffn: FfnConfig::GluConv { hidden },
    };
    let num_layers = fields::size(&fields, "num_layers", 10_000, 20)?;
    let config = DitConfig {
        hidden_size,
        in_channels,
        out_channels: fields::size_or_null(&fields, "out_channels", 1 << 20, 16)?
            .unwrap_or(in_channels),
        patch_size,
        frequencies: FREQUENCIES,
        guidance: fields.flag("guidance_embeds")?.unwrap_or(false),
        text: TextConfig {
            dim: fields::size(&fields, "caption_channels", 1 << 24, 2304)?,
            norm_eps: Some(TEXT_EPS),
            placement: TextPlacement::Cross,
            pooled: false,
        },
        image: None,
        rope: fields::rope(&fields, head_dim)?,
        places: false,
        layers: vec![layer; num_layers],
        modalities: 1,
        reference_frames: 0,
        norm_eps: fields.number(&["norm_eps"], 0.0..=1.0)?.unwrap_or(1e-6),
        out_norm_eps: OUT_EPS,
    };
    fields::check_size(&fields, &config)?;
    Ok(config)
}

fn qk_norm(fields: &Fields<'_>) -> Result<QkNorm, Error> {
    if fields.get("qk_norm").is_some_and(Value::is_null) {
        return Ok(QkNorm::None);
    }
    let kinds = [
        ("rms_norm_across_heads", QkNorm::RmsAcrossHeads(QK_EPS)),
        ("rms_norm", QkNorm::RmsPerHead(QK_EPS)),
        ("layer_norm_across_heads", QkNorm::LayerAcrossHeads(QK_EPS)),
        ("l2", QkNorm::L2AcrossHeads(QK_EPS)),
    ];
    Ok(fields.choice("qk_norm", &kinds)?.unwrap_or(QkNorm::RmsAcrossHeads(QK_EPS)))
}

/// Loads the model of `config` from a checkpoint, ready for inference.
///
/// # Errors
///
/// If a weight is missing, of another shape, or there is one too many.
pub fn load(
    config: DitConfig,
    checkpoint: &Checkpoint,
    device: &Device,
    policy: Option<Policy>,
) -> Result<VideoDit, Error> {
    let mut source = FromCheckpoint::new(checkpoint, device, policy);
    let parts = &[if config.guidance { GUIDED_TIME_NAMES } else { TIME_NAMES }, NAMES];
    let mut model = VideoDit::new(config, &mut Renamed { source: &mut source, parts })?;
    source.finish()?;
    model.freeze();
    Ok(model)
}
