//! Keys and values in pages of a fixed number of tokens, which sequences share.
//!
//! Page `p` holds the tokens at positions `p * PAGE_TOKENS..(p + 1) * PAGE_TOKENS`. A clone shares
//! all pages; who writes to a page that others read, which can only be the last one, writes to a
//! copy. How a page is laid out: see [`super::kv`].

use super::kv::{self, BLOCK, Kv, KvType, Part, TILE_KEYS};
use crate::Exec;
use crate::half::Bf16;
use crate::lanes::prefetch;
use crate::memory::Kept;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// Tokens of a page.
pub const PAGE_TOKENS: usize = 512;
/// Bytes between what is computed with and what is asked for (`docs/perf/LOG.md`, 2026-11-26).
const AHEAD: usize = 16 << 10;
/// Fewer elements than this are written by the caller alone.
const MIN_SHARED: usize = 32 << 10;

const _: () = assert!(PAGE_TOKENS.is_multiple_of(TILE_KEYS), "tiles lie within a page");

/// 64 bytes, aligned to a line of the cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [f32; 16]);

const ZEROS: Line = Line([0.0; 16]);

/// A type of which any bits are a value, with no padding, that needs no more than the alignment of a
/// line.
pub(super) trait Number: Copy {}
impl Number for u8 {}
impl Number for i8 {}
impl Number for Bf16 {}
impl Number for u32 {}
impl Number for f32 {}

/// Lines as numbers of one kind.
#[inline(always)]
pub(super) fn elements<T: Number>(lines: &[Line]) -> &[T] {
    // SAFETY: the memory is initialized and any bits are a number; lines are aligned to 64 bytes, so
    // none is left over in front.
    let (_, elements, _) = unsafe { lines.align_to() };
    elements
}

/// Lines as numbers of one kind, to be written.
#[inline(always)]
pub(super) fn elements_mut<T: Number>(lines: &mut [Line]) -> &mut [T] {
    // SAFETY: as in `elements`, and any number leaves valid lines.
    let (_, elements, _) = unsafe { lines.align_to_mut() };
    elements
}

/// The whole lines in a buffer, of which there is one less than fit in its length.
pub(super) fn lines_of(buffer: &mut [f32]) -> &mut [Line] {
    // SAFETY: lines are f32 and nothing else, and any f32 is one.
    let (_, lines, _) = unsafe { buffer.align_to_mut() };
    lines
}

/// The memory of [`PAGE_TOKENS`] tokens, keys and values of all heads; zeros where there are none.
pub struct Page {
    memory: Memory,
    /// From this token on there are zeros.
    written: usize,
}

/// Where a page is.
enum Memory {
    Own(Kept<Line>),
    /// In somebody else's, such as a mapped file: whole lines, aligned as lines are. It is only read.
    Shared(Bytes),
}

/// Keys and values of a sequence in one layer. What is appended is converted once.
#[derive(Clone, Debug)]
pub struct KvPages {
    kind: KvType,
    kv_heads: usize,
    head_dim: usize,
    tokens: usize,
    pages: Vec<Arc<Page>>,
}

/// Pages that are not those of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageError {
    /// Too many or too few.
    Count {
        /// Pages that there are.
        found: usize,
        /// Pages that the tokens take.
        expected: usize,
    },
    /// One that is too short or too long.
    Bytes {
        /// Which, from 0 on.
        page: usize,
        /// Bytes that it has.
        found: usize,
        /// Bytes that a page has.
        expected: usize,
    },
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { found, expected } => write!(f, "{found} pages, expected {expected}"),
            Self::Bytes { page, found, expected } => {
                write!(f, "page {page} has {found} bytes, expected {expected}")
            }
        }
    }
}

impl std::error::Error for PageError {}

impl Page {
    fn new(bytes: usize) -> Self {
        let lines = Kept::new(ZEROS, bytes / size_of::<Line>());
        Self { memory: Memory::Own(lines), written: 0 }
    }

