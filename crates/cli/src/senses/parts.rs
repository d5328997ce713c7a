//! What of a model sees and hears, as its files say, nothing loaded yet: enough to tell how many tokens a
//! picture or a sound takes.

use crate::embedded::{AUDIO, NAME, TowerFiles, VISION};
use crate::model::{Place, read};
use media::{picture, sound};
use models::Error;
use models::audio::log_mel::{HOP, SAMPLE_RATE};
use models::audio::voxtral::AudioConfig;
use models::vision::minimax_vl_01::{self, ImageConfig};
use models::vision::pixels::Rgb;
use models::vision::processor::ImageProcessor;
use models::weights::{Policy, audio_bytes, image_bytes};
use server::senses::{Placeholders, Sense};
use std::path::Path;
use std::sync::Arc;
use tensor::Checkpoint;
use tensor::gguf::DType;

/// Folders of a model's folder that have towers of their own.
const TOWERS: [(Sense, &str); 2] = [(Sense::Sight, "vision"), (Sense::Hearing, "audio")];

/// The file about pixels.
const PREPROCESSOR: &str = "preprocessor_config.json";

/// What of a model sees and hears.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// What the model is called.
    pub(crate) name: String,
    pub(crate) sight: Option<Sight>,
    pub(crate) hearing: Option<Hearing>,
}

/// What sees.
#[derive(Debug)]
pub(crate) struct Sight {
    pub(crate) config: ImageConfig,
    pub(crate) processor: ImageProcessor,
    /// None where only the config is there.
    pub(crate) checkpoint: Option<Arc<Checkpoint>>,
    /// The texts of its configs.
    pub(crate) texts: Vec<u8>,
}

/// What hears.
#[derive(Debug)]
pub(crate) struct Hearing {
    pub(crate) config: AudioConfig,
    pub(crate) checkpoint: Option<Arc<Checkpoint>>,
    pub(crate) texts: Vec<u8>,
}

/// A picture or a sound as it is shown to a model.
#[derive(Debug)]
pub(crate) enum Shown {
    Picture(Rgb),
    /// Samples, [`SAMPLE_RATE`] a second.
    Sound(Vec<f32>),
}

impl Shown {
    /// What perceives it.
    pub(crate) fn sense(&self) -> Sense {
        match self {
            Self::Picture(_) => Sense::Sight,
            Self::Sound(_) => Sense::Hearing,
        }
    }
}

/// What cannot be shown to a model.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unseen {
    /// The model has no such sense.
    #[error("{}", no_sense(model, *sense))]
    NoSense { model: String, sense: Sense },
    /// The file is none, or not allowed.
    #[error(transparent)]
    Media(#[from] media::Error),
    /// It takes more tokens than the model reads.
    #[error("it takes {tokens} tokens, expected at most {context}, the model's context")]
    TooLong { tokens: usize, context: usize },
}

/// What there is for whoever wants a model to see or hear.
fn no_sense(model: &str, sense: Sense) -> String {
    let (what, lacks, folder) = match sense {
        Sense::Sight => {
            ("a picture", "see", "of MiniMax-VL-01, or one with a folder `vision` in it")
        }
        Sense::Hearing => ("a sound", "hear", "with a folder `audio` in it"),
    };
    format!(
        "it was given as {what}, and the model `{model}` does not {lacks}: expected `{NAME}`, or a folder {folder}"
    )
}

impl Unseen {
    /// Whether less of it would do.
    pub(crate) fn is_too_large(&self) -> bool {
        match self {
            Self::NoSense { .. } => false,
            Self::TooLong { .. } => true,
            Self::Media(error) => matches!(
                error,
                media::Error::TooManyBytes { .. }
                    | media::Error::TooManyPixels { .. }
                    | media::Error::TooLong { .. }
            ),
        }
    }
}

impl Parts {
    /// Those of the model at `place`, whose weights are `checkpoint` if they are there.
    ///
    /// # Errors
    ///
    /// If a config cannot be read, or does not go with the language model of `hidden_size`.
    pub(crate) fn of(
        place: &Place,
        checkpoint: Option<&Arc<Checkpoint>>,
        hidden_size: usize,
    ) -> anyhow::Result<Self> {
        let mut parts = Self { name: place.name(), ..Self::default() };
        match place {
            Place::Gguf(_) => {}
            Place::Embedded => {
                parts.sight = Some(Sight::embedded(&VISION)?);
                parts.hearing = Some(Hearing::embedded(&AUDIO)?);
            }
            Place::Folder(folder) => {
                let path = place.config_path();
                let config = read(&path)?;
                if minimax_vl_01::is_named_in(&config) {
                    let whole = checkpoint.map(Arc::clone);
                    parts.sight = Some(Sight::of_folder(folder, config, whole)?);
                }
                for (sense, name) in TOWERS {
                    let folder = folder.join(name);
                    let path = folder.join("config.json");
                    if path.is_file() {
                        let checkpoint =
                            checkpoint.map(|_| Checkpoint::open(&folder)).transpose()?;
                        let (config, checkpoint) = (read(&path)?, checkpoint.map(Arc::new));
                        match sense {
                            Sense::Sight => {
                                let sight = Sight::of_folder(&folder, config, checkpoint)?;
                                parts.sight = Some(sight);
                            }
                            Sense::Hearing => {
                                parts.hearing = Some(Hearing::new(config, &folder, checkpoint)?);
                            }
                        }
                    }
                }
            }
        }
        parts.check(place, hidden_size)?;
        Ok(parts)
    }

