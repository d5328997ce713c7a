//! Convolution over time, height and width, channels last; those over less have kernels of 1.
//!
//! ```text
//! y[o] = sum_{tap} x[o stride - before + tap] W_tap        o, tap: (time, height, width)
//! ```
//!
//! What lies beyond the edges is 0. The patches under the kernel are rows of a matrix that is
//! multiplied with the kernels for products; its weight is `[n, taps * channels]`. With strides of 1
//! in height and width they are rows of x as it is (`conv/direct`); else, where frames are very large,
//! and in f64, which rounds only at the end, they are made a piece at a time. A frame gives the same bits
//! alone and beside others.
//! Compute-bound: `2 n taps channels` flops per output. [`depthwise`] has one filter per channel and
//! is bound by memory.

pub mod depthwise;
mod direct;

use crate::matmul::{Elements, Mat, MatMut, Packed, matmul, matmul_packed};
use crate::{Arithmetic, Exec};

/// Elements of patches made at once: 4 MiB.
const PIECE: usize = 1 << 20;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// `[batch, time, height, width]` of what comes in.
    pub input: [usize; 4],
    /// Features of each position.
    pub channels: usize,
    /// Positions under the kernel: time, height, width.
    pub kernel: [usize; 3],
    /// Steps from one output to the next.
    pub stride: [usize; 3],
    /// Zeros before and after each axis.
    pub padding: [[usize; 2]; 3],
}

impl Conv {
    /// `[batch, time, height, width]` of what comes out; 0 along an axis that is shorter than the
    /// kernel.
    ///
    /// # Panics
    ///
    /// If a kernel or stride is 0.
    #[track_caller]
    pub fn output(&self) -> [usize; 4] {
        let mut output = self.input;
        for axis in 0..3 {
            let (kernel, stride) = (self.kernel[axis], self.stride[axis]);
            assert!(kernel > 0 && stride > 0, "a kernel of {kernel}, a stride of {stride}");
            let padded = self.input[axis + 1] + self.padding[axis].iter().sum::<usize>();
            output[axis + 1] = (padded + stride).saturating_sub(kernel) / stride;
        }
        output
    }

    /// Positions under the kernel.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Elements of a patch, tap by tap.
    pub fn patch_len(&self) -> usize {
        self.taps() * self.channels
    }

    fn input_rows(&self) -> usize {
        self.input.iter().product()
    }

    fn output_rows(&self) -> usize {
        self.output().iter().product()
    }

    /// Outputs whose patches are made at once.
    fn rows_at_once(&self) -> usize {
        (PIECE / self.patch_len().max(1)).max(1)
    }

    #[track_caller]
    fn check_input(&self, x: &[f32]) {
        let [batch, time, height, width] = self.input;
        let len = self.input_rows() * self.channels;
        assert_eq!(x.len(), len, "[{batch}, {time}, {height}, {width}, {}]", self.channels);
    }

    /// Calls `each(tap, row)` for each tap of output `row` in order; the row of x is `None` beyond
    /// the edges.
    #[inline]
    fn for_each_tap(&self, row: usize, mut each: impl FnMut(usize, Option<usize>)) {
        let [_, time, height, width] = self.output();
        let at = [row / width / height % time, row / width % height, row % width];
        let batch = row / width / height / time;
        let inside = |axis: usize, tap: usize| {
            let place = (at[axis] * self.stride[axis] + tap).checked_sub(self.padding[axis][0])?;
            (place < self.input[axis + 1]).then_some(place)
        };
        let mut tap = 0;
        for a in 0..self.kernel[0] {
            let t = inside(0, a).map(|t| batch * self.input[1] + t);
            for b in 0..self.kernel[1] {
                let h = t.and_then(|t| Some(t * self.input[2] + inside(1, b)?));
                for c in 0..self.kernel[2] {
                    each(tap, h.and_then(|h| Some(h * self.input[3] + inside(2, c)?)));
                    tap += 1;
                }
            }
        }
    }

    /// Calls `each(tap, row)` for each output row that input row `row` is part of, with the tap
    /// under which it is.
    #[inline]
    fn for_each_use(&self, row: usize, mut each: impl FnMut(usize, usize)) {
        let [_, time, height, width] = self.input;
        let at = [row / width / height % time, row / width % height, row % width];
        let (batch, output) = (row / width / height / time, self.output());
        let used = |axis: usize, tap: usize| {
            let place = (at[axis] + self.padding[axis][0]).checked_sub(tap)?;
            let (place, rest) = (place / self.stride[axis], place % self.stride[axis]);
            (rest == 0 && place < output[axis + 1]).then_some(place)
        };
        for a in 0..self.kernel[0] {
            let Some(t) = used(0, a) else { continue };
            for b in 0..self.kernel[1] {
                let Some(h) = used(1, b) else { continue };
                for c in 0..self.kernel[2] {
                    let Some(w) = used(2, c) else { continue };
                    let tap = (a * self.kernel[1] + b) * self.kernel[2] + c;
                    let row = (batch * output[1] + t) * output[2] + h;
                    each(tap, row * output[3] + w);
                }
            }
        }
    }

