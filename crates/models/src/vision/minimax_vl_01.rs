//! MiniMax-VL-01 (arXiv:2501.08313, section 6): a CLIP tower, two products, and MiniMax-Text-01.
//! The part that sees is that of LLaVA (arXiv:2310.03744) and reads such files too.
//!
//! ```text
//! pictures -> tiles -> CLIP, a hidden state without class tokens -> W2 gelu(W1 x)
//!          -> rows and newlines ([`super::tiles`]) -> in place of the image tokens of the text
//! ```

use super::clip::{self, ClipVision, ClipVisionConfig};
use super::tiles::{Plan, Tiling};
use crate::config::fields::{self, Fields};
use crate::layers::encoder::activation_of;
use crate::layers::linear::Bias;
use crate::layers::projector::Projector;
use crate::weights::{Part, Policy, Role, Source, Under, save};
use crate::{Config, Error, MiniMaxText01};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tensor::{Activation, Checkpoint, Device, Precision, Saved, Tensor};

/// The shape of the part that sees; fields are named as in the files.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageConfig {
    /// The tower.
    pub vision: ClipVisionConfig,
    /// Width of the language model.
    pub hidden_size: usize,
    /// Between the projector's products.
    pub projector_hidden_act: Activation,
    /// Whether the projector's products have biases.
    pub multimodal_projector_bias: bool,
    /// The tower's hidden state that is taken, counted from what enters the first layer; files may
    /// count from the end.
    pub vision_feature_layer: usize,
    /// The token that stands for a row of a picture.
    pub image_token_index: Option<u32>,
    /// Heights and widths in pixels that tiles make.
    pub image_grid_pinpoints: Vec<[usize; 2]>,
    /// Whether rows of tiles end in a newline of their own, as in MiniMax-VL-01; LLaVA has one picture
    /// without tiles.
    pub image_newline: bool,
}

/// The most grids of a config, and the most pixels of a side.
const MAX_GRIDS: usize = 1000;
const MAX_SIDE: u64 = 1 << 16;

impl ImageConfig {
    /// Reads the text of a `config.json`; `path` is named in errors.
    ///
    /// # Errors
    ///
    /// If it is not JSON, of another architecture, or has values that a model cannot have.
    pub fn from_json(text: &[u8], path: &Path) -> Result<Self, Error> {
        Self::from_fields(&Fields::parse(text, path)?)
    }

    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        const KINDS: [(&str, bool); 4] = [
            ("minimax_vl_01", true),
            ("MiniMaxVL01", true),
            ("llava", false),
            ("llava_next", true),
        ];
        let image_newline = fields.choice("model_type", &KINDS)?;
        let image_newline = image_newline.ok_or_else(|| fields.missing("model_type"))?;
        let part = |name: &str| fields.part(name)?.ok_or_else(|| fields.missing(name));
        let vision = ClipVisionConfig::from_fields(&part("vision_config")?)?;
        fields.refuse_unless(
            "vision_feature_select_strategy",
            |v| v == "default",
            "\"default\"",
        )?;
        let config = Self {
            vision_feature_layer: feature_layer(fields, vision.num_hidden_layers)?,
            hidden_size: part("text_config")?.size(&["hidden_size"], 1 << 24)?,
            projector_hidden_act: activation_of(fields, "projector_hidden_act", Activation::Gelu)?,
            multimodal_projector_bias: fields.flag("multimodal_projector_bias")?.unwrap_or(true),
            image_token_index: fields
                .integer(&["image_token_index", "image_token_id"], 0..=u64::from(u32::MAX))?
                .map(|id| id as u32),
            image_grid_pinpoints: grid_pinpoints(fields, vision.image_size)?,
            image_newline,
            vision,
        };
        Ok(config)
    }

    /// Number of parameters.
    pub fn num_parameters(&self) -> u128 {
        let [from, to] = [self.vision.hidden_size, self.hidden_size].map(|n| n as u128);
        let biases = if self.multimodal_projector_bias { 2 * to } else { 0 };
        let newline = if self.image_newline { to } else { 0 };
        self.vision.num_parameters() + to * (from + to) + biases + newline
    }

    /// Floating-point operations for one tile: those of the whole tower, and of the projector.
    pub fn flops(&self) -> f64 {
        let [from, to] = [self.vision.hidden_size, self.hidden_size].map(|n| n as f64);
        self.vision.flops() + 2.0 * self.vision.grid().pow(2) as f64 * to * (from + to)
    }

    /// How pictures are cut; without newlines they are not.
    pub fn tiling(&self) -> Tiling {
        let grids = self.image_newline.then(|| self.image_grid_pinpoints.clone());
        Tiling {
            tile_size: self.vision.image_size,
            tile_features: self.vision.grid(),
            grid_pinpoints: grids.unwrap_or_default(),
        }
    }
}

