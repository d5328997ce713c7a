//! Logits of tokens that were there before.

use super::Sampling;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Which tokens a sequence has.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Those of the prompt, shared by its answers.
    prompt: Arc<HashSet<u32>>,
    /// How often the answer has which.
    written: HashMap<u32, u32>,
}

impl Seen {
    /// With nothing written yet.
    pub(crate) fn new(prompt: &[u32]) -> Self {
        Self { prompt: Arc::new(prompt.iter().copied().collect()), written: HashMap::new() }
    }

    /// Takes note of a written token.
    pub(crate) fn push(&mut self, id: u32) {
        *self.written.entry(id).or_default() += 1;
    }

    /// Changes `logits: [vocab]` by the penalties of `sampling`.
    pub(super) fn penalize(&self, logits: &mut [f32], sampling: &Sampling) {
        if sampling.repetition_penalty != 1.0 {
            let only_prompt = self.prompt.iter().filter(|id| !self.written.contains_key(id));
            for &id in self.written.keys().chain(only_prompt) {
                if let Some(x) = logits.get_mut(id as usize) {
                    let penalty = sampling.repetition_penalty;
                    *x = if *x > 0.0 { *x / penalty } else { *x * penalty };
                }
            }
        }
        for (&id, &count) in &self.written {
            if let Some(x) = logits.get_mut(id as usize) {
                *x -= sampling.presence_penalty + sampling.frequency_penalty * count as f32;
            }
        }
    }
}
