//! Wan 2.1 and 2.2 (arXiv:2503.20314) in the layout of diffusers, `WanTransformer3DModel`; compared
//! with `transformer_wan.py` of diffusers.
//!
//! Unusual: images that condition a clip have keys and values of their own in cross-attention, and
//! which rows are an image's is told by counting 512 rows of text from the end. `qk_norm` is not read,
//! there as here: it is always an RMSNorm of all heads.

use super::dit::VideoDit;
use super::dit::config::{
    AttentionConfig, CrossConfig, DitConfig, FfnConfig, ImageConfig, LayerConfig, Mixer, QkNorm,
    TextConfig, TextPlacement,
};
use super::fields;
use super::renamed::Renamed;
use crate::Error;
use crate::config::fields::Fields;
use crate::weights::{Part, Policy};
use std::path::Path;
use tensor::{Checkpoint, Device};

/// Its `_class_name`.
pub const CLASS: &str = "WanTransformer3DModel";

/// Rows of a prompt where there is an image.
const TEXT_ROWS: usize = 512;

/// Our names and those of the layout.
const NAMES: &[(&str, &str)] = &[
    ("time", "condition_embedder.time_embedder"),
    ("modulation", "condition_embedder.time_proj"),
    ("text", "condition_embedder.text_embedder"),
    ("image.up", "image.ff.net.0.proj"),
    ("image.down", "image.ff.net.2"),
    ("image", "condition_embedder.image_embedder"),
    ("self_attn", "attn1"),
    ("cross_attn.norm", "norm2"),
    ("cross_attn", "attn2"),
    ("to_out", "to_out.0"),
    ("ffn.up", "ffn.net.0.proj"),
    ("ffn.down", "ffn.net.2"),
    ("table", "scale_shift_table"),
    ("head_table", "scale_shift_table"),
    ("head", "proj_out"),
];

/// Reads the text of a `config.json`; `path` is named in errors.
///
/// # Errors
///
/// If it is not JSON, of another class, or has values that a model cannot have.
pub fn config_from_json(text: &[u8], path: &Path) -> Result<DitConfig, Error> {
    let fields = Fields::parse(text, path)?;
    fields.refuse_unless("_class_name", |v| v == CLASS, &format!("\"{CLASS}\""))?;
    let heads = fields::size(&fields, "num_attention_heads", 1 << 16, 40)?;
    let head_dim = fields::size(&fields, "attention_head_dim", 1 << 16, 128)?;
    let hidden_size = heads * head_dim;
    let eps = fields.number(&["eps"], 0.0..=1.0)?.unwrap_or(1e-6);
    let qk_norm = QkNorm::RmsAcrossHeads(eps);
    let added = fields.optional_size(&["added_kv_proj_dim"], 1 << 32)?;
    if added.is_some_and(|added| added != hidden_size) {
        let expected = format!(
            "null or `num_attention_heads` x `attention_head_dim`, which is {hidden_size}: the width of \
             an image's rows"
        );
        return Err(fields.wrong("added_kv_proj_dim", &expected));
    }
    let layer = LayerConfig {
        attention: AttentionConfig {
            heads,
            head_dim,
            mixer: Mixer::Softmax,
            qk_norm,
            bias: true,
            gated: false,
        },
        cross: Some(CrossConfig {
            heads,
            head_dim,
            qk_norm,
            norm: fields.flag("cross_attn_norm")?.unwrap_or(true),
            text_rows: added.map(|_| TEXT_ROWS),
        }),
        ffn_norm_affine: false,
        ffn: FfnConfig::Gelu { hidden: fields::size(&fields, "ffn_dim", 1 << 24, 13_824)? },
    };
    let positions = fields.optional_size(&["pos_embed_seq_len"], 1 << 24)?;
    if positions.is_some_and(|rows| rows % 2 == 1) {
        return Err(fields.wrong("pos_embed_seq_len", "null or an even number: rows of two images"));
    }
    let image = fields.optional_size(&["image_dim"], 1 << 24)?;
    let in_channels = fields::size(&fields, "in_channels", 1 << 20, 16)?;
    let num_layers = fields::size(&fields, "num_layers", 10_000, 40)?;
    let config = DitConfig {
        hidden_size,
        in_channels,
        out_channels: fields::size_or_null(&fields, "out_channels", 1 << 20, 16)?
            .unwrap_or(in_channels),
        patch_size: fields::triple(&fields, "patch_size", [1, 2, 2])?,
        frequencies: fields::size(&fields, "freq_dim", 1 << 16, 256)?,
        guidance: false,
        text: TextConfig {
            dim: fields::size(&fields, "text_dim", 1 << 24, 4096)?,
            norm_eps: None,
            placement: TextPlacement::Cross,
            pooled: false,
        },
        image: image.map(|dim| ImageConfig { dim, positions }),
        rope: fields::rope(&fields, head_dim)?,
        places: false,
        layers: vec![layer; num_layers],
        modalities: 1,
        reference_frames: 0,
        norm_eps: eps,
        out_norm_eps: eps,
    };
    fields::check_size(&fields, &config)?;
    Ok(config)
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
    let mut source = Part::find(checkpoint, device, policy, &[""], "");
    // A norm of queries that some checkpoints have and nobody uses.
    let unused: Vec<String> =
        (0..config.layers.len()).map(|i| format!("blocks.{i}.attn2.norm_added_q.")).collect();
    let mut renamed = Renamed { source: &mut source, parts: &[NAMES] };
    let mut model = VideoDit::with_tables(config, &mut renamed, [&[1], &[1]])?;
    source.finish(&unused.iter().map(String::as_str).collect::<Vec<_>>())?;
    model.freeze();
    Ok(model)
}
