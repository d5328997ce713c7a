//! What a sequence has read: a state per lightning layer, keys and values per softmax layer.
//!
//! It depends on the tokens read, not on how they were read: in which pieces, with which others, on
//! how many threads.

use crate::weights::Policy;
use crate::{Config, LayerType};
use std::sync::Arc;
use tensor::{Checkpoint, Device, Kv, KvPages, KvType, LIGHTNING_BLOCK, LightningState, Page};

/// The memory of one sequence. `state` does not grow; `kv` grows by a page whenever the last one is
/// full. A clone shares all pages, and copies the last one when it goes on from there.
#[derive(Clone, Debug)]
pub struct Cache {
    layers: Vec<LayerCache>,
    tokens: usize,
    /// The position of the first relevant token, if it was read, see [`Config::relevance_token_id`].
    pub(crate) relevant_from: Option<usize>,
}

/// The memory of one layer.
#[derive(Clone, Debug)]
pub enum LayerCache {
    /// States at the last boundary of blocks, and the keys and values since.
    State(LightningState),
    /// Keys, after rotation, and values.
    Kv(KvPages),
}

/// A point that a sequence can be brought back to: its states there, and how much it had read.
#[derive(Clone, Debug)]
pub struct Mark {
    states: Vec<LightningState>,
    tokens: usize,
    relevant_from: Option<usize>,
}

/// How keys and values are kept unless somebody says: as f32 where everything else is, as bf16 where
/// weights are no more precise, in the file of `checkpoint` or by `policy`. Arithmetic in f64 is
/// for comparisons, which what is rounded would spoil.
pub fn default_kv(checkpoint: &Checkpoint, device: &Device, policy: Option<Policy>) -> KvType {
    let mut dtypes = checkpoint.names().filter_map(|name| checkpoint.dtype(name));
    let in_f32 = match policy {
        Some(policy) => policy == Policy::F32,
        None => dtypes.all(|dtype| dtype == "F32"),
    };
    if in_f32 || device.computes_in_f64() { KvType::F32 } else { KvType::Bf16 }
}

impl Cache {
    /// The memory of a sequence that has read nothing, keys and values kept as `kv`. Its size is what
    /// [`Config::state_bytes`] and [`Config::kv_bytes`] say.
    pub fn new(config: &Config, kv: KvType) -> Self {
        let state = || LightningState::new(&config.lightning());
        let pages = || KvPages::new(kv, config.num_key_value_heads, config.head_dim);
        let layer = |kind: &LayerType| match kind {
            LayerType::LinearAttention => LayerCache::State(state()),
            LayerType::FullAttention => LayerCache::Kv(pages()),
        };
        Self {
            layers: config.layer_types.iter().map(layer).collect(),
            tokens: 0,
            relevant_from: None,
        }
    }

    /// From the memory of each layer, after `tokens` tokens.
    pub(crate) fn from_layers(
        layers: Vec<LayerCache>,
        tokens: usize,
        relevant_from: Option<usize>,
    ) -> Self {
        Self { layers, tokens, relevant_from }
    }

    /// In what form keys and values are kept; f32 if there are no softmax layers.
    pub fn kv(&self) -> KvType {
        let kind = self.layers.iter().find_map(|layer| match layer {
            LayerCache::State(_) => None,
            LayerCache::Kv(pages) => Some(pages.kind()),
        });
        kind.unwrap_or(KvType::F32)
    }

    /// Tokens read so far: the position of the next one.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Bytes that lightning layers hold.
    pub fn state_bytes(&self) -> usize {
        let bytes = |layer: &LayerCache| match layer {
            LayerCache::State(state) => state.bytes(),
            LayerCache::Kv(_) => 0,
        };
        self.layers.iter().map(bytes).sum()
    }

    /// Bytes of all pages of keys and values, whole ones, shared with other sequences or not.
    pub fn kv_bytes(&self) -> usize {
        self.pages().map(|page| page.bytes().len()).sum()
    }

