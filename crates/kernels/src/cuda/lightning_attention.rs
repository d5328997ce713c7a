//! Lightning attention over whole sequences: the chunk form, in parallel over the chunks.
//!
//! What each chunk adds to the state is summed first, then a scan over the chunks of a sequence
//! gives the states before each, and from these every chunk computes its outputs by itself. The
//! gradient goes the same way, its states from the last chunk to the first. Decays have exponents of
//! at most 0. States take `head_dim^2 / 64` floats per token and head.

use super::{Cuda, DeviceVec};
use crate::lightning_attention::Lightning;
use std::ops::Range;

/// Tokens per chunk and columns per block, as in `lightning_attention.cu`.
const CHUNK: usize = 64;
const COLUMNS: usize = 32;
/// Threads of a block of rows; of one that scans states.
const BLOCK: usize = 128;
const SCAN_BLOCK: usize = 256;

/// Where the sequences of a batch lie, cut into chunks.
#[derive(Debug)]
pub struct Spans {
    /// First token and length of each chunk.
    chunks: DeviceVec<u32>,
    /// Number of the first chunk of each span, and of all chunks.
    first_chunk: DeviceVec<u32>,
    num_chunks: usize,
    num_spans: usize,
    num_tokens: usize,
}

impl Spans {
    /// The tokens of each sequence; together all tokens of the batch, in order.
    ///
    /// # Panics
    ///
    /// If a span does not begin where the one before ends, the first at 0.
    #[track_caller]
    pub fn new(cuda: &Cuda, spans: &[Range<usize>]) -> Self {
        let [chunks, first_chunk] = cut(spans);
        Self {
            chunks: cuda.upload(&chunks),
            first_chunk: cuda.upload(&first_chunk),
            num_chunks: chunks.len() / 2,
            num_spans: spans.len(),
            num_tokens: spans.last().map_or(0, |span| span.end),
        }
    }

    /// Tokens of all sequences.
    pub fn num_tokens(&self) -> usize {
        self.num_tokens
    }
}

/// First token and length of each chunk; the first chunk of each span and the number of chunks.
#[track_caller]
fn cut(spans: &[Range<usize>]) -> [Vec<u32>; 2] {
    let word = |x: usize| u32::try_from(x).expect("fewer than 2^32 tokens");
    let (mut chunks, mut first_chunk, mut end) = (Vec::new(), vec![0], 0);
    for span in spans {
        assert!(
            span.start == end && span.start <= span.end,
            "spans must cover all tokens in order: {span:?} after {end} tokens"
        );
        for start in span.clone().step_by(CHUNK) {
            chunks.extend([word(start), word(CHUNK.min(span.end - start))]);
        }
        first_chunk.push(word(chunks.len() / 2));
        end = span.end;
    }
    [chunks, first_chunk]
}

/// Reads `qkv: [tokens, heads, 3, head_dim]` and `slopes: [heads]` and returns
/// `[tokens, heads, head_dim]`, for sequences that start from a zero state and whose final state is
/// not used. Chunks have a length of their own, twice that of the CPU's blocks.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn lightning_attention(
    cuda: &Cuda,
    shape: &Lightning,
    slopes: &DeviceVec<f32>,
    qkv: &DeviceVec<f32>,
    spans: &Spans,
) -> DeviceVec<f32> {
    let call = Call::new(cuda, shape, slopes, qkv, spans);
    let Lightning { heads, head_dim } = *shape;
    let states = call.states();
    let mut out = cuda.output(spans.num_tokens * heads * head_dim);
    let grid = [spans.num_chunks, heads, head_dim.div_ceil(COLUMNS)];
    // SAFETY: the parameters of the kernel in its order; `Call::new` has checked qkv and slopes
    // against the chunks, and out and states have a row for each token and chunk.
    unsafe {
        cuda.launch(
            "lightning_forward",
            grid,
            BLOCK,
            &[
                qkv.into(),
                (&states).into(),
                slopes.into(),
                (&spans.chunks).into(),
                (&mut out).into(),
                heads.into(),
                head_dim.into(),
            ],
        );
    }
    out
}

