//! What is trained, and what comes before it.

use crate::clips::Split;
use crate::objective::model;
use crate::recipe::Sense;
use crate::senses::Question;
use crate::senses::pictures::{self, Label, Marks, Picture};
use crate::senses::sounds::{self, Sound};
use crate::{Error, Recipe};
use models::audio::log_mel::LogMel;
use models::audio::voxtral::{AudioConfig, AudioEncoder};
use models::audio::whisper::sinusoids;
use models::vision::minimax_vl_01::{ImageConfig, ImageEncoder};
use models::vision::processor::ImageProcessor;
use models::vision::tiles::Plan;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tensor::{Device, Precision, Rng, Saved, Tensor};

/// What turns pictures or sounds into rows.
#[derive(Debug)]
pub(super) enum Tower {
    Eyes(ImageEncoder, ImageProcessor),
    Ears(AudioEncoder),
}

/// Pictures or sounds that are computed at once.
#[derive(Default)]
pub(super) struct Drawn {
    /// What the tower reads, `[batch, …]`.
    pub(super) input: Vec<f32>,
    /// Of each its transcript.
    pub(super) transcripts: Vec<String>,
    /// Of each its questions.
    pub(super) questions: Vec<Vec<Question>>,
    /// What the patches of pictures show, one picture after the other.
    pub(super) labels: Vec<Label>,
}

impl Tower {
    /// The tower of the recipe's config, `json`.
    ///
    /// # Errors
    ///
    /// If it is none, its weights cannot be had, or it has fewer rows than transcripts have bytes.
    pub(super) fn new(
        of: Sense,
        json: &[u8],
        recipe: &Recipe,
        path: &Path,
        device: &Device,
    ) -> Result<Self, Error> {
        let (tower, most) = match of {
            Sense::Pictures => {
                let config = ImageConfig::from_json(json, path)?;
                let processor = ImageProcessor::plain(config.tiling());
                let layers = config.vision.num_hidden_layers;
                let encoder = model(recipe, path, device, layers, |source| {
                    ImageEncoder::whole(config, source)
                })?;
                (Self::Eyes(encoder, processor), pictures::MAX_TRANSCRIPT)
            }
            Sense::Sounds => {
                let config = AudioConfig::from_json(json, path)?;
                let layers = config.audio.encoder_layers;
                let mut encoder = model(recipe, path, device, layers, |source| {
                    AudioEncoder::whole(config, source)
                })?;
                if recipe.start.is_none() {
                    encoder.for_each_parameter(&mut |name, tensor| {
                        if name.ends_with("embed_positions.weight") {
                            let [length, channels] = *tensor.shape() else { return };
                            *tensor = sinusoids(&device.host(), length, channels).into_parameter();
                        }
                    });
                }
                (Self::Ears(encoder), sounds::MAX_TRANSCRIPT)
            }
        };
        let rows = tower.num_rows();
        if rows < most {
            let reason = format!(
                "`model` has {rows} rows, expected at least {most}, the bytes of the longest transcript"
            );
            return Err(Error::Recipe { path: path.to_owned(), reason });
        }
        Ok(tower)
    }

    /// Width of a row.
    pub(super) fn hidden_size(&self) -> usize {
        match self {
            Self::Eyes(encoder, _) => encoder.config().hidden_size,
            Self::Ears(encoder) => encoder.config().hidden_size,
        }
    }

    /// Rows that one picture or one window of a sound becomes.
    pub(super) fn num_rows(&self) -> usize {
        match self {
            Self::Eyes(encoder, _) => encoder.config().vision.grid().pow(2),
            Self::Ears(encoder) => encoder.config().window_rows(),
        }
    }

    /// The shape of `batch` inputs.
    pub(super) fn input_shape(&self, batch: usize) -> Vec<usize> {
        match self {
            Self::Eyes(encoder, _) => {
                let vision = &encoder.config().vision;
                vec![batch, vision.num_channels, vision.image_size, vision.image_size]
            }
            Self::Ears(encoder) => {
                let audio = &encoder.config().audio;
                vec![batch, audio.num_mel_bins, audio.max_frames()]
            }
        }
    }

