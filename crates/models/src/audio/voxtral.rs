//! What hears in Voxtral (arXiv:2507.13264) and in Qwen2-Audio (arXiv:2407.10759): Whisper's encoder
//! and a projector into a language model's width; compared with `modeling_voxtral.py` and
//! `modeling_qwen2_audio.py` of transformers.
//!
//! ```text
//! Voxtral        each 4 rows side by side -> W2 gelu(W1 x)             12.5 rows per second
//! Qwen2-Audio    the mean of each 2 rows, LN -> W x + b                25 rows per second
//! ```

use super::whisper::{Family, TAPS, WhisperConfig, WhisperEncoder};
use crate::Error;
use crate::config::fields::Fields;
use crate::layers::encoder::activation_of;
use crate::layers::linear::{Bias, Linear};
use crate::layers::projector::Projector;
use crate::weights::{Part, Policy, Role, Source, Under, save};
use std::collections::BTreeMap;
use std::path::Path;
use tensor::{Activation, Checkpoint, Device, Precision, Saved, Tensor};

/// The shape of the part that hears; fields are named as in the files.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioConfig {
    /// The encoder.
    pub audio: WhisperConfig,
    /// Width of the language model.
    pub hidden_size: usize,
    /// Between the products of Voxtral's projector.
    pub projector_hidden_act: Activation,
    /// The token that stands for a row of a sound.
    pub audio_token_id: Option<u32>,
}

impl AudioConfig {
    /// Reads the text of a `config.json`; `path` is named in errors.
    ///
    /// # Errors
    ///
    /// If it is not JSON, of another architecture, or has values that a model cannot have.
    pub fn from_json(text: &[u8], path: &Path) -> Result<Self, Error> {
        const KINDS: [(&str, Family); 2] =
            [("voxtral", Family::Voxtral), ("qwen2_audio", Family::Qwen2Audio)];
        let fields = Fields::parse(text, path)?;
        let family = fields.choice("model_type", &KINDS)?;
        let family = family.ok_or_else(|| fields.missing("model_type"))?;
        let part = |name: &str| fields.part(name)?.ok_or_else(|| fields.missing(name));
        let encoder = part("audio_config")?;
        let audio = WhisperConfig::from_fields(&encoder, family)?;
        if audio.family != family {
            return Err(encoder.wrong("model_type", "the encoder of the same family"));
        }
        let stacks = audio.encoder_ffn_dim.is_multiple_of(audio.d_model);
        if family == Family::Voxtral && !stacks {
            let expected = format!("a multiple of the encoder's width, which is {}", audio.d_model);
            return Err(encoder.wrong("intermediate_size", &expected));
        }
        Ok(Self {
            audio,
            hidden_size: part("text_config")?.size(&["hidden_size"], 1 << 24)?,
            projector_hidden_act: activation_of(&fields, "projector_hidden_act", Activation::Gelu)?,
            audio_token_id: fields
                .integer(&["audio_token_id", "audio_token_index"], 0..=u64::from(u32::MAX))?
                .map(|id| id as u32),
        })
    }
}

impl AudioConfig {
    /// Rows that a whole window becomes.
    pub fn window_rows(&self) -> usize {
        let positions = self.audio.max_source_positions;
        match self.audio.family {
            Family::Qwen2Audio => positions / 2,
            _ => positions / (self.audio.encoder_ffn_dim / self.audio.d_model),
        }
    }
}

/// The part that hears, with its weights.
#[derive(Debug)]
pub struct AudioEncoder {
    config: AudioConfig,
    encoder: WhisperEncoder,
    projector: ToRows,
}

/// From the encoder's rows to those of the language model.
#[derive(Debug)]
enum ToRows {
    /// So many rows side by side, then two products.
    Stacked(usize, Projector),
    /// One product.
    Each(Linear),
}

impl ToRows {
    fn new(config: &AudioConfig, source: &mut dyn Source) -> Result<Self, Error> {
        let (d, ffn) = (config.audio.d_model, config.audio.encoder_ffn_dim);
        let to = config.hidden_size;
        Ok(match config.audio.family {
            Family::Qwen2Audio => {
                let role = Role::Projection;
                Self::Each(Linear::new(source, "linear", [to, d], Bias::With, role)?)
            }
            // Rows are stacked to the encoder's inner width.
            _ => {
                let act = config.projector_hidden_act;
                Self::Stacked(ffn / d, Projector::new(source, [ffn, to], Bias::Without, act)?)
            }
        })
    }
}

/// Where the encoder is in the layout of Voxtral and Qwen2-Audio.
const TOWER: &str = "audio_tower.";
/// Where the projector is.
const PROJECTORS: [&str; 2] = ["multi_modal_projector.", "model.multi_modal_projector."];

