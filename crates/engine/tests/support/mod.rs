//! A model whose memory is the list of tokens itself, so that a memory mixed up, stale or of the wrong
//! tokens shows in what it says.

#![allow(dead_code, reason = "each test uses some of it")]

use engine::{Bytes, Memory, Model, Part, Piece, Rows, is_content};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use tensor::Rng;

/// Bytes that a token takes.
pub(crate) const TOKEN_BYTES: u64 = 64;

/// The model.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) vocab_size: usize,
    pub(crate) context: usize,
    /// Tokens of a page.
    pub(crate) page: usize,
    pub(crate) block: usize,
    pub(crate) state_bytes: u64,
    /// Whether each memory has a state of its own from the start, or copies it when it changes it.
    pub(crate) own_states: bool,
    /// Memory that exists.
    pub(crate) live: Arc<AtomicI64>,
    /// Reads to come until one panics; none does at 0.
    pub(crate) fault_in: AtomicU64,
    /// Tokens read.
    pub(crate) tokens_read: AtomicU64,
}

impl Fake {
    pub(crate) fn new(page: usize, block: usize, state_bytes: u64) -> Self {
        Self {
            vocab_size: 29,
            context: 4096,
            page,
            block,
            state_bytes,
            own_states: false,
            live: Arc::default(),
            fault_in: AtomicU64::new(0),
            tokens_read: AtomicU64::new(0),
        }
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        u64::try_from(self.live.load(Ordering::SeqCst)).expect("more was freed than there was")
    }

    /// The memory of `tokens`, from nowhere.
    pub(crate) fn memory(&self, tokens: &[u32]) -> Tokens {
        let mut memory = self.start();
        tokens.iter().for_each(|&id| memory.push(id));
        memory
    }

    /// Logits after `tokens`, padding left out.
    pub(crate) fn logits(&self, tokens: &[u32]) -> Vec<f32> {
        let mut rng = Rng(tokens.iter().fold(7, |hash, &id| mix(hash, id)));
        let mut logits: Vec<f32> = (0..self.vocab_size).map(|_| 2.0 * rng.normal()).collect();
        // So that it repeats itself, and what comes can be guessed.
        if rng.chance(0.7)
            && let Some(id) = tokens.len().checked_sub(5).map(|i| tokens[i])
            && let Some(logit) = logits.get_mut(id as usize)
        {
            *logit += 8.0;
        }
        logits
    }
}

/// What a row of a picture or a sound is among the tokens that were read.
pub(crate) fn seen(row: f32) -> u32 {
    assert!(row >= 1.0, "a row that is like a token");
    row.to_bits()
}

fn mix(hash: u64, id: u32) -> u64 {
    Rng(hash ^ u64::from(id).wrapping_mul(0x9E37_79B9)).next_u64()
}

/// Memory that is counted while it exists.
#[derive(Debug)]
struct Allocation<T> {
    value: T,
    bytes: u64,
    live: Arc<AtomicI64>,
}

impl<T> Allocation<T> {
    fn new(value: T, bytes: u64, live: &Arc<AtomicI64>) -> Arc<Self> {
        live.fetch_add(bytes as i64, Ordering::SeqCst);
        Arc::new(Self { value, bytes, live: Arc::clone(live) })
    }

    fn part(self: &Arc<Self>) -> Part {
        Part::Shared { address: Arc::as_ptr(self).addr(), bytes: self.bytes }
    }
}

impl<T: Clone> Clone for Allocation<T> {
    fn clone(&self) -> Self {
        self.live.fetch_add(self.bytes as i64, Ordering::SeqCst);
        Self { value: self.value.clone(), bytes: self.bytes, live: Arc::clone(&self.live) }
    }
}

impl<T> Drop for Allocation<T> {
    fn drop(&mut self) {
        self.live.fetch_sub(self.bytes as i64, Ordering::SeqCst);
    }
}

/// What a sequence has read.
#[derive(Debug)]
pub(crate) struct Tokens {
    pages: Vec<Arc<Allocation<Vec<u32>>>>,
    /// Stands for lightning states: the hash of all tokens.
    state: Arc<Allocation<u64>>,
    own_state: bool,
    tokens: usize,
    page: usize,
    block: usize,
}

impl Clone for Tokens {
    fn clone(&self) -> Self {
        let state = if self.own_state {
            Arc::new(Allocation::clone(&self.state))
        } else {
            Arc::clone(&self.state)
        };
        Self { pages: self.pages.clone(), state, ..*self }
    }
}

impl Tokens {
    pub(crate) fn list(&self) -> Vec<u32> {
        let mut list: Vec<u32> = self.pages.iter().flat_map(|page| page.value.clone()).collect();
        list.truncate(self.tokens);
        list
    }

