//! A model with eyes and ears: files of pictures and sounds become rows of its width.

mod parts;

pub(crate) use parts::{Hearing, Parts, Shown, Sight, Unseen};

use models::audio::log_mel::LogMel;
use models::audio::voxtral::AudioEncoder;
use models::vision::minimax_vl_01::ImageEncoder;
use models::weights::Policy;
use models::{ContentRows, MiniMaxText01, NearestTokens};
use server::senses::{Placeholders, Seen, Sense, Senses};
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tensor::{Checkpoint, Device, Tensor};
use text::Tokenizer;

/// Bytes of rows that are kept for when the same comes again: 64 MiB.
const KEPT: usize = 64 << 20;
/// Most bytes of weights that are looked at to tell them from others.
const DIGESTED: usize = 1 << 30;

/// What of a model sees and hears, loaded.
#[derive(Debug)]
pub(crate) struct EyesAndEars {
    parts: Arc<Parts>,
    sight: Option<Eyes>,
    hearing: Option<Ears>,
    device: Device,
    /// For models whose answers are pieces of what they read.
    nearest: Option<NearestTokens>,
    context: usize,
    /// What was perceived last, latest at the end.
    kept: Mutex<VecDeque<Seen>>,
    /// Held by who looks: pixels and a tower take much memory, and a tower takes all cores.
    looking: Mutex<()>,
}

#[derive(Debug)]
struct Eyes {
    encoder: ImageEncoder,
    digest: u128,
}

#[derive(Debug)]
struct Ears {
    encoder: AudioEncoder,
    log_mel: LogMel,
    digest: u128,
}

impl EyesAndEars {
    /// Loads `parts`; none if there are none.
    ///
    /// # Errors
    ///
    /// If weights are missing or of another shape.
    pub(crate) fn load(
        parts: Arc<Parts>,
        device: &Device,
        policy: Option<Policy>,
        nearest: Option<NearestTokens>,
        context: usize,
    ) -> anyhow::Result<Option<Self>> {
        if parts.is_empty() {
            return Ok(None);
        }
        let sight = match &parts.sight {
            Some(sight) => sight.checkpoint.as_ref().map(|file| {
                let config = sight.config.clone();
                let encoder = ImageEncoder::load(config, file, device, policy)?;
                Ok::<_, models::Error>(Eyes { encoder, digest: digest(file, policy, &sight.texts) })
            }),
            None => None,
        };
        let hearing = match &parts.hearing {
            Some(hearing) => hearing.checkpoint.as_ref().map(|file| {
                let config = hearing.config.clone();
                let log_mel = LogMel::new(config.audio.num_mel_bins);
                let encoder = AudioEncoder::load(config, file, device, policy)?;
                let digest = digest(file, policy, &hearing.texts);
                Ok::<_, models::Error>(Ears { encoder, log_mel, digest })
            }),
            None => None,
        };
        let (sight, hearing) = (sight.transpose()?, hearing.transpose()?);
        let (device, kept, looking) = (device.clone(), Mutex::default(), Mutex::default());
        Ok(Some(Self { parts, sight, hearing, device, nearest, context, kept, looking }))
    }

    /// What stands for `shown` in a prompt.
    ///
    /// # Errors
    ///
    /// If it takes more tokens than the model reads.
    pub(crate) fn perceive_shown(&self, shown: &Shown) -> Result<Seen, Unseen> {
        let (tokens, context) = (self.parts.tokens(shown), self.context);
        if tokens > context {
            return Err(Unseen::TooLong { tokens, context });
        }
        let (sense, digest) = match (shown, &self.sight, &self.hearing) {
            (Shown::Picture(picture), Some(eyes), _) => {
                let size = [picture.height, picture.width].map(|side| (side as u64).to_le_bytes());
                let digest = of(eyes.digest, [&size.concat()[..], &picture.data].into_iter());
                (Sense::Sight, digest)
            }
            (Shown::Sound(samples), _, Some(ears)) => {
                let bytes: Vec<u8> = samples.iter().flat_map(|x| x.to_le_bytes()).collect();
                (Sense::Hearing, of(ears.digest, [&bytes[..]].into_iter()))
            }
            (shown, ..) => return Err(self.parts.no_sense(shown.sense())),
        };
        if let Some(seen) = self.known(digest) {
            return Ok(seen);
        }
        let rows = self.rows(shown);
        let seen = Seen {
            sense,
            digest,
            rows: rows.rows(),
            transcript: self.nearest.as_ref().map(|nearest| nearest.of(&rows)).unwrap_or_default(),
            content: Some(ContentRows { first: 0, rows }),
        };
        self.keep(seen.clone());
        Ok(seen)
    }

