//! What a sequence has read: a state per lightning layer, keys and values per softmax layer.
//!
//! It depends on the tokens read, not on how they were read: in which pieces, with which others, on
//! how many threads.

use crate::weights::Policy;
use crate::{Config, LayerType};
use tensor::{Checkpoint, Device, Kv, KvRows, KvType, LightningState};

/// The memory of one sequence. `state` does not grow; `kv` grows with every token.
#[derive(Clone, Debug)]
pub struct Cache {
    layers: Vec<LayerCache>,
    tokens: usize,
    /// Whether the next token is relevant, see [`Config::relevance_token_id`].
    pub(crate) relevant: bool,
}

/// The memory of one layer.
#[derive(Clone, Debug)]
pub enum LayerCache {
    /// States at the last boundary of blocks, and the keys and values since.
    State(LightningState),
    /// Keys and values, each `[tokens, kv_heads, head_dim]`.
    Kv {
        /// Keys, after rotation.
        k: KvRows,
        /// Values.
        v: KvRows,
    },
}

/// A point that a sequence can be brought back to: its states there, and how much it had read.
#[derive(Clone, Debug)]
pub struct Mark {
    states: Vec<LightningState>,
    tokens: usize,
    relevant: bool,
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
    /// The memory of a sequence that has read nothing, with room for `tokens`, keys and values kept as
    /// `kv`: as long as there are no more, its size is what [`Config::state_bytes`] and
    /// [`Config::kv_bytes`] say.
    pub fn new(config: &Config, tokens: usize, kv: KvType) -> Self {
        let state = || LightningState::new(&config.lightning());
        let rows = || KvRows::new(kv, config.head_dim, tokens * config.num_key_value_heads);
        let layer = |kind: &LayerType| match kind {
            LayerType::LinearAttention => LayerCache::State(state()),
            LayerType::FullAttention => LayerCache::Kv { k: rows(), v: rows() },
        };
        Self { layers: config.layer_types.iter().map(layer).collect(), tokens: 0, relevant: false }
    }

    /// Tokens read so far: the position of the next one.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Bytes that lightning layers hold.
    pub fn state_bytes(&self) -> usize {
        let bytes = |layer: &LayerCache| match layer {
            LayerCache::State(state) => state.bytes(),
            LayerCache::Kv { .. } => 0,
        };
        self.layers.iter().map(bytes).sum()
    }

    /// Bytes of the keys and values read so far.
    pub fn kv_bytes(&self) -> usize {
        let bytes = |layer: &LayerCache| match layer {
            LayerCache::State(_) => 0,
            LayerCache::Kv { k, v } => k.bytes() + v.bytes(),
        };
        self.layers.iter().map(bytes).sum()
    }

    /// Where the sequence is now, as little as it takes to come back: the keys and values stay
    /// where they are.
    pub fn mark(&self) -> Mark {
        let state = |layer: &LayerCache| match layer {
            LayerCache::State(state) => Some(state.clone()),
            LayerCache::Kv { .. } => None,
        };
        let states = self.layers.iter().filter_map(state).collect();
        Mark { states, tokens: self.tokens, relevant: self.relevant }
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
                LayerCache::Kv { k, v } => {
                    for x in [k, v] {
                        x.truncate(x.heads() / self.tokens.max(1) * mark.tokens);
                    }
                }
            }
        }
        self.tokens = mark.tokens;
        self.relevant = mark.relevant;
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
            Self::Kv { .. } => panic!("keys and values where a state is needed"),
        }
    }

    /// Appends keys and values, `[tokens, kv_heads, head_dim]`, and returns all of them.
    ///
    /// # Panics
    ///
    /// If this belongs to a lightning layer.
    #[track_caller]
    pub(crate) fn append(&mut self, device: &Device, new_k: &[f32], new_v: &[f32]) -> [Kv<'_>; 2] {
        match self {
            Self::State(_) => panic!("a state where keys and values are needed"),
            Self::Kv { k, v } => {
                k.append(device.exec().cpu, new_k);
                v.append(device.exec().cpu, new_v);
                [k.view(), v.view()]
            }
        }
    }
}