/// The hidden state that `vision_feature_layer` names, from the front or, below 0, from the end; the
/// last but one if it is not there, as in LLaVA.
fn feature_layer(fields: &Fields<'_>, layers: usize) -> Result<usize, Error> {
    let name = "vision_feature_layer";
    let value = fields.get(name).filter(|value| !value.is_null());
    let Some(value) = value else { return Ok(layers - 1) };
    let states = layers as i64 + 1;
    let index = value.as_i64().filter(|i| (-states..states).contains(i));
    let index = index.map(|i| if i < 0 { i + states } else { i } as usize);
    index.ok_or_else(|| fields.wrong(name, &format!("an integer from {} to {layers}", -states)))
}

/// `image_grid_pinpoints`, or the published grids: whole tiles of `tile` pixels each.
pub(super) fn grid_pinpoints(fields: &Fields<'_>, tile: usize) -> Result<Vec<[usize; 2]>, Error> {
    let name = "image_grid_pinpoints";
    let Some(value) = fields.get(name).filter(|value| !value.is_null()) else {
        return Ok(Tiling::of_tiles(tile));
    };
    let side = |value: &Value| {
        let side = value.as_u64().filter(|side| (1..=MAX_SIDE).contains(side))? as usize;
        side.is_multiple_of(tile).then_some(side)
    };
    let grid = |value: &Value| match value.as_array().map(Vec::as_slice) {
        Some([height, width]) => Some([side(height)?, side(width)?]),
        _ => None,
    };
    let grids = value.as_array().filter(|list| (1..=MAX_GRIDS).contains(&list.len()));
    let grids: Option<Vec<[usize; 2]>> = grids.and_then(|list| list.iter().map(grid).collect());
    grids.ok_or_else(|| {
        let expected = format!("a list of [height, width], multiples of {tile}");
        fields.wrong(name, &expected)
    })
}

/// The part that sees, with its weights.
#[derive(Debug)]
pub struct ImageEncoder {
    config: ImageConfig,
    tower: ClipVision,
    projector: Projector,
    /// `[hidden_size]`.
    image_newline: Option<Tensor>,
}

/// Where the tower is in the released layout.
const TOWER: &str = "vision_tower.vision_model.";
/// Where the projector is, and what is beside the towers, under each of the layouts that exist.
const PROJECTORS: [&str; 2] = ["multi_modal_projector.", "model.multi_modal_projector."];
const NEWLINES: [&str; 2] = ["", "model."];

impl ImageEncoder {
    /// Makes the part of `config` from sources of the tower, of the projector, and of the newline.
    ///
    /// # Errors
    ///
    /// If a weight is missing or has another shape than the config says.
    pub fn new(
        config: ImageConfig,
        [tower, projector, newline]: [&mut dyn Source; 3],
    ) -> Result<Self, Error> {
        let tower = ClipVision::new(config.vision.clone(), tower)?;
        let projector = projector_of(&config, projector)?;
        let image_newline = newline_of(&config, newline)?;
        Ok(Self { config, tower, projector, image_newline })
    }

    /// Makes the part of `config` from one source of all, in the released layout.
    ///
    /// # Errors
    ///
    /// If a weight is missing or has another shape than the config says.
    pub fn whole(config: ImageConfig, source: &mut dyn Source) -> Result<Self, Error> {
        let tower = ClipVision::new(config.vision.clone(), &mut Under::new(TOWER, source))?;
        let projector = projector_of(&config, &mut Under::new(PROJECTORS[0], source))?;
        let image_newline = newline_of(&config, source)?;
        Ok(Self { config, tower, projector, image_newline })
    }