    /// `[rows, hidden_size]`.
    fn rows(&self, shown: &Shown) -> Tensor {
        match (shown, &self.sight, &self.hearing, &*self.parts) {
            (Shown::Picture(picture), Some(eyes), _, Parts { sight: Some(part), .. }) => {
                let (tiles, plan) = part.processor.tiles(&self.device, picture);
                eyes.encoder.picture(&tiles, &plan)
            }
            (Shown::Sound(samples), _, Some(ears), Parts { hearing: Some(part), .. }) => {
                let frames = part.config.audio.max_frames();
                let shape = [1, ears.log_mel.bins(), frames];
                let mut data = Vec::new();
                for window in samples.chunks(part.window()) {
                    let features = ears.log_mel.frames(window, frames);
                    let rows = ears.encoder.rows(&Tensor::new(&self.device, &shape, features));
                    data.extend_from_slice(rows.data());
                }
                let width = part.config.hidden_size;
                Tensor::new(&self.device, &[data.len() / width, width], data)
            }
            _ => Tensor::zeros(&self.device, &[0, 1]),
        }
    }

    fn known(&self, digest: u128) -> Option<Seen> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|seen| seen.digest == digest)?;
        let seen = kept.remove(at)?;
        kept.push_back(seen.clone());
        Some(seen)
    }

    fn keep(&self, seen: Seen) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(seen);
        let bytes = |seen: &Seen| seen.content.as_ref().map_or(0, |content| content.rows.bytes());
        while kept.iter().map(bytes).sum::<usize>() > KEPT && kept.len() > 1 {
            kept.pop_front();
        }
    }
}

impl Senses for EyesAndEars {
    fn perceive(&self, sense: Sense, bytes: Vec<u8>) -> Result<Seen, String> {
        let _alone = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = self.parts.decode(sense, bytes);
        let seen = shown.and_then(|(shown, _)| self.perceive_shown(&shown));
        seen.map_err(|error| error.to_string())
    }

    fn recall(&self, digest: u128) -> Option<ContentRows> {
        self.known(digest)?.content
    }

    fn placeholders(&self) -> Placeholders {
        self.parts.placeholders()
    }

    fn has(&self, sense: Sense) -> bool {
        match sense {
            Sense::Sight => self.sight.is_some(),
            Sense::Hearing => self.hearing.is_some(),
        }
    }
}

/// The bytes of texts that rows may be like: of a byte-level tokenizer those, else all of its tokens.
pub(crate) fn readable(tokenizer: &Tokenizer, model: &MiniMaxText01) -> NearestTokens {
    let special = tokenizer.special_tokens();
    let special: Vec<_> = special.iter().filter_map(|name| tokenizer.special_id(name)).collect();
    let ids = (0..tokenizer.vocab_size() as u32).filter(|id| !special.contains(id));
    NearestTokens::new(model, ids.collect())
}

/// Which tower this is, and how it is kept: rows of another are others.
fn digest(file: &Checkpoint, policy: Option<Policy>, texts: &[u8]) -> u128 {
    let kept = format!("{policy:?}");
    of(file.digest(DIGESTED), [kept.as_bytes(), texts].into_iter())
}

/// A digest of a digest and of `bytes`, each with its length.
fn of<'a>(digest: u128, bytes: impl Iterator<Item = &'a [u8]>) -> u128 {
    let mut hash = Sha256::new();
    hash.update(digest.to_le_bytes());
    for bytes in bytes {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    let bytes = hash.finalize();
    u128::from_le_bytes(bytes[..16].try_into().expect("a digest of 32 bytes"))
}
