//! Keys and values in pages of a fixed number of tokens, which sequences share.
//!
//! Page `p` holds the tokens at positions `p * PAGE_TOKENS..(p + 1) * PAGE_TOKENS`. A clone shares
//! all pages; who writes to a page that others read, which can only be the last one, writes to a
//! copy.

use super::kv::{self, Kv, KvType, Piece, Q8_BLOCK};
use crate::half::Bf16;
use crate::memory::advise_huge;
use crate::{Cpu, Exec};
use fearless_simd::dispatch;
use std::fmt;
use std::sync::Arc;

/// Tokens of a page: a run of keys, so also what a task of attention takes at least.
pub const PAGE_TOKENS: usize = 512;

/// 64 bytes, aligned to a line of the cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// The memory of [`PAGE_TOKENS`] tokens: keys of all heads, then values.
///
/// ```text
/// f32, bf16  [keys, values][PAGE_TOKENS][kv_heads][head_dim]
/// q8         [keys, values] of: [PAGE_TOKENS][kv_heads][head_dim] i8, then a bf16 for each block of
///            32 of a head
/// ```
///
/// Zeros where there are no tokens yet.
pub struct Page {
    lines: Vec<Line>,
    bytes: usize,
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
        let mut lines = Vec::with_capacity(bytes.div_ceil(size_of::<Line>()));
        advise_huge(lines.spare_capacity_mut());
        lines.resize(bytes.div_ceil(size_of::<Line>()), Line([0; 64]));
        Self { lines, bytes }
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.elements()[..self.bytes]
    }

    /// The memory as numbers of one kind.
    #[inline(always)]
    fn elements<T: Number>(&self) -> &[T] {
        // SAFETY: the lines are initialized and any bits are a number; lines are aligned to 64 bytes,
        // so none is left over in front.
        let (_, elements, _) = unsafe { self.lines.align_to() };
        elements
    }

    fn elements_mut<T: Number>(&mut self) -> &mut [T] {
        // SAFETY: as in `elements`, and any number leaves valid bytes.
        let (_, elements, _) = unsafe { self.lines.align_to_mut() };
        elements
    }
}

impl Clone for Page {
    fn clone(&self) -> Self {
        let mut page = Self::new(self.bytes);
        page.lines.copy_from_slice(&self.lines);
        page
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({} bytes)", self.bytes)
    }
}

/// Which half of a page.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Keys,
    Values,
}

/// A type of which any bits are a value, with no padding, that needs no more than the alignment of a
/// line.
trait Number: Copy {}
impl Number for u8 {}
impl Number for i8 {}
impl Number for Bf16 {}
impl Number for f32 {}

impl KvPages {
    /// None yet: of tokens with `kv_heads` heads of `head_dim` elements.
    pub fn new(kind: KvType, kv_heads: usize, head_dim: usize) -> Self {
        Self { kind, kv_heads, head_dim, tokens: 0, pages: Vec::new() }
    }

    /// Those of `tokens` tokens from the [bytes](Page::bytes) of their pages.
    ///
    /// # Errors
    ///
    /// If there are not as many pages, or not of such a size. Any bytes are keys and values.
    pub fn from_pages<'a>(
        kind: KvType,
        [kv_heads, head_dim]: [usize; 2],
        tokens: usize,
        pages: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Result<Self, PageError> {
        let (found, expected) = (pages.len(), tokens.div_ceil(PAGE_TOKENS));
        if found != expected {
            return Err(PageError::Count { found, expected });
        }
        let expected = kind.page_bytes(kv_heads, head_dim);
        let page = |(page, bytes): (usize, &[u8])| {
            let found = bytes.len();
            if found != expected {
                return Err(PageError::Bytes { page, found, expected });
            }
            let mut page = Page::new(expected);
            page.elements_mut()[..expected].copy_from_slice(bytes);
            Ok(Arc::new(page))
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
        self.pages.iter().map(|page| page.bytes).sum()
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
            let [k, v] = rest.map(|x| &x[..n]);
            self.write(exec.cpu, first, Part::Keys, k);
            self.write(exec.cpu, first, Part::Values, v);
            self.tokens += n / width;
            rest = rest.map(|x| &x[n..]);
        }
    }

    /// Writes tokens from number `first` of the last page on.
    fn write(&mut self, cpu: Cpu, first: usize, part: Part, x: &[f32]) {
        let Self { kind, kv_heads, head_dim, .. } = *self;
        let width = kv_heads * head_dim;
        let Some(page) = self.pages.last_mut() else { panic!("a page to write to") };
        let page = Arc::make_mut(page);
        let half = page.bytes / 2;
        let start = part as usize * half;
        let at = first * width..first * width + x.len();
        match kind {
            KvType::F32 => {
                page.elements_mut()[start / size_of::<f32>()..][at].copy_from_slice(x);
            }
            KvType::Bf16 => {
                let out = &mut page.elements_mut()[start / size_of::<Bf16>()..][at];
                dispatch!(cpu.level, simd => kv::round(simd, x, out));
            }
            KvType::Q8 => {
                let bytes = &mut page.elements_mut::<u8>()[start..start + half];
                let (codes, scales) = bytes.split_at_mut(PAGE_TOKENS * width);
                let blocks = kv_heads * head_dim.div_ceil(Q8_BLOCK);
                let tokens = first..first + x.len() / width;
                // SAFETY: any bits are numbers of either kind.
                let (codes, scales) = unsafe { (codes.align_to_mut().1, scales.align_to_mut().1) };
                let scales = &mut scales[tokens.start * blocks..tokens.end * blocks];
                let codes = &mut codes[at];
                dispatch!(cpu.level, simd => kv::quantize(simd, head_dim, x, codes, scales));
            }
        }
    }

    /// Leaves the first `tokens` tokens; pages without any are dropped.
    pub fn truncate(&mut self, tokens: usize) {
        self.tokens = self.tokens.min(tokens);
        self.pages.truncate(self.tokens.div_ceil(PAGE_TOKENS));
    }

    /// A half of page `page`.
    #[inline(always)]
    pub(super) fn piece(&self, page: usize, part: Part) -> Piece<'_> {
        let page = &*self.pages[page];
        let start = part as usize * page.bytes / 2;
        match self.kind {
            KvType::F32 => Piece::F32(&page.elements()[start / size_of::<f32>()..]),
            KvType::Bf16 => Piece::Bf16(&page.elements()[start / size_of::<Bf16>()..]),
            KvType::Q8 => {
                let len = PAGE_TOKENS * self.kv_heads * self.head_dim;
                let scales = &page.elements()[(start + len) / size_of::<Bf16>()..];
                Piece::Q8 { codes: &page.elements()[start..start + len], scales }
            }
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
            let bytes: Vec<Vec<u8>> = pages.pages().iter().map(|p| p.bytes().to_vec()).collect();
            let page = bytes[0].len();
            assert_eq!(page, kind.page_bytes(heads, dim));
            let from = |tokens, bytes: &[Vec<u8>]| {
                KvPages::from_pages(kind, shape, tokens, bytes.iter().map(|bytes| &bytes[..]))
            };
            let again = from(n, &bytes).unwrap();
            assert_eq!((again.tokens(), again.view().widen()), (n, pages.view().widen()));
            let error = from(n, &bytes[..1]).unwrap_err();
            assert_eq!(error.to_string(), "1 pages, expected 2");
            let short = [bytes[0].clone(), bytes[1][1..].to_vec()];
            let error = from(n, &short).unwrap_err();
            let text = format!("page 1 has {} bytes, expected {page}", page - 1);
            assert_eq!(error.to_string(), text);
        }
    }
}