    /// Loads the part of `config` from a checkpoint of the whole model, ready for inference; the
    /// language model beside it is not looked at.
    ///
    /// # Errors
    ///
    /// If a weight is missing, of another shape, or the tower or the projector has one too many.
    pub fn load(
        config: ImageConfig,
        checkpoint: &Checkpoint,
        device: &Device,
        policy: Option<Policy>,
    ) -> Result<Self, Error> {
        let [mut tower, mut projector, mut newline] = Self::parts(checkpoint, device, policy);
        let mut encoder = Self::new(config, [&mut tower, &mut projector, &mut newline])?;
        tower.finish(&clip::BESIDE)?;
        projector.finish(&[])?;
        newline.finish(&[""])?;
        encoder.freeze();
        Ok(encoder)
    }

    /// Tower, projector and newline of a checkpoint.
    fn parts<'a>(
        checkpoint: &'a Checkpoint,
        device: &'a Device,
        policy: Option<Policy>,
    ) -> [Part<'a>; 3] {
        let part = |prefixes: &[&str], sign| Part::find(checkpoint, device, policy, prefixes, sign);
        [
            ClipVision::part(checkpoint, device, policy),
            part(&PROJECTORS, "linear_1.weight"),
            part(&NEWLINES, "image_newline"),
        ]
    }

    /// What names of tower, projector and newline begin with in a checkpoint.
    pub(crate) fn prefixes(checkpoint: &Checkpoint, device: &Device) -> [String; 3] {
        Self::parts(checkpoint, device, None).map(Part::into_prefix)
    }

    /// Its shape.
    pub fn config(&self) -> &ImageConfig {
        &self.config
    }

    /// The tower.
    pub fn tower(&self) -> &ClipVision {
        &self.tower
    }

    /// Rows of the language model's width for the patches of `tiles`,
    /// `[tiles, channels, image_size, image_size]`: `[tiles, patches, hidden_size]`.
    ///
    /// # Panics
    ///
    /// If the tiles have another shape.
    #[track_caller]
    pub fn features(&self, tiles: &Tensor) -> Tensor {
        self.project(&self.tower.hidden_state(tiles, self.config.vision_feature_layer))
    }

    /// [`features`](Self::features) of a hidden state of the tower, `[tiles, 1 + patches, width]`.
    pub fn project(&self, state: &Tensor) -> Tensor {
        let &[tiles, rows, _] = state.shape() else { panic!("a hidden state {state:?}") };
        let patches: Arc<[usize]> =
            (0..tiles * rows).filter(|row| !row.is_multiple_of(rows)).collect();
        let features = self.projector.forward(&state.take_rows(&patches));
        features.reshape(&[tiles, rows - 1, self.config.hidden_size])
    }

    /// What stands for one picture in the text, `[tokens, hidden_size]`: `tiles` are cut as `plan` says.
    ///
    /// # Panics
    ///
    /// If the tiles have another shape or number, or there are rows of tiles and the model has no newline.
    #[track_caller]
    pub fn picture(&self, tiles: &Tensor, plan: &Plan) -> Tensor {
        let features = self.features(tiles);
        let rows = features.shape()[0] * features.shape()[1];
        plan.pack(&features.reshape(&[rows, self.config.hidden_size]), self.image_newline.as_ref())
    }

    /// Calls `visit` with every parameter and its name in the released layout.
    pub fn for_each_parameter(&mut self, visit: &mut dyn FnMut(&str, &mut Tensor)) {
        self.tower.for_each_parameter(&mut |name, tensor| visit(&format!("{TOWER}{name}"), tensor));
        self.visit_the_rest(visit);
    }

    /// [`for_each_parameter`](Self::for_each_parameter) beside the tower.
    fn visit_the_rest(&mut self, visit: &mut dyn FnMut(&str, &mut Tensor)) {
        self.projector.for_each_parameter(PROJECTORS[0], visit);
        if let Some(newline) = &mut self.image_newline {
            visit("image_newline", newline);
        }
    }

    /// The tensors of a checkpoint in the released layout.
    pub fn saved(&mut self, precision: Precision) -> BTreeMap<String, Saved> {
        let mut saved = BTreeMap::new();
        self.tower.save(TOWER, precision, &mut saved);
        self.visit_the_rest(&mut |name, tensor| save(&mut saved, precision, name, tensor, None));
        saved
    }

    /// Leaves only what inference needs.
    pub fn freeze(&mut self) {
        self.tower.freeze();
        self.projector.freeze();
        self.image_newline = self.image_newline.as_ref().map(Tensor::detach);
    }
}