    /// Whether rows are as wide as the language model.
    fn check(&self, place: &Place, hidden_size: usize) -> Result<(), Error> {
        let widths = [
            self.sight.as_ref().map(|sight| ("vision", sight.config.hidden_size)),
            self.hearing.as_ref().map(|hearing| ("audio", hearing.config.hidden_size)),
        ];
        match widths.into_iter().flatten().find(|(_, width)| *width != hidden_size) {
            None => Ok(()),
            Some((part, width)) => Err(Error::Field {
                path: place.config_path(),
                field: format!("text_config.hidden_size of the {part} part"),
                found: width.to_string(),
                expected: format!("{hidden_size}, the language model's"),
            }),
        }
    }

    /// What to say where such a sense is lacking.
    pub(crate) fn no_sense(&self, sense: Sense) -> Unseen {
        Unseen::NoSense { model: self.name.clone(), sense }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.sight.is_none() && self.hearing.is_none()
    }

    /// Bytes of the weights as they will be held; saturates.
    ///
    /// # Errors
    ///
    /// If a config is of no model.
    pub(crate) fn bytes(&self, policy: Option<Policy>) -> Result<u64, Error> {
        let stored = |checkpoint: &Option<Arc<Checkpoint>>, tower: &str| {
            let Some(file) = checkpoint else { return DType::Bf16 };
            let name = file.names().find(|name| name.starts_with(tower));
            name.and_then(|name| file.stored(name)).unwrap_or(DType::F32)
        };
        let sight = self.sight.as_ref().map_or(Ok(0), |Sight { config, checkpoint, .. }| {
            image_bytes(config, stored(checkpoint, "vision_tower"), policy)
        })?;
        let hearing = self.hearing.as_ref().map_or(Ok(0), |part| {
            audio_bytes(&part.config, stored(&part.checkpoint, "audio_tower"), policy)
        })?;
        Ok(sight.saturating_add(hearing))
    }

    /// What the chat template writes for pictures and sounds.
    pub(crate) fn placeholders(&self) -> Placeholders {
        Placeholders {
            sight: self.sight.as_ref().and_then(|sight| sight.config.image_token_index),
            hearing: self.hearing.as_ref().and_then(|hearing| hearing.config.audio_token_id),
        }
    }

    /// Decodes a file; notes are what is to be said of it.
    ///
    /// # Errors
    ///
    /// If the model has no such sense, or the file is damaged, of another kind or too large.
    pub(crate) fn decode(
        &self,
        sense: Sense,
        bytes: Vec<u8>,
    ) -> Result<(Shown, Option<&'static str>), Unseen> {
        let able = match sense {
            Sense::Sight => self.sight.is_some(),
            Sense::Hearing => self.hearing.is_some(),
        };
        if !able {
            return Err(self.no_sense(sense));
        }
        match sense {
            Sense::Sight => {
                let found = picture::decode(&bytes, &picture::Limits::default())?;
                let note = found.animated.then_some("has several pictures: the first was taken");
                let picture = Rgb { height: found.height, width: found.width, data: found.rgb };
                Ok((Shown::Picture(picture), note))
            }
            Sense::Hearing => {
                let limits = sound::Limits::default();
                let found = sound::decode(bytes, SAMPLE_RATE as u32, &limits)?;
                let note = found.cut_short.then_some("is damaged: what comes before was heard");
                Ok((Shown::Sound(found.samples), note))
            }
        }
    }

    /// Bytes that it takes to perceive `shown`, one after the other, and to hold their rows, beside the
    /// weights; saturates.
    pub(crate) fn work_bytes<'a>(&self, shown: impl IntoIterator<Item = &'a Shown>) -> u64 {
        let (mut most, mut rows) = (0u64, 0u64);
        for shown in shown {
            let (work, hidden_size) = match (shown, &self.sight, &self.hearing) {
                (Shown::Picture(picture), Some(sight), _) => {
                    (sight.work_bytes(picture), sight.config.hidden_size)
                }
                (Shown::Sound(_), _, Some(hearing)) => {
                    (hearing.work_bytes(), hearing.config.hidden_size)
                }
                _ => continue,
            };
            most = most.max(work);
            let bytes = self.tokens(shown).saturating_mul(hidden_size).saturating_mul(4);
            rows = rows.saturating_add(bytes as u64);
        }
        most.saturating_add(rows)
    }

    /// Tokens that something takes in a prompt.
    pub(crate) fn tokens(&self, shown: &Shown) -> usize {
        match shown {
            Shown::Picture(picture) => self.sight.as_ref().map_or(0, |sight| {
                sight.processor.tiling.plan(picture.height, picture.width).num_tokens()
            }),
            Shown::Sound(samples) => {
                self.hearing.as_ref().map_or(0, |hearing| hearing.tokens(samples.len()))
            }
        }
    }
}