/// From the gradient `grad: [tokens, heads, head_dim]` of the output to that of qkv,
/// `[tokens, heads, 3, head_dim]`; the states are computed again.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn lightning_attention_backward(
    cuda: &Cuda,
    shape: &Lightning,
    slopes: &DeviceVec<f32>,
    qkv: &DeviceVec<f32>,
    spans: &Spans,
    grad: &DeviceVec<f32>,
) -> DeviceVec<f32> {
    let call = Call::new(cuda, shape, slopes, qkv, spans);
    let Lightning { heads, head_dim } = *shape;
    assert_eq!(3 * grad.len(), qkv.len(), "grad must be [tokens, heads, head_dim]");
    let (states, grad_states) = (call.states(), call.grad_states(grad));
    let mut grad_qkv = cuda.output(qkv.len());
    let grid = [spans.num_chunks, heads, 3 * head_dim.div_ceil(COLUMNS)];
    // SAFETY: as in `lightning_attention`; grad and its result have a row for each token.
    unsafe {
        cuda.launch(
            "lightning_backward",
            grid,
            BLOCK,
            &[
                qkv.into(),
                grad.into(),
                (&states).into(),
                (&grad_states).into(),
                slopes.into(),
                (&spans.chunks).into(),
                (&mut grad_qkv).into(),
                heads.into(),
                head_dim.into(),
            ],
        );
    }
    grad_qkv
}

/// Rows `[tokens, heads, head_dim]` within an array: from element `first`, tokens `stride` and heads
/// `head_stride` elements apart.
struct Rows<'a> {
    array: &'a DeviceVec<f32>,
    first: usize,
    stride: usize,
    head_stride: usize,
}

/// Arguments whose lengths have been checked.
struct Call<'a> {
    cuda: &'a Cuda,
    shape: &'a Lightning,
    slopes: &'a DeviceVec<f32>,
    qkv: &'a DeviceVec<f32>,
    spans: &'a Spans,
}

impl<'a> Call<'a> {
    #[track_caller]
    fn new(
        cuda: &'a Cuda,
        shape: &'a Lightning,
        slopes: &'a DeviceVec<f32>,
        qkv: &'a DeviceVec<f32>,
        spans: &'a Spans,
    ) -> Self {
        assert_eq!(slopes.len(), shape.heads, "one slope per head");
        assert_eq!(
            qkv.len(),
            spans.num_tokens * shape.qkv_width(),
            "qkv must be [tokens, heads, 3, head_dim]"
        );
        Self { cuda, shape, slopes, qkv, spans }
    }

