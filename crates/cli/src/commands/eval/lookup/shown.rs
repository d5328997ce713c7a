//! Pictures and sounds that are asked about.

use super::{Document, Of, Question};
use crate::model::{Place, Weights};
use crate::prompt::{decode, read_media};
use crate::senses::{self, EyesAndEars, Parts, Shown};
use models::vision::pixels::Rgb;
use models::weights::Policy;
use models::{CausalLm as _, MiniMaxText01};
use server::senses::Sense;
use std::path::Path;
use std::sync::Arc;
use tensor::{Checkpoint, Device, Rng};
use train::clips::Split;
use train::senses::pictures::Picture;
use train::senses::sounds::Sound;

/// What a file that is named so holds, if that is no text.
pub(super) fn sense_of(path: &Path) -> Option<Sense> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    match &*extension {
        "png" | "jpg" | "jpeg" | "webp" | "gif" => Some(Sense::Sight),
        "wav" | "mp3" | "flac" | "ogg" => Some(Sense::Hearing),
        _ => None,
    }
}

/// Draws a picture or a sound with its questions.
pub(super) fn draw(of: Of, split: Split, rng: &mut Rng) -> (Shown, Vec<Question>) {
    let (shown, questions) = if of == Of::Sounds {
        let Sound { samples, questions, .. } = Sound::draw(rng, split);
        (Shown::Sound(samples), questions)
    } else {
        let Picture { pixels, questions, .. } = Picture::draw(rng, split);
        (Shown::Picture(pixels), questions)
    };
    let question = |q: train::senses::Question| Question {
        kind: q.kind.to_owned(),
        text: q.text,
        answer: q.answer,
    };
    (shown, questions.into_iter().map(question).collect())
}

/// As much of nothing.
pub(super) fn blank(shown: &Shown) -> Shown {
    match shown {
        Shown::Picture(picture) => {
            Shown::Picture(Rgb::plain(picture.height, picture.width, [128; 3]))
        }
        Shown::Sound(samples) => Shown::Sound(vec![0.0; samples.len()]),
    }
}

/// A model's eyes and ears.
pub(super) struct Reader {
    parts: Arc<Parts>,
    senses: Option<EyesAndEars>,
}

impl Reader {
    /// Those of the model at `place`, if it has some.
    pub(super) fn new(
        place: &Place,
        checkpoint: &Arc<Checkpoint>,
        model: &MiniMaxText01,
        weights: Option<Weights>,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let config = model.config();
        let parts = Arc::new(Parts::of(place, Some(checkpoint), config.hidden_size)?);
        let nearest = senses::readable(&place.tokenizer()?, model);
        let (policy, context) = (weights.map(Policy::from), config.max_position_embeddings);
        let senses = EyesAndEars::load(Arc::clone(&parts), device, policy, Some(nearest), context)?;
        Ok(Self { parts, senses })
    }

    /// The picture or sound in a file.
    pub(super) fn decode(&self, path: &Path, sense: Sense) -> anyhow::Result<Shown> {
        decode(&self.parts, path, sense, read_media(path, sense)?)
    }

    /// What the model reads.
    pub(super) fn read(&self, shown: &Shown) -> anyhow::Result<Document> {
        let senses = self.senses.as_ref().ok_or_else(|| self.parts.no_sense(shown.sense()))?;
        let seen = senses.perceive_shown(shown)?;
        Ok(Document { text: seen.transcript, rows: seen.content.map(|content| content.rows) })
    }
}