    /// Around `bytes`, whole lines; a copy if lines cannot begin where they begin.
    fn around(bytes: Bytes) -> Self {
        let memory = match bytes.as_ptr().cast::<Line>().is_aligned() {
            true => Memory::Shared(bytes),
            false => Memory::Own(copied(&bytes)),
        };
        Self { memory, written: PAGE_TOKENS }
    }

    #[inline(always)]
    fn lines(&self) -> &[Line] {
        match &self.memory {
            Memory::Own(lines) => lines,
            Memory::Shared(bytes) => {
                // SAFETY: lines are f32 without padding, of which any bits are one.
                let (_, lines, _) = unsafe { bytes.align_to() };
                lines
            }
        }
    }

    /// The lines to be written, and up to which token they are; what is somebody else's is copied.
    fn own(&mut self) -> (&mut [Line], &mut usize) {
        if let Memory::Shared(bytes) = &self.memory {
            self.memory = Memory::Own(copied(bytes));
        }
        match &mut self.memory {
            Memory::Own(lines) => (lines, &mut self.written),
            Memory::Shared(_) => unreachable!("it was copied"),
        }
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Own(lines) => elements(lines),
            Memory::Shared(bytes) => bytes,
        }
    }
}

/// Whole lines from anywhere.
fn copied(bytes: &[u8]) -> Kept<Line> {
    let mut lines = Kept::new(ZEROS, bytes.len() / size_of::<Line>());
    elements_mut(&mut lines).copy_from_slice(bytes);
    lines
}

impl Clone for Page {
    fn clone(&self) -> Self {
        Self { memory: Memory::Own(copied(self.bytes())), written: self.written }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({} bytes)", self.bytes().len())
    }
}

impl KvPages {
    /// None yet: of tokens with `kv_heads` heads of `head_dim` elements.
    pub fn new(kind: KvType, kv_heads: usize, head_dim: usize) -> Self {
        Self { kind, kv_heads, head_dim, tokens: 0, pages: Vec::new() }
    }

    /// Those of `tokens` tokens from the [bytes](Page::bytes) of their pages, which are used where they
    /// are if they begin at a multiple of 64, and copied when they are written to.
    ///
    /// # Errors
    ///
    /// If there are not as many pages, or not of such a size. Any bytes are keys and values.
    pub fn from_pages(
        kind: KvType,
        [kv_heads, head_dim]: [usize; 2],
        tokens: usize,
        pages: impl ExactSizeIterator<Item = Bytes>,
    ) -> Result<Self, PageError> {
        let (found, expected) = (pages.len(), tokens.div_ceil(PAGE_TOKENS));
        if found != expected {
            return Err(PageError::Count { found, expected });
        }
        let expected = kind.page_bytes(kv_heads, head_dim);
        let page = |(page, bytes): (usize, Bytes)| {
            let found = bytes.len();
            if found != expected {
                return Err(PageError::Bytes { page, found, expected });
            }
            Ok(Arc::new(Page::around(bytes)))
        };
        let pages = pages.enumerate().map(page).collect::<Result<_, _>>()?;
        Ok(Self { kind, kv_heads, head_dim, tokens, pages })
    }

