//! Choosing the next token from logits.
//!
//! ```text
//! bias -> penalties -> mask -> temperature -> top-k -> top-p -> min-p -> draw
//! ```
//!
//! The order is that of the transformers library. Nothing here has a state: the draw is a function of
//! `(seed, answer, position)`, and penalties one of the tokens.

mod filter;
mod logprobs;
mod penalties;

pub(crate) use logprobs::logprobs;
pub(crate) use penalties::Seen;

use crate::Refused;
use crate::request::TokenMask;
use tensor::Rng;

/// How to choose.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the best, the lowest id among equals.
    pub temperature: f32,
    /// Only the best so many; 0 for all.
    pub top_k: usize,
    /// Only the best that together have this probability; 1 for all.
    pub top_p: f32,
    /// Only those with this share of the best one's probability; 0 for all.
    pub min_p: f32,
    /// Divides the positive logits of tokens that occur in the prompt or the answer and multiplies the
    /// negative ones; 1 for none (arXiv:1909.05858).
    pub repetition_penalty: f32,
    /// Taken from the logits of tokens that the answer has already; -2 to 2.
    pub presence_penalty: f32,
    /// Taken from them as often as the answer has them; -2 to 2.
    pub frequency_penalty: f32,
    /// Added to the logits of tokens; -100 to 100.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Sampling {
    /// Always the best.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        logit_bias: Vec::new(),
    };

    /// Whether all values make sense for a vocabulary of `vocab_size`.
    pub(crate) fn check(&self, vocab_size: usize) -> Result<(), Refused> {
        within("temperature", self.temperature, 0.0, 100.0)?;
        within("top_p", self.top_p, 0.0, 1.0)?;
        within("min_p", self.min_p, 0.0, 1.0)?;
        within("repetition_penalty", self.repetition_penalty, 0.01, 100.0)?;
        within("presence_penalty", self.presence_penalty, -2.0, 2.0)?;
        within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?;
        for &(id, bias) in &self.logit_bias {
            if id as usize >= vocab_size {
                let expected = format!("ids below the vocabulary's size, {vocab_size}");
                let found = format!("for token {id}");
                return Err(Refused::Invalid { field: "logit_bias", found, expected });
            }
            within("logit_bias", bias, -100.0, 100.0)?;
        }
        Ok(())
    }

    /// Whether logits are changed before anything is chosen.
    fn changes_logits(&self) -> bool {
        self.has_penalties() || !self.logit_bias.is_empty()
    }

    /// Whether it matters what was there before.
    pub(crate) fn has_penalties(&self) -> bool {
        self.repetition_penalty != 1.0
            || self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
    }
}

fn within(field: &'static str, found: f32, least: f32, most: f32) -> Result<(), Refused> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    let expected = format!("{least} to {most}");
    Err(Refused::Invalid { field, found: found.to_string(), expected })
}

/// Why no token can be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsampled {
    #[error("the model gave a logit that is not a number")]
    Nan,
    #[error("the model gave an infinite logit")]
    Infinite,
    #[error("no token may follow")]
    AllForbidden,
    #[error("the mask failed: {0}")]
    Mask(String),
}

/// A uniform number in `[0, 1)` for the token at `position` of answer `choice`.
pub(crate) fn unit(seed: u64, choice: usize, position: usize) -> f64 {
    let seed = Rng::stream(seed, choice as u64).next_u64();
    (Rng::stream(seed, position as u64).next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A token by `logits: [vocab]`, where the choice is free decided by `unit` in `[0, 1)`.
///
/// `seen` is needed with penalties.
pub(crate) fn choose(
    logits: &[f32],
    sampling: &Sampling,
    seen: Option<&Seen>,
    mask: Option<&mut (dyn TokenMask + 'static)>,
    unit: f64,
) -> Result<u32, Unsampled> {
    // What the model gave is judged before a mask may hide it.
    finite_best(logits)?;
    if mask.is_none() && !sampling.changes_logits() {
        return filter::pick(logits, sampling, unit);
    }
    let mut logits = logits.to_vec();
    for &(id, bias) in &sampling.logit_bias {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit += bias;
        }
    }
    if let Some(seen) = seen {
        seen.penalize(&mut logits, sampling);
    }
    if let Some(mask) = mask {
        mask.mask(&mut logits).map_err(Unsampled::Mask)?;
    }
    filter::pick(&logits, sampling, unit)
}

/// The id of the highest logit, the lowest id among equals.
pub(crate) fn finite_best(logits: &[f32]) -> Result<u32, Unsampled> {
    let mut best = (0, f32::NEG_INFINITY);
    let mut nan = false;
    for (id, &x) in logits.iter().enumerate() {
        nan |= x.is_nan();
        if x > best.1 {
            best = (id, x);
        }
    }
    match best.1 {
        _ if nan => Err(Unsampled::Nan),
        f32::INFINITY => Err(Unsampled::Infinite),
        f32::NEG_INFINITY => Err(Unsampled::AllForbidden),
        _ => Ok(best.0 as u32),
    }
}

/// The id with the highest logit, the lowest id among equals; a NaN never wins against a number, and
/// of nothing but NaNs the first does.
///
/// # Panics
///
/// If there are no logits.
#[track_caller]
pub fn argmax(logits: &[f32]) -> u32 {
    assert!(!logits.is_empty(), "no logits");
    let mut best = 0;
    for (id, &x) in logits.iter().enumerate() {
        if x > logits[best] || (logits[best].is_nan() && !x.is_nan()) {
            best = id;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests;
