//! The models of crate `models`, as the engine drives them.

use crate::model::{Bytes, Memory, Model, Part, Piece, Rows};
use models::{Batch, Cache, CausalLm, Inserted, LayerCache, Work};
use std::sync::Arc;
use tensor::{KvType, LIGHTNING_BLOCK, PAGE_TOKENS, Page, Tensor};

/// A [`CausalLm`] and how its keys and values are kept.
#[derive(Debug)]
pub struct Lm<M> {
    model: M,
    kv: KvType,
    vocab_size: usize,
    context: usize,
}

impl<M: CausalLm> Lm<M> {
    /// `model` with keys and values kept as `kv`.
    pub fn new(model: M, kv: KvType) -> Self {
        let config = model.config();
        let (vocab_size, context) = (config.vocab_size, config.max_position_embeddings);
        Self { model, kv, vocab_size, context }
    }

    /// With the ids of a tokenizer that has `vocab_size` of them: the rows of the head beyond are
    /// padding. No more than the model has.
    #[must_use]
    pub fn with_vocab_size(self, vocab_size: usize) -> Self {
        Self { vocab_size: self.vocab_size.min(vocab_size), ..self }
    }

    /// With sequences of at most `tokens`; no more than the model was made for.
    #[must_use]
    pub fn with_context(self, tokens: usize) -> Self {
        Self { context: self.context.min(tokens), ..self }
    }

    /// The model.
    pub fn inner(&self) -> &M {
        &self.model
    }

    /// How keys and values are kept.
    pub fn kv(&self) -> KvType {
        self.kv
    }
}

impl<M: CausalLm + 'static> Model for Lm<M> {
    type Memory = Cache;

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn context(&self) -> usize {
        self.context
    }

    fn row_width(&self) -> usize {
        self.model.config().hidden_size
    }

    fn start(&self) -> Cache {
        Cache::new(self.model.config(), self.kv)
    }

    fn bytes(&self, tokens: usize) -> Bytes {
        let config = self.model.config();
        Bytes { state: config.state_bytes(), kv: config.kv_bytes(tokens, self.kv) }
    }

    /// The states, and a page of each softmax layer that is not full.
    fn fork_bytes(&self, tokens: usize) -> u64 {
        let Bytes { state, kv } = self.bytes(tokens);
        let full = self.bytes(tokens / PAGE_TOKENS * PAGE_TOKENS).kv;
        state.saturating_add(kv.saturating_sub(full))
    }

    fn block(&self) -> usize {
        LIGHTNING_BLOCK
    }

    fn cost(&self, past: usize, tokens: usize) -> f64 {
        self.model.config().flops(Work { past, tokens, outputs: 0 })
    }

    fn read(&self, pieces: &mut [Piece<'_, Cache>]) -> Rows {
        self.forward(pieces, M::logits)
    }

    fn hidden(&self, pieces: &mut [Piece<'_, Cache>]) -> Rows {
        self.forward(pieces, M::hidden)
    }
}

impl<M: CausalLm> Lm<M> {
    /// Reads `pieces` and gives what `output` gives of their batch.
    fn forward(
        &self,
        pieces: &mut [Piece<'_, Cache>],
        output: fn(&M, &Batch, &mut [&mut Cache]) -> Tensor,
    ) -> Rows {
        let mut rows = Vec::new();
        let (mut tokens, mut inserted) = (Vec::new(), Vec::new());
        let mut device = None;
        let mut end = 0;
        for piece in pieces.iter() {
            for content in &piece.inserted {
                tokens.extend(content.tokens.clone().map(|token| end + token));
                inserted.extend_from_slice(content.data());
                device = Some(content.rows.device());
            }
            end += piece.input_ids.len();
            rows.extend(end - piece.outputs..end);
        }
        let ids = pieces.iter().map(|piece| (piece.input_ids, piece.memory.tokens()));
        let mut batch = Batch::new(ids, &rows);
        if let Some(device) = device {
            let shape = [tokens.len(), self.model.config().hidden_size];
            let rows = Tensor::new(device, &shape, inserted);
            batch = batch.with(Inserted { tokens: tokens.into(), rows });
        }
        let mut caches: Vec<&mut Cache> =
            pieces.iter_mut().map(|piece| &mut *piece.memory).collect();
        output(&self.model, &batch, &mut caches).into()
    }
}

impl Memory for Cache {
    fn tokens(&self) -> usize {
        Self::tokens(self)
    }

    fn truncate(&mut self, tokens: usize) {
        Self::truncate(self, tokens);
    }

    fn parts(&self, from: usize) -> impl Iterator<Item = Part> {
        let pages = self.layers().iter().flat_map(move |layer| match layer {
            LayerCache::State(_) => &[],
            LayerCache::Kv(pages) => pages.pages().get(from / PAGE_TOKENS..).unwrap_or(&[]),
        });
        let page = |page: &Arc<Page>| Part::Shared {
            address: Arc::as_ptr(page).addr(),
            bytes: page.bytes().len() as u64,
        };
        pages.map(page).chain([Part::Own(self.state_bytes() as u64)])
    }
}