    /// Patches of the outputs from `first` on, as many as `out` has room for.
    fn patches(&self, exec: &Exec, x: &[f32], first: usize, out: &mut [f32]) {
        let (channels, patch) = (self.channels, self.patch_len());
        let rows = exec.threads.rows_per_task(out.len() / patch, 8);
        exec.threads.for_each_chunk(out, rows * patch, |task, out| {
            for (i, out) in out.chunks_exact_mut(patch).enumerate() {
                self.for_each_tap(first + task * rows + i, |tap, row| {
                    let out = &mut out[tap * channels..(tap + 1) * channels];
                    match row {
                        Some(row) => out.copy_from_slice(&x[row * channels..(row + 1) * channels]),
                        None => out.fill(0.0),
                    }
                });
            }
        });
    }
}

/// Convolves `x: [batch, time, height, width, channels]` with a packed weight
/// `[n, kernel, channels]` and writes `out: [.., n]` in the shape of [`Conv::output`].
///
/// # Panics
///
/// If lengths disagree or the weight was packed for another CPU level.
#[track_caller]
pub fn conv(exec: &Exec, conv: &Conv, x: &[f32], weight: &Packed, n: usize, out: &mut [f32]) {
    conv_within(direct::MAX_COPIED, exec, conv, x, weight, n, out);
}

/// [`conv`] with another limit of what is copied; at 0 what is padded goes by patches.
#[track_caller]
fn conv_within(
    limit: usize,
    exec: &Exec,
    conv: &Conv,
    x: &[f32],
    weight: &Packed,
    n: usize,
    out: &mut [f32],
) {
    conv.check_input(x);
    let rows = conv.output_rows();
    assert_eq!(out.len(), rows * n, "out must be {:?} of {n}", conv.output());
    if direct::forward_fits(exec, conv, weight, limit) {
        return direct::forward(exec, conv, x, weight, limit, out);
    }
    let (piece, patch) = (conv.rows_at_once(), conv.patch_len());
    let mut patches = exec.buffers.take(piece.min(rows) * patch);
    for first in (0..rows).step_by(piece) {
        let count = piece.min(rows - first);
        let patches = &mut patches[..count * patch];
        conv.patches(exec, x, first, patches);
        let c = MatMut::row_major(&mut out[first * n..(first + count) * n], count, n);
        matmul_packed(exec, Mat::row_major(patches, count, patch), weight, c, false);
    }
    exec.buffers.give(patches);
}

/// The gradient of x, from `grad` of the output and `weight: [n, taps * channels]`; written. With a
/// weight of bf16 `grad` is rounded to bf16 where [`Cpu::bf16`](crate::Cpu::bf16) says so, rows of taps
/// are whole steps of its unit, and a frame is not so large that it goes by patches.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn conv_grad_x(
    exec: &Exec,
    conv: &Conv,
    grad: &[f32],
    weight: Elements<'_>,
    n: usize,
    grad_x: &mut [f32],
) {
    conv_grad_x_within(direct::MAX_COPIED, exec, conv, grad, weight, n, grad_x);
}

/// [`conv_grad_x`] with another limit of what is copied.
#[track_caller]
fn conv_grad_x_within(
    limit: usize,
    exec: &Exec,
    conv: &Conv,
    grad: &[f32],
    weight: Elements<'_>,
    n: usize,
    grad_x: &mut [f32],
) {
    conv.check_input(grad_x);
    let (rows, patch, channels) = (conv.output_rows(), conv.patch_len(), conv.channels);
    assert_eq!((grad.len(), weight.len()), (rows * n, n * patch), "lengths of grad and weight");
    if grad_x.is_empty() || grad.is_empty() {
        grad_x.fill(0.0);
        return;
    }
    if direct::grad_x_fits(conv, n, limit) {
        let turned = direct::turned(exec, conv, weight, n);
        return direct::grad_x(exec, conv, grad, &turned, n, limit, grad_x);
    }
    grad_x.fill(0.0);
    let weight = weight.to_f32();
    let piece = conv.rows_at_once();
    let mut patches = exec.buffers.take(piece.min(rows) * patch);
    for first in (0..rows).step_by(piece) {
        let count = piece.min(rows - first);
        let patches = &mut patches[..count * patch];
        let g = Mat::row_major(&grad[first * n..(first + count) * n], count, n);
        let c = MatMut::row_major(patches, count, patch);
        matmul(exec, g, Mat::row_major(&weight, n, patch), c, false);
        let per_task = exec.threads.rows_per_task(grad_x.len() / channels, 8);
        exec.threads.for_each_chunk(grad_x, per_task * channels, |task, out| {
            for (i, out) in out.chunks_exact_mut(channels).enumerate() {
                conv.for_each_use(task * per_task + i, |tap, row| {
                    if let Some(row) = row.checked_sub(first).filter(|row| *row < count) {
                        let at = row * patch + tap * channels;
                        let part = &patches[at..at + channels];
                        out.iter_mut().zip(part).for_each(|(o, p)| *o += p);
                    }
                });
            }
        });
    }
    exec.buffers.give(patches);
}