    /// Rows `[batch, rows, hidden]` of inputs `[batch, …]`.
    pub(super) fn rows(&self, input: &Tensor) -> Tensor {
        match self {
            Self::Eyes(encoder, _) => encoder.features(input),
            Self::Ears(encoder) => encoder.rows(input),
        }
    }

    /// Rows `[batch, rows, hidden]` of inputs, and hidden state `index` on the way to them,
    /// `[batch, 1 + patches, width]`, of eyes.
    pub(super) fn rows_and_state(&self, input: &Tensor, index: usize) -> (Tensor, Tensor) {
        let Self::Eyes(encoder, _) = self else { panic!("only eyes have patches") };
        let states = encoder.tower().hidden_states(input);
        (encoder.project(&states[encoder.config().vision_feature_layer]), states[index].clone())
    }

    /// Layers and width of its hidden states, of eyes.
    pub(super) fn states(&self) -> Option<[usize; 2]> {
        let Self::Eyes(encoder, _) = self else { return None };
        let vision = &encoder.config().vision;
        Some([vision.num_hidden_layers, vision.hidden_size])
    }

    /// Calls `visit` with every parameter and its name.
    pub(super) fn for_each_parameter(&mut self, visit: &mut dyn FnMut(&str, &mut Tensor)) {
        match self {
            Self::Eyes(encoder, _) => encoder.for_each_parameter(visit),
            Self::Ears(encoder) => encoder.for_each_parameter(visit),
        }
    }

    /// The tensors of a checkpoint.
    pub(super) fn saved(&mut self, precision: Precision) -> BTreeMap<String, Saved> {
        match self {
            Self::Eyes(encoder, _) => encoder.saved(precision),
            Self::Ears(encoder) => encoder.saved(precision),
        }
    }

    /// What comes before it.
    pub(super) fn front(&self) -> Front {
        match self {
            Self::Eyes(_, processor) => {
                // What is plain around a picture is cut off before, where it is known what that was.
                Front::Eyes(ImageProcessor { trim: false, ..processor.clone() })
            }
            Self::Ears(encoder) => {
                let audio = &encoder.config().audio;
                Front::Ears(Arc::new(LogMel::new(audio.num_mel_bins)), audio.max_frames())
            }
        }
    }
}

/// What comes before a tower, for threads that draw.
#[derive(Clone, Debug)]
pub(super) enum Front {
    Eyes(ImageProcessor),
    Ears(Arc<LogMel>, usize),
}

impl Front {
    /// Draws so many pictures or sounds.
    pub(super) fn draw(&self, count: usize, split: Split, rng: &mut Rng) -> Drawn {
        let host = Device::cpu(1);
        let mut drawn = Drawn::default();
        for _ in 0..count {
            let (transcript, questions) = match self {
                Self::Eyes(processor) => {
                    let picture = Picture::draw(rng, split);
                    let subject = picture.pixels.subject();
                    let (tiles, plan) =
                        processor.tiles(&host, &picture.pixels.crop(subject[0], subject[1]));
                    drawn.input.extend(tiles.to_vec());
                    drawn.labels.extend(labels(processor, &picture.marks, subject, &plan));
                    (picture.transcript, picture.questions)
                }
                Self::Ears(log_mel, frames) => {
                    let sound = Sound::draw(rng, split);
                    drawn.input.extend(log_mel.frames(&sound.samples, *frames));
                    (sound.transcript, sound.questions)
                }
            };
            drawn.transcripts.push(transcript);
            drawn.questions.push(questions);
        }
        drawn
    }
}

/// What each patch of the one tile of a picture's subject shows in its middle.
fn labels(
    processor: &ImageProcessor,
    marks: &Marks,
    [at, size]: [[usize; 2]; 2],
    plan: &Plan,
) -> Vec<Label> {
    let patches = processor.tiling.tile_features;
    let patch = processor.tiling.tile_size as f32 / patches as f32;
    // From the middle of a patch, along rows or columns, to pixels of the picture.
    let place = |i: usize, axis: usize| {
        let on_subject = (i as f32 + 0.5) * patch - plan.offset[axis] as f32;
        at[axis] as f32 + on_subject * size[axis] as f32 / plan.resized[axis] as f32
    };
    let places = (0..patches).flat_map(|row| (0..patches).map(move |column| (row, column)));
    places.map(|(row, column)| marks.at(place(column, 1), place(row, 0))).collect()
}