impl AudioEncoder {
    /// Makes the part of `config` from sources of the encoder and of the projector.
    ///
    /// # Errors
    ///
    /// If a weight is missing or has another shape than the config says.
    pub fn new(
        config: AudioConfig,
        [encoder, projector]: [&mut dyn Source; 2],
    ) -> Result<Self, Error> {
        let projector = ToRows::new(&config, projector)?;
        let encoder = WhisperEncoder::new(config.audio.clone(), encoder)?;
        Ok(Self { config, encoder, projector })
    }

    /// Makes the part of `config` from one source of all, in the layout of Voxtral and Qwen2-Audio.
    ///
    /// # Errors
    ///
    /// If a weight is missing or has another shape than the config says.
    pub fn whole(config: AudioConfig, source: &mut dyn Source) -> Result<Self, Error> {
        let projector = ToRows::new(&config, &mut Under::new(PROJECTORS[0], source))?;
        let encoder = WhisperEncoder::new(config.audio.clone(), &mut Under::new(TOWER, source))?;
        Ok(Self { config, encoder, projector })
    }

    /// Loads the part of `config` from a checkpoint of the whole model, ready for inference; the
    /// language model beside it is not looked at.
    ///
    /// # Errors
    ///
    /// If a weight is missing, of another shape, or the encoder or the projector has one too many.
    pub fn load(
        config: AudioConfig,
        checkpoint: &Checkpoint,
        device: &Device,
        policy: Option<Policy>,
    ) -> Result<Self, Error> {
        let sign = match config.audio.family {
            Family::Qwen2Audio => "linear.weight",
            _ => "linear_1.weight",
        };
        let mut encoder = WhisperEncoder::part(checkpoint, device, policy);
        let mut projector = Part::find(checkpoint, device, policy, &PROJECTORS, sign);
        let mut made = Self::new(config, [&mut encoder, &mut projector])?;
        encoder.finish(&[])?;
        projector.finish(&[])?;
        made.freeze();
        Ok(made)
    }

    /// Its shape.
    pub fn config(&self) -> &AudioConfig {
        &self.config
    }

    /// The encoder.
    pub fn encoder(&self) -> &WhisperEncoder {
        &self.encoder
    }

    /// Rows of the language model's width for `features`, `[batch, bins, frames]`:
    /// `[batch, rows, hidden_size]`.
    ///
    /// # Panics
    ///
    /// If the features have another shape.
    #[track_caller]
    pub fn rows(&self, features: &Tensor) -> Tensor {
        self.project(&self.encoder.forward(features))
    }

    /// [`rows`](Self::rows) of what the encoder gave, `[batch, positions, d_model]`; positions that do
    /// not fill a stack of rows are dropped.
    pub fn project(&self, state: &Tensor) -> Tensor {
        let &[batch, positions, d] = state.shape() else { panic!("a hidden state {state:?}") };
        let (rows, out) = match &self.projector {
            ToRows::Each(linear) => {
                (positions, linear.forward(&state.reshape(&[batch * positions, d])))
            }
            ToRows::Stacked(stack, projector) => {
                let whole = positions / stack * stack;
                let kept = (0..batch * positions).filter(|row| row % positions < whole);
                let stacked = state.take_rows(&kept.collect());
                let rows = whole / stack;
                (rows, projector.forward(&stacked.reshape(&[batch * rows, stack * d])))
            }
        };
        out.reshape(&[batch, rows, self.config.hidden_size])
    }

    /// Calls `visit` with every parameter and its name in the layout of Voxtral and Qwen2-Audio.
    pub fn for_each_parameter(&mut self, visit: &mut dyn FnMut(&str, &mut Tensor)) {
        self.encoder.for_each_parameter(&mut |name, tensor| {
            visit(&format!("{TOWER}{name}"), tensor);
        });
        match &mut self.projector {
            ToRows::Stacked(_, projector) => {
                projector.for_each_parameter(PROJECTORS[0], visit);
            }
            ToRows::Each(linear) => {
                linear.for_each_parameter(&format!("{}linear", PROJECTORS[0]), visit);
            }
        }
    }

    /// The tensors of a checkpoint in the layout of Voxtral and Qwen2-Audio.
    pub fn saved(&mut self, precision: Precision) -> BTreeMap<String, Saved> {
        let mut saved = BTreeMap::new();
        self.for_each_parameter(&mut |name, tensor| {
            let is_conv = ["conv1.weight", "conv2.weight"].iter().any(|conv| name.ends_with(conv));
            save(&mut saved, precision, name, tensor, is_conv.then_some(&[TAPS][..]));
        });
        saved
    }

    /// Leaves only what inference needs.
    pub fn freeze(&mut self) {
        self.encoder.freeze();
        match &mut self.projector {
            ToRows::Stacked(_, projector) => projector.freeze(),
            ToRows::Each(linear) => linear.freeze(),
        }
    }
}
