//! The vision tower of CLIP (arXiv:2103.00020), a ViT (arXiv:2010.11929); compared with
//! `modeling_clip.py` of transformers.
//!
//! ```text
//! x0 = LN([class; W patches] + positions)        x_{i+1} = layer_i(x_i)
//! ```
//!
//! Unusual: a norm before the first layer, spelled `pre_layrnorm` in all checkpoints. What users of
//! the tower take is the output of some layer; the norm of the class token that CLIP itself ends
//! with is not part of it.

use crate::Error;
use crate::config::fields::{self, Fields};
use crate::layers::encoder::{EncoderLayer, Names, Shape, activation_of, all_see_all, check_heads};
use crate::layers::linear::{Bias, LayerNorm, Linear};
use crate::weights::{Part, Policy, Role, Source, save};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use tensor::gguf::DType;
use tensor::{Activation, Checkpoint, Device, Precision, Saved, Tensor};

/// The shape of a tower; fields are named as in the files.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipVisionConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Inner width of a layer's MLP.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Heads of a layer.
    pub num_attention_heads: usize,
    /// Channels of an image.
    pub num_channels: usize,
    /// Height and width of an image in pixels.
    pub image_size: usize,
    /// Height and width of a patch in pixels; what is left over at the right and at the bottom of an
    /// image is not seen.
    pub patch_size: usize,
    /// Of the layers' MLPs.
    pub hidden_act: Activation,
    /// Epsilon of the norms.
    pub layer_norm_eps: f64,
}

const NAMES: Names = Names {
    attention_norm: "layer_norm1",
    mlp_norm: "layer_norm2",
    fc1: "mlp.fc1",
    fc2: "mlp.fc2",
};

/// Whether a `config.json` says that it is of a tower alone.
pub fn is_named_in(config: &[u8]) -> bool {
    fields::is_of_type(config, &["clip_vision_model"])
}

/// Where a tower is in the checkpoints that have one.
const PREFIXES: [&str; 6] = [
    "",
    "vision_model.",
    "vision_tower.vision_model.",
    "model.vision_tower.vision_model.",
    "vision_tower.",
    "model.vision_tower.",
];

/// What stands beside a tower: the norm of the class token, and numbers of positions.
pub(crate) const BESIDE: [&str; 2] = ["post_layernorm.", "embeddings.position_ids"];

impl ClipVisionConfig {
    /// Reads the text of a `config.json` of the tower alone or of a CLIP, which has it under
    /// `vision_config`; `path` is named in errors.
    ///
    /// # Errors
    ///
    /// If it is not JSON, of another architecture, or has values that a model cannot have.
    pub fn from_json(text: &[u8], path: &Path) -> Result<Self, Error> {
        let fields = Fields::parse(text, path)?;
        let kind = fields.get("model_type").and_then(|kind| kind.as_str()).unwrap_or_default();
        match (kind, fields.part("vision_config")?) {
            ("clip", Some(vision)) => Self::from_fields(&vision),
            _ => Self::from_fields(&fields),
        }
    }

    /// What is not there is as in the first CLIP, which is what files leave out.
    pub(crate) fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        let kind = |value: &serde_json::Value| value == "clip_vision_model";
        fields.refuse_unless("model_type", kind, "\"clip_vision_model\"")?;
        fields.refuse_unless("attention_bias", |value| value == true, "true")?;
        let size = |name: &str, max, default| {
            fields.optional_size(&[name], max).map(|size| size.unwrap_or(default))
        };
        let config = Self {
            hidden_size: size("hidden_size", 1 << 20, 768)?,
            intermediate_size: size("intermediate_size", 1 << 20, 3072)?,
            num_hidden_layers: size("num_hidden_layers", 10_000, 12)?,
            num_attention_heads: size("num_attention_heads", 1 << 16, 12)?,
            num_channels: size("num_channels", 64, 3)?,
            image_size: size("image_size", 1 << 14, 224)?,
            patch_size: size("patch_size", 1 << 14, 32)?,
            hidden_act: activation_of(fields, "hidden_act", Activation::QuickGelu)?,
            layer_norm_eps: fields.number(&["layer_norm_eps"], 0.0..=1.0)?.unwrap_or(1e-5),
        };
        let heads = ("num_attention_heads", config.num_attention_heads);
        check_heads(fields, heads, ("hidden_size", config.hidden_size))?;
        if config.patch_size > config.image_size {
            let expected = format!("at most `image_size`, which is {}", config.image_size);
            return Err(fields.wrong("patch_size", &expected));
        }
        Ok(config)
    }

    /// Patches along each side of an image.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Rows of one image: its patches and the class token.
    pub fn num_positions(&self) -> usize {
        self.grid() * self.grid() + 1
    }

    /// Number of parameters.
    pub fn num_parameters(&self) -> u128 {
        let [h, ffn] = [self.hidden_size, self.intermediate_size].map(|n| n as u128);
        let rows = self.num_positions() as u128 + 1;
        let layer = 4 * h * (h + 1) + ffn * (h + 1) + h * (ffn + 1) + 4 * h;
        h * self.patch_len() as u128 + rows * h + 2 * h + self.num_hidden_layers as u128 * layer
    }

    /// Floating-point operations for one image, multiplications and additions apart: products with
    /// weights and those of attention, in which every row sees all rows.
    pub fn flops(&self) -> f64 {
        let [h, ffn] = [self.hidden_size, self.intermediate_size].map(|n| n as f64);
        let rows = self.num_positions() as f64;
        let layer = 2.0 * rows * (4.0 * h * h + 2.0 * h * ffn) + 4.0 * rows * rows * h;
        let patches = 2.0 * (rows - 1.0) * h * self.patch_len() as f64;
        patches + self.num_hidden_layers as f64 * layer
    }

    /// Numbers under a patch.
    fn patch_len(&self) -> usize {
        self.patch_size * self.patch_size * self.num_channels
    }
}