impl Sight {
    fn embedded(files: &TowerFiles) -> anyhow::Result<Self> {
        let checkpoint = Checkpoint::from_static(files.name, files.weights)?;
        let (config, folder) = (files.config.to_vec(), Path::new(files.name));
        Self::new(config, folder, files.preprocessor.to_vec(), Some(Arc::new(checkpoint)))
    }

    fn of_folder(
        folder: &Path,
        config: Vec<u8>,
        checkpoint: Option<Arc<Checkpoint>>,
    ) -> anyhow::Result<Self> {
        let path = folder.join(PREPROCESSOR);
        let preprocessor = if path.is_file() { read(&path)? } else { Vec::new() };
        Self::new(config, folder, preprocessor, checkpoint)
    }

    /// From the texts of a folder's files; without one about pixels, which is empty then, they are treated
    /// as published, in tiles of the config's size.
    fn new(
        config: Vec<u8>,
        folder: &Path,
        preprocessor: Vec<u8>,
        checkpoint: Option<Arc<Checkpoint>>,
    ) -> anyhow::Result<Self> {
        let parsed = ImageConfig::from_json(&config, &folder.join("config.json"))?;
        let path = folder.join(PREPROCESSOR);
        let processor = match preprocessor.is_empty() {
            true => ImageProcessor { tiling: parsed.tiling(), ..ImageProcessor::published() },
            false => ImageProcessor::from_json(&preprocessor, &path)?,
        };
        let [found, expected] = [&processor.tiling, &parsed.tiling()].map(|tiling| {
            (tiling.tile_size, tiling.tile_features, tiling.grid_pinpoints.is_empty())
        });
        if found != expected {
            let said = |(size, features, whole): (usize, usize, bool)| {
                let kind = if whole { "one tile" } else { "tiles" };
                format!("{kind} of {size} pixels and {features} features a side")
            };
            return Err(Error::Field {
                path,
                field: "size, patch_size and process_image_mode".to_owned(),
                found: said(found),
                expected: format!("{} as in `config.json`", said(expected)),
            }
            .into());
        }
        Ok(Self { config: parsed, processor, checkpoint, texts: [config, preprocessor].concat() })
    }
}

/// Bytes of what a tower's layer holds at most: inputs, queries, keys, values, outputs, and what is within
/// its MLP.
fn layer_bytes(rows: usize, hidden_size: usize, intermediate_size: usize) -> u64 {
    let width = hidden_size.saturating_mul(6).saturating_add(intermediate_size.saturating_mul(2));
    rows.saturating_mul(width).saturating_mul(4) as u64
}

impl Sight {
    fn work_bytes(&self, picture: &Rgb) -> u64 {
        let tiles = self.processor.tiling.plan(picture.height, picture.width).num_tiles();
        let vision = &self.config.vision;
        let rows = tiles.saturating_mul(vision.num_positions());
        layer_bytes(rows, vision.hidden_size, vision.intermediate_size)
    }

    /// The fewest and the most tokens of a picture that is not thinner than its grid's features.
    pub(crate) fn tokens_of_pictures(&self) -> [usize; 2] {
        let tiling = &self.processor.tiling;
        let one = [[tiling.tile_size; 2]];
        let grids = match &tiling.grid_pinpoints[..] {
            [] => &one[..],
            grids => grids,
        };
        // A picture that fills a grid shows all of its features.
        let tokens = grids.iter().map(|&[height, width]| tiling.plan(height, width).num_tokens());
        [tokens.clone().min(), tokens.max()].map(Option::unwrap_or_default)
    }
}

impl Hearing {
    fn embedded(files: &TowerFiles) -> anyhow::Result<Self> {
        let checkpoint = Checkpoint::from_static(files.name, files.weights)?;
        Self::new(files.config.to_vec(), Path::new(files.name), Some(Arc::new(checkpoint)))
    }

    /// From the text of a folder's config.
    fn new(
        config: Vec<u8>,
        folder: &Path,
        checkpoint: Option<Arc<Checkpoint>>,
    ) -> anyhow::Result<Self> {
        let parsed = AudioConfig::from_json(&config, &folder.join("config.json"))?;
        Ok(Self { config: parsed, checkpoint, texts: config })
    }

    fn work_bytes(&self) -> u64 {
        let audio = &self.config.audio;
        layer_bytes(audio.max_frames(), audio.d_model, audio.encoder_ffn_dim)
    }

    /// Tokens of a window, and its seconds.
    pub(crate) fn tokens_of_window(&self) -> (usize, f64) {
        (self.config.window_rows(), self.window() as f64 / SAMPLE_RATE as f64)
    }

    /// Samples of a window; the last one is filled up with silence.
    pub(crate) fn window(&self) -> usize {
        self.config.audio.max_frames() * HOP
    }

    fn tokens(&self, samples: usize) -> usize {
        samples.div_ceil(self.window()).saturating_mul(self.config.window_rows())
    }
}