    /// q, k or v (0, 1, 2).
    fn part(&self, part: usize) -> Rows<'a> {
        let dim = self.shape.head_dim;
        Rows {
            array: self.qkv,
            first: part * dim,
            stride: self.shape.qkv_width(),
            head_stride: 3 * dim,
        }
    }

    /// The state before each chunk, `[chunks, heads, head_dim, head_dim]`.
    fn states(&self) -> DeviceVec<f32> {
        self.scan(self.part(1), self.part(2), false)
    }

    /// The gradient of the state after each chunk; `grad` has the length of the output.
    fn grad_states(&self, grad: &'a DeviceVec<f32>) -> DeviceVec<f32> {
        let Lightning { heads, head_dim } = *self.shape;
        let grad = Rows { array: grad, first: 0, stride: heads * head_dim, head_stride: head_dim };
        self.scan(self.part(0), grad, true)
    }

    /// Decayed sums of `left right^T` over all tokens before each chunk; or after, if `reverse`.
    fn scan(&self, left: Rows<'_>, right: Rows<'_>, reverse: bool) -> DeviceVec<f32> {
        let Self { cuda, spans, slopes, .. } = self;
        let Lightning { heads, head_dim } = *self.shape;
        let mut states = cuda.output(spans.num_chunks * self.shape.state_len());
        if left.array.is_empty() {
            return states;
        }
        let tiles = head_dim.div_ceil(COLUMNS);
        // SAFETY: the parameters of the kernel in its order; the rows exist for all tokens of the
        // chunks, and there is a state for each of these.
        unsafe {
            cuda.launch(
                "lightning_chunk_state",
                [spans.num_chunks, heads, tiles * tiles],
                BLOCK,
                &[
                    left.array.at(left.first),
                    left.stride.into(),
                    left.head_stride.into(),
                    right.array.at(right.first),
                    right.stride.into(),
                    right.head_stride.into(),
                    (*slopes).into(),
                    (&spans.chunks).into(),
                    (&mut states).into(),
                    heads.into(),
                    head_dim.into(),
                    usize::from(reverse).into(),
                ],
            );
        }
        let size = head_dim * head_dim;
        // SAFETY: the parameters of the kernel in its order; the chunks of all spans have states.
        unsafe {
            cuda.launch(
                "lightning_scan",
                [spans.num_spans, heads, size.div_ceil(SCAN_BLOCK)],
                SCAN_BLOCK,
                &[
                    (*slopes).into(),
                    (&spans.chunks).into(),
                    (&spans.first_chunk).into(),
                    (&mut states).into(),
                    heads.into(),
                    size.into(),
                    usize::from(reverse).into(),
                ],
            );
        }
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, random};
    use crate::{Exec, Rng, lightning_attention as host};

    fn check(cuda: &Cuda, heads: usize, head_dim: usize, lengths: &[usize]) {
        let shape = Lightning { heads, head_dim };
        let what = format!("{shape:?}, {lengths:?}");
        let mut rng = Rng(3);
        let mut tokens = 0;
        let ranges: Vec<Range<usize>> = lengths
            .iter()
            .map(|len| {
                tokens += len;
                tokens - len..tokens
            })
            .collect();
        let qkv = random(&mut rng, tokens * shape.qkv_width());
        let grad = random(&mut rng, tokens * heads * head_dim);
        // Head 2 does not forget.
        let slopes: Vec<f32> =
            (0..heads).map(|h| if h == 2 { 0.0 } else { 0.9 / (1.0 + 15.0 * h as f32) }).collect();
        let exec = Exec::new(2);
        let mut want = vec![f32::NAN; grad.len()];
        host::whole_sequences(&exec, &shape, &slopes, &qkv, &ranges, &mut want);
        let mut want_grad = vec![f32::NAN; qkv.len()];
        host::lightning_attention_backward(
            &exec,
            &shape,
            &slopes,
            &qkv,
            &ranges,
            &grad,
            &mut want_grad,
        );

        let spans = Spans::new(cuda, &ranges);
        assert_eq!(spans.num_tokens(), tokens);
        let [slopes, qkv, grad] = [&slopes, &qkv, &grad].map(|x| cuda.upload(x));
        let run = || {
            let out = lightning_attention(cuda, &shape, &slopes, &qkv, &spans);
            let grad_qkv = lightning_attention_backward(cuda, &shape, &slopes, &qkv, &spans, &grad);
            [out.to_vec(), grad_qkv.to_vec()]
        };
        let [out, grad_qkv] = run();
        assert_close(&format!("{what}: out"), &want, &out, 1e-5);
        for part in 0..3 {
            let of_part = |x: &[f32]| -> Vec<f32> {
                x.chunks_exact(head_dim).skip(part).step_by(3).flatten().copied().collect()
            };
            let what = format!("{what}: gradient of part {part}");
            assert_close(&what, &of_part(&want_grad), &of_part(&grad_qkv), 1e-5);
        }
        assert_eq!(run(), [out, grad_qkv], "{what}: the same bits");
    }

    #[test]
    fn like_the_cpu() {
        let Some(cuda) = super::super::testing::cuda() else { return };
        for (heads, head_dim) in [(1, 1), (2, 5), (4, 32), (3, 33), (1, 67), (2, 64), (1, 128)] {
            for lengths in [&[][..], &[1], &[0, 1], &[3, 0, 70], &[64, 65], &[1, 200, 63, 128]] {
                check(&cuda, heads, head_dim, lengths);
            }
        }
    }

    #[test]
    fn long_sequences() {
        let Some(cuda) = super::super::testing::cuda() else { return };
        check(&cuda, 4, 32, &[5000, 100, 2049, 777]);
    }

    /// Slopes of the fastest head over a long sequence: no overflow, no NaN.
    #[test]
    fn fast_decay_does_not_overflow() {
        let Some(cuda) = super::super::testing::cuda() else { return };
        let shape = Lightning { heads: 1, head_dim: 8 };
        let spans = Spans::new(&cuda, &[0..600]);
        let qkv = cuda.upload(&vec![1.0; 600 * shape.qkv_width()]);
        let out = lightning_attention(&cuda, &shape, &cuda.upload(&[5.0]), &qkv, &spans);
        assert!(out.to_vec().iter().all(|x| (7.9..8.2).contains(x)));
    }

    #[test]
    fn chunks_do_not_cross_spans() {
        let [chunks, first_chunk] = cut(&[0..65, 65..65, 65..129]);
        assert_eq!(chunks, [0, 64, 64, 1, 65, 64]);
        assert_eq!(first_chunk, [0, 2, 2, 3]);
    }

    #[test]
    #[should_panic(expected = "spans must cover all tokens in order: 4..5 after 3 tokens")]
    fn gaps_are_refused() {
        let _ = cut(&[0..3, 4..5]);
    }
}