/// The gradient of the weight, `[n, taps * channels]`, from that of the output; written. If `rounded`,
/// both sides are rounded to bf16 where [`Cpu::bf16`](crate::Cpu::bf16) says so, strides in height and
/// width are 1, and a frame is not so large that it goes by patches.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn conv_grad_weight(
    exec: &Exec,
    conv: &Conv,
    x: &[f32],
    grad: &[f32],
    n: usize,
    rounded: bool,
    grad_weight: &mut [f32],
) {
    conv_grad_weight_within(direct::MAX_COPIED, exec, conv, x, grad, n, rounded, grad_weight);
}

/// [`conv_grad_weight`] with another limit of what is copied.
#[track_caller]
#[expect(clippy::too_many_arguments, reason = "those of the public function and the limit")]
fn conv_grad_weight_within(
    limit: usize,
    exec: &Exec,
    conv: &Conv,
    x: &[f32],
    grad: &[f32],
    n: usize,
    rounded: bool,
    grad_weight: &mut [f32],
) {
    conv.check_input(x);
    let (rows, patch) = (conv.output_rows(), conv.patch_len());
    assert_eq!((grad.len(), grad_weight.len()), (rows * n, n * patch), "lengths of the gradients");
    grad_weight.fill(0.0);
    if direct::grad_weight_fits(conv, n, limit) {
        let exact = !rounded || exec.cpu.arithmetic == Arithmetic::F64;
        let unit = exec.cpu.bf16.filter(|_| !exact);
        return direct::grad_weight(exec, conv, x, grad, n, unit, limit, grad_weight);
    }
    let piece = conv.rows_at_once();
    let mut patches = exec.buffers.take(piece.min(rows) * patch);
    for first in (0..rows).step_by(piece) {
        let count = piece.min(rows - first);
        let patches = &mut patches[..count * patch];
        conv.patches(exec, x, first, patches);
        let g = Mat::row_major(&grad[first * n..(first + count) * n], count, n);
        let c = MatMut::row_major(grad_weight, n, patch);
        matmul(exec, g.t(), Mat::row_major(patches, count, patch), c, true);
    }
    exec.buffers.give(patches);
}

/// The definition, in f64: loops over everything.
pub fn reference(conv: &Conv, x: &[f64], weight: &[f64], n: usize) -> Vec<f64> {
    let [_, time, height, width] = conv.input;
    let [batch, out_time, out_height, out_width] = conv.output();
    let mut out = Vec::new();
    let at = |batch: usize, place: [usize; 3], c: usize| {
        let mut inside = [0; 3];
        for axis in 0..3 {
            inside[axis] = place[axis].checked_sub(conv.padding[axis][0])?;
        }
        let [t, h, w] = inside;
        let row = ((batch * time + t) * height + h) * width + w;
        (t < time && h < height && w < width).then(|| x[row * conv.channels + c])
    };
    for b in 0..batch {
        for (t, h) in (0..out_time).flat_map(|t| (0..out_height).map(move |h| (t, h))) {
            for (w, j) in (0..out_width).flat_map(|w| (0..n).map(move |j| (w, j))) {
                let mut sum = 0.0;
                for i in 0..conv.patch_len() {
                    let (tap, c) = (i / conv.channels, i % conv.channels);
                    let [_, kh, kw] = conv.kernel;
                    let tap = [tap / kw / kh, tap / kw % kh, tap % kw];
                    let place = [t, h, w];
                    let place = [0, 1, 2].map(|k| place[k] * conv.stride[k] + tap[k]);
                    sum += at(b, place, c).unwrap_or(0.0) * weight[j * conv.patch_len() + i];
                }
                out.push(sum);
            }
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod tests;