    fn push(&mut self, id: u32) {
        let used = self.tokens % self.page;
        if used == 0 {
            let (bytes, live) = (self.page as u64 * TOKEN_BYTES, &self.state.live);
            self.pages.push(Allocation::new(Vec::new(), bytes, live));
        }
        let last = self.pages.last_mut().expect("a page");
        let ids = &mut Arc::make_mut(last).value;
        ids.truncate(used);
        ids.push(id);
        let state = Arc::make_mut(&mut self.state);
        state.value = mix(state.value, id);
        self.tokens += 1;
    }
}

impl Memory for Tokens {
    fn tokens(&self) -> usize {
        self.tokens
    }

    fn truncate(&mut self, tokens: usize) {
        assert!(tokens <= self.tokens, "{tokens} of {}", self.tokens);
        assert!(tokens >= self.tokens / self.block * self.block, "behind the last block");
        self.tokens = tokens;
        self.pages.truncate(tokens.div_ceil(self.page));
        let hash = self.list().into_iter().fold(7, mix);
        Arc::make_mut(&mut self.state).value = hash;
    }

    fn parts(&self, from: usize) -> impl Iterator<Item = Part> {
        let pages = self.pages.iter().skip(from / self.page).map(Allocation::part);
        let state = if self.own_state { Part::Own(self.state.bytes) } else { self.state.part() };
        pages.chain([state])
    }
}

impl Model for Fake {
    type Memory = Tokens;

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn context(&self) -> usize {
        self.context
    }

    fn row_width(&self) -> usize {
        1
    }

    fn start(&self) -> Tokens {
        let state = Allocation::new(7, self.state_bytes, &self.live);
        let (own_state, page, block) = (self.own_states, self.page, self.block);
        Tokens { pages: Vec::new(), state, own_state, tokens: 0, page, block }
    }

    fn bytes(&self, tokens: usize) -> Bytes {
        let pages = tokens.div_ceil(self.page) as u64;
        Bytes { state: self.state_bytes, kv: pages * self.page as u64 * TOKEN_BYTES }
    }

    fn fork_bytes(&self, tokens: usize) -> u64 {
        let partial = if tokens.is_multiple_of(self.page) { 0 } else { self.page as u64 };
        self.state_bytes + partial * TOKEN_BYTES
    }

    fn block(&self) -> usize {
        self.block
    }

    fn read(&self, pieces: &mut [Piece<'_, Tokens>]) -> Rows {
        // Whoever looks at the padding is lost.
        let padded = |tokens: &[u32]| [&self.logits(tokens)[..], &[f32::NAN, 1e9]].concat();
        Rows::new(self.outputs(pieces, padded), self.vocab_size + 2)
    }

    fn hidden(&self, pieces: &mut [Piece<'_, Tokens>]) -> Rows {
        Rows::new(self.outputs(pieces, |tokens| Self::state(tokens).to_vec()), 3)
    }
}

impl Fake {
    /// The hidden state of the last of `tokens`.
    pub(crate) fn state(tokens: &[u32]) -> [f32; 3] {
        let mut rng = Rng(tokens.iter().fold(9, |hash, &id| mix(hash, id)));
        std::array::from_fn(|_| rng.normal())
    }

    /// Reads `pieces`; what `of` says of the tokens up to each output.
    fn outputs(
        &self,
        pieces: &mut [Piece<'_, Tokens>],
        of: impl Fn(&[u32]) -> Vec<f32>,
    ) -> Vec<f32> {
        let last = pieces.len() - 1;
        let left = self.fault_in.load(Ordering::SeqCst);
        self.fault_in.store(left.saturating_sub(1), Ordering::SeqCst);
        let mut outputs = Vec::new();
        for (i, piece) in pieces.iter_mut().enumerate() {
            assert!(!piece.input_ids.is_empty() && piece.outputs <= piece.input_ids.len());
            let first = piece.input_ids.len() - piece.outputs;
            let mut ids = piece.input_ids.to_vec();
            for content in &piece.inserted {
                for (id, &row) in ids[content.tokens.clone()].iter_mut().zip(content.data()) {
                    assert!(is_content(*id), "a row for a token");
                    *id = seen(row);
                }
            }
            assert!(!ids.iter().any(|&id| is_content(id)), "a picture without rows");
            for (j, id) in ids.into_iter().enumerate() {
                piece.memory.push(id);
                self.tokens_read.fetch_add(1, Ordering::SeqCst);
                if j >= first {
                    let tokens = piece.memory.list();
                    let hash = tokens.iter().fold(7, |hash, &id| mix(hash, id));
                    assert_eq!(hash, piece.memory.state.value, "the state is of other tokens");
                    outputs.extend(of(&tokens));
                }
                if left == 1 && i == last {
                    // A panic that says nothing on the terminal.
                    std::panic::resume_unwind(Box::new("injected"));
                }
            }
        }
        outputs
    }
}