fn projector_of(config: &ImageConfig, source: &mut dyn Source) -> Result<Projector, Error> {
    let bias = if config.multimodal_projector_bias { Bias::With } else { Bias::Without };
    let sizes = [config.vision.hidden_size, config.hidden_size];
    Projector::new(source, sizes, bias, config.projector_hidden_act)
}

fn newline_of(config: &ImageConfig, source: &mut dyn Source) -> Result<Option<Tensor>, Error> {
    let row = || source.tensor("image_newline", &[config.hidden_size], Role::Rows);
    config.image_newline.then(row).transpose()
}

/// Where the language model is in the released layout.
pub const LANGUAGE_MODEL: &str = "language_model.";

/// Reads the text of a `config.json` of MiniMax-VL-01: what sees, and what reads and writes.
///
/// # Errors
///
/// If it is not JSON, of another architecture, or has values that a model cannot have.
pub fn configs(text: &[u8], path: &Path) -> Result<(ImageConfig, Config), Error> {
    let fields = Fields::parse(text, path)?;
    let images = ImageConfig::from_fields(&fields)?;
    let language = fields.part("text_config")?.ok_or_else(|| fields.missing("text_config"))?;
    let language = Config::from_fields(&language)?;
    match images.image_token_index {
        Some(id) if (id as usize) < language.vocab_size => Ok((images, language)),
        Some(_) => {
            let name = ["image_token_index", "image_token_id"];
            let name = if fields.get(name[0]).is_some() { name[0] } else { name[1] };
            let expected = format!("below `text_config.vocab_size`, {}", language.vocab_size);
            Err(fields.wrong(name, &expected))
        }
        None => Err(fields.missing("image_token_index")),
    }
}

/// The norm of the class token, which nobody uses, as files before and after transformers 5 name it.
const BESIDE: [&str; 2] =
    ["vision_tower.vision_model.post_layernorm.", "vision_tower.post_layernorm."];

/// Whether a tensor of a whole file is one that files have and the model does not use.
pub(crate) fn is_beside(name: &str) -> bool {
    BESIDE.iter().any(|beside| name.starts_with(beside))
}

/// Whether a `config.json` says that it is of MiniMax-VL-01.
pub fn is_named_in(config: &[u8]) -> bool {
    fields::is_of_type(config, &["minimax_vl_01", "MiniMaxVL01"])
}

/// Loads the part of MiniMax-VL-01 that reads and writes, ready for inference; what sees is not looked at.
///
/// # Errors
///
/// If a weight is missing, of another shape, or there is one too many.
pub fn load_language(
    config: Config,
    checkpoint: &Checkpoint,
    device: &Device,
    policy: Option<Policy>,
) -> Result<MiniMaxText01, Error> {
    let sign = "model.embed_tokens.weight";
    let mut part = Part::find(checkpoint, device, policy, &[LANGUAGE_MODEL], sign);
    let mut language = MiniMaxText01::new(config, &mut part)?;
    part.finish(&[])?;
    language.freeze();
    Ok(language)
}

/// Loads MiniMax-VL-01 from a checkpoint in the released layout, ready for inference; matrices of both
/// parts as `policy` says.
///
/// # Errors
///
/// If a weight is missing, of another shape, or there is one too many.
pub fn load(
    (images, language): (ImageConfig, Config),
    checkpoint: &Checkpoint,
    device: &Device,
    policy: Option<Policy>,
) -> Result<(ImageEncoder, MiniMaxText01), Error> {
    let images = ImageEncoder::load(images, checkpoint, device, policy)?;
    let sign = "model.embed_tokens.weight";
    let mut part = Part::find(checkpoint, device, policy, &[LANGUAGE_MODEL], sign);
    let mut language = MiniMaxText01::new(language, &mut part)?;
    part.finish_file(&BESIDE)?;
    language.freeze();
    Ok((images, language))
}