/// The tower with its weights.
#[derive(Debug)]
pub struct ClipVision {
    config: ClipVisionConfig,
    /// `[1, hidden_size]`.
    class_embedding: Tensor,
    /// `[hidden_size, patch_size^2 * num_channels]`.
    patch_embedding: Linear,
    /// `[num_positions, hidden_size]`.
    position_embedding: Tensor,
    pre_layrnorm: LayerNorm,
    layers: Vec<EncoderLayer>,
}

impl ClipVision {
    /// Makes the tower of `config` from `source`.
    ///
    /// # Errors
    ///
    /// If a weight is missing or has another shape than the config says.
    pub fn new(config: ClipVisionConfig, source: &mut dyn Source) -> Result<Self, Error> {
        let (h, patch) = (config.hidden_size, config.patch_size);
        let shape = Shape {
            hidden_size: h,
            intermediate_size: config.intermediate_size,
            num_attention_heads: config.num_attention_heads,
            activation: config.hidden_act,
            layer_norm_eps: config.layer_norm_eps,
            key_bias: Bias::With,
        };
        let class_embedding = source.tensor("embeddings.class_embedding", &[h], Role::Rows)?;
        let filter = [h, config.num_channels, patch, patch];
        let patch_embedding =
            Linear::conv(source, "embeddings.patch_embedding", &filter, Bias::Without)?;
        let positions = [config.num_positions(), h];
        let name = "embeddings.position_embedding.weight";
        let position_embedding = source.tensor(name, &positions, Role::Rows)?;
        let pre_layrnorm = LayerNorm::new(source, "pre_layrnorm", h, config.layer_norm_eps)?;
        let layers = (0..config.num_hidden_layers)
            .map(|i| EncoderLayer::new(&shape, NAMES, &layer_prefix(i), source))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            config,
            class_embedding,
            patch_embedding,
            position_embedding,
            pre_layrnorm,
            layers,
        })
    }

    /// Loads the tower of `config` from a checkpoint of it or of a CLIP, ready for inference.
    ///
    /// # Errors
    ///
    /// If a weight is missing, of another shape, or there is one too many.
    pub fn load(
        config: ClipVisionConfig,
        checkpoint: &Checkpoint,
        device: &Device,
        policy: Option<Policy>,
    ) -> Result<Self, Error> {
        let mut part = Self::part(checkpoint, device, policy);
        let mut tower = Self::new(config, &mut part)?;
        part.finish(&BESIDE)?;
        tower.freeze();
        Ok(tower)
    }

    /// The tower's part of a checkpoint.
    pub(crate) fn part<'a>(
        checkpoint: &'a Checkpoint,
        device: &'a Device,
        policy: Option<Policy>,
    ) -> Part<'a> {
        Part::find(checkpoint, device, policy, &PREFIXES, "embeddings.class_embedding")
    }

    /// Its shape.
    pub fn config(&self) -> &ClipVisionConfig {
        &self.config
    }

    /// The type of the layers' matrices.
    pub fn dtype(&self) -> DType {
        self.layers.first().map_or(DType::F32, EncoderLayer::dtype)
    }

    /// The tensors of a checkpoint of the tower alone, as transformers writes it.
    pub fn saved(&mut self, precision: Precision) -> BTreeMap<String, Saved> {
        let mut saved = BTreeMap::new();
        self.save(PREFIXES[1], precision, &mut saved);
        saved
    }

    /// Adds its tensors, under `prefix`, to those of a checkpoint.
    pub(crate) fn save(
        &mut self,
        prefix: &str,
        precision: Precision,
        saved: &mut BTreeMap<String, Saved>,
    ) {
        let taps = [self.config.patch_size; 2];
        self.for_each_parameter(&mut |name, tensor| {
            let taps = name.starts_with("embeddings.patch_embedding.").then_some(&taps[..]);
            save(saved, precision, &format!("{prefix}{name}"), tensor, taps);
        });
    }

    /// All hidden states of images `[batch, num_channels, image_size, image_size]`: what enters the
    /// first layer and what each layer gives, `[batch, num_positions, hidden_size]`. Row 0 of an image
    /// is its class token, the others are its patches, row by row.
    ///
    /// # Panics
    ///
    /// If the images have another shape.
    #[track_caller]
    pub fn hidden_states(&self, images: &Tensor) -> Vec<Tensor> {
        let mut states = Vec::with_capacity(self.layers.len() + 1);
        _ = self.run(images, |state| {
            states.push(state.clone());
            ControlFlow::Continue(())
        });
        states
    }

    /// The hidden state `index` of [`hidden_states`](Self::hidden_states); no later layer is computed.
    ///
    /// # Panics
    ///
    /// If the images have another shape, or there are no `index` layers.
    #[track_caller]
    pub fn hidden_state(&self, images: &Tensor, index: usize) -> Tensor {
        assert!(index <= self.layers.len(), "hidden state {index} of {}", self.layers.len());
        let mut i = 0;
        self.run(images, |_| {
            i += 1;
            if i > index { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    /// Shows `visit` one hidden state after the other, until it has enough; the last one shown.
    #[track_caller]
    fn run(&self, images: &Tensor, mut visit: impl FnMut(&Tensor) -> ControlFlow<()>) -> Tensor {
        let ClipVisionConfig { hidden_size: h, num_attention_heads: heads, .. } = self.config;
        let len = self.config.num_positions();
        let (mut x, batch) = self.embed(images);
        x = self.pre_layrnorm.forward(&x);
        let rows = all_see_all(batch, len, h / heads);
        let shape = [batch, len, h];
        let mut layers = self.layers.iter();
        while visit(&x.reshape(&shape)).is_continue() {
            let Some(layer) = layers.next() else { break };
            x = layer.forward(&x, &rows);
        }
        x.reshape(&shape)
    }

    /// Class token and patches with their positions, `[batch * num_positions, hidden_size]`, and how
    /// many images these are.
    #[track_caller]
    fn embed(&self, images: &Tensor) -> (Tensor, usize) {
        let ClipVisionConfig { hidden_size: h, num_channels, image_size, .. } = self.config;
        let &[batch, channels, height, width] = images.shape() else {
            panic!("images of shape {:?}", images.shape())
        };
        assert_eq!(
            [channels, height, width],
            [num_channels, image_size, image_size],
            "channels, height and width of an image"
        );
        let len = self.config.num_positions();
        let rows = batch * len;
        let class: Arc<[usize]> = (0..batch).map(|i| i * len).collect();
        let others: Arc<[usize]> = (0..rows).filter(|i| !i.is_multiple_of(len)).collect();
        let positions: Arc<[usize]> = (0..rows).map(|i| i % len).collect();
        let patches = self.patch_embedding.forward(&self.patches(images));
        let class = self
            .class_embedding
            .reshape(&[1, h])
            .take_rows(&vec![0; batch].into())
            .put_rows(&class, rows);
        let x = class.add_scaled(1.0, &patches.put_rows(&others, rows), 1.0);
        (x.add_scaled(1.0, &self.position_embedding.take_rows(&positions), 1.0), batch)
    }

    /// What is under each patch, `[batch * grid * grid, patch_size^2 * num_channels]`, channels
    /// innermost.
    fn patches(&self, images: &Tensor) -> Tensor {
        let ClipVisionConfig { num_channels, image_size, patch_size, .. } = self.config;
        let (grid, plane) = (self.config.grid(), image_size * image_size);
        let pixels = images.to_vec();
        let mut rows = Vec::with_capacity(pixels.len());
        for image in pixels.chunks_exact(num_channels * plane) {
            for (top, left) in (0..grid).flat_map(|y| (0..grid).map(move |x| (y, x))) {
                for y in top * patch_size..(top + 1) * patch_size {
                    for x in left * patch_size..(left + 1) * patch_size {
                        rows.extend(
                            (0..num_channels).map(|c| image[c * plane + y * image_size + x]),
                        );
                    }
                }
            }
        }
        let dim = self.config.patch_len();
        Tensor::new(images.device(), &[rows.len() / dim, dim], rows)
    }

    /// Calls `visit` with every parameter and its name in a checkpoint of the tower alone; the patch
    /// embedding is visited as a matrix, `[hidden_size, patch_size^2 * num_channels]`.
    pub fn for_each_parameter(&mut self, visit: &mut dyn FnMut(&str, &mut Tensor)) {
        visit("embeddings.class_embedding", &mut self.class_embedding);
        self.patch_embedding.for_each_parameter("embeddings.patch_embedding", visit);
        visit("embeddings.position_embedding.weight", &mut self.position_embedding);
        self.pre_layrnorm.for_each_parameter("pre_layrnorm", visit);
        for (i, layer) in self.layers.iter_mut().enumerate() {
            layer.for_each_parameter(&layer_prefix(i), visit);
        }
    }

    /// Leaves only what inference needs.
    pub fn freeze(&mut self) {
        self.class_embedding = self.class_embedding.detach();
        self.position_embedding = self.position_embedding.detach();
        self.patch_embedding.freeze();
        self.pre_layrnorm.freeze();
        self.layers.iter_mut().for_each(EncoderLayer::freeze);
    }
}

fn layer_prefix(i: usize) -> String {
    format!("encoder.layers.{i}.")
}