    /// All of them, for attention.
    pub fn view(&self) -> Kv<'_> {
        Kv::Pages(self)
    }

    /// In what form these are.
    pub fn kind(&self) -> KvType {
        self.kind
    }

    /// Heads of a token.
    pub fn kv_heads(&self) -> usize {
        self.kv_heads
    }

    /// Width of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Tokens, the position of the next one.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The pages, in order; equal addresses are shared memory.
    pub fn pages(&self) -> &[Arc<Page>] {
        &self.pages
    }

    /// Bytes of all pages, whole ones, shared or not.
    pub fn bytes(&self) -> usize {
        self.pages.iter().map(|page| page.bytes().len()).sum()
    }

    /// Appends keys and values, each `[tokens, kv_heads, head_dim]`.
    ///
    /// # Panics
    ///
    /// If these are not whole tokens, or not as many.
    #[track_caller]
    pub fn append(&mut self, exec: &Exec, k: &[f32], v: &[f32]) {
        let Self { kv_heads, head_dim, .. } = *self;
        let width = kv_heads * head_dim;
        assert_eq!(k.len(), v.len(), "k and v");
        assert!(
            k.len().is_multiple_of(width.max(1)),
            "{} elements, tokens of {kv_heads} heads of {head_dim}",
            k.len()
        );
        let mut rest = [k, v];
        while !rest[0].is_empty() {
            let first = self.tokens % PAGE_TOKENS;
            if first == 0 {
                let bytes = self.kind.page_bytes(kv_heads, head_dim);
                self.pages.push(Arc::new(Page::new(bytes)));
            }
            let n = rest[0].len().min((PAGE_TOKENS - first) * width);
            self.write(exec, first, rest.map(|x| &x[..n]));
            self.tokens += n / width;
            rest = rest.map(|x| &x[n..]);
        }
    }

    /// Writes tokens from number `first` of the last page on; what the page has behind them is
    /// forgotten.
    fn write(&mut self, exec: &Exec, first: usize, kv: [&[f32]; 2]) {
        let Self { kv_heads, head_dim, .. } = *self;
        let tokens = kv[0].len() / (kv_heads * head_dim);
        let layout = self.layout();
        let Some(page) = self.pages.last_mut() else { panic!("a page to write to") };
        let (lines, written) = Arc::make_mut(page).own();
        let left_over = (first + tokens).min(*written)..*written;
        *written = first + tokens;
        let zeros = vec![0.0; if left_over.is_empty() { 0 } else { head_dim }];
        let of_head = |head: usize, lines: &mut [Line]| {
            for (part, x) in [Part::Keys, Part::Values].into_iter().zip(kv) {
                for (i, x) in x.chunks_exact(kv_heads * head_dim).enumerate() {
                    layout.write(lines, part, first + i, &x[head * head_dim..][..head_dim]);
                }
                for token in left_over.clone() {
                    layout.write(lines, part, token, &zeros);
                }
            }
        };
        let lines_of_head = layout.tile_lines() * (PAGE_TOKENS / TILE_KEYS);
        if kv[0].len() < MIN_SHARED {
            let heads = lines.chunks_exact_mut(lines_of_head).enumerate();
            heads.for_each(|(head, lines)| of_head(head, lines));
        } else {
            exec.threads.for_each_chunk(lines, lines_of_head, of_head);
        }
    }

    /// Leaves the first `tokens` tokens; pages without any are dropped.
    pub fn truncate(&mut self, tokens: usize) {
        self.tokens = self.tokens.min(tokens);
        self.pages.truncate(self.tokens.div_ceil(PAGE_TOKENS));
    }

    /// Keys and values of the tile of head `head` that begins with key `key`.
    #[inline(always)]
    pub(super) fn tile(&self, head: usize, key: usize) -> &[Line] {
        let page = &self.pages[key / PAGE_TOKENS];
        let tile = head * (PAGE_TOKENS / TILE_KEYS) + key % PAGE_TOKENS / TILE_KEYS;
        let len = self.layout().tile_lines();
        &page.lines()[tile * len..(tile + 1) * len]
    }

    /// How many bytes behind byte `at` of the tile with key `key` lies what should be asked for when
    /// that byte is read, by who reads tiles in order up to key `end`; 0 if there is nothing.
    #[inline(always)]
    pub(super) fn ahead(&self, head: usize, key: usize, at: usize, end: usize) -> usize {
        let tile = self.tile(head, key);
        let beyond = at + AHEAD;
        if beyond < size_of_val(tile) {
            return AHEAD;
        }
        if key + TILE_KEYS >= end {
            return 0;
        }
        // Where the page ends, what follows lies elsewhere.
        let next = self.tile(head, key + TILE_KEYS).as_ptr().addr() + beyond - size_of_val(tile);
        next.wrapping_sub(tile.as_ptr().addr() + at)
    }

    /// Asks for what nobody has [asked for](Self::ahead) when the tile with key `key` is the first.
    pub(super) fn ask_for_first(&self, head: usize, key: usize) {
        self.tile(head, key).iter().take(AHEAD / size_of::<Line>()).for_each(|line| prefetch(line));
    }

    /// All keys and all values as f32, `[tokens, kv_heads, head_dim]`.
    pub(super) fn widen(&self) -> [Vec<f32>; 2] {
        let Self { kv_heads, head_dim, tokens, .. } = *self;
        let layout = self.layout();
        [Part::Keys, Part::Values].map(|part| {
            let mut out = vec![0.0; tokens * kv_heads * head_dim];
            for (i, out) in out.chunks_exact_mut(head_dim.max(1)).enumerate() {
                let (token, head) = (i / kv_heads, i % kv_heads);
                let tile = self.tile(head, token / TILE_KEYS * TILE_KEYS);
                layout.read(tile, part, token % TILE_KEYS, out);
            }
            out
        })
    }

    fn layout(&self) -> Layout {
        Layout { kind: self.kind, steps: self.head_dim.div_ceil(BLOCK) }
    }
}