    /// All pages of keys and values. Sequences that share some see the same addresses: whoever keeps
    /// several counts each once.
    pub fn pages(&self) -> impl Iterator<Item = &Arc<Page>> {
        let pages = self.layers.iter().map(|layer| match layer {
            LayerCache::State(_) => &[],
            LayerCache::Kv(pages) => pages.pages(),
        });
        pages.flatten()
    }

    /// The memory of each layer.
    pub fn layers(&self) -> &[LayerCache] {
        &self.layers
    }

    /// Where the sequence is now, as little as it takes to come back: the keys and values stay
    /// where they are.
    pub fn mark(&self) -> Mark {
        let state = |layer: &LayerCache| match layer {
            LayerCache::State(state) => Some(state.clone()),
            LayerCache::Kv(_) => None,
        };
        let states = self.layers.iter().filter_map(state).collect();
        Mark { states, tokens: self.tokens, relevant_from: self.relevant_from }
    }

    /// Forgets, exactly, what was read after `mark`.
    ///
    /// # Panics
    ///
    /// If the mark is of a sequence of another model, or the sequence is before it.
    #[track_caller]
    pub fn rewind(&mut self, mark: &Mark) {
        assert!(mark.tokens <= self.tokens, "a mark at {}, read {}", mark.tokens, self.tokens);
        let mut states = mark.states.iter();
        for layer in &mut self.layers {
            match layer {
                LayerCache::State(state) => {
                    let kept = states.next().expect("a state per lightning layer");
                    assert_eq!(kept.bytes(), state.bytes(), "a mark of another model");
                    state.clone_from(kept);
                }
                LayerCache::Kv(pages) => pages.truncate(mark.tokens),
            }
        }
        self.tokens = mark.tokens;
        self.relevant_from = mark.relevant_from;
    }

    /// Forgets, exactly, all but the first `tokens`, without a mark: as far back as the last boundary of
    /// lightning attention's blocks, whose keys and values are all kept.
    ///
    /// # Panics
    ///
    /// If that is behind the boundary, or the sequence is before it.
    #[track_caller]
    pub fn truncate(&mut self, tokens: usize) {
        let boundary = self.tokens / LIGHTNING_BLOCK * LIGHTNING_BLOCK;
        assert!(
            (boundary..=self.tokens).contains(&tokens),
            "back to {tokens}, expected {boundary} to {}",
            self.tokens
        );
        for layer in &mut self.layers {
            match layer {
                // What its block holds beyond is not looked at and written over.
                LayerCache::State(_) => {}
                LayerCache::Kv(pages) => pages.truncate(tokens),
            }
        }
        self.tokens = tokens;
        self.relevant_from = self.relevant_from.filter(|&from| from < tokens);
    }

    pub(crate) fn layer(&mut self, i: usize) -> &mut LayerCache {
        &mut self.layers[i]
    }

    pub(crate) fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
    }
}

impl LayerCache {
    /// The state of a lightning layer.
    ///
    /// # Panics
    ///
    /// If this belongs to a softmax layer.
    #[track_caller]
    pub(crate) fn state(&mut self) -> &mut LightningState {
        match self {
            Self::State(state) => state,
            Self::Kv(_) => panic!("keys and values where a state is needed"),
        }
    }

    /// Appends keys and values, `[tokens, kv_heads, head_dim]`, and returns all of them.
    ///
    /// # Panics
    ///
    /// If this belongs to a lightning layer.
    #[track_caller]
    pub(crate) fn append(&mut self, device: &Device, new_k: &[f32], new_v: &[f32]) -> Kv<'_> {
        match self {
            Self::State(_) => panic!("a state where keys and values are needed"),
            Self::Kv(pages) => {
                pages.append(device.exec(), new_k, new_v);
                pages.view()
            }
        }
    }
}