/// What is needed to find an element.
#[derive(Clone, Copy)]
struct Layout {
    kind: KvType,
    /// Blocks of a head.
    steps: usize,
}

impl Layout {
    /// Lines of a tile, keys and values.
    fn tile_lines(self) -> usize {
        2 * kv::TILE_BLOCKS * self.steps * self.kind.block_lines()
    }

    /// Writes token `token` of a head whose tiles are `lines`.
    fn write(self, lines: &mut [Line], part: Part, token: usize, x: &[f32]) {
        let tile = &mut lines[token / TILE_KEYS * self.tile_lines()..];
        for (step, x) in x.chunks(BLOCK).enumerate() {
            let block = part.block(self.kind, token % TILE_KEYS, step, self.steps);
            let block = &mut tile[block..][..self.kind.block_lines()];
            kv::write(self.kind, part, block, token % BLOCK, x);
        }
    }

    /// Reads key `key` of a tile.
    fn read(self, tile: &[Line], part: Part, key: usize, out: &mut [f32]) {
        for (step, out) in out.chunks_mut(BLOCK).enumerate() {
            let block = &tile[part.block(self.kind, key, step, self.steps)..];
            kv::read(self.kind, part, &block[..self.kind.block_lines()], key % BLOCK, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::testing::random;

    fn append(pages: &mut KvPages, x: &[f32]) {
        let v: Vec<f32> = x.iter().map(|x| x + 1.0).collect();
        pages.append(&Exec::new(1), x, &v);
    }

    fn appended(kind: KvType, [heads, dim]: [usize; 2], x: &[f32]) -> KvPages {
        let mut pages = KvPages::new(kind, heads, dim);
        append(&mut pages, x);
        pages
    }

    #[test]
    fn they_grow_and_shrink_by_whole_pages() {
        let shape @ [heads, dim] = [3, 50];
        let width = heads * dim;
        let x = random(&mut Rng(1), (2 * PAGE_TOKENS + 5) * width);
        for kind in KvType::ALL {
            let page = kind.page_bytes(heads, dim);
            for n in [0, 1, PAGE_TOKENS - 1, PAGE_TOKENS, PAGE_TOKENS + 1, 2 * PAGE_TOKENS + 5] {
                let whole = appended(kind, shape, &x[..n * width]);
                let widened = whole.view().widen();
                assert_eq!(whole.tokens(), n);
                assert!(widened.iter().all(|x| x.len() == n * width));
                assert_eq!(whole.bytes(), n.div_ceil(PAGE_TOKENS) * page);
                for keep in [0, n / 2, n] {
                    let mut pages = appended(kind, shape, &x[..n * width]);
                    pages.truncate(keep);
                    assert_eq!(pages.bytes(), keep.div_ceil(PAGE_TOKENS) * page);
                    // Pieces of any size are the same as one.
                    for piece in x[keep * width..n * width].chunks(37 * width) {
                        append(&mut pages, piece);
                    }
                    assert_eq!(widened, pages.view().widen(), "{kind:?}");
                }
            }
        }
    }

    #[test]
    fn a_clone_shares_all_pages_until_it_writes_to_the_last() {
        let shape @ [heads, dim] = [2, 9];
        let width = heads * dim;
        let x = random(&mut Rng(2), 3 * PAGE_TOKENS * width);
        let n = PAGE_TOKENS + 10;
        for kind in KvType::ALL {
            let first = appended(kind, shape, &x[..n * width]);
            let before = first.view().widen();
            let same = |pages: &KvPages, tokens: usize| {
                let widened = pages.view().widen();
                let pairs = widened.iter().zip(&before);
                pairs.for_each(|(x, before)| {
                    assert_eq!(x[..tokens * width], before[..tokens * width], "{kind:?}");
                });
            };
            let shared = |a: &KvPages, b: &KvPages| {
                a.pages().iter().zip(b.pages()).filter(|(a, b)| Arc::ptr_eq(a, b)).count()
            };
            let mut second = first.clone();
            assert_eq!(shared(&first, &second), 2);
            append(&mut second, &x[..700 * width]);
            assert_eq!((shared(&first, &second), second.pages().len()), (1, 3));
            same(&first, n);
            same(&second, n);
            let mut third = second.clone();
            third.truncate(5);
            append(&mut third, &x[..width]);
            same(&second, n);
            same(&third, 5);
            // A full page is never copied.
            let mut full = appended(kind, shape, &x[..PAGE_TOKENS * width]);
            let other = full.clone();
            append(&mut full, &x[..width]);
            assert_eq!(shared(&full, &other), 1);
        }
    }

    #[test]
    fn pages_come_back_from_their_bytes() {
        let shape @ [heads, dim] = [2, 40];
        let n = PAGE_TOKENS + 3;
        let x = random(&mut Rng(3), n * heads * dim);
        for kind in KvType::ALL {
            let pages = appended(kind, shape, &x);
            let page = kind.page_bytes(heads, dim);
            // Aligned and not: used where they are, or copied.
            for offset in [0, 4] {
                let mut all = vec![0; 2 * page + 128];
                let start = all.as_ptr().align_offset(64) + offset;
                for (i, page) in pages.pages().iter().enumerate() {
                    let len = page.bytes().len();
                    all[start + i * len..][..len].copy_from_slice(page.bytes());
                }
                let all = Bytes::from(all);
                let bytes = [0, 1].map(|i| all.slice(start + i * page..start + (i + 1) * page));
                let from = |tokens, bytes: &[Bytes]| {
                    KvPages::from_pages(kind, shape, tokens, bytes.iter().cloned())
                };
                let mut again = from(n, &bytes).unwrap();
                assert_eq!((again.tokens(), again.view().widen()), (n, pages.view().widen()));
                let in_place = |i: usize| again.pages()[i].bytes().as_ptr() == bytes[i].as_ptr();
                assert_eq!([0, 1].map(in_place), [offset == 0; 2], "{kind:?}");
                // Who goes on writes to a page of its own.
                let mut now = pages.clone();
                let before = all.to_vec();
                append(&mut now, &x[..7 * heads * dim]);
                append(&mut again, &x[..7 * heads * dim]);
                assert_eq!(again.view().widen(), now.view().widen(), "{kind:?}");
                assert_eq!(before, all);
                let error = from(n, &bytes[..1]).unwrap_err();
                assert_eq!(error.to_string(), "1 pages, expected 2");
                let short = [bytes[0].clone(), bytes[1].slice(1..)];
                let error = from(n, &short).unwrap_err();
                let text = format!("page 1 has {} bytes, expected {page}", page - 1);
                assert_eq!(error.to_string(), text);
            }
        }
    }
}
